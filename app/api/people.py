"""People in the graph: users, what they are granted, the tokens they have."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import strawberry
from sqlalchemy import case

from app.api import values
from app.api.context import Info
from app.api.fields import Edge, Expression, Related, Scope, Subject, children, column, id_field, node, says, speaks
from app.api.interfaces import Node
from app.db import tables
from app.domain import enums, ids


def _email(row: Any, scope: Scope, _: Any) -> Any:
    return row.email if scope.viewer.admin else case((row.id == scope.viewer.user_id, row.email))


@speaks(tables.UserRow)
@strawberry.type(description="A person or a machine that uses Slipway.")
class User(Node):
    """A user."""

    id: strawberry.ID = id_field(ids.Kind.USER)
    username: str = column(tables.UserRow.username, "Unique.")
    display_name: str = column(tables.UserRow.display_name, "How to call them.")
    admin: bool = column(tables.UserRow.admin, "Administrators own everything.")

    @strawberry.field(
        description="The e-mail address: one's own; administrators see all.", metadata=says(Expression(_email))
    )
    async def email(self, info: Info) -> str | None:
        """The address, for those who may see it."""
        viewer = info.context.viewer
        address: str | None = self.row.email
        return address if viewer.admin or viewer.user_id == self.row.id else None

    groups: list[str] = children(
        tables.GroupMemberRow,
        "user_id",
        "group_name",
        description="The groups that the user is in.",
        column="group_name",
    )


GRANTS = "Who has which role on it, without what is inherited. Empty where only something under it is shared."
EVERYONE = "Everyone"

GrantSubject = Annotated[
    User | values.Group | values.Everyone,
    strawberry.union("GrantSubject", description="Whom a grant is for."),
]


@strawberry.type(description="A role that someone has on a thing.")
class Grant:
    """A grant, spoken."""

    subject: GrantSubject = strawberry.field(description="Whose role it is.", metadata=says(Subject()))
    role: enums.Role = strawberry.field(description="The role.")


@strawberry.type(description="A user who made something, for a filter to offer.")
class CreatorUsage:
    """How much a user made."""

    user: User = strawberry.field(
        description="The user.", metadata=says(Edge("created_by_id", tables.UserRow, open_to_all=True))
    )
    count: int = strawberry.field(description="How many of the things that the viewer may see they made.")


def grant_list(table: Any, on: str) -> Any:
    """The grants of a thing, users first, then groups, then everyone; none on a frame."""

    async def resolve(root: Any, info: Info) -> Any:
        loaders = info.context.loaders
        if not root.listed and await loaders.role(type(root.row), root.row.id) is None:
            return []

        async def spoken(row: Any) -> Grant:
            subject: Any = values.Everyone(label=EVERYONE)
            if row.user_id is not None:
                subject = node(await loaders.row(tables.UserRow, row.user_id))
            elif row.group_name is not None:
                subject = values.Group(name=row.group_name)
            return Grant(subject=subject, role=row.role)

        # At once, so that all users are read in one statement.
        return await asyncio.gather(*map(spoken, await loaders.children(table, on, root.row.id, "id")))

    del resolve.__annotations__["return"]
    grants = Related(
        table,
        lambda row, grant, _: (getattr(grant, on) == row.id,),
        order=lambda grant: (grant.id,),
        framed=True,
    )
    return strawberry.field(resolver=resolve, description=GRANTS, metadata=says(grants))


@speaks(tables.ApiTokenRow)
@strawberry.type(description="A bearer token. Its secret was told once and is not stored.")
class ApiToken(Node):
    """A token."""

    id: strawberry.ID = id_field(ids.Kind.API_TOKEN)
    label: str = column(tables.ApiTokenRow.label, "What it is for.")
    read_only: bool = column(tables.ApiTokenRow.read_only, "Whether it can query only.")
    created_at: datetime = column(tables.ApiTokenRow.created_at, "When it was made.")
    last_used_at: datetime | None = column(tables.ApiTokenRow.last_used_at, "When it was used last, to the minute.")
    expires_at: datetime | None = column(tables.ApiTokenRow.expires_at, "When it ends; null: never.")
