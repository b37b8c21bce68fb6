"""One launch of a workload in a runtime that Slipway restarts and probes itself: each container of each replica.

What is seen of a container, what the prober says of it, when it is to start again, and what there is to say of all
that. `planning` decides by it.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.domain.enums import ContainerState, ProbeKind
from app.domain.observations import CRASH_LOOP, HOPELESS, OOM_KILLED, TROUBLE, Address, ContainerObservation
from app.domain.specification import Container, Specification

LAUNCH_DEADLINE = "LAUNCH_DEADLINE"
NOT_READY = "NOT_READY"
REPLICAS_MISSING = "REPLICAS_MISSING"

Key = tuple[int, str, str]
"""A container: the number of its launch, its replica and its name."""

Runs = Mapping[str, Mapping[str, int]]
"""What a runtime is to run of a launch: of each replica, which containers, each in its how-manieth run.

A replica that is left out goes. A container that is left out of a replica does not run, but is remembered.
"""

Trouble = tuple[str | None, str | None]
"""A reason, for a machine, and a message, for a person."""


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of the rules."""

    launch_deadline: timedelta = timedelta(minutes=10)
    restarts_before_giving_up: int = 5
    first_pause: timedelta = timedelta(seconds=1)
    longest_pause: timedelta = timedelta(seconds=60)
    # A run that lasted this long is followed by the shortest pause, as the kubelet forgives after ten minutes.
    forgiven_after: timedelta = timedelta(minutes=10)
    # What dies at once was never ready: a container without probes counts as ready when it has run this long.
    settle: timedelta = timedelta(milliseconds=300)
    # A replica that is to go gets no new requests; it stays at least this long, for servers that do not know it yet,
    drain: timedelta = timedelta(seconds=2)
    # and at most this long for requests that are still open.
    longest_drain: timedelta = timedelta(seconds=30)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What the prober says of one run of a container. `decided`: it has asked long enough to know."""

    run: int
    ready: bool
    failed: ProbeKind | None = None
    message: str | None = None
    decided: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """One container that is wanted, what is seen of it, and when it is to start again."""

    replica: str
    container: Container
    seen: ContainerObservation | None
    verdict: Verdict | None
    ready: bool
    settles_in: timedelta | None = None
    restarts_in: timedelta | None = None

    @property
    def runs(self) -> bool:
        """Whether it is started, or about to be."""
        return self.seen is not None and self.seen.state is not ContainerState.TERMINATED

    @property
    def failed(self) -> ProbeKind | None:
        """The probe because of which it must be restarted."""
        return None if self.verdict is None else self.verdict.failed

    @property
    def wanted_run(self) -> int | None:
        """The number of the run that is wanted now; None while it must not run."""
        if self.seen is None:
            return 0
        if self.seen.state is ContainerState.TERMINATED:
            return self.seen.run + 1 if self.restarts_in is None else None
        return None if self.failed else self.seen.run


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """All containers that are wanted of one launch."""

    launch: int
    replicas: int
    slots: Sequence[Slot]
    policy: Policy

    @property
    def ready(self) -> frozenset[str]:
        """Replicas all of whose containers are ready."""
        return frozenset(slot.replica for slot in self.slots) - {s.replica for s in self.slots if not s.ready}

    @property
    def complete(self) -> bool:
        """Whether as many replicas are ready as are wanted."""
        return len(self.ready) == self.replicas

    @property
    def started(self) -> bool:
        """Whether each container has been started once."""
        return all(slot.seen and slot.seen.started_at for slot in self.slots)

    @property
    def waits(self) -> list[timedelta]:
        """When something is due without an event that tells so."""
        return [each for slot in self.slots for each in (slot.settles_in, slot.restarts_in) if each is not None]

    @property
    def runs(self) -> dict[str, dict[str, int]]:
        """What the runtime is to run."""
        wanted: dict[str, dict[str, int]] = {}
        for slot in self.slots:
            containers = wanted.setdefault(slot.replica, {})
            if slot.wanted_run is not None:
                containers[slot.container.name] = slot.wanted_run
        return wanted

    @property
    def hopeless(self) -> tuple[str, str] | None:
        """Why a launch that was never ready will not become it, if so."""
        for slot in self.slots:
            if slot.seen is None or slot.seen.state is ContainerState.RUNNING:
                continue
            if slot.seen.reason in HOPELESS:
                return slot.seen.reason, _ending(slot)
            if slot.seen.state is not ContainerState.TERMINATED:
                continue
            if slot.seen.run >= self.policy.restarts_before_giving_up:
                return _crash(slot), f"{_ending(slot)}, after {slot.seen.run} restarts. Its logs may say why."
        return None

    def trouble(self, *, was_ready: bool) -> Trouble:
        """Why it is not ready; no reason where it is only on its way up."""
        waiting = next((slot for slot in self.slots if slot.runs and slot.seen and slot.seen.reason in TROUBLE), None)
        if waiting is not None and waiting.seen is not None:
            return waiting.seen.reason, _ending(waiting)
        ended = next((slot for slot in self.slots if slot.seen and (not slot.runs or slot.failed)), None)
        if ended is not None:
            return _crash(ended), f"{_ending(ended)}. It is tried again, with growing pauses."
        unready = next((slot for slot in self.slots if slot.runs and not slot.ready and slot.verdict), None)
        if unready is not None and unready.verdict and unready.verdict.message:
            return NOT_READY, describe(unready)
        if was_ready:
            return REPLICAS_MISSING, "Fewer replicas are ready than wanted; the others are started."
        preparing = (slot.seen.message for slot in self.slots if slot.seen and slot.seen.started_at is None)
        return None, next((message for message in preparing if message), None)

    def statuses(self) -> list[dict[str, Any]]:
        """The JSON that is stored, with the names of the graph's ContainerStatus."""
        return [_status(self.launch, slot) for slot in self.slots]

    def given_up(self) -> list[dict[str, Any]]:
        """The same once nothing is tried any more."""
        gone = (dataclasses.replace(slot, ready=False, restarts_in=None) for slot in self.slots)
        return [_status(self.launch, slot) for slot in gone]

    def addresses(self) -> Iterator[dict[str, Any]]:
        """Where the ready replicas take traffic: at the port of their primary container."""
        ready = self.ready
        for slot in self.slots:
            address: Address | None = slot.seen.address if slot.seen else None
            if slot.replica in ready and slot.container.primary and address is not None:
                yield {"launch": self.launch, "replica": slot.replica, "host": address.host, "port": address.port}


def look(
    launch: int,
    specification: Specification,
    replicas: int,
    observed: Iterable[ContainerObservation],
    *,
    verdicts: Mapping[Key, Verdict],
    recorded: Sequence[Mapping[str, Any]],
    now: datetime,
    policy: Policy,
) -> Side:
    """One launch as it is wanted, held against what is seen of it. `recorded`: the statuses that were stored last."""
    seen = {(each.replica, each.container): each for each in observed}
    were_ready = {
        (each["replica"], each["container"], each["restartCount"], each["startedAt"])
        for each in recorded
        if each["ready"] and each["launch"] == launch
    }
    slots = [
        _slot(
            str(replica),
            container,
            seen.get((str(replica), container.name)),
            verdicts.get((launch, str(replica), container.name)),
            were_ready=were_ready,
            now=now,
            policy=policy,
        )
        for replica in range(replicas)
        for container in specification.containers
    ]
    return Side(launch, replicas, slots, policy)


def _slot(
    replica: str,
    container: Container,
    seen: ContainerObservation | None,
    verdict: Verdict | None,
    *,
    were_ready: set[tuple[Any, ...]],
    now: datetime,
    policy: Policy,
) -> Slot:
    if seen is None or (verdict is not None and verdict.run != seen.run):
        verdict = None
    if seen is None:
        return Slot(replica, container, None, None, ready=False)
    if seen.state is ContainerState.TERMINATED:
        waited = now - (seen.finished_at or now)
        left = pause(seen, policy) - waited
        return Slot(replica, container, seen, verdict, ready=False, restarts_in=left if left > timedelta() else None)
    if seen.state is not ContainerState.RUNNING:
        return Slot(replica, container, seen, verdict, ready=False)
    if seen.ready is not None:
        return Slot(replica, container, seen, verdict, ready=seen.ready)
    if container.probes.keys() & {ProbeKind.STARTUP, ProbeKind.READINESS}:
        ready = verdict is not None and verdict.ready
        if verdict is None or not verdict.decided:
            # A prober that has just begun, as after a restart of the server, does not take away what was found before.
            ready = ready or (replica, container.name, seen.run, _written(seen.started_at)) in were_ready
        return Slot(replica, container, seen, verdict, ready=ready)
    left = policy.settle - (now - (seen.started_at or now))
    failed = verdict is not None and verdict.failed is not None
    if left > timedelta():
        return Slot(replica, container, seen, verdict, ready=False, settles_in=left)
    return Slot(replica, container, seen, verdict, ready=not failed)


def pause(seen: ContainerObservation, policy: Policy) -> timedelta:
    """How long a container that has ended waits for its next run: twice as long after each, up to the longest."""
    if seen.started_at and seen.finished_at and seen.finished_at - seen.started_at >= policy.forgiven_after:
        return policy.first_pause
    # The exponent is bounded: the pause has long reached its limit, and a timedelta can't hold 2^100 seconds.
    return min(policy.first_pause * (1 << min(seen.run, 20)), policy.longest_pause)


def missed_deadline(side: Side) -> tuple[str, str]:
    """What to say of a launch that did not get ready in time."""
    policy = side.policy
    minutes, seconds = divmod(int(policy.launch_deadline.total_seconds()), 60)
    allowed = f"{minutes} min" if not seconds else f"{int(policy.launch_deadline.total_seconds())} s"
    unready = next((slot for slot in side.slots if not slot.ready), None)
    details = f" {describe(unready)}" if unready else ""
    reason = unready.seen.reason if unready and unready.seen and unready.seen.reason in TROUBLE else None
    return reason or LAUNCH_DEADLINE, f"Not ready within the launch deadline of {allowed}.{details}"


def describe(slot: Slot) -> str:
    """That a container is not ready, and why."""
    name = f"Container {slot.container.name} of replica {slot.replica}"
    if slot.verdict and slot.verdict.message:
        return f"{name} is not ready: {slot.verdict.message}"
    if slot.seen and slot.seen.reason in TROUBLE and slot.seen.message:
        return f"{name}: {slot.seen.message}"
    return f"{name} is not ready."


def _crash(slot: Slot) -> str:
    return OOM_KILLED if slot.seen and slot.seen.reason == OOM_KILLED else CRASH_LOOP


def _ending(slot: Slot) -> str:
    name = f"Container {slot.container.name} of replica {slot.replica}"
    if slot.failed is not None:
        said = f": {slot.verdict.message}" if slot.verdict and slot.verdict.message else ""
        return f"{name} failed its {slot.failed.value.lower()} probe{said}"
    if slot.seen and slot.seen.message:
        return f"{name}: {slot.seen.message}"
    return f"{name} exited with code {slot.seen.exit_code if slot.seen else 'unknown'}"


def _status(launch: int, slot: Slot) -> dict[str, Any]:
    seen = slot.seen
    state = seen.state if seen else ContainerState.WAITING
    reason = seen.reason if seen else None
    message = seen.message if seen else None
    if slot.failed is not None and slot.verdict:
        reason, message = f"{slot.failed.value}_FAILED", slot.verdict.message
    elif slot.verdict and slot.runs and not slot.ready:
        message = slot.verdict.message or message
    if slot.restarts_in is not None:  # between two runs, as Kubernetes' CrashLoopBackOff
        state = ContainerState.WAITING
        reason = _crash(slot)
        message = f"{_ending(slot)}."
    return {
        "launch": launch,
        "container": slot.container.name,
        "replica": slot.replica,
        "state": state.value,
        "ready": slot.ready,
        "restartCount": seen.run if seen else 0,
        "reason": reason,
        "message": message,
        "startedAt": _written(seen.started_at) if seen else None,
        "lastExitCode": seen.exit_code if seen else None,
    }


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
