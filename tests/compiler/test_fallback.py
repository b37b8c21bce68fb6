"""What happens where a statement can't be run, or takes too long."""

import asyncio
from typing import Any

import asyncpg
import pytest

from app.api.compiler import statements
from app.db import database
from tests import harness
from tests.harness import Client, Slipway

DOCUMENT = "{ viewer { username } }"
ANSWER = {"data": {"viewer": {"username": "ada"}}}


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    """Every statement that answers with text fails so; they are noted."""
    asked: list[str] = []

    async def fetch(_: Any, statement: str, __: Any) -> Any:
        asked.append(statement)
        raise error

    monkeypatch.setattr(database._Connections, "fetch", fetch)
    return asked


@pytest.fixture
async def ada(database_url: str) -> Any:
    async with harness.serving(database_url) as slipway:
        yield await slipway.user("ada")


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UndefinedFunctionError("no such function"),
        asyncpg.InterfaceError("closed"),
        asyncpg.InternalClientError("another operation is in progress"),
        asyncpg.DataError("no such value"),
        ConnectionRefusedError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_executor_answers_where_the_statement_fails(
    ada: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    asked = failing(monkeypatch, error)
    assert await ada.answer(DOCUMENT) == ANSWER
    assert len(asked) == 1


@pytest.mark.parametrize("error", [asyncpg.QueryCanceledError("timeout"), TimeoutError()], ids=["statement", "pool"])
async def test_what_took_too_long_is_not_begun_again(
    ada: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    asked = failing(monkeypatch, error)
    answer = await ada.answer(DOCUMENT)
    [said] = answer["errors"]
    assert (answer["data"], said["message"], said["extensions"]["code"]) == (None, "Internal error", "INTERNAL_ERROR")
    assert len(asked) == 1


async def test_the_executor_answers_where_the_compiler_is_mistaken(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(_: Any) -> Any:
        raise KeyError("a mistake")

    monkeypatch.setattr(statements.Writer, "statement", mistaken)
    assert await ada.answer(DOCUMENT) == ANSWER


async def test_a_connection_that_was_cut_is_replaced(ada: Client, database_url: str) -> None:
    assert await ada.answer(DOCUMENT) == ANSWER
    connection = await asyncpg.connect(database_url)
    await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%convert_to(%'"
        " AND pid <> pg_backend_pid()"
    )
    await connection.close()
    assert await ada.answer(DOCUMENT) == ANSWER
    assert await ada.answer(DOCUMENT) == ANSWER


async def test_many_at_once_take_turns(database_url: str) -> None:
    async with harness.serving(database_url) as slipway:
        ada = await slipway.user("ada")
        answers = await asyncio.gather(*(ada.answer(DOCUMENT) for _ in range(3 * database.POOL_SIZE)))
        assert answers == [ANSWER] * len(answers)
        assert await _connections(slipway) <= database.POOL_SIZE


async def _connections(slipway: Slipway) -> int:
    """How many connections there are for statements that are planned once."""
    return len(slipway.database._texts[database.Plan.ONCE]._idle)
