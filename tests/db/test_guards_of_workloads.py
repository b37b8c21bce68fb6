"""What the database refuses of what runs already, and of the count of versions, tried by SQL as its owner."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.db import tables
from tests.db import world as worlds
from tests.db.test_guards import refused
from tests.db.world import World, insert_replacement, insert_workload

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


PROMOTION = "UPDATE workloads SET purpose = 'SERVICE', expires_at = NULL, {} WHERE id = $1"
PINNED = "specification = '{\"pinned\": true}'"


async def test_promotion_may_pin_and_nothing_more(connection: Connection, world: World) -> None:
    workload = await insert_workload(connection, world, world.draft, "TEST")
    promoted = PROMOTION.format(PINNED)
    await refused(connection, promoted, workload, because="a service runs a locked artifact")
    await worlds.lock(connection, world.draft, 2)
    why = "it runs what it was started with"
    await refused(connection, PROMOTION.format(f"{PINNED}, digest = 'sha256:ff'"), workload, because=why)
    # The change of the purpose is what lets it in.
    await refused(connection, f"UPDATE workloads SET {PINNED} WHERE id = $1", workload, because=why)  # noqa: S608
    assert await connection.execute(promoted, workload) == "UPDATE 1"
    await refused(connection, "UPDATE workloads SET specification = '{}' WHERE id = $1", workload, because=why)


async def test_another_artifact_brings_its_own_specification(connection: Connection, world: World) -> None:
    workload = await insert_workload(connection, world, world.locked)
    replaced = f"UPDATE workloads SET artifact_id = $2, digest = 'sha256:ff', {PINNED} WHERE id = $1"  # noqa: S608
    await refused(connection, replaced, workload, world.draft, because="a service runs a locked artifact")
    await worlds.lock(connection, world.draft, 2)
    assert await connection.execute(replaced, workload, world.draft) == "UPDATE 1"


async def test_a_test_never_runs_another_artifact_that_is_locked(connection: Connection, world: World) -> None:
    workload = await insert_workload(connection, world, world.draft, "TEST")
    statement = "UPDATE workloads SET artifact_id = $2 WHERE id = $1"
    await refused(connection, statement, workload, world.locked, because="a test runs a draft")


async def test_launches_are_out_of_those_that_were_given_out(connection: Connection, world: World) -> None:
    workload = await insert_workload(connection, world, world.locked)
    statement = "UPDATE workloads SET launch = 2 WHERE id = $1"
    with pytest.raises(asyncpg.CheckViolationError, match="launch_given_out"):
        await connection.execute(statement, workload)
    given_out = "UPDATE workloads SET launch = 2, last_launch = 2 WHERE id = $1"
    assert await connection.execute(given_out, workload) == "UPDATE 1"


async def test_one_replacement_of_a_workload_at_a_time(connection: Connection, world: World) -> None:
    workload, other = [await insert_workload(connection, world, world.locked) for _ in range(2)]
    for status in ("COMPLETED", "FAILED", "CANCELLED"):
        await insert_replacement(connection, world, workload, status)
    first = await insert_replacement(connection, world, workload)
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_replacements_one_rolling"):
        await insert_replacement(connection, world, workload)
    await insert_replacement(connection, world, other)
    await connection.execute("UPDATE replacements SET status = 'FAILED', finished_at = now() WHERE id = $1", first)
    await insert_replacement(connection, world, workload)


async def test_what_is_under_way_has_no_end_and_what_is_over_has(connection: Connection, world: World) -> None:
    workload = await insert_workload(connection, world, world.locked)
    replacement = await insert_replacement(connection, world, workload)
    for change in ("status = 'COMPLETED'", "finished_at = now()"):
        statement = f"UPDATE replacements SET {change} WHERE id = $1"  # noqa: S608  the changes stand above
        with pytest.raises(asyncpg.CheckViolationError, match="finished"):
            await connection.execute(statement, replacement)


# A new value for every column of a replacement.
REPLACEMENT_VALUES = {
    "id": "gen_random_uuid()",
    "workload_id": "(SELECT id FROM workloads WHERE purpose = 'TEST')",
    "from_artifact_id": "(SELECT id FROM artifacts WHERE status = 'DRAFT')",
    "to_artifact_id": "(SELECT id FROM artifacts WHERE status = 'DRAFT')",
    "status": "'CANCELLED'",
    "message": "'other'",
    "requested_by_id": "gen_random_uuid()",
    "started_at": "now()",
    "finished_at": "now()",
    "launch": "9",
    "begun_at": "now()",
    "digest": "'sha256:ff'",
    "specification": "'[1]'",
    "replicas": "9",
    "resources": "'[1]'",
    "environment": "'[1]'",
}


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
async def test_how_a_replacement_ended_is_never_altered(connection: Connection, world: World, status: str) -> None:
    assert REPLACEMENT_VALUES.keys() == set(tables.ReplacementRow.model_fields)
    workload = await insert_workload(connection, world, world.locked)
    await insert_workload(connection, world, world.draft, "TEST")
    replacement = await insert_replacement(connection, world, workload, status)
    for column, value in REPLACEMENT_VALUES.items():
        statement = f"UPDATE replacements SET {column} = {value} WHERE id = $1"  # noqa: S608  the same
        await refused(connection, statement, replacement, because="it has ended")
    rolling = "UPDATE replacements SET status = 'ROLLING', finished_at = NULL WHERE id = $1"
    await refused(connection, rolling, replacement, because="it has ended")
    kept = "UPDATE replacements SET message = message, status = status WHERE id = $1"
    assert await connection.execute(kept, replacement) == "UPDATE 1"
    # It goes with its workload.
    await connection.execute("UPDATE workloads SET status = 'TERMINATED' WHERE id = $1", workload)
    await connection.execute("DELETE FROM workloads WHERE id = $1", workload)
    assert await connection.fetchval("SELECT count(*) FROM replacements") == 0


async def test_versions_are_counted_one_by_one(connection: Connection, world: World) -> None:
    statement = "UPDATE repositories SET last_version = last_version + $1"
    for step in (-1, 2):
        await refused(connection, statement, step, because="versions have no gaps")
    assert await connection.execute(statement, 0) == "UPDATE 1"
