"""A real cluster, where KUBECONFIG names one. Each test makes a namespace of its own there, and deletes it.

TEST_KUBERNETES_IMAGE names another image with a shell and busybox' httpd, for clusters that can't reach Docker Hub.
"""

import os
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from app.domain import manifests
from app.runtimes.kubernetes import KubernetesRuntime
from app.runtimes.kubernetes_client import PODS, Client, Timing
from tests.runtimes.subject import Subject

IMAGE = os.environ.get("TEST_KUBERNETES_IMAGE", "docker.io/library/busybox:1.37")


@pytest.fixture
async def cluster_client() -> AsyncIterator[Client]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster to try it on")
    made = Client(os.environ, Timing())
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def cluster_namespace(cluster_client: Client) -> AsyncIterator[str]:
    name = f"slipway-test-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await cluster_client.create("/api/v1/namespaces", body)
    yield name
    await cluster_client.delete(f"/api/v1/namespaces/{name}", propagation="Background")


@pytest.fixture
async def cluster_runtime(cluster_namespace: str, changes: list[UUID]) -> AsyncIterator[KubernetesRuntime]:
    made = KubernetesRuntime(manifests.Cluster(uuid.uuid4(), cluster_namespace, timedelta(seconds=60)))
    await made.open(changes.append)
    yield made
    await made.close()


@pytest.fixture
def cluster_subject(
    cluster_runtime: KubernetesRuntime, cluster_client: Client, cluster_namespace: str, changes: list[UUID]
) -> Subject:
    async def running(workload_id: UUID) -> int:
        selector = f"{manifests.WORKLOAD_LABEL}={manifests.label_of(workload_id)}"
        pods = (await cluster_client.list(PODS, cluster_namespace, selector)).items
        statuses = [each for pod in pods for each in pod["status"].get("containerStatuses", ())]
        return sum("running" in each["state"] for each in statuses)

    return Subject(cluster_runtime, changes, IMAGE, running)
