"""What all mutations do first and last."""

from typing import Annotated, Any, TypeVar
from uuid import UUID

import strawberry

from app.actions import context
from app.api import fields
from app.api.context import Info
from app.api.payloads import DeletePayload
from app.domain import errors, ids

Input = TypeVar("Input")
Given = Annotated[Input, strawberry.argument(description="What to do, and to what.")]


def acting(info: Info) -> context.Context:
    """What the action is given. What was read before it is forgotten."""
    info.context.loaders.clear()
    return info.context.acting


async def spoken(info: Info, table: Any, row_id: UUID) -> Any:
    """A thing as it is after the action.

    Raises:
        errors.NotFound: somebody deleted it right after the action.
    """
    row = await info.context.loaders.row(table, row_id)
    if row is None:
        raise errors.NotFound(ids.encode(context.KINDS[table], row_id))
    return fields.node(row)


def deleted(things: list[tuple[ids.Kind, UUID]]) -> DeletePayload:
    """What is gone, spoken."""
    return DeletePayload(deleted_ids=[strawberry.ID(ids.encode(kind, thing_id)) for kind, thing_id in things])
