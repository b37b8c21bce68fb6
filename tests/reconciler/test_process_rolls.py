"""Rolls with real processes and real HTTP: which process serves when, and what is left of the others."""

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from app.domain.enums import ProbeKind, ReplacementStatus, WorkloadStatus as Status
from app.domain.specification import Container, EnvironmentVariable
from tests.reconciler.processes import READINESS, answers, script, serving, serving_processes
from tests.reconciler.world import LENIENT, World, until

pytestmark = pytest.mark.slow

COMPLETED, FAILED = ReplacementStatus.COMPLETED, ReplacementStatus.FAILED


def greeting(text: str) -> Container:
    """A service that says this, and its process id."""
    return dataclasses.replace(
        serving(READINESS=READINESS), environment_vars=(EnvironmentVariable("GREETING", value=text),)
    )


async def said(world: World, workload_id: UUID) -> list[tuple[str, int]]:
    """What the replicas that get traffic say: their greeting, and their process id."""
    answered = [each.split() for each in await answers(await world.row(workload_id))]
    return [(text, int(pid)) for text, pid in answered]


def launches(directory: Path, workload_id: UUID) -> set[str]:
    """The launches of which there are files."""
    place = directory / str(workload_id)
    return {each.name for each in place.iterdir()} if place.exists() else set()


async def test_a_successor_takes_over_and_nothing_is_left_of_what_served(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path):
        workload_id = await world.deploy(greeting("first"), replicas=2)
        await world.reaches(workload_id, Status.RUNNING)
        before = await said(world, workload_id)
        assert [text for text, _ in before] == ["first"] * 2
        replacement_id = await world.replace(workload_id, greeting("second"), replicas=1)
        assert (await world.ends(replacement_id)).status is COMPLETED
        [(text, pid)] = await said(world, workload_id)
        assert (text, pid in [each for _, each in before]) == ("second", False)
        await until(lambda: launches(tmp_path, workload_id) == {"2"}, "what served is gone, with its files")
        assert not any(psutil.pid_exists(each) for _, each in before)
        assert await said(world, workload_id) == [("second", pid)]
    assert await world.history(workload_id) == ["PROVISIONING", "LAUNCHING", "RUNNING"]


UNABLE: Mapping[str, tuple[Container, str]] = {
    "it can't be started": (
        dataclasses.replace(script(""), entrypoint=("no-such-command",)),
        "Container main of replica 0: there is no command 'no-such-command' in its PATH",
    ),
    "it crashes": (
        script("exit 7"),
        "Container main of replica 0: exited with code 7, after 5 restarts. Its logs may say why.",
    ),
    "it is not ready in time": (
        dataclasses.replace(script("exec sleep 60"), probes={ProbeKind.READINESS: READINESS}),
        (
            "Not ready within the launch deadline of 2 s. Container main of replica 0 is not ready: "
            "GET /ready on port 8080 was not accepted"
        ),
    ),
    "it has no entrypoint": (
        dataclasses.replace(script(""), entrypoint=None),
        (
            "Container main has no entrypoint. The process runtime does not use images, so it needs one: set the "
            "command to run."
        ),
    ),
}


@pytest.mark.parametrize("why", UNABLE)
async def test_what_serves_goes_on_when_its_successor_is_unable_to(world: World, tmp_path: Path, why: str) -> None:
    container, message = UNABLE[why]
    deadline = timedelta(seconds=2) if "in time" in why else LENIENT.launch_deadline
    async with serving_processes(world, tmp_path) as reconciler:
        workload_id = await world.deploy(greeting("first"))
        await world.reaches(workload_id, Status.RUNNING)
        before = await said(world, workload_id)
        # For the successor alone: what serves may take its time on a busy machine.
        reconciler._cycle.policy = dataclasses.replace(LENIENT, launch_deadline=deadline)
        ended = await world.ends(await world.replace(workload_id, container))
        assert (ended.status, ended.message) == (FAILED, message)
        await until(lambda: launches(tmp_path, workload_id) == {"1"}, "the successor is gone, with its files")
        row = await world.row(workload_id)
        assert (row.status, row.status_reason, row.launch) == (Status.RUNNING, None, 1)
        assert await said(world, workload_id) == before
    assert await world.history(workload_id) == ["PROVISIONING", "LAUNCHING", "RUNNING"]


async def test_replicas_come_and_go_and_those_that_stay_are_the_same(world: World, tmp_path: Path) -> None:
    async with serving_processes(world, tmp_path):
        workload_id = await world.deploy(greeting("same"))
        await world.reaches(workload_id, Status.RUNNING)
        seen: list[list[int]] = [[pid for _, pid in await said(world, workload_id)]]
        for replicas in (3, 1, 0, 1):
            await world.scale(workload_id, replicas)

            async def is_reached(replicas: int = replicas) -> bool:
                row = await world.row(workload_id)
                return (len(row.addresses), row.ready_replicas, row.draining) == (replicas, replicas, [])

            await until(is_reached, f"there are {replicas}")
            seen.append([pid for _, pid in await said(world, workload_id)])
        first, three, one, none, again = seen
        assert (three[:1], one, none) == (first, first, [])
        assert len({*three, *again}) == 4
        assert not any(psutil.pid_exists(pid) for pid in three)
        row = await world.row(workload_id)
        assert (row.status, row.launch, row.last_launch) == (Status.RUNNING, 1, 1)


async def test_a_roll_goes_on_with_the_next_server(world: World, tmp_path: Path) -> None:
    """Both are brought up anew: with the server all that it ran has ended."""
    async with serving_processes(world, tmp_path):
        workload_id = await world.deploy(greeting("first"))
        await world.reaches(workload_id, Status.RUNNING)
        before = await said(world, workload_id)
        # It does not get ready here, and will elsewhere: there is no such file in another directory.
        script_ = 'test -e "$HOME/../../../../second" || exec sleep 60; exec "$@"'
        second = greeting("second")
        assert second.entrypoint is not None
        late = dataclasses.replace(second, entrypoint=("sh", "-c", script_, "sh", *second.entrypoint))
        replacement_id = await world.replace(workload_id, late)
        await until(lambda: launches(tmp_path, workload_id) == {"1", "2"}, "both are there")
        assert await said(world, workload_id) == before
    assert not psutil.pid_exists(before[0][1])
    (tmp_path / "second").touch()
    async with serving_processes(world, tmp_path):
        assert (await world.ends(replacement_id)).status is COMPLETED
        [(text, _)] = await said(world, workload_id)
        assert text == "second"
        await until(lambda: launches(tmp_path, workload_id) == {"2"}, "what served is gone")


async def test_two_servers_run_a_roll_once(world: World, tmp_path: Path) -> None:
    """Each has a directory of its own; the one that holds the lock works."""
    async with (
        serving_processes(world, tmp_path / "first"),
        serving_processes(world, tmp_path / "second"),
    ):
        workload_id = await world.deploy(greeting("first"))
        await world.reaches(workload_id, Status.RUNNING)
        assert (await world.ends(await world.replace(workload_id, greeting("second")))).status is COMPLETED
        [(text, _)] = await said(world, workload_id)
        assert text == "second"
        assert not (tmp_path / "second").exists()
