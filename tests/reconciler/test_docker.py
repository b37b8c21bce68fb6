"""The whole way with a real engine: containers that answer, die, are killed; engines that go; servers that freeze."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.domain.enums import ProbeKind, Wanted, WorkloadStatus as Status
from app.domain.logs import LogQuery
from app.domain.slots import Policy
from app.domain.specification import Container, Probe
from app.reconciler.cycle import Timing
from app.reconciler.loop import Reconciler
from app.runtimes.docker import DockerRuntime
from app.runtimes.docker_containers import INSTALLATION
from tests import engine, registry
from tests.reconciler import server
from tests.reconciler.world import World, hasty, reconciling, until
from tests.runtimes.wire import Wire, wired

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TINY = "slipway.test/tiny:1"


@pytest.fixture
def installation(docker: engine.Docker) -> Iterator[UUID]:
    made = uuid.uuid4()
    yield made
    docker.remove_labelled(f"{INSTALLATION}={made}")


@pytest.fixture
async def wire(tmp_path: Path, docker: engine.Docker) -> AsyncIterator[Wire]:
    async with wired(tmp_path / "wire.sock", docker.host) as made:
        yield made


@contextlib.asynccontextmanager
async def serving(world: World, host: str, installation: UUID, **values: Any) -> AsyncIterator[Reconciler]:
    runtime = DockerRuntime(host, installation, lambda _: None, grace_seconds=1.0)
    async with reconciling(world.database, runtime, prober=hasty(20), **values) as reconciler:
        yield reconciler


def probes(port: int) -> dict[ProbeKind, Probe]:
    return {ProbeKind.READINESS: Probe("/", port, period_seconds=1)}


def service(image: str) -> Container:
    """It serves a page, and ends at once when it is told to."""
    return Container("main", image, port=8080, primary=True, probes=probes(8080))


def script(image: str, text: str) -> Container:
    return Container("main", image, port=8080, primary=True, entrypoint=("sh", "-c", text))


async def answers(row: Any) -> list[str]:
    """What the ready replicas say."""
    async with httpx.AsyncClient(trust_env=False) as client:
        urls = [f"http://{each['host']}:{each['port']}/" for each in row.addresses]
        return [(await client.get(url)).text for url in urls]


def containers(docker: engine.Docker, installation: UUID, *options: str) -> list[dict[str, Any]]:
    """What an installation has in the engine."""
    found = docker.run("ps", "--all", "--quiet", f"--filter=label={INSTALLATION}={installation}", *options).split()
    return json.loads(docker.run("inspect", *found)) if found else []


class TestWorkload:
    async def test_a_service_comes_up_answers_and_goes(
        self, world: World, docker: engine.Docker, installation: UUID, tiny_image: str
    ) -> None:
        async with serving(world, docker.host, installation):
            workload_id = await world.deploy(service(tiny_image), replicas=2)
            row = await world.reaches(workload_id, Status.RUNNING)
            assert await answers(row) == ["hello\n", "hello\n"]
            assert row.status_message is None
            assert [each["ready"] for each in row.container_statuses] == [True, True]
            await world.want(workload_id, Wanted.STOPPED)
            await world.reaches(workload_id, Status.STOPPED)
            assert containers(docker, installation) == []
        assert await world.history(workload_id) == ["PROVISIONING", "LAUNCHING", "RUNNING", "STOPPED"]

    async def test_a_killed_container_is_noticed_within_a_second_and_started_again(
        self, world: World, docker: engine.Docker, installation: UUID, tiny_image: str
    ) -> None:
        async with serving(world, docker.host, installation, timing=Timing(), policy=Policy()):
            workload_id = await world.deploy(service(tiny_image))
            await world.reaches(workload_id, Status.RUNNING)
            [made] = containers(docker, installation)
            os.kill(made["State"]["Pid"], signal.SIGKILL)
            killed = time.monotonic()
            interrupted = await world.reaches(workload_id, Status.INTERRUPTED, "CRASH_LOOP")
            assert time.monotonic() - killed < 1.0
            assert interrupted.status_message == (
                "Container main of replica 0: ended by SIGKILL. It is tried again, with growing pauses."
            )
            again = await world.reaches(workload_id, Status.RUNNING)
            [status] = again.container_statuses
            assert (status["restartCount"], status["lastExitCode"]) == (1, 137)
            assert await answers(again) == ["hello\n"]

    async def test_what_wants_too_much_memory_says_so_and_its_logs_say_what_it_did(
        self, world: World, docker: engine.Docker, installation: UUID, tiny_image: str
    ) -> None:
        text = "echo trying; x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}"
        greedy = dataclasses.replace(script(tiny_image, text), probes=probes(8080))
        resources = [{"container": "main", "cpu": None, "memoryBytes": 2**24}]
        runtime = DockerRuntime(docker.host, installation, lambda _: None)
        async with reconciling(world.database, runtime, prober=hasty(20)):
            workload_id = await world.deploy(greedy, resources=resources)
            row = await world.reaches(workload_id, Status.ERRORED, "OOM_KILLED")
            [status] = row.container_statuses
            assert (status["restartCount"], status["lastExitCode"], status["reason"]) == (5, 137, "OOM_KILLED")
            found = await runtime.logs(workload_id, LogQuery(10))
        # Those of the last run and of the one before.
        assert [each.text for each in found] == ["trying", "trying"]

    async def test_what_cannot_be_started_is_errored_at_once(
        self, world: World, docker: engine.Docker, installation: UUID, tiny_image: str
    ) -> None:
        unknown = dataclasses.replace(script(tiny_image, ""), entrypoint=("no-such-command",))
        async with serving(world, docker.host, installation):
            workload_id = await world.deploy(unknown)
            row = await world.reaches(workload_id, Status.ERRORED, "START_ERROR")
            assert row.status_message == (
                "Container main of replica 0: there is no command 'no-such-command' in its image"
            )
            assert row.container_statuses[0]["lastExitCode"] == 127

    async def test_others_of_a_replica_wait_for_their_primary_and_follow_it(
        self, world: World, docker: engine.Docker, installation: UUID, tiny_image: str
    ) -> None:
        client = "until wget -q -O- http://127.0.0.1:8080/; do sleep 0.1; done; exec httpd -f -p 9090 -h /www"
        side = Container(
            "side", tiny_image, port=9090, entrypoint=("/bin/entrypoint", "sh", "-c", client), probes=probes(9090)
        )
        async with serving(world, docker.host, installation):
            workload_id = await world.deploy(service(tiny_image), side)
            await world.reaches(workload_id, Status.RUNNING)
            [main] = containers(docker, installation, "--filter=name=main")
            os.kill(main["State"]["Pid"], signal.SIGKILL)

            async def is_back() -> bool:
                row = await world.row(workload_id)
                counts = {each["container"]: each["restartCount"] for each in row.container_statuses}
                return row.status is Status.RUNNING and counts == {"main": 1, "side": 0}

            await until(is_back, "both run again, and are ready")
            assert len(containers(docker, installation, "--filter=status=running")) == 2


class TestImages:
    async def test_one_that_is_nowhere_is_given_up_at_once(
        self, world: World, docker: engine.Docker, installation: UUID, tmp_path: Path
    ) -> None:
        with registry.running(tmp_path) as running:
            async with serving(world, docker.host, installation):
                image = f"{running.host}/team/nothing:1"
                workload_id = await world.deploy(service(image))
                row = await world.reaches(workload_id, Status.ERRORED, "IMAGE_NOT_FOUND")
                assert row.status_message == (
                    f"Container main of replica 0: {image} can't be pulled: manifest for {image} not found: manifest "
                    "unknown: manifest unknown"
                )
                assert containers(docker, installation) == []
                await world.want(workload_id, Wanted.STOPPED)
                await world.reaches(workload_id, Status.STOPPED)

    async def test_one_that_vanished_is_fetched_for_the_next_run_as_soon_as_it_can_be(
        self, world: World, docker: engine.Docker, installation: UUID, tmp_path: Path
    ) -> None:
        with registry.running(tmp_path) as running:
            image = f"{running.host}/{engine.unique('team/app')}:1"
            docker.import_tiny(image, files={"www/index.html": "unlike any other\n"})
            docker.run("push", "--quiet", image)
        async with serving(world, docker.host, installation):
            workload_id = await world.deploy(service(image))
            await world.reaches(workload_id, Status.RUNNING)
            docker.run("image", "rm", "--force", image)
            [made] = containers(docker, installation)
            docker.run("rm", "--force", made["Id"])
            row = await world.reaches(workload_id, Status.INTERRUPTED, "IMAGE_PULL_FAILED")
            assert row.status_message is not None
            assert row.status_message.endswith("connection refused")
            with registry.running(tmp_path, host=running.host):
                row = await world.reaches(workload_id, Status.RUNNING)
                assert await answers(row) == ["unlike any other\n"]
        docker.run("image", "rm", "--force", image)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_an_engine_that_goes_and_comes_back(world: World, own_engine: engine.Engine, how: int) -> None:
    installation = uuid.uuid4()
    docker = own_engine.docker
    docker.import_tiny(TINY)
    async with serving(world, docker.host, installation):
        stays, ends = [await world.deploy(service(TINY), replicas=2) for _ in range(2)]
        for each in (stays, ends):
            await world.reaches(each, Status.RUNNING)
        await asyncio.to_thread(own_engine.stop, how)
        row = await world.reaches(stays, Status.INTERRUPTED, "RUNTIME_UNAVAILABLE")
        assert {each["state"] for each in row.container_statuses} == {"UNKNOWN"}
        await world.want(ends, Wanted.STOPPED)
        await asyncio.to_thread(own_engine.start)
        row = await world.reaches(stays, Status.RUNNING)
        assert await answers(row) == ["hello\n", "hello\n"]
        await world.reaches(ends, Status.STOPPED)
        running = containers(docker, installation, "--filter=status=running")
        assert len(running) == 2
        await world.want(stays, Wanted.STOPPED)
        await world.reaches(stays, Status.STOPPED)
        assert containers(docker, installation) == []


class Child:
    """A server in a process of its own, beside which another may be started in this one."""

    def __init__(self, world: World, wire: Wire, installation: UUID) -> None:
        self.wire = wire
        self._arguments = (world.database.dsn, wire.host, str(installation))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(server.__file__)), *self._arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None


@pytest.fixture
async def child(world: World, wire: Wire, installation: UUID) -> AsyncIterator[Child]:
    made = Child(world, wire, installation)
    await made.start()
    yield made
    await made.end()


async def everything_is_as_wanted(
    world: World, docker: engine.Docker, installation: UUID, workload_ids: list[UUID], replicas: int
) -> None:
    """All of them run, nothing runs twice; and when all are stopped, nothing is left behind."""
    for each in workload_ids:
        await world.reaches(each, Status.RUNNING)
    running = containers(docker, installation, "--filter=status=running")
    names = sorted(each["Name"] for each in running)
    assert len(names) == len(set(names)) == replicas * len(workload_ids), names
    for each in workload_ids:
        await world.want(each, Wanted.STOPPED)
    for each in workload_ids:
        await world.reaches(each, Status.STOPPED)
    assert containers(docker, installation) == []


@pytest.mark.parametrize("after_seconds", [0.05, 0.3])
async def test_one_of_two_servers_is_frozen_beyond_its_lease(
    world: World, child: Child, docker: engine.Docker, installation: UUID, tiny_image: str, after_seconds: float
) -> None:
    workload_ids = [await world.deploy(service(tiny_image), replicas=2) for _ in range(2)]
    await asyncio.sleep(after_seconds)
    child.send(signal.SIGSTOP)
    async with serving(world, docker.host, installation, timing=server.BRIEF):
        for each in workload_ids:
            await world.reaches(each, Status.RUNNING)
        child.send(signal.SIGCONT)
        await asyncio.sleep(1.0)  # it does what it meant to do
        await everything_is_as_wanted(world, docker, installation, workload_ids, 2)


@pytest.mark.parametrize(
    "request_line",
    [
        r"POST \S+/containers/create",  # made, and nobody knows
        r"POST \S+/start",  # started, and nobody knows
        r"GET \S+/containers/\w{64}/json",  # seen, and nothing is recorded
    ],
)
async def test_a_server_is_killed_before_it_has_recorded_what_it_did(
    world: World, child: Child, docker: engine.Docker, installation: UUID, tiny_image: str, request_line: str
) -> None:
    child.wire.losing.append(request_line)
    workload_id = await world.deploy(service(tiny_image), replicas=2)
    await asyncio.wait_for(child.wire.lost.wait(), 10)
    child.send(signal.SIGKILL)
    async with serving(world, docker.host, installation, timing=server.BRIEF):
        await everything_is_as_wanted(world, docker, installation, [workload_id], 2)
