"""What the runtime asks of a cluster, and what it says of it. The cluster is the fake one."""

import base64
import dataclasses
import json
import uuid
from typing import Any
from uuid import UUID

import pytest

from app.domain import manifests
from app.domain.wanted import WantedLaunch, WantedWorkload
from app.runtimes.kubernetes import KubernetesRuntime
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.kubernetes.fake.store import DEPLOYMENTS, KINDS, PODS
from tests.runtimes.kubernetes.fixtures import CLUSTER, Open
from tests.runtimes.kubernetes.world import MAIN, SECRET, launch, told, until, until_told, workload


def writes(cluster: FakeCluster) -> list[str]:
    """What was written, as "PATCH deployments"; forgets it."""
    found = [
        f"{method} {path.split('/workloads/')[1].split('/')[0]}"
        for method, path in cluster.requests
        if method in {"PATCH", "DELETE"}
    ]
    cluster.requests.clear()
    return found


async def test_a_launch_comes_up(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    wanted = workload(launch(replicas=2))
    assert await told(runtime, wanted.id) == "nothing"
    await runtime.apply(wanted)
    assert writes(fake_cluster) == ["PATCH services", "PATCH deployments"]
    await until_told(runtime, wanted.id, "1x2 going | 1: w w")
    fake_cluster.pod_unready(*fake_cluster.pods())
    await until_told(runtime, wanted.id, "1x2 going | 1: r r")
    fake_cluster.pod_ready(*fake_cluster.pods())
    await until_told(runtime, wanted.id, "1x2 complete | 1: R R")


async def test_what_was_asked_is_seen_at_once(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Before any watch tells of it: the rollout is that of the new launch, and what is deleted is no more."""
    runtime = await open_runtime()
    fake_cluster.watches.are_silent = True
    wanted = workload(launch(1, SECRET))
    await runtime.apply(wanted)
    assert await told(runtime, wanted.id) == "1x1 going | 1: -"
    await runtime.apply(workload(launch(2), workload_id=wanted.id))
    assert (await told(runtime, wanted.id)).startswith("2x1 going")
    await runtime.apply(workload(launch(2, replicas=3), workload_id=wanted.id))
    assert (await told(runtime, wanted.id)).startswith("2x3 going")
    await runtime.remove(wanted.id)
    assert (await told(runtime, wanted.id)).startswith("no rollout")


async def test_apply_is_idempotent(fake_cluster: FakeCluster, kubernetes_runtime: KubernetesRuntime) -> None:
    wanted = workload(launch(1, SECRET, replicas=2))
    await kubernetes_runtime.apply(wanted)
    await until_told(kubernetes_runtime, wanted.id, "1x2 complete | 1: R R")
    version = fake_cluster.store.version
    await kubernetes_runtime.apply(wanted)
    await kubernetes_runtime.apply(wanted)
    assert fake_cluster.store.version == version
    assert await told(kubernetes_runtime, wanted.id) == "1x2 complete | 1: R R"


async def test_what_a_launch_is_made_from_never_changes(
    fake_cluster: FakeCluster, kubernetes_runtime: KubernetesRuntime
) -> None:
    """Neither a locked draft, nor a rotated credential, nor a newer Slipway restarts what runs."""
    wanted = workload(launch(1, SECRET))
    await kubernetes_runtime.apply(wanted)
    await until_told(kubernetes_runtime, wanted.id, "1x1 complete | 1: R")
    before = fake_cluster.objects("Pod"), fake_cluster.objects("Secret"), fake_cluster.objects("Deployment")
    other = dataclasses.replace(SECRET, image="registry.example/app:2", environment={"PORT": "1", "TOKEN": "rotated"})
    await kubernetes_runtime.apply(workload(launch(1, other), workload_id=wanted.id))
    assert (fake_cluster.objects("Pod"), fake_cluster.objects("Secret"), fake_cluster.objects("Deployment")) == before
    await kubernetes_runtime.apply(workload(launch(1, other, replicas=2), workload_id=wanted.id))
    await until_told(kubernetes_runtime, wanted.id, "1x2 complete | 1: R R")
    assert {each["spec"]["containers"][0]["image"] for each in fake_cluster.pods()} == {MAIN.image}
    assert before[0][0]["metadata"]["uid"] in {each["metadata"]["uid"] for each in fake_cluster.pods()}


async def test_replicas_need_no_containers(fake_cluster: FakeCluster, kubernetes_runtime: KubernetesRuntime) -> None:
    wanted = workload(launch(1))
    await kubernetes_runtime.apply(WantedWorkload(wanted.id, (WantedLaunch(1, (), 1, {}),)))
    assert fake_cluster.objects("Deployment") == []
    await kubernetes_runtime.apply(wanted)
    await until_told(kubernetes_runtime, wanted.id, "1x1 complete | 1: R")
    await kubernetes_runtime.apply(WantedWorkload(wanted.id, (WantedLaunch(1, (), 0, {}),)))
    await until_told(kubernetes_runtime, wanted.id, "1x0 complete | 1: -")
    await kubernetes_runtime.apply(WantedWorkload(wanted.id, (WantedLaunch(2, (), 1, {}),)))
    assert await told(kubernetes_runtime, wanted.id) == "1x0 complete | 1: -"


async def test_a_new_launch_comes_up_beside_the_old(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    wanted = workload(launch(1, replicas=2))
    await runtime.apply(wanted)
    fake_cluster.pod_ready(*fake_cluster.pods())
    await until_told(runtime, wanted.id, "1x2 complete | 1: R R")
    await runtime.apply(workload(launch(1, replicas=2), launch(2, replicas=2), workload_id=wanted.id))
    await until_told(runtime, wanted.id, "2x2 going | 1: R R | 2: w")
    fake_cluster.pod_ready(*fake_cluster.pods(launch="2"))
    await until_told(runtime, wanted.id, "2x2 going | 1: R | 2: R w")
    fake_cluster.pod_ready(*fake_cluster.pods(launch="2"))
    await until_told(runtime, wanted.id, "2x2 complete | 1: - | 2: R R")
    fake_cluster.pod_gone(*fake_cluster.pods(launch="1"))
    await until_told(runtime, wanted.id, "2x2 complete | 2: R R")
    assert [each["metadata"]["labels"]["slipway.dev/launch"] for each in fake_cluster.objects("ReplicaSet")] == ["2"]


async def test_a_launch_that_fails_leaves_the_old_one_alone(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Going back is to ask for the old launch again: its pods are those that never stopped."""
    runtime = await open_runtime()
    first = launch(1, SECRET)
    wanted = workload(first)
    await runtime.apply(wanted)
    [served] = fake_cluster.pods()
    fake_cluster.pod_ready(served)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    await runtime.apply(workload(first, launch(2, SECRET), workload_id=wanted.id))
    words = 'rpc error: code = NotFound desc = failed to pull "registry.example/app:1": not found'
    fake_cluster.pod_waits(*fake_cluster.pods(launch="2"), reason="ErrImagePull", message=words)
    await until_told(runtime, wanted.id, "2x1 going IMAGE_NOT_FOUND | 1: R | 2: w(IMAGE_NOT_FOUND)")
    await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R | 2: -")
    fake_cluster.pod_gone(*fake_cluster.pods(launch="2"))
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    assert [each["metadata"]["uid"] for each in fake_cluster.pods()] == [served["metadata"]["uid"]]
    assert [each["metadata"]["labels"]["slipway.dev/launch"] for each in fake_cluster.objects("Secret")] == ["1"]


async def test_secrets_are_given_by_reference_and_go_with_their_launch(
    fake_cluster: FakeCluster, open_runtime: Open
) -> None:
    runtime = await open_runtime()
    wanted = workload(launch(1, SECRET))
    await runtime.apply(wanted)
    [secret] = fake_cluster.objects("Secret")
    assert secret["metadata"]["name"] == manifests.secret_name(manifests.of_workload(CLUSTER, wanted.id), 1)
    assert secret["data"] == {"main.0": base64.b64encode(b"s3cret").decode()}
    [deployment] = fake_cluster.objects("Deployment")
    assert "s3cret" not in json.dumps(deployment)
    fake_cluster.pod_ready(*fake_cluster.pods())
    second = workload(launch(2, dataclasses.replace(SECRET, environment={"TOKEN": "new"})), workload_id=wanted.id)
    await runtime.apply(second)
    fake_cluster.pod_ready(*fake_cluster.pods(launch="2"))
    await until_told(runtime, wanted.id, "2x1 complete | 1: - | 2: R")
    names = [each["metadata"]["name"] for each in fake_cluster.objects("Secret")]
    assert names == [manifests.secret_name(manifests.of_workload(CLUSTER, wanted.id), number) for number in (1, 2)], (
        "a pod that ends may need its own"
    )
    fake_cluster.pod_gone(*fake_cluster.pods(launch="1"))
    await until_told(runtime, wanted.id, "2x1 complete | 2: R")
    await told(runtime, wanted.id)
    assert [each["metadata"]["name"] for each in fake_cluster.objects("Secret")] == names[1:]


async def test_the_secret_of_a_launch_to_come_is_left_alone(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """What is mirrored of the Deployment may be older: another server has just begun the next launch."""
    runtime, other = await open_runtime(), await open_runtime()
    wanted = workload(launch(1, SECRET))
    await runtime.apply(wanted)
    fake_cluster.pod_ready(*fake_cluster.pods())
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    secrets, deployments = runtime._mirrors["Secret"], runtime._mirrors["Deployment"]
    known = deployments.of(manifests.label_of(wanted.id))
    await other.apply(workload(launch(2, SECRET), workload_id=wanted.id))
    await until(lambda: len(secrets.of(manifests.label_of(wanted.id))) == 2, "both Secrets are mirrored")
    deployments.replace(known)
    runtime._mirrors["Pod"].replace(fake_cluster.pods(launch="1"))
    assert await told(runtime, wanted.id) == "1x1 complete | 1: R | 2: -"
    assert len(fake_cluster.objects("Secret")) == 2


async def test_what_another_one_scales_is_seen(
    fake_cluster: FakeCluster, kubernetes_runtime: KubernetesRuntime
) -> None:
    wanted = workload(launch(1))
    await kubernetes_runtime.apply(wanted)
    await until_told(kubernetes_runtime, wanted.id, "1x1 complete | 1: R")
    _scale(fake_cluster, 3)
    await until_told(kubernetes_runtime, wanted.id, "1x3 complete | 1: R R R")
    await kubernetes_runtime.apply(wanted)
    await until_told(kubernetes_runtime, wanted.id, "1x1 complete | 1: R")


def _scale(cluster: FakeCluster, replicas: int) -> None:
    [deployment] = cluster.objects("Deployment")
    changed = {**deployment, "spec": {**deployment["spec"], "replicas": replicas}}
    cluster.store.owners(deployment).update(deployment, changed, "kubectl")
    cluster.store.replace(DEPLOYMENTS, "workloads", changed)
    cluster.controllers.settle()


@pytest.mark.parametrize("kind", ["Service", "Ingress", "Secret"])
async def test_what_another_one_deletes_comes_back(fake_cluster: FakeCluster, open_runtime: Open, kind: str) -> None:
    """It is seen as if it had not been asked for; then it is asked for, and nothing that runs is touched."""
    fake_cluster.controllers.ready_at_once = True
    cluster = dataclasses.replace(CLUSTER, domain="apps.example.com")
    runtime = await open_runtime(cluster, credentials={"registry.example": ("ada", "secret")}.get)
    wanted = workload(launch(1, SECRET))
    await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    before = fake_cluster.objects(kind), fake_cluster.pods()
    for each in before[0]:
        resource = next(found for found in KINDS.values() if found.kind == kind)
        fake_cluster.store.remove(resource, "workloads", each["metadata"]["name"])
    await until_told(runtime, wanted.id, "no rollout | 1: R")
    await runtime.apply(wanted)
    assert await told(runtime, wanted.id) == "1x1 complete | 1: R"
    names = [each["metadata"]["name"] for each in before[0]]
    assert [each["metadata"]["name"] for each in fake_cluster.objects(kind)] == names
    assert fake_cluster.pods() == before[1]


async def test_remove_leaves_nothing(fake_cluster: FakeCluster, open_runtime: Open, changes: list[UUID]) -> None:
    runtime = await open_runtime(dataclasses.replace(CLUSTER, domain="apps.example.com"))
    wanted = workload(launch(1, SECRET, replicas=2))
    await runtime.apply(wanted)
    kinds = ("Deployment", "Service", "Secret", "Ingress", "ReplicaSet", "Pod")
    assert [len(fake_cluster.objects(kind)) for kind in kinds] == [1, 1, 1, 1, 1, 2]
    fake_cluster.pod_ready(*fake_cluster.pods())
    await until_told(runtime, wanted.id, "1x2 complete | 1: R R")
    await runtime.remove(wanted.id)
    await until_told(runtime, wanted.id, "no rollout | 1: -")
    assert set(await runtime.owned()) == {wanted.id}
    fake_cluster.requests.clear()
    await runtime.remove(wanted.id)
    assert writes(fake_cluster) == [], "it is on its way"
    [first, second] = fake_cluster.pods()
    fake_cluster.pod_gone(first)
    await until(lambda: len(runtime._mirrors["Pod"].of(manifests.label_of(wanted.id))) == 1, "one is gone")
    assert await told(runtime, wanted.id) == "no rollout | 1: -"
    changes.clear()
    fake_cluster.pod_gone(second)
    await until_told(runtime, wanted.id, "nothing")
    assert set(changes) == {wanted.id}
    assert [len(fake_cluster.objects(kind)) for kind in kinds] == [0] * 6
    assert await runtime.owned() == set()
    await runtime.remove(wanted.id)
    await runtime.remove(uuid.uuid4())


async def test_what_is_being_deleted_is_not_applied_to(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """It would be lost with it. Once everything is gone there is something new."""
    runtime = await open_runtime()
    wanted = workload(launch(1))
    await runtime.apply(wanted)
    fake_cluster.pod_ready(*fake_cluster.pods())
    await runtime.remove(wanted.id)
    fake_cluster.requests.clear()
    second = workload(launch(2), workload_id=wanted.id)
    await runtime.apply(second)
    assert writes(fake_cluster) == []
    await until_told(runtime, wanted.id, "no rollout | 1: -")
    fake_cluster.pod_gone(*fake_cluster.pods())
    await until_told(runtime, wanted.id, "nothing")
    await runtime.apply(second)
    await until_told(runtime, wanted.id, "2x1 going | 2: w")


async def test_pods_that_lost_their_deployment_are_removed(
    fake_cluster: FakeCluster, kubernetes_runtime: KubernetesRuntime
) -> None:
    wanted = workload(launch(1, replicas=2))
    await kubernetes_runtime.apply(wanted)
    await until_told(kubernetes_runtime, wanted.id, "1x2 complete | 1: R R")
    [deployment] = fake_cluster.objects("Deployment")
    fake_cluster.controllers.orphan(DEPLOYMENTS, "workloads", deployment)
    fake_cluster.controllers.settle()
    await until_told(kubernetes_runtime, wanted.id, "no rollout | 1: R R")
    await kubernetes_runtime.remove(wanted.id)
    await until_told(kubernetes_runtime, wanted.id, "nothing")
    assert fake_cluster.objects("ReplicaSet") == []


async def test_remains_of_a_removal_that_was_cut_short_are_seen(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    fake_cluster.controllers.ready_at_once = True
    runtime = await open_runtime()
    wanted = workload(launch(1, SECRET))
    await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    [deployment] = runtime._mirrors["Deployment"].of(manifests.label_of(wanted.id))
    await runtime._delete(runtime._mirrors["Deployment"], deployment)
    await until_told(runtime, wanted.id, "no rollout | 1: -")
    assert set(await runtime.owned()) == {wanted.id}
    later = await open_runtime()
    assert await told(later, wanted.id) == "no rollout | 1: -"
    await later.remove(wanted.id)
    await until_told(later, wanted.id, "nothing")
    assert fake_cluster.objects("Secret") == fake_cluster.objects("Service") == []


async def test_what_is_not_slipways_is_not_seen(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Nor what another installation has in the same namespace."""
    runtime = await open_runtime()
    other = await open_runtime(dataclasses.replace(CLUSTER, installation=uuid.uuid4()))
    mine, theirs = workload(), workload()
    await runtime.apply(mine)
    await other.apply(theirs)
    await until_told(runtime, mine.id, "1x1 going | 1: w")
    await until_told(other, theirs.id, "1x1 going | 1: w")
    assert await told(runtime, theirs.id) == "nothing"
    assert set(await runtime.owned()) == {mine.id}
    assert set(await other.owned()) == {theirs.id}
    await runtime.remove(theirs.id)
    assert len(fake_cluster.objects("Deployment")) == 2


async def test_what_there_is_nothing_of_is_left_out(kubernetes_runtime: KubernetesRuntime) -> None:
    wanted = workload()
    await kubernetes_runtime.apply(wanted)
    assert set(await kubernetes_runtime.observe([wanted.id, uuid.uuid4()])) == {wanted.id}


async def test_workloads_run_on_when_the_server_ends(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    fake_cluster.controllers.ready_at_once = True
    runtime = await open_runtime()
    wanted = workload()
    await runtime.apply(wanted)
    await runtime.close(at_once=True)
    later = await open_runtime()
    assert await told(later, wanted.id) == "1x1 complete | 1: R"
    assert await later.check() == await later.check()


async def test_the_way_to_a_workload(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    gateway = manifests.Gateway("infrastructure", "public")
    cluster = dataclasses.replace(CLUSTER, domain="apps.example.com", gateway=gateway)
    runtime = await open_runtime(cluster)
    wanted = workload()
    await runtime.apply(wanted)
    [route] = fake_cluster.objects("HTTPRoute")
    assert runtime.endpoint(wanted.id) == f"https://{route['spec']['hostnames'][0]}/"
    assert fake_cluster.objects("Ingress") == []
    plain = KubernetesRuntime(CLUSTER)
    assert plain.endpoint(wanted.id) == f"http://{manifests.name_of(wanted.id)}.workloads.svc.cluster.local/"


async def test_private_images_are_pulled_with_credentials(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Those of the registries in use, of both launches; replaced when they have changed."""
    known = {"registry.example": ("ada", "one"), "docker.io": ("bob", "two"), "unused.example": ("eve", "three")}
    runtime = await open_runtime(credentials=known.get)
    old = dataclasses.replace(MAIN, image="python:3.13")
    wanted = workload(launch(1, old), launch(2, MAIN))
    await runtime.apply(wanted)

    def stored() -> Any:
        [secret] = fake_cluster.objects("Secret")
        assert secret["metadata"]["name"] == manifests.registries_name(manifests.of_workload(CLUSTER, wanted.id))
        return json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]

    assert stored() == {
        "https://index.docker.io/v1/": {"username": "bob", "password": "two"},
        "registry.example": {"username": "ada", "password": "one"},
    }
    [deployment] = fake_cluster.objects("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": manifests.registries_name(manifests.of_workload(CLUSTER, wanted.id))}]
    known["registry.example"] = ("ada", "rotated")
    await runtime.apply(workload(launch(2, MAIN), workload_id=wanted.id))
    assert stored() == {"registry.example": {"username": "ada", "password": "rotated"}}
    assert fake_cluster.objects("Deployment") == [deployment]


async def test_every_change_is_told(fake_cluster: FakeCluster, open_runtime: Open, changes: list[UUID]) -> None:
    runtime = await open_runtime()
    wanted, other = workload(), workload()
    await runtime.apply(wanted)
    await runtime.apply(other)
    await until_told(runtime, wanted.id, "1x1 going | 1: w")
    await until_told(runtime, other.id, "1x1 going | 1: w")
    changes.clear()
    [pod] = fake_cluster.pods(workload=manifests.label_of(wanted.id))
    fake_cluster.pod_crashed(pod, code=3)
    await until(lambda: bool(changes), "it is told")
    assert set(changes) == {wanted.id}
    assert await told(runtime, wanted.id) == "1x1 going CRASH_LOOP | 1: t(EXITED)"


async def test_objects_with_foreign_labels_do_no_harm(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Labels are anybody's to write: no workload's id, no number of a launch."""
    runtime = await open_runtime()
    wanted = workload()
    await runtime.apply(wanted)
    labels = {manifests.MANAGED_BY_LABEL: "slipway", manifests.INSTALLATION_LABEL: str(CLUSTER.installation)}
    for number, label in enumerate(("", "x", manifests.label_of(wanted.id))):
        metadata = {"name": f"stray-{number}", "labels": {**labels, manifests.WORKLOAD_LABEL: label}}
        pod = {"metadata": metadata, "spec": {"containers": []}, "status": {"phase": "Running"}}
        fake_cluster.store.create(PODS, "workloads", pod)
    await until(lambda: runtime._mirrors["Pod"].get("stray-2") is not None, "the last of them is mirrored")
    await until_told(runtime, wanted.id, "1x1 going | 1: w")
    assert set(await runtime.owned()) == {wanted.id}
