"""What mutations leave in the database: the history, the rows of workloads, and nothing where they are refused."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select

from app.db import tables
from app.domain import ids
from tests import snapshots
from tests.harness import Slipway

Line = tuple[str, str, str | None, Any]


async def read(slipway: Slipway) -> list[Line]:
    """Every line, oldest first: (kind, id of the subject, username of the actor, changes)."""
    row, user = tables.EventRow, tables.UserRow
    statement = select(row, user.username).join(user, col(user.id) == col(row.actor_id), isouter=True)
    async with slipway.session() as session:
        found = await session.exec(statement.order_by(col(row.id)))
        return [
            (event.kind.value, ids.encode(ids.Kind(event.subject_kind), event.subject_id), username, event.changes)
            for event, username in found
        ]


@contextlib.asynccontextmanager
async def written(slipway: Slipway) -> AsyncIterator[list[Line]]:
    """The lines that are written inside."""
    before = len(await read(slipway))
    lines: list[Line] = []
    yield lines
    lines.extend((await read(slipway))[before:])


@contextlib.asynccontextmanager
async def unchanged(slipway: Slipway) -> AsyncIterator[None]:
    """Nothing that happens inside changes a row."""
    before = await snapshots.dump(slipway)
    yield
    assert await snapshots.dump(slipway) == before


async def workload(slipway: Slipway, workload_id: str) -> tables.WorkloadRow:
    """The row of a workload, as a reconciler will find it."""
    async with slipway.session() as session:
        found = await session.get(tables.WorkloadRow, ids.decode_as(ids.Kind.WORKLOAD, workload_id))
        assert found is not None
        return found


async def put(slipway: Slipway, workload_id: str, status: str, **seen: Any) -> None:
    """What a reconciler would record: the workload stands there now."""
    row = tables.WorkloadRow
    where = col(row.id) == ids.decode_as(ids.Kind.WORKLOAD, workload_id)
    async with slipway.session() as session:
        await session.exec(update(row).where(where).values(status=status, **seen))
