"""Helpers to ask a runtime for things, and to look at the processes that it makes."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from uuid import UUID

import psutil

from app.domain.observations import ContainerObservation, Observation
from app.runtimes.base import Runtime, WantedContainer, WantedLaunch, WantedWorkload

PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.005


def shell(script: str, name: str = "main", port: int | None = 80, **environment: str) -> WantedContainer:
    """A container that runs a script in a shell. In an entrypoint `$$` stands for one dollar sign, as in Kubernetes."""
    entrypoint = ("/bin/sh", "-c", script.replace("$$", "$$$$"))
    return WantedContainer(name, "image", entrypoint, environment, port=port, primary=name == "main")


def wanted(
    *containers: WantedContainer,
    workload_id: UUID | None = None,
    launch: int = 1,
    replicas: int = 1,
    runs: Mapping[str, Mapping[str, int]] | None = None,
) -> WantedWorkload:
    everything = {str(replica): {each.name: 0 for each in containers} for replica in range(replicas)}
    only = WantedLaunch(launch, containers, replicas, everything if runs is None else runs)
    return WantedWorkload(workload_id or uuid.uuid4(), (only,))


async def until(condition: Callable[[], Awaitable[bool] | bool], what: str) -> None:
    """Wait until something is true of real processes; they are quick, the limit is for when something is wrong."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(POLL_SECONDS)


async def observed(runtime: Runtime, workload_id: UUID) -> Observation | None:
    return (await runtime.observe([workload_id])).get(workload_id)


async def container(
    runtime: Runtime, workload_id: UUID, name: str = "main", replica: str = "0"
) -> ContainerObservation:
    found = await observed(runtime, workload_id)
    assert found is not None
    [seen] = [
        each
        for containers in found.launches.values()
        for each in containers
        if (each.replica, each.container) == (replica, name)
    ]
    return seen


async def gone(runtime: Runtime, workload_id: UUID) -> None:
    async def is_gone() -> bool:
        return await observed(runtime, workload_id) is None

    await until(is_gone, "nothing is left of the workload")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def pid_in(path: Path) -> int:
    """The process id that a script writes into a file."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"), f"a process id is in {path}")
    return int(path.read_text())
