from collections.abc import AsyncIterator

import pytest

from app.db.database import Database
from tests.reconciler.world import World


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    database = Database(database_url)
    made = World(database)
    await made.furnish()
    yield made
    await database.close()
