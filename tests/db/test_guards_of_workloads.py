"""What the database refuses of what runs already, and of the count of versions, tried by SQL as its owner."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.db import world as worlds
from tests.db.test_guards import refused
from tests.db.world import World, insert_workload

Connection = Any  # asyncpg's, which has no types of its own


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connected = await asyncpg.connect(database_url)
    yield connected
    await connected.close()


@pytest.fixture
async def world(connection: Connection) -> World:
    return await worlds.build(connection)


@pytest.mark.parametrize("change", ["specification = '[]'", "digest = 'sha256:ff'"])
async def test_a_workload_keeps_what_it_was_started_with(connection: Connection, world: World, change: str) -> None:
    for workload in (
        await insert_workload(connection, world, world.locked),
        await insert_workload(connection, world, world.draft, "TEST"),
    ):
        statement = f"UPDATE workloads SET {change} WHERE id = $1"  # noqa: S608  the changes stand above
        await refused(connection, statement, workload, because="it runs what it was started with")
        kept = "UPDATE workloads SET specification = specification, digest = digest, revision = 2 WHERE id = $1"
        assert await connection.execute(kept, workload) == "UPDATE 1"


async def test_versions_are_counted_one_by_one(connection: Connection, world: World) -> None:
    statement = "UPDATE repositories SET last_version = last_version + $1"
    for step in (-1, 2):
        await refused(connection, statement, step, because="versions have no gaps")
    assert await connection.execute(statement, 0) == "UPDATE 1"
