"""The inputs that narrow and sort lists, and how they are read."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from app.api import enums as graph_enums
from app.api.connections import bad_input, read_text
from app.db import filters
from app.domain import enums, ids, validation

LIST_MAXIMUM = 100
IDS_MAXIMUM = 100


def read_id(path: str, kind: ids.Kind, text: str) -> UUID:
    """An id of this kind, from an argument of a query.

    Raises:
        GraphQLError: it is none.
    """
    decoded = ids.decode_as(kind, text)
    if decoded is None:
        raise bad_input(path, f"{text[:64]!r} is no id of this kind: they begin with {kind.value}_.")
    return decoded


def read_any_id(text: str, path: str = "id") -> tuple[ids.Kind, UUID]:
    """An id of any kind, from an argument of a query.

    Raises:
        GraphQLError: it is none.
    """
    decoded = ids.decode(text)
    if decoded is None:
        raise bad_input(path, f"{text[:64]!r} is no id: they have a prefix, '_' and 26 letters and digits.")
    return decoded


def read_ids(texts: Sequence[str]) -> list[tuple[ids.Kind, UUID] | None]:
    """The ids of the argument `ids`, of any kind; None for each that is none.

    Raises:
        GraphQLError: they are too many.
    """
    if len(texts) > IDS_MAXIMUM:
        raise bad_input("ids", f"There are {len(texts)}; at most {IDS_MAXIMUM} are allowed.")
    return [ids.decode(each) for each in texts]


def read_list(path: str, given: Sequence[Any] | None) -> tuple[Any, ...] | None:
    """A list of bounded length.

    Raises:
        GraphQLError: it is longer.
    """
    if given is not None and len(given) > LIST_MAXIMUM:
        raise bad_input(path, f"There are {len(given)}; at most {LIST_MAXIMUM} are allowed.")
    return None if given is None else tuple(given)


@strawberry.input(description="A tag that must be there.")
class TagFilter:
    """A tag to look for."""

    name: str = strawberry.field(description="The name of the tag.")
    values: list[str] | None = strawberry.field(default=None, description="Any of these values; left out: any value.")

    def read(self, path: str) -> filters.TagMatch:
        """As the reads take it."""
        values = read_list(f"{path}.values", self.values)
        for position, value in enumerate(values or ()):
            read_text(f"{path}.values[{position}]", value, validation.TAG_VALUE_MAXIMUM_LENGTH)
        name = read_text(f"{path}.name", self.name, validation.TAG_NAME_MAXIMUM_LENGTH)
        return filters.TagMatch(name, values)


@strawberry.input(description="A span of time: takes `from` and leaves out `to`.")
class TimeRange:
    """A span of time."""

    from_: datetime | None = strawberry.field(default=None, name="from", description="From this moment on.")
    to: datetime | None = strawberry.field(default=None, description="Before this moment.")

    def read(self) -> filters.TimeRange:
        """As the reads take it."""
        return filters.TimeRange(self.from_, self.to)


SEARCH = "Part of the name or description, regardless of case, or the beginning of the id; up to 100 characters."
CREATED_BY = "Created by any of these users."
TAGS = "All of these tags."
CREATED_AT = "Created in this span."
UPDATED_AT = "Changed last in this span."
TYPES = "Of any of these types."
IMAGE = "With a container of this image: a whole reference as written, a name without tag and digest, or a digest."


@strawberry.input(description="What repositories are narrowed to; all of it must hold. An empty list matches nothing.")
class RepositoryFilter:
    """Narrows a list of repositories."""

    search: str | None = strawberry.field(default=None, description=SEARCH)
    created_by: list[strawberry.ID] | None = strawberry.field(default=None, description=CREATED_BY)
    tags: list[TagFilter] | None = strawberry.field(default=None, description=TAGS)
    type: list[enums.ArtifactType] | None = strawberry.field(default=None, description=TYPES)
    has_status: enums.ArtifactStatus | None = strawberry.field(
        default=None, description="Holding an artifact of this status."
    )
    created_at: TimeRange | None = strawberry.field(default=None, description=CREATED_AT)
    updated_at: TimeRange | None = strawberry.field(default=None, description=UPDATED_AT)

    def read(self) -> filters.Filter:
        """As the reads take it."""
        return dataclasses.replace(
            _common(self, ids.Kind.REPOSITORY),
            type=read_list("filter.type", self.type),
            artifact_status=self.has_status,
            updated_at=None if self.updated_at is None else self.updated_at.read(),
        )


@strawberry.input(description="What artifacts are narrowed to; all of it must hold. An empty list matches nothing.")
class ArtifactFilter:
    """Narrows a list of artifacts."""

    search: str | None = strawberry.field(default=None, description=SEARCH)
    created_by: list[strawberry.ID] | None = strawberry.field(default=None, description=CREATED_BY)
    tags: list[TagFilter] | None = strawberry.field(default=None, description=TAGS)
    type: list[enums.ArtifactType] | None = strawberry.field(default=None, description=TYPES)
    status: list[enums.ArtifactStatus] | None = strawberry.field(default=None, description="In any of these statuses.")
    repository_id: strawberry.ID | None = strawberry.field(default=None, description="In this repository.")
    image: str | None = strawberry.field(default=None, description=IMAGE)
    in_use: bool | None = strawberry.field(
        default=None, description="Whether a workload that is not TERMINATED runs it."
    )
    created_at: TimeRange | None = strawberry.field(default=None, description=CREATED_AT)
    updated_at: TimeRange | None = strawberry.field(default=None, description=UPDATED_AT)

    def read(self) -> filters.Filter:
        """As the reads take it."""
        return dataclasses.replace(
            _common(self, ids.Kind.ARTIFACT),
            type=read_list("filter.type", self.type),
            status=read_list("filter.status", self.status),
            repository_id=_read_optional("filter.repositoryId", ids.Kind.REPOSITORY, self.repository_id),
            image=_read_image(self.image),
            in_use=self.in_use,
            updated_at=None if self.updated_at is None else self.updated_at.read(),
        )


@strawberry.input(description="What workloads are narrowed to; all of it must hold. An empty list matches nothing.")
class WorkloadFilter:
    """Narrows a list of workloads."""

    search: str | None = strawberry.field(default=None, description=SEARCH)
    created_by: list[strawberry.ID] | None = strawberry.field(default=None, description=CREATED_BY)
    tags: list[TagFilter] | None = strawberry.field(default=None, description=TAGS)
    status: list[enums.WorkloadStatus] | None = strawberry.field(default=None, description="In any of these statuses.")
    active: bool | None = strawberry.field(
        default=None, description="Whether it is active: neither STOPPED nor TERMINATED."
    )
    purpose: enums.WorkloadPurpose | None = strawberry.field(default=None, description="Tests, or services.")
    importance: list[enums.Importance] | None = strawberry.field(
        default=None, description="Of any of these importances."
    )
    artifact_id: strawberry.ID | None = strawberry.field(default=None, description="Of this artifact.")
    repository_id: strawberry.ID | None = strawberry.field(default=None, description="Of this repository.")
    artifact_status: enums.ArtifactStatus | None = strawberry.field(
        default=None, description="Of an artifact of this status."
    )
    image: str | None = strawberry.field(default=None, description=IMAGE)
    created_at: TimeRange | None = strawberry.field(default=None, description=CREATED_AT)

    def read(self) -> filters.Filter:
        """As the reads take it."""
        return dataclasses.replace(
            _common(self, ids.Kind.WORKLOAD),
            status=read_list("filter.status", self.status),
            active=self.active,
            purpose=self.purpose,
            importance=read_list("filter.importance", self.importance),
            artifact_id=_read_optional("filter.artifactId", ids.Kind.ARTIFACT, self.artifact_id),
            repository_id=_read_optional("filter.repositoryId", ids.Kind.REPOSITORY, self.repository_id),
            artifact_status=self.artifact_status,
            image=_read_image(self.image),
        )


@strawberry.input(description="What events are narrowed to; all of it must hold. An empty list matches nothing.")
class EventFilter:
    """Narrows a list of events."""

    subject_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of this very thing, which may be gone; not of what stands under it."
    )
    actor: list[strawberry.ID] | None = strawberry.field(default=None, description="Done by any of these users.")
    kind: list[enums.EventKind] | None = strawberry.field(default=None, description="Of any of these kinds.")
    at: TimeRange | None = strawberry.field(default=None, description="Happened in this span.")

    def read(self) -> filters.Filter:
        """As the reads take it."""
        return filters.Filter(
            subject_id=None if self.subject_id is None else read_any_id(self.subject_id, "filter.subjectId")[1],
            actor=_read_users("filter.actor", self.actor),
            kind=read_list("filter.kind", self.kind),
            at=None if self.at is None else self.at.read(),
        )


@strawberry.input(description="How repositories are sorted; ties break by id, in the same direction.")
class RepositoryOrder:
    """Sorts repositories."""

    field: graph_enums.RepositoryOrderField = strawberry.field(description="What they are sorted by.")
    direction: graph_enums.Direction = strawberry.field(default=graph_enums.Direction.ASC, description="Which way.")


@strawberry.input(description="How artifacts are sorted; ties break by id, in the same direction.")
class ArtifactOrder:
    """Sorts artifacts."""

    field: graph_enums.ArtifactOrderField = strawberry.field(description="What they are sorted by.")
    direction: graph_enums.Direction = strawberry.field(default=graph_enums.Direction.ASC, description="Which way.")


@strawberry.input(description="How workloads are sorted; ties break by id, in the same direction.")
class WorkloadOrder:
    """Sorts workloads."""

    field: graph_enums.WorkloadOrderField = strawberry.field(description="What they are sorted by.")
    direction: graph_enums.Direction = strawberry.field(default=graph_enums.Direction.ASC, description="Which way.")


def _common(given: RepositoryFilter | ArtifactFilter | WorkloadFilter, kind: ids.Kind) -> filters.Filter:
    tags = read_list("filter.tags", given.tags)
    search = given.search
    if search is not None:
        read_text("filter.search", search, validation.SEARCH_MAXIMUM_LENGTH)
    return filters.Filter(
        search=None if search is None else filters.search(kind, search),
        created_by=_read_users("filter.createdBy", given.created_by),
        tags=None if tags is None else tuple(tag.read(f"filter.tags[{at}]") for at, tag in enumerate(tags)),
        created_at=None if given.created_at is None else given.created_at.read(),
    )


def _read_users(path: str, texts: Sequence[str] | None) -> tuple[UUID, ...] | None:
    given = read_list(path, texts)
    if given is None:
        return None
    return tuple(read_id(f"{path}[{position}]", ids.Kind.USER, text) for position, text in enumerate(given))


def _read_optional(path: str, kind: ids.Kind, text: str | None) -> UUID | None:
    return None if text is None else read_id(path, kind, text)


def _read_image(image: str | None) -> filters.Image | None:
    if image is None:
        return None
    return filters.image(read_text("filter.image", image, validation.IMAGE_URI_MAXIMUM_LENGTH))
