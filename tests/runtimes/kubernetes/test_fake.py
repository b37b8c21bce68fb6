"""The fake cluster answers as a real one did: recorded requests are put to it, and its answers held against theirs."""

import copy
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.runtimes.kubernetes import recordings
from tests.runtimes.kubernetes.fake.server import FakeCluster

ERRORS = {each["name"]: each for each in recordings.read("errors")}

# The rules that the fake does not have: they are about fields that Slipway never sets, or checks before.
NOT_PLAYED = {
    "200-delete-namespace",
    "200-dry-run-apply",
    "201-warning-header",
    "400-bad-field-selector",
    "400-body-not-json",
    "403-create-namespace",
    "422-bad-name",
    "422-bad-probe-port-name",
    "422-invalid-label-value",
    "422-label-value-too-long",
    "422-limit-below-request",
    "422-liveness-success-threshold",
    "422-service-ports-unnamed",
    "500-bad-quantity",
}


@pytest.fixture
def fake() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
async def client(fake: FakeCluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {fake.token}"}
    transport = httpx.ASGITransport(fake.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://fake", headers=headers) as found:
        yield found


async def send(client: httpx.AsyncClient, request: dict[str, Any], **headers: str) -> httpx.Response:
    body = request.get("body")
    content = body if isinstance(body, str) else json.dumps(body) if body is not None else None
    sent = {"Content-Type": "application/json", **request.get("headers", {}), **headers}
    return await client.request(
        request["method"], request["path"], params=request.get("query"), content=content, headers=sent
    )


def normal(text: Any) -> Any:
    """Without what is another in each cluster: ids and versions."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "UID", json.dumps(text))
    return json.loads(re.sub(r"in (precondition|record) \(\d+\)", r"in \1 (VERSION)", text))


@pytest.mark.parametrize("name", sorted(ERRORS.keys() - NOT_PLAYED))
async def test_it_says_no_in_the_same_words(name: str, fake: FakeCluster, client: httpx.AsyncClient) -> None:
    request, response = ERRORS[name]["request"], ERRORS[name]["response"]
    fake.namespaces |= {"t-12-errors": "Active", "t-terminating": "Active"}
    for namespace in ("t-12-errors", "t-terminating"):
        prepared = copy.deepcopy(ERRORS["403-apply-deployment"]["request"])
        prepared["path"] = f"/apis/apps/v1/namespaces/{namespace}/deployments/w-err"
        if namespace == "t-12-errors":
            assert (await send(client, prepared)).status_code == 201
    fake.namespaces["t-terminating"] = "Terminating"
    headers = {}
    if name == "401-bad-token":
        headers["Authorization"] = "Bearer bad"
    if name == "403-anonymous-no-token":
        del client.headers["Authorization"]
    if matched := re.search(
        r'User "(.*)" cannot (\w+) resource "(.*?)"', json.dumps(response["body"]).replace("\\", "")
    ):
        fake.user = matched[1]
        fake.forbidden.add((matched[2], matched[3]))
    answer = await send(client, request, **headers)
    assert answer.status_code == response["status"]
    if not answer.is_success:
        expected = response["body"]
        assert normal(answer.text if isinstance(expected, str) else answer.json()) == normal(expected)
    elif "items" in response["body"]:
        assert answer.json()["items"] == response["body"]["items"]
    else:
        assert answer.json()["kind"] == response["body"]["kind"]


def facts(body: dict[str, Any], versions: dict[str, str]) -> dict[str, Any]:
    """What an answer says, as far as it can be the same in two clusters."""
    metadata = body.get("metadata", {})
    key = f"{body['kind']} {metadata.get('name')}"
    same = versions.get(key) == metadata.get("resourceVersion")
    versions[key] = metadata.get("resourceVersion", "")
    status = body.get("status", {})
    return {
        "kind": body["kind"],
        "the version is the same": same,
        "generation": metadata.get("generation"),
        "is deleted": "deletionTimestamp" in metadata,
        "finalizers": metadata.get("finalizers"),
        "replicas": body.get("spec", {}).get("replicas"),
        "status": {
            name: status.get(name)
            for name in ("observedGeneration", "replicas", "updatedReplicas", "availableReplicas")
        }
        if isinstance(status, dict)
        else status,
        "conditions": sorted(
            (each["type"], each["status"], each["reason"])
            for each in (status.get("conditions", ()) if isinstance(status, dict) else ())
        ),
        "details": {name: value for name, value in body.get("details", {}).items() if name != "uid"},
    }


LIFECYCLES = recordings.read("lifecycle")


@pytest.mark.parametrize("scenario", sorted({each["scenario"] for each in LIFECYCLES}))
async def test_it_answers_the_same_in_the_course_of_a_life(
    scenario: str, fake: FakeCluster, client: httpx.AsyncClient
) -> None:
    """Statuses, generations, versions that stay, the old status in the answer to an apply, what a deletion answers."""
    fake.namespaces[f"t-{scenario}"] = "Active"
    fake.controllers.ready_at_once = True
    recorded_versions: dict[str, str] = {}
    versions: dict[str, str] = {}
    for each in LIFECYCLES:
        if each["scenario"] != scenario:
            continue
        # In the recording the pods had time to end, except here.
        fake.controllers.ready_at_once = "Foreground" not in json.dumps(each["request"].get("body"))
        answer = await send(client, each["request"])
        assert answer.status_code == each["response"]["status"], each["note"]
        expected = facts(each["response"]["body"], recorded_versions)
        found = facts(answer.json(), versions)
        if "while it is being deleted" in (each["note"] or ""):  # so soon that no pod was marked yet
            del expected["status"], found["status"], expected["conditions"], found["conditions"]
        assert found == expected, each["note"] or each["request"]["path"]


WATCHES = recordings.read("watches")


async def events(client: httpx.AsyncClient, name: str, **query: str) -> list[dict[str, Any]]:
    """What a watch tells within a second that a recording begins with."""
    [opened] = [each["open"] for each in WATCHES if each["name"] == name and "open" in each]
    answer = await client.get(opened["path"], params={**opened["query"], "timeoutSeconds": "1", **query})
    assert answer.status_code == opened["status"]
    return [json.loads(line) for line in answer.text.splitlines()]


def recorded(name: str) -> list[dict[str, Any]]:
    return [each for each in WATCHES if each["name"] == name and "type" in each]


async def test_an_expired_watch_is_a_good_answer_with_one_error_in_it(
    fake: FakeCluster, client: httpx.AsyncClient
) -> None:
    fake.store.oldest = 788
    [told] = await events(client, "rv-1-expired-pods")
    [expected] = recorded("rv-1-expired-pods")
    assert told == {"type": expected["type"], "object": expected["object"]}


async def test_what_leaves_the_selector_is_told_as_deleted(fake: FakeCluster, client: httpx.AsyncClient) -> None:
    fake.namespaces["t-16-list-watch"] = "Active"
    path = "/api/v1/namespaces/t-16-list-watch/configmaps"
    labels = {"app.kubernetes.io/managed-by": "slipway"}
    for name in ("c0", "c1", "c2"):
        await client.post(path, json={"metadata": {"name": name, "labels": labels}, "data": {"v": "1"}})
    version = str(fake.store.version)

    async def merge(name: str, changes: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        assert (await client.patch(f"{path}/{name}", content=json.dumps(changes), headers=headers)).is_success

    await merge("c0", {"data": {"v": "2"}})
    await merge("c1", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "another"}}})
    await merge("c1", {"metadata": {"labels": labels}})
    await client.delete(f"{path}/c2")
    told = await events(client, "label-change-is-deleted", resourceVersion=version)

    def shape(each: dict[str, Any]) -> tuple[Any, ...]:
        found = each["object"]
        return each["type"], found["metadata"]["name"], found["metadata"]["labels"], found["data"]

    expected = recorded("label-change-is-deleted")
    assert [shape(each) for each in told if each["type"] != "BOOKMARK"] == [shape(each) for each in expected]
    versions = [int(each["object"]["metadata"]["resourceVersion"]) for each in told]
    assert versions == sorted(versions)


async def test_a_watch_from_the_future_is_silent_and_any_other_ends_with_a_bookmark(
    fake: FakeCluster, client: httpx.AsyncClient
) -> None:
    query = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": "99999999"}
    path = "/api/v1/namespaces/workloads/pods"
    assert (await client.get(path, params=query)).text == ""
    now = str(fake.store.version)
    [bookmark] = (await client.get(path, params={**query, "resourceVersion": now})).text.splitlines()
    assert json.loads(bookmark) == {
        "type": "BOOKMARK",
        "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": now}},
    }


async def test_a_list_has_pages(fake: FakeCluster, client: httpx.AsyncClient) -> None:
    """All of one version; a page of one that is not kept any more is 410."""
    path = "/api/v1/namespaces/workloads/configmaps"
    for number in range(5):
        await client.post(path, json={"metadata": {"name": f"c{number}"}})
    first = (await client.get(path, params={"limit": "2"})).json()
    assert [each["metadata"]["name"] for each in first["items"]] == ["c0", "c1"]
    assert all(each.keys() & {"kind", "apiVersion"} == set() for each in first["items"])
    rest = (await client.get(path, params={"limit": "9", "continue": first["metadata"]["continue"]})).json()
    assert [each["metadata"]["name"] for each in rest["items"]] == ["c2", "c3", "c4"]
    assert "continue" not in rest["metadata"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    await client.delete(f"{path}/c4")
    fake.compact()
    assert (await client.get(path, params={"continue": first["metadata"]["continue"]})).status_code == 410
