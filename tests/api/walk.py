"""Documents made from the schema itself, so that a test of every field can't forget a new one."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import graphql

from app.api import limits, schema

SCHEMA = schema.build()._schema
NODE_TYPES = tuple(
    sorted(
        each.name
        for each in SCHEMA.type_map.values()
        if isinstance(each, graphql.GraphQLObjectType) and any(one.name == "Node" for one in each.interfaces)
    )
)
# A document may ask for few of them: what takes every field of a page leaves them out.
SPARSE = limits.COSTLY
PAGING = ("first", "after", "last", "before")


def fields(type_name: str) -> Mapping[str, graphql.GraphQLField]:
    """The fields of an object type."""
    found = SCHEMA.type_map[type_name]
    assert isinstance(found, graphql.GraphQLObjectType)
    return dict(found.fields)


def is_leaf(field: graphql.GraphQLField) -> bool:
    """Whether it takes no selection."""
    return graphql.is_leaf_type(graphql.get_named_type(field.type))


def is_connection(field: graphql.GraphQLField) -> bool:
    """Whether it is a list in pages."""
    return graphql.get_named_type(field.type).name.endswith("Connection")


def needs_arguments(field: graphql.GraphQLField) -> bool:
    """Whether it can't be asked for without arguments."""
    return any(graphql.is_required_argument(each) for each in field.args.values())


def selection(field: graphql.GraphQLField, depth: int) -> str:
    """Everything that a field holds, `depth` levels of things deep; a connection is no level of its own."""
    named = graphql.get_named_type(field.type)
    match named:
        case graphql.GraphQLUnionType():
            return "{ __typename " + " ".join(f"... on {each.name} {whole(each, depth)}" for each in named.types) + " }"
        case graphql.GraphQLInterfaceType():
            return "{ __typename id }"
        case graphql.GraphQLObjectType() if named.name.endswith("Connection"):
            nodes = selection(named.fields["nodes"], depth)
            return (
                "{ totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
                f" edges {{ cursor node {{ __typename id }} }} nodes {nodes} }}"
            )
        case graphql.GraphQLObjectType():
            return whole(named, depth)
        case _:
            return ""


def whole(named: graphql.GraphQLObjectType, depth: int) -> str:
    """Every field of a type that can be asked for without arguments, `depth` more levels deep."""
    parts = ["__typename"]
    for name, field in named.fields.items():
        if name in SPARSE or needs_arguments(field) or (depth <= 0 and not is_leaf(field)):
            continue
        parts.append(f"{name} {selection(field, depth - 1)}".strip())
    return "{ " + " ".join(parts) + " }"


@dataclasses.dataclass(frozen=True, slots=True)
class Literal:
    """A name in a document that is no string: an enum's value."""

    text: str


def literal(value: Any) -> str:
    """A value as a document writes it."""
    match value:
        case Literal(text):
            return text
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case int() | float():
            return str(value)
        case str():
            return graphql.print_ast(graphql.StringValueNode(value=value))
        case dict():
            return "{" + ", ".join(f"{name}: {literal(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(literal, value)) + "]"
    raise TypeError(value)


def candidates(name: str, type_: Any, known: Mapping[str, list[Any]]) -> list[Any]:
    """Values for an argument or an input field: told by its type, or else by `known` under its name.

    Raises:
        KeyError: a field that nobody thought of.
    """
    if isinstance(type_, graphql.GraphQLNonNull):
        return candidates(name, type_.of_type, known)
    if isinstance(type_, graphql.GraphQLList) and isinstance(graphql.get_named_type(type_), graphql.GraphQLEnumType):
        return [[each] for each in candidates(name, graphql.get_named_type(type_), known)]
    match type_:
        case graphql.GraphQLEnumType():
            return [Literal(each) for each in type_.values]
        case graphql.GraphQLScalarType(name="Boolean"):
            return [True, False]
        case graphql.GraphQLScalarType(name="DateTime"):
            return ["2000-01-01T00:00:00Z"]
        case graphql.GraphQLInputObjectType(name="TimeRange"):
            return [{"from": "2000-01-01T00:00:00Z"}, {"to": "2100-01-01T00:00:00Z"}]
        case graphql.GraphQLInputObjectType() if name == "orderBy":
            return [
                {"field": field, "direction": direction}
                for field, direction in itertools.product(
                    *(candidates(each, type_.fields[each].type, known) for each in ("field", "direction"))
                )
            ]
        case graphql.GraphQLInputObjectType() if name == "filter":
            return [
                {each: value} for each, given in type_.fields.items() for value in candidates(each, given.type, known)
            ]
    return known[name]


def calls(name: str, field: graphql.GraphQLField, known: Mapping[str, list[Any]]) -> Iterator[str]:
    """The field with its arguments: the required ones alone, and each other one in each of its variants."""
    required = {
        each: candidates(each, argument.type, known)
        for each, argument in field.args.items()
        if graphql.is_required_argument(argument)
    }
    bases = [dict(zip(required, values, strict=True)) for values in itertools.product(*required.values())]
    for base in bases:
        yield _call(name, base)
        for each, argument in field.args.items():
            if each not in required and each not in PAGING:
                for value in candidates(each, argument.type, known):
                    yield _call(name, {**base, each: value})


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    given = ", ".join(f"{each}: {literal(value)}" for each, value in arguments.items())
    return f"{name}({given})" if given else name
