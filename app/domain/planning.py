"""What to do about a workload, and what to say of it: facts and `now` in, a plan out, no I/O.

    SUBMITTED → PROVISIONING → LAUNCHING → RUNNING ⇄ INTERRUPTED
        any live status → STOPPING → STOPPED
        PROVISIONING, LAUNCHING, RUNNING, INTERRUPTED → ERRORED, until someone restarts or stops it
        any → TERMINATED

A plan depends on what is wanted and what is seen, not on what happened in between, so it does not matter how often
it is made, by whom, or what was lost on the way.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.domain.enums import ContainerState, ProbeKind, Wanted, WorkloadStatus
from app.domain.observations import (
    CRASH_LOOP,
    START_ERROR,
    Address,
    ContainerObservation,
    Observation,
    Refusal,
)
from app.domain.specification import Container, Specification

EXPIRED = "EXPIRED"
LAUNCH_DEADLINE = "LAUNCH_DEADLINE"
NOT_READY = "NOT_READY"
REPLICAS_MISSING = "REPLICAS_MISSING"
RUNTIME_UNAVAILABLE = "RUNTIME_UNAVAILABLE"
CREDENTIAL_UNAVAILABLE = "CREDENTIAL_UNAVAILABLE"

Key = tuple[str, str]
"""A container of a replica: the names of both."""

Runs = Mapping[str, Mapping[str, int]]
"""What a runtime is to run: of each replica, which containers, each in its how-manieth run.

A replica that is left out goes. A container that is left out of a replica does not run, but is remembered.
"""


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
    settle: timedelta = timedelta(milliseconds=500)


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """What is wanted of a workload, and what was recorded of it last."""

    status: WorkloadStatus
    reason: str | None
    message: str | None
    wanted: Wanted
    specification: Specification
    replicas: int
    launch: int
    launched_at: datetime
    was_ready: bool
    ready_replicas: int = 0
    container_statuses: Sequence[Mapping[str, Any]] = ()
    addresses: Sequence[Mapping[str, Any]] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What the prober says of one run of a container, where the runtime has no probes of its own."""

    run: int
    ready: bool
    failed: ProbeKind | None = None
    message: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to record, and what to have the runtime do.

    `runs` is what it is to run, None where that is so already. `remove`: nothing of the workload may be left in it.
    `look_again`: when something is due without an event that tells so.
    """

    status: WorkloadStatus
    reason: str | None = None
    message: str | None = None
    was_ready: bool = False
    launched_at: datetime | None = None
    ready_replicas: int = 0
    container_statuses: Sequence[Mapping[str, Any]] = ()
    addresses: Sequence[Mapping[str, Any]] = ()
    runs: Runs | None = None
    remove: bool = False
    look_again: timedelta | None = None

    @property
    def acts(self) -> bool:
        """Whether the runtime has something to do."""
        return self.remove or self.runs is not None


@dataclasses.dataclass(frozen=True, slots=True)
class _Slot:
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
        return self.seen is not None and self.seen.state is not ContainerState.TERMINATED

    @property
    def failed(self) -> ProbeKind | None:
        return None if self.verdict is None else self.verdict.failed

    @property
    def wanted_run(self) -> int | None:
        """The number of the run that is wanted now; None while it must not run."""
        if self.seen is None:
            return 0
        if self.seen.state is ContainerState.TERMINATED:
            return self.seen.run + 1 if self.restarts_in is None else None
        return None if self.failed else self.seen.run


_EDGES = {
    WorkloadStatus.SUBMITTED: (WorkloadStatus.PROVISIONING, WorkloadStatus.STOPPING),
    WorkloadStatus.PROVISIONING: (WorkloadStatus.LAUNCHING, WorkloadStatus.ERRORED, WorkloadStatus.STOPPING),
    WorkloadStatus.LAUNCHING: (WorkloadStatus.RUNNING, WorkloadStatus.ERRORED, WorkloadStatus.STOPPING),
    WorkloadStatus.RUNNING: (WorkloadStatus.INTERRUPTED, WorkloadStatus.ERRORED, WorkloadStatus.STOPPING),
    WorkloadStatus.INTERRUPTED: (WorkloadStatus.RUNNING, WorkloadStatus.ERRORED, WorkloadStatus.STOPPING),
    WorkloadStatus.STOPPING: (WorkloadStatus.STOPPED, WorkloadStatus.TERMINATED),
    WorkloadStatus.STOPPED: (WorkloadStatus.TERMINATED,),
    WorkloadStatus.ERRORED: (WorkloadStatus.STOPPING,),
    WorkloadStatus.TERMINATED: (),
}


def path(before: WorkloadStatus, after: WorkloadStatus) -> tuple[WorkloadStatus, ...]:
    """The statuses that lead from one to another, the last included: the history skips none.

    Raises:
        ValueError: no way leads there without someone asking for it.
    """
    ways: list[tuple[WorkloadStatus, ...]] = [(before,)]
    for way in ways:
        if way[-1] is after:
            return way[1:]
        ways.extend((*way, following) for following in _EDGES[way[-1]] if following not in way)
    message = f"a workload does not go from {before} to {after} by itself"
    raise ValueError(message)


def plan(
    workload: Workload,
    observation: Observation | None,
    verdicts: Mapping[Key, Verdict],
    now: datetime,
    policy: Policy,
    *,
    refusal: Refusal | None = None,
    notice: str | None = None,
) -> Plan:
    """Decide about a workload whose runtime has answered; None is the answer that it has nothing of it.

    `refusal` says that the runtime will never run this; `notice` is what it says of all that it runs.
    """
    if workload.wanted is not Wanted.RUNNING or workload.status in {WorkloadStatus.STOPPED, WorkloadStatus.TERMINATED}:
        return _take_down(workload, observation)
    if workload.status is WorkloadStatus.ERRORED:
        return _keep_errored(workload, observation)
    if refusal is not None:
        return _give_up(workload, observation, (), refusal.reason, refusal.message)
    return _bring_up(workload, observation, verdicts, now, policy, notice)


def plan_unavailable(workload: Workload, message: str) -> Plan:
    """Decide about a workload whose runtime can't be asked: unknown is not absent, so nothing is done or forgotten."""
    kept = _as_recorded(workload)
    if workload.wanted is not Wanted.RUNNING or workload.status not in {
        WorkloadStatus.SUBMITTED,
        WorkloadStatus.PROVISIONING,
        WorkloadStatus.LAUNCHING,
        WorkloadStatus.RUNNING,
        WorkloadStatus.INTERRUPTED,
    }:
        return kept
    interrupted = workload.status is WorkloadStatus.RUNNING
    return dataclasses.replace(
        kept,
        status=WorkloadStatus.INTERRUPTED if interrupted else workload.status,
        reason=RUNTIME_UNAVAILABLE,
        message=message,
        container_statuses=tuple(
            {**each, "state": ContainerState.UNKNOWN.value} for each in workload.container_statuses
        ),
    )


def _as_recorded(workload: Workload) -> Plan:
    return Plan(
        status=workload.status,
        reason=workload.reason,
        message=workload.message,
        was_ready=workload.was_ready,
        ready_replicas=workload.ready_replicas,
        container_statuses=workload.container_statuses,
        addresses=workload.addresses,
    )


def _take_down(workload: Workload, observation: Observation | None) -> Plan:
    reason = EXPIRED if workload.reason == EXPIRED else None
    message = workload.message if reason else None
    resting = workload.status in {WorkloadStatus.STOPPED, WorkloadStatus.TERMINATED}
    if observation is not None:
        status = workload.status if resting else WorkloadStatus.STOPPING
        return Plan(status, reason, message, was_ready=workload.was_ready, remove=True)
    ended = workload.status is WorkloadStatus.TERMINATED or workload.wanted is Wanted.TERMINATED
    status = WorkloadStatus.TERMINATED if ended else WorkloadStatus.STOPPED
    return Plan(status, reason, message, was_ready=workload.was_ready)


def _keep_errored(workload: Workload, observation: Observation | None) -> Plan:
    kept = dataclasses.replace(_as_recorded(workload), ready_replicas=0, addresses=())
    if observation is None or observation.launch != workload.launch:
        return kept
    seen = {(each.replica, each.container): each for each in observation.containers}
    statuses = tuple(
        {**each, "state": found.state.value, "ready": False, "lastExitCode": found.exit_code}
        if (found := seen.get((each["replica"], each["container"])))
        else each
        for each in workload.container_statuses
    )
    runs = _nothing_runs(observation) if _alive(observation) else None
    return dataclasses.replace(kept, container_statuses=statuses, runs=runs)


def _alive(observation: Observation) -> bool:
    return any(each.state is not ContainerState.TERMINATED for each in observation.containers)


def _nothing_runs(observation: Observation) -> Runs:
    return {each.replica: {} for each in observation.containers}


def _bring_up(
    workload: Workload,
    observation: Observation | None,
    verdicts: Mapping[Key, Verdict],
    now: datetime,
    policy: Policy,
    notice: str | None,
) -> Plan:
    was_ready = workload.was_ready or workload.status in {WorkloadStatus.RUNNING, WorkloadStatus.INTERRUPTED}
    seen = {}
    if observation is not None and observation.launch == workload.launch:
        seen = {(each.replica, each.container): each for each in observation.containers}
    slots = [
        _slot(str(replica), container, seen, verdicts, now, policy)
        for replica in range(workload.replicas)
        for container in workload.specification.containers
    ]
    launched_at = workload.launched_at if seen else now  # the deadline counts from when this launch was last begun
    deadline_in = launched_at + policy.launch_deadline - now
    if not was_ready:
        hopeless = _hopeless(slots, policy)
        if hopeless is not None:
            return _give_up(workload, observation, slots, *hopeless)
    replicas_ready = _ready_replicas(slots)
    complete = len(replicas_ready) == workload.replicas
    if not complete and not was_ready and deadline_in <= timedelta():
        return _give_up(workload, observation, slots, LAUNCH_DEADLINE, _missed_deadline(slots, policy))

    status = _live_status(workload, slots, complete=complete, was_ready=was_ready)
    reason, message = (None, None) if complete else _trouble(slots, was_ready=was_ready)
    waits = [each for slot in slots for each in (slot.settles_in, slot.restarts_in) if each is not None]
    if not complete and not was_ready:
        waits.append(deadline_in)
    return Plan(
        status=status,
        reason=reason,
        message=message or notice,
        was_ready=was_ready or complete,
        launched_at=launched_at if launched_at != workload.launched_at and not was_ready else None,
        ready_replicas=len(replicas_ready),
        container_statuses=tuple(_container_status(slot) for slot in slots),
        addresses=tuple(_addresses(slots, replicas_ready)),
        runs=_runs_to_apply(observation, slots, workload),
        look_again=min(waits, default=None),
    )


def _slot(
    replica: str,
    container: Container,
    seen_by_key: Mapping[Key, ContainerObservation],
    verdicts: Mapping[Key, Verdict],
    now: datetime,
    policy: Policy,
) -> _Slot:
    seen = seen_by_key.get((replica, container.name))
    verdict = verdicts.get((replica, container.name))
    if seen is None or (verdict is not None and verdict.run != seen.run):
        verdict = None
    if seen is None:
        return _Slot(replica, container, None, None, ready=False)
    if seen.state is ContainerState.TERMINATED:
        waited = now - (seen.finished_at or now)
        left = pause(seen, policy) - waited
        return _Slot(replica, container, seen, verdict, ready=False, restarts_in=left if left > timedelta() else None)
    if seen.state is not ContainerState.RUNNING:
        return _Slot(replica, container, seen, verdict, ready=False)
    if seen.ready is not None:
        return _Slot(replica, container, seen, verdict, ready=seen.ready)
    if container.probes.keys() & {ProbeKind.STARTUP, ProbeKind.READINESS}:
        return _Slot(replica, container, seen, verdict, ready=verdict is not None and verdict.ready)
    left = policy.settle - (now - (seen.started_at or now))
    failed = verdict is not None and verdict.failed is not None
    if left > timedelta():
        return _Slot(replica, container, seen, verdict, ready=False, settles_in=left)
    return _Slot(replica, container, seen, verdict, ready=not failed)


def pause(seen: ContainerObservation, policy: Policy) -> timedelta:
    """How long a container that has ended waits for its next run: twice as long after each, up to the longest."""
    if seen.started_at and seen.finished_at and seen.finished_at - seen.started_at >= policy.forgiven_after:
        return policy.first_pause
    # The exponent is bounded: the pause has long reached its limit, and a timedelta can't hold 2^100 seconds.
    return min(policy.first_pause * (1 << min(seen.run, 20)), policy.longest_pause)


def _hopeless(slots: Sequence[_Slot], policy: Policy) -> tuple[str, str] | None:
    for slot in slots:
        if slot.seen is None or slot.seen.state is not ContainerState.TERMINATED:
            continue
        if slot.seen.reason == START_ERROR:
            return START_ERROR, _ending(slot)
        if slot.seen.run >= policy.restarts_before_giving_up:
            return CRASH_LOOP, f"{_ending(slot)}, after {slot.seen.run} restarts. Its logs may say why."
    return None


def _give_up(
    workload: Workload, observation: Observation | None, slots: Sequence[_Slot], reason: str, message: str
) -> Plan:
    return Plan(
        status=WorkloadStatus.ERRORED,
        reason=reason,
        message=message,
        was_ready=workload.was_ready,
        container_statuses=tuple(
            _container_status(dataclasses.replace(slot, ready=False, restarts_in=None)) for slot in slots
        ),
        runs=_nothing_runs(observation) if observation is not None and _alive(observation) else None,
    )


def _missed_deadline(slots: Sequence[_Slot], policy: Policy) -> str:
    minutes, seconds = divmod(int(policy.launch_deadline.total_seconds()), 60)
    allowed = f"{minutes} min" if not seconds else f"{int(policy.launch_deadline.total_seconds())} s"
    details = next((f" {_describe(slot)}" for slot in slots if not slot.ready), "")
    return f"Not ready within the launch deadline of {allowed}.{details}"


def _ready_replicas(slots: Sequence[_Slot]) -> frozenset[str]:
    """Replicas all of whose containers are ready."""
    return frozenset(slot.replica for slot in slots) - {slot.replica for slot in slots if not slot.ready}


def _live_status(workload: Workload, slots: Sequence[_Slot], *, complete: bool, was_ready: bool) -> WorkloadStatus:
    if complete:
        return WorkloadStatus.RUNNING
    if was_ready:
        return WorkloadStatus.INTERRUPTED
    if workload.status is WorkloadStatus.LAUNCHING or all(slot.seen and slot.seen.started_at for slot in slots):
        return WorkloadStatus.LAUNCHING
    return WorkloadStatus.PROVISIONING


def _trouble(slots: Sequence[_Slot], *, was_ready: bool) -> tuple[str | None, str | None]:
    """Why a workload is not ready; nothing where it is only on its way up."""
    ended = next((slot for slot in slots if slot.seen and (not slot.runs or slot.failed)), None)
    if ended is not None:
        return CRASH_LOOP, f"{_ending(ended)}. It is tried again, with growing pauses."
    unready = next((slot for slot in slots if slot.runs and not slot.ready and slot.verdict), None)
    if unready is not None and unready.verdict and unready.verdict.message:
        return NOT_READY, _describe(unready)
    if was_ready:
        return REPLICAS_MISSING, "Fewer replicas are ready than wanted; the others are started."
    return None, None


def _ending(slot: _Slot) -> str:
    name = f"Container {slot.container.name} of replica {slot.replica}"
    if slot.failed is not None:
        said = f": {slot.verdict.message}" if slot.verdict and slot.verdict.message else ""
        return f"{name} failed its {slot.failed.value.lower()} probe{said}"
    if slot.seen and slot.seen.message:
        return f"{name}: {slot.seen.message}"
    return f"{name} exited with code {slot.seen.exit_code if slot.seen else 'unknown'}"


def _describe(slot: _Slot) -> str:
    name = f"Container {slot.container.name} of replica {slot.replica}"
    if slot.verdict and slot.verdict.message:
        return f"{name} is not ready: {slot.verdict.message}"
    return f"{name} is not ready."


def _runs_to_apply(observation: Observation | None, slots: Sequence[_Slot], workload: Workload) -> Runs | None:
    wanted: dict[str, dict[str, int]] = {}
    for slot in slots:
        containers = wanted.setdefault(slot.replica, {})
        if slot.wanted_run is not None:
            containers[slot.container.name] = slot.wanted_run
    if observation is None:
        return wanted or None
    if observation.launch != workload.launch:
        return wanted
    running: dict[str, dict[str, int]] = {}
    for each in observation.containers:
        containers = running.setdefault(each.replica, {})
        if each.state is not ContainerState.TERMINATED:
            containers[each.container] = each.run
    return None if running == wanted else wanted


def _container_status(slot: _Slot) -> dict[str, Any]:
    """The JSON that is stored, with the names of the graph's ContainerStatus."""
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
        reason = CRASH_LOOP
        message = f"{_ending(slot)}."
    return {
        "container": slot.container.name,
        "replica": slot.replica,
        "state": state.value,
        "ready": slot.ready,
        "restartCount": seen.run if seen else 0,
        "reason": reason,
        "message": message,
        "startedAt": seen.started_at.isoformat() if seen and seen.started_at else None,
        "lastExitCode": seen.exit_code if seen else None,
    }


def _addresses(slots: Sequence[_Slot], ready: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Where the ready replicas take traffic: at the port of their primary container."""
    for slot in slots:
        address: Address | None = slot.seen.address if slot.seen else None
        if slot.replica in ready and slot.container.primary and address is not None:
            yield {"replica": slot.replica, "host": address.host, "port": address.port}
