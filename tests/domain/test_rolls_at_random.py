"""Whatever happens to a workload while it is replaced, scaled, stopped and started, these rules hold."""

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, strategies as st

from app.domain import planning, slots
from app.domain.enums import ContainerState, ProbeKind, ReplacementStatus, Wanted, WorkloadStatus as Status
from app.domain.observations import Address, ContainerObservation, Observation
from tests.domain.planned import LIVE, NOW, POLICY, PROBED, workload

Replica = tuple[int, str]
Happening = tuple[str, int]

# A word, and a number that says to which replica, or how much of it.
TO_REPLICAS = ("ready", "unready", "failed", "crash", "vanish", "busy", "idle")
TO_ALL = ("wait", "wait long", "replace", "replace", "scale", "stop", "restart", "server restarts", "unavailable")
HAPPENINGS = st.tuples(st.sampled_from([*TO_REPLICAS, *TO_ALL]), st.integers(min_value=0, max_value=3))


class World:
    """One workload in a runtime that does at once what a plan says, and what users and fate do to it."""

    def __init__(self) -> None:
        self.now = NOW
        self.workload = workload(Status.SUBMITTED, PROBED, replicas=2)
        self.last_launch = 1
        self.seen: dict[Replica, ContainerObservation] = {}
        self.verdicts: dict[slots.Key, slots.Verdict] = {}
        self.busy: set[tuple[str, int]] = set()
        self.reachable = True

    def happen(self, happening: Happening) -> None:
        """Users and fate."""
        word, number = happening
        self.reachable = word != "unavailable"
        match word:
            case "wait":
                self.now += timedelta(seconds=number)
            case "wait long":
                self.now += timedelta(seconds=200 * number)
            case "replace":
                self.replace(number)
            case "scale" if self.workload.successor is None:
                self.workload = dataclasses.replace(self.workload, replicas=number)
            case "stop" if self.workload.status not in {Status.STOPPED, Status.STOPPING}:
                self.workload = dataclasses.replace(
                    self.workload, wanted=Wanted.STOPPED, status=Status.STOPPING, successor=None
                )
            case "restart" if self.workload.status is not Status.STOPPING:
                self.launch()
            case "server restarts":
                self.seen, self.verdicts, self.busy = {}, {}, set()
            case _:
                self.strike(word, number)

    def replace(self, replicas: int) -> None:
        """As the actions do it: beside what runs, else at once."""
        if self.workload.successor is not None:
            return
        self.last_launch += 1
        if self.workload.status in {*LIVE} - {Status.SUBMITTED}:
            begun = planning.Successor(self.last_launch, self.workload.specification, replicas, self.now)
            self.workload = dataclasses.replace(self.workload, successor=begun)
            return
        self.workload = dataclasses.replace(self.workload, launch=self.last_launch, replicas=replicas)
        if self.workload.status is Status.ERRORED:
            self.launch()

    def launch(self) -> None:
        """As start and restart do it."""
        self.last_launch += 1
        self.workload = dataclasses.replace(
            self.workload,
            wanted=Wanted.RUNNING,
            status=Status.SUBMITTED,
            reason=None,
            launch=self.last_launch,
            launched_at=self.now,
            was_ready=False,
            successor=None,
        )

    def strike(self, word: str, number: int) -> None:
        """Something happens to one of the replicas that are there."""
        if not self.seen:
            return
        replica = sorted(self.seen)[number % len(self.seen)]
        seen = self.seen[replica]
        launch, name = replica
        match word:
            case "vanish":
                del self.seen[replica]
            case "crash":
                self.seen[replica] = self.ended(seen, exit_code=1)
            case "busy" if seen.address is not None:
                self.busy.add((seen.address.host, seen.address.port))
            case "idle":
                self.busy.clear()
            case "ready" | "unready" | "failed":
                failed = ProbeKind.LIVENESS if word == "failed" else None
                self.verdicts[launch, name, "main"] = slots.Verdict(seen.run, ready=word == "ready", failed=failed)

    def ended(self, seen: ContainerObservation, exit_code: int) -> ContainerObservation:
        if seen.state is ContainerState.TERMINATED:
            return seen
        return dataclasses.replace(
            seen, state=ContainerState.TERMINATED, finished_at=self.now, exit_code=exit_code, address=None
        )

    def takes_traffic(self, replica: Replica) -> bool:
        """Whether it runs, and the prober has found it ready."""
        seen = self.seen.get(replica)
        found = self.verdicts.get((*replica, "main"))
        if seen is None or seen.state is not ContainerState.RUNNING:
            return False
        return found is not None and (found.run, found.ready) == (seen.run, True)

    def decide(self) -> planning.Plan:
        """What the reconciler finds to do."""
        if not self.reachable:
            return planning.plan_unavailable(self.workload, "It does not answer.")
        launches: dict[int, list[ContainerObservation]] = {}
        for (launch, _), seen in self.seen.items():
            launches.setdefault(launch, []).append(seen)
        observation = Observation({launch: tuple(each) for launch, each in launches.items()}) if launches else None
        given_now = planning.Circumstances(self.now, POLICY, self.verdicts, busy=self.busy)
        return planning.plan(self.workload, observation, given_now)

    def carry_out(self, plan: planning.Plan) -> None:
        """What the reconciler does: it records, then acts."""
        before = self.workload
        launch, replicas = before.launch, before.replicas
        if plan.outcome is not None and plan.outcome.status is ReplacementStatus.COMPLETED:
            assert before.successor is not None
            launch, replicas = before.successor.launch, before.successor.replicas
        next_up = None if plan.outcome is not None else before.successor
        if next_up is not None and plan.successor_begun_at is not None:
            next_up = dataclasses.replace(next_up, begun_at=plan.successor_begun_at)
        self.workload = dataclasses.replace(
            before,
            status=plan.status,
            reason=plan.reason,
            was_ready=plan.was_ready,
            launched_at=plan.launched_at or before.launched_at,
            container_statuses=plan.container_statuses,
            ready_replicas=plan.ready_replicas,
            addresses=plan.addresses,
            draining=plan.draining,
            successor=next_up,
            launch=launch,
            replicas=replicas,
        )
        if plan.remove:
            self.seen = {}
        elif plan.runs is not None:
            self.run({(launch, each): runs for launch, some in plan.runs.items() for each, runs in some.items()})

    def run(self, wanted: Mapping[Replica, Mapping[str, int]]) -> None:
        for replica in self.seen.keys() - wanted.keys():
            del self.seen[replica]
        for (launch, name), runs in wanted.items():
            seen = self.seen.get((launch, name))
            if "main" not in runs:
                if seen is not None:
                    self.seen[launch, name] = self.ended(seen, exit_code=137)
            elif seen is None or seen.run != runs["main"]:
                assert seen is None or (seen.state, seen.run + 1) == (ContainerState.TERMINATED, runs["main"])
                self.seen[launch, name] = ContainerObservation(
                    name,
                    "main",
                    runs["main"],
                    ContainerState.RUNNING,
                    address=Address("host", 1000 * launch + int(name)),
                    started_at=self.now,
                )

    def settle(self) -> None:
        """All is well for some minutes."""
        self.reachable = True
        self.busy.clear()
        for _ in range(10):
            self.now += timedelta(minutes=1)
            ready = [each for each in self.seen if self.seen[each].state is ContainerState.RUNNING]
            self.verdicts = {(*each, "main"): slots.Verdict(self.seen[each].run, ready=True) for each in ready}
            self.carry_out(self.decide())


def _replicas(addresses: Iterable[Mapping[str, Any]]) -> set[Replica]:
    return {(each["launch"], each["replica"]) for each in addresses}


def assert_traffic_is_right(world: World, plan: planning.Plan) -> None:
    """It goes to one launch, and there to what is ready."""
    assert len({each["launch"] for each in plan.addresses}) <= 1
    assert all(world.takes_traffic(each) for each in _replicas(plan.addresses))
    assert plan.ready_replicas == len(plan.addresses)
    assert not _replicas(plan.addresses) & _replicas(plan.draining)


def assert_the_roll_is_right(world: World, plan: planning.Plan) -> None:
    """Nothing is given up while something may take over, and a failure changes nothing of what serves."""
    before = world.workload
    if before.successor is None or before.wanted is not Wanted.RUNNING:
        assert plan.outcome is None
        return
    assert plan.status is not Status.ERRORED
    if plan.outcome is None or plan.outcome.status is ReplacementStatus.COMPLETED:
        return
    serving = [(before.launch, str(each)) for each in range(before.replicas)]
    assert _replicas(plan.addresses) == {each for each in serving if world.takes_traffic(each)}
    for replica in serving:
        seen, verdict = world.seen.get(replica), world.verdicts.get((*replica, "main"))
        failed = verdict is not None and seen is not None and verdict.run == seen.run and verdict.failed is not None
        if seen is not None and seen.state is ContainerState.RUNNING and plan.runs is not None and not failed:
            assert plan.runs[before.launch][replica[1]] == {"main": seen.run}


def assert_drains_are_right(world: World, plan: planning.Plan) -> None:
    """What had traffic goes after two seconds without any, or up to thirty where requests are still open."""
    draining = {(each["launch"], each["replica"]): each for each in world.workload.draining}
    waited = {replica: world.now - datetime.fromisoformat(each["since"]) for replica, each in draining.items()}
    assert all(waited.get(each, timedelta()) < POLICY.longest_drain for each in _replicas(plan.draining))
    if plan.runs is None or plan.status is Status.ERRORED:
        return
    for replica, seen in world.seen.items():
        if seen.state is not ContainerState.RUNNING or replica[1] in plan.runs.get(replica[0], {}):
            continue
        assert replica not in _replicas(world.workload.addresses), "it goes while it has traffic"
        if replica in draining:
            entry = draining[replica]
            is_busy = (entry["host"], entry["port"]) in world.busy
            assert waited[replica] >= (POLICY.longest_drain if is_busy else POLICY.drain)


@given(happenings=st.lists(HAPPENINGS, max_size=40))
def test_whatever_happens_the_rules_hold(happenings: list[Happening]) -> None:
    world = World()
    for happening in [("wait", 1), *happenings]:
        world.happen(happening)
        for _ in range(4):
            plan = world.decide()
            planning.path(world.workload.status, plan.status)  # raises where the rules know no such way
            assert plan.look_again is None or plan.look_again >= timedelta()
            if world.reachable:
                assert_traffic_is_right(world, plan)
                assert_the_roll_is_right(world, plan)
                assert_drains_are_right(world, plan)
            world.carry_out(plan)
        assert not world.decide().acts, "what is carried out once is not asked for again"
    world.settle()
    settled = world.workload
    wanted = {(settled.launch, str(each)) for each in range(settled.replicas)}
    assert (settled.successor, settled.draining) == (None, ())
    match settled.status:
        case Status.RUNNING:
            assert world.seen.keys() == _replicas(settled.addresses) == wanted
        case Status.STOPPED:
            assert world.seen == {}
        case _:
            assert settled.status is Status.ERRORED
            assert {each.state for each in world.seen.values()} <= {ContainerState.TERMINATED}
