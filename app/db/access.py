"""The visibility rule, as SQL. Every list, count, edge, offer and mutation asks here and nowhere else.

A role on a repository holds for its artifacts, a role on an artifact for its workloads; of several the strongest
counts. A thing under which the viewer sees something, though it has no role there, is a *frame*: it can be reached, and
is in no list. So is what a workload that the viewer sees ran before it was replaced, or is to run.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Text, and_, exists, func, literal, or_, select, true
from sqlmodel import col

from app.db import tables
from app.db.aliases import Alias
from app.db.tables.columns import ROLE
from app.db.values import one_of
from app.domain.enums import Role
from app.domain.people import Viewer

Shared = type[tables.RepositoryRow] | type[tables.ArtifactRow] | type[tables.WorkloadRow] | type[tables.CredentialRow]


def entity(thing: Any) -> Shared:
    """The table that `thing` is, or is an alias of."""
    kind: Shared = thing.entity if isinstance(thing, Alias) else thing
    return kind


def subject_is(grant: Any, viewer: Viewer) -> ColumnElement[bool]:
    """Whether a grant is for this viewer: by name, by group or for everyone."""
    return or_(
        grant.user_id == viewer.user_id,
        one_of(grant.group_name, viewer.groups, Text()),
        and_(grant.user_id.is_(None), grant.group_name.is_(None)),
    )


def granted(grant: Any, on: str, viewer: Viewer) -> Any:
    """The ids of the things that grants of this table give the viewer a role on."""
    return select(getattr(grant, on)).where(subject_is(grant, viewer))


def _strongest(grant: Any, on: Any, to: Any, viewer: Viewer) -> ScalarSelect[Any]:
    return select(func.max(grant.role)).where(on == to, subject_is(grant, viewer)).scalar_subquery()


def repository_role(repository_id: Any, viewer: Viewer) -> ColumnElement[Role | None]:
    """The viewer's role on the repository of this id; null where there is none."""
    if viewer.admin:
        return literal(Role.OWNER, ROLE)
    grant = tables.RepositoryGrantRow
    return _strongest(grant, col(grant.repository_id), repository_id, viewer)


def _artifact_role(artifact_id: Any, viewer: Viewer) -> ScalarSelect[Any]:
    grant = tables.ArtifactGrantRow
    return _strongest(grant, col(grant.artifact_id), artifact_id, viewer)


def role(thing: Any, viewer: Viewer) -> ColumnElement[Role | None]:
    """The viewer's role on a row of `thing` (a table or an alias of one); null where there is none."""
    kind = entity(thing)
    if viewer.admin:
        return literal(Role.OWNER, ROLE)
    if issubclass(kind, tables.RepositoryRow):
        return repository_role(thing.id, viewer)
    if issubclass(kind, tables.ArtifactRow):
        return func.greatest(repository_role(thing.repository_id, viewer), _artifact_role(thing.id, viewer), type_=ROLE)
    if issubclass(kind, tables.WorkloadRow):
        grant = tables.WorkloadGrantRow
        return func.greatest(
            repository_role(thing.repository_id, viewer),
            _artifact_role(thing.artifact_id, viewer),
            _strongest(grant, col(grant.workload_id), thing.id, viewer),
            type_=ROLE,
        )
    own = tables.CredentialGrantRow
    return _strongest(own, col(own.credential_id), thing.id, viewer)


def visible(thing: Any, viewer: Viewer) -> ColumnElement[bool]:
    """Whether the viewer has a role on a row of `thing`."""
    kind = entity(thing)
    if viewer.admin:
        return true()
    repositories = granted(tables.RepositoryGrantRow, "repository_id", viewer)
    artifacts = granted(tables.ArtifactGrantRow, "artifact_id", viewer)
    if issubclass(kind, tables.RepositoryRow):
        return thing.id.in_(repositories)  # type: ignore[no-any-return]
    if issubclass(kind, tables.ArtifactRow):
        return or_(thing.repository_id.in_(repositories), thing.id.in_(artifacts))
    if issubclass(kind, tables.WorkloadRow):
        return or_(
            thing.repository_id.in_(repositories),
            thing.artifact_id.in_(artifacts),
            thing.id.in_(granted(tables.WorkloadGrantRow, "workload_id", viewer)),
        )
    return thing.id.in_(granted(tables.CredentialGrantRow, "credential_id", viewer))  # type: ignore[no-any-return]


def reachable(thing: Any, viewer: Viewer) -> ColumnElement[bool]:
    """Whether the viewer may see a row of `thing` at all: by a role, or as a frame of what stands under it."""
    kind = entity(thing)
    seen = visible(thing, viewer)
    if viewer.admin or not issubclass(kind, tables.RepositoryRow | tables.ArtifactRow):
        return seen
    workloads = granted(tables.WorkloadGrantRow, "workload_id", viewer)
    under = tables.WorkloadRow
    if issubclass(kind, tables.ArtifactRow):
        return or_(
            seen,
            exists().where(col(under.artifact_id) == thing.id, col(under.id).in_(workloads)),
            exists().where(*_in_the_history(thing.id, viewer)),
        )
    artifacts = granted(tables.ArtifactGrantRow, "artifact_id", viewer)
    within = tables.ArtifactRow
    return or_(
        seen,
        exists().where(col(within.repository_id) == thing.id, col(within.id).in_(artifacts)),
        exists().where(col(under.repository_id) == thing.id, col(under.id).in_(workloads)),
        exists().where(col(within.repository_id) == thing.id, *_in_the_history(col(within.id), viewer)),
    )


def _in_the_history(artifact_id: Any, viewer: Viewer) -> Iterator[ColumnElement[bool]]:
    """That an artifact is named by a replacement of a workload that the viewer sees."""
    replacement, workload = tables.ReplacementRow, tables.WorkloadRow
    yield or_(col(replacement.from_artifact_id) == artifact_id, col(replacement.to_artifact_id) == artifact_id)
    yield col(workload.id) == col(replacement.workload_id)
    yield visible(workload, viewer)
