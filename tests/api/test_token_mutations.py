"""Tokens of one's own: made, listed, and revoked."""

from datetime import datetime, timedelta

import pytest

from tests.api import history
from tests.harness import Client, Slipway

CREATED = "... on CreateApiTokenPayload { secret token { id label readOnly createdAt lastUsedAt expiresAt } }"
VIEWER = "{ viewer { username } }"


async def test_a_token_works_as_it_was_asked_for(slipway: Slipway, ada: Client) -> None:
    async with history.written(slipway) as lines:
        made = await ada.mutate("createApiToken", CREATED, label=" ci ", expiresIn="PT2H", readOnly=True)
    secret, token = made["secret"], made["token"]
    assert token == {**token, "label": "ci", "readOnly": True, "lastUsedAt": None}
    lifetime = datetime.fromisoformat(token["expiresAt"]) - datetime.fromisoformat(token["createdAt"])
    assert lifetime == timedelta(hours=2)
    assert lines == [("TOKEN_CREATED", token["id"], "ada", {"label": "ci", "readOnly": True})]
    reader = slipway.anonymous(secret)
    assert await reader.run(VIEWER) == {"viewer": {"username": "ada"}}
    async with history.unchanged(slipway):
        denied = await reader.mutate("createApiToken", label="more")
        assert (denied["__typename"], denied["needed"]) == ("PermissionDenied", None)
        kept = await reader.mutate("revokeApiToken", tokenId=token["id"])
        assert kept["__typename"] == "PermissionDenied"
    (newest, *_) = (await ada.run("{ apiTokens { id label readOnly } }"))["apiTokens"]
    assert newest == {"id": token["id"], "label": "ci", "readOnly": True}


async def test_one_without_an_end_stays_until_it_is_revoked(slipway: Slipway, ada: Client, grace: Client) -> None:
    made = await ada.mutate("createApiToken", CREATED, label="laptop")
    token_id, holder = made["token"]["id"], slipway.anonymous(made["secret"])
    assert (made["token"]["expiresAt"], made["token"]["readOnly"]) == (None, False)
    assert (await holder.post(VIEWER)).status_code == 200
    async with history.unchanged(slipway):
        stranger = await grace.mutate("revokeApiToken", tokenId=token_id)
        assert (stranger["__typename"], stranger["id"]) == ("NotFound", token_id)
    async with history.written(slipway) as lines:
        revoked = await ada.mutate("revokeApiToken", "... on DeletePayload { deletedIds }", tokenId=token_id)
    assert revoked["deletedIds"] == [token_id]
    assert lines == [("TOKEN_REVOKED", token_id, "ada", {"label": "laptop"})]
    assert (await holder.post(VIEWER)).status_code == 401
    again = await ada.mutate("revokeApiToken", tokenId=token_id)
    assert again["__typename"] == "NotFound"


@pytest.mark.parametrize(
    ("given", "path", "code"),
    [
        ({"label": " "}, "label", "TOO_SHORT"),
        ({"label": "x" * 201}, "label", "TOO_LONG"),
        ({"label": "a\nb"}, "label", "CONTROL_CHARACTER"),
        ({"label": "a", "expiresIn": "PT0S"}, "expiresIn", "OUT_OF_RANGE"),
        ({"label": "a", "expiresIn": "-P1D"}, "expiresIn", "OUT_OF_RANGE"),
        ({"label": "a", "expiresIn": "P3651D"}, "expiresIn", "OUT_OF_RANGE"),
    ],
)
async def test_what_is_wrong_with_a_token(
    slipway: Slipway, ada: Client, given: dict[str, str], path: str, code: str
) -> None:
    async with history.unchanged(slipway):
        refused = await ada.mutate("createApiToken", **given)
    assert [(each["path"], each["code"]) for each in refused["issues"]] == [(path, code)]
