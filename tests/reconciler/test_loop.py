"""What the reconciler does with rows, leases, locks and a runtime that is out of its mind."""

import asyncio
import contextlib
import dataclasses
import uuid
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import event
from sqlmodel import col, select, update

from app.db import tables
from app.domain import enums
from app.domain.enums import Wanted, WorkloadStatus as Status
from app.domain.specification import EnvironmentVariable
from app.reconciler.cycle import Timing
from tests.reconciler.world import QUICK, SIMPLE, Engine, FakeRuntime, World, now, reconciling, until

UP = ["PROVISIONING", "LAUNCHING", "RUNNING"]


async def health(world: World) -> tuple[bool, str] | None:
    async with world.database.read() as session:
        row = (await session.exec(select(tables.RuntimeRow))).one_or_none()
        return None if row is None else (row.available, row.message)


class TestLife:
    async def test_what_is_wanted_comes_up(self, world: World) -> None:
        runtime = FakeRuntime()
        workload_id = await world.deploy(replicas=2)
        before = await world.row(workload_id)
        async with reconciling(world.database, runtime):
            row = await world.reaches(workload_id, Status.RUNNING)
        assert await world.history(workload_id) == UP
        assert (row.ready_replicas, row.was_ready, row.status_reason, row.status_message) == (
            2,
            True,
            None,
            "A notice.",
        )
        assert row.addresses == [
            {"launch": 1, "replica": each, "host": "host", "port": 1000 + int(each)} for each in "01"
        ]
        assert [each["state"] for each in row.container_statuses] == ["RUNNING", "RUNNING"]
        assert (row.revision, row.generation, row.launch) == (before.revision, before.generation, before.launch)
        assert row.updated_at > before.updated_at
        assert row.started_at is not None
        assert (row.lease_holder, row.lease_until, row.stopped_at) == (None, None, None)
        assert len(runtime.engine.starts) == 2

    async def test_stopped_and_started_again(self, world: World) -> None:
        runtime = FakeRuntime()
        workload_id = await world.deploy()
        async with reconciling(world.database, runtime):
            await world.reaches(workload_id, Status.RUNNING)
            await world.want(workload_id, Wanted.STOPPED)
            stopped = await world.reaches(workload_id, Status.STOPPED)
            assert runtime.engine.launches == {}
            assert (stopped.ready_replicas, stopped.addresses, stopped.container_statuses) == (0, [], [])
            assert stopped.stopped_at is not None
            assert stopped.reconcile_at is None
            await world.want(workload_id, Wanted.RUNNING)
            await world.reaches(workload_id, Status.RUNNING)
        assert await world.history(workload_id) == [*UP, "STOPPED", *UP]
        assert [(launch, run) for _, launch, _, run in runtime.engine.starts] == [(1, 0), (2, 0)]

    async def test_a_restart_is_a_new_launch(self, world: World) -> None:
        runtime = FakeRuntime()
        workload_id = await world.deploy()
        async with reconciling(world.database, runtime):
            await world.reaches(workload_id, Status.RUNNING)
            await world.want(workload_id, Wanted.RUNNING)
            await until(lambda: len(runtime.engine.starts) == 2, "it has been started again")
            await world.reaches(workload_id, Status.RUNNING)
        assert runtime.engine.launches == {workload_id: 2}

    async def test_ended_for_good(self, world: World) -> None:
        runtime = FakeRuntime()
        workload_id = await world.deploy()
        async with reconciling(world.database, runtime):
            await world.reaches(workload_id, Status.RUNNING)
            await world.want(workload_id, Wanted.TERMINATED)
            await world.reaches(workload_id, Status.TERMINATED)
        assert runtime.engine.launches == {}

    async def test_what_the_runtime_refuses_is_errored(self, world: World) -> None:
        runtime = FakeRuntime()
        workload_id = await world.deploy(dataclasses.replace(SIMPLE, entrypoint=None))
        async with reconciling(world.database, runtime):
            row = await world.reaches(workload_id, Status.ERRORED, "NO_ENTRYPOINT")
        assert (row.status_message, row.reconcile_at) == ("There is none.", None)
        assert await world.history(workload_id) == ["PROVISIONING", "ERRORED:NO_ENTRYPOINT"]
        assert runtime.engine.launches == {}

    async def test_a_change_that_the_runtime_tells_is_recorded_at_once(self, world: World) -> None:
        runtime = FakeRuntime()
        workload_id = await world.deploy()
        async with reconciling(world.database, runtime, timing=dataclasses.replace(QUICK, poll_seconds=60)):
            await world.reaches(workload_id, Status.RUNNING)
            runtime.engine.containers[workload_id][1, "0", "main"].ready = False
            runtime.changed(workload_id)
            row = await world.reaches(workload_id, Status.INTERRUPTED)
            assert row.addresses == []
            runtime.engine.containers[workload_id][1, "0", "main"].ready = True
            runtime.changed(workload_id)
            await world.reaches(workload_id, Status.RUNNING)
        assert await world.history(workload_id) == [*UP, "INTERRUPTED:REPLICAS_MISSING", "RUNNING"]

    async def test_a_change_that_it_does_not_tell_is_found_later(self, world: World) -> None:
        runtime = FakeRuntime()
        workload_id = await world.deploy()
        async with reconciling(world.database, runtime, timing=dataclasses.replace(QUICK, resync_seconds=0.2)):
            await world.reaches(workload_id, Status.RUNNING)
            del runtime.engine.containers[workload_id][1, "0", "main"]
            await until(lambda: len(runtime.engine.starts) == 2, "it has been started again")
            await world.reaches(workload_id, Status.RUNNING)

    async def test_a_notification_makes_it_quick(self, world: World) -> None:
        async with reconciling(world.database, FakeRuntime(), timing=dataclasses.replace(QUICK, poll_seconds=60)):
            workload_id = await world.deploy()
            await world.reaches(workload_id, Status.RUNNING)

    async def test_a_lost_notification_costs_no_more_than_a_look(self, world: World) -> None:
        async with reconciling(world.database, FakeRuntime()):
            workload_id = await world.deploy(notify=False)
            await world.reaches(workload_id, Status.RUNNING)


class TestStart:
    async def test_a_container_gets_all_that_belongs_to_it(self, world: World) -> None:
        runtime = FakeRuntime()
        credential_id = uuid.uuid4()
        secret = EnvironmentVariable(
            "TOKEN", enums.EnvironmentVariableType.CREDENTIAL, credential_id=credential_id, field="key"
        )
        container = dataclasses.replace(
            SIMPLE,
            image_uri="image:tag",
            image_digest="sha256:" + "a" * 64,
            environment_vars=(secret, EnvironmentVariable("A", value="artifact"), EnvironmentVariable("B", value="b")),
        )
        resources = [{"container": "main", "cpu": 0.5, "memoryBytes": 1e9}]
        workload_id = await world.deploy(container, resources=resources, notify=False)
        async with world.database.transaction() as session:
            session.add(
                tables.WorkloadVariableRow(
                    workload_id=workload_id,
                    container="main",
                    name="A",
                    position=0,
                    type=enums.EnvironmentVariableType.STRING,
                    value="workload",
                )
            )

        async def secrets(asked_id: UUID, field: str) -> str:
            assert (asked_id, field) == (credential_id, "key")
            return "s3cr3t"

        async with reconciling(world.database, runtime, secrets=secrets):
            await world.reaches(workload_id, Status.RUNNING)
        [launch] = runtime.engine.wanted[workload_id].launches
        [wanted] = launch.containers
        platform = {name: value for name, value in wanted.environment.items() if name.startswith("SLIPWAY_")}
        assert {name: value for name, value in wanted.environment.items() if name not in platform} == {
            "A": "workload",
            "B": "b",
            "TOKEN": "s3cr3t",
            "PORT": "80",
        }
        assert set(platform) == {"SLIPWAY_WORKLOAD_ID", "SLIPWAY_ARTIFACT_ID", "SLIPWAY_ARTIFACT_VERSION"}
        assert platform["SLIPWAY_ARTIFACT_VERSION"] == "1"
        assert (wanted.image, wanted.cpu, wanted.memory_bytes) == ("image:tag@sha256:" + "a" * 64, 0.5, 1e9)
        assert "s3cr3t" not in repr(wanted)

    async def test_a_secret_that_cannot_be_had_holds_the_start_back(self, world: World) -> None:
        runtime = FakeRuntime()
        secret = EnvironmentVariable(
            "TOKEN", enums.EnvironmentVariableType.CREDENTIAL, credential_id=uuid.uuid4(), field="key"
        )
        workload_id = await world.deploy(dataclasses.replace(SIMPLE, environment_vars=(secret,)))
        there = False

        async def secrets(_: UUID, field: str) -> str:
            if not there:
                raise LookupError(field)
            return "s3cr3t"

        async with reconciling(world.database, runtime, secrets=secrets):
            row = await world.reaches(workload_id, Status.PROVISIONING, "CREDENTIAL_UNAVAILABLE")
            assert row.status_message == (
                "Variable TOKEN of container main points at a credential without the key 'key'."
            )
            assert runtime.engine.starts == []
            there = True
            await world.reaches(workload_id, Status.RUNNING)


class TestTrouble:
    async def test_a_runtime_that_cannot_be_asked_loses_nothing(self, world: World) -> None:
        runtime = FakeRuntime()
        workload_id = await world.deploy()
        async with reconciling(world.database, runtime):
            await world.reaches(workload_id, Status.RUNNING)
            runtime.engine.unavailable = "It does not answer."
            waiting_id = await world.deploy()
            runtime.changed(workload_id)
            row = await world.reaches(workload_id, Status.INTERRUPTED, "RUNTIME_UNAVAILABLE")
            assert (row.status_message, row.addresses) == (
                "It does not answer.",
                [{"launch": 1, "replica": "0", "host": "host", "port": 1000}],
            )
            await world.reaches(waiting_id, Status.SUBMITTED, "RUNTIME_UNAVAILABLE")

            async def is_said() -> bool:
                return await health(world) == (False, "It does not answer.")

            await until(is_said, "the health of the runtime is recorded")
            runtime.engine.unavailable = None
            await world.reaches(workload_id, Status.RUNNING)
            await world.reaches(waiting_id, Status.RUNNING)
        assert [each[0] for each in runtime.engine.starts] == [workload_id, waiting_id]

    async def test_one_workload_that_breaks_does_not_stop_the_others(self, world: World) -> None:
        runtime = FakeRuntime()
        broken_id, first_id, second_id = [await world.deploy() for _ in range(3)]
        runtime.broken.add(broken_id)
        async with reconciling(world.database, runtime):
            await world.reaches(first_id, Status.RUNNING)
            await world.reaches(second_id, Status.RUNNING)
            row = await world.row(broken_id)
            assert (row.status, row.was_ready) == (Status.SUBMITTED, False)
            runtime.broken.clear()
            await world.reaches(broken_id, Status.RUNNING)

    async def test_a_row_that_nobody_can_read_does_not_stop_the_others(self, world: World) -> None:
        broken_id = await world.deploy(specification={"containerGroups": "nonsense"})
        workload_id = await world.deploy()
        async with reconciling(world.database, FakeRuntime()):
            await world.reaches(workload_id, Status.RUNNING)
        assert (await world.row(broken_id)).status is Status.SUBMITTED

    async def test_what_somebody_asks_meanwhile_counts(self, world: World) -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        workload_id = await world.deploy()
        async with reconciling(world.database, runtime):
            await until(lambda: runtime.waiting == 1, "it is being started")
            await world.want(workload_id, Wanted.STOPPED)
            runtime.gate.set()
            await world.reaches(workload_id, Status.STOPPED)
            assert runtime.engine.launches == {}
        assert await world.history(workload_id) == ["PROVISIONING", "STOPPED"]

    async def test_what_the_database_does_not_want_is_removed(self, world: World) -> None:
        runtime = FakeRuntime()
        stopped_id = await world.deploy(status=Status.STOPPED, wanted=Wanted.STOPPED, reconcile_at=None)
        running_id = await world.deploy()
        runtime.engine.launches = {uuid.uuid4(): 1, stopped_id: 1}
        async with reconciling(world.database, runtime):
            await world.reaches(running_id, Status.RUNNING)
            await until(lambda: set(runtime.engine.launches) == {running_id}, "the others are gone")
        assert (await world.row(stopped_id)).status is Status.STOPPED
        assert await world.history(stopped_id) == []

    async def test_the_health_of_the_runtime_is_recorded(self, world: World) -> None:
        async with reconciling(world.database, FakeRuntime()):
            assert await health(world) == (True, "Fine.")
        assert await health(world) == (False, "Its server has been stopped.")


class TestExpiry:
    async def test_a_test_ends_when_its_time_has_come(self, world: World) -> None:
        runtime = FakeRuntime()
        async with reconciling(world.database, runtime):
            workload_id = await world.deploy(expires_at=now() + timedelta(hours=1))
            before = await world.reaches(workload_id, Status.RUNNING)
            async with world.database.transaction() as session:
                row = tables.WorkloadRow
                await session.exec(
                    update(row).where(col(row.id) == workload_id).values(expires_at=now() - timedelta(seconds=1))
                )
            after = await world.reaches(workload_id, Status.TERMINATED)
        assert (after.status_reason, after.status_message) == ("EXPIRED", "The test has reached its end.")
        assert (after.revision, after.wanted) == (before.revision, Wanted.TERMINATED)
        assert after.stopped_at is not None
        assert await world.history(workload_id) == [*UP, "STOPPING:EXPIRED", "TERMINATED:EXPIRED"]
        assert runtime.engine.launches == {}

    @pytest.mark.parametrize("status", [Status.SUBMITTED, Status.RUNNING, Status.ERRORED])
    async def test_one_whose_time_came_while_no_server_was_there_ends_at_once(
        self, world: World, status: Status
    ) -> None:
        workload_id = await world.deploy(status=status, expires_at=now() - timedelta(hours=1), reconcile_at=None)
        runtime = FakeRuntime()
        runtime.engine.launches = {workload_id: 1}
        async with reconciling(world.database, runtime, timing=Timing()):
            row = await world.reaches(workload_id, Status.TERMINATED)
        assert row.status_reason == "EXPIRED"
        assert (runtime.engine.launches, runtime.engine.starts) == ({}, [])

    async def test_one_that_is_being_stopped_keeps_its_end(self, world: World) -> None:
        workload_id = await world.deploy(
            status=Status.STOPPING, wanted=Wanted.TERMINATED, expires_at=now() - timedelta(hours=1)
        )
        async with reconciling(world.database, FakeRuntime()):
            row = await world.reaches(workload_id, Status.TERMINATED)
        assert row.status_reason is None

    async def test_one_that_stands_by_ends_tests_as_well(self, world: World) -> None:
        connection = await asyncpg.connect(world.database.dsn)
        await connection.execute("SELECT pg_advisory_lock($1, hashtext('fake'))", int.from_bytes(b"slip"))
        async with reconciling(world.database, FakeRuntime(exclusive=True)):
            workload_id = await world.deploy(expires_at=now() - timedelta(seconds=1))
            await world.reaches(workload_id, Status.STOPPING, "EXPIRED")
        await connection.close()


class TestSeveral:
    async def test_two_share_the_work_and_do_nothing_twice(self, world: World) -> None:
        engine = Engine()
        runtimes = [FakeRuntime(engine), FakeRuntime(engine)]
        async with contextlib.AsyncExitStack() as stack:
            for runtime in runtimes:
                await stack.enter_async_context(reconciling(world.database, runtime))
            workload_ids = [await world.deploy(notify=number % 5 == 0) for number in range(30)]
            for workload_id in workload_ids:
                await world.reaches(workload_id, Status.RUNNING)
                assert await world.history(workload_id) == UP
        assert sorted(each[0] for each in engine.starts) == sorted(workload_ids)

    async def test_one_that_freezes_is_overtaken_and_records_nothing(self, world: World) -> None:
        engine = Engine()
        frozen, lively = FakeRuntime(engine), FakeRuntime(engine)
        frozen.gate.clear()
        timing = dataclasses.replace(QUICK, lease_seconds=0.3)
        async with reconciling(world.database, frozen, timing=timing):
            workload_id = await world.deploy()
            await until(lambda: frozen.waiting == 1, "one is at it")
            async with reconciling(world.database, lively, timing=timing):
                await world.reaches(workload_id, Status.RUNNING)
                await world.want(workload_id, Wanted.STOPPED)
                await world.reaches(workload_id, Status.STOPPED)
                history = await world.history(workload_id)
                frozen.gate.set()  # it starts what has been stopped since
                await until(lambda: len(engine.starts) == 2, "it has woken up")
                await until(lambda: engine.launches == {}, "what it started is gone again")
                assert await world.history(workload_id) == history
                assert (await world.row(workload_id)).status is Status.STOPPED

    async def test_one_that_has_slept_too_long_does_nothing(self, world: World) -> None:
        runtime = FakeRuntime()
        timing = dataclasses.replace(QUICK, act_within_seconds=-1.0)
        async with reconciling(world.database, runtime, timing=timing):
            workload_id = await world.deploy()
            row = await world.reaches(workload_id, Status.PROVISIONING)
        assert runtime.engine.starts == []
        assert row.was_ready is False

    async def test_an_exclusive_runtime_is_driven_by_one_and_then_by_the_next(self, world: World) -> None:
        first, second = FakeRuntime(exclusive=True), FakeRuntime(exclusive=True)
        async with contextlib.AsyncExitStack() as later:
            async with reconciling(world.database, first):
                await later.enter_async_context(reconciling(world.database, second))
                workload_id = await world.deploy()
                await world.reaches(workload_id, Status.RUNNING)
                assert (first.calls, second.calls) == (["open"], [])
            assert first.calls == ["open", "close"]
            await until(lambda: len(second.engine.starts) == 1, "the second has taken over")
            await world.reaches(workload_id, Status.RUNNING)
        assert await world.history(workload_id) == [*UP, "INTERRUPTED:REPLICAS_MISSING", "RUNNING"]
        assert len(first.engine.starts) == 1

    async def test_with_the_lock_it_loses_everything_and_gets_it_back(self, world: World) -> None:
        runtime = FakeRuntime(exclusive=True)
        workload_id = await world.deploy()
        async with reconciling(world.database, runtime):
            await world.reaches(workload_id, Status.RUNNING)
            connection = await asyncpg.connect(world.database.dsn)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'slipway reconciler'"
                " AND datname = current_database()"
            )
            await connection.close()
            await until(lambda: runtime.calls == ["open", "close at once", "open"], "it has begun anew")
            await world.deploy()
            await until(lambda: len(runtime.engine.starts) == 2, "it works again")

    async def test_leases_of_one_that_was_killed_are_broken_by_the_next(self, world: World) -> None:
        held: dict[str, Any] = {
            "lease_holder": uuid.uuid4(),
            "lease_until": now() + timedelta(hours=1),
            "reconcile_at": None,
        }
        workload_id = await world.deploy(status=Status.RUNNING, was_ready=True, **held)
        async with reconciling(world.database, FakeRuntime(exclusive=True)):

            async def is_back() -> bool:
                row = await world.row(workload_id)
                return (row.lease_holder, row.ready_replicas) == (None, 1)

            await until(is_back, "the lease is broken and the workload runs")
        assert await world.history(workload_id) == ["INTERRUPTED:REPLICAS_MISSING", "RUNNING"]


async def test_a_thousand_workloads_that_do_not_change_cost_next_to_nothing(world: World) -> None:
    engine = Engine()
    workload_id = await world.deploy()
    async with reconciling(world.database, FakeRuntime(engine)):
        row = await world.reaches(workload_id, Status.RUNNING)
    async with world.database.transaction() as session:
        for _ in range(999):
            copy = tables.WorkloadRow(**{**row.model_dump(), "id": uuid.uuid4(), "reconcile_at": now()})
            engine.launches[copy.id] = 1
            engine.containers[copy.id] = engine.containers[workload_id]
            session.add(copy)
    async with reconciling(world.database, FakeRuntime(engine), timing=Timing()):

        async def are_looked_at() -> bool:
            async with world.database.read() as session:
                soon = col(tables.WorkloadRow.reconcile_at) < now() + timedelta(seconds=30)
                return (await session.exec(select(tables.WorkloadRow.id).where(soon).limit(1))).first() is None

        await until(are_looked_at, "all of them have been looked at")
        statements = []

        def note(*arguments: Any) -> None:
            statements.append(arguments[2])

        connections = world.database.engine.sync_engine
        event.listen(connections, "before_cursor_execute", note)
        await asyncio.sleep(2.0)  # nothing happens: that is what is measured
        event.remove(connections, "before_cursor_execute", note)
    assert len(statements) <= 20, statements
    assert len(engine.starts) == 1
