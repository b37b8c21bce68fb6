import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import pytest

from app.domain.enums import ContainerState
from app.domain.specification import Container, ContainerGroup, Specification
from app.runtimes.base import RuntimeUnavailable, WantedContainer, WantedWorkload
from app.runtimes.process import INSTANCE_VARIABLE, ProcessRuntime
from tests.runtimes import world
from tests.runtimes.world import container, gone, pid_in, shell, until, wanted

ESCAPED = "setsid sh -c 'echo $$ > escaped; exec sleep 60' & "
"""Starts a grandchild in a session of its own, and waits until it is there."""
SECRET = "s3cr3t-value"  # noqa: S105


def directory_of(runtime: ProcessRuntime, workload: WantedWorkload, name: str = "main") -> Path:
    return runtime.directory / str(workload.id) / str(workload.launches[0].number) / "0" / name


def keepers() -> list[psutil.Process]:
    """The keepers that this process has started."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(argument.endswith("keeper.py") for argument in process.cmdline()):
                found.append(process)
    return found


async def log_lines(path: Path, count: int) -> list[tuple[str, str, str]]:
    """Stream, tag and text of the lines of a log."""
    await until(lambda: path.exists() and path.read_bytes().count(b"\n") >= count, f"{count} lines are in {path}")
    lines = [line.split(" ", 3) for line in path.read_bytes().decode("utf-8", "replace").splitlines()]
    return [(stream, tag, text) for _, stream, tag, text in lines]


class TestEnvironment:
    async def test_it_is_the_containers_own_and_nothing_of_the_server(
        self, process_runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", SECRET)
        workload = wanted(WantedContainer("main", "image", ("env", "-0"), {"OWN": "a\nb", "LANG": "C"}, port=8080))
        await process_runtime.apply(workload)
        seen = await container(process_runtime, workload.id)
        assert seen.address is not None
        path = directory_of(process_runtime, workload)
        log = path.with_name("main.log")
        # One NUL behind each of the seven: the log is there before all of it is.
        await until(lambda: log.exists() and log.read_bytes().count(b"\0") == 7, "it has printed all")
        text = log.read_text()
        printed = "".join(line.split(" ", 3)[3] + "\n" for line in text.splitlines()).rstrip("\n").rstrip("\0")
        place = process_runtime.directory.stat()
        assert dict(each.split("=", 1) for each in printed.split("\0")) == {
            "PATH": os.environ["PATH"],
            "LANG": "C",
            "HOME": str(path),
            "TMPDIR": str(path / "tmp"),
            "OWN": "a\nb",
            "PORT": str(seen.address.port),
            INSTANCE_VARIABLE: f"{place.st_dev:x}-{place.st_ino:x}",
        }
        assert (path / "tmp").is_dir()

    async def test_no_process_of_it_shows_a_secret_in_its_arguments(self, process_runtime: ProcessRuntime) -> None:
        workload = wanted(shell("exec sleep 60", TOKEN=SECRET))
        await process_runtime.apply(workload)
        assert SECRET not in repr(workload)
        for process in psutil.Process().children(recursive=True):
            assert SECRET not in " ".join(process.cmdline())
        assert len(keepers()) == 1
        supervisors = keepers()[0].children()
        assert len(supervisors) == 1
        assert all(SECRET not in str(each.environ()) for each in [*keepers(), *supervisors])

    async def test_it_inherits_no_open_file_and_no_ignored_signal(self, process_runtime: ProcessRuntime) -> None:
        script = "ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/0; grep SigIgn /proc/self/status; pwd"
        workload = wanted(shell(script))
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            await process_runtime.apply(workload)
        finally:
            signal.signal(signal.SIGINT, before)
        path = directory_of(process_runtime, workload)
        files, ignored, directory = [text for _, _, text in await log_lines(path.with_name("main.log"), 3)]
        assert files == "0 1 2 3 /dev/null"  # 3 is the directory that ls reads
        # 32 and 33 are the C library's own: it lets nobody change them, so they stay as the tests were given them.
        assert int(ignored.removeprefix("SigIgn:"), 16) & ~(1 << 31 | 1 << 32) == 0
        assert directory == str(path)


class TestSignals:
    @pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (34, "SIGRTMIN"), (35, "signal 35")])
    async def test_it_is_told_whatever_the_signal(
        self, process_runtime: ProcessRuntime, number: int, name: str
    ) -> None:
        workload = wanted(shell(f"kill -{number} $$; sleep 60"))
        await process_runtime.apply(workload)

        async def ended() -> bool:
            seen = await container(process_runtime, workload.id)
            return seen.state is ContainerState.TERMINATED

        await until(ended, "it has ended")
        seen = await container(process_runtime, workload.id)
        assert (seen.exit_code, seen.message) == (128 + number, f"ended by {name}")


class TestPort:
    async def test_each_container_with_a_port_gets_a_free_one(self, process_runtime: ProcessRuntime) -> None:
        server = ("python3", "-m", "http.server", "--bind", "127.0.0.1", "$PORT")
        workload = wanted(WantedContainer("main", "image", server, {}, port=8080), shell("exec sleep 60", "side", 8080))
        await process_runtime.apply(workload)
        main = await container(process_runtime, workload.id)
        side = await container(process_runtime, workload.id, "side")
        assert main.address is not None
        assert side.address is not None
        assert main.address.port != side.address.port
        assert {main.address.host, side.address.host} == {"127.0.0.1"}
        url = f"http://127.0.0.1:{main.address.port}/"

        async def answers() -> bool:
            try:
                async with httpx.AsyncClient(trust_env=False) as client:
                    return (await client.get(url)).status_code == 200
            except httpx.ConnectError:
                return False

        await until(answers, "the server listens at its port")

    async def test_without_a_port_there_is_no_address(self, process_runtime: ProcessRuntime) -> None:
        workload = wanted(shell("exec sleep 60", port=None))
        await process_runtime.apply(workload)
        assert (await container(process_runtime, workload.id)).address is None


class TestStart:
    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("no-such-command",), 127, "there is no command 'no-such-command' in its PATH"),
            (("/etc/passwd",), 126, "'/etc/passwd' is not executable"),
            (("./script",), 127, "there is no command './script' in its PATH"),
            (("a\0b",), 126, "'a\\x00b' can't be started: Invalid argument"),
            (("echo", "x" * 200_000), 126, "'echo' can't be started: Argument list too long"),
        ],
    )
    async def test_what_cannot_be_started_says_why(
        self, process_runtime: ProcessRuntime, arguments: tuple[str, ...], code: int, message: str
    ) -> None:
        workload = wanted(WantedContainer("main", "image", arguments, {}, port=80))
        await process_runtime.apply(workload)
        seen = await container(process_runtime, workload.id)
        assert (seen.state, seen.reason) == (ContainerState.TERMINATED, "START_ERROR")
        assert (seen.exit_code, seen.message) == (code, message)

    @pytest.mark.parametrize("entrypoint", [None, ()])
    def test_a_container_without_an_entrypoint_is_refused(self, tmp_path: Path, entrypoint: tuple[str] | None) -> None:
        runtime = ProcessRuntime(tmp_path)
        fine = Container("main", "image", entrypoint=("run",))
        refusal = runtime.refusal(Specification((ContainerGroup((fine, Container("b", "i", entrypoint=entrypoint))),)))
        assert refusal is not None
        assert refusal.reason == "NO_ENTRYPOINT"
        assert refusal.message == (
            "Container b has no entrypoint. The process runtime does not use images, so it needs one: "
            "set the command to run."
        )
        assert runtime.refusal(Specification((ContainerGroup((fine,)),))) is None


class TestEnd:
    async def test_one_that_ignores_the_request_to_stop_is_killed(self, tmp_path: Path) -> None:
        runtime = ProcessRuntime(tmp_path / "process", grace_seconds=0.2)
        await runtime.open(lambda _: None)
        workload = wanted(shell("trap '' TERM; echo $$ > pid; while :; do sleep 60; done"))
        await runtime.apply(workload)
        pid = await pid_in(directory_of(runtime, workload) / "pid")
        await runtime.remove(workload.id)
        assert world.alive(pid)
        await gone(runtime, workload.id)
        assert not world.alive(pid)
        assert not (runtime.directory / str(workload.id)).exists()
        await runtime.close()

    async def test_the_whole_group_is_asked_to_stop(self, process_runtime: ProcessRuntime) -> None:
        child = "trap 'echo child stops; exit' TERM; echo > ready; while :; do :; done"
        workload = wanted(shell(f"trap 'wait; exit 4' TERM; ({child}) & wait"))
        await process_runtime.apply(workload)
        path = directory_of(process_runtime, workload)
        await until((path / "ready").exists, "the child runs")
        await process_runtime.apply(wanted(workload_id=workload.id, runs={"0": {}}))
        assert await log_lines(path.with_name("main.log"), 1) == [("stdout", "F", "child stops")]

    @pytest.mark.parametrize("ending", ["exit 0", "kill -9 $$"])
    async def test_a_container_ends_with_its_first_process(
        self, process_runtime: ProcessRuntime, changes: list[UUID], ending: str
    ) -> None:
        script = f"sh -c 'echo $$ > child; exec sleep 60' & {ESCAPED} until [ -s escaped -a -s child ]; do :; done; "
        workload = wanted(shell(script + ending))
        await process_runtime.apply(workload)
        await until(lambda: workload.id in changes, "it has ended")
        path = directory_of(process_runtime, workload)
        assert not world.alive(await pid_in(path / "child"))
        assert not world.alive(await pid_in(path / "escaped"))

    async def test_what_left_the_group_and_lost_its_environment_goes_as_well(
        self, process_runtime: ProcessRuntime
    ) -> None:
        daemon = "env -i setsid sh -c '(setsid sh -c \"echo \\$\\$ > escaped; exec sleep 60\" &) ; exit' ; "
        workload = wanted(shell(daemon + "exec sleep 60"))
        await process_runtime.apply(workload)
        escaped = await pid_in(directory_of(process_runtime, workload) / "escaped")
        assert world.alive(escaped)
        await process_runtime.remove(workload.id)
        await gone(process_runtime, workload.id)
        assert not world.alive(escaped)

    async def test_close_lets_processes_end_in_peace(self, process_runtime: ProcessRuntime) -> None:
        workload = wanted(shell("trap 'echo bye; exit 0' TERM; echo > ready; while :; do :; done"))
        await process_runtime.apply(workload)
        path = directory_of(process_runtime, workload)
        await until((path / "ready").exists, "it runs")
        await process_runtime.close()
        assert await log_lines(path.with_name("main.log"), 1) == [("stdout", "F", "bye")]
        assert keepers() == []


class TestOutput:
    async def test_both_streams_are_kept_in_order_with_their_times(
        self, process_runtime: ProcessRuntime, changes: list[UUID]
    ) -> None:
        script = "echo one; sleep 0.05; echo two >&2; printf '\\377\\000x\\n'; sleep 0.05; printf unfinished >&2"
        workload = wanted(shell(script))
        await process_runtime.apply(workload)
        await until(lambda: workload.id in changes, "it has ended")
        path = directory_of(process_runtime, workload).with_name("main.log")
        assert await log_lines(path, 4) == [
            ("stdout", "F", "one"),
            ("stderr", "F", "two"),
            ("stdout", "F", "\ufffd\0x"),
            ("stderr", "F", "unfinished"),
        ]
        assert path.stat().st_mode & 0o777 == 0o600

    async def test_logs_of_earlier_runs_stay_until_the_next_launch(
        self, process_runtime: ProcessRuntime, changes: list[UUID]
    ) -> None:
        workload = wanted(shell("echo hello"))
        for run in (0, 1):
            await process_runtime.apply(
                wanted(*workload.launches[0].containers, workload_id=workload.id, runs={"0": {"main": run}})
            )
            await until(lambda: workload.id in changes, "it has ended")
            changes.clear()
        path = directory_of(process_runtime, workload).with_name("main.log")
        assert await log_lines(path, 2) == [("stdout", "F", "hello")] * 2
        await process_runtime.apply(wanted(shell("exec sleep 60"), workload_id=workload.id, launch=2))
        assert not path.exists()

    async def test_logs_outlive_the_server_until_the_workload_is_removed(self, process_runtime: ProcessRuntime) -> None:
        workload = wanted(shell("echo hello; exec sleep 60"), launch=3)
        await process_runtime.apply(workload)
        path = directory_of(process_runtime, workload).with_name("main.log")
        await log_lines(path, 1)
        await process_runtime.close(at_once=True)
        (process_runtime.directory / "something else").mkdir()
        await process_runtime.open(lambda _: None)
        found = await world.observed(process_runtime, workload.id)
        assert found is not None
        assert found.launches == {3: ()}
        assert set(await process_runtime.owned()) == {workload.id}
        assert await log_lines(path, 1) == [("stdout", "F", "hello")]
        await process_runtime.remove(workload.id)
        assert await world.observed(process_runtime, workload.id) is None
        assert not path.exists()


class TestAccidents:
    async def test_processes_go_on_when_the_keeper_is_killed(self, process_runtime: ProcessRuntime) -> None:
        first = wanted(shell("echo $$ > pid; exec sleep 60"))
        await process_runtime.apply(first)
        pid = await pid_in(directory_of(process_runtime, first) / "pid")
        [keeper] = keepers()
        keeper.kill()
        await until(lambda: not world.alive(keeper.pid), "the keeper is dead")
        second = wanted(shell("exec sleep 60"))
        await process_runtime.apply(second)
        assert (await process_runtime.check()).available
        assert (await container(process_runtime, second.id)).state is ContainerState.RUNNING
        assert world.alive(pid)
        await process_runtime.remove(first.id)
        await gone(process_runtime, first.id)
        assert not world.alive(pid)

    async def test_everything_goes_with_its_supervisor(
        self, process_runtime: ProcessRuntime, changes: list[UUID]
    ) -> None:
        workload = wanted(shell(f"echo $$ > pid; {ESCAPED} while :; do sleep 1; done"))
        await process_runtime.apply(workload)
        path = directory_of(process_runtime, workload)
        pid, escaped = await pid_in(path / "pid"), await pid_in(path / "escaped")
        psutil.Process(pid).parent().kill()  # type: ignore[union-attr]
        await until(lambda: workload.id in changes, "the runtime has noticed")
        seen = await container(process_runtime, workload.id)
        assert (seen.state, seen.exit_code, seen.message) == (ContainerState.TERMINATED, None, "lost its supervisor")
        await until(lambda: not world.alive(pid) and not world.alive(escaped), "nothing is left")

    async def test_a_second_server_is_kept_out(self, process_runtime: ProcessRuntime) -> None:
        second = ProcessRuntime(process_runtime.directory)
        with pytest.raises(RuntimeUnavailable, match="another server uses it"):
            await second.open(lambda _: None)
        await process_runtime.close()
        await second.open(lambda _: None)
        await second.close()

    async def test_leftovers_of_an_earlier_server_are_ended(
        self, process_runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.runtimes.process.LEFTOVER_PATIENT_ROUNDS", 2)
        workload = wanted(shell("exec sleep 60"))
        await process_runtime.apply(workload)
        mark = keepers()[0].environ()[INSTANCE_VARIABLE]
        await process_runtime.close(at_once=True)
        with (
            subprocess.Popen(["sleep", "60"], env={INSTANCE_VARIABLE: mark}) as leftover,
            subprocess.Popen(["sleep", "60"], env={INSTANCE_VARIABLE: mark + "0"}) as stranger,
        ):
            await process_runtime.open(lambda _: None)
            assert leftover.wait(5) == -signal.SIGKILL
            assert stranger.poll() is None
            stranger.kill()

    async def test_nothing_is_left_when_the_server_is_killed(self, tmp_path: Path) -> None:
        directory = tmp_path / "process"
        for _ in range(5):
            await kill_a_server(directory)


async def kill_a_server(directory: Path) -> None:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("server.py")), str(directory)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert server.stdout is not None
    pids = [int(each) for each in (await server.stdout.readline()).split()]
    assert len(pids) == 4
    assert all(world.alive(pid) for pid in pids)
    pids += [each.pid for each in psutil.Process(server.pid).children(recursive=True)]
    server.kill()
    await server.wait()
    await until(lambda: not any(world.alive(pid) for pid in pids), "no process is left")
