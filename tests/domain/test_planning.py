import dataclasses
from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from app.domain import planning, slots
from app.domain.enums import ContainerState, ProbeKind, Wanted, WorkloadStatus as Status
from app.domain.observations import ContainerObservation, Observation, Refusal
from app.domain.specification import Container
from tests.domain.planned import (
    BARE,
    LIVE,
    NOW,
    POLICY,
    PROBED,
    SIDE,
    decide,
    ended,
    running,
    verdict,
    workload,
)


class TestPath:
    @pytest.mark.parametrize(
        ("before", "after", "way"),
        [
            (Status.SUBMITTED, Status.RUNNING, (Status.PROVISIONING, Status.LAUNCHING, Status.RUNNING)),
            (Status.SUBMITTED, Status.ERRORED, (Status.PROVISIONING, Status.ERRORED)),
            (Status.RUNNING, Status.INTERRUPTED, (Status.INTERRUPTED,)),
            (Status.INTERRUPTED, Status.RUNNING, (Status.RUNNING,)),
            (Status.RUNNING, Status.RUNNING, ()),
            (Status.ERRORED, Status.TERMINATED, (Status.STOPPING, Status.TERMINATED)),
            (Status.STOPPED, Status.TERMINATED, (Status.TERMINATED,)),
        ],
    )
    def test_no_status_is_skipped(self, before: Status, after: Status, way: tuple[Status, ...]) -> None:
        assert planning.path(before, after) == way

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (Status.TERMINATED, Status.STOPPED),
            (Status.STOPPED, Status.RUNNING),
            (Status.ERRORED, Status.RUNNING),
            (Status.STOPPING, Status.RUNNING),
            (Status.RUNNING, Status.LAUNCHING),
            (Status.LAUNCHING, Status.PROVISIONING),
        ],
    )
    def test_what_only_a_person_may_do(self, before: Status, after: Status) -> None:
        with pytest.raises(ValueError, match=f"from {before} to {after} by itself"):
            planning.path(before, after)


class TestBringingUp:
    def test_what_is_absent_is_started(self) -> None:
        plan = decide(workload(Status.SUBMITTED, PROBED, SIDE, replicas=2), notice="A notice.")
        assert plan.status is Status.PROVISIONING
        assert plan.runs == {1: {"0": {"main": 0, "side": 0}, "1": {"main": 0, "side": 0}}}
        assert (plan.message, plan.addresses, plan.ready_replicas) == ("A notice.", (), 0)
        assert [(each["replica"], each["container"], each["state"]) for each in plan.container_statuses] == [
            ("0", "main", "WAITING"),
            ("0", "side", "WAITING"),
            ("1", "main", "WAITING"),
            ("1", "side", "WAITING"),
        ]

    def test_what_runs_and_is_not_ready_is_launching_and_left_alone(self) -> None:
        plan = decide(workload(Status.PROVISIONING), running(), verdicts=verdict(ready=False))
        assert (plan.status, plan.acts, plan.reason) == (Status.LAUNCHING, False, None)
        assert plan.look_again == timedelta(minutes=10)

    def test_not_yet_started_is_provisioning(self) -> None:
        waiting = running(state=ContainerState.WAITING, started_at=None)
        assert decide(workload(Status.SUBMITTED), waiting).status is Status.PROVISIONING

    def test_ready_is_running_and_takes_traffic(self) -> None:
        plan = decide(workload(Status.LAUNCHING), running(), verdicts=verdict(), notice="A notice.")
        assert plan == planning.Plan(
            status=Status.RUNNING,
            message="A notice.",
            was_ready=True,
            ready_replicas=1,
            container_statuses=(
                {
                    "launch": 1,
                    "container": "main",
                    "replica": "0",
                    "state": "RUNNING",
                    "ready": True,
                    "restartCount": 0,
                    "reason": None,
                    "message": None,
                    "startedAt": "2026-11-23T11:59:30+00:00",
                    "lastExitCode": None,
                },
            ),
            addresses=({"launch": 1, "replica": "0", "host": "127.0.0.1", "port": 4000},),
        )

    def test_a_replica_is_ready_when_all_its_containers_are(self) -> None:
        plan = decide(workload(Status.LAUNCHING, PROBED, SIDE), running(), running("side"), verdicts=verdict())
        assert plan.status is Status.RUNNING
        plan = decide(workload(Status.LAUNCHING, PROBED, SIDE), running(), verdicts=verdict())
        assert (plan.status, plan.ready_replicas, plan.addresses) == (Status.LAUNCHING, 0, ())
        assert plan.runs == {1: {"0": {"main": 0, "side": 0}}}

    def test_some_ready_replicas_take_traffic_before_all_are(self) -> None:
        plan = decide(workload(Status.LAUNCHING, replicas=2), running(), running(replica="1"), verdicts=verdict())
        assert (plan.status, plan.ready_replicas) == (Status.LAUNCHING, 1)
        assert plan.addresses == ({"launch": 1, "replica": "0", "host": "127.0.0.1", "port": 4000},)

    def test_the_readiness_of_a_runtime_that_probes_itself_counts(self) -> None:
        assert decide(workload(Status.LAUNCHING), running(ready=True)).status is Status.RUNNING
        assert decide(workload(Status.LAUNCHING), running(ready=False), verdicts=verdict()).status is Status.LAUNCHING

    def test_a_verdict_on_another_run_does_not_count(self) -> None:
        assert decide(workload(Status.LAUNCHING), running(run=1), verdicts=verdict(run=0)).status is Status.LAUNCHING

    def test_without_probes_a_container_is_ready_once_it_has_settled(self) -> None:
        fresh = running(started_at=NOW - timedelta(milliseconds=200))
        plan = decide(workload(Status.PROVISIONING, BARE), fresh)
        assert (plan.status, plan.look_again) == (Status.LAUNCHING, timedelta(milliseconds=100))
        assert decide(workload(Status.LAUNCHING, BARE), running()).status is Status.RUNNING

    def test_no_replicas_are_all_ready(self) -> None:
        plan = decide(workload(Status.SUBMITTED, replicas=0))
        assert (plan.status, plan.acts) == (Status.RUNNING, False)

    def test_replicas_beyond_the_wanted_ones_go(self) -> None:
        plan = decide(workload(Status.RUNNING), running(), running(replica="1"), verdicts=verdict())
        assert (plan.status, plan.runs) == (Status.RUNNING, {1: {"0": {"main": 0}}})

    def test_an_earlier_launch_is_replaced(self) -> None:
        plan = decide(workload(Status.SUBMITTED, launch=2), running(run=3), verdicts=verdict(run=3))
        assert (plan.status, plan.runs, plan.addresses) == (Status.PROVISIONING, {2: {"0": {"main": 0}}}, ())


class TestTrouble:
    def test_fewer_ready_than_wanted_is_interrupted(self) -> None:
        plan = decide(workload(Status.RUNNING), running(), verdicts=verdict(ready=False, message="HTTP 503"))
        assert (plan.status, plan.reason, plan.acts) == (Status.INTERRUPTED, slots.NOT_READY, False)
        assert plan.message == "Container main of replica 0 is not ready: HTTP 503"
        assert (plan.was_ready, plan.addresses) == (True, ())

    def test_what_vanished_is_started_again(self) -> None:
        plan = decide(workload(Status.RUNNING))
        assert (plan.status, plan.reason) == (Status.INTERRUPTED, slots.REPLICAS_MISSING)
        assert plan.runs == {1: {"0": {"main": 0}}}

    def test_between_two_runs_it_waits(self) -> None:
        plan = decide(workload(Status.RUNNING), ended(run=2, seconds_ago=1, exit_code=7))
        assert (plan.status, plan.reason, plan.acts) == (Status.INTERRUPTED, "CRASH_LOOP", False)
        assert plan.look_again == timedelta(seconds=3)
        [status] = plan.container_statuses
        assert (status["state"], status["reason"], status["lastExitCode"]) == ("WAITING", "CRASH_LOOP", 7)
        assert (status["restartCount"], status["ready"]) == (2, False)

    def test_after_the_pause_it_runs_again(self) -> None:
        assert decide(workload(Status.INTERRUPTED), ended(run=2, seconds_ago=4)).runs == {1: {"0": {"main": 3}}}

    @pytest.mark.parametrize(
        ("run", "seconds"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60), (7, 60), (5_000, 60)]
    )
    def test_pauses_double_up_to_a_minute(self, run: int, seconds: int) -> None:
        assert slots.pause(ended(run=run), POLICY) == timedelta(seconds=seconds)

    def test_a_long_run_is_forgiven(self) -> None:
        assert slots.pause(ended(run=9, started_at=NOW - timedelta(minutes=10)), POLICY) == timedelta(seconds=1)

    def test_once_ready_it_is_tried_for_ever(self) -> None:
        plan = decide(workload(Status.INTERRUPTED), ended(run=500, seconds_ago=60))
        assert (plan.status, plan.runs) == (Status.INTERRUPTED, {1: {"0": {"main": 501}}})

    def test_a_failed_liveness_stops_the_container_then_starts_it_again(self) -> None:
        failed = verdict(ready=False, failed=ProbeKind.LIVENESS, message="HTTP 500")
        plan = decide(workload(Status.RUNNING), running(), verdicts=failed)
        assert (plan.status, plan.reason, plan.runs) == (Status.INTERRUPTED, "CRASH_LOOP", {1: {"0": {}}})
        assert plan.container_statuses[0]["reason"] == "LIVENESS_FAILED"
        plan = decide(workload(Status.INTERRUPTED), ended(seconds_ago=1), verdicts=failed)
        assert plan.runs == {1: {"0": {"main": 1}}}

    def test_never_ready_is_given_up_after_five_restarts(self) -> None:
        plan = decide(workload(Status.LAUNCHING), ended(run=4, seconds_ago=16))
        assert (plan.status, plan.runs) == (Status.LAUNCHING, {1: {"0": {"main": 5}}})
        plan = decide(workload(Status.LAUNCHING), ended(run=5))
        assert (plan.status, plan.reason, plan.acts) == (Status.ERRORED, "CRASH_LOOP", False)
        assert plan.message == (
            "Container main of replica 0 exited with code 1, after 5 restarts. Its logs may say why."
        )
        assert plan.container_statuses[0]["state"] == "TERMINATED"

    def test_giving_up_stops_the_others(self) -> None:
        plan = decide(workload(Status.LAUNCHING, replicas=2), ended(run=5), running(replica="1"))
        assert (plan.status, plan.runs) == (Status.ERRORED, {1: {"0": {}, "1": {}}})

    def test_what_cannot_be_started_is_given_up_at_once(self) -> None:
        broken = ended(reason="START_ERROR", message="there is no command 'x'", exit_code=127)
        plan = decide(workload(Status.PROVISIONING), broken)
        assert (plan.status, plan.reason) == (Status.ERRORED, "START_ERROR")
        assert plan.message == "Container main of replica 0: there is no command 'x'"

    def test_the_launch_deadline(self) -> None:
        late = NOW + timedelta(minutes=10)
        plan = decide(workload(Status.LAUNCHING), running(), verdicts=verdict(ready=False, message="refused"), now=late)
        assert (plan.status, plan.reason, plan.runs) == (Status.ERRORED, slots.LAUNCH_DEADLINE, {1: {"0": {}}})
        assert plan.message == (
            "Not ready within the launch deadline of 10 min. Container main of replica 0 is not ready: refused"
        )
        just_before = late - timedelta(microseconds=1)
        plan = decide(workload(Status.LAUNCHING), running(), verdicts=verdict(ready=False), now=just_before)
        assert (plan.status, plan.look_again) == (Status.LAUNCHING, timedelta(microseconds=1))

    def test_no_deadline_once_ready(self) -> None:
        late = NOW + timedelta(days=1)
        assert decide(workload(Status.RUNNING), running(), verdicts=verdict(), now=late).status is Status.RUNNING
        plan = decide(workload(Status.INTERRUPTED), running(), verdicts=verdict(ready=False), now=late)
        assert (plan.status, plan.look_again) == (Status.INTERRUPTED, None)

    def test_the_deadline_begins_anew_when_everything_is_started_anew(self) -> None:
        late = NOW + timedelta(days=1)
        plan = decide(workload(Status.LAUNCHING), now=late)
        assert (plan.status, plan.launched_at, plan.runs) == (Status.LAUNCHING, late, {1: {"0": {"main": 0}}})

    def test_a_refusal_is_final(self) -> None:
        plan = decide(workload(), refusals={1: Refusal("NO_ENTRYPOINT", "Set one.")})
        assert (plan.status, plan.reason, plan.message, plan.acts) == (
            Status.ERRORED,
            "NO_ENTRYPOINT",
            "Set one.",
            False,
        )

    def test_errored_stays(self) -> None:
        status = {"launch": 1, "container": "main", "replica": "0", "state": "RUNNING", "ready": False}
        statuses = ({**status, "lastExitCode": None},)
        errored = workload(Status.ERRORED, reason="X", message="Why.", container_statuses=statuses)
        plan = decide(errored, running(), verdicts=verdict())
        assert (plan.status, plan.reason, plan.message, plan.runs) == (Status.ERRORED, "X", "Why.", {1: {"0": {}}})
        plan = decide(errored, ended(exit_code=143))
        assert (plan.acts, plan.container_statuses[0]["state"]) == (False, "TERMINATED")
        assert plan.container_statuses[0]["lastExitCode"] == 143
        assert decide(errored).container_statuses == statuses


class TestUnavailable:
    @pytest.mark.parametrize("status", LIVE)
    def test_unknown_is_not_absent(self, status: Status) -> None:
        recorded = workload(
            status,
            ready_replicas=1,
            container_statuses=({"launch": 1, "container": "main", "state": "RUNNING"},),
            addresses=({"launch": 1, "replica": "0", "host": "h", "port": 1},),
        )
        plan = planning.plan_unavailable(recorded, "It does not answer.")
        assert plan.status is (Status.INTERRUPTED if status is Status.RUNNING else status)
        assert (plan.reason, plan.message) == (planning.RUNTIME_UNAVAILABLE, "It does not answer.")
        assert plan.container_statuses == ({"launch": 1, "container": "main", "state": "UNKNOWN"},)
        assert (plan.addresses, plan.ready_replicas, plan.acts) == (recorded.addresses, 1, False)

    @pytest.mark.parametrize("status", [Status.STOPPING, Status.ERRORED, Status.STOPPED, Status.TERMINATED])
    def test_nothing_is_recorded_of_what_is_to_go(self, status: Status) -> None:
        recorded = workload(status, wanted=Wanted.TERMINATED, reason="EXPIRED")
        plan = planning.plan_unavailable(recorded, "It does not answer.")
        assert (plan.status, plan.reason, plan.message, plan.acts) == (status, "EXPIRED", None, False)


class TestTakingDown:
    @pytest.mark.parametrize("status", [*LIVE, Status.STOPPING, Status.ERRORED])
    @pytest.mark.parametrize("wanted", [Wanted.STOPPED, Wanted.TERMINATED])
    def test_it_is_stopping_until_nothing_is_left(self, status: Status, wanted: Wanted) -> None:
        plan = decide(workload(status, wanted=wanted), running(), verdicts=verdict())
        assert (plan.status, plan.remove, plan.addresses) == (Status.STOPPING, True, ())
        assert (plan.ready_replicas, plan.container_statuses) == (0, ())
        plan = decide(workload(Status.STOPPING, wanted=wanted))
        assert (plan.status.value, plan.remove) == (wanted.value, False)

    def test_what_has_expired_says_so_to_the_end(self) -> None:
        plan = decide(workload(Status.STOPPING, wanted=Wanted.TERMINATED, reason="EXPIRED", message="Why."))
        assert (plan.status, plan.reason, plan.message) == (Status.TERMINATED, "EXPIRED", "Why.")
        plan = decide(workload(Status.STOPPING, wanted=Wanted.TERMINATED, reason="CRASH_LOOP", message="Why."))
        assert (plan.status, plan.reason, plan.message) == (Status.TERMINATED, None, None)

    @pytest.mark.parametrize("status", [Status.STOPPED, Status.TERMINATED])
    def test_what_is_left_of_one_at_rest_goes(self, status: Status) -> None:
        wanted = Wanted(status.value)
        plan = decide(workload(status, wanted=wanted), running(), launch=7)
        assert (plan.status, plan.remove) == (status, True)
        assert decide(workload(status, wanted=wanted)).acts is False


class World:
    """One workload of one container in a runtime that does at once what a plan says."""

    def __init__(self, container: Container) -> None:
        self.now = NOW
        self.workload = workload(Status.SUBMITTED, container)
        self.seen: ContainerObservation | None = None
        self.verdicts: Mapping[slots.Key, slots.Verdict] = {}
        self.reachable = True

    def happen(self, happening: str | int) -> None:
        self.reachable = happening != "unavailable"
        if isinstance(happening, int):
            self.now += timedelta(seconds=happening)
        elif happening == "stop":
            self.workload = dataclasses.replace(self.workload, wanted=Wanted.STOPPED)
        elif happening == "vanish":
            self.seen = None
        elif happening == "crash":
            self.end(exit_code=1)
        elif self.seen is not None and happening in {"ready", "unready", "failed"}:
            failed = ProbeKind.LIVENESS if happening == "failed" else None
            self.verdicts = verdict(ready=happening == "ready", run=self.seen.run, failed=failed)

    def end(self, exit_code: int) -> None:
        if self.seen is not None and self.seen.state is ContainerState.RUNNING:
            self.seen = dataclasses.replace(
                self.seen, state=ContainerState.TERMINATED, finished_at=self.now, exit_code=exit_code
            )

    def decide(self) -> planning.Plan:
        if not self.reachable:
            return planning.plan_unavailable(self.workload, "It does not answer.")
        observation = None if self.seen is None else Observation({1: (self.seen,)})
        return planning.plan(self.workload, observation, planning.Circumstances(self.now, POLICY, self.verdicts))

    def carry_out(self, plan: planning.Plan) -> None:
        if plan.remove:
            self.seen = None
        elif plan.runs is not None and "main" in plan.runs[1]["0"]:
            run = plan.runs[1]["0"]["main"]
            assert self.seen is None or run == self.seen.run + 1
            self.seen = running(run=run, started_at=self.now)
        elif plan.runs is not None:
            self.end(exit_code=137)
        self.workload = dataclasses.replace(
            self.workload,
            status=plan.status,
            reason=plan.reason,
            was_ready=plan.was_ready,
            launched_at=plan.launched_at or self.workload.launched_at,
            container_statuses=plan.container_statuses,
            ready_replicas=plan.ready_replicas,
            addresses=plan.addresses,
        )


HAPPENINGS = st.one_of(
    st.sampled_from(["ready", "unready", "failed", "crash", "vanish", "stop", "unavailable"]),
    st.integers(min_value=1, max_value=700),
)


@given(happenings=st.lists(HAPPENINGS, max_size=40), probed=st.booleans())
def test_whatever_happens_the_history_is_one_of_the_rules(happenings: list[str | int], probed: bool) -> None:
    world = World(PROBED if probed else BARE)
    for happening in [1, *happenings, 1]:
        world.happen(happening)
        for _ in range(3):
            before, plan = world.workload, world.decide()
            planning.path(before.status, plan.status)  # raises where the rules know no such way
            assert plan.ready_replicas == 1 or not plan.addresses
            if before.was_ready and before.wanted is Wanted.RUNNING:
                assert plan.status in {Status.RUNNING, Status.INTERRUPTED}
            world.carry_out(plan)
        assert not world.decide().acts, "what is carried out once is not asked for again"
    if world.workload.wanted is Wanted.STOPPED:
        assert (world.workload.status, world.seen) == (Status.STOPPED, None)
