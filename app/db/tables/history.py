"""The history: append-only, and the database holds it so."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, Text
from sqlmodel import Field, SQLModel

from app.db.tables.columns import JSON_DOCUMENT, TIMESTAMP, enum_type
from app.db.tables.external_ids import UNMAPPED, external_id
from app.domain import enums
from app.domain.ids import Kind


class EventRow(SQLModel, table=True):
    """Who did what to what, when, and what changed.

    `subject_kind` is the prefix of the subject's id. The things that the subject stood under are written beside it,
    without foreign keys: events outlive what they speak of. No secret is ever written to `changes`.
    """

    __tablename__ = "events"
    __mapper_args__ = UNMAPPED
    __table_args__ = (
        external_id(Kind.EVENT),
        Index(None, "subject_id", "at", "id"),
        Index(None, "repository_id", "at", "id"),
        Index(None, "artifact_id", "at", "id"),
        Index(None, "workload_id", "at", "id"),
        Index(None, "actor_id", "at", "id"),
        Index(None, "kind", "at", "id"),
        Index(None, "at", "id"),
    )

    id: UUID = Field(primary_key=True)
    at: datetime = Field(sa_type=TIMESTAMP)
    actor_id: UUID | None = Field(default=None, foreign_key="users.id")
    kind: enums.EventKind = Field(sa_type=enum_type(enums.EventKind, "event_kind"))
    subject_kind: str = Field(sa_type=Text)
    subject_id: UUID
    repository_id: UUID | None = None
    artifact_id: UUID | None = None
    workload_id: UUID | None = None
    changes: dict[str, Any] | None = Field(default=None, sa_type=JSON_DOCUMENT)
