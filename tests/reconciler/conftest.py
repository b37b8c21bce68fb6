from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from app.db.database import Database
from tests.reconciler.world import World


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keeps logs off the terminal, where tracebacks are drawn at length."""
    with capture_logs():
        yield


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    database = Database(database_url)
    made = World(database)
    await made.furnish()
    yield made
    await database.close()
