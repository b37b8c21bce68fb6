"""Reads that several rooms share: what a thing is made of, and the facts that the rules ask for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, exists, func, literal, literal_column, not_
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import access, tables
from app.db.aliases import Alias
from app.db.values import among
from app.domain import enums, ids, lifecycle, specification
from app.domain.people import Viewer

RUNTIME_SILENCE_MAXIMUM = timedelta(seconds=60)


async def specifications(
    session: AsyncSession, artifact_ids: Sequence[UUID]
) -> Mapping[UUID, specification.Specification]:
    """The stored specifications of artifacts, in three statements however many there are."""
    containers = (
        await session.exec(
            select(tables.ContainerRow)
            .where(among(tables.ContainerRow.artifact_id, artifact_ids))
            .order_by(col(tables.ContainerRow.group_position), col(tables.ContainerRow.position))
        )
    ).all()
    container_ids = [container.id for container in containers]
    variables = await variables_of(session, container_ids)
    probes = await probes_of(session, container_ids)
    groups: dict[UUID, dict[tuple[int, str], list[specification.Container]]] = {each: {} for each in artifact_ids}
    for row in containers:
        group = groups[row.artifact_id].setdefault((row.group_position, row.group_name), [])
        group.append(_container(row, variables[row.id], probes[row.id]))
    return {
        artifact_id: specification.Specification(
            tuple(
                specification.ContainerGroup(containers=tuple(containers), name=name)
                for (_, name), containers in groups[artifact_id].items()
            )
        )
        for artifact_id in artifact_ids
    }


def specification_document(artifact: Any) -> Any:
    """The stored specification of a row of artifacts, as SQL that gives what `specification.from_json` reads."""
    group = Alias(tables.ContainerRow)
    names = select(group.artifact_id, group.group_position, group.group_name).distinct()
    groups = names.where(group.artifact_id == artifact.id).correlate_except(group).subquery()
    container = Alias(tables.ContainerRow)
    in_group = (
        container.artifact_id == groups.c.artifact_id,
        container.group_position == groups.c.group_position,
        container.group_name == groups.c.group_name,
    )
    described = func.json_build_object(
        *("name", container.name, "description", container.description, "imageUri", container.image_uri),
        *("imageDigest", container.image_digest, "port", container.port, "primary", container.primary),
        *("entrypoint", container.entrypoint, "environmentVars", _variables_document(container)),
        *("probes", _probes_document(container)),
    )
    containers = select(func.json_agg(aggregate_order_by(described, container.position))).where(*in_group)
    of_group = func.json_build_object(
        "name", groups.c.group_name, "containers", containers.correlate_except(container).scalar_subquery()
    )
    listed = func.json_agg(aggregate_order_by(of_group, groups.c.group_position, groups.c.group_name))
    found = select(listed).select_from(groups).correlate_except(groups).scalar_subquery()
    return func.json_build_object("containerGroups", func.coalesce(found, literal_column("'[]'::json")))


def _variables_document(container: Any) -> Any:
    row = Alias(tables.EnvironmentVariableRow)
    described = func.json_build_object(
        *("name", row.name, "type", row.type, "value", row.value, "credentialId", row.credential_id, "field", row.field)
    )
    found = select(func.json_agg(aggregate_order_by(described, row.position))).where(row.container_id == container.id)
    return func.coalesce(found.correlate_except(row).scalar_subquery(), literal_column("'[]'::json"))


def _probes_document(container: Any) -> Any:
    row = Alias(tables.ProbeRow)
    described = func.json_build_object(
        *("path", row.path, "port", row.port, "scheme", row.scheme, "headers", row.headers),
        *("initialDelaySeconds", row.initial_delay_seconds, "periodSeconds", row.period_seconds),
        *("timeoutSeconds", row.timeout_seconds, "successThreshold", row.success_threshold),
        *("failureThreshold", row.failure_threshold),
    )
    found = select(func.json_object_agg(row.kind, described)).where(row.container_id == container.id)
    return func.coalesce(found.correlate_except(row).scalar_subquery(), literal_column("'{}'::json"))


async def variables_of(
    session: AsyncSession, container_ids: Sequence[UUID]
) -> Mapping[UUID, list[tables.EnvironmentVariableRow]]:
    """The variables of containers, in order."""
    row = tables.EnvironmentVariableRow
    statement = select(row).where(among(row.container_id, container_ids)).order_by(col(row.position))
    return _grouped((await session.exec(statement)).all(), "container_id")


async def probes_of(session: AsyncSession, container_ids: Sequence[UUID]) -> Mapping[UUID, list[tables.ProbeRow]]:
    """The probes of containers, in the order startup, readiness, liveness."""
    row = tables.ProbeRow
    statement = select(row).where(among(row.container_id, container_ids)).order_by(col(row.kind))
    return _grouped((await session.exec(statement)).all(), "container_id")


def _grouped(rows: Iterable[Any], key: str) -> Mapping[UUID, list[Any]]:
    grouped: dict[UUID, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[getattr(row, key)].append(row)
    return grouped


def _container(
    row: tables.ContainerRow, variables: Sequence[tables.EnvironmentVariableRow], probes: Sequence[tables.ProbeRow]
) -> specification.Container:
    return specification.Container(
        id=row.id,
        name=row.name,
        description=row.description,
        image_uri=row.image_uri,
        image_digest=row.image_digest,
        port=row.port,
        primary=row.primary,
        entrypoint=None if row.entrypoint is None else tuple(row.entrypoint),
        environment_vars=tuple(
            specification.EnvironmentVariable(each.name, each.type, each.value, each.credential_id, each.field)
            for each in variables
        ),
        probes={each.kind: probe(each) for each in probes},
    )


def probe(row: tables.ProbeRow) -> specification.Probe:
    """A stored probe as the domain knows it."""
    return specification.Probe(
        path=row.path,
        port=row.port,
        scheme=row.scheme,
        headers=tuple(specification.ProbeHeader(each["name"], each["value"]) for each in row.headers),
        initial_delay_seconds=row.initial_delay_seconds,
        period_seconds=row.period_seconds,
        timeout_seconds=row.timeout_seconds,
        success_threshold=row.success_threshold,
        failure_threshold=row.failure_threshold,
    )


async def runtime_available(session: AsyncSession, now: datetime) -> bool:
    """Whether a runtime can be reached, going by what a reconciler recorded lately."""
    statement: Any = select(is_runtime_available(now))
    return bool((await session.exec(statement)).one())


def is_runtime_available(now: Any) -> Any:
    """Whether a runtime can be reached, as SQL."""
    row = tables.RuntimeRow
    return exists().where(col(row.available), col(row.seen_at) + literal(RUNTIME_SILENCE_MAXIMUM) > now)


async def other_runtimes(session: AsyncSession, name: str, now: datetime) -> Sequence[str]:
    """Which runtimes but this one reconcilers drive, going by what they recorded lately."""
    row = tables.RuntimeRow
    driven = (col(row.available), col(row.seen_at) > now - RUNTIME_SILENCE_MAXIMUM)
    return (await session.exec(select(row.name).where(*driven, col(row.name) != name).order_by(row.name))).all()


async def live_workloads(
    session: AsyncSession, by: Any, owner_ids: Sequence[UUID], viewer: Viewer
) -> Mapping[UUID, lifecycle.Things]:
    """The workloads that are not TERMINATED of each owner: the newest named, the unseen counted.

    `by` is the column that names the owner: the workload's artifact or its repository.
    """
    row = tables.WorkloadRow
    statement = _counted(by, row.id, access.visible(row, viewer)).where(
        among(by, owner_ids), col(row.status) != enums.WorkloadStatus.TERMINATED
    )
    return _things(await session.exec(statement), ids.Kind.WORKLOAD)


async def locked_artifacts(
    session: AsyncSession, repository_ids: Sequence[UUID], viewer: Viewer
) -> Mapping[UUID, lifecycle.Things]:
    """The locked artifacts of each repository: the newest named, the unseen counted."""
    row = tables.ArtifactRow
    by = col(row.repository_id)
    statement = _counted(by, row.id, access.visible(row, viewer)).where(
        among(by, repository_ids), col(row.status) == enums.ArtifactStatus.LOCKED
    )
    return _things(await session.exec(statement), ids.Kind.ARTIFACT)


async def replaced(session: AsyncSession, workload_ids: Sequence[UUID]) -> Mapping[UUID, tuple[bool, bool]]:
    """Of each workload: whether a replacement is under way, and whether there is an earlier artifact to go back to."""
    row = tables.ReplacementRow
    under_way = func.bool_or(col(row.status) == enums.ReplacementStatus.ROLLING)
    before = func.bool_or(has_replaced(row))
    statement = (
        select(row.workload_id, under_way, before)
        .where(among(row.workload_id, workload_ids))
        .group_by(col(row.workload_id))
    )
    return {workload_id: (active, earlier) for workload_id, active, earlier in await session.exec(statement)}


async def newest_replacements(
    session: AsyncSession, workload_ids: Sequence[UUID]
) -> Mapping[UUID, tables.ReplacementRow]:
    """The newest replacement of each workload."""
    row = tables.ReplacementRow
    statement = (
        select(row)
        .where(among(row.workload_id, workload_ids))
        .ext(distinct_on(col(row.workload_id)))
        .order_by(col(row.workload_id), col(row.id).desc())
    )
    return {each.workload_id: each for each in await session.exec(statement)}


async def earlier_artifact(session: AsyncSession, workload_id: UUID) -> UUID | None:
    """The artifact before the newest completed replacement of a workload; None where there was none."""
    row = tables.ReplacementRow
    statement = (
        select(row.from_artifact_id)
        .where(col(row.workload_id) == workload_id, has_replaced(row))
        .order_by(col(row.id).desc())
        .limit(1)
    )
    return (await session.exec(statement)).one_or_none()


def has_replaced(row: Any) -> Any:
    """Whether a replacement has put another artifact in the place of the one before: not a mere configuration."""
    return and_(row.status == enums.ReplacementStatus.COMPLETED, row.from_artifact_id != row.to_artifact_id)


async def credential_users(
    session: AsyncSession, credential_ids: Sequence[UUID], viewer: Viewer
) -> Mapping[UUID, lifecycle.Things]:
    """What points at each credential: artifacts, and workloads that are not TERMINATED."""
    variable, container, artifact = tables.EnvironmentVariableRow, tables.ContainerRow, tables.ArtifactRow
    pointing: Any = (
        select(col(variable.credential_id).label("by"), artifact.id, access.visible(artifact, viewer).label("seen"))
        .join(container, col(container.id) == col(variable.container_id))
        .join(artifact, col(artifact.id) == col(container.artifact_id))
        .where(among(variable.credential_id, credential_ids))
    )
    use, workload = tables.WorkloadCredentialUseRow, tables.WorkloadRow
    using: Any = (
        select(col(use.credential_id).label("by"), workload.id, access.visible(workload, viewer).label("seen"))
        .join(workload, col(workload.id) == col(use.workload_id))
        .where(among(use.credential_id, credential_ids))
    )
    found: dict[UUID, lifecycle.Things] = defaultdict(lambda: lifecycle.NOTHING)
    for statement, kind in ((pointing, ids.Kind.ARTIFACT), (using, ids.Kind.WORKLOAD)):
        each = statement.distinct().subquery().c
        rows = await session.exec(_counted(each.by, each.id, each.seen))
        for credential_id, things in _things(rows, kind).items():
            before = found[credential_id]
            found[credential_id] = lifecycle.Things(
                before.nodes + things.nodes, before.hidden_count + things.hidden_count
            )
    return found


def _counted(by: Any, thing_id: Any, seen: Any) -> Any:
    """For each owner: the ids of the things that the viewer may see, newest first, and how many more there are."""
    named = func.array_agg(aggregate_order_by(thing_id, thing_id.desc())).filter(seen)
    return select(by, named, func.count().filter(not_(seen))).group_by(by)


def _things(rows: Iterable[Any], kind: ids.Kind) -> Mapping[UUID, lifecycle.Things]:
    found: dict[UUID, lifecycle.Things] = defaultdict(lambda: lifecycle.NOTHING)
    for owner, named, hidden_count in rows:
        nodes = tuple((kind, thing) for thing in (named or ())[: lifecycle.NAMED_THINGS_MAXIMUM])
        found[owner] = lifecycle.Things(nodes, hidden_count)
    return found


async def credential_keys(session: AsyncSession, credential_ids: Sequence[UUID]) -> Mapping[UUID, list[str]]:
    """The keys of credentials, in order. The values stay where they are."""
    row = tables.CredentialValueRow
    statement = (
        select(row.credential_id, row.key).where(among(row.credential_id, credential_ids)).order_by(col(row.position))
    )
    found: dict[UUID, list[str]] = defaultdict(list)
    for credential_id, key in await session.exec(statement):
        found[credential_id].append(key)
    return found


async def addresses(session: AsyncSession, workload_id: UUID, viewer: Viewer) -> Sequence[Mapping[str, Any]] | None:
    """Where the ready replicas of a workload take traffic: {"replica", "host", "port"} each.

    None where the workload does not exist, or not for this viewer.
    """
    row = tables.WorkloadRow
    statement = select(row.addresses).where(col(row.id) == workload_id, access.visible(row, viewer))
    return (await session.exec(statement)).one_or_none()


async def sealed_value(session: AsyncSession, credential_id: UUID, key: str) -> bytes | None:
    """The value of a key of a credential, as it was sealed; None where there is none."""
    row = tables.CredentialValueRow
    statement = select(row.sealed_value).where(col(row.credential_id) == credential_id, col(row.key) == key)
    return (await session.exec(statement)).one_or_none()
