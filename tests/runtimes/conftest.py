import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from app.domain import ids
from app.runtimes.docker import DockerRuntime
from app.runtimes.docker_containers import INSTALLATION, WORKLOAD
from app.runtimes.process import ProcessRuntime
from tests import engine
from tests.runtimes.kubernetes.fixtures import (
    fake_cluster as fake_cluster,
    kubeconfig as kubeconfig,
    kubernetes_runtime as kubernetes_runtime,
    kubernetes_subject as kubernetes_subject,
    open_runtime as open_runtime,
)
from tests.runtimes.kubernetes.real import (
    cluster_client as cluster_client,
    cluster_namespace as cluster_namespace,
    cluster_runtime as cluster_runtime,
    cluster_subject as cluster_subject,
)
from tests.runtimes.subject import Subject
from tests.runtimes.wire import Wire, wired


@pytest.fixture
def changes() -> list[UUID]:
    """The workloads that the runtime has called changed."""
    return []


@pytest.fixture
async def process_runtime(tmp_path: Path, changes: list[UUID]) -> AsyncIterator[ProcessRuntime]:
    runtime = ProcessRuntime(tmp_path / "process", grace_seconds=5.0)
    await runtime.open(changes.append)
    yield runtime
    await runtime.close(at_once=True)


@pytest.fixture
def process_subject(process_runtime: ProcessRuntime, changes: list[UUID]) -> Subject:
    async def running(workload_id: UUID) -> int:
        directory = str(process_runtime.directory / str(workload_id))
        found = [
            each for each in psutil.process_iter(["cwd", "name"]) if (each.info["cwd"] or "").startswith(directory)
        ]
        return sum(each.info["name"] == "sh" for each in found)

    return Subject(process_runtime, changes, "image", running)


@pytest.fixture
def installation(docker: engine.Docker) -> Iterator[UUID]:
    """Whose containers a test makes; they are removed after it."""
    made = uuid.uuid4()
    yield made
    docker.remove_labelled(f"{INSTALLATION}={made}")


@pytest.fixture
async def wire(tmp_path: Path, docker: engine.Docker) -> AsyncIterator[Wire]:
    """The wire to the engine, that a test may cut."""
    async with wired(tmp_path / "wire.sock", docker.host) as made:
        yield made


@pytest.fixture
async def docker_runtime(wire: Wire, installation: UUID, changes: list[UUID]) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(wire.host, installation, lambda _: None, grace_seconds=1.0)
    await runtime.open(changes.append)
    yield runtime
    await runtime.close()


@pytest.fixture
def docker_subject(
    docker_runtime: DockerRuntime, changes: list[UUID], tiny_image: str, docker: engine.Docker
) -> Subject:
    async def running(workload_id: UUID) -> int:
        label = f"label={WORKLOAD}={ids.encode(ids.Kind.WORKLOAD, workload_id)}"
        return len((await asyncio.to_thread(docker.run, "ps", "--quiet", "--filter", label)).split())

    return Subject(docker_runtime, changes, tiny_image, running)
