"""What the tests of concurrency share: calls that meet, by chance or in a given order, and what holds after them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, select

from app.db import reads, tables, writes
from app.domain import ids, specification
from tests.harness import Client, Slipway

Result = dict[str, Any]
Call = Callable[[], Awaitable[Result]]

_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


def call(client: Client, mutation: str, selection: str = "__typename", /, **given: Any) -> Call:
    """A mutation to be made later."""
    return lambda: client.mutate(mutation, selection, **given)


def said(results: Iterable[Result]) -> tuple[str, ...]:
    """Each result in a word: done, or its problem, or the codes of its blockers or issues."""
    words = []
    for result in results:
        name = result["__typename"]
        told = result.get("blockers") or result.get("issues")
        words.append(" ".join(each["code"] for each in told) if told else "done" if name.endswith("Payload") else name)
    return tuple(words)


async def at_once(turn: int, *calls: Call) -> list[Result]:
    """Make the calls at once; in every other turn the last starts first. The results are in the order of the calls."""
    step = -1 if turn % 2 else 1
    return list(await asyncio.gather(*(each() for each in calls[::step])))[::step]


async def in_line(slipway: Slipway, table: Any, row_id: str, *calls: Call) -> list[Result]:
    """Let the calls wait for the lock of a row, one behind the other, and then go.

    So each has read all that it reads without the lock, and must decide on what the one before it left.
    """
    tasks: list[asyncio.Future[Result]] = []
    async with slipway.session() as session:
        await session.exec(select(table.id).where(col(table.id) == uuid(row_id)).with_for_update())
        for each in calls:
            tasks.append(asyncio.ensure_future(each()))
            await until_waiting(slipway, len(tasks))
    return list(await asyncio.gather(*tasks))


async def until_waiting(slipway: Slipway, count: int) -> None:
    """Return when so many connections wait for a lock."""
    async with slipway.database.read() as session, asyncio.timeout(20):
        connection = await session.connection()
        while (await connection.execute(_WAITING)).scalar_one() < count:
            await asyncio.sleep(0.002)


async def drafts(slipway: Slipway, like: Mapping[str, Any], count: int) -> list[str]:
    """The ids of new drafts in the repository of this one: copies of its rows."""
    artifact, grant, container = tables.ArtifactRow, tables.ArtifactGrantRow, tables.ContainerRow
    async with slipway.session() as session:
        stored = (await session.exec(select(artifact).where(col(artifact.id) == uuid(like["id"])))).one()
        granted = (await session.exec(select(grant).where(col(grant.artifact_id) == stored.id))).one()
        contained = (await session.exec(select(container).where(col(container.artifact_id) == stored.id))).one()
        new = [artifact(**{**stored.model_dump(), "id": writes.new_id()}) for _ in range(count)]
        session.add_all(new)
        await session.flush()
        for row in new:
            of_it = {"id": writes.new_id(), "artifact_id": row.id}
            session.add(grant(**{**granted.model_dump(), **of_it}))
            session.add(container(**{**contained.model_dump(), **of_it}))
    return [ids.encode(ids.Kind.ARTIFACT, row.id) for row in new]


async def container_of(slipway: Slipway, artifact_id: str) -> str:
    """The id of the only container of an artifact."""
    (found,) = await rows(slipway, tables.ContainerRow, col(tables.ContainerRow.artifact_id) == uuid(artifact_id))
    return ids.encode(ids.Kind.CONTAINER, found.id)


async def rows(slipway: Slipway, table: Any, *conditions: Any) -> list[Any]:
    """The rows of a table, in the order of their creation."""
    async with slipway.database.read() as session:
        return list((await session.exec(select(table).where(*conditions).order_by(table.id))).all())


def uuid(thing_id: str) -> UUID:
    """The UUID in an id."""
    decoded = ids.decode(thing_id)
    assert decoded is not None
    return decoded[1]


async def assert_sound(slipway: Slipway) -> None:
    """What holds whatever happened: versions without gap or duplicate, specifications as they were locked, one test."""
    artifacts = await rows(slipway, tables.ArtifactRow)
    for repository in await rows(slipway, tables.RepositoryRow):
        versions = sorted(each.version for each in artifacts if each.repository_id == repository.id and each.version)
        assert versions == list(range(1, repository.last_version + 1))
    event = tables.EventRow
    locked = {
        each.subject_id: each.changes for each in await rows(slipway, event, col(event.kind) == "ARTIFACT_LOCKED")
    }
    async with slipway.database.read() as session:
        stored = await reads.specifications(session, [each.id for each in artifacts])
    for each in artifacts:
        assert specification.digest(stored[each.id]) == each.digest
        if each.version is not None:
            assert locked[each.id] == {"version": {"before": None, "after": each.version}, "digest": each.digest}
    live = await rows(slipway, tables.WorkloadRow, col(tables.WorkloadRow.status) != "TERMINATED")
    tests = [each.artifact_id for each in live if each.purpose == "TEST"]
    assert len(tests) == len(set(tests))
