"""Sharing: roles given and taken away, on all four kinds of things that have them, by one rule."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.actions import context as acting, workloads
from app.actions.context import Context, Row
from app.db import tables, writes
from app.domain import ids, validation
from app.domain.enums import EventKind, Role, WorkloadAction
from app.domain.people import GrantChange, Subject

GRANTS_ON_ONE_THING_MAXIMUM = 500


async def share_repository(
    context: Context, repository_id: UUID, if_revision: int | None, changes: Sequence[GrantChange]
) -> UUID:
    """Change who may what on a repository and everything in it."""
    async with context.database.transaction() as session:
        repository = await _owned(context, session, tables.RepositoryRow, repository_id)
        acting.check_revision(repository.revision, if_revision)
        changed = await _change(session, tables.RepositoryGrantRow, "repository_id", repository_id, changes=changes)
        if changed:
            repository.revision += 1
            repository.updated_at = context.now
            kind = EventKind.REPOSITORY_SHARED
            _record(context, session, kind, (ids.Kind.REPOSITORY, repository_id), changed, repository_id=repository_id)
        return repository_id


async def share_artifact(
    context: Context, artifact_id: UUID, if_revision: int | None, changes: Sequence[GrantChange]
) -> UUID:
    """Change who may what on an artifact and its workloads."""
    async with context.database.transaction() as session:
        repository, artifact, held = await acting.lock_artifact(session, artifact_id, context.viewer)
        acting.authorize(context.viewer, held, Role.OWNER)
        acting.check_revision(artifact.revision, if_revision)
        changed = await _change(session, tables.ArtifactGrantRow, "artifact_id", artifact_id, changes=changes)
        if changed:
            artifact.revision += 1
            artifact.updated_at = repository.updated_at = context.now
            above = {"repository_id": repository.id, "artifact_id": artifact_id}
            _record(context, session, EventKind.ARTIFACT_SHARED, (ids.Kind.ARTIFACT, artifact_id), changed, **above)
        return artifact_id


async def share_workload(
    context: Context, workload_id: UUID, if_revision: int | None, changes: Sequence[GrantChange]
) -> UUID:
    """Change who may what on a workload."""
    async with context.database.transaction() as session:
        workload = await _owned(context, session, tables.WorkloadRow, workload_id)
        acting.check_revision(workload.revision, if_revision)

        async def allowed() -> None:
            known = await workloads.facts(context, session, workload, Role.OWNER)
            acting.require_available(WorkloadAction.SHARE, known)

        changed = await _change(
            session, tables.WorkloadGrantRow, "workload_id", workload_id, changes=changes, allowed=allowed
        )
        if changed:
            workload.revision += 1
            workload.updated_at = context.now
            above = {
                "repository_id": workload.repository_id,
                "artifact_id": workload.artifact_id,
                "workload_id": workload_id,
            }
            _record(context, session, EventKind.WORKLOAD_SHARED, (ids.Kind.WORKLOAD, workload_id), changed, **above)
        return workload_id


async def share_credential(context: Context, credential_id: UUID, changes: Sequence[GrantChange]) -> UUID:
    """Change who may what with a credential."""
    async with context.database.transaction() as session:
        credential = await _owned(context, session, tables.CredentialRow, credential_id)
        changed = await _change(session, tables.CredentialGrantRow, "credential_id", credential_id, changes=changes)
        if changed:
            credential.updated_at = context.now
            kind = EventKind.CREDENTIAL_SHARED
            _record(context, session, kind, (ids.Kind.CREDENTIAL, credential_id), changed)
        return credential_id


async def _owned(context: Context, session: AsyncSession, table: type[Row], row_id: UUID) -> Row:
    row, held = await acting.lock_row(session, table, row_id, context.viewer)
    acting.authorize(context.viewer, held, Role.OWNER)
    return row


async def _change(
    session: AsyncSession,
    table: writes.GrantRow,
    on: str,
    thing_id: UUID,
    *,
    changes: Sequence[GrantChange],
    allowed: Callable[[], Any] | None = None,
) -> list[dict[str, str | None]]:
    """Check and apply; answers what changed, for the history."""
    rows: Any = select(table).where(getattr(table, on) == thing_id)
    existing = (await session.exec(rows)).all()
    issues = validation.Issues()
    issues.count("grants", changes, 1, validation.GRANTS_MAXIMUM)
    issues.raise_if_any()
    await _check(session, issues, changes)
    named = [(each.subject, each.role) for each in changes if each.subject is not None]
    roles: dict[tuple[UUID | None, str | None], Role] = {
        (each.user_id, each.group_name): each.role for each in existing
    }
    after = {**roles, **{(subject.user_id, subject.group_name): role for subject, role in named}}
    if not any(role is Role.OWNER and subject != (None, None) for subject, role in after.items()):
        issues.add("grants", "LAST_OWNER", "At least one user or group stays its owner.")
    if sum(role is not None for role in after.values()) > GRANTS_ON_ONE_THING_MAXIMUM:
        issues.add("grants", "WRONG_COUNT", f"At most {GRANTS_ON_ONE_THING_MAXIMUM} grants stand on one thing.")
    issues.raise_if_any()
    if allowed is not None:
        await allowed()
    await writes.change_grants(session, table, on, thing_id, existing=existing, changes=changes)
    return [
        {"subject": _spoken(subject), "role": None if role is None else role.value}
        for subject, role in named
        if roles.get((subject.user_id, subject.group_name)) != role
    ]


async def _check(session: AsyncSession, issues: validation.Issues, changes: Sequence[GrantChange]) -> None:
    named = [(f"grants[{position}]", each.subject) for position, each in enumerate(changes)]
    asked = [subject for _, subject in named if subject is not None]
    user, group = tables.UserRow, tables.GroupRow
    user_ids = {each.user_id for each in asked if each.user_id is not None}
    group_names = {each.group_name for each in asked if each.group_name is not None and "\0" not in each.group_name}
    users = set((await session.exec(select(user.id).where(col(user.id).in_(user_ids)))).all())
    groups = set((await session.exec(select(group.name).where(col(group.name).in_(group_names)))).all())
    for path, subject in named:
        if subject is None:
            issues.add(path, "ONE_SUBJECT", "Name exactly one of user, group and everyone: true.")
        elif subject.user_id is not None and subject.user_id not in users:
            issues.add(f"{path}.user", "NO_SUCH_USER", "There is no such user.")
        elif subject.group_name is not None and subject.group_name not in groups:
            issues.add(f"{path}.group", "NO_SUCH_GROUP", "There is no such group.")
    issues.unique(((path, _spoken(subject)) for path, subject in named if subject is not None), "The subject")


def _spoken(subject: Subject) -> str:
    if subject.user_id is not None:
        return ids.encode(ids.Kind.USER, subject.user_id)
    return "everyone" if subject.group_name is None else f"group {subject.group_name}"


def _record(
    context: Context,
    session: AsyncSession,
    kind: EventKind,
    subject: tuple[ids.Kind, UUID],
    changed: list[dict[str, str | None]],
    **above: UUID,
) -> None:
    writes.record_event(
        session,
        kind,
        subject,
        at=context.now,
        actor_id=context.viewer.user_id,
        changes={"grants": changed},
        **above,
    )
