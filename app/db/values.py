"""Values in conditions: as they are, or as parameters that a prepared statement gets later.

Conditions take both, so that a statement which is written once, for all values, asks for the same as one written for
this value.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, any_, cast, literal
from sqlalchemy.types import Enum


def one_of(column: Any, values: Any, item_type: Any) -> ColumnElement[bool]:
    """Whether a column is one of these values: a sequence, or an expression that is an array of `item_type`.

    One parameter however many there are: the statement's text stays the same. Of an empty one, nothing is. A sequence
    of one is compared with that: what an index holds of one value, it holds in order.
    """
    if not isinstance(values, ColumnElement) and len(values) == 1:
        return _is(column, values[0], item_type)
    array = values if isinstance(values, ColumnElement) else literal(_plain(values), ARRAY(item_type))
    if isinstance(column.type, Enum):
        # As text, since a driver has to ask the database what an array of an enum is.
        array = cast(array, ARRAY(column.type))
    return column == any_(array)  # type: ignore[no-any-return]


def _is(column: Any, value: Any, item_type: Any) -> ColumnElement[bool]:
    if not isinstance(value, ColumnElement):
        value = literal(getattr(value, "value", value), item_type)
    return column == (cast(value, column.type) if isinstance(column.type, Enum) else value)  # type: ignore[no-any-return]


def among(column: Any, values: Any) -> ColumnElement[bool]:
    """Whether a UUID column is one of these."""
    return one_of(column, values, Uuid())


def member(column: Any, values: Any) -> ColumnElement[bool]:
    """Whether a column of an enum is one of these."""
    return one_of(column, values, Text())


def _plain(values: Sequence[Any]) -> list[Any]:
    return [getattr(each, "value", each) for each in values]
