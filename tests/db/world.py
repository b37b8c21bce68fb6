"""A small world, written by SQL alone: a locked artifact with everything in it, a draft, and what runs."""

import dataclasses
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import uuid_utils.compat

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def new_id() -> UUID:
    """Like those of the server."""
    return uuid_utils.compat.uuid7()


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """The ids of what there is."""

    user: UUID
    repository: UUID
    locked: UUID
    locked_container: UUID
    draft: UUID
    draft_container: UUID
    credential: UUID


async def insert(connection: Any, table: str, **values: Any) -> None:
    """One row."""
    columns = ", ".join(f'"{name}"' for name in values)
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", *values.values())  # noqa: S608


async def build(connection: asyncpg.Connection) -> World:
    """The world."""
    world = World(*(new_id() for _ in dataclasses.fields(World)))
    made = {"created_by_id": world.user, "created_at": NOW, "updated_at": NOW}
    await insert(connection, "users", id=world.user, username="ada", display_name="Ada", admin=False, created_at=NOW)
    await insert(connection, "credentials", id=world.credential, name="key", **made)
    await insert(
        connection,
        "repositories",
        id=world.repository,
        name="hello",
        description="",
        type="SERVICE",
        revision=1,
        last_version=1,
        **made,
    )
    for artifact, container in ((world.locked, world.locked_container), (world.draft, world.draft_container)):
        await insert(
            connection,
            "artifacts",
            id=artifact,
            repository_id=world.repository,
            name="hello",
            description="",
            type="SERVICE",
            status="DRAFT",
            revision=1,
            digest="sha256:00",
            **made,
        )
        await insert_container(connection, artifact, container)
        await insert_variable(connection, container, "KEY", world.credential)
        await insert_probe(connection, container, "READINESS")
        await insert(connection, "artifact_tags", artifact_id=artifact, name="team", value="ml", position=0)
    await lock(connection, world.locked, 1)
    return world


async def lock(connection: Any, artifact: UUID, version: int) -> None:
    """Freeze a draft."""
    await connection.execute(
        "UPDATE artifacts SET status = 'LOCKED', version = $2, locked_at = $3, locked_by_id = created_by_id"
        " WHERE id = $1",
        artifact,
        version,
        NOW,
    )


async def insert_container(connection: Any, artifact: UUID, container: UUID, name: str = "main") -> None:
    """A container."""
    await insert(
        connection,
        "containers",
        id=container,
        artifact_id=artifact,
        group_position=0,
        group_name="default",
        position=0,
        name=name,
        description="",
        image_uri="python:3.13",
        image_name="python",
        port=8080,
        primary=True,
    )


async def insert_variable(connection: Any, container: UUID, name: str, credential: UUID | None = None) -> None:
    """A variable; with a credential, one that points at it."""
    await insert(
        connection,
        "environment_variables",
        container_id=container,
        name=name,
        position=0,
        type="STRING" if credential is None else "CREDENTIAL",
        value="value" if credential is None else None,
        credential_id=credential,
        field=None if credential is None else "key",
    )


async def insert_probe(connection: Any, container: UUID, kind: str) -> None:
    """A probe."""
    await insert(
        connection,
        "probes",
        container_id=container,
        kind=kind,
        path="/",
        port=8080,
        scheme="HTTP",
        headers="[]",
        initial_delay_seconds=0,
        period_seconds=10,
        timeout_seconds=1,
        success_threshold=1,
        failure_threshold=3,
    )


async def insert_workload(
    connection: Any, world: World, artifact: UUID, purpose: str = "SERVICE", status: str = "SUBMITTED"
) -> UUID:
    """A workload; answers its id."""
    workload = new_id()
    await insert(
        connection,
        "workloads",
        id=workload,
        created_by_id=world.user,
        created_at=NOW,
        updated_at=NOW,
        artifact_id=artifact,
        repository_id=world.repository,
        purpose=purpose,
        name="hello",
        description="",
        importance="LOW",
        status=status,
        digest="sha256:00",
        specification="{}",
        replicas=1,
        ready_replicas=0,
        resources="[]",
        revision=1,
        expires_at=NOW if purpose == "TEST" else None,
        wanted="RUNNING",
        generation=1,
        launch=1,
        last_launch=1,
        launched_at=NOW,
        was_ready=False,
        container_statuses="[]",
        addresses="[]",
        draining="[]",
    )
    return workload


async def insert_replacement(
    connection: Any, world: World, workload: UUID, status: str = "ROLLING", to: UUID | None = None
) -> UUID:
    """A replacement of a workload by its own artifact in another configuration, or by another one; answers its id."""
    replacement = new_id()
    await insert(
        connection,
        "replacements",
        id=replacement,
        workload_id=workload,
        from_artifact_id=world.locked,
        to_artifact_id=to or world.locked,
        status=status,
        message=None,
        requested_by_id=world.user,
        started_at=NOW,
        finished_at=None if status == "ROLLING" else NOW,
        launch=2,
        begun_at=NOW,
        digest="sha256:00",
        specification="{}",
        replicas=1,
        resources="[]",
        environment="[]",
    )
    return replacement


async def insert_event(connection: Any, world: World) -> UUID:
    """A line of the history; answers its id."""
    event = new_id()
    await insert(
        connection,
        "events",
        id=event,
        at=NOW,
        actor_id=world.user,
        kind="ARTIFACT_CREATED",
        subject_kind="art",
        subject_id=world.locked,
        changes="{}",
    )
    return event


async def snapshot(connection: Any) -> dict[str, list[Any]]:
    """Every row of every table, to see that a refusal changed nothing."""
    names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {
        name: [row for (row,) in await connection.fetch(f'SELECT each::text FROM "{name}" AS each ORDER BY 1')]  # noqa: S608
        for (name,) in names
        if name != "alembic_version"
    }
