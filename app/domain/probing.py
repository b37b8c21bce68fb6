"""Startup, readiness and liveness as Kubernetes defines them: which probe is due when, and what its answer means.

https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/, and for what that leaves open
the kubelet's prober/worker.go: a result counts once it has come `successThreshold` or `failureThreshold` times in a
row; readiness begins as failed, liveness as passed; after a failure of startup or liveness nothing is asked any more,
until the container has been restarted.

Times are seconds on a monotonic clock.
"""

import dataclasses
from collections.abc import Mapping

from app.domain.enums import ProbeKind
from app.domain.specification import Probe


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """Of one probe: when it is due next, its last answer, and how often that has come in a row."""

    due: float
    passed: bool | None = None
    times: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """All that is known of one run of a container. Begin anew when the container restarts.

    `ready`: it may get traffic. `failed`: the probe because of which it must be restarted. `message` is what the last
    probe that did not pass has said; None once all of them pass. `decided`: it has been asked long enough to tell
    whether it is ready.
    """

    probes: Mapping[ProbeKind, Probe]
    begun: float
    started: bool
    ready: bool
    progress: Mapping[ProbeKind, Progress]
    failed: ProbeKind | None = None
    message: str | None = None
    decided: bool = False


def begin(probes: Mapping[ProbeKind, Probe], now: float) -> State:
    """The state of a container that has just started."""
    return State(
        probes=probes,
        begun=now,
        started=ProbeKind.STARTUP not in probes,
        ready=ProbeKind.STARTUP not in probes and ProbeKind.READINESS not in probes,
        progress={kind: Progress(due=now + probe.initial_delay_seconds) for kind, probe in probes.items()},
    )


def due(state: State) -> dict[ProbeKind, float]:
    """When each probe is due that may be asked now. Startup holds the others back, and is done once it has passed."""
    if state.failed is not None:
        return {}
    return {kind: each.due for kind, each in state.progress.items() if (kind is ProbeKind.STARTUP) != state.started}


def record(state: State, kind: ProbeKind, *, asked: float, now: float, passed: bool, message: str = "") -> State:
    """The state after an answer: `asked` is when the probe was sent, `now` when the answer was there."""
    if kind not in due(state):
        return state
    probe = state.probes[kind]
    before = state.progress[kind]
    times = before.times + 1 if before.passed is passed else 1
    progress = {**state.progress, kind: Progress(asked + probe.period_seconds, passed, times)}
    state = dataclasses.replace(
        state, progress=progress, message=_message(state, progress, passed=passed, said=message)
    )
    if times < (probe.success_threshold if passed else probe.failure_threshold):
        return state
    if kind is ProbeKind.READINESS:
        return dataclasses.replace(state, ready=passed, decided=True)
    if not passed:
        return dataclasses.replace(state, ready=False, failed=kind, decided=True)
    return _start(state, now) if kind is ProbeKind.STARTUP else state


def _start(state: State, now: float) -> State:
    """The other probes follow at once, after their initial delay, which counts from the container's start."""
    progress = {
        kind: each if kind is ProbeKind.STARTUP else dataclasses.replace(each, due=max(each.due, now))
        for kind, each in state.progress.items()
    }
    ready = ProbeKind.READINESS not in state.probes
    return dataclasses.replace(state, started=True, ready=ready, progress=progress, decided=ready)


def _message(state: State, progress: Mapping[ProbeKind, Progress], *, passed: bool, said: str) -> str | None:
    if not passed:
        return said
    return state.message if any(each.passed is False for each in progress.values()) else None
