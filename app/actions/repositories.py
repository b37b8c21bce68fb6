"""The verbs of repositories. One is opened by its first artifact: see `app.actions.artifacts.create`."""

import dataclasses
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.actions import artifacts, context as acting
from app.actions.context import Context
from app.db import reads, tables, writes
from app.domain import ids, lifecycle, validation
from app.domain.enums import EventKind, RepositoryAction


@dataclasses.dataclass(frozen=True, slots=True)
class RepositoryChanges:
    """What `update` changes; None leaves a thing as it is."""

    name: str | None = None
    description: str | None = None
    tags: Sequence[validation.Tag] | None = None


async def update(context: Context, repository_id: UUID, if_revision: int | None, changes: RepositoryChanges) -> UUID:
    """Change what describes a repository."""
    async with context.database.transaction() as session:
        repository, held = await acting.lock_row(session, tables.RepositoryRow, repository_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(RepositoryAction.EDIT))
        acting.check_revision(repository.revision, if_revision)
        issues = validation.Issues()
        wanted: dict[str, str] = {}
        if changes.name is not None:
            wanted["name"] = issues.name("name", changes.name)
        if changes.description is not None:
            wanted["description"] = issues.description("description", changes.description)
        tags = None if changes.tags is None else validation.tags(issues, "tags", changes.tags)
        issues.raise_if_any()
        altered: dict[str, Any] = {
            field: {"before": getattr(repository, field), "after": value}
            for field, value in wanted.items()
            if getattr(repository, field) != value
        }
        for field in altered:
            setattr(repository, field, wanted[field])
        row = tables.RepositoryTagRow
        if tags is not None and (
            change := await writes.change_tags(session, row, "repository_id", repository_id, tags)
        ):
            altered["tags"] = change
        if altered:
            repository.revision += 1
            repository.updated_at = context.now
            _record(context, session, EventKind.REPOSITORY_CHANGED, repository, altered)
        return repository_id


async def delete_repository(
    context: Context, repository_id: UUID, if_revision: int | None
) -> list[tuple[ids.Kind, UUID]]:
    """Delete a repository with its drafts, while it holds nothing that is locked or in use."""
    async with context.database.transaction() as session:
        repository, held = await acting.lock_row(session, tables.RepositoryRow, repository_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(RepositoryAction.DELETE))
        acting.check_revision(repository.revision, if_revision)
        by = col(tables.WorkloadRow.repository_id)
        known = lifecycle.RepositoryFacts(
            role=held,
            locked_artifacts=(await reads.locked_artifacts(session, [repository_id], context.viewer))[repository_id],
            live_workloads=(await reads.live_workloads(session, by, [repository_id], context.viewer))[repository_id],
        )
        acting.require_available(RepositoryAction.DELETE, known)
        row = tables.ArtifactRow
        drafts = select(row).where(col(row.repository_id) == repository_id).order_by(col(row.id)).with_for_update()
        deleted = [(ids.Kind.REPOSITORY, repository_id)]
        for draft in (await session.exec(drafts)).all():
            deleted += await artifacts.delete_in(context, session, draft)
        _record(context, session, EventKind.REPOSITORY_DELETED, repository, {"name": repository.name})
        await session.delete(repository)
        return deleted


def _record(
    context: Context, session: AsyncSession, kind: EventKind, repository: tables.RepositoryRow, changes: dict[str, Any]
) -> None:
    writes.record_event(
        session,
        kind,
        (ids.Kind.REPOSITORY, repository.id),
        at=context.now,
        actor_id=context.viewer.user_id,
        repository_id=repository.id,
        changes=changes,
    )
