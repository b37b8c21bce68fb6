"""The rows of a statement, and the pages of its lists."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Text, case, cast, func, literal_column, select, type_coerce
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.elements import Grouping

from app.api.compiler import text
from app.api.compiler.text import Parts, constant, joined
from app.api.connections import Source
from app.db import lists

COMMA = constant(",")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row in the statement: an alias of a table, or a subquery.

    `listed`: the viewer has a role on it. `alone`: the statement reads one such row. `seen`: whether the viewer has a
    role on it, where the statement has worked that out.
    """

    source: Any
    listed: bool = False
    alone: bool = False
    seen: Any = None

    def column(self, name: str) -> Any:
        """A column of it."""
        return self.source.c[name] if hasattr(self.source, "c") else getattr(self.source, name)

    def nullable(self, name: str) -> bool:
        """Whether the database lets the column be NULL."""
        if hasattr(self.source, "c"):
            return False
        return bool(self.source.entity.__table__.c[name].nullable)


class Page:
    """The rows of a page, as a subquery that an outer select lists.

    `more`: one row more is read, to tell whether there is one. Numbers count from the end that the page counts from.
    """

    def __init__(
        self, name: str, source: Source, order: lists.Order, window: lists.Window, row: Row, more: bool
    ) -> None:
        self.name = name
        self.source = source
        self.order = order
        self.window = window
        self.row = row
        self.asks_for_more = more
        self.columns: dict[str, Any] = {}

    def _column(self, name: str, value: Any) -> Any:
        self.columns[name] = value.label(name)
        return literal_column(f"{self.name}.{name}", value.type)

    @property
    def _number(self) -> Any:
        sort = lists.sort(self.row.source, self.order, self.window)
        return self._column("number", func.row_number().over(order_by=sort))

    @property
    def _limit(self) -> Any:
        return literal_column(str(self.window.limit))

    def _kept(self, aggregate: Any) -> Any:
        return aggregate.filter(self._number <= self._limit) if self.asks_for_more else aggregate

    def _in_order(self, *, reversed_: bool = False) -> Any:
        """How an aggregate is to take the rows: as they come, in which they are read, or by their number.

        One aggregate that sorts makes all that don't take the rows in its order; so either all of a page sort or none.
        """
        if not self.window.backward:
            return None
        return self._number.desc() if reversed_ else self._number.asc()

    def listed(self, parts: Parts) -> Parts:
        """One text of each row, as a list in the list's order."""
        item = self._column(f"item_{len(self.columns)}", joined(parts))
        by = self._in_order(reversed_=True)
        comma = COMMA if by is None else aggregate_order_by(COMMA, by)
        return text.listed(self._kept(func.string_agg(item, comma, type_=Text())))

    def more(self) -> Any:
        """Whether there is a row behind the page."""
        return cast(func.count(self._number) > self._limit, Text)

    def cursor(self, key: Any, row_id: Any) -> Any:
        """The cursor of a row, as `connections` writes it."""
        direction = "DESC" if self.order.descending else "ASC"
        head = f'["{self.source.name}","{self.order.name}","{direction}",'
        return text.base64([head, *text.place(key), ',"', text.hexadecimal(row_id), '"]'])

    def row_cursor(self) -> Any:
        """The cursor of a row of the page."""
        return self.cursor(self.order.key(self.row.source), self.row.source.id)

    def end_cursor(self, *, first: bool) -> Any:
        """The cursor of the first row of the list, or of the last; null where there is none."""
        number = self._number
        key = self._column("key", self.order.key(self.row.source))
        row_id = self._column("id", self.row.source.id)

        last = func.least(func.count(number), self._limit)
        place = literal_column("1") if first != self.window.backward else last

        def at_end(value: Any) -> Any:
            by = self._in_order()
            values = value if by is None else aggregate_order_by(value, by)
            found = self._kept(func.array_agg(values, type_=ARRAY(value.type)))
            return type_coerce(Grouping(found), ARRAY(value.type))[place]

        cursor = joined(['"', self.cursor(at_end(key), at_end(row_id)), '"'])
        return case((func.count(number) > literal_column("0"), cursor), else_=constant("null"))

    def info(self, name: str) -> Parts:
        """A field of Relay's page info."""
        match name:
            case "hasNextPage":
                return [self.more() if not self.window.backward else _boolean(self.window.before is not None)]
            case "hasPreviousPage":
                return [self.more() if self.window.backward else _boolean(self.window.after is not None)]
            case _:
                return [self.end_cursor(first=name == "startCursor")]

    def select(self, conditions: Sequence[Any]) -> Any:
        """The subquery."""
        limit = self.window.limit + self.asks_for_more
        rows = select(*self.columns.values()).where(*conditions)
        rows = rows.order_by(*lists.sort(self.row.source, self.order, self.window)).limit(literal_column(str(limit)))
        return rows.correlate_except(self.row.source).subquery(self.name)


def _boolean(value: bool) -> str:
    return "true" if value else "false"
