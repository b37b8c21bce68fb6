"""The verbs that change what a workload runs while it runs: configure, replace, roll back, promote, extend.

They record what is to take over; the reconciler brings it up beside what serves, and lets it take over once it is
ready. Where nothing of a workload runs, there is nothing to keep up, and the change is made at once; what gave up is
launched anew with it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import images
from app.actions import artifacts, context as acting, pinning, workloads
from app.actions.context import Context
from app.db import access, reads, replacements, tables, writes
from app.domain import environment, errors, ids, lifecycle, specification, validation
from app.domain.enums import (
    EnvironmentVariableType,
    EventKind,
    ReplacementStatus,
    Role,
    WorkloadAction,
    WorkloadPurpose,
    WorkloadStatus,
)
from app.domain.environment import Override
from app.domain.specification import EnvironmentVariable, Specification

# A runtime may have something of it. What is SUBMITTED no runtime has touched yet.
_RUNS = lifecycle.STARTED - {WorkloadStatus.SUBMITTED}


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """What `configure` changes; None leaves a thing as it is.

    `environment` holds (container, variable) pairs, all that the workload is to have; None is the primary container.
    """

    replicas: int | None = None
    resources: Sequence[validation.Resources] | None = None
    environment: Sequence[tuple[str | None, EnvironmentVariable]] | None = None


async def configure(context: Context, workload_id: UUID, if_revision: int | None, changes: Configuration) -> UUID:
    """Change how a workload runs. Another number of replicas is reached in place; everything else is a roll."""
    async with context.database.transaction() as session:
        await _hold_artifact(session, workload_id)
        workload, held = await acting.lock_row(session, tables.WorkloadRow, workload_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(WorkloadAction.CONFIGURE))
        acting.check_revision(workload.revision, if_revision)
        spec = specification.from_json(workload.specification)
        before = await replacements.overrides(session, workload_id)
        overrides = before
        if changes.environment is not None:
            primary = workloads.primary_name(spec)
            named = [(container or primary, variable) for container, variable in changes.environment]
            overrides = [(container, _kept(container, variable, before)) for container, variable in named]
        replicas = workload.replicas if changes.replicas is None else changes.replicas
        await workloads.check_configuration(
            context,
            session,
            validation.Issues(),
            spec,
            replicas=replicas,
            resources=changes.resources or (),
            # What stood there before may be of a container that an earlier artifact had: it has no effect.
            overrides=() if changes.environment is None else overrides,
            known=before,
        )
        facts = await workloads.facts(context, session, workload, held)
        acting.require_available(WorkloadAction.CONFIGURE, facts)

        resources = workload.resources
        if changes.resources is not None:
            resources = workloads.resources_to_json(changes.resources)
        altered: dict[str, object] = {}
        if replicas != workload.replicas:
            altered["replicas"] = {"before": workload.replicas, "after": replicas}
        if _by_container(resources) != _by_container(workload.resources):
            altered["resources"] = {"before": workload.resources, "after": resources}
        if _by_name(overrides) != _by_name(before):
            altered["environment"] = {"before": _names(before), "after": _names(overrides)}
        if not altered:
            return workload_id
        workloads.record(context, session, EventKind.WORKLOAD_CHANGED, workload, altered)
        if altered.keys() == {"replicas"}:
            workload.replicas = replicas
            await _take_up(context, session, workload)
            return workload_id
        target = _Target(workload.artifact_id, workload.digest, spec, replicas, resources, overrides)
        await _roll(context, session, workload, target)
        return workload_id


async def _hold_artifact(session: AsyncSession, workload_id: UUID) -> None:
    """Have the artifact of a workload stay. A replacement names it, and rows are locked from the top down."""
    named = select(tables.WorkloadRow.artifact_id).where(col(tables.WorkloadRow.id) == workload_id)
    held = select(tables.ArtifactRow.id).where(col(tables.ArtifactRow.id).in_(named))
    await session.exec(held.with_for_update(read=True, key_share=True))


def _kept(container: str, variable: EnvironmentVariable, before: Sequence[Override]) -> EnvironmentVariable:
    """A CREDENTIAL that names no credential keeps the one that the workload's variable of that name has."""
    if variable.type is not EnvironmentVariableType.CREDENTIAL or variable.credential_id is not None:
        return variable
    for name, each in before:
        if name == container and each.name == variable.name and each.credential_id is not None:
            return dataclasses.replace(variable, credential_id=each.credential_id, field=variable.field or each.field)
    return variable


def _by_container(resources: Sequence[Mapping[str, object]]) -> dict[object, Mapping[str, object]]:
    """In another order they are the same."""
    return {each["container"]: each for each in resources}


def _by_name(overrides: Sequence[Override]) -> dict[tuple[str, str], EnvironmentVariable]:
    """The same."""
    return {(container, variable.name): variable for container, variable in overrides}


def _names(overrides: Sequence[Override]) -> list[str]:
    """What the history says of an environment: values may be secret."""
    return [f"{container}/{variable.name}" for container, variable in overrides]


async def replace(context: Context, workload_id: UUID, if_revision: int | None, artifact_id: UUID) -> UUID:
    """Roll a workload to another locked artifact of the same type."""
    async with context.database.transaction() as session:
        await _hold_artifact(session, workload_id)
        workload, held = await acting.lock_row(session, tables.WorkloadRow, workload_id, context.viewer)
        target, target_role = await acting.see(session, tables.ArtifactRow, artifact_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(WorkloadAction.REPLACE))
        acting.authorize(context.viewer, target_role, Role.EDITOR)
        acting.check_revision(workload.revision, if_revision)
        issues = validation.Issues()
        current = await session.get_one(tables.ArtifactRow, workload.artifact_id)
        if target.type is not current.type:
            issues.add("artifactId", "TYPE_MISMATCH", f"It is of type {target.type}; the workload runs {current.type}.")
        issues.raise_if_any()
        facts = dataclasses.replace(
            await workloads.facts(context, session, workload, held),
            target_status=target.status,
            target_is_same=target.id == workload.artifact_id,
        )
        acting.require_available(WorkloadAction.REPLACE, facts)
        await _roll_to(context, session, workload, target)
        return workload_id


async def rollback(context: Context, workload_id: UUID, if_revision: int | None) -> UUID:
    """Roll a workload back to the artifact before the newest completed replacement."""
    async with context.database.transaction() as session:
        await _hold_artifact(session, workload_id)
        workload, held = await acting.lock_row(session, tables.WorkloadRow, workload_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(WorkloadAction.ROLLBACK))
        acting.check_revision(workload.revision, if_revision)
        acting.require_available(WorkloadAction.ROLLBACK, await workloads.facts(context, session, workload, held))
        earlier = await reads.earlier_artifact(session, workload_id)
        await _roll_to(context, session, workload, await session.get_one(tables.ArtifactRow, earlier))
        return workload_id


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    """What is to take over."""

    artifact_id: UUID
    digest: str
    specification: Specification
    replicas: int
    resources: list[dict[str, object]]
    overrides: Sequence[Override]


async def _roll_to(
    context: Context, session: AsyncSession, workload: tables.WorkloadRow, artifact: tables.ArtifactRow
) -> None:
    spec = (await reads.specifications(session, [artifact.id]))[artifact.id]
    overrides = await replacements.overrides(session, workload.id)
    target = _Target(artifact.id, artifact.digest, spec, workload.replicas, workload.resources, overrides)
    await _roll(context, session, workload, target)


async def _roll(context: Context, session: AsyncSession, workload: tables.WorkloadRow, target: _Target) -> None:
    """Begin a replacement; where nothing runs it is done at once."""
    workload.last_launch += 1
    replacement = tables.ReplacementRow(
        id=writes.new_id(),
        workload_id=workload.id,
        from_artifact_id=workload.artifact_id,
        to_artifact_id=target.artifact_id,
        requested_by_id=context.viewer.user_id,
        started_at=context.now,
        begun_at=context.now,
        launch=workload.last_launch,
        digest=target.digest,
        specification=specification.to_json(target.specification),
        replicas=target.replicas,
        resources=target.resources,
        environment=environment.overrides_to_json(target.overrides),
    )
    session.add(replacement)
    await session.flush()
    replacements.record(session, workload, replacement, context.now, context.viewer.user_id)
    if workload.status in _RUNS:
        needed = replacements.pointers(
            specification.from_json(workload.specification), await replacements.overrides(session, workload.id)
        )
        needed |= replacements.pointers(target.specification, target.overrides)
        await replacements.set_credential_uses(session, workload.id, needed)
        await _ask(context, session, workload)
        return
    for column, value in (await replacements.taken_over(session, replacement)).items():
        setattr(workload, column, value)
    actor_id = context.viewer.user_id
    completed = ReplacementStatus.COMPLETED
    await replacements.finish(session, workload, replacement, completed, None, context.now, actor_id=actor_id)
    await _take_up(context, session, workload)


async def _take_up(context: Context, session: AsyncSession, workload: tables.WorkloadRow) -> None:
    """Have a workload run with what has just changed: one that gave up is given another launch."""
    if workload.status is WorkloadStatus.ERRORED:
        await workloads.launch(context, session, workload)
    else:
        await _ask(context, session, workload)


async def _ask(context: Context, session: AsyncSession, workload: tables.WorkloadRow) -> None:
    """Have a reconciler look at what is wanted now."""
    workload.generation += 1
    if workload.status is not WorkloadStatus.STOPPED:
        workload.reconcile_at = context.now
    workloads.touch(context, workload)
    await writes.wake_reconcilers(session)


async def promote(context: Context, workload_id: UUID, if_revision: int | None) -> UUID:
    """Lock the draft of a test and make the test a service in place: same id, same endpoint, no restart, no end."""
    return await pinning.resolved(context, lambda later, known: _promote(later, known, workload_id, if_revision))


async def _promote(context: Context, known: images.Resolution, workload_id: UUID, if_revision: int | None) -> UUID:
    async with context.database.transaction() as session:
        row = tables.WorkloadRow
        asked = select(row.artifact_id).where(col(row.id) == workload_id, access.reachable(row, context.viewer))
        artifact_id = (await session.exec(asked)).one_or_none()
        if artifact_id is None:
            raise errors.NotFound(ids.encode(ids.Kind.WORKLOAD, workload_id))
        # From the top down, as everywhere.
        repository, artifact, _ = await acting.lock_artifact(session, artifact_id, context.viewer)
        workload, held = await acting.lock_row(session, row, workload_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(WorkloadAction.PROMOTE))
        acting.check_revision(workload.revision, if_revision)
        facts = await workloads.facts(context, session, workload, held)
        acting.require_available(WorkloadAction.PROMOTE, facts)
        await artifacts.lock_in(context, session, (repository, artifact), WorkloadAction.PROMOTE, known)
        spec = (await reads.specifications(session, [artifact.id]))[artifact.id]
        for pinned in (workload, await replacements.rolling(session, workload_id)):
            if pinned is not None:  # a replacement is to another configuration of the same artifact
                pinned.specification = specification.to_json(spec)
        workload.purpose = WorkloadPurpose.SERVICE
        workload.expires_at = None
        changed = {"before": WorkloadPurpose.TEST.value, "after": WorkloadPurpose.SERVICE.value}
        workloads.record(context, session, EventKind.WORKLOAD_CHANGED, workload, {"purpose": changed})
        await _ask(context, session, workload)
        return workload_id


async def extend_test(context: Context, workload_id: UUID, if_revision: int | None, by: timedelta) -> UUID:
    """Move the end of a test further away, to at most 8 hours from now."""
    async with context.database.transaction() as session:
        workload, held = await acting.lock_row(session, tables.WorkloadRow, workload_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(WorkloadAction.EXTEND))
        acting.check_revision(workload.revision, if_revision)
        issues = validation.Issues()
        validation.duration(issues, "by", by, validation.TEST_MAXIMUM)
        issues.raise_if_any()
        acting.require_available(WorkloadAction.EXTEND, await workloads.facts(context, session, workload, held))
        assert workload.expires_at is not None  # noqa: S101  the database holds that for tests
        end = max(workload.expires_at, min(workload.expires_at + by, context.now + validation.TEST_MAXIMUM))
        if end != workload.expires_at:
            moved = {"before": workload.expires_at.isoformat(), "after": end.isoformat()}
            workload.expires_at = end
            workloads.touch(context, workload)
            workloads.record(context, session, EventKind.WORKLOAD_CHANGED, workload, {"expiresAt": moved})
        return workload_id
