"""Lists and watches, and what can go wrong between them."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.domain import manifests
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.kubernetes_client import DEPLOYMENTS, PODS, SECRETS, ApiError, Client, Object
from app.runtimes.kubernetes_mirror import SECRETS_READ, Mirror, slim
from tests.runtimes.kubernetes.fake import store
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.kubernetes.fixtures import CLUSTER, TIMING
from tests.runtimes.kubernetes.world import until

SELECTOR = manifests.selector(CLUSTER)
LABELS = {manifests.MANAGED_BY_LABEL: "slipway", manifests.INSTALLATION_LABEL: str(CLUSTER.installation)}

Start = Callable[..., Awaitable[Mirror]]


def found(name: str, version: int = 1, uid: str | None = None, workload: str = "w", **more: Any) -> Object:
    labels = {**LABELS, manifests.WORKLOAD_LABEL: workload}
    more = {"spec": {"containers": []}, **more}
    return {
        "metadata": {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version), "labels": labels},
        **more,
    }


def make(cluster: FakeCluster, name: str, kind: store.Kind = store.PODS, workload: str = "w") -> Object:
    body = found(name, workload=workload)
    del body["metadata"]["uid"]
    return cluster.store.create(kind, "workloads", {**body, "spec": {"containers": []}, "status": {"phase": "Pending"}})


def change(cluster: FakeCluster, name: str) -> None:
    known = cluster.store.get(store.PODS, "workloads", name)
    cluster.store.replace(store.PODS, "workloads", {**known, "status": {"phase": known["status"]["phase"] + "!"}})


def requests(cluster: FakeCluster) -> int:
    """How often pods were listed or watched."""
    return sum(1 for _, path in cluster.requests if path.endswith("/pods"))


@pytest.fixture
def told() -> list[str]:
    """The names of objects that the mirror called changed."""
    return []


@pytest.fixture
async def start(fake_cluster: FakeCluster, kubeconfig: Path, told: list[str]) -> AsyncIterator[Start]:
    """Start mirrors, and wait until they have listed everything."""
    client = Client(
        {"KUBECONFIG": str(kubeconfig)}, dataclasses.replace(TIMING, watch_seconds=1, watch_grace_seconds=0.2)
    )
    await client.open()
    tasks = []

    async def start_one(resource: Any = PODS) -> Mirror:
        mirror = Mirror(client, resource, "workloads", SELECTOR, lambda each: told.append(each["metadata"]["name"]))
        tasks.append(asyncio.create_task(mirror.run()))
        await until(mirror.listed.is_set, "everything is listed")
        await until(lambda: fake_cluster.watches.count > 0, "it is watched")
        return mirror

    yield start_one
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


@pytest.fixture
def mirror(told: list[str]) -> Mirror:
    """A mirror that is fed by hand."""
    client = Client({}, TIMING)
    return Mirror(client, PODS, "workloads", SELECTOR, lambda each: told.append(each["metadata"]["name"]))


def failure_of(mirror: Mirror) -> Exception | None:
    return mirror.failure


def names(mirror: Mirror, workload: str = "w") -> list[str]:
    return sorted(each["metadata"]["name"] for each in mirror.of(workload))


async def test_a_list_and_then_what_happens(fake_cluster: FakeCluster, start: Start, told: list[str]) -> None:
    make(fake_cluster, "a")
    make(fake_cluster, "b", workload="other")
    mirror = await start()
    assert (names(mirror), names(mirror, "other"), set(mirror.workloads)) == (["a"], ["b"], {"w", "other"})
    make(fake_cluster, "c")
    await until(lambda: names(mirror) == ["a", "c"], "it has come")
    change(fake_cluster, "a")
    await until(lambda: told.count("a") == 2, "it is changed")
    fake_cluster.store.remove(store.PODS, "workloads", "b")
    await until(lambda: set(mirror.workloads) == {"w"}, "it is gone")
    assert (set(told[:2]), told[2:]) == ({"a", "b"}, ["c", "a", "b"])


async def test_a_long_list_comes_in_pages(fake_cluster: FakeCluster, start: Start) -> None:
    for number in range(7):
        make(fake_cluster, f"pod-{number}")
    fake_cluster.page_items = 3
    mirror = await start()
    assert names(mirror) == [f"pod-{number}" for number in range(7)]
    assert requests(fake_cluster) == 3 + 1


async def test_a_page_that_is_too_old_begins_the_list_anew(fake_cluster: FakeCluster, start: Start) -> None:
    for number in range(4):
        make(fake_cluster, f"pod-{number}")
    fake_cluster.page_items = 2
    fake_cluster.fail(410, path="continue=", body={"kind": "Status", "reason": "Expired", "code": 410})
    mirror = await start()
    assert names(mirror) == [f"pod-{number}" for number in range(4)]


async def test_a_watch_that_ends_goes_on_from_its_last_bookmark(fake_cluster: FakeCluster, start: Start) -> None:
    """Nothing is listed twice, however much happens elsewhere and is forgotten."""
    make(fake_cluster, "a")
    mirror = await start()
    for number in range(3):
        make(fake_cluster, f"secret-{number}", store.KINDS["", "secrets"])
    version = fake_cluster.store.version
    await until(lambda: mirror._version == str(version), "a bookmark has come")
    fake_cluster.compact()
    await until(lambda: requests(fake_cluster) >= 3, "it is watched anew")
    make(fake_cluster, "b")
    await until(lambda: names(mirror) == ["a", "b"], "it goes on")
    assert requests(fake_cluster) == 3
    assert mirror.failure is None


async def test_a_watch_of_a_version_that_is_forgotten_lists_anew(
    fake_cluster: FakeCluster, start: Start, told: list[str]
) -> None:
    make(fake_cluster, "a")
    make(fake_cluster, "b")
    mirror = await start()
    fake_cluster.watches.are_silent = True
    fake_cluster.store.remove(store.PODS, "workloads", "a")
    change(fake_cluster, "b")
    make(fake_cluster, "c")
    fake_cluster.compact()
    fake_cluster.watches.are_silent = False
    fake_cluster.watches.cut()
    told.clear()
    await until(lambda: names(mirror) == ["b", "c"], "it is listed anew")
    assert set(told) == {"a", "b", "c"}, "also what happened meanwhile is told"


async def test_a_watch_that_is_cut_goes_on_where_it_was(fake_cluster: FakeCluster, start: Start) -> None:
    make(fake_cluster, "a")
    mirror = await start()
    fake_cluster.watches.cut()
    await until(lambda: mirror.failure is not None, "it is cut")
    assert isinstance(failure_of(mirror), RuntimeUnavailable)
    make(fake_cluster, "b")
    await until(lambda: names(mirror) == ["a", "b"], "it goes on")
    assert failure_of(mirror) is None
    assert requests(fake_cluster) == 3, "one list, two watches"


async def test_a_stream_that_falls_silent_is_given_up(fake_cluster: FakeCluster, start: Start) -> None:
    """Neither events nor bookmarks nor an end: the server, or something between, has forgotten it."""
    mirror = await start()
    fake_cluster.watches.are_silent = True
    fake_cluster.watches.never_end = True
    await until(lambda: mirror.failure is not None, "it is given up")
    assert "does not answer in time" in str(mirror.failure)
    make(fake_cluster, "a")
    fake_cluster.watches.are_silent = fake_cluster.watches.never_end = False
    await until(lambda: names(mirror) == ["a"], "it goes on")


async def test_versions_that_went_back_are_noticed(fake_cluster: FakeCluster, start: Start) -> None:
    """As after etcd was restored: a watch from the future is silent, so that everything is listed anew."""
    make(fake_cluster, "a")
    mirror = await start()
    fake_cluster.store.version = 10
    fake_cluster.store.remove(store.PODS, "workloads", "a")
    make(fake_cluster, "b")
    fake_cluster.store.log.clear()
    fake_cluster.watches.cut()
    await until(lambda: names(mirror) == ["b"], "it is listed anew")
    make(fake_cluster, "c")
    await until(lambda: names(mirror) == ["b", "c"], "it is watched")


async def test_an_error_in_the_stream_lists_anew(fake_cluster: FakeCluster, start: Start) -> None:
    mirror = await start()
    fake_cluster.fail(403, path="/pods", times=2)
    fake_cluster.watches.cut()
    await until(lambda: isinstance(mirror.failure, ApiError), "it may not be watched")
    make(fake_cluster, "a")
    await until(lambda: names(mirror) == ["a"], "it is listed")
    assert mirror.failure is None


async def test_a_server_that_forgets_at_once_is_not_asked_without_a_pause(
    fake_cluster: FakeCluster, start: Start
) -> None:
    mirror = await start()
    fake_cluster.fail(410, path="watch=true", body={"kind": "Status", "reason": "Expired", "code": 410}, times=1_000)
    fake_cluster.watches.cut()
    await until(lambda: mirror._failures >= 2, "it is expired twice")
    fake_cluster.requests.clear()
    await asyncio.sleep(0.3)
    assert len(fake_cluster.requests) <= 4


async def test_only_metadata_is_kept_of_secrets(fake_cluster: FakeCluster, start: Start) -> None:
    """Also where a server sends more than it was asked for."""
    kind = store.KINDS["", "secrets"]
    body = found("a", data={"key": "c2VjcmV0"})
    fake_cluster.store.create(kind, "workloads", body)
    mirror = await start(SECRETS)
    [listed] = mirror.of("w")
    assert listed.keys() == {"metadata"}
    fake_cluster.store.create(kind, "workloads", found("b", data={"key": "c2VjcmV0"}))
    await until(lambda: names(mirror) == ["a", "b"], "it has come")
    mirror.wrote(found("c", 9_999, data={"key": "c2VjcmV0"}))
    assert "c2VjcmV0" not in repr(mirror.of("w"))


def test_what_nobody_asks_for_is_not_kept() -> None:
    """Above all variables: there are thousands of pods."""
    metadata = {"name": "a", "labels": {"b": "c"}}
    container: Any = {"name": "main", "image": "image", "env": [{"name": "A", "value": "1"}]}
    pod = {
        "metadata": {**metadata, "managedFields": []},
        "spec": {"containers": [container], "nodeName": "n"},
        "status": {},
    }
    assert slim(PODS, pod) == {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}, "status": {}}
    reading = {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s-1", "key": "k"}}}
    containers = [{**container, "env": [*container["env"], reading]}, {"name": "side"}]
    template = {"metadata": metadata, "spec": {"containers": containers, "imagePullSecrets": [{"name": "s-2"}]}}
    deployment = {"metadata": metadata, "spec": {"replicas": 2, "template": template}, "status": {}}
    assert slim(DEPLOYMENTS, deployment) == {
        "metadata": metadata,
        "spec": {"replicas": 2, "template": {"metadata": metadata}},
        "status": {},
        SECRETS_READ: {"s-1", "s-2"},
    }


def test_what_was_written_here_is_not_undone_by_older_news(mirror: Mirror, told: list[str]) -> None:
    mirror.replace([found("a", 1)])
    mirror.wrote(found("a", 5, state="written"))
    mirror.take({"type": "MODIFIED", "object": found("a", 3, state="older")})
    mirror.take({"type": "MODIFIED", "object": found("a", 5, state="the same")})
    assert mirror.of("w")[0]["state"] == "written"
    mirror.take({"type": "MODIFIED", "object": found("a", 6, state="newer")})
    assert mirror.of("w")[0]["state"] == "newer"
    assert told == ["a", "a", "a"]


def test_what_was_deleted_here_does_not_come_back(mirror: Mirror) -> None:
    """Changes of before, of which the watch tells later, are about what is no more; one of the same name is another."""
    mirror.replace([found("a", 1, "first")])
    mirror.deleted("a", "first")
    mirror.take({"type": "MODIFIED", "object": found("a", 2, "first")})
    assert names(mirror) == []
    mirror.wrote(found("a", 5, "second"))
    mirror.take({"type": "DELETED", "object": found("a", 4, "first")})
    assert names(mirror) == ["a"]
    assert mirror._deleted == set()
    mirror.take({"type": "DELETED", "object": found("a", 6, "second")})
    assert names(mirror) == []


def test_a_deletion_of_something_unknown_is_nothing(mirror: Mirror, told: list[str]) -> None:
    mirror.replace([])
    mirror.take({"type": "DELETED", "object": found("a", 4)})
    mirror.take({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "9"}}})
    mirror.deleted("a", "uid-a")
    assert (names(mirror), told) == ([], [])


def test_an_object_that_goes_to_another_workload(mirror: Mirror) -> None:
    mirror.replace([found("a", 1)])
    mirror.take({"type": "MODIFIED", "object": found("a", 2, workload="other")})
    assert (names(mirror), names(mirror, "other"), set(mirror.workloads)) == ([], ["a"], {"other"})
    mirror.replace([])
    assert set(mirror.workloads) == set()


async def test_what_is_written_and_deleted_while_a_list_is_under_way(
    fake_cluster: FakeCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list may be from before; what it knows better it has."""
    for name in ("kept", "gone", "older"):
        make(fake_cluster, name)
    mirror = await start()
    listing = mirror._client.list
    gone = fake_cluster.store.get(store.PODS, "workloads", "gone")

    async def slow(*arguments: Any) -> Any:
        page = await listing(*arguments)
        version = int(page.version)
        fake_cluster.store.remove(store.PODS, "workloads", "gone")
        mirror.deleted("gone", gone["metadata"]["uid"])
        mirror.wrote(found("new", version + 2))
        mirror.wrote(found("phantom", version - 1))
        return page

    monkeypatch.setattr(mirror._client, "list", slow)
    await mirror._list()
    assert names(mirror) == ["kept", "new", "older"]
