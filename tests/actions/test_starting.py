"""What a starting server makes sure of: the administrator's token, and the key that secrets are sealed with."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from app.actions import credentials, people, sealing
from app.db.database import Database
from app.domain import errors

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def username(database: Database, secret: str) -> str | None:
    viewer = await people.authenticate(database, secret, NOW)
    return None if viewer is None else viewer.username


async def test_a_configured_token_takes_the_place_of_the_one_before(database: Database) -> None:
    for secret in ("first-token", "second-token", "second-token"):
        await people.ensure_administrator(database, secret, NOW, configured=True)
    assert await username(database, "second-token") == "admin"
    assert await username(database, "first-token") is None


async def test_servers_on_one_database_keep_the_tokens_that_they_made(database: Database) -> None:
    await people.ensure_administrator(database, "configured-token", NOW, configured=True)
    for secret in ("token-of-one", "token-of-another"):
        await people.ensure_administrator(database, secret, NOW, configured=False)
    for secret in ("configured-token", "token-of-one", "token-of-another"):
        assert await username(database, secret) == "admin"


@pytest.mark.parametrize("user", ["bob", "admin"])
async def test_a_token_of_someone_else_or_a_limited_one_is_refused_by_name(database: Database, user: str) -> None:
    limited = people.NewToken(label="limited", read_only=True)
    secret = await people.issue_token(database, user, limited, NOW)
    with pytest.raises(errors.SlipwayError, match="SLIPWAY_ADMIN_TOKEN") as refused:
        await people.ensure_administrator(database, secret, NOW, configured=True)
    assert secret not in str(refused.value)


async def test_the_first_key_is_that_of_the_database(database: Database) -> None:
    first = sealing.Sealer(secrets.token_bytes(sealing.KEY_BYTES))
    await credentials.check_key(database, first)
    await credentials.check_key(database, first)
    with pytest.raises(ValueError, match="can't be opened"):
        await credentials.check_key(database, sealing.Sealer(secrets.token_bytes(sealing.KEY_BYTES)))
