"""What happens to an engine, tried on engines of the tests' own: stopped, killed, started again, without room."""

import asyncio
import contextlib
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from app.domain.enums import ContainerState
from app.domain.observations import ContainerObservation
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.docker import DockerRuntime
from tests import engine, registry
from tests.runtimes import world
from tests.runtimes.test_docker_images import runs, settled
from tests.runtimes.world import container, ended, observed, until, waiting, wanted

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TINY = "slipway.test/tiny:1"


@contextlib.asynccontextmanager
async def driver(host: str, changes: list[UUID]) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(host, uuid.uuid4(), lambda _: None, grace_seconds=1.0)
    await runtime.open(changes.append)
    yield runtime
    await runtime.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_an_engine_that_was_stopped_or_crashed_is_found_again_with_all_it_had(
    own_engine: engine.Engine, changes: list[UUID], how: int
) -> None:
    own_engine.docker.import_tiny(TINY)
    async with driver(own_engine.docker.host, changes) as runtime:
        workload = wanted(world.shell(waiting(), image=TINY), world.shell(waiting(), "side", None, TINY))
        await runtime.apply(workload)
        assert (await container(runtime, workload.id)).state is ContainerState.RUNNING
        await asyncio.to_thread(own_engine.stop, how)
        with pytest.raises(RuntimeUnavailable, match="can't be reached"):
            await runtime.observe([workload.id])
        assert not (await runtime.check()).available
        changes.clear()
        await asyncio.to_thread(own_engine.start)
        await until(lambda: workload.id in changes, "it is told that the engine is back")
        for name in ("main", "side"):
            seen = await ended(runtime, workload.id, name)
            assert (seen.state, seen.run) == (ContainerState.TERMINATED, 0)
        again = wanted(*workload.launches[0].containers, workload_id=workload.id, runs={"0": {"main": 1, "side": 1}})
        await runtime.apply(again)
        for name in ("main", "side"):
            seen = await container(runtime, workload.id, name)
            assert (seen.state, seen.run) == (ContainerState.RUNNING, 1)


async def test_containers_that_outlive_their_engine_are_the_same_afterwards(changes: list[UUID]) -> None:
    with engine.running("--live-restore") as own_engine:
        own_engine.docker.import_tiny(TINY)
        async with driver(own_engine.docker.host, changes) as runtime:
            workload = wanted(world.shell(waiting(), image=TINY))
            await runtime.apply(workload)
            before = await observed(runtime, workload.id)
            await asyncio.to_thread(own_engine.stop)
            changes.clear()
            await asyncio.to_thread(own_engine.start)
            await until(lambda: workload.id in changes, "it is told that the engine is back")
            assert await observed(runtime, workload.id) == before


async def test_an_engine_need_not_be_there_at_first(own_engine: engine.Engine, changes: list[UUID]) -> None:
    own_engine.docker.import_tiny(TINY)
    own_engine.stop()
    async with driver(own_engine.docker.host, changes) as runtime:
        assert not (await runtime.check()).available
        workload = wanted(world.shell(waiting(), image=TINY))
        with pytest.raises(RuntimeUnavailable):
            await runtime.apply(workload)
        await asyncio.to_thread(own_engine.start)
        assert (await runtime.check()).available
        await runtime.apply(workload)
        assert (await container(runtime, workload.id)).state is ContainerState.RUNNING


@pytest.fixture
def small_engine() -> Iterator[engine.Engine]:
    """An engine whose disk has room for 40 MB."""
    small = engine.Engine()
    data = small.directory / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", data], check=True)
    try:
        small.start()
        yield small
    finally:
        small.close()


async def test_a_full_disk_is_said_and_overcome(
    small_engine: engine.Engine, docker: engine.Docker, tmp_path: Path, changes: list[UUID]
) -> None:
    with registry.running(tmp_path) as running:
        filled = f"{running.host}/team/large:1"
        docker.import_tiny(filled, files={"large": "x" * 60_000_000})
        docker.run("push", "--quiet", filled)
        docker.run("image", "rm", "--force", filled)
        async with driver(small_engine.docker.host, changes) as runtime:
            workload = wanted(world.shell(waiting(), image=filled))
            await runtime.apply(workload)
            seen: ContainerObservation = await settled(runtime, workload.id, "IMAGE_PULL_FAILED")
            assert seen.message is not None
            assert seen.message.endswith("no space left on device")
            data = small_engine.directory / "data"
            subprocess.run(["mount", "-o", "remount,size=400m", data], check=True)
            assert (await runs(runtime, workload)).run == 0
