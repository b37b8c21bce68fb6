"""Pieces that several tables share: column types, tags and grants."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Enum, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from app.domain import enums

# Every constraint and index gets a name that a migration can rely on.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

TIMESTAMP: Any = DateTime(timezone=True)
JSON_DOCUMENT: Any = JSONB(none_as_null=True)


def enum_type(members: type[StrEnum], name: str) -> Any:
    """A PostgreSQL enum: it sorts in the order in which the Python enum is written."""
    return Enum(members, name=name, values_callable=lambda each: [member.value for member in each])


ROLE = enum_type(enums.Role, "role")
ARTIFACT_TYPE = enum_type(enums.ArtifactType, "artifact_type")
VARIABLE_TYPE = enum_type(enums.EnvironmentVariableType, "environment_variable_type")


class Created(SQLModel):
    """A thing with an id of its own (UUIDv7), and who made it when."""

    id: UUID = Field(primary_key=True)
    created_by_id: UUID = Field(foreign_key="users.id")
    created_at: datetime = Field(sa_type=TIMESTAMP)
    updated_at: datetime = Field(sa_type=TIMESTAMP)


class Tag(SQLModel):
    """A name and a value on a thing; names are unique on it."""

    name: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(default="", sa_type=Text)
    position: int


class Grant(SQLModel):
    """A role for a user, for a group, or, where both are null, for everyone."""

    id: UUID = Field(primary_key=True)
    user_id: UUID | None = Field(default=None, foreign_key="users.id")
    group_name: str | None = Field(default=None, foreign_key="groups.name", sa_type=Text)
    role: enums.Role = Field(sa_type=ROLE)
