"""Helpers to ask a runtime for things, and to look at the processes that it makes."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from uuid import UUID

import psutil

from app.domain.logs import LogLine, LogQuery
from app.domain.observations import ContainerObservation, Observation
from app.runtimes.base import Runtime, WantedContainer, WantedLaunch, WantedWorkload

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.005


def shell(
    script: str, name: str = "main", port: int | None = 80, image: str = "image", **environment: str
) -> WantedContainer:
    """A container that runs a script in a shell. In an entrypoint `$$` stands for one dollar sign, as in Kubernetes."""
    entrypoint = ("/bin/sh", "-c", script.replace("$$", "$$$$"))
    return WantedContainer(name, image, entrypoint, environment, port=port, primary=name == "main")


def waiting(script: str = "") -> str:
    """A script that does this, and then waits until it is told to stop.

    In a container it is process 1, which ignores a signal without a handler.
    """
    return f"trap 'exit 143' TERM; {script or ':'}; sleep 60 & wait"


def launched(
    *containers: WantedContainer,
    number: int = 1,
    replicas: int = 1,
    runs: Mapping[str, Mapping[str, int]] | None = None,
) -> WantedLaunch:
    """A launch of which everything runs for the first time, unless `runs` says otherwise."""
    everything = {str(replica): {each.name: 0 for each in containers} for replica in range(replicas)}
    return WantedLaunch(number, containers, replicas, everything if runs is None else runs)


def wanted(
    *containers: WantedContainer,
    workload_id: UUID | None = None,
    launch: int = 1,
    replicas: int = 1,
    runs: Mapping[str, Mapping[str, int]] | None = None,
) -> WantedWorkload:
    """A workload with one launch."""
    only = launched(*containers, number=launch, replicas=replicas, runs=runs)
    return WantedWorkload(workload_id or uuid.uuid4(), (only,))


async def until(condition: Callable[[], Awaitable[bool] | bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is true of real processes; they are quick, the limit is for when something is wrong."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(POLL_SECONDS)


async def observed(runtime: Runtime, workload_id: UUID) -> Observation | None:
    return (await runtime.observe([workload_id])).get(workload_id)


async def container(
    runtime: Runtime, workload_id: UUID, name: str = "main", replica: str = "0", launch: int | None = None
) -> ContainerObservation:
    """The container of this name and replica, of the launch of this number or of the only one."""
    found = await observed(runtime, workload_id)
    assert found is not None
    if launch is None:
        [launch] = found.launches
    [seen] = [each for each in found.launches[launch] if (each.replica, each.container) == (replica, name)]
    return seen


async def ended(runtime: Runtime, workload_id: UUID, name: str = "main", replica: str = "0") -> ContainerObservation:
    """The same once it has ended."""

    async def has_ended() -> bool:
        return (await container(runtime, workload_id, name, replica)).finished_at is not None

    await until(has_ended, f"{name} has ended")
    return await container(runtime, workload_id, name, replica)


async def gone(runtime: Runtime, workload_id: UUID) -> None:
    async def is_gone() -> bool:
        return await observed(runtime, workload_id) is None

    await until(is_gone, "nothing is left of the workload")


async def lines(runtime: Runtime, workload_id: UUID, count: int, query: LogQuery | None = None) -> list[LogLine]:
    """The lines that a workload has written, once there are as many."""
    found: list[LogLine] = []

    async def are_there() -> bool:
        found[:] = await runtime.logs(workload_id, query or LogQuery(100))
        return len(found) >= count

    await until(are_there, f"{count} lines have been written")
    return found


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def pid_in(path: Path) -> int:
    """The process id that a script writes into a file."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"), f"a process id is in {path}")
    return int(path.read_text())
