"""The history in the graph: who did what to what, when, and what changed."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from app.api import sources
from app.api.connections import connection
from app.api.context import Info
from app.api.fields import Pointer, column, edge, id_field, says, speaks
from app.api.finding import find
from app.api.interfaces import Node
from app.api.people import User
from app.db import tables
from app.domain import enums, ids

# What the history tells of.
SUBJECTS = (ids.Kind.REPOSITORY, ids.Kind.ARTIFACT, ids.Kind.WORKLOAD, ids.Kind.CREDENTIAL, ids.Kind.API_TOKEN)


@speaks(tables.EventRow)
@strawberry.type(description="One line of the history. It is never changed, and outlives what it tells of.")
class Event(Node):
    """An event."""

    id: strawberry.ID = id_field(ids.Kind.EVENT)
    at: datetime = column(tables.EventRow.at, "When it happened.")
    actor: User | None = edge(tables.EventRow.actor_id, tables.UserRow, "Who did it; null: Slipway itself.")
    kind: enums.EventKind = column(tables.EventRow.kind, "What happened.")

    @strawberry.field(
        description="What it happened to; null where that is gone or the viewer may not see it.",
        metadata=says(Pointer("subject_kind", "subject_id", SUBJECTS)),
    )
    async def subject(self, info: Info) -> Node | None:
        """The thing, as it is now."""
        found: Node | None = await find(info, ids.Kind(self.row.subject_kind), self.row.subject_id)
        return found

    changes: JSON | None = column(
        tables.EventRow.changes, "What changed, by name; mostly as `before` and `after`. No secret is ever in it."
    )


def event_list(under: str) -> Any:
    """The events of a thing and of what stands under it: those whose column `under` names it."""
    description = "Its history and that of what stands under it, oldest first, as far as the viewer may see it."
    return connection(sources.EVENTS_UNDER, description, sources.named_by(under), inherits=True)
