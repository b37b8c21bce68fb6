"""Workloads for the tests of the driver, and what they wait for."""

import asyncio
import time
import uuid
from typing import Any
from uuid import UUID

from app.domain.wanted import WantedContainer, WantedLaunch, WantedWorkload
from app.runtimes.kubernetes import KubernetesRuntime
from tests.runtimes.kubernetes import recordings

PATIENCE_SECONDS = 10.0

MAIN = WantedContainer("main", "registry.example/app:1", None, {"PORT": "8080"}, port=8080, primary=True)
SECRET = WantedContainer(
    "main",
    "registry.example/app:1",
    None,
    {"PORT": "8080", "TOKEN": "s3cret"},
    secret_names=frozenset({"TOKEN"}),
    port=8080,
    primary=True,
)


def launch(number: int = 1, *containers: WantedContainer, replicas: int = 1) -> WantedLaunch:
    return WantedLaunch(number, containers or (MAIN,), replicas, {})


def workload(*launches: WantedLaunch, workload_id: UUID | None = None) -> WantedWorkload:
    return WantedWorkload(workload_id or uuid.uuid4(), launches or (launch(),))


async def told(runtime: KubernetesRuntime, workload_id: UUID) -> str:
    """What is observed of a workload, as `recordings.tell` puts it."""
    return recordings.tell((await runtime.observe([workload_id])).get(workload_id))


async def until_told(runtime: KubernetesRuntime, workload_id: UUID, line: str) -> None:
    """Wait until that is observed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := await told(runtime, workload_id)) != line:
        assert time.monotonic() < deadline, f"waited in vain for {line!r}; it is {found!r}"
        await asyncio.sleep(0.002)


async def until(condition: Any, what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.002)
