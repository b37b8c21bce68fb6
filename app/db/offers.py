"""What filters can offer: the tags and the creators of the things that the viewer may see, as statements."""

from typing import Any

from sqlmodel import col, func, select

from app.db import access
from app.domain.people import Viewer

OFFERS_MAXIMUM = 1_000


def tags(table: Any, tag: Any, on: str, viewer: Viewer) -> Any:
    """Names and values of tags with how many things bear them, sorted by name and value; at most 1,000."""
    seen = select(table.id).where(access.of_all(table, viewer))
    return (
        select(tag.name, tag.value, func.count().label("count"))
        .where(getattr(tag, on).in_(seen))
        .group_by(tag.name, tag.value)
        .order_by(tag.name, tag.value)
        .limit(OFFERS_MAXIMUM)
    )


def creators(table: Any, viewer: Viewer) -> Any:
    """Ids of users with how many things they made, those who made the most first; at most 1,000."""
    return (
        select(table.created_by_id, func.count().label("count"))
        .where(access.of_all(table, viewer))
        .group_by(table.created_by_id)
        .order_by(func.count().desc(), col(table.created_by_id))
        .limit(OFFERS_MAXIMUM)
    )
