"""The whole way to a cluster, which is the fake one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.db import tables, writes
from app.domain import manifests, specification
from app.domain.enums import ReplacementStatus, Wanted, WorkloadStatus as Status
from app.domain.specification import Container, ContainerGroup, Specification
from app.reconciler.loop import Reconciler
from app.runtimes.kubernetes import KubernetesRuntime
from tests.reconciler.world import LENIENT, World, now, reconciling, until
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.kubernetes.fake.store import DEPLOYMENTS, KINDS
from tests.runtimes.kubernetes.fixtures import CLUSTER, TIMING, fake_cluster as fake_cluster, kubeconfig as kubeconfig
from tests.runtimes.kubernetes.world import workload

MAIN = Container("main", "registry.example/app:1", port=8080, primary=True)
NOT_FOUND = 'rpc error: code = NotFound desc = failed to pull "registry.example/app:2": not found'


@contextlib.asynccontextmanager
async def serving(world: World, kubeconfig: Path, **values: Any) -> AsyncIterator[Reconciler]:
    runtime = KubernetesRuntime(CLUSTER, environ={"KUBECONFIG": str(kubeconfig)}, timing=TIMING)
    async with reconciling(world.database, runtime, **values) as reconciler:
        yield reconciler


async def replace(world: World, workload_id: UUID, container: Container, replicas: int = 1) -> UUID:
    """Roll a workload to another artifact, as the actions ask for it."""
    row = await world.row(workload_id)
    artifact = world._artifact(writes.new_id(), locked=True)
    document = specification.to_json(Specification((ContainerGroup((container,)),)))
    replacement = tables.ReplacementRow(
        id=writes.new_id(),
        workload_id=workload_id,
        from_artifact_id=row.artifact_id,
        to_artifact_id=artifact.id,
        requested_by_id=world.user_id,
        started_at=now(),
        launch=row.last_launch + 1,
        begun_at=now(),
        digest="sha256:1",
        specification=document,
        replicas=replicas,
        resources=[],
        environment=[],
    )
    async with world.database.transaction() as session:
        session.add(artifact)
        await session.flush()
        session.add(replacement)
        stored = await session.merge(row)
        stored.last_launch += 1
        stored.generation += 1
        stored.reconcile_at = now()
        await writes.wake_reconcilers(session)
    return replacement.id


async def outcome(world: World, replacement_id: UUID) -> tables.ReplacementRow:
    """How a replacement ended."""
    found: list[tables.ReplacementRow] = []

    async def has_ended() -> bool:
        async with world.database.read() as session:
            row = await session.get(tables.ReplacementRow, replacement_id)
        found[:] = [row] if row is not None else []
        return bool(found) and found[0].status is not ReplacementStatus.ROLLING

    await until(has_ended, "the replacement has ended")
    return found[0]


async def test_a_service_comes_up_and_goes(world: World, fake_cluster: FakeCluster, kubeconfig: Path) -> None:
    async with serving(world, kubeconfig):
        workload_id = await world.deploy(MAIN, replicas=2)
        await world.reaches(workload_id, Status.PROVISIONING)
        await until(lambda: len(fake_cluster.pods()) == 2, "there are pods")
        fake_cluster.pod_unready(*fake_cluster.pods())
        await world.reaches(workload_id, Status.LAUNCHING)
        fake_cluster.pod_ready(*fake_cluster.pods())
        row = await world.reaches(workload_id, Status.RUNNING)
        assert row.ready_replicas == 2
        assert {each["replica"] for each in row.container_statuses} == {
            each["metadata"]["name"] for each in fake_cluster.pods()
        }
        assert row.addresses == []
        await world.want(workload_id, Wanted.STOPPED)
        await until(lambda: all("deletionTimestamp" in each["metadata"] for each in fake_cluster.pods()), "they end")
        assert (await world.row(workload_id)).status is Status.STOPPING
        fake_cluster.pod_gone(*fake_cluster.pods())
        await world.reaches(workload_id, Status.STOPPED)
        for kind in ("Deployment", "ReplicaSet", "Service", "Secret"):
            assert fake_cluster.objects(kind) == []
    assert await world.history(workload_id) == ["PROVISIONING", "LAUNCHING", "RUNNING", "STOPPED"]


async def test_a_stopped_service_starts_again_once_it_has_gone(
    world: World, fake_cluster: FakeCluster, kubeconfig: Path
) -> None:
    """What is asked of a Deployment that is being deleted would be lost with it."""
    async with serving(world, kubeconfig):
        workload_id = await world.deploy(MAIN)
        await until(lambda: len(fake_cluster.pods()) == 1, "there is a pod")
        fake_cluster.pod_ready(*fake_cluster.pods())
        await world.reaches(workload_id, Status.RUNNING)
        await world.want(workload_id, Wanted.STOPPED)
        await until(lambda: "deletionTimestamp" in fake_cluster.pods()[0]["metadata"], "it ends")
        await world.want(workload_id, Wanted.RUNNING)
        await asyncio.sleep(0.1)
        fake_cluster.controllers.ready_at_once = True
        fake_cluster.pod_gone(*fake_cluster.pods())
        await world.reaches(workload_id, Status.RUNNING)
        [pod] = fake_cluster.pods()
        assert pod["metadata"]["labels"][manifests.LAUNCH_LABEL] == "2"


@pytest.mark.parametrize(
    ("reason", "message", "recorded"),
    [
        ("ErrImagePull", NOT_FOUND, "IMAGE_NOT_FOUND"),
        ("ErrImagePull", "failed to authorize: 401 Unauthorized", "IMAGE_PULL_DENIED"),
        ("InvalidImageName", "couldn't parse image name", "INVALID_IMAGE_NAME"),
        ("RunContainerError", 'exec: "/bin/none": no such file', "START_ERROR"),
    ],
)
async def test_what_can_not_come_up_is_given_up(
    world: World, fake_cluster: FakeCluster, kubeconfig: Path, reason: str, message: str, recorded: str
) -> None:
    async with serving(world, kubeconfig):
        workload_id = await world.deploy(MAIN)
        await until(lambda: len(fake_cluster.pods()) == 1, "there is a pod")
        fake_cluster.pod_waits(*fake_cluster.pods(), reason=reason, message=message)
        row = await world.reaches(workload_id, Status.ERRORED, recorded)
        assert row.status_message is not None
        assert row.status_message.endswith(message.rpartition(" desc = ")[2])
        assert len(fake_cluster.pods()) == 1, "its logs stay readable"


async def test_what_the_cluster_refuses_is_given_up(world: World, fake_cluster: FakeCluster, kubeconfig: Path) -> None:
    async with serving(world, kubeconfig):
        odd = Container("main", "registry.example/app:1", port=8080, primary=True, entrypoint=("x",))
        fake_cluster.fail(
            422, method="PATCH", path="/deployments", body={"kind": "Status", "message": "no", "code": 422}
        )
        workload_id = await world.deploy(odd)
        row = await world.reaches(workload_id, Status.ERRORED, "CONFIGURATION_ERROR")
        assert row.status_message == "The cluster refuses it: no"
        fake_cluster.controllers.ready_at_once = True
        await world.want(workload_id, Wanted.RUNNING)
        await world.reaches(workload_id, Status.RUNNING)


async def test_a_pod_that_crashes_later_interrupts(world: World, fake_cluster: FakeCluster, kubeconfig: Path) -> None:
    async with serving(world, kubeconfig):
        workload_id = await world.deploy(MAIN)
        await until(lambda: len(fake_cluster.pods()) == 1, "there is a pod")
        fake_cluster.pod_ready(*fake_cluster.pods())
        await world.reaches(workload_id, Status.RUNNING)
        fake_cluster.pod_crashed(*fake_cluster.pods(), code=137, reason="OOMKilled")
        await world.reaches(workload_id, Status.INTERRUPTED, "OOM_KILLED")
        fake_cluster.pod_ready(*fake_cluster.pods())
        row = await world.reaches(workload_id, Status.RUNNING)
        assert [each["restartCount"] for each in row.container_statuses] == [1]


async def test_what_others_scale_and_delete_is_put_right(
    world: World, fake_cluster: FakeCluster, kubeconfig: Path
) -> None:
    fake_cluster.controllers.ready_at_once = True
    async with serving(world, kubeconfig):
        workload_id = await world.deploy(MAIN, replicas=2)
        await world.reaches(workload_id, Status.RUNNING)
        [deployment] = fake_cluster.objects("Deployment")
        changed = {**deployment, "spec": {**deployment["spec"], "replicas": 5}}
        fake_cluster.store.replace(DEPLOYMENTS, "workloads", changed)
        fake_cluster.controllers.settle()
        await until(lambda: fake_cluster.objects("Deployment")[0]["spec"]["replicas"] == 2, "it is put right")
        fake_cluster.store.remove(DEPLOYMENTS, "workloads", deployment["metadata"]["name"])
        fake_cluster.controllers.settle()
        await until(lambda: len(fake_cluster.pods()) == 2, "it is back")
        await world.reaches(workload_id, Status.RUNNING)
        fake_cluster.store.remove(KINDS["", "services"], "workloads", deployment["metadata"]["name"])
        await until(lambda: len(fake_cluster.objects("Service")) == 1, "the way to it is back")
        assert (await world.row(workload_id)).status is Status.RUNNING


async def test_a_replacement_takes_over_when_it_is_ready(
    world: World, fake_cluster: FakeCluster, kubeconfig: Path
) -> None:
    async with serving(world, kubeconfig):
        workload_id = await world.deploy(MAIN)
        await until(lambda: len(fake_cluster.pods()) == 1, "there is a pod")
        fake_cluster.pod_ready(*fake_cluster.pods())
        await world.reaches(workload_id, Status.RUNNING)
        newer = Container("main", "registry.example/app:2", port=9090, primary=True)
        replacement_id = await replace(world, workload_id, newer)
        await until(lambda: len(fake_cluster.pods()) == 2, "the new one comes up beside the old")
        assert (await world.row(workload_id)).status is Status.RUNNING
        fake_cluster.pod_ready(*fake_cluster.pods(launch="2"))
        assert (await outcome(world, replacement_id)).status is ReplacementStatus.COMPLETED
        fake_cluster.pod_gone(*fake_cluster.pods(launch="1"))
        row = await world.reaches(workload_id, Status.RUNNING)
        assert (row.launch, row.ready_replicas) == (2, 1)


async def test_a_replacement_that_fails_leaves_everything_as_it_was(
    world: World, fake_cluster: FakeCluster, kubeconfig: Path
) -> None:
    async with serving(world, kubeconfig):
        workload_id = await world.deploy(MAIN)
        await until(lambda: len(fake_cluster.pods()) == 1, "there is a pod")
        [served] = fake_cluster.pods()
        fake_cluster.pod_ready(served)
        await world.reaches(workload_id, Status.RUNNING)
        newer = Container("main", "registry.example/app:2", port=8080, primary=True)
        replacement_id = await replace(world, workload_id, newer)
        await until(lambda: len(fake_cluster.pods()) == 2, "the new one comes up beside the old")
        fake_cluster.pod_waits(*fake_cluster.pods(launch="2"), reason="ErrImagePull", message=NOT_FOUND)
        ended = await outcome(world, replacement_id)
        assert ended.status is ReplacementStatus.FAILED
        assert ended.message is not None
        assert "not found" in ended.message
        await until(
            lambda: all("deletionTimestamp" in each["metadata"] for each in fake_cluster.pods(launch="2")), "it goes"
        )
        fake_cluster.pod_gone(*fake_cluster.pods(launch="2"))
        row = await world.reaches(workload_id, Status.RUNNING)
        assert row.launch == 1
        assert [each["metadata"]["uid"] for each in fake_cluster.pods()] == [served["metadata"]["uid"]]


async def test_a_server_that_can_not_be_asked_is_unknown_not_absent(
    world: World, fake_cluster: FakeCluster, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cluster.controllers.ready_at_once = True
    monkeypatch.setattr("app.runtimes.kubernetes.PATIENCE_SECONDS", 0.1)
    async with serving(world, kubeconfig):
        workload_id = await world.deploy(MAIN)
        row = await world.reaches(workload_id, Status.RUNNING)
        before = row.container_statuses
        fake_cluster.fail(500, times=100_000, body={"kind": "Status", "reason": "InternalError", "code": 500})
        fake_cluster.watches.cut()
        async with world.database.transaction() as session:
            stored = await session.merge(row)
            stored.reconcile_at = now()
            await writes.wake_reconcilers(session)
        await asyncio.sleep(0.2)
        async with world.database.transaction() as session:
            (await session.merge(await world.row(workload_id))).reconcile_at = now()
            await writes.wake_reconcilers(session)
        row = await world.reaches(workload_id, Status.INTERRUPTED, "RUNTIME_UNAVAILABLE")
        assert [each["state"] for each in row.container_statuses] == ["UNKNOWN"] * len(before)
        fake_cluster.faults.clear()
        await world.reaches(workload_id, Status.RUNNING)
        assert len(fake_cluster.pods()) == 1


async def test_what_the_database_does_not_know_is_removed(
    world: World, fake_cluster: FakeCluster, kubeconfig: Path
) -> None:
    fake_cluster.controllers.ready_at_once = True
    runtime = KubernetesRuntime(CLUSTER, environ={"KUBECONFIG": str(kubeconfig)}, timing=TIMING)
    await runtime.open(lambda _: None)
    await runtime.apply(workload())
    await runtime.close()
    assert len(fake_cluster.objects("Deployment")) == 1
    async with serving(world, kubeconfig):
        await until(lambda: fake_cluster.objects("Deployment") == fake_cluster.pods() == [], "it is gone")
        await until(lambda: fake_cluster.objects("Service") == [], "all of it")


async def test_two_servers_reconcile_side_by_side(world: World, fake_cluster: FakeCluster, kubeconfig: Path) -> None:
    fake_cluster.controllers.ready_at_once = True
    async with serving(world, kubeconfig), serving(world, kubeconfig):
        made = [await world.deploy(MAIN) for _ in range(8)]
        for workload_id in made:
            await world.reaches(workload_id, Status.RUNNING)
        assert len(fake_cluster.objects("Deployment")) == len(fake_cluster.pods()) == 8
        for workload_id in made:
            await world.want(workload_id, Wanted.STOPPED)
        for workload_id in made:
            await world.reaches(workload_id, Status.STOPPED)
    assert fake_cluster.objects("Deployment") == fake_cluster.pods() == fake_cluster.objects("Service") == []


async def test_the_launch_deadline_is_that_of_the_server(
    world: World, fake_cluster: FakeCluster, kubeconfig: Path
) -> None:
    """What waits for no reason that could be told is given up all the same."""
    policy = type(LENIENT)(launch_deadline=timedelta(seconds=1))
    async with serving(world, kubeconfig, policy=policy):
        workload_id = await world.deploy(MAIN)
        await world.reaches(workload_id, Status.ERRORED, "LAUNCH_DEADLINE")
