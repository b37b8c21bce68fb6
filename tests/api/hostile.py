"""Hostile input for every argument and every field of an input that the schema has, so that none can be forgotten."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import graphql
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLList, GraphQLNonNull

from tests.api.walk import SCHEMA

LONG = "x" * 30_000
DIGITS = "9" * 5_000  # Python refuses to read more than 4,300 of them


@dataclasses.dataclass(frozen=True)
class Raw:
    """A literal as it stands in a document."""

    text: str


def literal(value: Any) -> str:
    """A value as GraphQL writes it. Strings keep their NULs and control characters, as escapes."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)


STRINGS = [
    "",
    "\0",
    "a\0b",
    "\r\n\x1b[31m",
    LONG,
    "🚢 مرحبا\u202e",  # emoji and right-to-left text, which names may have
    "' OR 1=1; --",
    "%_\\",
    "../../../etc/passwd",
    Raw(r'"\ud83d\ude80"'),
]
IDS = ["\0", LONG, "art_7zzzzzzzzzzzzzzzzzzzzzzzzz", "", "art_", "art_80000000000000000000000000", -1, Raw(DIGITS)]
IDS += [f"{prefix}_0000000000000000000000000a" for prefix in ("rep", "wkl", "crd", "usr", "tok", "ctr", "evt", "rpl")]
INTEGERS = [-1, 0, 2**31 - 1, -(2**31), Raw("1e9"), Raw(DIGITS), Raw(f"-{DIGITS}")]
FLOATS = [-1, 0, 1e-320, Raw("1e400"), Raw("-1e400"), Raw(DIGITS)]
MOMENTS = [
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30T00:00:00Z",
    "2026-11-23T15:04:05",
    "2026-11-23T15:04:05.123456789Z",
    "\0",
    LONG,
    0,
]
DURATIONS = ["PT0S", "-PT1H", "P999999999D", "P99999999999999D", "PT1e9S", "PT", "8 hours", "28800", "\0", LONG, 5]
HOSTILE: Mapping[str, list[Any]] = {
    "String": STRINGS,
    "ID": IDS,
    "Int": INTEGERS,
    "Float": FLOATS,
    "Boolean": [],
    "DateTime": MOMENTS,
    "Duration": DURATIONS,
}
# What is of no type, or of another one.
ANYTHING: list[Any] = [None, True, "text", 5, 1.5, [], [None], [[]], {}, {"bogus": 1}, Raw("NOPE"), Raw("$undefined")]


def values(given: Any, tried: set[tuple[str, str]], place: tuple[str, str]) -> list[Any]:
    """What to try in a place that takes a value of this type: less of it where such a place or type was tried."""
    kind = graphql.get_named_type(given)
    own = [*HOSTILE.get(kind.name, [])]
    if isinstance(graphql.get_nullable_type(given), GraphQLList):
        own = [[each] for each in own]
    of_type = ("", str(given))
    found = [*(own[:3] if place in tried else own), *([None, {}] if of_type in tried else ANYTHING)]
    tried.update((place, of_type))
    return found


def variants(given: Any, good: Any, tried: set[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    """(path, value) for everything inside a value: the good one, spoiled in one place each.

    `tried` remembers the places and types that were seen.
    """
    if isinstance(given, GraphQLNonNull):
        given = given.of_type
    if isinstance(given, GraphQLList):
        for path, spoiled in variants(given.of_type, good[0], tried) if good else ():
            yield f"[0]{path}", [spoiled, *good[1:]]
    if not isinstance(given, GraphQLInputObjectType):
        return
    for name, field in given.fields.items():
        # The same words mean the same wherever an input has them, but for names: containers have other ones.
        place = (given.name if name == "name" else "", f"{name}: {field.type}")
        for value in values(field.type, tried, place):
            yield f".{name}", {**good, name: value}
        if name in good:
            for path, spoiled in variants(field.type, good[name], tried):
                yield f".{name}{path}", {**good, name: spoiled}


def example(given: Any) -> Any:
    """A good value of a type: everything filled in, as far as that can be told from the type alone."""
    if isinstance(given, GraphQLNonNull):
        return example(given.of_type)
    if isinstance(given, GraphQLList):
        return [example(given.of_type)]
    if isinstance(given, GraphQLInputObjectType):
        return {name: example(field.type) for name, field in given.fields.items()}
    if isinstance(given, GraphQLEnumType):
        return Raw(next(iter(given.values)))
    return {"DateTime": "2026-01-01T00:00:00Z", "Duration": "PT1H"}.get(given.name)


def mutation(name: str, given: Any) -> str:
    """The document of a mutation with this input, written out."""
    result: Any = SCHEMA.mutation_type.fields[name].type  # type: ignore[union-attr]
    members = {each.name for each in result.of_type.types}
    issues = "... on InvalidInput { issues { path code message } }" if "InvalidInput" in members else ""
    return f"mutation {{ {name}(input: {literal(given)}) {{ __typename ... on Problem {{ message }} {issues} }} }}"


def query(name: str, given: Mapping[str, Any]) -> str:
    """The document of a field of the root with these arguments, written out."""
    field: Any = SCHEMA.query_type.fields[name]  # type: ignore[union-attr]
    arguments = ", ".join(f"{key}: {literal(value)}" for key, value in given.items())
    body = "" if graphql.is_leaf_type(graphql.get_named_type(field.type)) else "{ __typename }"
    if graphql.get_named_type(field.type).name.endswith("Connection"):
        body = "{ totalCount nodes { __typename } }"
    return f"{{ {name}({arguments}) {body} }}"
