"""The history, as the graph tells it: who did what to what, when, and what changed."""

from typing import Any

import pytest

from app import main
from app.db import writes
from app.domain import enums, ids
from tests import harness
from tests.api import history
from tests.harness import Client, Slipway

EVENT = """kind actor { username } changes
  subject { __typename id ... on Repository { name } ... on Artifact { name } ... on Workload { name } }"""
UNDER = f"""query ($id: ID!) {{ node(id: $id) {{
  ... on Repository {{ events {{ totalCount nodes {{ {EVENT} }} }} }}
  ... on Artifact {{ events {{ totalCount nodes {{ {EVENT} }} }} }}
  ... on Workload {{ events {{ totalCount nodes {{ {EVENT} }} }} }} }} }}"""
ALL = f"""query ($filter: EventFilter) {{
  events(filter: $filter, first: 100) {{ totalCount nodes {{ {EVENT} }} }} }}"""


async def under(client: Client, thing_id: str) -> list[dict[str, Any]]:
    """The events of a thing and of what stands under it."""
    found = (await client.run(UNDER, id=thing_id))["node"]["events"]
    assert found["totalCount"] == len(found["nodes"])
    events: list[dict[str, Any]] = found["nodes"]
    return events


async def kinds(client: Client, **wanted: Any) -> list[str]:
    """The kinds of the events that a client sees."""
    found = (await client.run(ALL, filter=wanted))["events"]
    assert found["totalCount"] == len(found["nodes"])
    return [each["kind"] for each in found["nodes"] if not each["kind"].startswith("TOKEN_")]


async def test_a_first_look_at_the_history(ada: Client) -> None:
    made = await harness.new_artifact(ada, "hello")
    await ada.mutate("updateArtifact", artifactId=made["id"], description="says hello")
    locked = await harness.lock(ada, made["id"])
    service = await harness.deploy(ada, made["id"], name="in production")
    artifact = {"__typename": "Artifact", "id": made["id"], "name": "hello"}
    workload = {"__typename": "Workload", "id": service["id"], "name": "in production"}
    created, changed, *then = await under(ada, made["id"])
    assert (created["kind"], created["subject"]) == ("ARTIFACT_CREATED", artifact)
    assert changed == {
        "kind": "ARTIFACT_CHANGED",
        "actor": {"username": "ada"},
        "changes": {"description": {"before": "", "after": "says hello"}},
        "subject": artifact,
    }
    assert [(each["kind"], each["subject"]) for each in then] == [
        ("ARTIFACT_LOCKED", artifact),
        ("WORKLOAD_CREATED", workload),
    ]
    assert then[0]["changes"] == {"version": {"before": None, "after": 1}, "digest": locked["digest"]}
    assert await under(ada, service["id"]) == then[1:]
    first, *others = await under(ada, made["repository"]["id"])
    assert (first["kind"], first["subject"]["__typename"]) == ("REPOSITORY_CREATED", "Repository")
    assert others == [created, changed, *then]


async def test_what_slipway_does_by_itself_has_no_actor(slipway: Slipway, ada: Client) -> None:
    made = await harness.new_artifact(ada)
    service = await harness.deploy(ada, made["id"])
    row = await history.workload(slipway, service["id"])
    above = {"repository_id": row.repository_id, "artifact_id": row.artifact_id, "workload_id": row.id}
    changes = {"status": {"before": "SUBMITTED", "after": "PROVISIONING"}, "reason": None}
    async with slipway.session() as session:
        writes.record_event(
            session,
            enums.EventKind.WORKLOAD_STATUS,
            (ids.Kind.WORKLOAD, row.id),
            at=main.now(),
            actor_id=None,
            changes=changes,
            **above,
        )
    created, moved = await under(ada, service["id"])
    assert (created["kind"], created["actor"]) == ("WORKLOAD_CREATED", {"username": "ada"})
    assert (moved["kind"], moved["actor"], moved["changes"]) == ("WORKLOAD_STATUS", None, changes)


async def test_an_event_by_its_id(ada: Client, grace: Client) -> None:
    await harness.new_artifact(ada)
    found = await ada.run("{ events(filter: {kind: [ARTIFACT_CREATED]}) { nodes { id at } } }")
    [event] = found["events"]["nodes"]
    document = "query ($id: ID!) { node(id: $id) { __typename id ... on Event { at } } }"
    assert event["id"].startswith("evt_")
    assert (await ada.run(document, id=event["id"]))["node"] == {"__typename": "Event", **event}
    assert (await grace.run(document, id=event["id"]))["node"] is None


async def test_filters(ada: Client, grace: Client) -> None:
    moment = main.now().isoformat()
    made = await harness.new_artifact(ada)
    between = main.now().isoformat()
    await harness.lock(ada, made["id"])
    await harness.share(ada, "Artifact", made["id"], {"user": await harness.user_id(grace), "role": "OWNER"})
    await grace.mutate("updateArtifact", artifactId=made["id"], tags=[{"name": "team", "value": "ml"}])
    users = [await harness.user_id(each) for each in (ada, grace)]
    first = ["REPOSITORY_CREATED", "ARTIFACT_CREATED"]
    then = ["ARTIFACT_LOCKED", "ARTIFACT_SHARED", "ARTIFACT_CHANGED"]
    for wanted, expected in (
        ({}, first + then),
        ({"subjectId": made["id"]}, first[1:] + then),
        ({"subjectId": made["repository"]["id"]}, first[:1]),
        ({"actor": users[:1]}, first + then[:2]),
        ({"actor": users[1:]}, then[2:]),
        ({"actor": users}, first + then),
        ({"actor": []}, []),
        ({"kind": ["ARTIFACT_LOCKED", "REPOSITORY_CREATED"]}, [first[0], then[0]]),
        ({"kind": []}, []),
        ({"at": {"from": moment, "to": between}}, first),
        ({"at": {"from": between}}, then),
        ({"at": {"to": moment}}, []),
        ({"kind": ["ARTIFACT_CHANGED"], "actor": users[:1]}, []),
    ):
        assert await kinds(ada, **wanted) == expected, wanted


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"subjectId": "x"}, "filter.subjectId: 'x' is no id: they have a prefix, '_' and 26 letters and digits."),
        ({"actor": ["art_1"]}, "filter.actor[0]: 'art_1' is no id of this kind: they begin with usr_."),
        ({"actor": ["usr_1"] * 101}, "filter.actor: There are 101; at most 100 are allowed."),
        ({"kind": ["TOKEN_REVOKED"] * 101}, "filter.kind: There are 101; at most 100 are allowed."),
    ],
)
async def test_what_can_not_be_looked_for(ada: Client, wanted: dict[str, Any], message: str) -> None:
    answer = await ada.answer(ALL, filter=wanted)
    assert [each["message"] for each in answer["errors"]] == [message]


async def test_pages_go_from_the_oldest_on(ada: Client) -> None:
    for number in range(5):
        await harness.new_artifact(ada, f"number {number}")
    page = """query ($first: Int, $last: Int, $after: String, $before: String) {
      events(filter: {kind: [ARTIFACT_CREATED]}, first: $first, last: $last, after: $after, before: $before) {
        nodes { subject { ... on Artifact { name } } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""

    async def names(**given: Any) -> tuple[list[str], dict[str, Any]]:
        found = (await ada.run(page, **given))["events"]
        return [each["subject"]["name"] for each in found["nodes"]], found["pageInfo"]

    begin, info = await names(first=2)
    assert (begin, info["hasNextPage"], info["hasPreviousPage"]) == (["number 0", "number 1"], True, False)
    middle, info = await names(first=2, after=info["endCursor"])
    assert (middle, info["hasNextPage"], info["hasPreviousPage"]) == (["number 2", "number 3"], True, True)
    assert (await names(last=1))[0] == ["number 4"]
    assert (await names(last=2, before=info["startCursor"]))[0] == ["number 0", "number 1"]


async def test_an_event_outlives_what_it_tells_of(ada: Client, grace: Client, root: Client) -> None:
    made = await harness.new_artifact(ada)
    grants = [{"user": await harness.user_id(grace), "role": "VIEWER"}]
    await harness.share(ada, "Repository", made["repository"]["id"], *grants)
    result = await ada.mutate("deleteArtifact", artifactId=made["id"])
    assert result["__typename"] == "DeletePayload", result
    for client in (ada, grace, root):
        found = (await client.run(ALL, filter={"subjectId": made["id"]}))["events"]["nodes"]
        assert [(each["kind"], each["subject"]) for each in found] == [
            ("ARTIFACT_CREATED", None),
            ("ARTIFACT_DELETED", None),
        ]
    await ada.mutate("deleteRepository", repositoryId=made["repository"]["id"])
    told = ["REPOSITORY_CREATED", "ARTIFACT_CREATED", "REPOSITORY_SHARED", "ARTIFACT_DELETED", "REPOSITORY_DELETED"]
    assert await kinds(root) == told
    # Nobody has a role on it any more; who did it sees it still.
    assert await kinds(ada) == told
    assert await kinds(grace) == []


# What is shared with grace → the events that she sees.
SEEN = {
    "Repository": ["REPOSITORY", "ARTIFACT", "ARTIFACT", "WORKLOAD", "WORKLOAD", "OTHER"],
    "Artifact": ["ARTIFACT", "ARTIFACT", "WORKLOAD", "WORKLOAD"],
    "Workload": ["WORKLOAD"],
    "Credential": ["CREDENTIAL"],
}


@pytest.mark.parametrize("how", ["user", "group", "everyone"])
@pytest.mark.parametrize("kind", SEEN)
async def test_who_has_a_role_on_a_thing_sees_its_history(slipway: Slipway, ada: Client, kind: str, how: str) -> None:
    grace = await slipway.user("grace", groups=("ops",))
    made = await harness.new_artifact(ada)
    locked = await harness.lock(ada, made["id"])
    other = await harness.new_artifact(ada, repositoryId=made["repository"]["id"])
    workloads = [await harness.deploy(ada, locked["id"]) for _ in range(2)]
    credential = await harness.credential(ada, "key")
    things = {
        "Repository": made["repository"]["id"],
        "Artifact": made["id"],
        "Workload": workloads[0]["id"],
        "Credential": credential,
    }
    names = {
        made["repository"]["id"]: "REPOSITORY",
        made["id"]: "ARTIFACT",
        other["id"]: "OTHER",
        credential: "CREDENTIAL",
        **{each["id"]: "WORKLOAD" for each in workloads},
    }
    assert await kinds(grace) == []
    subject = {"user": await harness.user_id(grace), "group": "ops", "everyone": True}[how]
    await harness.share(ada, kind, things[kind], {how: subject, "role": "VIEWER"})
    seen = [
        each
        for each in (await grace.run(ALL))["events"]["nodes"]
        if each["kind"] != f"{kind.upper()}_SHARED" and not each["kind"].startswith("TOKEN_")
    ]
    assert sorted(names[each["subject"]["id"]] for each in seen) == sorted(SEEN[kind])
    assert len(await kinds(ada)) == len([*SEEN["Repository"], *SEEN["Credential"]]) + 1
