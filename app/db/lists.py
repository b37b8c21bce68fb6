"""Lists in pages, by keyset: a page costs its own length at any depth, and stays true under inserts and deletes.

An order is a key and the id, both in the same direction; a position in a list is a pair of these two. Under many
parents at once, the same page of each is read in one statement (LATERAL).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, Uuid, func, literal, select, true, tuple_
from sqlalchemy.orm import aliased
from sqlmodel.ext.asyncio.session import AsyncSession


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted. `key` gives the SQL expression for a table; `read` turns a cursor's JSON into its value.

    `by_id`: the key is the id.

    `read` raises ValueError, TypeError or KeyError for what no cursor of this order holds.
    """

    name: str
    key: Callable[[Any], Any]
    read: Callable[[Any], Any]
    descending: bool = False
    by_id: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """A place in a list: the key and the id of the row that stands there."""

    key: Any
    id: UUID


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list: so many rows from its beginning, or, backward, from its end, between two positions."""

    limit: int
    backward: bool = False
    after: Position | None = None
    before: Position | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Walk:
    """A page's way through the ids, where they sort the list: above one and below one, in this direction."""

    ascending: bool
    above: Any = None
    below: Any = None

    def within(self, thing_id: Any) -> list[ColumnElement[bool]]:
        """That an id stands on the way."""
        found = [] if self.above is None else [thing_id > self.above]
        return found if self.below is None else [*found, thing_id < self.below]

    def sort(self, thing_id: Any) -> Any:
        """In which order the ids come."""
        return thing_id.asc() if self.ascending else thing_id.desc()


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """The rows of a window in the list's order, each with its key, and whether there are more beyond."""

    rows: Sequence[tuple[Any, Any]]
    more: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """What is listed: the rows of a table under these conditions, and for nested lists how they hang on a parent."""

    table: Any
    conditions: tuple[ColumnElement[bool], ...] = ()
    under: Callable[[Any, Any], ColumnElement[bool]] | None = None


async def page(session: AsyncSession, listing: Listing, order: Order, window: Window) -> Page:
    """One page of a list."""
    statement: Any = _window(listing, order, window).with_only_columns(listing.table, order.key(listing.table))
    return _page([tuple(row) for row in await session.exec(statement)], window)


async def pages(
    session: AsyncSession, listing: Listing, order: Order, window: Window, parent_ids: Sequence[UUID]
) -> Mapping[UUID, Page]:
    """The same page under each parent, in one statement."""
    assert listing.under is not None  # noqa: S101  a nested list says how it hangs on its parent
    parents = _parents(parent_ids)
    inner = (
        _window(listing, order, window)
        .with_only_columns(listing.table, order.key(listing.table).label("sort_key"))
        .where(listing.under(listing.table, parents.c.id))
        .lateral("page")
    )
    node = aliased(listing.table, inner)
    ascending = order.descending == window.backward
    sort = [each.asc() if ascending else each.desc() for each in (inner.c.sort_key, inner.c.id)]
    statement: Any = select(parents.c.id, node, inner.c.sort_key).join_from(parents, inner, true()).order_by(*sort)
    found: dict[UUID, list[tuple[Any, Any]]] = {parent_id: [] for parent_id in parent_ids}
    for parent_id, row, key in await session.exec(statement):
        found[parent_id].append((row, key))
    return {parent_id: _page(rows, window) for parent_id, rows in found.items()}


async def count(session: AsyncSession, listing: Listing) -> int:
    """How long a list is."""
    counted: Any = select(func.count()).select_from(listing.table).where(*listing.conditions)
    number: int = (await session.exec(counted)).scalar_one()
    return number


async def counts(session: AsyncSession, listing: Listing, parent_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """How long the list under each parent is, in one statement."""
    assert listing.under is not None  # noqa: S101  a nested list says how it hangs on its parent
    parents = _parents(parent_ids)
    counted = (
        select(func.count())
        .select_from(listing.table)
        .where(*listing.conditions, listing.under(listing.table, parents.c.id))
        .scalar_subquery()
        .label("number")
    )
    statement: Any = select(parents.c.id, counted)
    rows = await session.exec(statement)
    return {row.id: row.number for row in rows}


def _parents(parent_ids: Sequence[UUID]) -> Any:
    unnested = func.unnest(literal(list(parent_ids), ARRAY(Uuid()))).label("id")
    return select(unnested).subquery("parents")


def _window(listing: Listing, order: Order, window: Window) -> Select[Any]:
    table = listing.table
    statement = select(table).where(*listing.conditions, *within(table, order, window))
    # One row more than asked for tells whether there are more.
    return statement.order_by(*sort(table, order, window)).limit(window.limit + 1)


def within(row: Any, order: Order, window: Window) -> list[ColumnElement[bool]]:
    """That a row of `row` (a table or an alias) stands between the two positions of a window.

    The key and the id of a position may be parameters: see `app.db.values`.
    """
    walked = walk(order, window)
    if walked is not None:
        return walked.within(row.id)
    key = order.key(row)
    found: list[ColumnElement[bool]] = []
    for position, forward in ((window.after, True), (window.before, False)):
        if position is not None:
            place = tuple_(_value(position.key, key.type), _value(position.id, Uuid()))
            here = tuple_(key, row.id)
            found.append(here > place if forward != order.descending else here < place)
    return found


def walk(order: Order, window: Window) -> Walk | None:
    """How a page goes through the ids; None where something else sorts the list."""
    if not order.by_id:
        return None
    first, last = (window.before, window.after) if order.descending else (window.after, window.before)
    return Walk(
        ascending=order.descending == window.backward,
        above=None if first is None else first.id,
        below=None if last is None else last.id,
    )


def sort(row: Any, order: Order, window: Window) -> list[Any]:
    """In which order the rows of a window are read: from the end that it counts from."""
    ascending = order.descending == window.backward
    keys = (row.id,) if order.by_id else (order.key(row), row.id)
    return [each.asc() if ascending else each.desc() for each in keys]


def _value(value: Any, value_type: Any) -> Any:
    return value if isinstance(value, ColumnElement) else literal(value, value_type)


def _page(rows: list[tuple[Any, Any]], window: Window) -> Page:
    kept = rows[: window.limit]
    if window.backward:
        kept.reverse()
    return Page(kept, more=len(rows) > window.limit)


def key_to_json(key: Any) -> str | int:
    """A key as a cursor holds it."""
    if isinstance(key, datetime):
        return key.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(key, UUID):
        return key.hex
    return key.value if isinstance(key, StrEnum) else key


def read_text(value: Any) -> str:
    """A text key from a cursor."""
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(value)
    value.encode()  # half of a surrogate pair, which JSON can hold and PostgreSQL can't, is a ValueError
    return value


def read_number(value: Any) -> int:
    """A number key from a cursor; it fits PostgreSQL's integer."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**31) <= value < 2**31:
        raise TypeError(value)
    return value


def read_time(value: Any) -> datetime:
    """A timestamp key from a cursor."""
    moment = datetime.fromisoformat(read_text(value))
    if moment.tzinfo is None:
        raise ValueError(value)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(value) from None
