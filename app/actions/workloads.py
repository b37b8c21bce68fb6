"""The verbs of workloads. They record what is wanted; the reconciler makes it so."""

import dataclasses
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import images
from app.actions import artifacts, context as acting, credentials, pinning
from app.actions.context import Context
from app.db import access, reads, replacements, tables, writes
from app.domain import enums, errors, ids, lifecycle, specification, validation
from app.domain.enums import (
    ArtifactAction,
    ArtifactStatus,
    EventKind,
    Role,
    Wanted,
    WorkloadAction,
    WorkloadPurpose,
    WorkloadStatus,
)
from app.domain.environment import Override
from app.domain.specification import EnvironmentVariable, Specification


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """How a service is to run. `environment` holds (container, variable) pairs; None is the primary container."""

    name: str | None = None
    importance: enums.Importance = enums.Importance.LOW
    replicas: int = 1
    resources: Sequence[validation.Resources] = ()
    environment: Sequence[tuple[str | None, EnvironmentVariable]] = ()
    tags: Sequence[validation.Tag] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class WorkloadChanges:
    """What `update` changes; None leaves a thing as it is."""

    name: str | None = None
    description: str | None = None
    importance: enums.Importance | None = None
    tags: Sequence[validation.Tag] | None = None


async def test_artifact(context: Context, artifact_id: UUID, if_revision: int | None, expires_in: timedelta) -> UUID:
    """Run a draft for a while. Answers the id of the workload."""
    async with context.database.transaction() as session:
        _, artifact, held = await acting.lock_artifact(session, artifact_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(ArtifactAction.TEST))
        acting.check_revision(artifact.revision, if_revision)
        issues = validation.Issues()
        validation.duration(issues, "expiresIn", expires_in, validation.TEST_MAXIMUM)
        issues.raise_if_any()
        known = await artifacts.facts(context, session, artifact, held)
        acting.require_available(ArtifactAction.TEST, known)
        spec = (await reads.specifications(session, [artifact_id]))[artifact_id]
        workload = _new(context, artifact, spec, WorkloadPurpose.TEST, Deployment())
        workload.expires_at = context.now + expires_in
        await _insert(context, session, workload, spec, Deployment(), ())
        return workload.id


async def stop_artifact(context: Context, artifact_id: UUID, if_revision: int | None) -> UUID:
    """Stop the active test of a draft. Answers the id of its workload."""
    async with context.database.transaction() as session:
        _, artifact, held = await acting.lock_artifact(session, artifact_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(ArtifactAction.STOP))
        acting.check_revision(artifact.revision, if_revision)
        acting.require_available(ArtifactAction.STOP, await artifacts.facts(context, session, artifact, held))
        row = tables.WorkloadRow
        live = select(row).where(col(row.artifact_id) == artifact_id, col(row.status) != WorkloadStatus.TERMINATED)
        workload = (await session.exec(live.with_for_update())).one()
        await _stop(context, session, workload)
        return workload.id


async def deploy(context: Context, artifact_id: UUID, if_revision: int | None, deployment: Deployment) -> UUID:
    """Run an artifact as a service; a draft is locked first. Answers the id of the workload."""
    return await pinning.resolved(
        context, lambda later, known: _deploy(later, known, artifact_id, if_revision, deployment)
    )


async def _deploy(
    context: Context, known: images.Resolution, artifact_id: UUID, if_revision: int | None, deployment: Deployment
) -> UUID:
    async with context.database.transaction() as session:
        repository, artifact, held = await acting.lock_artifact(session, artifact_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(ArtifactAction.DEPLOY))
        acting.check_revision(artifact.revision, if_revision)
        spec = (await reads.specifications(session, [artifact_id]))[artifact_id]
        overrides = await _checked(context, session, deployment, spec)
        acting.require_available(ArtifactAction.DEPLOY, await artifacts.facts(context, session, artifact, held))
        if artifact.status is ArtifactStatus.DRAFT:
            await artifacts.lock_in(context, session, (repository, artifact), ArtifactAction.DEPLOY, known)
            spec = (await reads.specifications(session, [artifact_id]))[artifact_id]
        workload = _new(context, artifact, spec, WorkloadPurpose.SERVICE, deployment)
        await _insert(context, session, workload, spec, deployment, overrides)
        return workload.id


async def _checked(
    context: Context, session: AsyncSession, deployment: Deployment, spec: Specification
) -> list[Override]:
    """The overrides with their containers named, when everything about the deployment is right."""
    issues = validation.Issues()
    if deployment.name is not None:
        issues.name("name", deployment.name)
    validation.tags(issues, "tags", deployment.tags)
    overrides = [(container or primary_name(spec), variable) for container, variable in deployment.environment]
    await check_configuration(
        context,
        session,
        issues,
        spec,
        replicas=deployment.replicas,
        resources=deployment.resources,
        overrides=overrides,
    )
    return overrides


def primary_name(spec: Specification) -> str:
    """The container that an override is for which names none."""
    return spec.container_groups[0].primary.name


async def check_configuration(
    context: Context,
    session: AsyncSession,
    issues: validation.Issues,
    spec: Specification,
    *,
    replicas: int,
    resources: Sequence[validation.Resources],
    overrides: Sequence[Override],
    known: Collection[Override] = (),
) -> None:
    """Refuse replicas, resources and overrides that can't be. `known` are overrides that stood there before.

    Raises:
        errors.InvalidInput: with these issues and those that were there already.
        errors.LimitExceeded: there are more replicas than this server runs.
    """
    issues.number("replicas", replicas, 0, validation.REPLICAS_MAXIMUM)
    names = frozenset(container.name for container in spec.containers)
    validation.resources(issues, "resources", resources, names)
    looked_at = validation.workload_variables(issues, "environment", overrides, names)
    pointing = [
        (f"environment[{position}]", override[1])
        for position, override in enumerate(looked_at)
        if override not in known
    ]
    await credentials.check_pointers(session, context.viewer, issues, pointing)
    issues.raise_if_any()
    if replicas > context.limits.replicas_maximum:
        maximum = context.limits.replicas_maximum
        message = f"This server runs at most {maximum} replicas of a workload; {replicas} were asked for."
        raise errors.LimitExceeded(message, maximum)


def _new(
    context: Context,
    artifact: tables.ArtifactRow,
    spec: Specification,
    purpose: WorkloadPurpose,
    deployment: Deployment,
) -> tables.WorkloadRow:
    workload_id = writes.new_id()
    return tables.WorkloadRow(
        id=workload_id,
        endpoint=context.endpoint(workload_id),
        artifact_id=artifact.id,
        repository_id=artifact.repository_id,
        purpose=purpose,
        name=artifact.name if deployment.name is None else deployment.name.strip(),
        importance=deployment.importance,
        digest=artifact.digest,
        specification=specification.to_json(spec),
        replicas=deployment.replicas,
        resources=resources_to_json(deployment.resources),
        created_by_id=context.viewer.user_id,
        created_at=context.now,
        updated_at=context.now,
        launched_at=context.now,
        reconcile_at=context.now,
    )


def resources_to_json(given: Sequence[validation.Resources]) -> list[dict[str, Any]]:
    """Limits as they are stored, with the names of the graph."""
    return [{"container": each.container, "cpu": each.cpu, "memoryBytes": each.memory_bytes} for each in given]


async def _insert(
    context: Context,
    session: AsyncSession,
    workload: tables.WorkloadRow,
    spec: Specification,
    deployment: Deployment,
    overrides: Sequence[Override],
) -> None:
    session.add(workload)
    await session.flush()
    session.add(
        tables.WorkloadGrantRow(
            id=writes.new_id(), workload_id=workload.id, user_id=context.viewer.user_id, role=Role.OWNER
        )
    )
    await writes.change_tags(session, tables.WorkloadTagRow, "workload_id", workload.id, deployment.tags)
    await replacements.set_overrides(session, workload.id, overrides)
    await replacements.set_credential_uses(session, workload.id, replacements.pointers(spec, overrides))
    details = {"name": workload.name, "purpose": workload.purpose.value, "digest": workload.digest}
    record(context, session, EventKind.WORKLOAD_CREATED, workload, details)
    await writes.wake_reconcilers(session)


async def update(context: Context, workload_id: UUID, if_revision: int | None, changes: WorkloadChanges) -> UUID:
    """Change what describes a workload; nothing of it rolls."""
    async with context.database.transaction() as session:
        workload, held = await acting.lock_row(session, tables.WorkloadRow, workload_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(WorkloadAction.EDIT))
        acting.check_revision(workload.revision, if_revision)
        issues = validation.Issues()
        wanted: dict[str, Any] = {}
        if changes.name is not None:
            wanted["name"] = issues.name("name", changes.name)
        if changes.description is not None:
            wanted["description"] = issues.description("description", changes.description)
        if changes.importance is not None:
            wanted["importance"] = changes.importance
        tags = None if changes.tags is None else validation.tags(issues, "tags", changes.tags)
        issues.raise_if_any()
        acting.require_available(WorkloadAction.EDIT, await facts(context, session, workload, held))
        altered = {
            field: {"before": getattr(workload, field), "after": value}
            for field, value in wanted.items()
            if getattr(workload, field) != value
        }
        for field, change in altered.items():
            setattr(workload, field, change["after"])
        row = tables.WorkloadTagRow
        if tags is not None and (moved := await writes.change_tags(session, row, "workload_id", workload_id, tags)):
            altered["tags"] = moved
        if altered:
            touch(context, workload)
            record(context, session, EventKind.WORKLOAD_CHANGED, workload, altered)
        return workload_id


async def start(context: Context, workload_id: UUID, if_revision: int | None) -> UUID:
    """Start a workload that is stopped or gave up; what runs already stays as it is."""
    return await _command(context, workload_id, if_revision, WorkloadAction.START)


async def stop(context: Context, workload_id: UUID, if_revision: int | None) -> UUID:
    """Take a workload down. A test ends for good, a service can be started again."""
    return await _command(context, workload_id, if_revision, WorkloadAction.STOP)


async def restart(context: Context, workload_id: UUID, if_revision: int | None) -> UUID:
    """Launch a workload anew."""
    return await _command(context, workload_id, if_revision, WorkloadAction.RESTART)


async def delete_workload(context: Context, workload_id: UUID, if_revision: int | None) -> list[tuple[ids.Kind, UUID]]:
    """Stop a workload for good. It stays readable."""
    return [(ids.Kind.WORKLOAD, await _command(context, workload_id, if_revision, WorkloadAction.DELETE))]


async def _command(context: Context, workload_id: UUID, if_revision: int | None, action: WorkloadAction) -> UUID:
    async with context.database.transaction() as session:
        workload, held = await acting.lock_row(session, tables.WorkloadRow, workload_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(action))
        acting.check_revision(workload.revision, if_revision)
        acting.require_available(action, await facts(context, session, workload, held))
        if lifecycle.is_no_op(action, workload.status):
            return workload_id
        if action is WorkloadAction.STOP:
            await _stop(context, session, workload)
        elif action is WorkloadAction.DELETE:
            await _terminate(context, session, workload)
        else:
            await launch(context, session, workload)
        return workload_id


async def launch(context: Context, session: AsyncSession, workload: tables.WorkloadRow) -> None:
    """Start over: a new launch with its own deadline. A replacement that is under way is given up."""
    await replacements.cancel(session, workload, context.now, context.viewer.user_id)
    workload.wanted = Wanted.RUNNING
    workload.last_launch += 1
    workload.launch = workload.last_launch
    workload.launched_at = context.now
    workload.was_ready = False
    workload.started_at = workload.stopped_at = None
    await _want(context, session, workload, WorkloadStatus.SUBMITTED)


async def _stop(context: Context, session: AsyncSession, workload: tables.WorkloadRow) -> None:
    if workload.status in {WorkloadStatus.STOPPING, WorkloadStatus.STOPPED}:
        return
    await replacements.cancel(session, workload, context.now, context.viewer.user_id)
    workload.wanted = Wanted.TERMINATED if workload.purpose is WorkloadPurpose.TEST else Wanted.STOPPED
    await _want(context, session, workload, WorkloadStatus.STOPPING)


async def _terminate(context: Context, session: AsyncSession, workload: tables.WorkloadRow) -> None:
    """Stop for good; what is stopped already has nothing left in the runtime and ends here."""
    if workload.wanted is Wanted.TERMINATED:
        return
    await replacements.cancel(session, workload, context.now, context.viewer.user_id)
    workload.wanted = Wanted.TERMINATED
    stopped = workload.status is WorkloadStatus.STOPPED
    await _want(context, session, workload, WorkloadStatus.TERMINATED if stopped else WorkloadStatus.STOPPING)
    record(context, session, EventKind.WORKLOAD_DELETED, workload, {"name": workload.name})


async def _want(context: Context, session: AsyncSession, workload: tables.WorkloadRow, status: WorkloadStatus) -> None:
    """Record what someone asked for, and wake a reconciler."""
    change = {"status": {"before": workload.status.value, "after": status.value}}
    workload.status = status
    workload.status_reason = workload.status_message = None
    workload.generation += 1
    workload.reconcile_at = None if status is WorkloadStatus.TERMINATED else context.now
    touch(context, workload)
    if change["status"]["before"] != change["status"]["after"]:
        record(context, session, EventKind.WORKLOAD_STATUS, workload, change)
    await writes.wake_reconcilers(session)


async def facts(
    context: Context, session: AsyncSession, workload: tables.WorkloadRow, held: Role
) -> lifecycle.WorkloadFacts:
    """What the rules ask about a workload."""
    row = tables.ArtifactRow
    asked: Any = select(row.status, row.digest, access.role(row, context.viewer)).where(
        col(row.id) == workload.artifact_id
    )
    artifact_status, digest, artifact_role = (await session.exec(asked)).one()
    replacement_active, replaced_before = (await reads.replaced(session, [workload.id])).get(
        workload.id, (False, False)
    )
    return lifecycle.WorkloadFacts(
        role=held,
        status=workload.status,
        purpose=workload.purpose,
        artifact_status=artifact_status,
        artifact_role=artifact_role,
        artifact_changed=digest != workload.digest,
        replacement_active=replacement_active,
        replaced_before=replaced_before,
    )


def touch(context: Context, workload: tables.WorkloadRow) -> None:
    """A workload was changed, and someone has asked for it."""
    workload.revision += 1
    workload.updated_at = context.now


def record(
    context: Context, session: AsyncSession, kind: EventKind, workload: tables.WorkloadRow, changes: dict[str, Any]
) -> None:
    """Add a line to the history of a workload."""
    writes.record_event(
        session,
        kind,
        (ids.Kind.WORKLOAD, workload.id),
        at=context.now,
        actor_id=context.viewer.user_id,
        repository_id=workload.repository_id,
        artifact_id=workload.artifact_id,
        workload_id=workload.id,
        changes=changes,
    )
