"""What the fields of several nodes share, and what they declare as SQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import strawberry
from sqlalchemy import func, literal
from sqlmodel import select

from app.api import values
from app.api.context import Info
from app.api.fields import Expression, Related, Scope, children, says
from app.db import access, reads, tables
from app.db.aliases import Alias
from app.db.tables import columns
from app.db.values import member
from app.domain import enums, linting, specification

ROLE = "The viewer's role on it; of several the strongest. VIEWER where only something under it is shared with them."


def tag_list(table: Any, on: str) -> Any:
    """The tags of a thing, in order."""

    def speak(row: Any) -> values.Tag:
        return values.Tag(name=row.name, value=row.value)

    return children(table, on, "position", description="Its tags, in order.", speak=speak)


def viewer_role() -> Any:
    """The viewer's role on a thing."""

    async def resolve(root: Any, info: Info) -> Any:
        return await info.context.loaders.role(type(root.row), root.row.id) or enums.Role.VIEWER

    del resolve.__annotations__["return"]
    role = Expression(
        lambda row, scope, _: func.coalesce(access.role(row, scope.viewer), literal(enums.Role.VIEWER, columns.ROLE))
    )
    return strawberry.field(resolver=resolve, description=ROLE, metadata=says(role))


def artifact_count(repository: Any, scope: Scope, given: Mapping[str, Any]) -> Any:
    """How many artifacts of a repository the viewer has a role on, as SQL."""
    row = Alias(tables.ArtifactRow)
    counted = select(func.count()).select_from(row).where(row.repository_id == repository.id)
    if given.get("status") is not None:
        counted = counted.where(member(row.status, given["status"]))
    return counted.where(access.visible(row, scope.viewer)).correlate_except(row).scalar_subquery()


def probe_of(kind: enums.ProbeKind, description: str) -> Any:
    """The probe of a container that is of this kind; null where there is none."""

    async def resolve(root: Any, info: Info) -> Any:
        rows = await info.context.loaders.children(tables.ProbeRow, "container_id", root.row.id, "kind")
        return next((values.Probe.of(kind, reads.probe(row)) for row in rows if row.kind is kind), None)

    del resolve.__annotations__["return"]
    probe = Related(tables.ProbeRow, lambda row, probe, _: (probe.container_id == row.id, probe.kind == kind))
    return strawberry.field(resolver=resolve, description=description, metadata=says(probe))


def groups_of_artifact(artifact: Any, _: Scope, __: Any) -> Any:
    """The groups of an artifact, in order."""
    row = Alias(tables.ContainerRow)
    parts = (row.artifact_id, row.group_position, row.group_name.label("name"))
    return (
        select(*parts)
        .distinct()
        .where(row.artifact_id == artifact.id)
        .order_by(row.group_position, row.group_name)
        .correlate_except(row)
    )


def containers_of_group(group: Any, container: Any, _: Scope) -> Sequence[Any]:
    """That a container is one of a group, as `groups_of_artifact` reads it."""
    return (
        container.artifact_id == group.c.artifact_id,
        container.group_position == group.c.group_position,
        container.group_name == group.c.name,
    )


def containers_of_artifact(artifact: Any, container: Any, _: Scope) -> Sequence[Any]:
    """That a container is one of an artifact."""
    return (container.artifact_id == artifact.id,)


def by_group_and_position(container: Any) -> Sequence[Any]:
    """The order of the containers of an artifact."""
    return (container.group_position, container.position)


def facts_of_warnings(artifact: Any, _: Scope) -> Any:
    """What `warnings_of_facts` wants to know of an artifact, as SQL."""
    return func.json_build_array(reads.specification_document(artifact), artifact.status)


def warnings_of_facts(facts: Any, _: Any, __: Any) -> list[values.SpecWarning]:
    """The warnings about an artifact; none about a frame."""
    if facts is None:
        return []
    return spoken_warnings(specification.from_json(facts[0]), enums.ArtifactStatus(facts[1]))


def spoken_warnings(spec: specification.Specification, status: enums.ArtifactStatus) -> list[values.SpecWarning]:
    """The warnings about a specification."""
    found = linting.warnings(spec, status)
    return [values.SpecWarning(code=each.code, path=each.path, message=each.message) for each in found]


def active_test(artifact: Any, workload: Any, scope: Scope) -> Sequence[Any]:
    """That a workload is the active test of an artifact, which is a draft, and seen."""
    return (
        artifact.status == enums.ArtifactStatus.DRAFT,
        workload.artifact_id == artifact.id,
        workload.status != enums.WorkloadStatus.TERMINATED,
        workload.purpose == enums.WorkloadPurpose.TEST,
        access.visible(workload, scope.viewer),
    )
