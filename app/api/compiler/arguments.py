"""The arguments of the fields of an operation, as parameters of a statement that is prepared for all their values.

Each field of the document that has arguments is a *site*. What a site's arguments come to has two parts: a *shape*,
which chooses how the statement is written (whether a filter is there at all, which order, how many rows), and values,
which are its parameters. They are read by the same functions that resolvers use, so the same is wrong with them.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from graphql import ArgumentNode, FieldNode, GraphQLField, NameNode, VariableNode
from graphql.execution.values import VariableValues, get_argument_values
from sqlalchemy import ARRAY, DateTime, Text, Uuid, bindparam
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from app.api import connections, filters as inputs
from app.api.connections import Nested, Source
from app.api.fields import DECLARATION, ById, ByIds
from app.db import filters, lists
from app.domain import ids

_UUID = Uuid()
_UUIDS = ARRAY(_UUID)
_TEXT = Text()
_TEXTS = ARRAY(_TEXT)
PREFIX = "p_"
"""How the names of all parameters begin."""
OF_VIEWER = f"{PREFIX}viewer_"
"""How those begin that tell who asks."""
OF_ALL = f"{PREFIX}all_"
"""How those begin that hold a list, with one of those who are answered together in each place."""


class CanNotCompileError(Exception):
    """The executor has to answer this: it says why."""


@dataclasses.dataclass(slots=True)
class Given:
    """What the arguments of a site come to. `read` is what the statement is written by; it holds parameters."""

    shape: Hashable
    values: dict[str, Any]
    read: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Paging:
    """The arguments of a connection: parameters stand for what is looked for, and for positions."""

    wanted: filters.Filter
    order: lists.Order
    window: lists.Window


def narrows(given: Iterable[Given]) -> bool:
    """Whether a list is narrowed to values, of which some are rare and some are common: a plan is for one of these."""
    return any(each.read.wanted.narrows for each in given if isinstance(each.read, Paging))


def read(
    field: GraphQLField,
    node: FieldNode,
    variables: VariableValues,
    name: str,
    schema: Any,
    *,
    writing: bool = True,
) -> Given:
    """Read the arguments of a field; `name` is that of the site.

    `writing`: a statement is to be written by them; otherwise `Given.read` is not to be used.

    Raises:
        GraphQLError: they can't be used.
    """
    definition: StrawberryField = field.extensions["strawberry-definition"]
    declaration = definition.metadata.get(DECLARATION)
    if isinstance(declaration, ById) and (text := _as_given(node, variables)) is not None:
        return _by_id(declaration.kind, text, name, writing=writing)
    given = convert_arguments(
        get_argument_values(field, node, variables),
        definition.arguments,
        scalar_registry=schema.schema_converter.scalar_registry,
        config=schema.config,
    )
    match declaration:
        case Source() as source:
            return _paging(source, given, name, writing=writing)
        case Nested(source=source):
            return _paging(source, given, name, writing=writing)
        case ById(kind):
            return _by_id(kind, given["id"], name, writing=writing)
        case ByIds():
            return _by_ids(given["ids"], name, writing=writing)
        case _:
            shape = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in given.items())
            return Given(shape, {}, given)


def _as_given(node: FieldNode, variables: VariableValues) -> str | None:
    """The id that is the only argument, where it is a variable: much is asked so, and only the id differs."""
    match node.arguments:
        case [ArgumentNode(value=VariableNode(name=NameNode(value=name)))]:
            text = variables.coerced.get(name)
            return text if isinstance(text, str) else None
    return None


class _Writer:
    """Puts a parameter in the place of each value."""

    def __init__(self, name: str, *, writing: bool) -> None:
        self.name = name
        self.writing = writing
        self.values: dict[str, Any] = {}

    def __call__(self, name: str, value: Any, value_type: Any) -> Any:
        full = f"{PREFIX}{self.name}_{name}"
        self.values[full] = value
        return bindparam(full, type_=value_type) if self.writing else None


def _paging(source: Source, given: Mapping[str, Any], name: str, *, writing: bool) -> Given:
    order = connections.read_order(source, given.get("order_by"))
    window = connections.read_window(source, order, given)
    wanted = connections.read_wanted(given)
    write = _Writer(name, writing=writing)
    shape: list[Hashable] = [order.name, order.descending, window.limit, window.backward]
    window = dataclasses.replace(
        window,
        after=_position(window.after, "after", source, order, write, shape),
        before=_position(window.before, "before", source, order, write, shape),
    )
    paging = Paging(_filter(wanted, write, shape), order, window)
    return Given(tuple(shape), write.values, paging)


def _position(
    position: lists.Position | None,
    name: str,
    source: Source,
    order: lists.Order,
    write: _Writer,
    shape: list[Hashable],
) -> lists.Position | None:
    shape.append(position is not None)
    if position is None:
        return None
    key = write(f"{name}_key", getattr(position.key, "value", position.key), order.key(source.table).type)
    return lists.Position(key, write(f"{name}_id", position.id, _UUID))


def _filter(wanted: filters.Filter, write: _Writer, shape: list[Hashable]) -> filters.Filter:
    changed: dict[str, Any] = {}
    for name, bind in _VALUES.items():
        value = getattr(wanted, name)
        if value is not None:
            shape.append(name)
            changed[name] = bind(name, value, write, shape)
    return dataclasses.replace(wanted, **changed) if changed else wanted


def _search(name: str, value: filters.Search, write: _Writer, shape: list[Hashable]) -> filters.Search:
    shape.append(value.lowest is not None)
    pattern = write(name, value.pattern, _TEXT)
    if value.lowest is None:
        return filters.Search(pattern)
    lowest, highest = write("lowest", value.lowest, _UUID), write("highest", value.highest, _UUID)
    return filters.Search(pattern, lowest, highest)


def _tags(name: str, value: tuple[filters.TagMatch, ...], write: _Writer, shape: list[Hashable]) -> Any:
    return tuple(
        filters.TagMatch(
            write(f"{name}_{number}_name", each.name, _TEXT),
            _several(f"{name}_{number}_values", each.values, write, shape, _TEXTS),
        )
        for number, each in enumerate(value)
    )


def _span(name: str, value: filters.TimeRange, write: _Writer, shape: list[Hashable]) -> filters.TimeRange:
    shape.append((value.start is None, value.end is None))
    moment = DateTime(timezone=True)
    return filters.TimeRange(
        None if value.start is None else write(f"{name}_start", value.start, moment),
        None if value.end is None else write(f"{name}_end", value.end, moment),
    )


def _image(name: str, value: filters.Image, write: _Writer, shape: list[Hashable]) -> filters.Image:
    shape.append((value.is_digest, value.is_name))
    return dataclasses.replace(value, text=write(name, value.text, _TEXT))


def _members(name: str, value: tuple[Any, ...], write: _Writer, shape: list[Hashable]) -> Any:
    return _several(name, [each.value for each in value], write, shape, _TEXTS)


def _uuids(name: str, value: tuple[Any, ...], write: _Writer, shape: list[Hashable]) -> Any:
    return _several(name, value, write, shape, _UUIDS)


def _several(name: str, values: Sequence[Any] | None, write: _Writer, shape: list[Hashable], of: Any) -> Any:
    """One parameter for all of them; of one, that value."""
    shape.append(None if values is None else len(values) == 1)
    if values is None:
        return None
    return (write(name, values[0], of.item_type),) if len(values) == 1 else write(name, list(values), of)


def _uuid(name: str, value: Any, write: _Writer, _: list[Hashable]) -> Any:
    return write(name, value, _UUID)


def _as_it_is(_: str, value: Any, __: _Writer, shape: list[Hashable]) -> Any:
    """Of few values: each has a statement of its own."""
    shape.append(value)
    return value


_VALUES: Mapping[str, Callable[[str, Any, _Writer, list[Hashable]], Any]] = {
    "search": _search,
    "created_by": _uuids,
    "tags": _tags,
    "type": _members,
    "status": _members,
    "created_at": _span,
    "updated_at": _span,
    "image": _image,
    "in_use": _as_it_is,
    "active": _as_it_is,
    "purpose": _as_it_is,
    "importance": _members,
    "repository_id": _uuid,
    "artifact_id": _uuid,
    "artifact_status": _as_it_is,
    "subject_id": _uuid,
    "actor": _uuids,
    "kind": _members,
    "at": _span,
}


def _by_id(kind: ids.Kind | None, text: str, name: str, *, writing: bool) -> Given:
    found, value = inputs.read_any_id(text) if kind is None else (kind, inputs.read_id("id", kind, text))
    write = _Writer(name, writing=writing)
    return Given(found, write.values, (found, write("id", value, _UUID)))


def _by_ids(texts: list[str], name: str, *, writing: bool) -> Given:
    found = inputs.read_ids(texts)
    write = _Writer(name, writing=writing)
    kinds = tuple(sorted({each[0] for each in found if each is not None}))
    names = write("kinds", [None if each is None else each[0].value for each in found], _TEXTS)
    values = write("ids", [None if each is None else each[1] for each in found], _UUIDS)
    return Given(kinds, write.values, (kinds, names, values))
