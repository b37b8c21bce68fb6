"""SQL that writes JSON: constant pieces and values, put together by `||`, which is what PostgreSQL does fastest.

`concat` looks up for each of its arguments and each row how to write it. With `||` what is NULL makes all of it NULL:
what may be so is written as such here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import Boolean, DateTime, Integer, Text, cast, func, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import Enum, String

Parts = list[Any]
"""Pieces of text: a constant is a `str`, all else is SQL that is never NULL."""
Write = Callable[[str, Sequence[FieldDetails]], Parts]
"""Writes the value of a field by its name and the places where it is asked for."""


def constant(text: str) -> Any:
    """Constant text, as SQL."""
    return literal_column("'" + text.replace("'", "''") + "'", Text())


def joined(parts: Iterable[Any]) -> Any:
    """Parts, as one SQL expression that is text."""
    arguments: list[Any] = []
    pending = ""
    for part in parts:
        if isinstance(part, str):
            pending += part
            continue
        if pending:
            arguments.append(constant(pending))
            pending = ""
        arguments.append(part)
    if pending or not arguments:
        arguments.append(constant(pending))
    return _concatenated([each if type(each.type) is Text else cast(each, Text) for each in arguments])


def _concatenated(texts: Sequence[Any]) -> Any:
    """Halves of halves: a text is copied once for each of these, and not once for each that follows it."""
    if len(texts) == 1:
        return texts[0]
    middle = len(texts) // 2
    return Grouping(_concatenated(texts[:middle]).concat(_concatenated(texts[middle:])))


def members(type_name: str, asked: Mapping[str, Sequence[FieldDetails]], write: Write) -> Parts:
    """An object of this type: each key that is asked for, with what `write` gives for its field."""
    parts: Parts = ["{"]
    for key, details in asked.items():
        name = details[0].node.name.value
        parts.append(f'"{key}":' if len(parts) == 1 else f',"{key}":')
        parts += [f'"{type_name}"'] if name == "__typename" else write(name, details)
    return [*parts, "}"]


def or_null(text: Any) -> Any:
    """Text that may be NULL, as JSON."""
    return func.coalesce(text, constant("null"), type_=Text())


def listed(aggregate: Any) -> Parts:
    """What `string_agg` gives, as a list; NULL is an empty one."""
    return ["[", func.coalesce(aggregate, constant(""), type_=Text()), "]"]


def scalar(value: Any, *, nullable: bool) -> Parts:
    """A value as JSON, by its type."""
    match value.type:
        case Enum():
            # As text it would be written twice.
            quoted = cast(value, Text) if nullable else value
        case String():
            return [or_null(cast(func.to_json(value), Text))] if nullable else [func.to_json(value)]
        case DateTime():
            quoted = moment(value)
        case Boolean() | JSONB():
            return [or_null(cast(value, Text))] if nullable else [cast(value, Text)]
        case Integer():
            return [or_null(cast(value, Text))] if nullable else [value]
        case other:
            raise TypeError(other)
    return [or_null(constant('"') + quoted + constant('"'))] if nullable else ['"', quoted, '"']


def moment(value: Any) -> Any:
    """A moment as `app.api.scalars.write_time` writes it."""
    return func.to_char(value, constant('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), type_=Text())


def place(value: Any) -> Parts:
    """A key as `lists.key_to_json` puts it in a cursor."""
    match value.type:
        case Enum():
            return ['"', cast(value, Text), '"']
        case String():
            return [func.to_json(value)]
        case DateTime():
            return ['"', func.to_char(value, constant('YYYY-MM-DD"T"HH24:MI:SS.US'), type_=Text()), '+00:00"']
        case Integer():
            return [value]
        case _:
            return ['"', hexadecimal(value), '"']


def hexadecimal(value: Any) -> Any:
    """A UUID in 32 digits."""
    return func.encode(func.uuid_send(value), constant("hex"), type_=Text())


def base64(parts: Parts) -> Any:
    """Text in the alphabet for addresses, in one line: RFC 4648, 5."""
    encoded = func.encode(func.convert_to(joined(parts), constant("UTF8")), constant("base64"))
    return func.translate(encoded, literal_column("E'+/\\n'"), constant("-_"), type_=Text())
