"""Writes that several actions share. Only actions and the reconciler import this."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import delete, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import tables
from app.domain import enums, ids, references, specification
from app.domain.people import GrantChange
from app.domain.validation import Tag

RECONCILE_CHANNEL = "slipway_reconcile"

TagRow = type[tables.RepositoryTagRow] | type[tables.ArtifactTagRow] | type[tables.WorkloadTagRow]
GrantRow = (
    type[tables.RepositoryGrantRow]
    | type[tables.ArtifactGrantRow]
    | type[tables.WorkloadGrantRow]
    | type[tables.CredentialGrantRow]
)


def new_id() -> UUID:
    """A UUIDv7: ids sort by creation."""
    return uuid_utils.compat.uuid7()


async def wake_reconcilers(session: AsyncSession) -> None:
    """Tell every reconciler, at commit, that a workload wants something."""
    await session.exec(text(f"NOTIFY {RECONCILE_CHANNEL}"))  # type: ignore[call-overload]


def record_event(
    session: AsyncSession,
    kind: enums.EventKind,
    subject: tuple[ids.Kind, UUID],
    *,
    at: datetime,
    actor_id: UUID | None,
    repository_id: UUID | None = None,
    artifact_id: UUID | None = None,
    workload_id: UUID | None = None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Add a line to the history, in the transaction of what it tells. `changes` holds no secret."""
    session.add(
        tables.EventRow(
            id=new_id(),
            at=at,
            actor_id=actor_id,
            kind=kind,
            subject_kind=subject[0].value,
            subject_id=subject[1],
            repository_id=repository_id,
            artifact_id=artifact_id,
            workload_id=workload_id,
            changes=None if changes is None else dict(changes),
        )
    )


async def change_tags(
    session: AsyncSession, table: TagRow, on: str, thing_id: UUID, tags: Sequence[Tag]
) -> dict[str, Any] | None:
    """Give a thing exactly these tags. `on` is the column that names the thing.

    Answers what changed as {"before", "after"}, each a map of names to values; None where nothing did.
    """
    owned = getattr(table, on) == thing_id
    rows: Any = select(table).where(owned).order_by(col(table.position))
    before = [Tag(each.name, each.value) for each in await session.exec(rows)]
    if before == list(tags):
        return None
    await session.exec(delete(table).where(owned))
    session.add_all(
        table(**{on: thing_id}, name=tag.name, value=tag.value, position=position) for position, tag in enumerate(tags)
    )
    return {"before": {tag.name: tag.value for tag in before}, "after": {tag.name: tag.value for tag in tags}}


async def change_grants(
    session: AsyncSession,
    table: GrantRow,
    on: str,
    thing_id: UUID,
    *,
    existing: Sequence[Any],
    changes: Sequence[GrantChange],
) -> None:
    """Give, change or take away roles."""
    by_subject = {(grant.user_id, grant.group_name): grant for grant in existing}
    for change in changes:
        subject = change.subject
        if subject is None:
            continue
        grant = by_subject.get((subject.user_id, subject.group_name))
        if grant is None and change.role is not None:
            named: dict[str, Any] = {on: thing_id, "user_id": subject.user_id, "group_name": subject.group_name}
            session.add(table(**named, id=new_id(), role=change.role))
        elif grant is not None and change.role is None:
            await session.delete(grant)
        elif grant is not None:
            grant.role = change.role


async def replace_specification(session: AsyncSession, artifact_id: UUID, spec: specification.Specification) -> None:
    """Store a specification. A container that has an `id` keeps its row, a new one gets one, the others go."""
    kept = [container.id for container in spec.containers if container.id is not None]
    stored = tables.ContainerRow
    await session.exec(delete(stored).where(col(stored.artifact_id) == artifact_id, col(stored.id).not_in(kept)))
    if kept:
        for part in (tables.EnvironmentVariableRow, tables.ProbeRow):
            await session.exec(delete(part).where(col(part.container_id).in_(kept)))
    for group_position, group in enumerate(spec.container_groups):
        for position, container in enumerate(group.containers):
            row = await session.merge(_container_row(artifact_id, group_position, group.name, position, container))
            await session.flush()
            session.add_all(_variable_rows(row.id, container))
            session.add_all(_probe_rows(row.id, container))
    await session.flush()


def _container_row(
    artifact_id: UUID, group_position: int, group_name: str, position: int, container: specification.Container
) -> tables.ContainerRow:
    return tables.ContainerRow(
        id=container.id or new_id(),
        artifact_id=artifact_id,
        group_position=group_position,
        group_name=group_name,
        position=position,
        name=container.name,
        description=container.description,
        image_uri=container.image_uri,
        image_name=references.name_of(container.image_uri),
        image_digest=container.image_digest,
        port=container.port,
        primary=container.primary,
        entrypoint=None if container.entrypoint is None else list(container.entrypoint),
    )


def _variable_rows(container_id: UUID, container: specification.Container) -> list[tables.EnvironmentVariableRow]:
    return [
        tables.EnvironmentVariableRow(
            container_id=container_id,
            position=position,
            name=variable.name,
            type=variable.type,
            value=variable.value,
            credential_id=variable.credential_id,
            field=variable.field,
        )
        for position, variable in enumerate(container.environment_vars)
    ]


def _probe_rows(container_id: UUID, container: specification.Container) -> list[tables.ProbeRow]:
    return [
        tables.ProbeRow(
            container_id=container_id,
            kind=kind,
            path=probe.path,
            port=probe.port,
            scheme=probe.scheme,
            headers=[{"name": header.name, "value": header.value} for header in probe.headers],
            initial_delay_seconds=probe.initial_delay_seconds,
            period_seconds=probe.period_seconds,
            timeout_seconds=probe.timeout_seconds,
            success_threshold=probe.success_threshold,
            failure_threshold=probe.failure_threshold,
        )
        for kind, probe in container.probes.items()
    ]
