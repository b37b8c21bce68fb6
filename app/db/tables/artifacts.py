"""Repositories and artifacts: the registry."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint, func, text as sql
from sqlmodel import Field, SQLModel, col

from app.db.tables.columns import (
    ARTIFACT_TYPE,
    JSON_DOCUMENT,
    TIMESTAMP,
    VARIABLE_TYPE,
    Created,
    Grant,
    Tag,
    enum_type,
)
from app.db.tables.external_ids import UNMAPPED, external_id
from app.domain import enums
from app.domain.ids import Kind


class RepositoryRow(Created, table=True):
    """The lineage of one service. `last_version` is the version of its newest lock, 0 before the first."""

    __tablename__ = "repositories"
    __mapper_args__ = UNMAPPED
    __table_args__ = (
        external_id(Kind.REPOSITORY),
        UniqueConstraint("id", "type"),
    )

    name: str = Field(sa_type=Text)
    description: str = Field(default="", sa_type=Text)
    type: enums.ArtifactType = Field(sa_type=ARTIFACT_TYPE)
    revision: int = 1
    last_version: int = 0


class RepositoryTagRow(Tag, table=True):
    """A tag of a repository."""

    __tablename__ = "repository_tags"
    __table_args__ = (Index(None, "name", "value", "repository_id"),)

    repository_id: UUID = Field(primary_key=True, foreign_key="repositories.id", ondelete="CASCADE")


class RepositoryGrantRow(Grant, table=True):
    """A role on a repository."""

    __tablename__ = "repository_grants"
    __table_args__ = (
        UniqueConstraint("repository_id", "user_id", "group_name", postgresql_nulls_not_distinct=True),
        CheckConstraint("user_id IS NULL OR group_name IS NULL", name="one_subject"),
        Index(None, "user_id"),
        Index(None, "group_name", "user_id"),
    )

    repository_id: UUID = Field(foreign_key="repositories.id", ondelete="CASCADE")


class ArtifactRow(Created, table=True):
    """What runs. Once `status` is LOCKED, the database refuses every change but those of tags and grants."""

    __tablename__ = "artifacts"
    __mapper_args__ = UNMAPPED
    __table_args__ = (
        external_id(Kind.ARTIFACT),
        UniqueConstraint("repository_id", "version"),
        UniqueConstraint("id", "repository_id"),
        ForeignKeyConstraint(["repository_id", "type"], ["repositories.id", "repositories.type"]),
        CheckConstraint(
            "(status = 'LOCKED') = (version IS NOT NULL)"
            " AND (status = 'LOCKED') = (locked_at IS NOT NULL)"
            " AND (status = 'LOCKED') = (locked_by_id IS NOT NULL)",
            name="locked_has_version",
        ),
        CheckConstraint("version > 0", name="version_positive"),
    )

    repository_id: UUID
    name: str = Field(sa_type=Text)
    description: str = Field(default="", sa_type=Text)
    type: enums.ArtifactType = Field(sa_type=ARTIFACT_TYPE)
    status: enums.ArtifactStatus = Field(
        default=enums.ArtifactStatus.DRAFT, sa_type=enum_type(enums.ArtifactStatus, "artifact_status")
    )
    version: int | None = None
    revision: int = 1
    digest: str = Field(sa_type=Text)
    locked_by_id: UUID | None = Field(default=None, foreign_key="users.id")
    locked_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)
    cloned_from_id: UUID | None = Field(default=None, foreign_key="artifacts.id")


class ArtifactTagRow(Tag, table=True):
    """A tag of an artifact."""

    __tablename__ = "artifact_tags"
    __table_args__ = (Index(None, "name", "value", "artifact_id"),)

    artifact_id: UUID = Field(primary_key=True, foreign_key="artifacts.id", ondelete="CASCADE")


class ArtifactGrantRow(Grant, table=True):
    """A role on an artifact."""

    __tablename__ = "artifact_grants"
    __table_args__ = (
        UniqueConstraint("artifact_id", "user_id", "group_name", postgresql_nulls_not_distinct=True),
        CheckConstraint("user_id IS NULL OR group_name IS NULL", name="one_subject"),
        Index(None, "user_id"),
        Index(None, "group_name", "user_id"),
    )

    artifact_id: UUID = Field(foreign_key="artifacts.id", ondelete="CASCADE")


class ContainerRow(SQLModel, table=True):
    """One container of an artifact. `image_name` is the reference without tag and digest, for the image filter."""

    __tablename__ = "containers"
    __mapper_args__ = UNMAPPED
    __table_args__ = (
        external_id(Kind.CONTAINER),
        UniqueConstraint("artifact_id", "group_position", "name", deferrable=True, initially="DEFERRED"),
        Index(None, "image_uri", "artifact_id"),
        Index(None, "image_name", "artifact_id"),
        Index(None, "image_digest", "artifact_id", postgresql_where=sql("image_digest IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    artifact_id: UUID = Field(foreign_key="artifacts.id", ondelete="CASCADE")
    group_position: int = 0
    group_name: str = Field(sa_type=Text)
    position: int
    name: str = Field(sa_type=Text)
    description: str = Field(default="", sa_type=Text)
    image_uri: str = Field(sa_type=Text)
    image_name: str = Field(sa_type=Text)
    image_digest: str | None = Field(default=None, sa_type=Text)
    port: int | None = None
    primary: bool
    entrypoint: list[str] | None = Field(default=None, sa_type=JSON_DOCUMENT)


class EnvironmentVariableRow(SQLModel, table=True):
    """A variable of a container."""

    __tablename__ = "environment_variables"

    container_id: UUID = Field(primary_key=True, foreign_key="containers.id", ondelete="CASCADE")
    name: str = Field(primary_key=True, sa_type=Text)
    position: int
    type: enums.EnvironmentVariableType = Field(sa_type=VARIABLE_TYPE)
    value: str | None = Field(default=None, sa_type=Text)
    credential_id: UUID | None = Field(default=None, foreign_key="credentials.id", index=True)
    field: str | None = Field(default=None, sa_type=Text)


class ProbeRow(SQLModel, table=True):
    """A probe of a container; `headers` is a list of {"name", "value"}."""

    __tablename__ = "probes"

    container_id: UUID = Field(primary_key=True, foreign_key="containers.id", ondelete="CASCADE")
    kind: enums.ProbeKind = Field(primary_key=True, sa_type=enum_type(enums.ProbeKind, "probe_kind"))
    path: str = Field(sa_type=Text)
    port: int
    scheme: enums.ProbeScheme = Field(sa_type=enum_type(enums.ProbeScheme, "probe_scheme"))
    headers: list[dict[str, Any]] = Field(sa_type=JSON_DOCUMENT)
    initial_delay_seconds: int
    period_seconds: int
    timeout_seconds: int
    success_threshold: int
    failure_threshold: int


written_digest: Any = func.nullif(func.split_part(col(ContainerRow.image_uri), sql("'@'"), sql("2")), sql("''"))
"""The digest in the reference of a container's image, as a draft has it before it is pinned; NULL without one."""

Index(
    "ix_containers_written_digest_artifact_id",
    written_digest,
    col(ContainerRow.artifact_id),
    postgresql_where=written_digest.is_not(None),
)
# Every list that the contract can order reads one of these from an end.
Index("ix_repositories_lower_name_id", func.lower(col(RepositoryRow.name)), col(RepositoryRow.id))
Index("ix_repositories_created_at_id", col(RepositoryRow.created_at), col(RepositoryRow.id))
Index("ix_repositories_updated_at_id", col(RepositoryRow.updated_at), col(RepositoryRow.id))
Index("ix_repositories_created_by_id_id", col(RepositoryRow.created_by_id), col(RepositoryRow.id))
Index("ix_artifacts_lower_name_id", func.lower(col(ArtifactRow.name)), col(ArtifactRow.id))
Index("ix_artifacts_version_id", func.coalesce(col(ArtifactRow.version), sql("0")), col(ArtifactRow.id))
Index("ix_artifacts_status_id", col(ArtifactRow.status), col(ArtifactRow.id))
Index("ix_artifacts_created_at_id", col(ArtifactRow.created_at), col(ArtifactRow.id))
Index("ix_artifacts_updated_at_id", col(ArtifactRow.updated_at), col(ArtifactRow.id))
Index("ix_artifacts_created_by_id_id", col(ArtifactRow.created_by_id), col(ArtifactRow.id))
Index("ix_artifacts_repository_id_id", col(ArtifactRow.repository_id), col(ArtifactRow.id))
Index("ix_artifacts_cloned_from_id", col(ArtifactRow.cloned_from_id))
