"""Tokens and secrets: who gets in, and what never comes out."""

import base64
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app import main
from app.actions import people, sealing
from tests import harness
from tests.harness import Client, Slipway

HOUR = timedelta(hours=1)


def assert_refused(response: httpx.Response) -> None:
    """HTTP 401 with a GraphQL error body, and no data."""
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert "data" not in response.json()


async def issued(slipway: Slipway, **given: Any) -> str:
    """A token of ada's, made an hour ago."""
    new = people.NewToken(label="test", **given)
    return await people.issue_token(slipway.database, "ada", new, main.now() - HOUR)


async def test_an_expired_token_is_refused(slipway: Slipway) -> None:
    fresh = await issued(slipway, expires_in=HOUR + timedelta(minutes=1))
    assert (await slipway.anonymous(fresh).post("{ viewer { id } }")).status_code == 200
    for lifetime in (HOUR, timedelta(minutes=1)):
        expired = await issued(slipway, expires_in=lifetime)
        assert_refused(await slipway.anonymous(expired).post("{ viewer { id } }"))


async def test_a_revoked_token_is_refused_at_once(slipway: Slipway, ada: Client) -> None:
    made = await ada.mutate("createApiToken", "... on CreateApiTokenPayload { token { id } secret }", label="ci")
    other = slipway.anonymous(made["secret"])
    assert (await other.run("{ viewer { username } }"))["viewer"] == {"username": "ada"}
    revoked = await other.mutate("revokeApiToken", "... on DeletePayload { deletedIds }", tokenId=made["token"]["id"])
    assert revoked["deletedIds"] == [made["token"]["id"]]
    assert_refused(await other.post("{ viewer { username } }"))
    again = await ada.mutate("revokeApiToken", tokenId=made["token"]["id"])
    assert again["__typename"] == "NotFound"


@pytest.mark.parametrize(
    "token", ["slw_" + "A" * 43, "slw_", "x", "0" * 4096, "ada", "'; DROP TABLE api_tokens; --", "%00", "a.b.c=="]
)
async def test_an_unknown_token_is_refused(slipway: Slipway, ada: Client, token: str) -> None:
    before = await harness.dump(slipway)
    assert_refused(await slipway.anonymous(token).post("{ viewer { id } }"))
    assert_refused(await slipway.anonymous(token).post("mutation { nonsense }"))
    # A token that is nearly right.
    assert_refused(await slipway.anonymous(ada.token[:-1]).post("{ viewer { id } }"))
    assert_refused(await slipway.anonymous(ada.token + "A").post("{ viewer { id } }"))
    assert await harness.dump(slipway) == before


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {} {}", "Token {}"])
async def test_a_malformed_header_is_refused(ada: Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.replace("{}", ada.token)}
    assert_refused(await ada.http.post("/graphql", json={"query": "{ viewer { id } }"}, headers=headers))
    assert_refused(await ada.http.get("/graphql", params={"query": "{ viewer { id } }"}, headers=headers))


async def test_two_authorization_headers_are_refused(ada: Client) -> None:
    headers = [("Authorization", f"Bearer {ada.token}")] * 2
    assert_refused(await ada.http.post("/graphql", json={"query": "{ viewer { id } }"}, headers=headers))


async def test_a_token_is_stored_as_its_hash_alone(slipway: Slipway, ada: Client) -> None:
    made = await ada.mutate("createApiToken", "... on CreateApiTokenPayload { secret }", label="ci", readOnly=True)
    stored = await harness.dump(slipway)
    for secret in (ada.token, made["secret"]):
        assert secret not in stored
        assert secret.removeprefix(sealing.TOKEN_PREFIX) not in stored
        assert secret.encode().hex() not in stored
        assert sealing.token_digest(secret).hex() in stored


async def test_one_sees_ones_own_tokens_alone(slipway: Slipway, ada: Client, grace: Client, root: Client) -> None:
    made = await ada.mutate("createApiToken", "... on CreateApiTokenPayload { token { id } }", label="ci")
    token_id = made["token"]["id"]
    labels = "{ apiTokens { label readOnly } }"
    assert (await ada.run(labels))["apiTokens"] == [
        {"label": "ci", "readOnly": False},
        {"label": "test", "readOnly": False},
    ]
    document = "query ($id: ID!) { node(id: $id) { id } }"
    assert (await ada.run(document, id=token_id))["node"] == {"id": token_id}
    for other in (grace, root):
        assert (await other.run(labels))["apiTokens"] == [{"label": "test", "readOnly": False}]
        assert (await other.run(document, id=token_id))["node"] is None
        assert (await other.mutate("revokeApiToken", tokenId=token_id))["__typename"] == "NotFound"


async def test_a_read_only_token_can_not_make_a_better_one(slipway: Slipway, ada: Client) -> None:
    reader = await slipway.user("ada", read_only=True)
    before = await harness.dump(slipway, without=("last_used_at",))
    denied = await reader.mutate("createApiToken", label="mine", readOnly=False)
    assert (denied["__typename"], denied["needed"]) == ("PermissionDenied", None)
    tokens = (await reader.run("{ apiTokens { id } }"))["apiTokens"]
    for token in tokens:
        denied = await reader.mutate("revokeApiToken", tokenId=token["id"])
        assert (denied["__typename"], denied["needed"]) == ("PermissionDenied", None)
    assert await harness.dump(slipway, without=("last_used_at",)) == before
    assert len((await ada.run("{ apiTokens { id } }"))["apiTokens"]) == 2


SECRETS = ("correct-horse-battery", "staple\u00e9-rotated-\u2603")


def spellings(secret: str) -> list[str]:
    """A secret as it is, and as a log or a dump might write it."""
    raw = secret.encode()
    return [secret, raw.hex(), base64.b64encode(raw).decode().rstrip("="), repr(secret)[1:-1], ascii(secret)[1:-1]]


async def test_the_values_of_a_credential_never_come_out(
    slipway: Slipway, ada: Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[str] = []

    async def keep(response: httpx.Response) -> None:
        answers.append((await response.aread()).decode())

    caplog.set_level("DEBUG")
    ada.http.event_hooks = {"response": [keep]}
    first, second = SECRETS
    made = "... on CredentialPayload { credential { id name keys } }"
    values = [{"key": "key", "value": first}, {"key": "other", "value": f"{first}-other"}]
    credential = (await ada.mutate("createCredential", made, name="key", values=values))["credential"]
    assert credential["keys"] == ["key", "other"]
    pointing = {"name": "KEY", "type": "CREDENTIAL", "credentialId": credential["id"], "field": "key"}
    artifact = await harness.new_artifact(ada, spec=harness.spec(harness.container(environmentVars=[pointing])))
    await harness.start_test(ada, artifact["id"])
    service = await harness.deploy(ada, artifact["id"], environment=[{**pointing, "name": "AGAIN"}])
    rotated = await ada.mutate(
        "rotateCredential", made, credentialId=credential["id"], values=[{"key": "key", "value": second}]
    )
    assert rotated["credential"]["keys"] == ["key"]
    environment = await ada.run(
        "query ($id: ID!) { workload(id: $id) { environment { name value masked } } }", id=service["id"]
    )
    masked = {each["name"]: each["value"] for each in environment["workload"]["environment"] if each["masked"]}
    assert masked == {"KEY": None, "AGAIN": None}
    # What is refused says what is wrong, and not what was sent: by the rules, by the types and by the parser.
    for bad in (
        [{"key": "bad key", "value": second}],
        [{"key": "key", "value": second * 3_000}],
        [{"key": "key", "value": second}, {"key": "key", "value": second}],
    ):
        refused = await ada.mutate("rotateCredential", credentialId=credential["id"], values=bad)
        assert refused["__typename"] == "InvalidInput", refused
    document = "mutation ($input: RotateCredentialInput!) { rotateCredential(input: $input) { __typename } }"
    nul = [{"key": "key", "value": f"{second}\0"}]
    for wrong in (nul, [{"key": "key", "value": {"v": second}}], {"key": [second]}, second, [second]):
        variables = {"input": {"credentialId": credential["id"], "values": wrong}}
        answer = await ada.answer(document, **variables)
        assert answer["errors"], answer
    for written in (
        f'mutation {{ rotateCredential(input: {{credentialId: "x", values: [{{key: "k", value: ["{second}"]}}]}}) }}',
        f'mutation {{ rotateCredential(input: "{second}") {{ __typename }} }}',
    ):
        assert (await ada.answer(written))["errors"]
    stored = await harness.dump(slipway)
    captured = capfd.readouterr()
    told = "\n".join((*answers, stored, captured.out, captured.err, caplog.text))
    assert "sealed_value" in stored
    for secret in SECRETS:
        for spelling in spellings(secret):
            assert spelling not in told, spelling


async def test_a_tokens_secret_is_told_once(
    slipway: Slipway, ada: Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    made = await ada.mutate("createApiToken", "... on CreateApiTokenPayload { token { id } secret }", label="ci")
    other = slipway.anonymous(made["secret"])
    answers = [
        (await client.post("{ viewer { id } apiTokens { id label lastUsedAt } }")).text for client in (ada, other)
    ]
    answers.append((await slipway.anonymous(made["secret"] + "x").post("{ viewer { id } }")).text)
    answers.append((await other.post('{ node(id: "x") { id } }')).text)
    captured = capfd.readouterr()
    told = "\n".join((*answers, captured.out, captured.err, caplog.text))
    assert made["secret"].removeprefix(sealing.TOKEN_PREFIX) not in told
    assert ada.token.removeprefix(sealing.TOKEN_PREFIX) not in told


async def test_values_are_sealed_each_time_anew(slipway: Slipway, ada: Client) -> None:
    """Equal values do not show as equal rows, and what is sealed opens with the server's key alone."""
    values = [{"key": "a", "value": "same"}, {"key": "b", "value": "same"}]
    await ada.mutate("createCredential", name="key", values=values)
    stored = [line for line in (await harness.dump(slipway)).splitlines() if line.startswith("credential_values ")]
    sealed = {line.split('"sealed_value": ')[1] for line in stored}
    assert len(stored) == len(sealed) == 2
