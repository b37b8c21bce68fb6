"""Credentials: made, rotated, shared and deleted, and held while something points at them."""

from typing import Any

import pytest

from tests import harness
from tests.api import history
from tests.harness import Client, Slipway

CREDENTIAL = """... on CredentialPayload { credential {
  id name keys createdBy { username } createdAt updatedAt viewerRole usedBy { totalCount } } }"""
SECRETS = ("hunter2", "hunter3")


def values(**given: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in given.items()]


@pytest.fixture
async def credential(ada: Client) -> dict[str, Any]:
    """A credential with the keys `user` and `pass`."""
    given = values(user="ada", **{"pass": "hunter2"})
    result = await ada.mutate("createCredential", CREDENTIAL, name="secret", values=given)
    return dict(result["credential"])


def pointing_at(credential: dict[str, Any], field: str = "pass") -> dict[str, Any]:
    pointer = {"name": "P", "type": "CREDENTIAL", "credentialId": credential["id"], "field": field}
    return harness.spec(harness.container(environmentVars=[pointer]))


async def test_a_credential_tells_its_keys_and_no_values(slipway: Slipway, ada: Client) -> None:
    async with history.written(slipway) as lines:
        given = values(b="hunter2", a="hunter3")
        result = await ada.mutate("createCredential", CREDENTIAL, name=" my secret ", values=given)
    credential = result["credential"]
    assert credential == {
        "id": credential["id"],
        "name": "my secret",
        "keys": ["b", "a"],
        "createdBy": {"username": "ada"},
        "createdAt": credential["createdAt"],
        "updatedAt": credential["createdAt"],
        "viewerRole": "OWNER",
        "usedBy": {"totalCount": 0},
    }
    changes = {"name": "my secret", "keys": ["b", "a"]}
    assert lines == [("CREDENTIAL_CREATED", credential["id"], "ada", changes)]


async def test_what_is_wrong_with_a_credential_is_told_without_its_values(slipway: Slipway, ada: Client) -> None:
    wrong = [{"key": "a b", "value": "hunter2"}, {"key": "c", "value": "hunter2" * 5_000}, {"key": "c", "value": ""}]
    async with history.unchanged(slipway):
        result = await ada.mutate("createCredential", name="", values=wrong)
        empty = await ada.mutate("createCredential", name="a", values=[])
    assert [(each["path"], each["code"]) for each in result["issues"]] == [
        ("name", "TOO_SHORT"),
        ("values[0].key", "NOT_A_KEY"),
        ("values[1].value", "TOO_LONG"),
        ("values[2].key", "DUPLICATE"),
    ]
    assert "hunter2" not in str(result)
    assert [(each["path"], each["code"]) for each in empty["issues"]] == [("values", "WRONG_COUNT")]


async def test_a_rotation_replaces_all_values(slipway: Slipway, ada: Client, credential: dict[str, Any]) -> None:
    async with history.written(slipway) as lines:
        given = values(token="hunter3", user="x")  # noqa: S106  the name of a key
        result = await ada.mutate("rotateCredential", CREDENTIAL, credentialId=credential["id"], values=given)
    assert result["credential"] == {
        **credential,
        "keys": ["token", "user"],
        "updatedAt": result["credential"]["updatedAt"],
    }
    assert result["credential"]["updatedAt"] > credential["updatedAt"]
    changes = {"name": "secret", "keys": ["token", "user"]}
    assert lines == [("CREDENTIAL_ROTATED", credential["id"], "ada", changes)]


async def test_a_key_that_a_variable_points_at_stays(slipway: Slipway, ada: Client, credential: dict[str, Any]) -> None:
    artifact = await harness.new_artifact(ada, spec=pointing_at(credential))
    part = {"credentialId": credential["id"]}
    async with history.unchanged(slipway):
        refused = await ada.mutate("rotateCredential", **part, values=values(user="x"))
        assert refused["issues"] == [
            {"path": "values", "code": "KEY_IN_USE", "message": "The key 'pass' is missing, and variables point at it."}
        ]
    rotated = await ada.mutate("rotateCredential", CREDENTIAL, **part, values=values(**{"pass": "hunter3"}))
    assert (rotated["credential"]["keys"], rotated["credential"]["usedBy"]) == (["pass"], {"totalCount": 1})
    workload = await harness.start_test(ada, artifact["id"])
    await ada.mutate("updateArtifact", artifactId=artifact["id"], spec=harness.spec())
    async with history.unchanged(slipway):
        running = await ada.mutate("rotateCredential", **part, values=values(other="x"))
        assert [(each["path"], each["code"]) for each in running["issues"]] == [("values", "KEY_IN_USE")]
    await history.put(slipway, workload["id"], "TERMINATED")
    rotated = await ada.mutate("rotateCredential", CREDENTIAL, **part, values=values(other="x"))
    assert rotated["credential"]["keys"] == ["other"]


async def test_one_that_is_in_use_stays(
    slipway: Slipway, ada: Client, grace: Client, credential: dict[str, Any]
) -> None:
    draft = await harness.new_artifact(ada, spec=pointing_at(credential))
    plain = await harness.new_artifact(ada, "plain")
    override = {"name": "P", "type": "CREDENTIAL", "credentialId": credential["id"], "field": "user"}
    service = await harness.deploy(ada, plain["id"], environment=[override])
    whose = (await grace.run("{ viewer { id } }"))["viewer"]["id"]
    await ada.mutate("shareCredential", id=credential["id"], grants=[{"user": whose, "role": "OWNER"}])
    part = {"credentialId": credential["id"]}
    async with history.unchanged(slipway):
        refused = await ada.mutate("deleteCredential", **part)
        (blocker,) = refused["blockers"]
        assert (refused["action"], blocker["code"], blocker["hiddenCount"]) == ("DELETE", "IN_USE", 0)
        assert blocker["nodes"] == [{"id": draft["id"]}, {"id": service["id"]}]
        assert blocker["message"] == f"It is in use by {draft['id']}, {service['id']}."
        unseen = (await grace.mutate("deleteCredential", **part))["blockers"][0]
        assert (unseen["nodes"], unseen["hiddenCount"]) == ([], 2)
        assert unseen["message"] == "It is in use by 2 that you may not see."
    await ada.mutate("updateArtifact", artifactId=draft["id"], spec=harness.spec())
    await ada.mutate("deleteWorkload", workloadId=service["id"])
    async with history.unchanged(slipway):
        stopping = await ada.mutate("deleteCredential", **part)
        assert stopping["blockers"][0]["nodes"] == [{"id": service["id"]}]
    await history.put(slipway, service["id"], "TERMINATED")
    async with history.written(slipway) as lines:
        deleted = await ada.mutate("deleteCredential", "... on DeletePayload { deletedIds }", **part)
    assert deleted["deletedIds"] == [credential["id"]]
    assert lines == [("CREDENTIAL_DELETED", credential["id"], "ada", {"name": "secret", "keys": []})]
    assert await grace.run("{ credentials { totalCount } }") == {"credentials": {"totalCount": 0}}


async def test_viewers_may_point_editors_rotate_and_owners_delete(
    slipway: Slipway, ada: Client, grace: Client, credential: dict[str, Any]
) -> None:
    whose = (await grace.run("{ viewer { id } }"))["viewer"]["id"]
    part = {"credentialId": credential["id"]}

    async def tried(role: str | None) -> list[str]:
        grants = [{"user": whose, "role": role}]
        await ada.mutate("shareCredential", id=credential["id"], grants=grants)
        named = pointing_at(credential)
        results = [
            await grace.mutate("createArtifact", name="a", spec=named),
            await grace.mutate("rotateCredential", **part, values=values(**{"pass": "hunter3"})),
            await grace.mutate("shareCredential", id=credential["id"], grants=grants),
        ]
        return [each["__typename"] for each in results]

    assert await tried(None) == ["InvalidInput", "NotFound", "NotFound"]
    assert await tried("VIEWER") == ["ArtifactPayload", "PermissionDenied", "PermissionDenied"]
    assert await tried("EDITOR") == ["ArtifactPayload", "CredentialPayload", "PermissionDenied"]
    assert await tried("OWNER") == ["ArtifactPayload", "CredentialPayload", "CredentialPayload"]
    told = str(await history.read(slipway))
    assert not any(secret in told for secret in SECRETS)
