"""Users, their groups and tokens, and the credentials that they keep."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.db.tables.columns import TIMESTAMP, Created, Grant
from app.db.tables.external_ids import UNMAPPED, external_id
from app.domain.ids import Kind


class UserRow(SQLModel, table=True):
    """A person or a machine that calls the API."""

    __tablename__ = "users"
    __mapper_args__ = UNMAPPED
    __table_args__ = (external_id(Kind.USER),)

    id: UUID = Field(primary_key=True)
    username: str = Field(unique=True, sa_type=Text)
    display_name: str = Field(sa_type=Text)
    email: str | None = Field(default=None, sa_type=Text)
    admin: bool = False
    created_at: datetime = Field(sa_type=TIMESTAMP)


class GroupRow(SQLModel, table=True):
    """A named set of users."""

    __tablename__ = "groups"

    name: str = Field(primary_key=True, sa_type=Text)


class GroupMemberRow(SQLModel, table=True):
    """One user in one group."""

    __tablename__ = "group_members"

    user_id: UUID = Field(primary_key=True, foreign_key="users.id", ondelete="CASCADE")
    group_name: str = Field(primary_key=True, foreign_key="groups.name", ondelete="CASCADE", sa_type=Text)


class ApiTokenRow(SQLModel, table=True):
    """A bearer token. Only its SHA-256 is stored: a token has 256 random bits, so no slow hash is needed."""

    __tablename__ = "api_tokens"
    __mapper_args__ = UNMAPPED
    __table_args__ = (external_id(Kind.API_TOKEN),)

    id: UUID = Field(primary_key=True)
    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    label: str = Field(sa_type=Text)
    secret_sha256: bytes = Field(unique=True, sa_type=LargeBinary)
    read_only: bool = False
    created_at: datetime = Field(sa_type=TIMESTAMP)
    last_used_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)
    expires_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)


class CredentialRow(Created, table=True):
    """A named set of secret values."""

    __tablename__ = "credentials"
    __mapper_args__ = UNMAPPED
    __table_args__ = (external_id(Kind.CREDENTIAL),)

    name: str = Field(sa_type=Text)


class CredentialValueRow(SQLModel, table=True):
    """One key of a credential; its value is sealed with AES-GCM before it gets here."""

    __tablename__ = "credential_values"

    credential_id: UUID = Field(primary_key=True, foreign_key="credentials.id", ondelete="CASCADE")
    key: str = Field(primary_key=True, sa_type=Text)
    position: int
    sealed_value: bytes = Field(sa_type=LargeBinary)


class EncryptionCheckRow(SQLModel, table=True):
    """One row: a known text, sealed with the key that all credentials of this database are sealed with."""

    __tablename__ = "encryption_checks"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    sealed_text: bytes = Field(sa_type=LargeBinary)


class CredentialGrantRow(Grant, table=True):
    """A role on a credential."""

    __tablename__ = "credential_grants"
    __table_args__ = (
        UniqueConstraint("credential_id", "user_id", "group_name", postgresql_nulls_not_distinct=True),
        CheckConstraint("user_id IS NULL OR group_name IS NULL", name="one_subject"),
        Index(None, "user_id"),
        Index(None, "group_name", "user_id"),
    )

    credential_id: UUID = Field(foreign_key="credentials.id", ondelete="CASCADE")
