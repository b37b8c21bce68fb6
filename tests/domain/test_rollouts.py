"""Runtimes that restart, probe and replace by themselves: what is asked of them, and what is said of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.domain import planning
from app.domain.enums import ContainerState, ReplacementStatus, Wanted, WorkloadStatus as Status
from app.domain.observations import ContainerObservation, Observation, Refusal, Rollout
from app.domain.specification import Specification
from tests.domain.planned import NOW, POLICY, running, workload

COMPLETED = planning.Outcome(ReplacementStatus.COMPLETED)
LATE = NOW + timedelta(minutes=10)


def up(replica: str = "a", *, ready: bool = True, **values: Any) -> ContainerObservation:
    """A container of a pod that runs."""
    return dataclasses.replace(running(ready=ready, **values), replica=replica)


def waiting(reason: str | None, message: str | None = None, run: int = 0) -> ContainerObservation:
    """A container of a pod that does not."""
    values: dict[str, Any] = {"state": ContainerState.WAITING, "reason": reason, "message": message}
    return up("b", ready=False, run=run, started_at=None if run == 0 else NOW, **values)


def successor(**values: Any) -> planning.Successor:
    """Launch 2."""
    defaults: dict[str, Any] = {"launch": 2, "specification": Specification(()), "replicas": 1, "begun_at": NOW}
    return planning.Successor(**{**defaults, **values})


def follow(
    given: planning.Workload,
    rollout: Rollout | None,
    launches: Mapping[int, Sequence[ContainerObservation]] | None = None,
    now: datetime = NOW,
    **values: Any,
) -> planning.Plan:
    seen = {launch: tuple(each) for launch, each in (launches or {}).items()}
    observation = Observation(seen, rollout) if rollout is not None or seen else None
    return planning.plan(given, observation, planning.Circumstances(now, POLICY, self_healing=True, **values))


def asked(launch: int = 1, replicas: int = 1, **values: Any) -> Rollout:
    """What the runtime was asked for last, and how far it is."""
    return Rollout(launch, replicas, **{"complete": False, **values})


class TestBringingUp:
    def test_what_is_absent_is_asked_for_once(self) -> None:
        plan = follow(workload(), None)
        assert (plan.status, plan.runs) == (Status.PROVISIONING, {1: {}})
        assert plan.starts == {1}
        plan = follow(workload(Status.PROVISIONING), asked())
        assert (plan.status, plan.acts, plan.look_again) == (Status.PROVISIONING, False, timedelta(minutes=10))

    def test_it_is_launching_once_its_containers_run_and_running_once_the_rollout_is_complete(self) -> None:
        plan = follow(workload(Status.PROVISIONING), asked(), {1: [up(ready=False)]})
        assert (plan.status, plan.reason, plan.ready_replicas) == (Status.LAUNCHING, None, 0)
        plan = follow(workload(Status.LAUNCHING), asked(complete=True), {1: [up()]})
        assert (plan.status, plan.was_ready, plan.ready_replicas) == (Status.RUNNING, True, 1)
        assert (plan.acts, plan.look_again, plan.addresses) == (False, None, ())
        [status] = plan.container_statuses
        assert (status["launch"], status["replica"], status["ready"]) == (1, "a", True)

    @pytest.mark.parametrize("replicas", [0, 1, 3])
    def test_another_number_of_replicas_is_asked_for_in_place(self, replicas: int) -> None:
        plan = follow(workload(Status.RUNNING, replicas=replicas), asked(replicas=2, complete=True), {1: [up()]})
        assert (plan.runs, plan.outcome) == ({1: {}}, None)
        assert plan.status is (Status.RUNNING if replicas <= 1 else Status.INTERRUPTED)

    @pytest.mark.parametrize(
        ("seen", "rollout", "reason", "message"),
        [
            (waiting("IMAGE_NOT_FOUND", "no such image"), asked(), "IMAGE_NOT_FOUND", "replica b: no such image"),
            (waiting("CRASH_LOOP", run=5), asked(), "CRASH_LOOP", "after 5 restarts. Its logs may say why."),
            (waiting("OOM_KILLED", run=6), asked(), "OOM_KILLED", "after 6 restarts. Its logs may say why."),
            (waiting(None), asked(failed=True), "PROGRESS_DEADLINE", "has given up: it made no progress in time."),
            (
                waiting(None),
                asked(failed=True, reason="QUOTA_EXCEEDED", message="exceeded quota"),
                "QUOTA_EXCEEDED",
                "exceeded quota",
            ),
        ],
    )
    def test_what_never_was_ready_is_given_up(
        self, seen: ContainerObservation, rollout: Rollout, reason: str, message: str
    ) -> None:
        plan = follow(workload(Status.LAUNCHING), rollout, {1: [seen]})
        assert (plan.status, plan.reason, plan.acts) == (Status.ERRORED, reason, False)
        assert plan.message is not None
        assert plan.message.endswith(message)
        # What was ready once is not, however it fares.
        plan = follow(workload(Status.RUNNING), rollout, {1: [seen]})
        assert (plan.status, plan.acts) == (Status.INTERRUPTED, False)

    def test_the_launch_deadline(self) -> None:
        unschedulable = {1: [waiting("UNSCHEDULABLE", "no node has room")]}
        plan = follow(workload(Status.PROVISIONING), asked(), unschedulable, now=LATE)
        assert (plan.status, plan.reason) == (Status.ERRORED, "UNSCHEDULABLE")
        assert plan.message == (
            "Not ready within the launch deadline of 10 min. Container main of replica b: no node has room"
        )
        plan = follow(workload(Status.LAUNCHING), asked(), {1: [up(ready=False)]}, now=LATE)
        assert (plan.status, plan.reason) == (Status.ERRORED, "LAUNCH_DEADLINE")
        # It counts from when the launch was last begun: nothing of it is there.
        plan = follow(workload(Status.PROVISIONING), None, now=LATE)
        assert (plan.status, plan.launched_at) == (Status.PROVISIONING, LATE)


def rolling(status: Status = Status.RUNNING, **values: Any) -> planning.Workload:
    """A workload that is being replaced."""
    return workload(status, **{"successor": successor(), **values})


class TestASuccessor:
    def test_is_asked_for_in_the_place_of_what_serves(self) -> None:
        plan = follow(rolling(), asked(complete=True), {1: [up()]})
        assert plan.runs == {1: {}, 2: {}}
        assert list(plan.runs) == [1, 2], "the one to become comes last"
        assert plan.starts == {2}
        assert (plan.status, plan.outcome, plan.successor_begun_at) == (Status.RUNNING, None, NOW)

    def test_takes_over_when_the_rollout_is_complete(self) -> None:
        beside = {1: [up()], 2: [up("b", ready=False)]}
        plan = follow(rolling(), asked(2), beside)
        assert (plan.status, plan.outcome, plan.acts, plan.ready_replicas) == (Status.RUNNING, None, False, 1)
        assert plan.look_again == timedelta(minutes=10)
        assert [(each["launch"], each["ready"]) for each in plan.container_statuses] == [(1, True), (2, False)]
        plan = follow(rolling(), asked(2, complete=True), {2: [up("b")]})
        assert (plan.status, plan.outcome, plan.acts) == (Status.RUNNING, COMPLETED, False)

    @pytest.mark.parametrize(
        ("seen", "rollout", "now", "message"),
        [
            (waiting("IMAGE_NOT_FOUND", "gone"), asked(2), NOW, "Container main of replica b: gone"),
            (waiting(None), asked(2, failed=True, message="exceeded quota", reason="Q"), NOW, "exceeded quota"),
            (up("b", ready=False), asked(2), LATE, "Not ready within the launch deadline of 10 min."),
        ],
    )
    def test_that_fails_goes_and_what_serves_is_asked_for_again(
        self, seen: ContainerObservation, rollout: Rollout, now: datetime, message: str
    ) -> None:
        plan = follow(rolling(), rollout, {1: [up()], 2: [seen]}, now=now)
        assert plan.outcome == planning.Outcome(ReplacementStatus.FAILED, message)
        assert (plan.status, plan.runs, plan.ready_replicas) == (Status.RUNNING, {1: {}}, 1)
        assert plan.starts == {1}

    def test_that_is_refused_is_never_asked_for(self) -> None:
        refused = {2: Refusal("NO_ENTRYPOINT", "Set one.")}
        plan = follow(rolling(), asked(complete=True), {1: [up()]}, refusals=refused)
        assert plan.outcome == planning.Outcome(ReplacementStatus.FAILED, "Set one.")
        assert (plan.status, plan.acts) == (Status.RUNNING, False)

    @pytest.mark.parametrize("status", [Status.PROVISIONING, Status.LAUNCHING])
    def test_nothing_is_given_up_while_something_may_take_over(self, status: Status) -> None:
        given = rolling(status, launched_at=NOW - timedelta(hours=1))
        plan = follow(given, asked(2), {1: [waiting("IMAGE_NOT_FOUND")]})
        assert (plan.status, plan.outcome, plan.launched_at) == (status, None, None)
        assert plan.look_again == timedelta(minutes=10)
        plan = follow(given, asked(2), {2: [up("b", ready=False)]})
        assert (plan.status, plan.launched_at) == (status, None), "the deadline of what it replaces does not move"


def test_a_workload_that_goes_is_removed_whatever_is_under_way() -> None:
    given = rolling(Status.STOPPING, wanted=Wanted.STOPPED)
    assert follow(given, asked(2), {1: [up()], 2: [up("b")]}).remove
    assert follow(given, None).status is Status.STOPPED
