"""API servers that fail, hang, refuse and forget."""

import asyncio
import dataclasses
import json
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.domain import manifests
from app.runtimes import kubernetes_errors as errors
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.kubernetes import KubernetesRuntime
from app.runtimes.kubernetes_client import ApiError
from tests.runtimes.kubernetes import recordings
from tests.runtimes.kubernetes.fake.failures import Failure
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.kubernetes.fixtures import CLUSTER, TIMING, Open, kubeconfig_for
from tests.runtimes.kubernetes.world import MAIN, SECRET, launch, told, until, until_told, workload

# For clusters that never list everything.
IMPATIENT = dataclasses.replace(TIMING, first_list_seconds=0.3)
RECORDED = {each["name"]: each["response"] for each in recordings.read("errors")}


def recorded(name: str) -> ApiError:
    return ApiError(RECORDED[name]["status"], RECORDED[name]["body"])


EXPLANATIONS = {
    "401-bad-token": "The Kubernetes API server does not accept Slipway's credentials: they may have expired.",
    "403-list-deployments": (
        "Slipway lacks a right in the cluster: deployments.apps is forbidden: User "
        '"system:serviceaccount:t-12-errors:nobody" cannot list resource "deployments" in API group "apps" in the '
        'namespace "t-12-errors".'
    ),
    "403-namespace-terminating": (
        "The namespace workloads is being deleted: make it anew when it is gone, or set "
        "SLIPWAY_KUBERNETES_NAMESPACE to another."
    ),
    "404-apply-in-unknown-namespace": (
        "There is no namespace workloads: make it with `kubectl create namespace workloads`, or set "
        "SLIPWAY_KUBERNETES_NAMESPACE to another."
    ),
    "404-unknown-api-group": (
        "The cluster does not know a kind of object that Slipway needs. SLIPWAY_KUBERNETES_GATEWAY takes a cluster "
        "with the Gateway API."
    ),
    "404-get-deployment": 'The Kubernetes API server failed (404): deployments.apps "absent" not found.',
}


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_operators_are_told_what_to_do(name: str) -> None:
    assert str(errors.explain(recorded(name), "workloads")) == EXPLANATIONS[name]


@pytest.mark.parametrize(
    ("status", "retry_after", "words"),
    [
        (429, None, "The Kubernetes API server is busy (429)."),
        (503, 7.0, "The Kubernetes API server is busy (503), and is to be asked again in 7 s."),
        (502, None, "The Kubernetes API server failed (502): the server answered 502."),
    ],
)
def test_a_busy_server_is_told_of(status: int, retry_after: float | None, words: str) -> None:
    assert str(errors.explain(ApiError(status, None, retry_after), "workloads")) == words


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_each_recorded_no_is_of_one_kind(name: str) -> None:
    """It concerns the one workload, is a fault of ours, or concerns all; a missing right is never the workload's."""
    if RECORDED[name]["status"] < 400:
        return
    error = recorded(name)
    is_refusal, is_own_fault = errors.refusal(error) is not None, errors.is_own_fault(error)
    assert is_refusal == (RECORDED[name]["status"] in {400, 422})
    assert is_own_fault == (RECORDED[name]["status"] in {405, 415, 500})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            'deployments.apps "a" is forbidden: exceeded quota: small, requested: count/deployments.apps=1',
            "QUOTA_EXCEEDED",
        ),
        ('admission webhook "policy.example" denied the request: no root', "CONFIGURATION_ERROR"),
    ],
)
def test_a_refusal_by_policy_concerns_the_workload(message: str, reason: str) -> None:
    refused = errors.refusal(ApiError(403, {"message": message, "reason": "Forbidden"}))
    assert refused is not None
    assert (refused.reason, refused.message) == (reason, f"The cluster refuses it: {message}")


async def test_a_workload_that_the_cluster_refuses_is_its_own_trouble(
    fake_cluster: FakeCluster, open_runtime: Open, changes: list[UUID]
) -> None:
    runtime = await open_runtime()
    wrong = dataclasses.replace(MAIN, environment={"A=B": "1"})
    wanted, other = workload(launch(1, wrong)), workload()
    await runtime.apply(wanted)
    assert wanted.id in changes
    assert await told(runtime, wanted.id) == "1x1 failed CONFIGURATION_ERROR"
    seen = (await runtime.observe([wanted.id]))[wanted.id]
    assert seen.rollout is not None
    assert seen.rollout.message == (
        f'The cluster refuses it: Deployment.apps "{manifests.name_of(wanted.id)}" is invalid: '
        'spec.template.spec.containers[0].env[0].name: Invalid value: "A=B": a valid environment variable name must '
        "consist only of printable ASCII characters other than '='"
    )
    await runtime.apply(other)
    assert (await runtime.check()).available
    await until_told(runtime, other.id, "1x1 going | 1: w")
    await runtime.remove(wanted.id)
    await until_told(runtime, wanted.id, "nothing")
    assert set(await runtime.owned()) == {other.id}


async def test_a_refused_successor_leaves_what_serves(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    fake_cluster.controllers.ready_at_once = True
    runtime = await open_runtime()
    first = launch(1)
    wanted = workload(first)
    await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    wrong = launch(2, dataclasses.replace(MAIN, environment={"A=B": "1"}))
    await runtime.apply(workload(first, wrong, workload_id=wanted.id))
    assert await told(runtime, wanted.id) == "2x1 failed CONFIGURATION_ERROR | 1: R"
    await runtime.apply(wanted)
    assert await told(runtime, wanted.id) == "1x1 complete | 1: R"


async def test_what_the_server_makes_nothing_of_is_our_fault(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """It is neither sent again nor told to users as a cluster that can't be reached."""
    runtime = await open_runtime()
    fake_cluster.fail(500, method="PATCH", body=RECORDED["500-unknown-field"]["body"], times=9)
    fake_cluster.requests.clear()
    with pytest.raises(ApiError, match="field not declared in schema"):
        await runtime.apply(workload())
    assert [method for method, _ in fake_cluster.requests].count("PATCH") == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, "<html>bad gateway</html>"),
        (504, RECORDED["404-unknown-api-group"]["body"]),
        (500, Failure(500, "etcd", reason="InternalError").body),
    ],
)
async def test_a_failing_server_is_an_unavailable_runtime(
    fake_cluster: FakeCluster, open_runtime: Open, status: int, body: Any
) -> None:
    runtime = await open_runtime()
    wanted = workload()
    fake_cluster.fail(status, method="PATCH", body=body)
    with pytest.raises(RuntimeUnavailable, match=rf"failed \({status}\)"):
        await runtime.apply(wanted)
    await runtime.apply(wanted)
    assert await told(runtime, wanted.id) == "1x1 going | 1: -"


async def test_a_busy_server_is_asked_again_when_it_says_so(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    fake_cluster.fail(429, method="PATCH", headers={"Retry-After": "1"})
    begun = time.monotonic()
    await runtime.apply(workload())
    assert time.monotonic() - begun >= 1


async def test_a_server_that_is_busy_for_long_is_left_alone(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    fake_cluster.fail(429, method="PATCH", headers={"Retry-After": "60"}, times=9)
    fake_cluster.requests.clear()
    with pytest.raises(RuntimeUnavailable, match=r"busy \(429\), and is to be asked again in 60 s"):
        await runtime.apply(workload())
    assert [method for method, _ in fake_cluster.requests].count("PATCH") == 1


async def test_a_server_that_stays_busy_is_given_up(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    fake_cluster.fail(503, method="PATCH", headers={"Retry-After": "0"}, times=9)
    fake_cluster.requests.clear()
    with pytest.raises(RuntimeUnavailable, match=r"busy \(503\)"):
        await runtime.apply(workload())
    assert [method for method, _ in fake_cluster.requests].count("PATCH") == 3


async def test_a_server_that_hangs_is_not_waited_for(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime(timing=dataclasses.replace(TIMING, answer_seconds=0.2))
    wanted = workload()
    fake_cluster.fail(None, method="PATCH")
    with pytest.raises(RuntimeUnavailable, match="does not answer in time"):
        await runtime.apply(wanted)
    fake_cluster.fail(None, path="/version")
    health = await runtime.check()
    assert (health.available, health.message) == (False, "The Kubernetes API server does not answer in time.")


async def test_an_answer_that_was_lost_changes_nothing(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """What was asked for is there, and is seen to be there; to ask again is to ask for the same."""
    fake_cluster.controllers.ready_at_once = True
    runtime = await open_runtime()
    wanted = workload(launch(1, SECRET))
    for path in ("/services", "/secrets", "/deployments"):
        fake_cluster.fail(502, method="PATCH", path=path, after=True)
        with pytest.raises(RuntimeUnavailable):
            await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    version = fake_cluster.store.version
    await runtime.apply(wanted)
    assert fake_cluster.store.version == version
    for path in ("/deployments", "/services", "/secrets"):
        fake_cluster.fail(502, method="DELETE", path=path, after=True)
        with pytest.raises(RuntimeUnavailable):
            await runtime.remove(wanted.id)
    await until_told(runtime, wanted.id, "nothing")
    assert fake_cluster.objects("Secret") == []


async def test_a_change_in_between_is_left_to_whoever_made_it(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Of two servers one of which was frozen, the later one does not undo what the other did meanwhile."""
    runtime, other = await open_runtime(), await open_runtime()
    wanted = workload()
    await runtime.apply(wanted)
    find = runtime._find

    async def find_and_freeze(name: str) -> Any:
        found = await find(name)
        await other.apply(workload(launch(3), workload_id=wanted.id))
        return found

    runtime._find = find_and_freeze  # type: ignore[method-assign]  # the place where it is frozen
    await runtime.apply(workload(launch(2), workload_id=wanted.id))
    [deployment] = fake_cluster.objects("Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"]["slipway.dev/launch"] == "3"
    await until_told(runtime, wanted.id, "3x1 going | 1: w | 3: w")


async def test_unknown_is_not_absent(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Nothing is said of workloads before everything has been listed once."""
    fake_cluster.fail(None, path="/pods", times=9)
    runtime = await open_runtime(timing=dataclasses.replace(IMPATIENT, answer_seconds=0.1))
    await until(lambda: runtime._mirrors["Pod"].failure is not None, "it has been tried in vain")
    wanted = workload()
    for question in (runtime.observe([wanted.id]), runtime.remove(wanted.id), runtime.owned()):
        with pytest.raises(RuntimeUnavailable, match="does not answer in time"):
            await question
    assert not (await runtime.check()).available


async def test_a_watch_that_has_been_broken_for_long_says_nothing_any_more(
    fake_cluster: FakeCluster, open_runtime: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cluster.controllers.ready_at_once = True
    runtime = await open_runtime()
    wanted = workload()
    await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    fake_cluster.fail(503, path="/pods", times=1_000)
    fake_cluster.watches.cut()
    await until(lambda: isinstance(runtime._mirrors["Pod"].failure, ApiError), "the watch is broken")
    others = [mirror for kind, mirror in runtime._mirrors.items() if kind != "Pod"]
    await until(lambda: all(mirror.failure is None for mirror in others), "the other watches work again")
    assert await told(runtime, wanted.id) == "1x1 complete | 1: R", "a short break does not count"
    monkeypatch.setattr("app.runtimes.kubernetes.PATIENCE_SECONDS", 0.0)
    with pytest.raises(RuntimeUnavailable, match=r"busy \(503\)"):
        await runtime.observe([wanted.id])
    fake_cluster.faults.clear()
    await until(lambda: runtime._mirrors["Pod"].failure is None, "the watch works again")
    assert await told(runtime, wanted.id) == "1x1 complete | 1: R"


async def test_a_namespace_that_is_missing_or_going(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Lists of a namespace that is not there are good and empty; that there is nothing is the truth."""
    fake_cluster.namespaces.clear()
    runtime = await open_runtime()
    wanted = workload()
    assert await told(runtime, wanted.id) == "nothing"
    health = await runtime.check()
    assert (health.available, health.message.partition(":")[0]) == (False, "There is no namespace workloads")
    with pytest.raises(RuntimeUnavailable, match="There is no namespace workloads: make it with"):
        await runtime.apply(wanted)
    fake_cluster.namespaces["workloads"] = "Terminating"
    assert "is being deleted" in (await runtime.check()).message
    with pytest.raises(RuntimeUnavailable, match="The namespace workloads is being deleted"):
        await runtime.apply(wanted)
    fake_cluster.namespaces["workloads"] = "Active"
    await runtime.apply(wanted)
    assert (await runtime.check()).message == "Kubernetes v1.34.9, namespace workloads."


async def test_missing_rights_are_named(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    fake_cluster.forbidden |= {("patch", "deployments"), ("get", "pods/log"), ("get", "namespaces")}
    runtime = await open_runtime()
    health = await runtime.check()
    assert (health.available, health.message) == (
        False,
        "Kubernetes v1.34.9, namespace workloads: Slipway lacks the rights to patch deployments.apps, get pods/log.",
    )
    with pytest.raises(
        RuntimeUnavailable, match=r'lacks a right in the cluster: .* cannot patch resource "deployments"'
    ):
        await runtime.apply(workload())
    fake_cluster.forbidden = {("get", "namespaces")}
    runtime._rights_at = float("-inf")
    assert (await runtime.check()).available, "a namespace that may not be looked at counts as there"


async def test_a_cluster_without_the_gateway_api(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    fake_cluster.fail(404, path="/httproutes", body="404 page not found\n", times=1_000)
    gateway = manifests.Gateway("infrastructure", "public")
    cluster = dataclasses.replace(CLUSTER, domain="apps.example.com", gateway=gateway)
    runtime = await open_runtime(cluster, timing=IMPATIENT)
    health = await runtime.check()
    assert (health.available, "Gateway API" in health.message) == (False, True)


async def test_credentials_that_were_replaced_are_read_again(
    fake_cluster: FakeCluster, open_runtime: Open, kubeconfig: Path
) -> None:
    fake_cluster.controllers.ready_at_once = True
    runtime = await open_runtime()
    fake_cluster.token = "newer"  # noqa: S105  the fake's own
    kubeconfig.write_text(json.dumps(kubeconfig_for(fake_cluster.url, {"token": "newer"})))
    first, second = workload(), workload()
    await asyncio.gather(runtime.apply(first), runtime.apply(second))
    await until_told(runtime, first.id, "1x1 complete | 1: R")
    await until_told(runtime, second.id, "1x1 complete | 1: R")
    assert runtime._client._former is not None


async def test_credentials_that_are_not_accepted(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    fake_cluster.token = "newer"  # noqa: S105  the fake's own
    fake_cluster.requests.clear()
    with pytest.raises(RuntimeUnavailable, match="does not accept Slipway's credentials"):
        await runtime.apply(workload())
    assert len([path for _, path in fake_cluster.requests if "/deployments/" in path]) <= 2


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig_for("http://127.0.0.1:1", {"token": "good"})))
    runtime = KubernetesRuntime(CLUSTER, environ={"KUBECONFIG": str(path)}, timing=IMPATIENT)
    await runtime.open(lambda _: None)
    try:
        with pytest.raises(RuntimeUnavailable, match="can't be reached"):
            await runtime.observe([])
        assert not (await runtime.check()).available
    finally:
        await runtime.close()


async def test_a_closed_runtime_knows_nothing(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    wanted = workload()
    await runtime.close()
    for question in (runtime.observe([wanted.id]), runtime.apply(wanted), runtime.remove(wanted.id), runtime.owned()):
        with pytest.raises(RuntimeUnavailable, match="is not open"):
            await question
    health = await runtime.check()
    assert (health.available, health.message) == (False, "The kubernetes runtime is not open.")
    await runtime.close()
    await runtime.open(lambda _: None)
    await runtime.apply(wanted)
