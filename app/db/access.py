"""The visibility rule, as SQL. Every list, count, edge, offer and mutation asks here and nowhere else.

A role on a repository holds for its artifacts, a role on an artifact for its workloads; of several the strongest
counts. A thing under which the viewer sees something, though it has no role there, is a *frame*: it can be reached, and
is in no list. So is what a workload that the viewer sees ran before it was replaced, or is to run.

An event is seen by whoever has a role on what it tells of, or on what that stood under, and by whoever did it.

What is shared with a viewer is listed once for a statement, which is what costs least, unless it is a lot, or one row
is asked about: then each row is looked up. A list of all that a viewer sees begins with that, where it is little.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Float,
    ScalarSelect,
    Text,
    Uuid,
    and_,
    any_,
    column as sql_column,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    table as sql_table,
    true,
    union_all,
)
from sqlmodel import col

from app.db import tables
from app.db.aliases import Alias
from app.db.tables.columns import ROLE
from app.db.values import one_of
from app.domain.enums import Role
from app.domain.people import Viewer

LISTED_MAXIMUM = 1_000
# To find and to sort so many takes some milliseconds, and so does to come across twenty of more among a million.
LITTLE_MAXIMUM = 5_000
LITTLE_SHARE = 20
# How many rows PostgreSQL believes that it has: https://www.postgresql.org/docs/current/catalog-pg-class.html
ARTIFACTS = "oid = 'artifacts'::regclass"

Shared = (
    type[tables.RepositoryRow]
    | type[tables.ArtifactRow]
    | type[tables.WorkloadRow]
    | type[tables.CredentialRow]
    | type[tables.EventRow]
)

# What gives a role on what an event tells of, or on what that stood under: the grants, the column that names the thing
# in them, and the one that names it in the event.
EVENT_GRANTS: Sequence[tuple[Any, str, str]] = (
    (tables.RepositoryGrantRow, "repository_id", "repository_id"),
    (tables.ArtifactGrantRow, "artifact_id", "artifact_id"),
    (tables.WorkloadGrantRow, "workload_id", "workload_id"),
    (tables.CredentialGrantRow, "credential_id", "subject_id"),
)


def entity(thing: Any) -> Shared:
    """The table that `thing` is, or is an alias of."""
    kind: Shared = thing.entity if isinstance(thing, Alias) else thing
    return kind


def subject_is(grant: Any, viewer: Viewer) -> ColumnElement[bool]:
    """Whether a grant is for this viewer: by name, by group or for everyone."""
    return or_(*_subjects(grant, viewer))


def _granted(grant: Any, on: str, thing_id: Any, viewer: Viewer) -> ColumnElement[bool]:
    """Whether a grant of this table gives the viewer a role on the thing of this id."""
    if viewer.sees_much:
        # With a limit it stays a lookup: PostgreSQL would make a list of it again.
        found = select(true()).where(getattr(grant, on) == thing_id, subject_is(grant, viewer)).limit(1)
        # The thing may stand two selects further out.
        return found.correlate_except(grant).scalar_subquery()
    return thing_id.in_(select(getattr(grant, on)).where(subject_is(grant, viewer)))  # type: ignore[no-any-return]


def sees_much(viewer: Viewer) -> ColumnElement[bool]:
    """Whether so much is shared with a viewer that it is better looked up."""
    tables_of_grants: Sequence[Any] = (tables.RepositoryGrantRow, tables.ArtifactGrantRow, tables.WorkloadGrantRow)
    found = [
        _up_to(LISTED_MAXIMUM + 1, select(grant.id).where(subject)) > LISTED_MAXIMUM
        for grant in tables_of_grants
        for subject in _subjects(grant, viewer)
    ]
    return or_(*found)


def sees_little(viewer: Viewer) -> ColumnElement[bool]:
    """Whether so little stands in the repositories that are shared with a viewer that a list may begin with all of it.

    Of the artifacts that is one in twenty at most: who sees more comes across them soon enough.
    """
    subjects = _subjects(tables.RepositoryGrantRow, viewer)
    artifacts, workloads = (
        _up_to(LITTLE_MAXIMUM + 1, union_all(*(_under_repositories(table, subject) for subject in subjects)))
        for table in (tables.ArtifactRow, tables.WorkloadRow)
    )
    reltuples = sql_column("reltuples", Float)
    about: Any = select(reltuples).select_from(sql_table("pg_class", reltuples)).where(literal_column(ARTIFACTS))
    few = func.least(literal_column(str(LITTLE_MAXIMUM)), about.scalar_subquery() / LITTLE_SHARE)
    return and_(artifacts <= few, workloads <= LITTLE_MAXIMUM)


def _subjects(grant: Any, viewer: Viewer) -> Sequence[ColumnElement[bool]]:
    """What makes a grant one for a viewer, each by itself: an index serves each."""
    return (
        grant.user_id == viewer.user_id,
        one_of(grant.group_name, viewer.groups, Text()),
        and_(grant.user_id.is_(None), grant.group_name.is_(None)),
    )


def _up_to(maximum: int, rows: Any) -> Any:
    """How many rows there are; of more than `maximum` that number."""
    some: Any = rows.limit(maximum).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _under_repositories(table: Any, subject: ColumnElement[bool]) -> Any:
    """The ids of the rows of a table in repositories with such a grant."""
    return _under(table, "repository_id", tables.RepositoryGrantRow, "repository_id", subject)


def _under(table: Any, named: str, grant: Any, on: str, subject: ColumnElement[bool]) -> Any:
    """The ids of the rows whose column `named` names what such a grant is on, looked up grant by grant."""
    row = Alias(table)
    # OFFSET keeps PostgreSQL from reading all rows there are.
    under: Any = select(row.id).where(getattr(row, named) == getattr(grant, on)).offset(literal_column("0"))
    found: Any = under.correlate(grant.__table__).lateral()
    return select(found.c.id).select_from(grant).join(found, true()).where(subject).correlate_except(grant, found)


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
    own = _own(thing, viewer)
    if issubclass(kind, tables.ArtifactRow):
        return or_(_granted(tables.RepositoryGrantRow, "repository_id", thing.repository_id, viewer), own)
    if issubclass(kind, tables.WorkloadRow):
        return or_(
            _granted(tables.RepositoryGrantRow, "repository_id", thing.repository_id, viewer),
            _granted(tables.ArtifactGrantRow, "artifact_id", thing.artifact_id, viewer),
            own,
        )
    return own


def _event(event: Any, viewer: Viewer) -> ColumnElement[bool]:
    """Whether the viewer may see an event. What was deleted has no grants of its own any more."""
    granted = (_granted(grant, on, getattr(event, named), viewer) for grant, on, named in EVENT_GRANTS)
    return or_(*granted, event.actor_id == viewer.user_id)


def _own(thing: Any, viewer: Viewer) -> ColumnElement[bool]:
    """Whether the viewer has a role on a row of `thing` by a grant on that row."""
    kind = entity(thing)
    if issubclass(kind, tables.EventRow):
        return _event(thing, viewer)
    if issubclass(kind, tables.RepositoryRow):
        return _granted(tables.RepositoryGrantRow, "repository_id", thing.id, viewer)
    if issubclass(kind, tables.ArtifactRow):
        return _granted(tables.ArtifactGrantRow, "artifact_id", thing.id, viewer)
    if issubclass(kind, tables.WorkloadRow):
        return _granted(tables.WorkloadGrantRow, "workload_id", thing.id, viewer)
    return _granted(tables.CredentialGrantRow, "credential_id", thing.id, viewer)


def inherited(seen: Any, thing: Any, viewer: Viewer) -> ColumnElement[bool]:
    """The same for a row under another, on which the viewer has a role where `seen` holds: that is one on this as well.

    An artifact stands under its repository, a workload under its artifact, an event under each of them.
    """
    return or_(seen, _own(thing, viewer))


def listed(thing: Any, viewer: Viewer) -> ColumnElement[bool]:
    """The same, for a list of all rows of `thing`: where the viewer sees little it begins with that."""
    kind = entity(thing)
    if viewer.admin or not viewer.sees_little:
        return visible(thing, viewer)

    def shared(grant: Any, on: str) -> Any:
        return select(getattr(grant, on).label("id")).where(subject_is(grant, viewer))

    if issubclass(kind, tables.RepositoryRow):
        parts = [shared(tables.RepositoryGrantRow, "repository_id")]
    elif issubclass(kind, tables.CredentialRow):
        parts = [shared(tables.CredentialGrantRow, "credential_id")]
    elif issubclass(kind, tables.EventRow):
        event = Alias(tables.EventRow)
        parts = [_under(kind, named, grant, on, subject_is(grant, viewer)) for grant, on, named in EVENT_GRANTS]
        parts.append(select(event.id).where(event.actor_id == viewer.user_id))
    else:
        parts = [_under_repositories(kind, subject_is(tables.RepositoryGrantRow, viewer))]
        parts.append(shared(tables.ArtifactGrantRow, "artifact_id"))
        if issubclass(kind, tables.WorkloadRow):
            row = Alias(tables.WorkloadRow)
            parts[1] = select(row.id).where(row.artifact_id.in_(parts[1]))
            parts.append(shared(tables.WorkloadGrantRow, "workload_id"))
    ids = union_all(*parts).subquery() if len(parts) > 1 else parts[0].subquery()
    everything = func.array(select(ids.c.id).scalar_subquery(), type_=ARRAY(Uuid()))
    return thing.id == any_(everything)  # type: ignore[no-any-return]


def of_all(thing: Any, viewer: Viewer) -> ColumnElement[bool]:
    """The same, where all rows are gone through: then a list of what is shared costs less than to look each up."""
    return listed(thing, dataclasses.replace(viewer, sees_much=False))


def looking_up(viewer: Viewer) -> Viewer:
    """The viewer, for whom each row is looked up: which is what costs least where it is one."""
    return dataclasses.replace(viewer, sees_much=True)


def reachable(thing: Any, viewer: Viewer, seen: Any = None) -> ColumnElement[bool]:
    """Whether the viewer may see a row of `thing` at all: by a role, or as a frame of what stands under it.

    `seen` says whether there is a role, where that is known.
    """
    kind = entity(thing)
    seen = visible(thing, viewer) if seen is None else seen
    if viewer.admin or not issubclass(kind, tables.RepositoryRow | tables.ArtifactRow):
        return seen  # type: ignore[no-any-return]
    workload = tables.WorkloadRow
    of_workload = _granted(tables.WorkloadGrantRow, "workload_id", col(workload.id), viewer)
    if issubclass(kind, tables.ArtifactRow):
        return or_(
            seen,
            exists().where(col(workload.artifact_id) == thing.id, of_workload),
            exists().where(*_in_the_history(thing.id, viewer)),
        )
    within = tables.ArtifactRow
    of_artifact = _granted(tables.ArtifactGrantRow, "artifact_id", col(within.id), viewer)
    return or_(
        seen,
        exists().where(col(within.repository_id) == thing.id, of_artifact),
        exists().where(col(workload.repository_id) == thing.id, of_workload),
        exists().where(col(within.repository_id) == thing.id, *_in_the_history(col(within.id), viewer)),
    )


def _in_the_history(artifact_id: Any, viewer: Viewer) -> Iterator[ColumnElement[bool]]:
    """That an artifact is named by a replacement of a workload that the viewer sees."""
    replacement, workload = tables.ReplacementRow, tables.WorkloadRow
    yield or_(col(replacement.from_artifact_id) == artifact_id, col(replacement.to_artifact_id) == artifact_id)
    yield col(workload.id) == col(replacement.workload_id)
    yield visible(workload, viewer)
