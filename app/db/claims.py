"""The reconciler's statements: it claims workloads for a while, records what it saw, and lets go of them.

A claim is a lease: whoever holds one may work on the row until the lease ends, and what is recorded counts only while
the lease and the generation that was read still stand. Times of leases are the database's, so that servers whose
clocks differ agree about them.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, or_, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import replacements, tables, writes
from app.db.values import among
from app.domain import ids, planning
from app.domain.enums import EventKind, ReplacementStatus, Wanted, WorkloadPurpose, WorkloadStatus

EXPIRED_MESSAGE = "The test has reached its end."
EXPIRED_AT_ONCE = 100

KEEP: Final = "KEEP"
"""Instead of a delay: the lease is kept, and begins anew."""

_AT_REST = (WorkloadStatus.STOPPED, WorkloadStatus.TERMINATED)
_row = tables.WorkloadRow


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """Let go of a workload: `delay_seconds` from now it is due again, None for when something happens to it."""

    workload_id: UUID
    generation: int
    delay_seconds: float | None


def _in_seconds(seconds: float) -> Any:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A workload that was claimed, and the replacement of it that is under way."""

    row: tables.WorkloadRow
    replacement: tables.ReplacementRow | None = None


async def claim(
    session: AsyncSession, holder: UUID, *, woken: Collection[UUID], limit: int, lease_seconds: float
) -> Sequence[Claim]:
    """Take up to `limit` workloads that are due, or that are among `woken`, and that nobody holds."""
    due = (
        select(col(_row.id))
        .where(
            or_(col(_row.reconcile_at) <= func.now(), among(_row.id, list(woken))),
            or_(col(_row.lease_until).is_(None), col(_row.lease_until) < func.now()),
        )
        .order_by(col(_row.reconcile_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement: Any = (
        update(_row)
        .where(col(_row.id).in_(due))
        .values(lease_holder=holder, lease_until=_in_seconds(lease_seconds))
        .returning(_row)
        .execution_options(synchronize_session=False)
    )
    claimed: Sequence[tables.WorkloadRow] = (await session.exec(statement)).scalars().all()
    if not claimed:
        return ()
    replacement = tables.ReplacementRow
    rolling = await session.exec(
        select(replacement).where(
            among(replacement.workload_id, [row.id for row in claimed]),
            col(replacement.status) == ReplacementStatus.ROLLING,
        )
    )
    under_way = {each.workload_id: each for each in rolling}
    return [Claim(row, under_way.get(row.id)) for row in claimed]


async def release(session: AsyncSession, holder: UUID, releases: Collection[Release]) -> None:
    """Let go of workloads about which there is nothing to record. One that changed meanwhile stays due."""
    statement: Any = text("""
        UPDATE workloads SET
            lease_holder = NULL,
            lease_until = NULL,
            reconcile_at = CASE
                WHEN workloads.generation = each.generation THEN now() + make_interval(secs => each.delay)
                ELSE workloads.reconcile_at
            END
        FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS int[]), CAST(:delays AS float[]))
            AS each (id, generation, delay)
        WHERE workloads.id = each.id AND workloads.lease_holder = :holder
    """)
    values = {
        "holder": holder,
        "ids": [each.workload_id for each in releases],
        "generations": [each.generation for each in releases],
        "delays": [each.delay_seconds for each in releases],
    }
    await session.exec(statement, params=values)


async def record(
    session: AsyncSession,
    holder: UUID,
    claimed: Claim,
    plan: planning.Plan,
    *,
    now: datetime,
    then: float | str | None,
    lease_seconds: float,
) -> Mapping[str, Any] | None:
    """Store what a plan says of a workload and of its replacement, with an event for each status on the way.

    `then` is the delay of the release, or `KEEP`. Answers what the columns of the workload hold now; None where nothing
    is stored, because the lease was lost or someone has asked for something else meanwhile.
    """
    row = claimed.row
    way = planning.path(row.status, plan.status)
    values: dict[str, Any] = {
        "status": plan.status,
        "status_reason": plan.reason,
        "status_message": plan.message,
        "was_ready": plan.was_ready,
        "ready_replicas": plan.ready_replicas,
        "container_statuses": list(plan.container_statuses),
        "addresses": list(plan.addresses),
        "draining": list(plan.draining),
        "launched_at": plan.launched_at or row.launched_at,
    }
    replacement = claimed.replacement
    if replacement is not None and plan.outcome is not None and plan.outcome.status is ReplacementStatus.COMPLETED:
        values |= await replacements.taken_over(session, replacement)
    if way or plan.outcome is not None:
        values["updated_at"] = now
    if WorkloadStatus.LAUNCHING in way:
        values["started_at"] = now
    if way and plan.status in _AT_REST:
        values["stopped_at"] = now
    lease: dict[str, Any] = {"lease_until": _in_seconds(lease_seconds)}
    if then != KEEP:
        due = None if then is None else _in_seconds(float(then))
        lease = {"lease_holder": None, "lease_until": None, "reconcile_at": due}
    statement: Any = (
        update(_row)
        .where(
            col(_row.id) == row.id,
            col(_row.generation) == row.generation,
            col(_row.lease_holder) == holder,
            col(_row.lease_until) > func.now(),
        )
        .values(**values, **lease)
        .returning(col(_row.id))
        .execution_options(synchronize_session=False)
    )
    if (await session.exec(statement)).one_or_none() is None:
        return None
    if replacement is not None and plan.outcome is not None:
        outcome = plan.outcome
        await replacements.finish(session, row, replacement, outcome.status, outcome.message, now)
    elif replacement is not None and plan.successor_begun_at not in {None, replacement.begun_at}:
        (await session.merge(replacement)).begun_at = plan.successor_begun_at
    for before, after in zip((row.status, *way), way, strict=False):
        _record_status(session, row, before, after, plan.reason if after is plan.status else None, now)
    return values


def _over() -> tuple[Any, ...]:
    """The tests whose time is over."""
    return (
        col(_row.purpose) == WorkloadPurpose.TEST,
        col(_row.status) != WorkloadStatus.TERMINATED,
        col(_row.wanted) != Wanted.TERMINATED,
        col(_row.expires_at) <= func.now(),
    )


async def any_expired(session: AsyncSession) -> bool:
    """Whether there is a test whose time is over: asked every second, and seldom so."""
    return (await session.exec(select(col(_row.id)).where(*_over()).limit(1))).first() is not None


async def expire(session: AsyncSession, now: datetime) -> int:
    """End the tests whose time is over. Answers how many."""
    over = (
        select(_row)
        .where(*_over())
        .order_by(col(_row.expires_at))
        .limit(EXPIRED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    rows = (await session.exec(over)).all()
    for row in rows:
        await replacements.cancel(session, row, now, None)
        if row.status is not WorkloadStatus.STOPPING:
            _record_status(session, row, row.status, WorkloadStatus.STOPPING, planning.EXPIRED, now)
        row.status = WorkloadStatus.STOPPING
        row.status_reason = planning.EXPIRED
        row.status_message = EXPIRED_MESSAGE
        row.wanted = Wanted.TERMINATED
        row.generation += 1
        row.updated_at = now
        row.reconcile_at = now
        session.add(row)
    return len(rows)


async def take_over(session: AsyncSession) -> None:
    """Make every live workload due, whoever held it: for the only reconciler that may work now."""
    statement = (
        update(_row)
        .where(or_(col(_row.status).not_in(_AT_REST), col(_row.lease_holder).is_not(None)))
        .values(reconcile_at=func.now(), lease_holder=None, lease_until=None)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def release_all(session: AsyncSession, holder: UUID) -> None:
    """Let go of everything; what was being worked on is due at once."""
    statement = (
        update(_row)
        .where(col(_row.lease_holder) == holder)
        .values(reconcile_at=func.now(), lease_holder=None, lease_until=None)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def version(session: AsyncSession, artifact_id: UUID) -> int | None:
    """The version of an artifact; None of a draft."""
    row = tables.ArtifactRow
    return (await session.exec(select(col(row.version)).where(col(row.id) == artifact_id))).one_or_none()


async def statuses(session: AsyncSession, workload_ids: Collection[UUID]) -> Mapping[UUID, WorkloadStatus]:
    """The statuses of those workloads that exist."""
    found = await session.exec(select(_row.id, _row.status).where(among(_row.id, list(workload_ids))))
    return {workload_id: WorkloadStatus(status) for workload_id, status in found}


async def heartbeat(session: AsyncSession, name: str, *, available: bool, message: str) -> None:
    """Record how a runtime is doing."""
    values: dict[str, Any] = {"available": available, "message": message, "seen_at": func.now()}
    statement: Any = insert(tables.RuntimeRow).values(name=name, **values)
    await session.exec(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def _record_status(
    session: AsyncSession,
    row: tables.WorkloadRow,
    before: WorkloadStatus,
    after: WorkloadStatus,
    reason: str | None,
    now: datetime,
) -> None:
    writes.record_event(
        session,
        EventKind.WORKLOAD_STATUS,
        (ids.Kind.WORKLOAD, row.id),
        at=now,
        actor_id=None,
        repository_id=row.repository_id,
        artifact_id=row.artifact_id,
        workload_id=row.id,
        changes={"status": {"before": before.value, "after": after.value}, "reason": reason},
    )
