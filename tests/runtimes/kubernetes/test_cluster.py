"""A real cluster, where KUBECONFIG names one (tests/runtimes/kubernetes/real.py): what the fake one can't know."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

import pytest

from app.domain import manifests
from app.domain.enums import ProbeKind
from app.domain.logs import LogQuery
from app.domain.specification import Probe
from app.domain.wanted import WantedContainer
from app.runtimes.kubernetes import KubernetesRuntime
from app.runtimes.kubernetes_client import DEPLOYMENTS, PODS, SECRETS, SERVICES, Client
from tests.runtimes.kubernetes import recordings
from tests.runtimes.kubernetes.real import IMAGE
from tests.runtimes.kubernetes.world import launch, workload

pytestmark = pytest.mark.kubernetes

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


async def test_it_can_be_used(cluster_runtime: KubernetesRuntime, cluster_namespace: str) -> None:
    health = await cluster_runtime.check()
    assert health.available, health.message
    assert health.message.endswith(f", namespace {cluster_namespace}.")


async def test_from_the_first_launch_to_nothing(
    cluster_runtime: KubernetesRuntime, cluster_client: Client, cluster_namespace: str
) -> None:
    selector = manifests.selector(cluster_runtime.cluster)
    first, second = (launch(number, shell(SERVE, readiness=True), replicas=2) for number in (1, 2))
    wanted = workload(first)
    await cluster_runtime.apply(wanted)
    assert (await told(cluster_runtime, wanted.id)).startswith("1x2 going")
    await until_told(cluster_runtime, wanted.id, "1x2 complete | 1: R R")
    [before] = (await cluster_client.list(DEPLOYMENTS, cluster_namespace, selector)).items
    await cluster_runtime.apply(wanted)
    [after] = (await cluster_client.list(DEPLOYMENTS, cluster_namespace, selector)).items
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    await cluster_runtime.apply(workload(first, second, workload_id=wanted.id))
    await until_told(cluster_runtime, wanted.id, "2x2 complete | 1: - | 2: R R", "2x2 complete | 2: R R")
    await until_told(cluster_runtime, wanted.id, "2x2 complete | 2: R R")
    await cluster_runtime.apply(workload(launch(2, replicas=0), workload_id=wanted.id))
    await until_told(cluster_runtime, wanted.id, "2x0 complete | 2: -")
    await cluster_runtime.remove(wanted.id)
    await until_told(cluster_runtime, wanted.id, "nothing")
    for resource in (DEPLOYMENTS, SERVICES, SECRETS, PODS):
        assert (await cluster_client.list(resource, cluster_namespace, selector)).items == []


async def test_values_arrive_as_they_were_given(cluster_runtime: KubernetesRuntime) -> None:
    """Also those in which Kubernetes would fill something in, and those of credentials."""
    values = {"PLAIN": "$(PORT) $$ ${PORT}", "SECRET": "$(PORT) s3cret $$", "EMPTY": ""}
    script = 'echo "plain=$PLAIN"; echo "secret=$SECRET"; echo "empty=<$EMPTY>"; echo "$0 $1"; sleep 3600'
    container = dataclasses.replace(
        shell(script, environment=values),
        entrypoint=("sh", "-c", script, "$(PORT)", "$PORT"),
        secret_names=frozenset({"SECRET"}),
    )
    wanted = workload(launch(1, container))
    await cluster_runtime.apply(wanted)
    expected = ["plain=$(PORT) $$ ${PORT}", "secret=$(PORT) s3cret $$", "empty=<>", "8080 8080"]

    async def is_written() -> bool:
        return [each.text for each in await cluster_runtime.logs(wanted.id, LogQuery(10))] == expected

    await until(is_written, "all of it is in the log")


async def test_an_image_that_is_not_there(cluster_runtime: KubernetesRuntime) -> None:
    missing = dataclasses.replace(shell("exit 0"), image=f"{IMAGE.rpartition(':')[0]}:no-such-tag")
    wanted = workload(launch(1, missing))
    await cluster_runtime.apply(wanted)
    await until_told(cluster_runtime, wanted.id, "1x1 going IMAGE_NOT_FOUND | 1: w(IMAGE_NOT_FOUND)")


async def test_a_container_that_crashes(cluster_runtime: KubernetesRuntime) -> None:
    """It is tried again, and the log of the run before stays."""
    wanted = workload(launch(1, shell("echo why; exit 3", readiness=True)))
    await cluster_runtime.apply(wanted)

    async def has_restarted() -> bool:
        seen = (await cluster_runtime.observe([wanted.id])).get(wanted.id)
        return seen is not None and any(each.run >= 1 for each in seen.launches.get(1, ()))

    await until(has_restarted, "it has been restarted")
    assert "CRASH_LOOP" in await told(cluster_runtime, wanted.id)
    assert {each.text for each in await cluster_runtime.logs(wanted.id, LogQuery(10))} == {"why"}


async def test_a_command_that_is_not_there(cluster_runtime: KubernetesRuntime) -> None:
    wanted = workload(launch(1, dataclasses.replace(shell(""), entrypoint=("/no/such/command",))))
    await cluster_runtime.apply(wanted)

    async def is_told() -> bool:
        return "START_ERROR" in await told(cluster_runtime, wanted.id)

    await until(is_told, "it can't be started")


async def test_what_the_cluster_refuses(cluster_runtime: KubernetesRuntime) -> None:
    wanted = workload(launch(1, shell("exit 0", environment={"A=B": "1"})))
    await cluster_runtime.apply(wanted)
    assert await told(cluster_runtime, wanted.id) == "1x1 failed CONFIGURATION_ERROR"
    await cluster_runtime.remove(wanted.id)
    await until_told(cluster_runtime, wanted.id, "nothing")


async def test_more_than_any_machine_has(cluster_runtime: KubernetesRuntime) -> None:
    wanted = workload(launch(1, dataclasses.replace(shell("exit 0"), cpu=256.0, memory_bytes=2.0**42)))
    await cluster_runtime.apply(wanted)
    await until_told(cluster_runtime, wanted.id, "1x1 going UNSCHEDULABLE | 1: w(UNSCHEDULABLE)")


async def test_an_older_version_is_refused(
    cluster_runtime: KubernetesRuntime, cluster_client: Client, cluster_namespace: str
) -> None:
    """The lock that keeps a server that was frozen from undoing what another one did."""
    wanted = workload(launch(1, shell(SERVE)))
    await cluster_runtime.apply(wanted)
    [stale] = (
        await cluster_client.list(DEPLOYMENTS, cluster_namespace, manifests.selector(cluster_runtime.cluster))
    ).items
    await cluster_runtime.apply(workload(launch(2, shell(SERVE)), workload_id=wanted.id))
    owner = manifests.of_workload(cluster_runtime.cluster, wanted.id)
    [*_, deployment] = manifests.kubernetes(cluster_runtime.cluster, owner, launch(3, shell(SERVE)))
    deployment["metadata"]["resourceVersion"] = stale["metadata"]["resourceVersion"]
    with pytest.raises(Exception, match="409"):
        await cluster_client.apply(DEPLOYMENTS, cluster_namespace, deployment)
