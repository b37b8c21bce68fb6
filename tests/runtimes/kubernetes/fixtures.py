"""The fake cluster on loopback, and runtimes that use it. tests/runtimes/conftest.py offers them to all tests there."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvicorn

from app.domain import manifests
from app.runtimes.kubernetes import KubernetesRuntime
from app.runtimes.kubernetes_client import Timing
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.subject import Subject

INSTALLATION = UUID("00000000-0000-4000-8000-000000000001")
CLUSTER = manifests.Cluster(INSTALLATION, "workloads", timedelta(minutes=10))
TIMING = Timing(
    connect_seconds=2.0, answer_seconds=2.0, watch_seconds=2, watch_grace_seconds=0.5, first_list_seconds=10.0
)

Open = Callable[..., Awaitable[KubernetesRuntime]]


@contextlib.asynccontextmanager
async def served(fake: FakeCluster, **settings: Any) -> AsyncIterator[FakeCluster]:
    """A fake cluster that listens on loopback."""
    config = uvicorn.Config(
        fake.app, host="127.0.0.1", port=0, access_log=False, log_config=None, lifespan="off", **settings
    )
    config.load()
    server = uvicorn.Server(config)
    # Without uvicorn's main loop, which looks ten times a second whether it should end.
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    scheme = "https" if config.is_ssl else "http"
    fake.url = f"{scheme}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        fake.end()
        server.force_exit = True
        await server.shutdown()


@pytest.fixture
async def fake_cluster() -> AsyncIterator[FakeCluster]:
    """A fake cluster."""
    async with served(FakeCluster()) as fake:
        yield fake


@pytest.fixture
def kubeconfig(fake_cluster: FakeCluster, tmp_path: Path) -> Path:
    """A file that leads to the fake cluster."""
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig_for(fake_cluster.url, {"token": fake_cluster.token})))
    return path


def kubeconfig_for(server: str, user: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "users": [{"name": "fake", "user": user}],
    }


@pytest.fixture
async def open_runtime(kubeconfig: Path, changes: list[UUID]) -> AsyncIterator[Open]:
    """Open runtimes on the fake cluster."""
    opened: list[KubernetesRuntime] = []

    async def open_one(cluster: manifests.Cluster = CLUSTER, **settings: Any) -> KubernetesRuntime:
        settings = {"environ": {"KUBECONFIG": str(kubeconfig)}, "timing": TIMING, **settings}
        runtime = KubernetesRuntime(cluster, **settings)
        opened.append(runtime)
        await runtime.open(changes.append)
        return runtime

    yield open_one
    for runtime in opened:
        await runtime.close()


@pytest.fixture
async def kubernetes_runtime(fake_cluster: FakeCluster, open_runtime: Open) -> KubernetesRuntime:
    """A runtime on a fake cluster in which pods do at once what they are to."""
    fake_cluster.controllers.ready_at_once = True
    return await open_runtime()


@pytest.fixture
def kubernetes_subject(
    kubernetes_runtime: KubernetesRuntime, fake_cluster: FakeCluster, changes: list[UUID]
) -> Subject:
    async def running(workload_id: UUID) -> int:
        pods = fake_cluster.pods(workload=manifests.label_of(workload_id))
        statuses = [each for pod in pods for each in pod["status"].get("containerStatuses", ())]
        return sum("running" in each["state"] for each in statuses)

    return Subject(kubernetes_runtime, changes, "registry.example/app:1", running)
