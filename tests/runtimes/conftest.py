from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from app.runtimes.process import ProcessRuntime
from tests.runtimes.kubernetes.fixtures import (
    fake_cluster as fake_cluster,
    kubeconfig as kubeconfig,
    kubernetes_runtime as kubernetes_runtime,
    open_runtime as open_runtime,
)


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
