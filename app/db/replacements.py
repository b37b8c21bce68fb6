"""Writes about replacements, for the actions that ask for them and the reconciler that carries them out.

What is rolled out stands in the replacement's row until it takes over; then the workload has it. Meanwhile the
credentials of both are in use.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import tables, writes
from app.domain import environment, ids, specification
from app.domain.enums import EventKind, ReplacementStatus
from app.domain.environment import Override
from app.domain.specification import EnvironmentVariable, Specification

Pointer = tuple[UUID, str]
"""A credential, and the key of it."""


async def overrides(session: AsyncSession, workload_id: UUID) -> list[Override]:
    """The overrides of a workload as it serves now, in order."""
    row = tables.WorkloadVariableRow
    found = await session.exec(select(row).where(col(row.workload_id) == workload_id).order_by(col(row.position)))
    return [
        (each.container, EnvironmentVariable(each.name, each.type, each.value, each.credential_id, each.field))
        for each in found
    ]


async def set_overrides(session: AsyncSession, workload_id: UUID, given: Sequence[Override]) -> None:
    """Give a workload exactly these overrides."""
    row = tables.WorkloadVariableRow
    await session.exec(delete(row).where(col(row.workload_id) == workload_id))
    session.add_all(
        row(
            workload_id=workload_id,
            container=container,
            name=variable.name,
            position=position,
            type=variable.type,
            value=variable.value,
            credential_id=variable.credential_id,
            field=variable.field,
        )
        for position, (container, variable) in enumerate(given)
    )


def pointers(spec: Specification, given: Iterable[Override]) -> set[Pointer]:
    """What a workload needs of credentials."""
    variables = [variable for _, variable in given]
    variables += [variable for container in spec.containers for variable in container.environment_vars]
    return {
        (variable.credential_id, variable.field)
        for variable in variables
        if variable.credential_id is not None and variable.field is not None
    }


async def set_credential_uses(session: AsyncSession, workload_id: UUID, needed: Collection[Pointer]) -> None:
    """Record that a workload needs exactly these keys."""
    row = tables.WorkloadCredentialUseRow
    await session.exec(delete(row).where(col(row.workload_id) == workload_id))
    session.add_all(
        row(workload_id=workload_id, credential_id=credential_id, field=field)
        for credential_id, field in sorted(needed, key=str)
    )


async def rolling(session: AsyncSession, workload_id: UUID) -> tables.ReplacementRow | None:
    """The replacement that is under way."""
    row = tables.ReplacementRow
    statement = select(row).where(col(row.workload_id) == workload_id, col(row.status) == ReplacementStatus.ROLLING)
    return (await session.exec(statement)).one_or_none()


async def taken_over(session: AsyncSession, replacement: tables.ReplacementRow) -> dict[str, Any]:
    """The columns of a workload that runs what is rolled out."""
    artifact = tables.ArtifactRow
    owner = select(artifact.repository_id).where(col(artifact.id) == replacement.to_artifact_id)
    return {
        "artifact_id": replacement.to_artifact_id,
        "repository_id": (await session.exec(owner)).one(),
        "digest": replacement.digest,
        "specification": replacement.specification,
        "replicas": replacement.replicas,
        "resources": replacement.resources,
        "launch": replacement.launch,
        "launched_at": replacement.begun_at,
    }


async def finish(
    session: AsyncSession,
    workload: tables.WorkloadRow,
    replacement: tables.ReplacementRow,
    status: ReplacementStatus,
    message: str | None,
    now: datetime,
    *,
    actor_id: UUID | None = None,
) -> None:
    """Record how a replacement ended. What the columns of the workload hold then is the caller's to write."""
    stored = await session.merge(replacement)
    stored.status = status
    stored.message = message
    stored.finished_at = now
    if status is ReplacementStatus.COMPLETED:
        given = environment.overrides_from_json(replacement.environment)
        spec = specification.from_json(replacement.specification)
        await set_overrides(session, workload.id, given)
    else:
        given = await overrides(session, workload.id)
        spec = specification.from_json(workload.specification)
    await set_credential_uses(session, workload.id, pointers(spec, given))
    record(session, workload, stored, now, actor_id)


async def cancel(session: AsyncSession, workload: tables.WorkloadRow, now: datetime, actor_id: UUID | None) -> None:
    """End the replacement that is under way, if there is one: something else is asked for."""
    replacement = await rolling(session, workload.id)
    if replacement is not None:
        await finish(session, workload, replacement, ReplacementStatus.CANCELLED, None, now, actor_id=actor_id)


def record(
    session: AsyncSession,
    workload: tables.WorkloadRow,
    replacement: tables.ReplacementRow,
    now: datetime,
    actor_id: UUID | None,
) -> None:
    """Add to the history how a replacement is going."""
    writes.record_event(
        session,
        EventKind.WORKLOAD_REPLACED,
        (ids.Kind.WORKLOAD, workload.id),
        at=now,
        actor_id=actor_id,
        repository_id=workload.repository_id,
        artifact_id=workload.artifact_id,
        workload_id=workload.id,
        changes={
            "replacement": ids.encode(ids.Kind.REPLACEMENT, replacement.id),
            "status": replacement.status.value,
            "from": ids.encode(ids.Kind.ARTIFACT, replacement.from_artifact_id),
            "to": ids.encode(ids.Kind.ARTIFACT, replacement.to_artifact_id),
            "message": replacement.message,
        },
    )
