"""A real cluster, where KUBECONFIG names one: what the fake one can't know.

Each test makes a namespace of its own, and deletes it. The image has a shell and busybox' httpd; TEST_KUBERNETES_IMAGE
names another, for clusters that can't reach Docker Hub.
"""

import asyncio
import dataclasses
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import UUID

import pytest

from app.domain import manifests
from app.domain.enums import ProbeKind
from app.domain.logs import LogQuery
from app.domain.specification import Probe
from app.domain.wanted import WantedContainer
from app.runtimes.kubernetes import KubernetesRuntime
from app.runtimes.kubernetes_client import DEPLOYMENTS, PODS, SECRETS, SERVICES, Client, Timing
from tests.runtimes.kubernetes import recordings
from tests.runtimes.kubernetes.world import launch, workload

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster to try it on"),
]

IMAGE = os.environ.get("TEST_KUBERNETES_IMAGE", "docker.io/library/busybox:1.37")
PATIENCE_SECONDS = 120.0

SERVE = "echo started; mkdir /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p $PORT -h /tmp/www"


def shell(script: str, *, readiness: bool = False, environment: Mapping[str, str] | None = None) -> WantedContainer:
    """A container that runs a script. In an entrypoint `$$` stands for one dollar sign."""
    return WantedContainer(
        "main",
        IMAGE,
        ("sh", "-c", script.replace("$$", "$$$$")),
        {"PORT": "8080", **(environment or {})},
        port=8080,
        primary=True,
        probes={ProbeKind.READINESS: Probe("/", 8080, period_seconds=1)} if readiness else {},
        cpu=0.05,
        memory_bytes=32 * 1024 * 1024,
    )


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client(os.environ, Timing())
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    name = f"slipway-test-{uuid.uuid4().hex[:8]}"
    await client.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    await client.delete(f"/api/v1/namespaces/{name}", propagation="Background")


@pytest.fixture
async def runtime(namespace: str) -> AsyncIterator[KubernetesRuntime]:
    cluster = manifests.Cluster(uuid.uuid4(), namespace, timedelta(seconds=60))
    made = KubernetesRuntime(cluster)
    await made.open(lambda _: None)
    yield made
    await made.close()


async def told(runtime: KubernetesRuntime, workload_id: UUID) -> str:
    return recordings.tell((await runtime.observe([workload_id])).get(workload_id))


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.2)


async def until_told(runtime: KubernetesRuntime, workload_id: UUID, *lines: str) -> None:
    """Wait until one of these is observed."""

    async def is_told() -> bool:
        return await told(runtime, workload_id) in lines

    await until(is_told, f"it is {' or '.join(lines)}")


async def test_it_can_be_used(runtime: KubernetesRuntime, namespace: str) -> None:
    health = await runtime.check()
    assert health.available, health.message
    assert health.message.endswith(f", namespace {namespace}.")


async def test_from_the_first_launch_to_nothing(runtime: KubernetesRuntime, client: Client, namespace: str) -> None:
    selector = manifests.selector(runtime.cluster)
    first, second = (launch(number, shell(SERVE, readiness=True), replicas=2) for number in (1, 2))
    wanted = workload(first)
    await runtime.apply(wanted)
    assert (await told(runtime, wanted.id)).startswith("1x2 going")
    await until_told(runtime, wanted.id, "1x2 complete | 1: R R")
    [before] = (await client.list(DEPLOYMENTS, namespace, selector)).items
    await runtime.apply(wanted)
    [after] = (await client.list(DEPLOYMENTS, namespace, selector)).items
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    await runtime.apply(workload(first, second, workload_id=wanted.id))
    await until_told(runtime, wanted.id, "2x2 complete | 1: - | 2: R R", "2x2 complete | 2: R R")
    await until_told(runtime, wanted.id, "2x2 complete | 2: R R")
    await runtime.apply(workload(launch(2, replicas=0), workload_id=wanted.id))
    await until_told(runtime, wanted.id, "2x0 complete | 2: -")
    await runtime.remove(wanted.id)
    await until_told(runtime, wanted.id, "nothing")
    for resource in (DEPLOYMENTS, SERVICES, SECRETS, PODS):
        assert (await client.list(resource, namespace, selector)).items == []


async def test_values_arrive_as_they_were_given(runtime: KubernetesRuntime) -> None:
    """Also those in which Kubernetes would fill something in, and those of credentials."""
    values = {"PLAIN": "$(PORT) $$ ${PORT}", "SECRET": "$(PORT) s3cret $$", "EMPTY": ""}
    script = 'echo "plain=$PLAIN"; echo "secret=$SECRET"; echo "empty=<$EMPTY>"; echo "$0 $1"; sleep 3600'
    container = dataclasses.replace(
        shell(script, environment=values),
        entrypoint=("sh", "-c", script, "$(PORT)", "$PORT"),
        secret_names=frozenset({"SECRET"}),
    )
    wanted = workload(launch(1, container))
    await runtime.apply(wanted)
    expected = ["plain=$(PORT) $$ ${PORT}", "secret=$(PORT) s3cret $$", "empty=<>", "8080 8080"]

    async def is_written() -> bool:
        return [each.text for each in await runtime.logs(wanted.id, LogQuery(10))] == expected

    await until(is_written, "all of it is in the log")


async def test_an_image_that_is_not_there(runtime: KubernetesRuntime) -> None:
    missing = dataclasses.replace(shell("exit 0"), image=f"{IMAGE.rpartition(':')[0]}:no-such-tag")
    wanted = workload(launch(1, missing))
    await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 going IMAGE_NOT_FOUND | 1: w(IMAGE_NOT_FOUND)")


async def test_a_container_that_crashes(runtime: KubernetesRuntime) -> None:
    """It is tried again, and the log of the run before stays."""
    wanted = workload(launch(1, shell("echo why; exit 3", readiness=True)))
    await runtime.apply(wanted)

    async def has_restarted() -> bool:
        seen = (await runtime.observe([wanted.id])).get(wanted.id)
        return seen is not None and any(each.run >= 1 for each in seen.launches.get(1, ()))

    await until(has_restarted, "it has been restarted")
    assert "CRASH_LOOP" in await told(runtime, wanted.id)
    assert {each.text for each in await runtime.logs(wanted.id, LogQuery(10))} == {"why"}


async def test_a_command_that_is_not_there(runtime: KubernetesRuntime) -> None:
    wanted = workload(launch(1, dataclasses.replace(shell(""), entrypoint=("/no/such/command",))))
    await runtime.apply(wanted)

    async def is_told() -> bool:
        return "START_ERROR" in await told(runtime, wanted.id)

    await until(is_told, "it can't be started")


async def test_what_the_cluster_refuses(runtime: KubernetesRuntime) -> None:
    wanted = workload(launch(1, shell("exit 0", environment={"A=B": "1"})))
    await runtime.apply(wanted)
    assert await told(runtime, wanted.id) == "1x1 failed CONFIGURATION_ERROR"
    await runtime.remove(wanted.id)
    await until_told(runtime, wanted.id, "nothing")


async def test_more_than_any_machine_has(runtime: KubernetesRuntime) -> None:
    wanted = workload(launch(1, dataclasses.replace(shell("exit 0"), cpu=256.0, memory_bytes=2.0**42)))
    await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 going UNSCHEDULABLE | 1: w(UNSCHEDULABLE)")


async def test_an_older_version_is_refused(runtime: KubernetesRuntime, client: Client, namespace: str) -> None:
    """The lock that keeps a server that was frozen from undoing what another one did."""
    wanted = workload(launch(1, shell(SERVE)))
    await runtime.apply(wanted)
    [stale] = (await client.list(DEPLOYMENTS, namespace, manifests.selector(runtime.cluster))).items
    await runtime.apply(workload(launch(2, shell(SERVE)), workload_id=wanted.id))
    [*_, deployment] = manifests.kubernetes(runtime.cluster, wanted.id, launch(3, shell(SERVE)))
    deployment["metadata"]["resourceVersion"] = stale["metadata"]["resourceVersion"]
    with pytest.raises(Exception, match="409"):
        await client.apply(DEPLOYMENTS, namespace, deployment)
