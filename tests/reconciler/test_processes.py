"""The whole way with real processes and real HTTP. The prober's seconds pass twenty times as fast."""

import contextlib
import dataclasses
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from app.domain.enums import ProbeKind, Wanted, WorkloadStatus as Status
from app.domain.slots import Policy
from app.reconciler.cycle import Timing
from app.runtimes.process import ProcessRuntime
from tests.reconciler.processes import READINESS, answers, every_second, place, script, serving, serving_processes
from tests.reconciler.world import LENIENT, QUICK, World, hasty, reconciling, until

pytestmark = pytest.mark.slow


async def test_a_service_comes_up_answers_and_goes(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path):
        workload_id = await world.deploy(serving(READINESS=READINESS), replicas=2)
        row = await world.reaches(workload_id, Status.RUNNING)
        said = await answers(row)
        pids = [int(each.removeprefix("hello ")) for each in said]
        assert len(set(pids)) == 2
        assert row.status_message is not None
        assert "images are not used" in row.status_message
        assert [each["ready"] for each in row.container_statuses] == [True, True]
        await world.want(workload_id, Wanted.STOPPED)
        await world.reaches(workload_id, Status.STOPPED)
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert not (tmp_path / str(workload_id)).exists()
    assert await world.history(workload_id) == ["PROVISIONING", "LAUNCHING", "RUNNING", "STOPPED"]


async def test_a_killed_process_is_noticed_within_a_second_and_started_again(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path, timing=Timing(), policy=Policy()):
        workload_id = await world.deploy(serving(READINESS=READINESS))
        row = await world.reaches(workload_id, Status.RUNNING)
        [said] = await answers(row)
        killed = time.monotonic()
        psutil.Process(int(said.removeprefix("hello "))).kill()
        interrupted = await world.reaches(workload_id, Status.INTERRUPTED, "CRASH_LOOP")
        assert time.monotonic() - killed < 1.0
        assert interrupted.status_message == (
            "Container main of replica 0: ended by SIGKILL. It is tried again, with growing pauses."
        )
        [status] = interrupted.container_statuses
        assert (status["state"], status["reason"], status["lastExitCode"]) == ("WAITING", "CRASH_LOOP", 137)
        again = await world.reaches(workload_id, Status.RUNNING)
        assert again.container_statuses[0]["restartCount"] == 1
        assert await answers(again) != [said]


async def test_readiness_takes_out_of_traffic_and_back(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path):
        workload_id = await world.deploy(serving(READINESS=READINESS))
        row = await world.reaches(workload_id, Status.RUNNING)
        down = place(tmp_path, row, "ready.down")
        down.touch()
        row = await world.reaches(workload_id, Status.INTERRUPTED, "NOT_READY")
        assert (row.addresses, row.ready_replicas) == ([], 0)
        assert row.container_statuses[0]["message"] == "GET /ready on port 8080 was answered with HTTP 503"
        down.unlink()
        row = await world.reaches(workload_id, Status.RUNNING)
        assert (len(row.addresses), row.container_statuses[0]["restartCount"]) == (1, 0)


async def test_liveness_restarts_and_startup_holds_it_back(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path):
        probes = {"STARTUP": every_second("/up", 1_000), "LIVENESS": every_second("/alive", 1)}
        workload_id = await world.deploy(serving(**probes))
        row = await world.reaches(workload_id, Status.RUNNING)
        place(tmp_path, row, "alive.down").touch()
        row = await world.reaches(workload_id, Status.INTERRUPTED, "CRASH_LOOP")
        place(tmp_path, row, "up.down").touch()  # the next run: not up, and so not asked whether it is alive

        async def is_restarted() -> bool:
            [status] = (await world.row(workload_id)).container_statuses
            return bool(status["restartCount"] == 1 and status["state"] == "RUNNING")

        await until(is_restarted, "it runs again")
        place(tmp_path, row, "alive.down").unlink()
        assert (await world.row(workload_id)).ready_replicas == 0
        place(tmp_path, row, "up.down").unlink()
        row = await world.reaches(workload_id, Status.RUNNING)
        assert row.container_statuses[0]["restartCount"] == 1


async def test_what_never_gets_ready_is_given_up_after_five_restarts(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path):
        workload_id = await world.deploy(script("echo trying; exit 7"))
        row = await world.reaches(workload_id, Status.ERRORED, "CRASH_LOOP")
        [status] = row.container_statuses
        assert (status["restartCount"], status["lastExitCode"], status["state"]) == (5, 7, "TERMINATED")
        log = place(tmp_path, row, "").with_name("main.log")
        assert log.read_text().count("trying") == 6
        await world.want(workload_id, Wanted.STOPPED)
        await world.reaches(workload_id, Status.STOPPED)
        assert not log.exists()


async def test_what_does_not_get_ready_in_time_is_given_up_and_stopped(world: World, tmp_path: Path) -> None:
    policy = dataclasses.replace(LENIENT, launch_deadline=timedelta(seconds=0.5))
    async with serving_processes(world, tmp_path, policy=policy):
        workload_id = await world.deploy(
            dataclasses.replace(script("exec sleep 60"), probes={ProbeKind.READINESS: READINESS})
        )
        row = await world.reaches(workload_id, Status.ERRORED, "LAUNCH_DEADLINE")
        assert row.status_message is not None
        assert row.status_message.endswith("is not ready: GET /ready on port 8080 was not accepted")

        async def is_stopped() -> bool:
            [status] = (await world.row(workload_id)).container_statuses
            return bool(status["state"] == "TERMINATED")

        await until(is_stopped, "its process has ended")


async def test_what_cannot_be_started_is_errored_at_once(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path):
        without = await world.deploy(dataclasses.replace(script(""), entrypoint=None))
        unknown = await world.deploy(dataclasses.replace(script(""), entrypoint=("no-such-command",)))
        row = await world.reaches(without, Status.ERRORED, "NO_ENTRYPOINT")
        assert row.container_statuses == []
        row = await world.reaches(unknown, Status.ERRORED, "START_ERROR")
        assert row.status_message == ("Container main of replica 0: there is no command 'no-such-command' in its PATH")
        assert row.container_statuses[0]["lastExitCode"] == 127


async def test_a_taken_port_is_answered_with_another(world: World, tmp_path: Path) -> None:
    """The first run finds its port taken, as when something else was quicker."""
    text = 'echo $PORT >> ports; [ "$(wc -l < ports)" = 1 ] && exit 98; exec sleep 60'
    policy = dataclasses.replace(LENIENT, settle=timedelta(milliseconds=300))
    async with serving_processes(world, tmp_path, policy=policy):
        workload_id = await world.deploy(script(text))
        row = await world.reaches(workload_id, Status.RUNNING)
        ports = place(tmp_path, row, "ports").read_text().split()
    assert len(set(ports)) == 2
    assert row.addresses[0]["port"] == int(ports[1])


async def test_after_an_orderly_stop_the_next_server_brings_it_up_again(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path):
        workload_id = await world.deploy(serving(READINESS=READINESS))
        row = await world.reaches(workload_id, Status.RUNNING)
        [said] = await answers(row)
    pid = int(said.removeprefix("hello "))
    assert not psutil.pid_exists(pid)
    row = await world.row(workload_id)
    assert (row.status, row.wanted) == (Status.RUNNING, Wanted.RUNNING)
    async with serving_processes(world, tmp_path):

        async def is_back() -> bool:
            return (await world.history(workload_id))[3:] == ["INTERRUPTED:REPLICAS_MISSING", "RUNNING"]

        await until(is_back, "it runs again")
        [said] = await answers(await world.row(workload_id))
        assert said != f"hello {pid}"


async def test_two_servers_never_run_anything_twice(world: World, tmp_path: Path) -> None:
    """Each has a directory of its own; the second takes over when the first has lost its lock."""
    async with contextlib.AsyncExitStack() as later:
        first_runtime = ProcessRuntime(tmp_path / "first")
        async with reconciling(world.database, first_runtime, timing=QUICK, prober=hasty(20)):
            await later.enter_async_context(serving_processes(world, tmp_path / "second"))
            workload_id = await world.deploy(serving(READINESS=READINESS))
            row = await world.reaches(workload_id, Status.RUNNING)
            [first] = await answers(row)
            assert not (tmp_path / "second").exists()

        async def is_taken_over() -> bool:
            return (await world.history(workload_id))[3:] == ["INTERRUPTED:REPLICAS_MISSING", "RUNNING"]

        await until(is_taken_over, "the second has taken over")
        assert await answers(await world.row(workload_id)) != [first]
        assert not psutil.pid_exists(int(first.removeprefix("hello ")))
