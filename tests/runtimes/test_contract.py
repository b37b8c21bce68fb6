"""What every runtime must do. A driver joins by its fixture."""

import asyncio
import uuid
from uuid import UUID

import pytest

from app.domain.enums import ContainerState
from app.runtimes.base import Runtime, RuntimeUnavailable
from tests.runtimes.world import container, gone, observed, shell, until, wanted

SLEEP = shell("exec sleep 60")


@pytest.fixture(params=["process_runtime"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found: Runtime = request.getfixturevalue(request.param)
    return found


async def test_apply_runs_every_container_of_every_replica(runtime: Runtime) -> None:
    workload = wanted(SLEEP, shell("exec sleep 60", "side", port=None), replicas=2)
    await runtime.apply(workload)
    found = await observed(runtime, workload.id)
    assert found is not None
    assert found.launches.keys() == {1}
    assert {(each.replica, each.container, each.state, each.run) for each in found.launches[1]} == {
        (replica, name, ContainerState.RUNNING, 0) for replica in "01" for name in ("main", "side")
    }
    assert all(each.started_at is not None and each.finished_at is None for each in found.launches[1])
    addresses = {each.address for each in found.launches[1] if each.container == "main"}
    assert len(addresses) == 2
    assert None not in addresses


async def test_apply_is_idempotent(runtime: Runtime) -> None:
    workload = wanted(SLEEP, replicas=2)
    await runtime.apply(workload)
    before = await observed(runtime, workload.id)
    await runtime.apply(workload)
    await runtime.apply(workload)
    assert await observed(runtime, workload.id) == before


async def test_what_there_is_nothing_of_is_left_out(runtime: Runtime) -> None:
    workload = wanted(SLEEP)
    await runtime.apply(workload)
    assert set(await runtime.observe([workload.id, uuid.uuid4()])) == {workload.id}
    assert set(await runtime.owned()) == {workload.id}


async def test_an_end_is_seen_and_told(runtime: Runtime, changes: list[UUID]) -> None:
    workload = wanted(shell("exit 3"))
    await runtime.apply(workload)
    await until(lambda: workload.id in changes, "the end is told")
    seen = await container(runtime, workload.id)
    assert (seen.state, seen.run, seen.exit_code, seen.reason) == (ContainerState.TERMINATED, 0, 3, "EXITED")
    assert seen.message == "exited with code 3"
    assert seen.started_at is not None
    assert seen.finished_at is not None
    assert seen.finished_at >= seen.started_at
    await runtime.apply(workload)
    assert await container(runtime, workload.id) == seen, "the same run is not started twice"


async def test_a_signal_counts_as_in_a_shell(runtime: Runtime, changes: list[UUID]) -> None:
    workload = wanted(shell("kill -11 $$"))
    await runtime.apply(workload)
    await until(lambda: workload.id in changes, "the end is told")
    seen = await container(runtime, workload.id)
    assert (seen.exit_code, seen.reason, seen.message) == (139, "KILLED", "ended by SIGSEGV")


async def test_the_next_run_is_a_new_one(runtime: Runtime, changes: list[UUID]) -> None:
    workload = wanted(shell("exit 3"))
    await runtime.apply(workload)
    await until(lambda: workload.id in changes, "the end is told")
    again = wanted(SLEEP, workload_id=workload.id, runs={"0": {"main": 1}})
    await runtime.apply(again)
    seen = await container(runtime, workload.id)
    assert (seen.state, seen.run) == (ContainerState.RUNNING, 1)


async def test_a_container_that_is_left_out_is_stopped_and_remembered(runtime: Runtime) -> None:
    workload = wanted(SLEEP)
    await runtime.apply(workload)
    await runtime.apply(wanted(SLEEP, workload_id=workload.id, runs={"0": {}}))

    async def has_ended() -> bool:
        return (await container(runtime, workload.id)).state is ContainerState.TERMINATED

    await until(has_ended, "it has been stopped")
    assert (await container(runtime, workload.id)).exit_code == 143


async def test_a_replica_that_is_left_out_goes(runtime: Runtime) -> None:
    workload = wanted(SLEEP, replicas=3)
    await runtime.apply(workload)
    fewer = wanted(SLEEP, workload_id=workload.id, replicas=1)

    async def is_alone() -> bool:
        await runtime.apply(fewer)
        found = await observed(runtime, workload.id)
        return found is not None and [each.replica for each in found.launches[1]] == ["0"]

    await until(is_alone, "one replica is left")
    assert (await container(runtime, workload.id)).state is ContainerState.RUNNING


async def test_a_new_launch_replaces_the_old_one(runtime: Runtime) -> None:
    workload = wanted(SLEEP)
    await runtime.apply(workload)
    before = await container(runtime, workload.id)
    newer = wanted(SLEEP, workload_id=workload.id, launch=2)

    async def is_replaced() -> bool:
        await runtime.apply(newer)
        found = await observed(runtime, workload.id)
        return found is not None and found.launches.keys() == {2}

    await until(is_replaced, "the new launch has begun")
    seen = await container(runtime, workload.id)
    assert (seen.state, seen.run) == (ContainerState.RUNNING, 0)
    assert seen.started_at != before.started_at


async def test_remove_leaves_nothing(runtime: Runtime, changes: list[UUID]) -> None:
    workload = wanted(SLEEP, replicas=2)
    await runtime.apply(workload)
    await asyncio.gather(runtime.remove(workload.id), runtime.remove(workload.id))
    await gone(runtime, workload.id)
    assert workload.id in changes
    await runtime.remove(workload.id)
    assert set(await runtime.owned()) == set()


async def test_remove_of_what_never_was(runtime: Runtime) -> None:
    await runtime.remove(uuid.uuid4())


async def test_one_that_cannot_start_does_not_keep_the_others(runtime: Runtime) -> None:
    broken = shell("", "side")
    broken = type(broken)("side", "image", ("/nonexistent/command",), {})
    workload = wanted(SLEEP, broken)
    await runtime.apply(workload)
    assert (await container(runtime, workload.id)).state is ContainerState.RUNNING
    seen = await container(runtime, workload.id, "side")
    assert (seen.state, seen.reason, seen.exit_code) == (ContainerState.TERMINATED, "START_ERROR", 127)


async def test_a_closed_runtime_knows_nothing_instead_of_having_nothing(runtime: Runtime) -> None:
    workload = wanted(SLEEP)
    await runtime.apply(workload)
    await runtime.close(at_once=True)
    for question in (
        runtime.observe([workload.id]),
        runtime.apply(workload),
        runtime.remove(workload.id),
        runtime.owned(),
    ):
        with pytest.raises(RuntimeUnavailable, match="is not open"):
            await question
    health = await runtime.check()
    assert (health.available, health.message) == (
        False,
        "The process runtime is not open here. Where another server runs the workloads, ask that one.",
    )
    await runtime.close()
