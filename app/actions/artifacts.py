"""The verbs of artifacts: create, edit, lock, clone, delete. One transaction each."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import images
from app.actions import context as acting, credentials, pinning
from app.actions.context import Context
from app.db import access, reads, tables, writes
from app.domain import enums, errors, ids, lifecycle, specification, validation
from app.domain.enums import ArtifactAction, ArtifactStatus, EventKind, Role
from app.domain.specification import Specification

COPY_SUFFIX = " (copy)"

SpecificationChange = Callable[[validation.Issues, Specification], Specification]


@dataclasses.dataclass(frozen=True, slots=True)
class NewArtifact:
    """What `create` needs, as the user wrote it."""

    name: str
    description: str
    type: enums.ArtifactType
    tags: Sequence[validation.Tag]
    specification: Specification
    repository_id: UUID | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ArtifactChanges:
    """What `update` changes; None leaves a thing as it is.

    `container_id` is the container that the change is about. `relocate` maps the paths of a specification's issues to
    the paths of the input that asked for the change.
    """

    name: str | None = None
    description: str | None = None
    tags: Sequence[validation.Tag] | None = None
    specification: SpecificationChange | None = None
    container_id: UUID | None = None
    relocate: Callable[[str], str] = dataclasses.field(default=lambda path: path)


async def create(context: Context, new: NewArtifact) -> UUID:
    """A draft: in a repository, or in a new one that it opens and lends its name and type. Answers its id."""
    async with context.database.transaction() as session:
        repository = None
        if new.repository_id is not None:
            repository, held = await acting.lock_row(session, tables.RepositoryRow, new.repository_id, context.viewer)
            acting.authorize(context.viewer, held, Role.EDITOR)
        else:
            acting.authorize(context.viewer, Role.OWNER, Role.OWNER)
        issues = validation.Issues()
        name = issues.name("name", new.name)
        issues.description("description", new.description)
        tags = validation.tags(issues, "tags", new.tags)
        if repository is not None and repository.type is not new.type:
            issues.add("type", "TYPE_MISMATCH", f"The repository holds artifacts of type {repository.type}.")
        spec = validation.specification(issues, "spec", new.specification, context.limits)
        await credentials.check_references(session, context.viewer, issues, spec=spec, before=Specification(()))
        issues.raise_if_any()
        if repository is None:
            repository = await _open_repository(context, session, name, new.type)
        artifact = await _insert(context, session, repository, name=name, description=new.description, spec=spec)
        await writes.change_tags(session, tables.ArtifactTagRow, "artifact_id", artifact.id, tags)
        _record(context, session, EventKind.ARTIFACT_CREATED, artifact, {"name": name, "digest": artifact.digest})
        return artifact.id


async def _open_repository(
    context: Context, session: AsyncSession, name: str, artifact_type: enums.ArtifactType
) -> tables.RepositoryRow:
    repository = tables.RepositoryRow(
        id=writes.new_id(),
        name=name,
        type=artifact_type,
        created_by_id=context.viewer.user_id,
        created_at=context.now,
        updated_at=context.now,
    )
    session.add(repository)
    await session.flush()
    session.add(
        tables.RepositoryGrantRow(
            id=writes.new_id(), repository_id=repository.id, user_id=context.viewer.user_id, role=Role.OWNER
        )
    )
    writes.record_event(
        session,
        EventKind.REPOSITORY_CREATED,
        (ids.Kind.REPOSITORY, repository.id),
        at=context.now,
        actor_id=context.viewer.user_id,
        repository_id=repository.id,
        changes={"name": name},
    )
    return repository


async def _insert(
    context: Context,
    session: AsyncSession,
    repository: tables.RepositoryRow,
    *,
    name: str,
    description: str,
    spec: Specification,
    cloned_from_id: UUID | None = None,
) -> tables.ArtifactRow:
    """A new draft and its owner: whoever creates a thing owns it."""
    artifact = tables.ArtifactRow(
        id=writes.new_id(),
        repository_id=repository.id,
        name=name,
        description=description,
        type=repository.type,
        digest=specification.digest(spec),
        cloned_from_id=cloned_from_id,
        created_by_id=context.viewer.user_id,
        created_at=context.now,
        updated_at=context.now,
    )
    repository.updated_at = context.now
    session.add(artifact)
    await session.flush()
    session.add(
        tables.ArtifactGrantRow(
            id=writes.new_id(), artifact_id=artifact.id, user_id=context.viewer.user_id, role=Role.OWNER
        )
    )
    await writes.replace_specification(session, artifact.id, spec)
    return artifact


async def edit_container(
    context: Context, container_id: UUID, if_revision: int | None, changes: ArtifactChanges
) -> UUID:
    """Edit one container of a draft. Answers the id of its artifact."""
    row = tables.ContainerRow
    async with context.database.read() as session:
        artifact_id = (await session.exec(select(row.artifact_id).where(col(row.id) == container_id))).one_or_none()
        seen = access.visible(tables.ArtifactRow, context.viewer)
        visible = select(tables.ArtifactRow.id).where(col(tables.ArtifactRow.id) == artifact_id, seen)
        if (await session.exec(visible)).one_or_none() is None or artifact_id is None:
            raise errors.NotFound(ids.encode(ids.Kind.CONTAINER, container_id))
    return await update(context, artifact_id, if_revision, dataclasses.replace(changes, container_id=container_id))


async def update(context: Context, artifact_id: UUID, if_revision: int | None, changes: ArtifactChanges) -> UUID:
    """Edit a draft, or the tags of any artifact. What changes nothing leaves the revision as it is."""
    async with context.database.transaction() as session:
        repository, artifact, held = await acting.lock_artifact(session, artifact_id, context.viewer)
        acting.authorize(context.viewer, held, Role.EDITOR)
        acting.check_revision(artifact.revision, if_revision)
        before = (await reads.specifications(session, [artifact_id]))[artifact_id]
        if changes.container_id is not None and changes.container_id not in {each.id for each in before.containers}:
            raise errors.NotFound(ids.encode(ids.Kind.CONTAINER, changes.container_id))
        issues = validation.Issues()
        name = artifact.name if changes.name is None else issues.name("name", changes.name)
        description = artifact.description
        if changes.description is not None:
            description = issues.description("description", changes.description)
        tags = None if changes.tags is None else validation.tags(issues, "tags", changes.tags)
        spec = before
        if changes.specification is not None:
            spec = await _changed(context, session, issues, before, changes)
        issues.raise_if_any()
        _require_editable(changes, await facts(context, session, artifact, held))

        altered: dict[str, Any] = {}
        if name != artifact.name:
            altered["name"] = {"before": artifact.name, "after": name}
        if description != artifact.description:
            altered["description"] = {"before": artifact.description, "after": description}
        row = tables.ArtifactTagRow
        if tags is not None and (moved := await writes.change_tags(session, row, "artifact_id", artifact_id, tags)):
            altered["tags"] = moved
        if spec != before:
            digest = specification.digest(spec)
            altered["digest"] = {"before": artifact.digest, "after": digest}
            artifact.digest = digest
            await writes.replace_specification(session, artifact_id, spec)
        if altered:
            artifact.name, artifact.description = name, description
            _touch(context, repository, artifact)
            _record(context, session, EventKind.ARTIFACT_CHANGED, artifact, altered)
        return artifact_id


async def _changed(
    context: Context, session: AsyncSession, issues: validation.Issues, before: Specification, changes: ArtifactChanges
) -> Specification:
    """The specification as asked for, checked as a whole; issues are told in the words of the input."""
    assert changes.specification is not None  # noqa: S101  the caller has looked
    found = validation.Issues()
    spec = changes.specification(found, before)
    spec = validation.specification(found, "spec", spec, context.limits)
    await credentials.check_references(session, context.viewer, found, spec=spec, before=before)
    for issue in found.found:
        issues.add(changes.relocate(issue.path), issue.code, issue.message)
    return spec


def _require_editable(changes: ArtifactChanges, known: lifecycle.ArtifactFacts) -> None:
    if changes.name is not None or changes.description is not None or changes.specification is not None:
        acting.require_available(ArtifactAction.EDIT, known)
    if changes.tags is not None:
        acting.require_available(ArtifactAction.TAG, known)


async def lock(context: Context, artifact_id: UUID, if_revision: int | None) -> UUID:
    """Freeze a draft into the next version of its repository, with every image pinned that a registry knows."""
    return await pinning.resolved(context, lambda later, known: _lock(later, known, artifact_id, if_revision))


async def _lock(context: Context, known: images.Resolution, artifact_id: UUID, if_revision: int | None) -> UUID:
    async with context.database.transaction() as session:
        repository, artifact, held = await acting.lock_artifact(session, artifact_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(ArtifactAction.LOCK))
        acting.check_revision(artifact.revision, if_revision)
        acting.require_available(ArtifactAction.LOCK, await facts(context, session, artifact, held))
        await lock_in(context, session, (repository, artifact), ArtifactAction.LOCK, known)
        return artifact_id


async def lock_in(
    context: Context,
    session: AsyncSession,
    rows: tuple[tables.RepositoryRow, tables.ArtifactRow],
    action: lifecycle.Action,
    known: images.Resolution,
) -> None:
    """Lock a draft in a transaction that holds the rows of both, and has asked the rules for the action.

    `known` is what `pinning.resolved` hands to the attempt that this is part of.
    """
    repository, artifact = rows
    row = tables.ContainerRow
    stored = select(row).where(col(row.artifact_id) == artifact.id).order_by(col(row.group_position), col(row.position))
    unresolved = pinning.pin(context, action, (await session.exec(stored)).all(), known)
    await session.flush()  # the images are pinned while the artifact is still a draft
    repository.last_version += 1
    artifact.status = ArtifactStatus.LOCKED
    artifact.version = repository.last_version
    artifact.locked_by_id = context.viewer.user_id
    artifact.locked_at = context.now
    _touch(context, repository, artifact)
    await session.flush()
    changes: dict[str, Any] = {"version": {"before": None, "after": artifact.version}, "digest": artifact.digest}
    if unresolved:
        changes["unresolvedImages"] = unresolved
    _record(context, session, EventKind.ARTIFACT_LOCKED, artifact, changes)


async def clone(context: Context, artifact_id: UUID, if_revision: int | None, name: str | None) -> UUID:
    """A new draft in the same repository with specification, description and tags of a locked artifact."""
    async with context.database.transaction() as session:
        repository, source, held = await acting.lock_artifact(session, artifact_id, context.viewer)
        known = await facts(context, session, source, held)
        acting.authorize(context.viewer, known.repository_role or Role.VIEWER, Role.EDITOR)
        acting.check_revision(source.revision, if_revision)
        issues = validation.Issues()
        if name is None:
            name = source.name[: validation.NAME_MAXIMUM_LENGTH - len(COPY_SUFFIX)] + COPY_SUFFIX
        name = issues.name("name", name)
        issues.raise_if_any()
        acting.require_available(ArtifactAction.CLONE, known)
        spec = (await reads.specifications(session, [artifact_id]))[artifact_id]
        artifact = await _insert(
            context,
            session,
            repository,
            name=name,
            description=source.description,
            spec=_as_new(spec),
            cloned_from_id=source.id,
        )
        row = tables.ArtifactTagRow
        stored = await session.exec(select(row).where(col(row.artifact_id) == source.id).order_by(col(row.position)))
        tags = [validation.Tag(each.name, each.value) for each in stored]
        await writes.change_tags(session, row, "artifact_id", artifact.id, tags)
        origin = {"clonedFrom": ids.encode(ids.Kind.ARTIFACT, source.id), "name": name}
        _record(context, session, EventKind.ARTIFACT_CLONED, artifact, origin)
        return artifact.id


def _as_new(spec: Specification) -> Specification:
    """The same specification without rows and without pins: a draft resolves its images anew."""
    return Specification(
        tuple(
            dataclasses.replace(
                group,
                containers=tuple(
                    dataclasses.replace(container, id=None, image_digest=None) for container in group.containers
                ),
            )
            for group in spec.container_groups
        )
    )


async def delete_draft(context: Context, artifact_id: UUID, if_revision: int | None) -> list[tuple[ids.Kind, UUID]]:
    """Delete a draft and its terminated workloads. Answers all that went, the artifact first."""
    async with context.database.transaction() as session:
        repository, artifact, held = await acting.lock_artifact(session, artifact_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(ArtifactAction.DELETE))
        acting.check_revision(artifact.revision, if_revision)
        acting.require_available(ArtifactAction.DELETE, await facts(context, session, artifact, held))
        deleted = await delete_in(context, session, artifact)
        repository.updated_at = context.now
        return deleted


async def delete_in(
    context: Context, session: AsyncSession, artifact: tables.ArtifactRow
) -> list[tuple[ids.Kind, UUID]]:
    """Delete a draft in a transaction that holds its row and has asked the rules."""
    row = tables.WorkloadRow
    ended = select(row.id).where(col(row.artifact_id) == artifact.id).order_by(col(row.id))
    workload_ids = (await session.exec(ended)).all()
    _record(context, session, EventKind.ARTIFACT_DELETED, artifact, {"name": artifact.name})
    await session.flush()
    await session.exec(delete(row).where(col(row.artifact_id) == artifact.id))
    await session.delete(artifact)
    await session.flush()
    return [(ids.Kind.ARTIFACT, artifact.id), *((ids.Kind.WORKLOAD, each) for each in workload_ids)]


async def facts(
    context: Context, session: AsyncSession, artifact: tables.ArtifactRow, held: Role
) -> lifecycle.ArtifactFacts:
    """What the rules ask about an artifact."""
    by = col(tables.WorkloadRow.artifact_id)
    live = (await reads.live_workloads(session, by, [artifact.id], context.viewer))[artifact.id]
    row = tables.RepositoryRow
    asked = select(access.role(row, context.viewer)).where(col(row.id) == artifact.repository_id)
    return lifecycle.ArtifactFacts(
        role=held,
        status=artifact.status,
        repository_role=(await session.exec(asked)).one(),
        live_workloads=live,
        runtime_available=await reads.runtime_available(session, context.now),
    )


def _touch(context: Context, repository: tables.RepositoryRow, artifact: tables.ArtifactRow) -> None:
    artifact.revision += 1
    artifact.updated_at = context.now
    repository.updated_at = context.now


def _record(
    context: Context, session: AsyncSession, kind: EventKind, artifact: tables.ArtifactRow, changes: dict[str, Any]
) -> None:
    writes.record_event(
        session,
        kind,
        (ids.Kind.ARTIFACT, artifact.id),
        at=context.now,
        actor_id=context.viewer.user_id,
        repository_id=artifact.repository_id,
        artifact_id=artifact.id,
        changes=changes,
    )
