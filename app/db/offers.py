"""What filters can offer: the tags and the creators of the things that the viewer may see."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import access
from app.domain.people import Viewer

OFFERS_MAXIMUM = 1_000


async def tags(session: AsyncSession, table: Any, tag: Any, on: str, viewer: Viewer) -> Sequence[tuple[str, str, int]]:
    """Names and values of tags with how many things bear them, sorted by name and value; at most 1,000."""
    seen = select(table.id).where(access.visible(table, viewer))
    statement = (
        select(tag.name, tag.value, func.count())
        .where(getattr(tag, on).in_(seen))
        .group_by(tag.name, tag.value)
        .order_by(tag.name, tag.value)
        .limit(OFFERS_MAXIMUM)
    )
    found: Sequence[Any] = (await session.exec(statement)).all()
    return found


async def creators(session: AsyncSession, table: Any, viewer: Viewer) -> Sequence[tuple[UUID, int]]:
    """Ids of users with how many things they made, those who made the most first; at most 1,000."""
    statement: Any = (
        select(table.created_by_id, func.count())
        .where(access.visible(table, viewer))
        .group_by(table.created_by_id)
        .order_by(func.count().desc(), col(table.created_by_id))
        .limit(OFFERS_MAXIMUM)
    )
    found: Sequence[Any] = (await session.exec(statement)).all()
    return found
