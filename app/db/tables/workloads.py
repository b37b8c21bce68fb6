"""Workloads: what is wanted, what was seen, and who works on it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, UniqueConstraint, func, text as sql
from sqlmodel import Field, SQLModel, col

from app.db.tables.columns import (
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


class WorkloadRow(Created, table=True):
    """An artifact that runs, and how it runs.

    Asked for by actions: `wanted`, `replicas`, `resources`, `launch` (the launch that serves, out of numbers that
    grow; `last_launch` was given out last, maybe to a replacement) and `generation` (grows with every change of these,
    so that a reconciler notices that it decided on old facts). Seen by the reconciler: `status*`, `ready_replicas`,
    `container_statuses`, `addresses`, `draining` (see `planning.Plan`), `was_ready` (in this launch). Bookkeeping:
    `reconcile_at` (when the row is due; null: nothing to do) and the lease. `endpoint` is set where the runtime brings
    an address of its own; null: the server's gateway leads to it.
    """

    __tablename__ = "workloads"
    __mapper_args__ = UNMAPPED
    __table_args__ = (
        external_id(Kind.WORKLOAD),
        ForeignKeyConstraint(["artifact_id", "repository_id"], ["artifacts.id", "artifacts.repository_id"]),
        Index(
            "uq_workloads_one_live_test",
            "artifact_id",
            unique=True,
            postgresql_where=sql("purpose = 'TEST' AND status <> 'TERMINATED'"),
        ),
        Index(None, "reconcile_at", postgresql_where=sql("reconcile_at IS NOT NULL")),
        Index(None, "expires_at", postgresql_where=sql("purpose = 'TEST' AND status <> 'TERMINATED'")),
        CheckConstraint("(purpose = 'TEST') = (expires_at IS NOT NULL)", name="test_expires"),
        CheckConstraint("replicas >= 0", name="replicas_not_negative"),
        CheckConstraint("launch <= last_launch", name="launch_given_out"),
    )

    artifact_id: UUID
    repository_id: UUID
    purpose: enums.WorkloadPurpose = Field(sa_type=enum_type(enums.WorkloadPurpose, "workload_purpose"))
    name: str = Field(sa_type=Text)
    description: str = Field(default="", sa_type=Text)
    importance: enums.Importance = Field(
        default=enums.Importance.LOW, sa_type=enum_type(enums.Importance, "importance")
    )
    status: enums.WorkloadStatus = Field(
        default=enums.WorkloadStatus.SUBMITTED, sa_type=enum_type(enums.WorkloadStatus, "workload_status")
    )
    status_reason: str | None = Field(default=None, sa_type=Text)
    status_message: str | None = Field(default=None, sa_type=Text)
    digest: str = Field(sa_type=Text)
    specification: dict[str, Any] = Field(sa_type=JSON_DOCUMENT)
    replicas: int = 1
    ready_replicas: int = 0
    resources: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON_DOCUMENT)
    revision: int = 1
    started_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)
    stopped_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)
    expires_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)
    endpoint: str | None = Field(default=None, sa_type=Text)

    wanted: enums.Wanted = Field(default=enums.Wanted.RUNNING, sa_type=enum_type(enums.Wanted, "workload_wanted"))
    generation: int = 1
    launch: int = 1
    last_launch: int = 1
    launched_at: datetime = Field(sa_type=TIMESTAMP)
    was_ready: bool = False
    container_statuses: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON_DOCUMENT)
    addresses: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON_DOCUMENT)
    draining: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON_DOCUMENT)

    reconcile_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)
    lease_holder: UUID | None = None
    lease_until: datetime | None = Field(default=None, sa_type=TIMESTAMP)


class WorkloadTagRow(Tag, table=True):
    """A tag of a workload."""

    __tablename__ = "workload_tags"
    __table_args__ = (Index(None, "name", "value", "workload_id"),)

    workload_id: UUID = Field(primary_key=True, foreign_key="workloads.id", ondelete="CASCADE")


class WorkloadGrantRow(Grant, table=True):
    """A role on a workload."""

    __tablename__ = "workload_grants"
    __table_args__ = (
        UniqueConstraint("workload_id", "user_id", "group_name", postgresql_nulls_not_distinct=True),
        CheckConstraint("user_id IS NULL OR group_name IS NULL", name="one_subject"),
        Index(None, "user_id"),
        Index(None, "group_name", "user_id"),
    )

    workload_id: UUID = Field(foreign_key="workloads.id", ondelete="CASCADE")


class WorkloadVariableRow(SQLModel, table=True):
    """An environment override of a workload. A terminated one lets go of its credential."""

    __tablename__ = "workload_variables"

    workload_id: UUID = Field(primary_key=True, foreign_key="workloads.id", ondelete="CASCADE")
    container: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    position: int
    type: enums.EnvironmentVariableType = Field(sa_type=VARIABLE_TYPE)
    value: str | None = Field(default=None, sa_type=Text)
    credential_id: UUID | None = Field(default=None, foreign_key="credentials.id", ondelete="SET NULL", index=True)
    field: str | None = Field(default=None, sa_type=Text)


class ReplacementRow(SQLModel, table=True):
    """A roll of a workload: to another artifact, or, where both are the same, to another configuration.

    What is rolled out stands here until it has taken over; then the workload has it. `environment` holds the overrides
    as `environment.overrides_to_json` writes them. `begun_at`: when its launch was last begun.
    """

    __tablename__ = "replacements"
    __mapper_args__ = UNMAPPED
    __table_args__ = (
        external_id(Kind.REPLACEMENT),
        Index("uq_replacements_one_rolling", "workload_id", unique=True, postgresql_where=sql("status = 'ROLLING'")),
        Index(None, "workload_id", "id"),
        Index(None, "from_artifact_id"),
        Index(None, "to_artifact_id"),
        CheckConstraint("(status = 'ROLLING') = (finished_at IS NULL)", name="finished"),
    )

    id: UUID = Field(primary_key=True)
    workload_id: UUID = Field(foreign_key="workloads.id", ondelete="CASCADE")
    from_artifact_id: UUID = Field(foreign_key="artifacts.id")
    to_artifact_id: UUID = Field(foreign_key="artifacts.id")
    status: enums.ReplacementStatus = Field(
        default=enums.ReplacementStatus.ROLLING, sa_type=enum_type(enums.ReplacementStatus, "replacement_status")
    )
    message: str | None = Field(default=None, sa_type=Text)
    requested_by_id: UUID = Field(foreign_key="users.id")
    started_at: datetime = Field(sa_type=TIMESTAMP)
    finished_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)

    launch: int
    begun_at: datetime = Field(sa_type=TIMESTAMP)
    digest: str = Field(sa_type=Text)
    specification: dict[str, Any] = Field(sa_type=JSON_DOCUMENT)
    replicas: int
    resources: list[dict[str, Any]] = Field(sa_type=JSON_DOCUMENT)
    environment: list[dict[str, Any]] = Field(sa_type=JSON_DOCUMENT)


class WorkloadCredentialUseRow(SQLModel, table=True):
    """A key of a credential that a live workload needs, from its specification, its overrides or its replacement.

    The database removes these rows when the workload ends as TERMINATED.
    """

    __tablename__ = "workload_credential_uses"

    workload_id: UUID = Field(primary_key=True, foreign_key="workloads.id", ondelete="CASCADE")
    credential_id: UUID = Field(primary_key=True, foreign_key="credentials.id", index=True)
    field: str = Field(primary_key=True, sa_type=Text)


class InstallationRow(SQLModel, table=True):
    """Who we are, for runtimes that several installations share: what bears another id is none of our business."""

    __tablename__ = "installations"
    __table_args__ = (CheckConstraint("number = 1", name="one_row"),)

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    id: UUID


class RuntimeRow(SQLModel, table=True):
    """What is recorded of a runtime: written by the reconciler that drives it, read by `actions`."""

    __tablename__ = "runtimes"

    name: str = Field(primary_key=True, sa_type=Text)
    available: bool
    message: str = Field(default="", sa_type=Text)
    seen_at: datetime = Field(sa_type=TIMESTAMP)


Index("ix_workloads_live_artifact_id", col(WorkloadRow.artifact_id), postgresql_where=sql("status <> 'TERMINATED'"))
Index("ix_workloads_lower_name_id", func.lower(col(WorkloadRow.name)), col(WorkloadRow.id))
Index("ix_workloads_status_id", col(WorkloadRow.status), col(WorkloadRow.id))
Index("ix_workloads_importance_id", col(WorkloadRow.importance), col(WorkloadRow.id))
Index("ix_workloads_created_at_id", col(WorkloadRow.created_at), col(WorkloadRow.id))
Index("ix_workloads_updated_at_id", col(WorkloadRow.updated_at), col(WorkloadRow.id))
Index("ix_workloads_created_by_id_id", col(WorkloadRow.created_by_id), col(WorkloadRow.id))
Index("ix_workloads_artifact_id_id", col(WorkloadRow.artifact_id), col(WorkloadRow.id))
Index("ix_workloads_repository_id_id", col(WorkloadRow.repository_id), col(WorkloadRow.id))
