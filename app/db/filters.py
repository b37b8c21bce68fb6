"""The filters and orders of the lists, as SQL. An empty list matches nothing; of several tags all must match.

`row` is the table that is listed, or an alias of it. The values in a filter may be parameters of a statement that is
prepared for all values: see `app.db.values`. Whether a value is there at all, and what is no value of SQL, is not.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Text, and_, exists, false, func, literal_column, or_, union_all
from sqlmodel import col, select

from app.db import access, tables
from app.db.aliases import Alias
from app.db.lists import Order, Walk, read_number, read_text, read_time
from app.db.values import among, member, one_of
from app.domain import enums, ids, lifecycle, references
from app.domain.people import Viewer

Conditions = tuple[ColumnElement[bool], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class TagMatch:
    """A tag of this name, with any of these values; None: with any value."""

    name: str
    values: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TimeRange:
    """From this moment on, and before that one."""

    start: datetime | None = None
    end: datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """Part of a text, as a pattern of LIKE, or an id between these two; None where no id can begin so."""

    pattern: str
    lowest: UUID | None = None
    highest: UUID | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """A whole reference as written, a name without tag and digest, or a digest."""

    text: str
    is_digest: bool = False
    is_name: bool = False


_ESCAPE = "/"


def search(kind: ids.Kind, text: str) -> Search:
    """What stands for a text that is looked for, in things of this kind."""
    escaped = text
    for special in (_ESCAPE, "%", "_"):
        escaped = escaped.replace(special, _ESCAPE + special)
    lowest, highest = ids.prefix_range(kind, text.strip().lower()) or (None, None)
    return Search(f"%{escaped}%", lowest, highest)


def image(text: str) -> Image:
    """What stands for an image that is looked for."""
    reference = references.parse(text)
    is_name = not isinstance(reference, str) and reference.name == text
    return Image(text, is_digest=references.is_digest(text), is_name=is_name)


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """What a list is narrowed to. None: not narrowed by this. A field that a list does not have stays None."""

    search: Search | None = None
    created_by: tuple[UUID, ...] | None = None
    tags: tuple[TagMatch, ...] | None = None
    type: tuple[enums.ArtifactType, ...] | None = None
    status: tuple[Any, ...] | None = None
    created_at: TimeRange | None = None
    updated_at: TimeRange | None = None
    image: Image | None = None
    in_use: bool | None = None
    active: bool | None = None
    purpose: enums.WorkloadPurpose | None = None
    importance: tuple[enums.Importance, ...] | None = None
    repository_id: UUID | None = None
    artifact_id: UUID | None = None
    artifact_status: enums.ArtifactStatus | None = None
    subject_id: UUID | None = None
    actor: tuple[UUID, ...] | None = None
    kind: tuple[enums.EventKind, ...] | None = None
    at: TimeRange | None = None
    walk: Walk | None = None
    """How a page goes through the ids: what is found through another table is then found in that order."""

    @property
    def narrows(self) -> bool:
        """Whether anything is asked for."""
        return any(getattr(self, each.name) is not None for each in dataclasses.fields(self) if each.name != "walk")


def repositories(row: Any, wanted: Filter, _: Viewer) -> Conditions:
    """The conditions of a list of repositories; `artifact_status` asks for one that has such an artifact."""
    artifact = tables.ArtifactRow
    found = [*_common(row, tables.RepositoryTagRow, "repository_id", wanted)]
    if wanted.type is not None:
        found.append(member(row.type, wanted.type))
    if wanted.artifact_status is not None:
        has = and_(col(artifact.repository_id) == row.id, col(artifact.status) == wanted.artifact_status)
        found.append(exists().where(has))
    return tuple(found)


def artifacts(row: Any, wanted: Filter, _: Viewer) -> Conditions:
    """The conditions of a list of artifacts."""
    found = [*_common(row, tables.ArtifactTagRow, "artifact_id", wanted)]
    if wanted.type is not None:
        found.append(member(row.type, wanted.type))
    if wanted.status is not None:
        found.append(member(row.status, wanted.status))
    if wanted.repository_id is not None:
        found.append(row.repository_id == wanted.repository_id)
    if wanted.image is not None:
        found.append(_has_image(row.id, wanted.image, wanted.walk))
    if wanted.in_use is not None:
        found.append(_in_use(row.id, wanted.walk) if wanted.in_use else ~_in_use(row.id))
    return tuple(found)


def workloads(row: Any, wanted: Filter, viewer: Viewer) -> Conditions:
    """The conditions of a list of workloads."""
    artifact = tables.ArtifactRow
    found = [*_common(row, tables.WorkloadTagRow, "workload_id", wanted)]
    if wanted.status is not None:
        found.append(member(row.status, wanted.status))
    if wanted.active is not None:
        active = row.status.in_(sorted(lifecycle.ACTIVE, key=enums.rank))
        found.append(active if wanted.active else ~active)
    if wanted.purpose is not None:
        found.append(row.purpose == wanted.purpose)
    if wanted.importance is not None:
        found.append(member(row.importance, wanted.importance))
    if wanted.artifact_id is not None:
        found.append(row.artifact_id == wanted.artifact_id)
    if wanted.repository_id is not None:
        found.append(row.repository_id == wanted.repository_id)
    if wanted.artifact_status is not None:
        found.append(
            exists().where(col(artifact.id) == row.artifact_id, col(artifact.status) == wanted.artifact_status)
        )
    if wanted.image is not None:
        # The containers of an artifact that is but a frame are not shown, so they are not found either.
        shown = select(artifact.id).where(access.visible(artifact, viewer))
        found += [_has_image(row.artifact_id, wanted.image), row.artifact_id.in_(shown)]
    return tuple(found)


def users(row: Any, wanted: Filter, _: Viewer) -> Conditions:
    """The conditions of a list of users."""
    return () if wanted.search is None else (_found_in(wanted.search, row.id, row.username, row.display_name),)


def events(row: Any, wanted: Filter, _: Viewer) -> Conditions:
    """The conditions of a list of events."""
    found = list(_within(row.at, wanted.at))
    if wanted.subject_id is not None:
        found.append(row.subject_id == wanted.subject_id)
    if wanted.actor is not None:
        found.append(among(row.actor_id, wanted.actor))
    if wanted.kind is not None:
        found.append(member(row.kind, wanted.kind))
    return tuple(found)


def _common(row: Any, tag: Any, on: str, wanted: Filter) -> Sequence[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.search is not None:
        found.append(_found_in(wanted.search, row.id, row.name, row.description))
    if wanted.created_by is not None:
        found.append(among(row.created_by_id, wanted.created_by))
    if wanted.tags == ():
        found.append(false())
    found += [_has_tag(row.id, tag, on, match, wanted.walk) for match in wanted.tags or ()]
    return [*found, *_within(row.created_at, wanted.created_at), *_within(row.updated_at, wanted.updated_at)]


def _within(column: Any, span: TimeRange | None) -> Iterator[ColumnElement[bool]]:
    if span is not None and span.start is not None:
        yield column >= span.start
    if span is not None and span.end is not None:
        yield column < span.end


def _has_tag(thing_id: Any, table: Any, on: str, wanted: TagMatch, walk: Walk | None) -> ColumnElement[bool]:
    """A tag of the thing; on a walk as a join, for a thing has one of a name, and an index has a value's in order."""
    tag = Alias(table)
    owner = getattr(tag, on)
    asked = [owner == thing_id, tag.name == wanted.name]
    if wanted.values is not None:
        asked.append(one_of(tag.value, wanted.values, Text()))
    return exists().where(*asked) if walk is None else and_(*asked, *walk.within(owner))


def _found_in(wanted: Search, thing_id: Any, *texts: Any) -> ColumnElement[bool]:
    """Part of a text, regardless of case, or the beginning of the id."""
    in_text = [func.lower(text).like(func.lower(wanted.pattern), escape=_ESCAPE) for text in texts]
    return or_(*in_text, false() if wanted.lowest is None else thing_id.between(wanted.lowest, wanted.highest))


def _has_image(artifact_id: Any, wanted: Image, walk: Walk | None = None) -> ColumnElement[bool]:
    """A container whose image is this: the whole reference, its name without tag and digest, or its digest."""
    container = tables.ContainerRow
    # A reference with nothing behind its name is its name.
    place = col(container.image_name) if wanted.is_name else col(container.image_uri)
    # A digest has the form of a reference as well.
    digests = (col(container.image_digest), tables.written_digest) if wanted.is_digest else ()
    selects = [select(container.artifact_id).where(each == wanted.text) for each in (place, *digests)]
    return _found_by(artifact_id, selects, walk)


def _in_use(artifact_id: Any, walk: Walk | None = None) -> ColumnElement[bool]:
    """A workload of the artifact that has not ended."""
    workload = tables.WorkloadRow
    live = col(workload.status) != enums.WorkloadStatus.TERMINATED
    if walk is None:
        return exists().where(col(workload.artifact_id) == artifact_id, live)
    return _found_by(artifact_id, [select(workload.artifact_id).where(live)], walk)


def _found_by(row_id: Any, selects: Sequence[Any], walk: Walk | None) -> ColumnElement[bool]:
    """Whether an id is among those that these find, each by an index; in the order of a walk, where there is one."""
    if walk is None:
        found: Any = union_all(*selects) if len(selects) > 1 else selects[0]
        return row_id.in_(found)  # type: ignore[no-any-return]
    bounded: Any = union_all(*(each.where(*walk.within(each.selected_columns[0])) for each in selects))
    found_id: Any = bounded.subquery().c[0]
    once: Any = select(found_id).distinct().order_by(walk.sort(found_id))
    return once.subquery().c[0] == row_id  # type: ignore[no-any-return]


def _lowered(name: str) -> Callable[[Any], Any]:
    return lambda table: func.lower(getattr(table, name), type_=Text())


def _by(name: str) -> Callable[[Any], Any]:
    return lambda table: getattr(table, name)


_NAME = Order("NAME", _lowered("name"), read_text)
_CREATED_AT = Order("CREATED_AT", _by("created_at"), read_time)
_UPDATED_AT = Order("UPDATED_AT", _by("updated_at"), read_time)

REPOSITORY_ORDERS: Mapping[str, Order] = {each.name: each for each in (_NAME, _CREATED_AT, _UPDATED_AT)}
ARTIFACT_ORDERS: Mapping[str, Order] = {
    **REPOSITORY_ORDERS,
    "STATUS": Order("STATUS", _by("status"), enums.ArtifactStatus),
    # Drafts have no version and come first.
    "VERSION": Order(
        "VERSION", lambda table: func.coalesce(table.version, literal_column("0"), type_=Integer()), read_number
    ),
}
WORKLOAD_ORDERS: Mapping[str, Order] = {
    **REPOSITORY_ORDERS,
    "STATUS": Order("STATUS", _by("status"), enums.WorkloadStatus),
    "IMPORTANCE": Order("IMPORTANCE", _by("importance"), enums.Importance),
}
# Without an order: newest first. Ids are UUIDv7, so the id alone is that order.
NEWEST_FIRST = Order(
    "NEWEST", lambda table: table.id, lambda value: UUID(read_text(value)), descending=True, by_id=True
)
# Without an order: events.
OLDEST_FIRST = Order("OLDEST", _by("at"), read_time)
