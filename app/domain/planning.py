"""What to do about a workload, and what to say of it: facts and `now` in, a plan out, no I/O.

    SUBMITTED → PROVISIONING → LAUNCHING → RUNNING ⇄ INTERRUPTED
        any live status → STOPPING → STOPPED
        PROVISIONING, LAUNCHING, RUNNING, INTERRUPTED → ERRORED, until someone restarts or stops it
        any → TERMINATED

A plan depends on what is wanted and what is seen, not on what happened in between, so it does not matter how often
it is made, by whom, or what was lost on the way.

A replacement brings a successor up beside the launch that serves: while it is under way the status is that of the one
that serves; once the successor is ready it takes over, and one that fails goes and leaves everything as it was.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.domain import rollouts, slots
from app.domain.enums import ContainerState, ReplacementStatus, Wanted, WorkloadStatus
from app.domain.observations import Observation, Refusal
from app.domain.slots import Key, Policy, Runs, Side, Verdict
from app.domain.specification import Specification

EXPIRED = "EXPIRED"
RUNTIME_UNAVAILABLE = "RUNTIME_UNAVAILABLE"
CREDENTIAL_UNAVAILABLE = "CREDENTIAL_UNAVAILABLE"

# How often a replica with open requests is looked at.
DRAIN_POLL = timedelta(milliseconds=500)


@dataclasses.dataclass(frozen=True, slots=True)
class Successor:
    """The launch that is to take over. `begun_at`: when it was last begun, from where its deadline counts."""

    launch: int
    specification: Specification
    replicas: int
    begun_at: datetime


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
    draining: Sequence[Mapping[str, Any]] = ()
    successor: Successor | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a replacement ended. COMPLETED: the successor has taken over."""

    status: ReplacementStatus
    message: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to record, and what to have the runtime do.

    `runs` is what it is to run, by launch, the one to become last; None where that is so already. `starts` are those
    of which something does not run yet. `remove`: nothing of the workload may be left in it. `draining` are replicas
    that get no more traffic and wait for what is still open. `look_again`: when something is due without an event that
    tells so.
    """

    status: WorkloadStatus
    reason: str | None = None
    message: str | None = None
    was_ready: bool = False
    launched_at: datetime | None = None
    ready_replicas: int = 0
    container_statuses: Sequence[Mapping[str, Any]] = ()
    addresses: Sequence[Mapping[str, Any]] = ()
    draining: Sequence[Mapping[str, Any]] = ()
    runs: Mapping[int, Runs] | None = None
    starts: frozenset[int] = frozenset()
    remove: bool = False
    outcome: Outcome | None = None
    successor_begun_at: datetime | None = None
    look_again: timedelta | None = None

    @property
    def acts(self) -> bool:
        """Whether the runtime has something to do."""
        return self.remove or self.runs is not None


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


@dataclasses.dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision depends on beside the workload and what is seen of it.

    `self_healing`: the runtime restarts, probes and replaces by itself. `busy` are addresses at which requests are
    still open. `refusals` are of launches that will never run, whatever is tried; `notice` is what the runtime says of
    all that it runs.
    """

    now: datetime
    policy: Policy
    verdicts: Mapping[Key, Verdict] = dataclasses.field(default_factory=dict)
    self_healing: bool = False
    busy: Collection[tuple[str, int]] = ()
    refusals: Mapping[int, Refusal] = dataclasses.field(default_factory=dict)
    notice: str | None = None


def plan(workload: Workload, observation: Observation | None, given: Circumstances) -> Plan:
    """Decide about a workload whose runtime has answered; None is the answer that it has nothing of it."""
    if workload.wanted is not Wanted.RUNNING or workload.status in {WorkloadStatus.STOPPED, WorkloadStatus.TERMINATED}:
        return _take_down(workload, observation)
    if workload.status is WorkloadStatus.ERRORED:
        return _keep_errored(workload, observation)
    refusal = given.refusals.get(workload.launch)
    if refusal is not None and workload.successor is None:
        return _give_up(workload, observation, (), refusal.reason, refusal.message)
    if given.self_healing:
        return _follow(workload, observation, given)
    return _bring_up(workload, observation, given)


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
        draining=workload.draining,
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
    kept = dataclasses.replace(_as_recorded(workload), ready_replicas=0, addresses=(), draining=())
    if observation is None:
        return kept
    seen = {
        (launch, each.replica, each.container): each
        for launch, containers in observation.launches.items()
        for each in containers
    }
    statuses = tuple(
        {**each, "state": found.state.value, "ready": False, "lastExitCode": found.exit_code}
        if (found := seen.get((each["launch"], each["replica"], each["container"])))
        else each
        for each in workload.container_statuses
    )
    return dataclasses.replace(kept, container_statuses=statuses, runs=_nothing_runs(workload, observation))


def _nothing_runs(workload: Workload, observation: Observation | None) -> Mapping[int, Runs] | None:
    """What has been given up runs no more, but stays for its logs; None where that is so.

    A runtime that heals by itself can't keep the one without the other: there it goes on trying, in long pauses.
    """
    if observation is None or observation.rollout is not None:
        return None
    alive = any(
        each.state is not ContainerState.TERMINATED for launch in observation.launches.values() for each in launch
    )
    if not alive and observation.launches.keys() <= {workload.launch}:
        return None
    return {workload.launch: {each.replica: {} for each in observation.launches.get(workload.launch, ())}}


def _give_up(
    workload: Workload,
    observation: Observation | None,
    statuses: Sequence[Mapping[str, Any]],
    reason: str,
    message: str,
) -> Plan:
    return Plan(
        status=WorkloadStatus.ERRORED,
        reason=reason,
        message=message,
        was_ready=workload.was_ready,
        container_statuses=tuple(statuses),
        runs=_nothing_runs(workload, observation),
    )


def _bring_up(workload: Workload, observation: Observation | None, given: Circumstances) -> Plan:
    """For a runtime that Slipway restarts: say which container runs when, and let a successor take over."""
    was_ready = _was_ready(workload)
    seen = observation.launches if observation is not None else {}

    def look(launch: int, specification: Specification, replicas: int) -> Side:
        return slots.look(
            launch,
            specification,
            replicas,
            seen.get(launch, ()),
            verdicts=given.verdicts,
            recorded=workload.container_statuses,
            now=given.now,
            policy=given.policy,
        )

    side = look(workload.launch, workload.specification, workload.replicas)
    # The deadline counts from when a launch was last begun.
    launched_at = workload.launched_at if seen.get(workload.launch) else given.now
    deadline_in = launched_at + given.policy.launch_deadline - given.now
    next_up = workload.successor
    successor, outcome, begun_at = None, None, None
    if next_up is not None:
        successor = look(next_up.launch, next_up.specification, next_up.replicas)
        begun_at = next_up.begun_at if seen.get(next_up.launch) else given.now
        outcome = _outcome(successor, begun_at, given)
    elif not was_ready:
        failed = side.hopeless
        if failed is None and not side.complete and deadline_in <= timedelta():
            failed = slots.missed_deadline(side)
        if failed is not None:
            return _give_up(workload, observation, side.given_up(), *failed)

    if outcome is not None and successor is not None:
        if outcome.status is ReplacementStatus.COMPLETED:
            side, was_ready = successor, True
        successor = None
    sides = [side] if successor is None else [side, successor]
    draining = list(_draining(workload, observation, sides, given))
    waits = [wait for each in sides for wait in each.waits] + [left for _, left in draining]
    if successor is not None and begun_at is not None:
        waits.append(begun_at + given.policy.launch_deadline - given.now)
    elif not side.complete and not was_ready:
        waits.append(max(deadline_in, timedelta()))  # it has passed where a replacement has just failed
    reason, message = (None, None) if side.complete else side.trouble(was_ready=was_ready)
    runs, starts = _runs_to_apply(observation, sides, [replica for replica, _ in draining], given.refusals)
    return Plan(
        status=_live_status(workload, complete=side.complete, was_ready=was_ready, started=side.started),
        reason=reason,
        message=message or given.notice,
        was_ready=was_ready or side.complete,
        launched_at=launched_at if launched_at != workload.launched_at and not was_ready else None,
        ready_replicas=len(side.ready),
        container_statuses=tuple(status for each in sides for status in each.statuses()),
        addresses=tuple(side.addresses()),
        draining=tuple(replica for replica, _ in draining),
        runs=runs,
        starts=starts,
        outcome=outcome,
        successor_begun_at=begun_at if successor is not None else None,
        look_again=min(waits, default=None),
    )


def _was_ready(workload: Workload) -> bool:
    return workload.was_ready or workload.status in {WorkloadStatus.RUNNING, WorkloadStatus.INTERRUPTED}


def _outcome(successor: Side, begun_at: datetime, given: Circumstances) -> Outcome | None:
    """How the replacement ends now; None while it is under way."""
    if (refusal := given.refusals.get(successor.launch)) is not None:
        return Outcome(ReplacementStatus.FAILED, refusal.message)
    if successor.complete:
        return Outcome(ReplacementStatus.COMPLETED)
    failed = successor.hopeless
    if failed is None and begun_at + given.policy.launch_deadline <= given.now:
        failed = slots.missed_deadline(successor)
    return None if failed is None else Outcome(ReplacementStatus.FAILED, failed[1])


def _live_status(workload: Workload, *, complete: bool, was_ready: bool, started: bool) -> WorkloadStatus:
    if complete:
        return WorkloadStatus.RUNNING
    if was_ready:
        return WorkloadStatus.INTERRUPTED
    if workload.status is WorkloadStatus.LAUNCHING or started:
        return WorkloadStatus.LAUNCHING
    return WorkloadStatus.PROVISIONING


def _draining(
    workload: Workload, observation: Observation | None, sides: Sequence[Side], given: Circumstances
) -> Iterator[tuple[dict[str, Any], timedelta]]:
    """Replicas that had traffic and are not wanted any more, while they wait for what is still open at them.

    Each with how long it waits until it is looked at again.
    """
    wanted = {(side.launch, str(replica)) for side in sides for replica in range(side.replicas)}
    alive = {
        (launch, each.replica)
        for launch, containers in (observation.launches if observation else {}).items()
        for each in containers
        if each.state is not ContainerState.TERMINATED
    }
    since = given.now.isoformat()
    leaving = {(each["launch"], each["replica"]): {**each, "since": since} for each in workload.addresses}
    leaving |= {(each["launch"], each["replica"]): dict(each) for each in workload.draining}
    for replica, entry in leaving.items():
        if replica in wanted or replica not in alive:
            continue
        waited = given.now - datetime.fromisoformat(entry["since"])
        is_busy = (entry["host"], entry["port"]) in given.busy
        if waited < given.policy.drain or (is_busy and waited < given.policy.longest_drain):
            yield entry, max(given.policy.drain - waited, DRAIN_POLL)


def _runs_to_apply(
    observation: Observation | None,
    sides: Sequence[Side],
    draining: Sequence[Mapping[str, Any]],
    refused: Collection[int],
) -> tuple[Mapping[int, Runs] | None, frozenset[int]]:
    """What the runtime is to run, by launch, the one to become last, and where something of that is missing.

    None where it runs just that.
    """
    present: dict[int, dict[str, dict[str, int]]] = {}
    running: set[tuple[int, str, str, int]] = set()
    for launch, containers in (observation.launches if observation else {}).items():
        replicas = present.setdefault(launch, {})
        for each in containers:
            runs = replicas.setdefault(each.replica, {})
            if each.state is not ContainerState.TERMINATED:
                runs[each.container] = each.run
            if each.state is ContainerState.RUNNING:
                running.add((launch, each.replica, each.container, each.run))
    wanted: dict[int, dict[str, dict[str, int]]] = {}
    for entry in draining:
        launch, replica = entry["launch"], entry["replica"]
        wanted.setdefault(launch, {})[replica] = present[launch][replica]
    for side in sides:
        if side.launch not in refused:
            wanted[side.launch] = {**wanted.pop(side.launch, {}), **side.runs}
    # Whether a launch of which nothing is wanted is there or not makes no difference.
    if present.keys() <= wanted.keys() and all(present.get(launch, {}) == runs for launch, runs in wanted.items()):
        return None, frozenset()
    starts = frozenset(
        side.launch
        for side in sides
        for replica, runs in wanted.get(side.launch, {}).items()
        for container, run in runs.items()
        if (side.launch, replica, container, run) not in running
    )
    return wanted, starts


def _follow(workload: Workload, observation: Observation | None, given: Circumstances) -> Plan:
    """For a runtime that does the rest by itself: ask it for one launch, and see how far it is."""
    was_ready = _was_ready(workload)
    next_up = workload.successor
    current = rollouts.look(workload.launch, workload.replicas, observation, given.policy)
    launched_at = workload.launched_at if current.begun else given.now
    target, outcome, begun_at = current, None, None
    if next_up is not None:
        target = rollouts.look(next_up.launch, next_up.replicas, observation, given.policy)
        begun_at = next_up.begun_at if target.begun else given.now
        outcome = _rollout_outcome(target, begun_at, given)
    elif not was_ready and (failed := target.failure(launched_at, given.now)) is not None:
        return _give_up(workload, observation, rollouts.statuses(observation), *failed)
    if outcome is not None:
        if outcome.status is ReplacementStatus.COMPLETED:
            current, was_ready = target, True
        target, begun_at = current, None
    ready = rollouts.ready_replicas(observation)
    complete = len(ready) >= current.replicas if was_ready else current.complete
    reason, message = (None, None) if complete else current.trouble(was_ready=was_ready)
    waits = []
    if begun_at is not None:
        waits.append(begun_at + given.policy.launch_deadline - given.now)
    elif not complete and not was_ready:
        waits.append(max(launched_at + given.policy.launch_deadline - given.now, timedelta()))
    return Plan(
        status=_live_status(workload, complete=complete, was_ready=was_ready, started=current.started),
        reason=reason,
        message=message or given.notice,
        was_ready=was_ready or complete,
        launched_at=launched_at if launched_at != workload.launched_at and not was_ready and next_up is None else None,
        ready_replicas=min(len(ready), current.replicas),
        container_statuses=rollouts.statuses(observation),
        runs=None if target.asked else {launch: {} for launch in (current.launch, target.launch)},
        starts=frozenset() if target.asked else frozenset({target.launch}),
        outcome=outcome,
        successor_begun_at=begun_at,
        look_again=min(waits, default=None),
    )


def _rollout_outcome(successor: rollouts.Progress, begun_at: datetime, given: Circumstances) -> Outcome | None:
    if (refusal := given.refusals.get(successor.launch)) is not None:
        return Outcome(ReplacementStatus.FAILED, refusal.message)
    if successor.complete:
        return Outcome(ReplacementStatus.COMPLETED)
    failed = successor.failure(begun_at, given.now)
    return None if failed is None else Outcome(ReplacementStatus.FAILED, failed[1])
