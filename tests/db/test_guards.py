"""What the database itself refuses, tried by SQL as its owner."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.db import tables
from app.db.tables import external_ids
from tests.db import world as worlds
from tests.db.world import World, insert_workload, new_id

Connection = Any  # asyncpg's, which has no types of its own

# A new value for every column of a locked artifact's specification: all but those that say when it was touched.
ARTIFACT_VALUES = {
    "id": "gen_random_uuid()",
    "created_by_id": "(SELECT id FROM users WHERE username = 'grace')",
    "created_at": "now()",
    "repository_id": "(SELECT id FROM repositories WHERE name = 'other')",
    "name": "'other'",
    "description": "'other'",
    "type": "'AGENT'",
    "status": "'DRAFT'",
    "version": "9",
    "digest": "'sha256:ff'",
    "locked_by_id": "(SELECT id FROM users WHERE username = 'grace')",
    "locked_at": "now()",
    "cloned_from_id": "id",
}
ARTIFACT_FREE = {"revision": "revision + 1", "updated_at": "now()"}
CONTAINER_VALUES = {
    "id": "gen_random_uuid()",
    "artifact_id": "(SELECT id FROM artifacts WHERE status = 'DRAFT')",
    "group_position": "1",
    "group_name": "'other'",
    "position": "1",
    "name": "'other'",
    "description": "'other'",
    "image_uri": "'python:3.14'",
    "image_name": "'other'",
    "image_digest": "'sha256:ff'",
    "port": "9090",
    "primary": "false",
    "entrypoint": "'[]'",
}
VARIABLE_VALUES = {
    "container_id": "(SELECT c.id FROM containers c JOIN artifacts a ON a.id = c.artifact_id WHERE status = 'DRAFT')",
    "name": "'OTHER'",
    "position": "1",
    "type": "'STRING'",
    "value": "'other'",
    "credential_id": "NULL",
    "field": "'other'",
}
PROBE_VALUES = {
    "container_id": VARIABLE_VALUES["container_id"],
    "kind": "'LIVENESS'",
    "path": "'/other'",
    "port": "9090",
    "scheme": "'HTTPS'",
    "headers": "'[1]'",
    "initial_delay_seconds": "5",
    "period_seconds": "5",
    "timeout_seconds": "5",
    "success_threshold": "5",
    "failure_threshold": "5",
}
FROZEN: dict[str, tuple[Any, dict[str, str]]] = {
    "artifacts": (tables.ArtifactRow, ARTIFACT_VALUES),
    "containers": (tables.ContainerRow, CONTAINER_VALUES),
    "environment_variables": (tables.EnvironmentVariableRow, VARIABLE_VALUES),
    "probes": (tables.ProbeRow, PROBE_VALUES),
}
OF_LOCKED = {
    "artifacts": "id = '{world.locked}'",
    "containers": "artifact_id = '{world.locked}'",
    "environment_variables": "container_id = '{world.locked_container}'",
    "probes": "container_id = '{world.locked_container}'",
}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """The owner of the database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def world(connection: Connection) -> World:
    """The world, with another user and another repository for what changes hands."""
    world = await worlds.build(connection)
    grace, other = new_id(), new_id()
    await worlds.insert(
        connection, "users", id=grace, username="grace", display_name="Grace", admin=False, created_at=worlds.NOW
    )
    await worlds.insert(
        connection,
        "repositories",
        id=other,
        name="other",
        description="",
        type="SERVICE",
        revision=1,
        last_version=0,
        created_by_id=grace,
        created_at=worlds.NOW,
        updated_at=worlds.NOW,
    )
    return world


async def refused(connection: Connection, statement: str, *arguments: Any, because: str | None = None) -> None:
    """The statement is refused, with words where they are given, and nothing changed."""
    before = await worlds.snapshot(connection)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=because):
        await connection.execute(statement, *arguments)
    assert await worlds.snapshot(connection) == before


@pytest.mark.parametrize("table", FROZEN)
def test_every_column_of_the_specification_is_named_here(table: str) -> None:
    row, values = FROZEN[table]
    free = ARTIFACT_FREE if table == "artifacts" else {}
    assert set(row.__table__.columns.keys()) - {external_ids.COLUMN} == {*values, *free}


@pytest.mark.parametrize("table", FROZEN)
async def test_no_locked_column_changes(connection: Connection, world: World, table: str) -> None:
    where = OF_LOCKED[table].format(world=world)
    for column, value in FROZEN[table][1].items():
        statement = f'UPDATE {table} SET "{column}" = {value} WHERE {where}'  # noqa: S608
        await refused(connection, statement, because="the artifact is locked")


@pytest.mark.parametrize("table", FROZEN)
async def test_a_locked_row_is_not_deleted(connection: Connection, world: World, table: str) -> None:
    await refused(connection, f"DELETE FROM {table} WHERE {OF_LOCKED[table].format(world=world)}", because="locked")  # noqa: S608


@pytest.mark.parametrize("table", FROZEN)
@pytest.mark.parametrize("cascade", ["", "CASCADE"])
async def test_no_table_of_the_specification_is_truncated(
    connection: Connection, world: World, table: str, cascade: str
) -> None:
    before = await worlds.snapshot(connection)
    with pytest.raises((asyncpg.RestrictViolationError, asyncpg.FeatureNotSupportedError)):
        await connection.execute(f"TRUNCATE {table} {cascade}")
    assert await worlds.snapshot(connection) == before


@pytest.mark.parametrize("table", ["users", "repositories", "credentials", "workloads", "events"])
async def test_truncating_what_it_hangs_on_does_not_reach_it(connection: Connection, world: World, table: str) -> None:
    before = await worlds.snapshot(connection)
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute(f"TRUNCATE {table} CASCADE")
    assert await worlds.snapshot(connection) == before


async def test_nothing_is_added_to_a_locked_artifact(connection: Connection, world: World) -> None:
    before = await worlds.snapshot(connection)
    with pytest.raises(asyncpg.RestrictViolationError, match="containers: the artifact is locked"):
        await worlds.insert_container(connection, world.locked, new_id(), "second")
    with pytest.raises(asyncpg.RestrictViolationError, match="environment_variables: the artifact is locked"):
        await worlds.insert_variable(connection, world.locked_container, "OTHER")
    with pytest.raises(asyncpg.RestrictViolationError, match="probes: the artifact is locked"):
        await worlds.insert_probe(connection, world.locked_container, "STARTUP")
    assert await worlds.snapshot(connection) == before


@pytest.mark.parametrize("part", ["containers", "environment_variables", "probes"])
async def test_nothing_is_moved_into_a_locked_artifact(connection: Connection, world: World, part: str) -> None:
    column, source, target = (
        ("artifact_id", world.draft, world.locked)
        if part == "containers"
        else ("container_id", world.draft_container, world.locked_container)
    )
    await refused(
        connection,
        f"UPDATE {part} SET {column} = $2 WHERE {column} = $1",  # noqa: S608
        source,
        target,
        because="the artifact is locked",
    )


async def test_what_a_lock_leaves_open_stays_open(connection: Connection, world: World) -> None:
    for column, value in ARTIFACT_FREE.items():
        await connection.execute(f"UPDATE artifacts SET {column} = {value} WHERE id = $1", world.locked)  # noqa: S608
    await connection.execute("UPDATE artifact_tags SET value = 'ops' WHERE artifact_id = $1", world.locked)
    await worlds.insert(connection, "artifact_tags", artifact_id=world.locked, name="new", value="", position=1)
    await connection.execute("DELETE FROM artifact_tags WHERE artifact_id = $1 AND name = 'team'", world.locked)
    grant = new_id()
    await worlds.insert(
        connection, "artifact_grants", id=grant, artifact_id=world.locked, user_id=world.user, role="OWNER"
    )
    await connection.execute("UPDATE artifact_grants SET role = 'VIEWER' WHERE id = $1", grant)
    await connection.execute("DELETE FROM artifact_grants WHERE id = $1", grant)
    assert await connection.fetchval("SELECT revision FROM artifacts WHERE id = $1", world.locked) == 2
    tags = await connection.fetch("SELECT name FROM artifact_tags WHERE artifact_id = $1", world.locked)
    assert [tag["name"] for tag in tags] == ["new"]


# What other constraints hold, or what would make it another row.
ELSEWHERE = {
    *(("artifacts", column) for column in ("id", "type", "status", "version", "locked_by_id", "locked_at")),
    *(("artifacts", "cloned_from_id"), ("containers", "id"), ("containers", "artifact_id")),
    *(("environment_variables", "container_id"), ("probes", "container_id")),
}


@pytest.mark.parametrize("table", FROZEN)
async def test_a_draft_can_change(connection: Connection, world: World, table: str) -> None:
    drafted = dataclasses.replace(world, locked=world.draft, locked_container=world.draft_container)
    where = OF_LOCKED[table].format(world=drafted)
    for column, value in FROZEN[table][1].items():
        if (table, column) not in ELSEWHERE:
            statement = f'UPDATE {table} SET "{column}" = {value} WHERE {where}'  # noqa: S608
            transaction = connection.transaction()
            await transaction.start()
            assert await connection.execute(statement) == "UPDATE 1", column
            await transaction.rollback()


async def test_a_draft_goes_with_all_that_is_in_it(connection: Connection, world: World) -> None:
    assert await connection.execute("DELETE FROM artifacts WHERE id = $1", world.draft) == "DELETE 1"
    for table in ("containers", "environment_variables", "probes"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 1  # noqa: S608


async def test_a_container_stays_in_its_artifact(connection: Connection, world: World) -> None:
    """Otherwise a part could be added to a container that a concurrent transaction moves, and its target locked."""
    other = new_id()
    await connection.execute(
        "INSERT INTO artifacts (id, created_by_id, created_at, updated_at, repository_id, name, description, type,"
        " status, revision, digest) SELECT $1, created_by_id, created_at, updated_at, repository_id, name,"
        " description, type, 'DRAFT', 1, digest FROM artifacts WHERE id = $2",
        other,
        world.draft,
    )
    statement = "UPDATE containers SET artifact_id = $2, name = 'moved' WHERE artifact_id = $1"
    await refused(connection, statement, world.draft, other, because="a container stays in its artifact")


async def test_two_versions_of_one_repository_differ(connection: Connection, world: World) -> None:
    before = await worlds.snapshot(connection)
    with pytest.raises(asyncpg.UniqueViolationError):
        await worlds.lock(connection, world.draft, 1)
    assert await worlds.snapshot(connection) == before
    await worlds.lock(connection, world.draft, 2)


@pytest.mark.parametrize(
    "assignment",
    [
        "status = 'LOCKED'",
        "version = 2",
        "locked_at = now()",
        "locked_by_id = created_by_id",
        "status = 'LOCKED', version = 2, locked_at = now()",
        "status = 'LOCKED', version = 0, locked_at = now(), locked_by_id = created_by_id",
        "type = 'AGENT'",
    ],
)
async def test_a_lock_is_whole(connection: Connection, world: World, assignment: str) -> None:
    await refused(connection, f"UPDATE artifacts SET {assignment} WHERE id = $1", world.draft)  # noqa: S608


LIVE = ["SUBMITTED", "PROVISIONING", "LAUNCHING", "RUNNING", "INTERRUPTED", "STOPPING", "STOPPED", "ERRORED"]


async def test_a_draft_has_one_live_workload(connection: Connection, world: World) -> None:
    for status in LIVE:
        first = await insert_workload(connection, world, world.draft, "TEST", status)
        before = await worlds.snapshot(connection)
        with pytest.raises(asyncpg.UniqueViolationError, match="uq_workloads_one_live_test"):
            await insert_workload(connection, world, world.draft, "TEST")
        assert await worlds.snapshot(connection) == before
        await connection.execute("UPDATE workloads SET status = 'TERMINATED' WHERE id = $1", first)


async def test_a_service_runs_no_draft(connection: Connection, world: World) -> None:
    before = await worlds.snapshot(connection)
    for status in (*LIVE, "TERMINATED"):
        with pytest.raises(asyncpg.RestrictViolationError, match="a service runs a locked artifact"):
            await insert_workload(connection, world, world.draft, "SERVICE", status)
    assert await worlds.snapshot(connection) == before
    service = await insert_workload(connection, world, world.locked)
    trial = await insert_workload(connection, world, world.draft, "TEST")
    await refused(
        connection, "UPDATE workloads SET artifact_id = $2 WHERE id = $1", service, world.draft, because="a service"
    )
    become = "UPDATE workloads SET purpose = 'SERVICE', expires_at = NULL WHERE id = $1"
    await refused(connection, become, trial, because="a service")


async def test_a_test_runs_no_locked_artifact(connection: Connection, world: World) -> None:
    before = await worlds.snapshot(connection)
    with pytest.raises(asyncpg.RestrictViolationError, match="a test runs a draft"):
        await insert_workload(connection, world, world.locked, "TEST")
    assert await worlds.snapshot(connection) == before
    service = await insert_workload(connection, world, world.locked)
    trial = await insert_workload(connection, world, world.draft, "TEST")
    await refused(
        connection, "UPDATE workloads SET artifact_id = $2 WHERE id = $1", trial, world.locked, because="a test"
    )
    become = "UPDATE workloads SET purpose = 'TEST', expires_at = now() WHERE id = $1"
    await refused(connection, become, service, because="a test")


async def test_a_test_outlives_the_lock_and_may_become_a_service(connection: Connection, world: World) -> None:
    trial = await insert_workload(connection, world, world.draft, "TEST", "RUNNING")
    await worlds.lock(connection, world.draft, 2)
    await connection.execute("UPDATE workloads SET status = 'INTERRUPTED' WHERE id = $1", trial)
    become = "UPDATE workloads SET purpose = 'SERVICE', expires_at = NULL WHERE id = $1"
    assert await connection.execute(become, trial) == "UPDATE 1"


async def test_a_locked_artifact_has_any_number_of_services(connection: Connection, world: World) -> None:
    for _ in range(3):
        await insert_workload(connection, world, world.locked)
    assert await connection.fetchval("SELECT count(*) FROM workloads") == 3


async def test_a_live_workload_is_not_deleted(connection: Connection, world: World) -> None:
    trial = await insert_workload(connection, world, world.draft, "TEST")
    for status in LIVE:
        await connection.execute("UPDATE workloads SET status = $2 WHERE id = $1", trial, status)
        service = await insert_workload(connection, world, world.locked, "SERVICE", status)
        for live in (trial, service):
            await refused(connection, "DELETE FROM workloads WHERE id = $1", live, because="it has not ended")
        await refused(connection, "DELETE FROM artifacts WHERE id = $1", world.draft)
    await refused(connection, "TRUNCATE workloads CASCADE", because="TRUNCATE is refused")


async def test_an_ended_workload_does_not_come_back(connection: Connection, world: World) -> None:
    service = await insert_workload(connection, world, world.locked, "SERVICE", "TERMINATED")
    statement = "UPDATE workloads SET status = $2 WHERE id = $1"
    for status in LIVE:
        await refused(connection, statement, service, status, because="it has ended for good")


async def test_an_ended_workload_is_deleted(connection: Connection, world: World) -> None:
    trial = await insert_workload(connection, world, world.draft, "TEST", "TERMINATED")
    await worlds.insert(connection, "workload_tags", workload_id=trial, name="team", value="ml", position=0)
    assert await connection.execute("DELETE FROM workloads WHERE id = $1", trial) == "DELETE 1"
    assert await connection.execute("DELETE FROM artifacts WHERE id = $1", world.draft) == "DELETE 1"
    assert await connection.fetchval("SELECT count(*) FROM workload_tags") == 0


async def test_a_repository_that_holds_a_locked_artifact_stays(connection: Connection, world: World) -> None:
    await connection.execute("DELETE FROM artifacts WHERE id = $1", world.draft)
    await refused(connection, "DELETE FROM repositories WHERE id = $1", world.repository)
    assert await connection.execute("DELETE FROM repositories WHERE name = 'other'") == "DELETE 1"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET at = now()",
        "UPDATE events SET actor_id = NULL",
        "UPDATE events SET changes = NULL",
        "UPDATE events SET kind = 'ARTIFACT_LOCKED'",
        "DELETE FROM events",
        "TRUNCATE events",
    ],
)
async def test_the_history_is_append_only(connection: Connection, world: World, statement: str) -> None:
    await worlds.insert_event(connection, world)
    await refused(connection, statement, because="events: (UPDATE|DELETE|TRUNCATE) is refused")
    await worlds.insert_event(connection, world)


async def test_a_credential_stays_while_a_variable_points_at_it(connection: Connection, world: World) -> None:
    deletion = "DELETE FROM credentials WHERE id = $1"
    await refused(connection, deletion, world.credential)
    # Not even when only a draft points at it, and then only a workload.
    other = new_id()
    await worlds.insert(
        connection,
        "credentials",
        id=other,
        name="other",
        created_by_id=world.user,
        created_at=worlds.NOW,
        updated_at=worlds.NOW,
    )
    service = await insert_workload(connection, world, world.locked)
    await worlds.insert(connection, "workload_credential_uses", workload_id=service, credential_id=other, field="key")
    await worlds.insert(
        connection,
        "workload_variables",
        workload_id=service,
        container="main",
        name="KEY",
        position=0,
        type="CREDENTIAL",
        credential_id=other,
        field="key",
    )
    await refused(connection, deletion, other)
    await connection.execute("UPDATE workloads SET status = 'STOPPED' WHERE id = $1", service)
    await refused(connection, deletion, other)
    await connection.execute("UPDATE workloads SET status = 'TERMINATED' WHERE id = $1", service)
    assert await connection.execute(deletion, other) == "DELETE 1"
    kept = await connection.fetchrow("SELECT name, credential_id, field FROM workload_variables")
    assert tuple(kept) == ("KEY", None, "key")


EDITS = {
    "containers": "UPDATE containers SET image_uri = 'python:3.14' WHERE artifact_id = $1",
    "environment_variables": (
        "UPDATE environment_variables SET value = 'other'"
        " WHERE container_id = (SELECT id FROM containers WHERE artifact_id = $1)"
    ),
    "probes": (
        "UPDATE probes SET path = 'other' WHERE container_id = (SELECT id FROM containers WHERE artifact_id = $1)"
    ),
    "a new one": (
        "INSERT INTO environment_variables (container_id, name, position, type, value)"
        " SELECT id, 'NEW', 1, 'STRING', 'new' FROM containers WHERE artifact_id = $1"
    ),
    "artifacts": "UPDATE artifacts SET name = 'other' WHERE id = $1",
}


async def waits(watcher: Connection, pid: int) -> None:
    """Until that connection waits for a lock."""
    async with asyncio.timeout(10):
        while not await watcher.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_an_edit_that_meets_a_lock_in_flight_is_refused(
    connection: Connection, world: World, database_url: str, edit: str, isolation: str
) -> None:
    other = await asyncpg.connect(database_url)
    locking = connection.transaction()
    await locking.start()
    await worlds.lock(connection, world.draft, 2)
    editing = other.transaction(isolation=isolation)
    await editing.start()
    pid = await other.fetchval("SELECT pg_backend_pid()")
    task = asyncio.create_task(other.execute(EDITS[edit], world.draft))
    watcher = await asyncpg.connect(database_url)
    await waits(watcher, pid)
    await locking.commit()
    before = await worlds.snapshot(connection)
    with pytest.raises((asyncpg.RestrictViolationError, asyncpg.SerializationError)):
        await task
    await editing.rollback()
    assert await worlds.snapshot(connection) == before
    await other.close()
    await watcher.close()


@pytest.mark.parametrize("edit", EDITS)
async def test_a_lock_waits_for_an_edit_in_flight(
    connection: Connection, world: World, database_url: str, edit: str
) -> None:
    other, watcher = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    editing = other.transaction()
    await editing.start()
    await other.execute(EDITS[edit], world.draft)
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    task = asyncio.create_task(worlds.lock(connection, world.draft, 2))
    await waits(watcher, pid)
    await editing.commit()
    await task
    with pytest.raises(asyncpg.RestrictViolationError):
        await other.execute(EDITS[edit].replace("'other'", "'third'").replace("'NEW'", "'THIRD'"), world.draft)
    await other.close()
    await watcher.close()


async def test_two_tests_of_one_draft_at_once_one_wins(connection: Connection, world: World, database_url: str) -> None:
    other, watcher = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    first = connection.transaction()
    await first.start()
    await insert_workload(connection, world, world.draft, "TEST")
    pid = await other.fetchval("SELECT pg_backend_pid()")
    task = asyncio.create_task(insert_workload(other, world, world.draft, "TEST"))
    await waits(watcher, pid)
    await first.commit()
    with pytest.raises(asyncpg.UniqueViolationError):
        await task
    assert await connection.fetchval("SELECT count(*) FROM workloads") == 1
    await other.close()
    await watcher.close()
