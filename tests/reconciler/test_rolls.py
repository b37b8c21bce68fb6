"""Rolls as the reconciler carries them out: who does what when, whatever ends in the middle of it."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import claims
from app.db.database import Database
from app.domain import enums
from app.domain.enums import ReplacementStatus, Wanted, WorkloadStatus as Status
from app.domain.specification import EnvironmentVariable
from app.domain.traffic import Traffic
from app.reconciler.loop import Reconciler
from app.runtimes.base import RuntimeUnavailable
from tests.reconciler.world import LENIENT, QUICK, SIMPLE, Engine, FakeRuntime, World, now, reconciling, until

UP = ["PROVISIONING", "LAUNCHING", "RUNNING"]
COMPLETED, FAILED, ROLLING = ReplacementStatus.COMPLETED, ReplacementStatus.FAILED, ReplacementStatus.ROLLING
REFUSED = dataclasses.replace(SIMPLE, entrypoint=None)
SECRET = EnvironmentVariable("TOKEN", enums.EnvironmentVariableType.CREDENTIAL, credential_id=uuid4(), field="key")


def address(launch: int, replica: str = "0") -> dict[str, Any]:
    return {"launch": launch, "replica": replica, "host": "host", "port": 1000 * launch + int(replica)}


class TestARoll:
    async def test_traffic_moves_when_the_successor_is_ready_and_what_served_drains(self, world: World) -> None:
        runtime = FakeRuntime()
        runtime.unready = {2}
        policy = dataclasses.replace(LENIENT, drain=timedelta(seconds=0.3))
        async with reconciling(world.database, runtime, policy=policy):
            workload_id = await world.deploy(replicas=2)
            before = await world.reaches(workload_id, Status.RUNNING)
            replacement_id = await world.replace(workload_id, replicas=1)
            await until(lambda: len(runtime.engine.starts) == 3, "the successor has been started")
            row = await world.row(workload_id)
            assert (row.status, row.addresses, row.artifact_id) == (Status.RUNNING, before.addresses, world.service_id)
            runtime.become_ready(workload_id, 2)
            ended = await world.ends(replacement_id)
            row = await world.row(workload_id)
            assert (ended.status, ended.message) == (COMPLETED, None)
            assert (row.status, row.addresses, row.replicas) == (Status.RUNNING, [address(2)], 1)
            assert (row.artifact_id, row.digest, row.launch) == (ended.to_artifact_id, "sha256:1", 2)
            assert [(each["launch"], each["replica"]) for each in row.draining] == [(1, "0"), (1, "1")]
            assert runtime.engine.launches_of(workload_id) == {1, 2}
            await until(lambda: runtime.engine.launches_of(workload_id) == {2}, "what served is gone")
            await until(lambda: _drained(world, workload_id), "nothing drains any more")
        assert await world.history(workload_id) == UP
        assert len(runtime.engine.starts) == 3

    async def test_what_is_busy_stays_until_it_is_not(self, world: World) -> None:
        runtime, traffic = FakeRuntime(), Traffic()
        async with reconciling(world.database, runtime, traffic=traffic):
            workload_id = await world.deploy()
            await world.reaches(workload_id, Status.RUNNING)
            with traffic.open(("host", 1000)):
                await world.ends(await world.replace(workload_id))
                await asyncio.sleep(3 * LENIENT.drain.total_seconds())
                assert runtime.engine.launches_of(workload_id) == {1, 2}
            await until(lambda: runtime.engine.launches_of(workload_id) == {2}, "what served is gone")

    async def test_a_successor_that_is_refused_changes_nothing(self, world: World) -> None:
        runtime = FakeRuntime()
        async with reconciling(world.database, runtime):
            workload_id = await world.deploy()
            before = await world.reaches(workload_id, Status.RUNNING)
            ended = await world.ends(await world.replace(workload_id, REFUSED))
            assert (ended.status, ended.message) == (FAILED, "There is none.")
            row = await world.row(workload_id)
            assert (row.status, row.status_reason, row.addresses) == (Status.RUNNING, None, before.addresses)
        assert [launch for _, launch, _, _ in runtime.engine.starts] == [1]

    async def test_a_successor_that_is_not_ready_in_time_goes(self, world: World) -> None:
        runtime = FakeRuntime()
        runtime.unready = {2}
        policy = dataclasses.replace(LENIENT, launch_deadline=timedelta(seconds=1))
        async with reconciling(world.database, runtime, policy=policy):
            workload_id = await world.deploy()
            await world.reaches(workload_id, Status.RUNNING)
            ended = await world.ends(await world.replace(workload_id))
            assert ended.status is FAILED
            assert ended.message == (
                "Not ready within the launch deadline of 1 s. Container main of replica 0 is not ready."
            )
            await until(lambda: runtime.engine.launches_of(workload_id) == {1}, "it is gone")
            await world.ends(await world.replace(workload_id))
            row = await world.row(workload_id)
            assert (row.status, row.launch, row.last_launch) == (Status.RUNNING, 3, 3)
        assert await world.history(workload_id) == UP

    async def test_a_missing_secret_of_the_successor_fails_it_and_is_no_trouble_of_what_serves(
        self, world: World
    ) -> None:
        runtime = FakeRuntime()
        async with reconciling(world.database, runtime):
            workload_id = await world.deploy()
            await world.reaches(workload_id, Status.RUNNING)
            with_secret = dataclasses.replace(SIMPLE, environment_vars=(SECRET,))
            ended = await world.ends(await world.replace(workload_id, with_secret))
            assert (ended.status, ended.message) == (
                FAILED,
                "Variable TOKEN of container main points at a credential without the key 'key'.",
            )
            row = await world.row(workload_id)
            assert (row.status, row.status_reason, row.addresses) == (Status.RUNNING, None, [address(1)])
        assert len(runtime.engine.starts) == 1

    async def test_a_missing_secret_of_what_serves_holds_no_successor_back(self, world: World) -> None:
        """It runs, and so needs nothing. What it needed may be why it is replaced."""
        runtime = FakeRuntime()
        there = True

        async def secrets(_: UUID, field: str) -> str:
            if not there:
                raise LookupError(field)
            return "s3cr3t"

        async with reconciling(world.database, runtime, secrets=secrets):
            workload_id = await world.deploy(dataclasses.replace(SIMPLE, environment_vars=(SECRET,)))
            await world.reaches(workload_id, Status.RUNNING)
            there = False
            ended = await world.ends(await world.replace(workload_id))
            assert ended.status is COMPLETED
            await until(lambda: runtime.engine.launches_of(workload_id) == {2}, "what served is gone")

    async def test_replicas_come_and_go_in_place(self, world: World) -> None:
        runtime = FakeRuntime()
        async with reconciling(world.database, runtime):
            workload_id = await world.deploy()
            await world.reaches(workload_id, Status.RUNNING)
            for replicas in (3, 1, 0, 1):
                await world.scale(workload_id, replicas)
                wanted = [address(1, str(each)) for each in range(replicas)]

                async def is_reached(wanted: list[Any] = wanted) -> bool:
                    row = await world.row(workload_id)
                    there = {replica for _, replica, _ in runtime.engine.containers[workload_id]}
                    return row.addresses == wanted and len(there) == len(wanted) and not row.draining

                await until(is_reached, f"there are {replicas}")
            row = await world.row(workload_id)
            assert (row.status, row.launch, row.last_launch) == (Status.RUNNING, 1, 1)
        assert [(replica, run) for _, _, replica, run in runtime.engine.starts] == [
            ("0/main", 0),
            ("1/main", 0),
            ("2/main", 0),
            ("0/main", 0),
        ]

    @pytest.mark.parametrize("wanted", [Wanted.STOPPED, Wanted.TERMINATED])
    async def test_what_is_stopped_meanwhile_goes_with_its_successor(self, world: World, wanted: Wanted) -> None:
        runtime = FakeRuntime()
        runtime.unready = {2}
        async with reconciling(world.database, runtime):
            workload_id = await world.deploy()
            await world.reaches(workload_id, Status.RUNNING)
            await world.replace(workload_id)
            await until(lambda: runtime.engine.launches_of(workload_id) == {1, 2}, "both are there")
            await world.want(workload_id, wanted)
            await world.reaches(workload_id, Status(wanted.value))
        assert runtime.engine.containers.get(workload_id) is None

    async def test_a_runtime_that_can_not_be_asked_ends_no_roll(self, world: World) -> None:
        runtime = FakeRuntime()
        runtime.unready = {2}
        policy = dataclasses.replace(LENIENT, launch_deadline=timedelta(seconds=0.4))
        async with reconciling(world.database, runtime, policy=policy):
            workload_id = await world.deploy()
            await world.reaches(workload_id, Status.RUNNING)
            replacement_id = await world.replace(workload_id)
            await until(lambda: runtime.engine.launches_of(workload_id) == {1, 2}, "both are there")
            runtime.engine.unavailable = "It does not answer."
            runtime.changed(workload_id)
            await world.reaches(workload_id, Status.INTERRUPTED, "RUNTIME_UNAVAILABLE")
            await asyncio.sleep(0.5)
            assert (await world.replacement(replacement_id)).status is ROLLING
            runtime.become_ready(workload_id, 2)
            runtime.engine.unavailable = None
            assert (await world.ends(replacement_id)).status is COMPLETED


async def _drained(world: World, workload_id: UUID) -> bool:
    return (await world.row(workload_id)).draining == []


class Dead(Exception):
    """What a server does after its end."""


class Life:
    """The steps of a server's work on workloads, in a row; it ends at the one of this number, as by SIGKILL."""

    def __init__(self, ends_at: int) -> None:
        self.ends_at = ends_at
        self.steps: list[str] = []
        self.counts = False
        self.over = False

    def step(self, what: str) -> None:
        """One more."""
        if self.counts:
            self.steps.append(what)
        if self.over or len(self.steps) > self.ends_at:
            self.over = True
            raise Dead

    def around(self, what: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same work, with a step before it and one after it."""

        async def stepwise(*arguments: Any) -> Any:
            self.step(f"before {what}")
            done = await work(*arguments)
            self.step(f"after {what}")
            return done

        return stepwise


class MortalDatabase(Database):
    """What a server sees of the database: nothing, after its end."""

    def __init__(self, dsn: str, life: Life) -> None:
        super().__init__(dsn)
        self.life = life

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        if self.life.over:
            raise Dead
        async with super().transaction() as session:
            yield session


class MortalRuntime(FakeRuntime):
    """The same of the runtime. Where it is exclusive, all that it runs ends with the server."""

    def __init__(self, life: Life, engine: Engine, *, exclusive: bool) -> None:
        super().__init__(engine, exclusive=exclusive)
        self.life = life

    def _ask(self) -> None:
        if self.life.over:
            raise RuntimeUnavailable("Its server is dead.")
        super()._ask()


def make_mortal(reconciler: Reconciler, life: Life) -> None:
    """Have the server take its steps: what it does, and what it records."""
    cycle: Any = reconciler._cycle
    for name in ("_act", "_record", "_let_go", "_let_go_of_idle"):
        setattr(cycle, name, life.around(name, getattr(cycle, name)))


TIMING = dataclasses.replace(QUICK, lease_seconds=0.2, act_within_seconds=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [True, False], ids=["what runs dies as well", "what runs lives on"])
@pytest.mark.parametrize(("successor", "ends"), [(SIMPLE, COMPLETED), (REFUSED, FAILED)])
async def test_a_roll_ends_wherever_in_it_a_server_is_killed(
    world: World, successor: Any, ends: ReplacementStatus, exclusive: bool
) -> None:
    engine = Engine()
    for number in range(40):
        life = Life(number)
        database = MortalDatabase(world.database.dsn, life)
        runtime = MortalRuntime(life, engine, exclusive=exclusive)
        async with reconciling(database, runtime, timing=TIMING) as first:
            make_mortal(first, life)
            workload_id = await world.deploy()
            await world.reaches(workload_id, Status.RUNNING)
            await until(lambda: not first._busy, "it has let go")
            life.counts = True
            replacement_id = await world.replace(workload_id, successor)
            survived = await _is_over(world, life, replacement_id)
        await database.close()
        if exclusive:
            engine.containers.clear()
            engine.launches.clear()
        async with reconciling(world.database, FakeRuntime(engine, exclusive=exclusive), timing=TIMING):
            await _ends_well(world, engine, replacement_id, ends, life.steps)
        if survived:
            break
    assert survived
    assert {"before _act", "after _act", "before _record", "after _record"} <= set(life.steps) or ends is FAILED
    if not exclusive:
        assert len(engine.starts) == len(set(engine.starts)), "nothing is started twice"


async def _ends_well(
    world: World, engine: Engine, replacement_id: UUID, ends: ReplacementStatus, steps: list[str]
) -> None:
    """Another server brings the roll to its end. Then just one launch is there, and serves."""
    ended = await world.ends(replacement_id)
    assert ended.status is ends, steps
    workload_id, launch = ended.workload_id, 2 if ends is COMPLETED else 1
    await until(lambda: engine.launches_of(workload_id) == {launch}, f"just one is there: {steps}")
    await until(lambda: _drained(world, workload_id), "nothing drains any more")
    row = await world.reaches(workload_id, Status.RUNNING)
    assert (row.launch, row.addresses) == (launch, [address(launch)])
    assert set(engine.containers[workload_id]) == {(launch, "0", "main")}
    await world.want(workload_id, Wanted.TERMINATED)
    await world.reaches(workload_id, Status.TERMINATED)


async def _is_over(world: World, life: Life, replacement_id: UUID) -> bool:
    """Wait for the end of the server, or for that of the roll and of all work on it."""
    quiet = 0
    while not life.over and quiet < 20:
        over = (await world.replacement(replacement_id)).status is not ROLLING
        workload = await world.row((await world.replacement(replacement_id)).workload_id)
        quiet = quiet + 1 if over and not workload.draining and workload.lease_holder is None else 0
        await asyncio.sleep(0.01)
    return not life.over


async def test_two_reconcilers_share_rolls_and_do_nothing_twice(world: World) -> None:
    engine = Engine()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(reconciling(world.database, FakeRuntime(engine)))
        workload_ids = [await world.deploy() for _ in range(12)]
        for workload_id in workload_ids:
            await world.reaches(workload_id, Status.RUNNING)
        rolls = [await world.replace(each, REFUSED if at % 4 == 3 else SIMPLE) for at, each in enumerate(workload_ids)]
        for at, replacement_id in enumerate(rolls):
            assert (await world.ends(replacement_id)).status is (FAILED if at % 4 == 3 else COMPLETED)
        for at, workload_id in enumerate(workload_ids):
            await _until_just(engine, workload_id, 1 if at % 4 == 3 else 2)
            assert await world.history(workload_id) == UP
    assert len(engine.starts) == len(set(engine.starts)) == 12 + 9


async def _until_just(engine: Engine, workload_id: UUID, launch: int) -> None:
    await until(lambda: engine.launches_of(workload_id) == {launch}, f"just launch {launch} is there")


async def test_one_that_freezes_in_a_roll_is_overtaken_and_records_nothing(world: World) -> None:
    engine = Engine()
    frozen, lively = FakeRuntime(engine), FakeRuntime(engine)
    timing = dataclasses.replace(QUICK, lease_seconds=0.3)
    async with reconciling(world.database, frozen, timing=timing):
        workload_id = await world.deploy()
        await world.reaches(workload_id, Status.RUNNING)
        frozen.gate.clear()
        waiting = frozen.waiting
        replacement_id = await world.replace(workload_id)
        await until(lambda: frozen.waiting > waiting, "one is at it")
        async with reconciling(world.database, lively, timing=timing):
            assert (await world.ends(replacement_id)).status is COMPLETED
            await until(lambda: engine.launches_of(workload_id) == {2}, "just one is there")
            starts = len(engine.starts)
            frozen.gate.set()  # it brings up both, as it was to a while ago
            await until(lambda: len(engine.starts) > starts, "it has woken up")
            await until(lambda: engine.launches_of(workload_id) == {2}, "what it started is gone again")
            row = await world.row(workload_id)
            assert (row.status, row.launch, row.addresses) == (Status.RUNNING, 2, [address(2)])


async def test_what_a_roll_costs_in_statements(world: World) -> None:
    """Claims cost one more for the replacements of a whole batch; what is idle is let go of in one."""
    workload_ids = [await world.deploy() for _ in range(5)]
    engine = Engine()
    async with reconciling(world.database, FakeRuntime(engine)):
        for workload_id in workload_ids:
            await world.reaches(workload_id, Status.RUNNING)
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2].split(None, 1)[0] + " " + _table(arguments[2]))

    connections = world.database.engine.sync_engine
    event.listen(connections, "before_cursor_execute", note)
    holder = uuid4()
    async with world.database.transaction() as session:
        claimed = await claims.claim(session, holder, woken=workload_ids, limit=50, lease_seconds=30)
    assert len(claimed) == 5
    cycle: Any = Reconciler(
        world.database, FakeRuntime(engine), _no_secrets, clock=now, policy=LENIENT, timing=QUICK
    )._cycle
    cycle.holder = holder
    await cycle.run(claimed, lambda *_: None)
    event.remove(connections, "before_cursor_execute", note)
    assert statements == ["UPDATE workloads", "SELECT replacements", "UPDATE workloads"]


async def _no_secrets(_: UUID, field: str) -> str:
    raise LookupError(field)


def _table(statement: str) -> str:
    return "replacements" if "FROM replacements" in statement else "workloads"
