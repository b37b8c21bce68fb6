"""The docker runtime on a real engine: how containers are made, how they end, and what the engine is told meanwhile."""

import asyncio
import contextlib
import dataclasses
import json
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest

from app.domain.enums import ContainerState
from app.domain.logs import LogQuery
from app.runtimes.base import RuntimeUnavailable, WantedContainer, WantedWorkload
from app.runtimes.docker import DockerRuntime, reachable
from app.runtimes.docker_containers import INSTALLATION
from tests import engine
from tests.runtimes import world
from tests.runtimes.wire import Wire
from tests.runtimes.world import container, ended, gone, launched, lines, observed, until, waiting, wanted

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SECRET = "s3cr3t-value"  # noqa: S105
PROMPT_SECONDS = 1.0
"""How old the state of a container may be that the graph shows."""

Docker = Callable[..., Awaitable[str]]


@pytest.fixture
def command(docker: engine.Docker) -> Docker:
    """Docker's command line, for what somebody does by hand."""

    async def run(*arguments: str) -> str:
        return await asyncio.to_thread(docker.run, *arguments)

    return run


@pytest.fixture
def shell(tiny_image: str) -> Callable[..., WantedContainer]:
    def made(script: str, name: str = "main", port: int | None = 80, **environment: str) -> WantedContainer:
        return world.shell(script, name, port, tiny_image, **environment)

    return made


async def inspected(command: Docker, installation: UUID, *filters: str) -> list[dict[str, Any]]:
    """All containers of an installation, as the engine sees them."""
    options = [f"--filter={each}" for each in (f"label={INSTALLATION}={installation}", *filters)]
    found = (await command("ps", "--all", "--quiet", "--no-trunc", *options)).split()
    return json.loads(await command("inspect", *found)) if found else []


async def only(command: Docker, installation: UUID, *filters: str) -> dict[str, Any]:
    [found] = await inspected(command, installation, *filters)
    return found


@contextlib.asynccontextmanager
async def another(host: str, installation: UUID, changes: list[UUID] | None = None) -> AsyncIterator[DockerRuntime]:
    """The driver of another server."""
    runtime = DockerRuntime(host, installation, lambda _: None, grace_seconds=1.0)
    await runtime.open((changes if changes is not None else []).append)
    yield runtime
    await runtime.close()


class TestContainer:
    async def test_it_has_no_more_rights_than_an_ordinary_program(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        script = "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status"
        workload = wanted(shell(waiting(script)))
        await docker_runtime.apply(workload)
        printed = [each.text.split() for each in await lines(docker_runtime, workload.id, 3)]
        assert printed == [["CapEff:", "0" * 16], ["CapBnd:", "0" * 16], ["NoNewPrivs:", "1"]]
        made = await only(command, installation)
        config = made["HostConfig"]
        assert (config["Privileged"], config["Binds"], made["Mounts"]) == (False, None, [])
        assert (config["PidsLimit"], config["RestartPolicy"]["Name"]) == (4096, "no")
        assert config["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}}

    async def test_it_listens_on_loopback_alone_and_can_bind_a_low_port(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        workload = wanted(shell("exec httpd -f -p 80 -h /www"), shell(waiting(), "side", port=9090))
        await docker_runtime.apply(workload)
        made = await only(command, installation, "name=main")
        bindings = made["NetworkSettings"]["Ports"]
        assert sorted(bindings) == ["80/tcp", "9090/tcp"]
        assert {each["HostIp"] for bound in bindings.values() for each in bound} == {"127.0.0.1"}
        address = (await container(docker_runtime, workload.id)).address
        other = (await container(docker_runtime, workload.id, "side")).address
        assert address is not None
        assert other is not None
        assert {str(address.port), str(other.port)} == {bound[0]["HostPort"] for bound in bindings.values()}
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://{address.host}:{address.port}/")).text == "hello\n"

    async def test_its_network_is_one_of_slipways_own(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        await docker_runtime.apply(wanted(shell(waiting()), replicas=2))
        [network] = json.loads(await command("network", "inspect", f"slipway-{installation.hex[-12:]}"))
        assert network["Options"] == {"com.docker.network.bridge.enable_icc": "false"}
        assert network["Labels"][INSTALLATION] == str(installation)
        assert len(network["Containers"]) == 2

    async def test_its_resources_are_limits(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        limited = dataclasses.replace(shell(waiting()), cpu=0.25, memory_bytes=2.0**25)
        least = dataclasses.replace(shell(waiting(), "side", port=None), cpu=0.001, memory_bytes=2.0**22)
        await docker_runtime.apply(wanted(limited, least))
        made = {
            each["Config"]["Labels"]["dev.slipway.container"]: each for each in await inspected(command, installation)
        }
        limits = {name: each["HostConfig"] for name, each in made.items()}
        assert (limits["main"]["NanoCpus"], limits["main"]["Memory"], limits["main"]["MemorySwap"]) == (
            250_000_000,
            2**25,
            2**25,
        )
        # The engine accepts no less.
        assert (limits["side"]["NanoCpus"], limits["side"]["Memory"]) == (10_000_000, 6 * 2**20)

    async def test_its_environment_is_what_is_given_and_fills_the_entrypoint(
        self, docker_runtime: DockerRuntime, tiny_image: str
    ) -> None:
        given = {"WHO": "ada", "MULTI": "a\nb", "PORT": "80"}
        main = WantedContainer("main", tiny_image, ("env",), given, port=80, primary=True)
        workload = wanted(main)
        await docker_runtime.apply(workload)
        printed = [each.text for each in await lines(docker_runtime, workload.id, 7)]
        assert {each.partition("=")[0] for each in printed} == {"PATH", "HOSTNAME", "HOME", "WHO", "MULTI", "b", "PORT"}
        arguments = ("sh", "-c", "echo $0 $(WHO) '$$(WHO)' $1", "$(WHO)", "$PORT")
        again = wanted(
            dataclasses.replace(main, entrypoint=arguments), workload_id=workload.id, runs={"0": {"main": 1}}
        )
        await docker_runtime.apply(again)
        assert (await lines(docker_runtime, workload.id, 8))[-1].text == "ada ada $(WHO) 80"

    async def test_without_an_entrypoint_it_runs_its_images_own(
        self, docker_runtime: DockerRuntime, tiny_image: str
    ) -> None:
        workload = wanted(WantedContainer("main", tiny_image, None, {"PORT": "81"}, port=81, primary=True))
        await docker_runtime.apply(workload)
        address = (await container(docker_runtime, workload.id)).address
        assert address is not None

        async def answers() -> bool:
            async with httpx.AsyncClient(trust_env=False) as client:
                try:
                    return (await client.get(f"http://127.0.0.1:{address.port}/")).text == "hello\n"
                except httpx.TransportError:
                    return False

        await until(answers, "its own server answers")

    async def test_a_secret_is_seen_by_the_container_alone(
        self,
        docker_runtime: DockerRuntime,
        shell: Any,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        broken = dataclasses.replace(shell(""), name="side", entrypoint=("$(TOKEN)",), environment={"TOKEN": SECRET})
        workload = wanted(shell(waiting("echo ${#TOKEN}"), TOKEN=SECRET), broken)
        await docker_runtime.apply(workload)
        assert [each.text for each in await lines(docker_runtime, workload.id, 1)] == [str(len(SECRET))]
        seen = await container(docker_runtime, workload.id, "side")
        assert (seen.exit_code, seen.message) == (127, "there is no command '$(TOKEN)' in its image")
        for process in psutil.process_iter(["cmdline"]):
            assert SECRET not in " ".join(process.info["cmdline"] or ())
        printed = capsys.readouterr()
        assert SECRET not in f"{workload!r}{caplog.text}{printed.out}{printed.err}"


class TestEnd:
    async def test_killed_by_hand(
        self,
        docker_runtime: DockerRuntime,
        installation: UUID,
        command: Docker,
        shell: Any,
        changes: list[UUID],
    ) -> None:
        workload = wanted(shell(waiting()))
        await docker_runtime.apply(workload)
        await container(docker_runtime, workload.id)
        made = await only(command, installation)
        changes.clear()
        await command("kill", made["Id"])
        await until(lambda: workload.id in changes, "it is told", PROMPT_SECONDS)
        seen = await container(docker_runtime, workload.id)
        assert (seen.state, seen.exit_code, seen.reason) == (ContainerState.TERMINATED, 137, "KILLED")
        assert seen.message == "ended by SIGKILL"

    async def test_killed_because_it_wanted_too_much_memory(self, docker_runtime: DockerRuntime, shell: Any) -> None:
        greedy = shell("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}")
        workload = wanted(dataclasses.replace(greedy, memory_bytes=2.0**24))
        await docker_runtime.apply(workload)
        seen = await ended(docker_runtime, workload.id)
        assert (seen.exit_code, seen.reason) == (137, "OOM_KILLED")
        assert seen.message == "killed because it used more memory than it may"

    async def test_one_that_ignores_the_request_is_killed_after_the_grace_period(
        self, docker_runtime: DockerRuntime, shell: Any
    ) -> None:
        workload = wanted(shell("trap '' TERM; echo ready; while :; do sleep 1; done"))
        await docker_runtime.apply(workload)
        await lines(docker_runtime, workload.id, 1)
        began = time.monotonic()
        await docker_runtime.apply(wanted(workload_id=workload.id, runs={"0": {}}))
        assert time.monotonic() - began < docker_runtime.grace_seconds, "nobody waits for it"
        assert (await container(docker_runtime, workload.id)).state is ContainerState.RUNNING
        seen = await ended(docker_runtime, workload.id)
        assert time.monotonic() - began >= docker_runtime.grace_seconds
        assert seen.exit_code == 137

    async def test_it_gets_the_signal_that_its_image_asks_for(
        self, docker_runtime: DockerRuntime, docker: engine.Docker, shell: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"slipway.test/{engine.unique('usr1')}:1"
        monkeypatch.setenv("DOCKER_BUILDKIT", "0")
        dockerfile = f"FROM {shell('').image}\nSTOPSIGNAL SIGUSR1\n"
        docker.run("build", "--tag", name, "-", stdin=dockerfile.encode())
        script = "trap 'exit 5' USR1; echo ready; sleep 60 & wait"
        workload = wanted(dataclasses.replace(shell(script), image=name))
        await docker_runtime.apply(workload)
        await lines(docker_runtime, workload.id, 1)
        await docker_runtime.apply(wanted(workload_id=workload.id, runs={"0": {}}))
        assert (await ended(docker_runtime, workload.id)).exit_code == 5
        docker.run("image", "rm", "--force", name)

    async def test_a_server_that_dies_while_it_stops_something_is_succeeded(
        self, docker_runtime: DockerRuntime, installation: UUID, wire: Wire, command: Docker, shell: Any
    ) -> None:
        workload = wanted(shell(waiting("echo ready")), replicas=2)
        await docker_runtime.apply(workload)
        await lines(docker_runtime, workload.id, 2)
        await docker_runtime.remove(workload.id)
        await docker_runtime.close()
        async with another(wire.host, installation) as successor:
            await successor.remove(workload.id)
            await gone(successor, workload.id)
        assert await inspected(command, installation) == []

    async def test_what_the_engine_fails_to_remove_is_waited_for_by_nobody_and_tried_again(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        workload = wanted(shell(waiting("echo ready")), replicas=2)
        await docker_runtime.apply(workload)
        await lines(docker_runtime, workload.id, 2)
        stuck = await inspected(command, installation)
        layers = [str(Path(each["GraphDriver"]["Data"]["MergedDir"]).parent) for each in stuck]
        subprocess.run(["chattr", "+i", *layers], check=True)
        try:
            await docker_runtime.remove(workload.id)
            await gone(docker_runtime, workload.id)
            assert [each["State"]["Status"] for each in await inspected(command, installation)] == ["dead", "dead"]
            assert set(await docker_runtime.owned()) == {workload.id}
            await until(lambda: not docker_runtime._endings, "their removal is tried again")
            await gone(docker_runtime, workload.id)

            async def runs() -> bool:  # their names are taken
                await docker_runtime.apply(workload)
                found = await observed(docker_runtime, workload.id)
                states = [each.state for each in found.launches[1]] if found else []
                return states == [ContainerState.RUNNING] * 2

            await until(runs, "what was wanted again runs")
            assert len(await inspected(command, installation)) == 4
        finally:
            subprocess.run(["chattr", "-i", *layers], check=True)
        await docker_runtime.owned()
        await until(lambda: not docker_runtime._endings, "their removal is tried once more")
        left = await inspected(command, installation)
        assert [each["State"]["Status"] for each in left] == ["running", "running"]
        assert not {each["Id"] for each in left} & {each["Id"] for each in stuck}

    @pytest.mark.parametrize(
        ("entrypoint", "code", "message"),
        [
            (("no-such-command",), 127, "there is no command 'no-such-command' in its image"),
            (("/etc/passwd/x",), 127, "there is no command '/etc/passwd/x' in its image"),
            (("/bin",), 126, "'/bin' is not executable"),
            (("",), 128, "it can't be made: No command specified"),
        ],
    )
    async def test_what_cannot_be_started_says_why(
        self, docker_runtime: DockerRuntime, tiny_image: str, entrypoint: tuple[str, ...], code: int, message: str
    ) -> None:
        workload = wanted(WantedContainer("main", tiny_image, entrypoint, {}, port=80, primary=True))
        await docker_runtime.apply(workload)
        seen = await container(docker_runtime, workload.id)
        assert (seen.state, seen.reason) == (ContainerState.TERMINATED, "START_ERROR")
        assert (seen.exit_code, seen.message) == (code, message)
        assert seen.finished_at is not None
        await docker_runtime.apply(workload)
        assert await container(docker_runtime, workload.id) == seen

    async def test_what_the_engine_refuses_to_make_is_remembered_while_it_pauses(
        self, docker_runtime: DockerRuntime, shell: Any
    ) -> None:
        workload = wanted(dataclasses.replace(shell(waiting()), cpu=200.0))
        await docker_runtime.apply(workload)
        seen = await container(docker_runtime, workload.id)
        assert (seen.state, seen.reason, seen.run) == (ContainerState.TERMINATED, "START_ERROR", 0)
        assert seen.message is not None
        assert seen.message.startswith("it can't be made: Range of CPUs is from 0.01 to ")
        assert set(await docker_runtime.owned()) == {workload.id}
        await docker_runtime.apply(wanted(workload_id=workload.id, runs={"0": {}}))
        assert await container(docker_runtime, workload.id) == seen
        await docker_runtime.remove(workload.id)
        assert await observed(docker_runtime, workload.id) is None


class TestReplica:
    """Containers that share the network of the primary one."""

    SERVER = "trap 'exit 143' TERM; httpd -f -p 80 -h /www & wait"
    CLIENT = "until wget -q -O- http://127.0.0.1:80/; do sleep 0.05; done"

    async def test_they_reach_each_other_on_localhost(self, docker_runtime: DockerRuntime, shell: Any) -> None:
        workload = wanted(shell(self.SERVER), shell(waiting(self.CLIENT), "side", port=None))
        await docker_runtime.apply(workload)
        found = await lines(docker_runtime, workload.id, 1, LogQuery(10, contains="hello"))
        assert [(each.container, each.text) for each in found] == [("side", "hello")]

    async def test_the_others_follow_a_primary_that_is_started_anew(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        side = shell(waiting(self.CLIENT), "side", port=9090)
        workload = wanted(shell(self.SERVER), side)
        await docker_runtime.apply(workload)
        query = LogQuery(10, contains="hello")
        await lines(docker_runtime, workload.id, 1, query)
        await command("kill", (await only(command, installation, "name=main"))["Id"])
        await ended(docker_runtime, workload.id)
        assert (await container(docker_runtime, workload.id, "side")).state is ContainerState.RUNNING
        again = wanted(*workload.launches[0].containers, workload_id=workload.id, runs={"0": {"main": 1, "side": 0}})
        await docker_runtime.apply(again)
        main = await container(docker_runtime, workload.id)
        seen = await container(docker_runtime, workload.id, "side")
        assert [(each.state, each.run) for each in (main, seen)] == [
            (ContainerState.RUNNING, 1),
            (ContainerState.RUNNING, 0),
        ]
        assert main.address is not None
        assert seen.address is not None
        assert len(await lines(docker_runtime, workload.id, 2, query)) == 2
        assert {each["State"]["Status"] for each in await inspected(command, installation, "status=running")} == {
            "running"
        }
        assert len(await inspected(command, installation, "status=running")) == 2

    async def test_one_that_lost_its_network_by_hand_ends_for_the_planning(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        workload = wanted(shell(waiting()), shell(waiting(), "side", port=None))
        await docker_runtime.apply(workload)
        await command("restart", (await only(command, installation, "name=main"))["Id"])
        seen = await ended(docker_runtime, workload.id, "side")
        assert (seen.state, seen.message) == (ContainerState.TERMINATED, "lost its network when main was started anew")
        again = wanted(*workload.launches[0].containers, workload_id=workload.id, runs={"0": {"main": 0, "side": 1}})
        await docker_runtime.apply(again)
        seen = await container(docker_runtime, workload.id, "side")
        assert (seen.state, seen.run) == (ContainerState.RUNNING, 1)
        assert len(await inspected(command, installation, "status=running")) == 2

    async def test_they_wait_for_their_primary(self, docker_runtime: DockerRuntime, shell: Any) -> None:
        workload = wanted(shell("exit 1"), shell(waiting(), "side", port=None))
        await docker_runtime.apply(workload)
        await ended(docker_runtime, workload.id)
        await docker_runtime.remove(workload.id)
        await gone(docker_runtime, workload.id)
        await docker_runtime.apply(
            wanted(*workload.launches[0].containers, workload_id=workload.id, runs={"0": {"side": 0}})
        )
        seen = await container(docker_runtime, workload.id, "side")
        assert (seen.state, seen.message) == (
            ContainerState.WAITING,
            "waits for the network of the primary one",
        )
        main = shell(waiting())
        await docker_runtime.apply(
            wanted(
                main, workload.launches[0].containers[1], workload_id=workload.id, runs={"0": {"main": 0, "side": 0}}
            )
        )
        assert (await container(docker_runtime, workload.id, "side")).state is ContainerState.RUNNING

    async def test_the_newest_run_and_the_one_before_are_kept(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        workload = wanted(shell("exit 7"))
        for run in range(4):
            await docker_runtime.apply(
                wanted(*workload.launches[0].containers, workload_id=workload.id, runs={"0": {"main": run}})
            )
            assert (await ended(docker_runtime, workload.id)).run == run
        await docker_runtime.apply(wanted(shell(waiting()), workload_id=workload.id, runs={"0": {"main": 4}}))

        async def runs() -> bool:
            found = await inspected(command, installation)
            return sorted(each["Config"]["Labels"]["dev.slipway.run"] for each in found) == ["3", "4"]

        await until(runs, "older runs are gone")
        seen = await container(docker_runtime, workload.id)
        assert (seen.run, seen.state, seen.exit_code, seen.reason) == (4, ContainerState.RUNNING, 7, None)


class TestLogs:
    async def test_there_are_as_many_lines_as_asked_for_however_long(
        self, docker_runtime: DockerRuntime, shell: Any
    ) -> None:
        """The engine counts pieces of 16 KiB."""
        script = "for i in $(seq 70); do echo $i $(head -c 40000 /dev/zero | tr '\\0' x); done; echo end"
        workload = wanted(shell(waiting(script)))
        await docker_runtime.apply(workload)
        await lines(docker_runtime, workload.id, 1, LogQuery(1, contains="end"))
        found = await docker_runtime.logs(workload.id, LogQuery(60))
        assert [each.text.split()[0] for each in found] == [*map(str, range(12, 71)), "end"]


class TestOthers:
    async def test_what_belongs_to_another_installation_or_nobody_is_left_alone(
        self, docker_runtime: DockerRuntime, wire: Wire, docker: engine.Docker, shell: Any
    ) -> None:
        workload = wanted(shell(waiting()))
        await docker_runtime.apply(workload)
        before = await observed(docker_runtime, workload.id)
        stranger = uuid.uuid4()
        try:
            async with another(wire.host, stranger) as other:
                assert await other.owned() == set()
                assert await other.observe([workload.id]) == {}
                await other.remove(workload.id)
                await other.apply(workload)
                assert set(await other.owned()) == {workload.id}
                await docker_runtime.remove(workload.id)
                await gone(docker_runtime, workload.id)
                seen = await container(other, workload.id)
                assert seen.state is ContainerState.RUNNING
        finally:
            docker.remove_labelled(f"{INSTALLATION}={stranger}")
        assert before is not None

    async def test_the_world_is_rebuilt_from_the_engine_alone(
        self, docker_runtime: DockerRuntime, installation: UUID, wire: Wire, shell: Any
    ) -> None:
        workload_id = uuid.uuid4()
        old = launched(shell("exit 3"), number=1)
        new = launched(shell(waiting()), shell(waiting(), "side", port=9090), number=2, replicas=2)
        await docker_runtime.apply(WantedWorkload(workload_id, (old, new)))
        await until(lambda: _has_ended(docker_runtime, workload_id), "one has ended")
        before = await observed(docker_runtime, workload_id)
        logs = await docker_runtime.logs(workload_id, LogQuery(10))
        await docker_runtime.close()
        async with another(wire.host, installation) as successor:
            assert await observed(successor, workload_id) == before
            assert set(await successor.owned()) == {workload_id}
            assert await successor.logs(workload_id, LogQuery(10)) == logs
            await successor.apply(WantedWorkload(workload_id, (old, new)))
            assert await observed(successor, workload_id) == before

    async def test_two_drivers_at_once_make_one_of_each(
        self, docker_runtime: DockerRuntime, installation: UUID, wire: Wire, command: Docker, shell: Any
    ) -> None:
        workload = wanted(shell(waiting("echo started")), shell(waiting(), "side", port=None), replicas=2)
        async with another(wire.host, installation) as other:
            await asyncio.gather(docker_runtime.apply(workload), other.apply(workload))
            await asyncio.gather(docker_runtime.apply(workload), other.apply(workload))
            assert await observed(docker_runtime, workload.id) == await observed(other, workload.id)
        found = await inspected(command, installation)
        assert {(each["State"]["Status"], each["RestartCount"]) for each in found} == {("running", 0)}
        assert len(found) == 4
        assert len(await lines(docker_runtime, workload.id, 2, LogQuery(10, contains="started"))) == 2

    async def test_one_that_slept_while_another_took_over_starts_nothing_again(
        self, docker_runtime: DockerRuntime, installation: UUID, wire: Wire, command: Docker, shell: Any
    ) -> None:
        """It meant to begin run 0, and wakes up when that has ended long ago, and runs 1 to 3 after it."""
        workload = wanted(shell("exit 7"))
        async with another(wire.host, installation) as other:
            for run in range(3):
                await other.apply(
                    wanted(*workload.launches[0].containers, workload_id=workload.id, runs={"0": {"main": run}})
                )
                await ended(other, workload.id)
            await other.apply(wanted(shell(waiting()), workload_id=workload.id, runs={"0": {"main": 3}}))
            before = await container(other, workload.id)
        await docker_runtime.apply(workload)
        assert await container(docker_runtime, workload.id) == before
        assert (await container(docker_runtime, workload.id)).run == 3
        [running] = await inspected(command, installation, "status=running")
        assert running["Config"]["Labels"]["dev.slipway.run"] == "3"

    async def test_what_one_has_in_mind_counts_no_more_when_another_has_gone_on(
        self, docker_runtime: DockerRuntime, installation: UUID, wire: Wire, shell: Any
    ) -> None:
        """It could not make run 3, and begins to fetch an image for run 4; what runs meanwhile is run 0 of another."""
        workload = wanted(shell(waiting()))
        refused = dataclasses.replace(shell(waiting()), cpu=200.0)
        absent = dataclasses.replace(shell(waiting()), image="127.0.0.1:1/team/nothing:1")
        for container_wanted, run, state in (
            (refused, 3, ContainerState.TERMINATED),
            (absent, 4, ContainerState.WAITING),
        ):
            again = wanted(container_wanted, workload_id=workload.id, runs={"0": {"main": run}})
            await docker_runtime.apply(again)
            seen = await container(docker_runtime, workload.id)
            assert (seen.run, seen.state) == (run, state)
        async with another(wire.host, installation) as other:
            await other.apply(workload)
            expected = await container(other, workload.id)
        assert await container(docker_runtime, workload.id) == expected
        await docker_runtime.apply(wanted(shell(waiting()), workload_id=workload.id, runs={"0": {}}))
        assert (await ended(docker_runtime, workload.id)).run == 0
        await docker_runtime.apply(wanted(shell(waiting()), workload_id=workload.id, runs={"0": {"main": 1}}))
        seen = await container(docker_runtime, workload.id)
        assert (seen.run, seen.state) == (1, ContainerState.RUNNING)

    async def test_a_network_that_was_removed_is_made_again(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, shell: Any
    ) -> None:
        workload = wanted(shell("exit 1"))
        await docker_runtime.apply(workload)
        await ended(docker_runtime, workload.id)
        await command("network", "rm", f"slipway-{installation.hex[-12:]}")
        for run in (1, 2):
            again = wanted(shell(waiting()), workload_id=workload.id, runs={"0": {"main": run}})
            await docker_runtime.apply(again)
        seen = await container(docker_runtime, workload.id)
        assert (seen.run, seen.state) == (2, ContainerState.RUNNING)

    async def test_two_that_make_the_network_at_once_agree_on_one(
        self, installation: UUID, wire: Wire, command: Docker, shell: Any
    ) -> None:
        async with another(wire.host, installation) as one, another(wire.host, installation) as two:
            first, second = wanted(shell(waiting())), wanted(shell(waiting()))
            await asyncio.gather(one.apply(first), two.apply(second))
            for _ in range(2):
                for runtime, workload in ((one, first), (two, second)):
                    seen = await container(runtime, workload.id)
                    if seen.state is ContainerState.TERMINATED:  # its network went; planning tries again
                        runs = {"0": {"main": seen.run + 1}}
                        await runtime.apply(
                            wanted(*workload.launches[0].containers, workload_id=workload.id, runs=runs)
                        )
            assert (await container(one, first.id)).state is ContainerState.RUNNING
            assert (await container(two, second.id)).state is ContainerState.RUNNING
        found = await command("network", "ls", "--quiet", "--filter", f"label={INSTALLATION}={installation}")
        assert len(found.split()) == 1


async def _has_ended(runtime: DockerRuntime, workload_id: UUID) -> bool:
    found = await observed(runtime, workload_id)
    return found is not None and any(each.finished_at for each in found.launches[1])


class TestWire:
    """Answers that are lost, an engine that can't be asked, and how little it is asked."""

    @pytest.mark.parametrize(
        "request_line",
        [
            r"POST \S+/containers/create",
            r"POST \S+/start",
            r"GET \S+/containers/json",
            r"GET \S+/containers/\w{64}/json",
            r"GET \S+/networks",
        ],
    )
    async def test_a_lost_answer_makes_no_second_one(
        self,
        docker_runtime: DockerRuntime,
        installation: UUID,
        wire: Wire,
        command: Docker,
        shell: Any,
        request_line: str,
    ) -> None:
        workload = wanted(shell(waiting("echo started")))
        wire.losing.append(request_line)
        with contextlib.suppress(RuntimeUnavailable):
            await docker_runtime.apply(workload)

        async def is_running() -> bool:
            with contextlib.suppress(RuntimeUnavailable):
                await docker_runtime.apply(workload)
                return (await container(docker_runtime, workload.id)).state is ContainerState.RUNNING
            return False

        await until(is_running, "it runs")
        assert wire.losing == [], "the answer was lost"
        assert len(await lines(docker_runtime, workload.id, 1)) == 1
        assert (await container(docker_runtime, workload.id)).run == 0
        assert len(await inspected(command, installation)) == 1

    async def test_an_engine_that_is_gone_is_unknown_and_found_again(
        self, docker_runtime: DockerRuntime, wire: Wire, shell: Any, changes: list[UUID]
    ) -> None:
        workload = wanted(shell(waiting()))
        await docker_runtime.apply(workload)
        before = await observed(docker_runtime, workload.id)
        changes.clear()
        await wire.cut()
        await until(lambda: workload.id in changes, "it is told that nothing is known", PROMPT_SECONDS)
        said = f"The container engine at {wire.host} can't be reached: "
        for question in (
            docker_runtime.observe([workload.id]),
            docker_runtime.apply(workload),
            docker_runtime.remove(workload.id),
            docker_runtime.owned(),
            docker_runtime.logs(workload.id, LogQuery(1)),
        ):
            with pytest.raises(RuntimeUnavailable) as raised:
                await question
            assert str(raised.value) == f"{said}No such file or directory."
        health = await docker_runtime.check()
        assert (health.available, health.message) == (False, f"{said}No such file or directory.")
        changes.clear()
        await wire.mend()
        await until(lambda: workload.id in changes, "it is told that all is known again", 2.0)
        assert await observed(docker_runtime, workload.id) == before
        assert (await docker_runtime.check()).available

    async def test_what_was_started_anew_while_nobody_listened_is_seen_so(
        self, docker_runtime: DockerRuntime, installation: UUID, command: Docker, wire: Wire, shell: Any
    ) -> None:
        workload = wanted(shell(waiting(), port=None))
        await docker_runtime.apply(workload)
        before = await container(docker_runtime, workload.id)
        made = await only(command, installation)
        await wire.cut()
        await command("restart", made["Id"])
        await wire.mend()

        async def is_another() -> bool:
            with contextlib.suppress(RuntimeUnavailable):
                return (await container(docker_runtime, workload.id)).started_at != before.started_at
            return False

        await until(is_another, "it is seen that it has started anew")

    async def test_an_engine_that_hangs_is_given_up_in_time(
        self, docker_runtime: DockerRuntime, wire: Wire, shell: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workload = wanted(shell(waiting()))
        await docker_runtime.apply(workload)
        monkeypatch.setattr("app.runtimes.docker_engine.ANSWER_TIMEOUT_SECONDS", 0.3)
        monkeypatch.setattr("app.runtimes.docker.CHECK_TIMEOUT_SECONDS", 0.3)
        monkeypatch.setattr("app.runtimes.docker_view.MAXIMUM_AGE_SECONDS", 0.0)
        wire.hangs = True
        began = time.monotonic()
        asked = [docker_runtime.observe([workload.id]) for _ in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {str(each) for each in answers} == {
            f"The container engine at {wire.host} can't be reached: it does not answer in time."
        }
        assert {type(each) for each in answers} == {RuntimeUnavailable}
        assert time.monotonic() - began < 2.0, "the twenty do not wait for each other"
        assert not (await docker_runtime.check()).available
        wire.hangs = False
        assert (await container(docker_runtime, workload.id)).state is ContainerState.RUNNING

    async def test_what_does_not_change_costs_the_engine_nothing(
        self, docker_runtime: DockerRuntime, wire: Wire, shell: Any
    ) -> None:
        workloads = [wanted(shell(waiting())) for _ in range(3)]
        for each in workloads:
            await docker_runtime.apply(each)
        ids = [each.id for each in workloads]
        await until(lambda: _is_at_rest(docker_runtime, wire, ids), "its events have been seen")
        wire.requests.clear()
        for _ in range(200):
            assert set(await docker_runtime.observe(ids)) == set(ids)
        assert wire.requests == []

    async def test_an_event_costs_a_list_and_an_inspection(
        self,
        docker_runtime: DockerRuntime,
        installation: UUID,
        command: Docker,
        wire: Wire,
        shell: Any,
        changes: list[UUID],
    ) -> None:
        workloads = [wanted(shell(waiting())) for _ in range(2)]
        for each in workloads:
            await docker_runtime.apply(each)
        ids = [each.id for each in workloads]
        await until(lambda: _is_at_rest(docker_runtime, wire, ids), "its events have been seen")
        wire.requests.clear()
        changes.clear()
        found = await inspected(command, installation)
        await command("kill", found[0]["Id"])
        await until(lambda: changes != [], "it is told")
        assert {each.state for each in (await docker_runtime.observe(ids))[changes[0]].launches[1]} == {
            ContainerState.TERMINATED
        }
        assert [each.partition("?")[0] for each in wire.requests] == [
            "GET /v1.41/containers/json",
            f"GET /v1.41/containers/{found[0]['Id']}/json",
        ]

    async def test_reachable(self, wire: Wire, tmp_path: Path) -> None:
        assert await reachable(wire.host)
        assert not await reachable(f"unix://{tmp_path}/nothing.sock")
        assert not await reachable("tcp://127.0.0.1:1")
        assert not await reachable("tcp://engine.example:2375")
        wire.hangs = True
        assert not await reachable(wire.host, timeout_seconds=0.1)
        wire.hangs = False


async def _is_at_rest(runtime: DockerRuntime, wire: Wire, ids: list[UUID]) -> bool:
    wire.requests.clear()
    await runtime.observe(ids)
    await asyncio.sleep(0.1)
    await runtime.observe(ids)
    return wire.requests == []
