import asyncio
from collections.abc import AsyncIterator

import pytest

from app.db import installations
from app.db.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database, and nothing in it."""
    database = Database(database_url)
    yield database
    await database.close()


async def test_servers_that_start_at_once_are_one_installation(database: Database) -> None:
    ids = await asyncio.gather(*(installations.identity(database) for _ in range(5)))
    assert len(set(ids)) == 1
    assert await installations.identity(database) == ids[0]
