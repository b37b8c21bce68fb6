"""Sharing: roles given and taken away, by one rule on all four kinds of things."""

from typing import Any

import pytest

from tests import harness
from tests.api import history
from tests.harness import Client, Slipway

GRANTS = (
    "grants { role subject { __typename ... on User { username } ... on Group { name } ... on Everyone { label } } }"
)
FIELDS = {"Repository": "repository", "Artifact": "artifact", "Workload": "workload", "Credential": "credential"}
ABSENT = "usr_0000000000000000000000000a"


@pytest.fixture
async def things(ada: Client) -> dict[str, str]:
    """The id of one thing of each kind, all of them Ada's."""
    artifact = await harness.new_artifact(ada)
    workload = await harness.start_test(ada, artifact["id"])
    secret = await ada.mutate(
        "createCredential",
        "... on CredentialPayload { credential { id } }",
        name="a",
        values=[{"key": "a", "value": "b"}],
    )
    return {
        "Repository": artifact["repository"]["id"],
        "Artifact": artifact["id"],
        "Workload": workload["id"],
        "Credential": secret["credential"]["id"],
    }


async def user_id(client: Client) -> str:
    return str((await client.run("{ viewer { id } }"))["viewer"]["id"])


async def share(client: Client, kind: str, thing_id: str, *grants: dict[str, Any], **given: Any) -> dict[str, Any]:
    revision = "" if kind == "Credential" else "revision"
    selection = f"... on {kind}Payload {{ {FIELDS[kind]} {{ {revision} {GRANTS} }} }}"
    return await client.mutate(f"share{kind}", selection, id=thing_id, grants=list(grants), **given)


def named(result: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    """The grants of a result: who and which role."""
    grants = result[FIELDS[kind]]["grants"]
    return [
        (next(value for key, value in each["subject"].items() if key != "__typename"), each["role"]) for each in grants
    ]


@pytest.mark.parametrize("kind", FIELDS)
async def test_roles_are_given_changed_and_taken_away(
    slipway: Slipway, ada: Client, grace: Client, things: dict[str, str], kind: str
) -> None:
    await slipway.user("alan", groups=("ml",))
    thing_id, whose = things[kind], await user_id(grace)
    async with history.written(slipway) as lines:
        result = await share(
            ada,
            kind,
            thing_id,
            {"user": whose, "role": "EDITOR"},
            {"group": "ml", "role": "OWNER"},
            {"everyone": True, "role": "VIEWER"},
        )
    assert named(result, kind) == [("ada", "OWNER"), ("grace", "EDITOR"), ("ml", "OWNER"), ("Everyone", "VIEWER")]
    ((event, subject, actor, changes),) = lines
    assert (event, subject, actor) == (f"{kind.upper()}_SHARED", thing_id, "ada")
    assert changes == {
        "grants": [
            {"subject": whose, "role": "EDITOR"},
            {"subject": "group ml", "role": "OWNER"},
            {"subject": "everyone", "role": "VIEWER"},
        ]
    }
    if kind != "Credential":
        assert result[FIELDS[kind]]["revision"] == 2

    async with history.unchanged(slipway):
        again = await share(ada, kind, thing_id, {"user": whose, "role": "EDITOR"}, {"user": ABSENT})
        assert again["__typename"] == "InvalidInput"
        same = await share(ada, kind, thing_id, {"user": whose, "role": "EDITOR"}, {"everyone": True, "role": "VIEWER"})
        assert same[FIELDS[kind]] == result[FIELDS[kind]]

    async with history.written(slipway) as lines:
        result = await share(
            ada, kind, thing_id, {"user": whose, "role": "VIEWER"}, {"everyone": True}, {"group": "ml", "role": "OWNER"}
        )
    assert named(result, kind) == [("ada", "OWNER"), ("grace", "VIEWER"), ("ml", "OWNER")]
    assert lines[0][3] == {"grants": [{"subject": whose, "role": "VIEWER"}, {"subject": "everyone", "role": None}]}


@pytest.mark.parametrize("kind", FIELDS)
async def test_every_thing_keeps_an_owner_of_its_own(
    slipway: Slipway, ada: Client, grace: Client, root: Client, things: dict[str, str], kind: str
) -> None:
    thing_id, own, whose = things[kind], await user_id(ada), await user_id(grace)
    async with history.unchanged(slipway):
        for client in (ada, root):
            for grants in (
                [{"user": own, "role": "EDITOR"}],
                [{"user": own, "role": None}],
                [{"user": own}, {"everyone": True, "role": "OWNER"}, {"user": whose, "role": "EDITOR"}],
            ):
                refused = await share(client, kind, thing_id, *grants)
                assert refused["issues"] == [
                    {
                        "path": "grants",
                        "code": "LAST_OWNER",
                        "message": "At least one user or group stays its owner.",
                    }
                ]
    result = await share(ada, kind, thing_id, {"user": own}, {"user": whose, "role": "OWNER"})
    assert result["__typename"] == f"{kind}Payload"


@pytest.mark.parametrize("kind", FIELDS)
async def test_what_is_wrong_with_grants_is_told_at_once(
    slipway: Slipway, ada: Client, things: dict[str, str], kind: str
) -> None:
    own = await user_id(ada)
    async with history.unchanged(slipway):
        refused = await share(
            ada,
            kind,
            things[kind],
            {"role": "VIEWER"},
            {"user": own, "everyone": True, "role": "VIEWER"},
            {"user": own, "group": "ml", "role": "VIEWER"},
            {"everyone": False, "role": "VIEWER"},
            {"user": ABSENT, "role": "VIEWER"},
            {"user": things["Artifact"], "role": "VIEWER"},
            {"group": "nobody", "role": "VIEWER"},
            {"group": "", "role": "VIEWER"},
            {"user": own, "role": "OWNER"},
            {"user": own, "role": "OWNER"},
        )
        assert [(each["path"], each["code"]) for each in refused["issues"]] == [
            ("grants[0]", "ONE_SUBJECT"),
            ("grants[1]", "ONE_SUBJECT"),
            ("grants[2]", "ONE_SUBJECT"),
            ("grants[3]", "ONE_SUBJECT"),
            ("grants[4].user", "NO_SUCH_USER"),
            ("grants[5].user", "NO_SUCH_USER"),
            ("grants[6].group", "NO_SUCH_GROUP"),
            ("grants[7].group", "NO_SUCH_GROUP"),
            ("grants[9]", "DUPLICATE"),
        ]
        for grants in ([], [{"everyone": True, "role": "VIEWER"}] * 101):
            refused = await share(ada, kind, things[kind], *grants)
            assert [(each["path"], each["code"]) for each in refused["issues"]] == [("grants", "WRONG_COUNT")]


@pytest.mark.parametrize("kind", FIELDS)
async def test_only_owners_share(
    slipway: Slipway, ada: Client, grace: Client, things: dict[str, str], kind: str
) -> None:
    whose = await user_id(grace)
    grant = {"user": whose, "role": "OWNER"}
    async with history.unchanged(slipway):
        stranger = await share(grace, kind, things[kind], grant)
        assert (stranger["__typename"], stranger["id"]) == ("NotFound", things[kind])
    await share(ada, kind, things[kind], {"user": whose, "role": "EDITOR"})
    reader = await slipway.user("ada", read_only=True)
    async with history.unchanged(slipway):
        editor = await share(grace, kind, things[kind], grant)
        assert (editor["message"], editor["needed"]) == ("This needs the role OWNER; yours is EDITOR.", "OWNER")
        denied = await share(reader, kind, things[kind], grant)
        message = "This token is read-only: use one that may change things."
        assert (denied["message"], denied["needed"]) == (message, None)
        if kind != "Credential":
            stale = await share(ada, kind, things[kind], ifRevision=7)
            assert (stale["__typename"], stale["currentRevision"]) == ("StaleRevision", 2)


async def test_a_workload_that_has_ended_is_not_shared_any_more(
    slipway: Slipway, ada: Client, things: dict[str, str]
) -> None:
    await history.put(slipway, things["Workload"], "TERMINATED")
    async with history.unchanged(slipway):
        refused = await share(ada, "Workload", things["Workload"], {"everyone": True, "role": "VIEWER"})
        assert [each["code"] for each in refused["blockers"]] == ["WORKLOAD_TERMINATED"]
