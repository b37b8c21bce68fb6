"""A successor beside what serves: how it takes over, how it fails, and what becomes of replicas that are to go."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.domain import planning, slots
from app.domain.enums import ContainerState, ReplacementStatus, Wanted, WorkloadStatus as Status
from app.domain.observations import Address, ContainerObservation, Observation, Refusal
from app.domain.specification import Container, ContainerGroup, Specification
from tests.domain.planned import BARE, NOW, POLICY, PROBED, SIDE, ended, running, workload

FAILED, COMPLETED = ReplacementStatus.FAILED, ReplacementStatus.COMPLETED
Seen = Mapping[int, Sequence[ContainerObservation]]


def successor(*containers: Container, **values: Any) -> planning.Successor:
    """What is to take over: launch 2."""
    defaults: dict[str, Any] = {
        "launch": 2,
        "specification": Specification((ContainerGroup(containers or (PROBED,)),)),
        "replicas": 1,
        "begun_at": NOW,
    }
    return planning.Successor(**{**defaults, **values})


def rolling(status: Status = Status.RUNNING, *, next_up: planning.Successor | None = None, **values: Any) -> Any:
    """A workload that is being replaced: it serves at launch 1."""
    serving = {"addresses": (address(1),)} if status is Status.RUNNING else {}
    return workload(status, successor=next_up or successor(), **{**serving, **values})


def up(launch: int, replica: str = "0", **values: Any) -> ContainerObservation:
    """A container that runs, at a port that tells its launch and its replica."""
    return running(replica=replica, address=Address("host", 1000 * launch + int(replica)), **values)


def address(launch: int, replica: str = "0") -> dict[str, Any]:
    """Where `up` takes traffic."""
    return {"launch": launch, "replica": replica, "host": "host", "port": 1000 * launch + int(replica)}


def ready(*replicas: tuple[int, str]) -> dict[slots.Key, slots.Verdict]:
    """What the prober says of replicas that are ready."""
    return {(launch, replica, "main"): slots.Verdict(0, ready=True) for launch, replica in replicas}


def decide(
    given: planning.Workload,
    seen: Seen,
    verdicts: Mapping[slots.Key, slots.Verdict] | None = None,
    now: datetime = NOW,
    **values: Any,
) -> planning.Plan:
    observation = Observation({launch: tuple(each) for launch, each in seen.items()}) if seen else None
    return planning.plan(given, observation, planning.Circumstances(now, POLICY, verdicts or {}, **values))


ONE, TWO = {"0": {"main": 0}}, {"0": {"main": 0}, "1": {"main": 0}}
SERVES = ready((1, "0"))


class TestASuccessor:
    def test_is_brought_up_beside_what_serves(self) -> None:
        plan = decide(rolling(), {1: [up(1)]}, SERVES)
        assert plan.runs == {1: ONE, 2: ONE}
        assert list(plan.runs) == [1, 2], "the one to become comes last"
        assert plan.starts == {2}
        assert (plan.status, plan.outcome, plan.addresses, plan.draining) == (Status.RUNNING, None, (address(1),), ())
        assert [(each["launch"], each["state"]) for each in plan.container_statuses] == [(1, "RUNNING"), (2, "WAITING")]

    def test_gets_no_traffic_before_all_of_it_is_ready(self) -> None:
        given = rolling(next_up=successor(replicas=2))
        plan = decide(given, {1: [up(1)], 2: [up(2), up(2, "1")]}, SERVES | ready((2, "0")))
        assert (plan.outcome, plan.acts, plan.addresses, plan.ready_replicas) == (None, False, (address(1),), 1)
        assert plan.look_again == timedelta(minutes=10)

    def test_takes_over_once_it_is_ready(self) -> None:
        given = rolling(next_up=successor(replicas=2))
        plan = decide(given, {1: [up(1)], 2: [up(2), up(2, "1")]}, SERVES | ready((2, "0"), (2, "1")))
        assert plan.outcome == planning.Outcome(COMPLETED)
        assert (plan.status, plan.reason, plan.ready_replicas) == (Status.RUNNING, None, 2)
        assert plan.addresses == (address(2), address(2, "1"))
        assert plan.draining == ({**address(1), "since": NOW.isoformat()},)
        assert (plan.acts, plan.look_again) == (False, timedelta(seconds=2))
        assert {each["launch"] for each in plan.container_statuses} == {2}

    def test_that_is_to_have_no_replicas_takes_over_at_once(self) -> None:
        plan = decide(rolling(next_up=successor(replicas=0)), {1: [up(1)]}, SERVES)
        assert plan.outcome == planning.Outcome(COMPLETED)
        assert (plan.status, plan.ready_replicas, plan.addresses) == (Status.RUNNING, 0, ())
        assert [each["launch"] for each in plan.draining] == [1]

    @pytest.mark.parametrize("status", [Status.PROVISIONING, Status.LAUNCHING, Status.INTERRUPTED])
    def test_that_is_ready_makes_a_workload_run_that_did_not(self, status: Status) -> None:
        plan = decide(rolling(status, launched_at=NOW - timedelta(1)), {1: [ended(run=9)], 2: [up(2)]}, ready((2, "0")))
        assert (plan.outcome, plan.status, plan.was_ready) == (planning.Outcome(COMPLETED), Status.RUNNING, True)
        assert plan.draining == (), "what had no traffic goes at once"
        assert plan.runs == {2: ONE}
        plan = decide(rolling(status, launched_at=NOW - timedelta(1)), {2: [up(2)]}, ready((2, "0")))
        assert (plan.outcome, plan.launched_at) == (planning.Outcome(COMPLETED), None)

    def test_comes_up_with_all_that_still_waits_to_start(self) -> None:
        """A runtime is given what it needs for a launch of which not everything runs yet."""
        waiting = up(1, state=ContainerState.WAITING, started_at=None, reason="PULLING")
        assert decide(rolling(Status.PROVISIONING), {1: [waiting]}).starts == {1, 2}
        assert decide(rolling(Status.PROVISIONING), {1: [up(1)]}).starts == {2}

    def test_restarts_as_what_serves_does(self) -> None:
        crashed = ended(run=1, seconds_ago=1)
        plan = decide(rolling(next_up=successor(BARE)), {1: [up(1)], 2: [crashed]}, SERVES)
        assert (plan.outcome, plan.acts, plan.look_again) == (None, False, timedelta(seconds=1))
        crashed = ended(run=1, seconds_ago=2)
        plan = decide(rolling(next_up=successor(BARE)), {1: [up(1)], 2: [crashed]}, SERVES)
        assert plan.runs == {1: ONE, 2: {"0": {"main": 2}}}
        assert plan.starts == {2}


BROKEN = ended(reason="START_ERROR", message="there is no command 'x'")
LATE = NOW + timedelta(minutes=10)
FAILURES: Mapping[str, tuple[Sequence[ContainerObservation], dict[str, Any], str]] = {
    "it can't be started": ([BROKEN], {}, "Container main of replica 0: there is no command 'x'"),
    "it was restarted five times": (
        [ended(run=5)],
        {},
        "Container main of replica 0 exited with code 1, after 5 restarts. Its logs may say why.",
    ),
    "its image is not there": (
        [up(2, state=ContainerState.WAITING, started_at=None, reason="IMAGE_NOT_FOUND", message="no such image")],
        {},
        "Container main of replica 0: no such image",
    ),
    "it is not ready in time": (
        [up(2)],
        {"now": LATE},
        "Not ready within the launch deadline of 10 min. Container main of replica 0 is not ready.",
    ),
    "the runtime refuses it": ([], {"refusals": {2: Refusal("NO_ENTRYPOINT", "Set one.")}}, "Set one."),
}


class TestAFailure:
    @pytest.mark.parametrize("why", FAILURES)
    def test_leaves_what_serves_as_it_is(self, why: str) -> None:
        seen, circumstances, message = FAILURES[why]
        plan = decide(rolling(), {1: [up(1)], **({2: seen} if seen else {})}, SERVES, **circumstances)
        assert plan.outcome == planning.Outcome(FAILED, message)
        assert (plan.status, plan.reason, plan.message) == (Status.RUNNING, None, None)
        assert (plan.addresses, plan.draining, plan.ready_replicas) == ((address(1),), (), 1)
        assert {each["launch"] for each in plan.container_statuses} == {1}
        # The successor goes, and nothing is started.
        assert plan.runs == ({1: ONE} if seen else None)
        assert plan.starts == frozenset()

    @pytest.mark.parametrize("why", FAILURES)
    def test_is_followed_by_the_end_of_what_never_was_ready(self, why: str) -> None:
        """While something may still take over, nothing is given up, hopeless as it may be."""
        seen, circumstances, _ = FAILURES[why]
        given = rolling(Status.LAUNCHING, launched_at=NOW - timedelta(hours=1))
        plan = decide(given, {1: [BROKEN], **({2: seen} if seen else {})}, **circumstances)
        assert (plan.outcome and plan.outcome.status, plan.status) == (FAILED, Status.LAUNCHING)
        assert plan.look_again == timedelta(), "at once"
        plan = decide(dataclasses.replace(given, successor=None), {1: [BROKEN]})
        assert (plan.status, plan.reason) == (Status.ERRORED, "START_ERROR")

    def test_deadline_counts_from_when_the_successor_was_last_begun(self) -> None:
        begun = NOW - timedelta(minutes=5)
        given = rolling(next_up=successor(begun_at=begun))
        plan = decide(given, {1: [up(1)], 2: [up(2)]}, SERVES)
        assert (plan.successor_begun_at, plan.look_again) == (begun, timedelta(minutes=5))
        # A server that starts finds nothing of it: it begins anew.
        plan = decide(given, {1: [up(1)]}, SERVES, now=LATE)
        assert (plan.successor_begun_at, plan.outcome, plan.runs) == (LATE, None, {1: ONE, 2: ONE})

    def test_deadline_of_what_serves_does_not_count_meanwhile(self) -> None:
        given = rolling(Status.LAUNCHING, launched_at=NOW - timedelta(hours=1))
        plan = decide(given, {1: [up(1)], 2: [up(2)]})
        assert (plan.status, plan.outcome, plan.look_again) == (Status.LAUNCHING, None, timedelta(minutes=10))

    def test_what_the_runtime_refuses_is_not_run_while_something_else_may_take_over(self) -> None:
        refused = {1: Refusal("NO_ENTRYPOINT", "Set one.")}
        plan = decide(rolling(Status.PROVISIONING), {}, refusals=refused)
        assert (plan.status, plan.runs) == (Status.PROVISIONING, {2: ONE})
        plan = decide(rolling(Status.PROVISIONING), {2: [up(2)]}, ready((2, "0")), refusals=refused)
        assert (plan.outcome, plan.status) == (planning.Outcome(COMPLETED), Status.RUNNING)


# What is seen of the launch that serves, by what the workload was: the status is about this one alone.
MEANWHILE: Mapping[str, tuple[Status, Sequence[ContainerObservation], bool, Status, str | None]] = {
    "it serves": (Status.RUNNING, [up(1)], True, Status.RUNNING, None),
    "it is not ready": (Status.RUNNING, [up(1)], False, Status.INTERRUPTED, None),
    "it has crashed": (Status.RUNNING, [ended(run=7)], False, Status.INTERRUPTED, "CRASH_LOOP"),
    "it has vanished": (Status.RUNNING, [], False, Status.INTERRUPTED, "REPLICAS_MISSING"),
    "it is ready again": (Status.INTERRUPTED, [up(1)], True, Status.RUNNING, None),
    "it is not up yet": (Status.PROVISIONING, [], False, Status.PROVISIONING, None),
    "it comes up": (Status.PROVISIONING, [up(1)], False, Status.LAUNCHING, None),
    "it becomes ready": (Status.LAUNCHING, [up(1)], True, Status.RUNNING, None),
    "it crashes before it was ready": (Status.LAUNCHING, [ended(run=7)], False, Status.LAUNCHING, "CRASH_LOOP"),
    "it can't be started": (Status.PROVISIONING, [BROKEN], False, Status.LAUNCHING, "CRASH_LOOP"),
}


@pytest.mark.parametrize("what", MEANWHILE)
@pytest.mark.parametrize("beside", [[], [up(2)], [ended(run=3)]], ids=["nothing", "comes up", "crashes"])
def test_meanwhile_the_status_is_that_of_what_serves(what: str, beside: list[ContainerObservation]) -> None:
    before, seen, is_ready, after, reason = MEANWHILE[what]
    launches = {number: each for number, each in ((1, seen), (2, beside)) if each}
    plan = decide(rolling(before), launches, ready((1, "0")) if is_ready else {})
    told = plan.reason if after is not Status.INTERRUPTED or reason is not None else None
    assert (plan.status, told, plan.outcome) == (after, reason, None)
    assert plan.addresses == ((address(1),) if is_ready else ())


def drained(launch: int = 1, replica: str = "0", *, seconds: float) -> dict[str, Any]:
    """A replica that has had no new traffic for so long."""
    return {**address(launch, replica), "since": (NOW - timedelta(seconds=seconds)).isoformat()}


class TestDraining:
    @pytest.mark.parametrize(
        ("seconds", "busy", "waits"),
        [
            (0, False, 2.0),
            (1.75, False, 0.5),
            (1.99, True, 0.5),
            (2, False, None),
            (2, True, 0.5),
            (29.99, True, 0.5),
            (30, True, None),
            (30, False, None),
        ],
    )
    def test_takes_two_seconds_and_up_to_thirty_for_what_is_open(
        self, seconds: float, busy: bool, waits: float | None
    ) -> None:
        given = workload(Status.RUNNING, launch=2, draining=(drained(seconds=seconds),), addresses=(address(2),))
        busy_at = {("host", 1000)} if busy else set()
        plan = decide(given, {1: [up(1)], 2: [up(2)]}, ready((2, "0")), busy=busy_at)
        if waits is None:
            assert (plan.draining, plan.runs, plan.look_again) == ((), {2: ONE}, None)
        else:
            assert (plan.draining, plan.runs) == ((drained(seconds=seconds),), None)
            assert plan.look_again == timedelta(seconds=waits)

    def test_what_is_open_elsewhere_holds_nothing_up(self) -> None:
        given = workload(Status.RUNNING, launch=2, draining=(drained(seconds=3),), addresses=(address(2),))
        plan = decide(given, {1: [up(1)], 2: [up(2)]}, ready((2, "0")), busy={("host", 2000), ("other", 1000)})
        assert (plan.draining, plan.runs) == ((), {2: ONE})

    def test_fewer_replicas_drain_as_well(self) -> None:
        given = workload(Status.RUNNING, addresses=(address(1), address(1, "1")))
        seen = {1: [up(1), up(1, "1")]}
        plan = decide(given, seen, ready((1, "0"), (1, "1")))
        assert (plan.addresses, plan.ready_replicas) == ((address(1),), 1)
        assert (plan.draining, plan.acts) == ((drained(replica="1", seconds=0),), False)
        later = dataclasses.replace(given, addresses=plan.addresses, draining=(drained(replica="1", seconds=2),))
        assert decide(later, seen, ready((1, "0"), (1, "1"))).runs == {1: ONE}

    def test_no_replicas_at_all(self) -> None:
        given = workload(Status.RUNNING, replicas=0, addresses=(address(1),))
        plan = decide(given, {1: [up(1)]}, SERVES)
        assert (plan.status, plan.addresses, plan.draining, plan.acts) == (
            Status.RUNNING,
            (),
            (drained(seconds=0),),
            False,
        )
        plan = decide(dataclasses.replace(given, addresses=(), draining=(drained(seconds=2),)), {1: [up(1)]}, SERVES)
        assert (plan.draining, plan.runs) == ((), {1: {}})
        # Remains of the launch, such as its logs, are no reason to ask again, nor is their absence.
        at_rest = dataclasses.replace(given, addresses=())
        assert [decide(at_rest, {}).acts, decide(at_rest, {1: []}).acts] == [False, False]
        up_beside = dataclasses.replace(at_rest, successor=successor())
        assert [decide(up_beside, {2: [up(2)]}).acts, decide(up_beside, {1: [], 2: [up(2)]}).acts] == [False, False]

    def test_a_replica_that_is_wanted_again_drains_no_more(self) -> None:
        given = workload(
            Status.RUNNING, replicas=2, addresses=(address(1),), draining=(drained(replica="1", seconds=1),)
        )
        plan = decide(given, {1: [up(1), up(1, "1")]}, ready((1, "0"), (1, "1")))
        assert (plan.draining, plan.addresses, plan.acts) == ((), (address(1), address(1, "1")), False)

    def test_nothing_drains_that_had_no_traffic(self) -> None:
        given = rolling(next_up=successor(), replicas=2)
        seen = {1: [up(1), up(1, "1")], 2: [up(2)]}
        plan = decide(given, seen, ready((1, "0"), (2, "0")))
        assert plan.draining == (drained(seconds=0),)
        assert plan.runs == {1: ONE, 2: ONE}

    def test_nothing_drains_that_has_ended(self) -> None:
        given = workload(Status.RUNNING, launch=2, addresses=(address(2),), draining=(drained(seconds=0),))
        plan = decide(given, {1: [ended()], 2: [up(2)]}, ready((2, "0")))
        assert (plan.draining, plan.runs) == ((), {2: ONE})
        assert decide(given, {2: [up(2)]}, ready((2, "0"))).draining == ()

    def test_what_drains_is_left_in_its_run_and_not_restarted(self) -> None:
        given = workload(Status.RUNNING, PROBED, SIDE, launch=2, draining=(drained(seconds=0),))
        side = dataclasses.replace(ended(run=2), container="side")
        plan = decide(given, {1: [up(1, run=4), side]})
        assert plan.draining == (drained(seconds=0),)
        assert plan.runs == {1: {"0": {"main": 4}}, 2: {"0": {"main": 0, "side": 0}}}
        assert plan.starts == {2}

    def test_two_rolls_in_a_row_drain_side_by_side(self) -> None:
        given = workload(
            Status.RUNNING,
            launch=2,
            addresses=(address(2),),
            draining=(drained(1, seconds=1),),
            successor=successor(launch=3),
        )
        plan = decide(given, {1: [up(1)], 2: [up(2)], 3: [up(3)]}, ready((2, "0"), (3, "0")))
        assert plan.outcome == planning.Outcome(COMPLETED)
        assert (plan.addresses, plan.acts) == ((address(3),), False)
        assert plan.draining == (drained(2, seconds=0), drained(1, seconds=1))

    def test_a_restart_drains_what_served(self) -> None:
        given = workload(Status.SUBMITTED, launch=2, addresses=(address(1),))
        plan = decide(given, {1: [up(1)]}, SERVES)
        assert (plan.status, plan.addresses, plan.draining) == (Status.PROVISIONING, (), (drained(seconds=0),))
        assert plan.runs == {1: ONE, 2: ONE}

    @pytest.mark.parametrize("wanted", [Wanted.STOPPED, Wanted.TERMINATED])
    def test_a_stop_waits_for_nothing(self, wanted: Wanted) -> None:
        given = rolling(Status.STOPPING, wanted=wanted, draining=(drained(9, seconds=0),), addresses=(address(1),))
        plan = decide(given, {1: [up(1)], 2: [up(2)], 9: [up(9)]}, SERVES)
        assert (plan.remove, plan.addresses, plan.draining, plan.outcome) == (True, (), (), None)


def test_launches_that_nobody_wants_go_at_once() -> None:
    """As a server leaves them that ended between what it did and what it recorded."""
    given = workload(Status.RUNNING, launch=4, addresses=(address(4),))
    seen = {1: [up(1)], 3: [ended()], 4: [up(4)], 7: [], 8: [up(8), up(8, "1")]}
    plan = decide(given, seen, ready((1, "0"), (4, "0"), (8, "0")))
    assert (plan.runs, plan.addresses, plan.draining) == ({4: ONE}, (address(4),), ())
    assert plan.starts == frozenset()


def test_what_gave_up_keeps_its_own_launch_for_the_logs() -> None:
    given = workload(Status.ERRORED, launch=2)
    assert decide(given, {1: [up(1)], 2: [ended(run=5)], 3: [up(3)]}).runs == {2: {"0": {}}}
    assert decide(given, {1: [], 2: [ended(run=5)]}).runs == {2: {"0": {}}}
    assert decide(given, {2: [ended(run=5)]}).acts is False
    assert decide(given, {}).acts is False


def recorded(**values: Any) -> dict[str, Any]:
    """What was stored of the replica that `up(1)` is."""
    found = {"launch": 1, "replica": "0", "container": "main", "restartCount": 0, "ready": True}
    return {**found, "startedAt": (NOW - timedelta(seconds=30)).isoformat(), **values}


UNDECIDED, DECIDED = slots.Verdict(0, ready=False, decided=False), slots.Verdict(0, ready=False)


@pytest.mark.parametrize(
    ("stored", "verdict", "takes_traffic"),
    [
        (recorded(), None, True),
        (recorded(), UNDECIDED, True),
        (recorded(), DECIDED, False),
        (recorded(ready=False), UNDECIDED, False),
        (recorded(launch=2), UNDECIDED, False),
        (recorded(replica="1"), UNDECIDED, False),
        (recorded(restartCount=1), UNDECIDED, False),
        (recorded(startedAt=NOW.isoformat()), UNDECIDED, False),
        (recorded(ready=False), slots.Verdict(0, ready=True), True),
    ],
)
def test_a_prober_that_has_just_begun_takes_nothing_away(
    stored: Mapping[str, Any], verdict: slots.Verdict | None, takes_traffic: bool
) -> None:
    given = workload(Status.RUNNING, addresses=(address(1),), container_statuses=(stored,))
    plan = decide(given, {1: [up(1)]}, {} if verdict is None else {(1, "0", "main"): verdict})
    assert bool(plan.addresses) is takes_traffic
    assert plan.status is (Status.RUNNING if takes_traffic else Status.INTERRUPTED)
