"""The schema as clients get it: exported, described, and what GraphiQL asks first."""

import re
from collections.abc import Iterator
from pathlib import Path

import graphql
import pytest
from typer import testing

from app import cli
from app.api import schema

ROOT = Path(__file__).parents[2]
EXPORTED = ROOT / "schema.graphql"
FIRST_LOOK = ROOT / "app" / "web" / "graphiql" / "src" / "firstLook.js"


def own_types() -> Iterator[graphql.GraphQLNamedType]:
    """The types of the graph that are not those of GraphQL itself."""
    for name, each in schema.build()._schema.type_map.items():
        if not name.startswith("__") and name not in graphql.specified_scalar_types:
            yield each


def described() -> Iterator[tuple[str, str | None]]:
    """Every place of the schema that takes a description, and the one it has."""
    for each in own_types():
        yield each.name, each.description
        match each:
            case graphql.GraphQLObjectType() | graphql.GraphQLInterfaceType():
                for name, field in each.fields.items():
                    yield f"{each.name}.{name}", field.description
                    for argument, given in field.args.items():
                        yield f"{each.name}.{name}({argument}:)", given.description
            case graphql.GraphQLInputObjectType():
                for name, given_field in each.fields.items():
                    yield f"{each.name}.{name}", given_field.description
            case graphql.GraphQLEnumType():
                for name, value in each.values.items():
                    yield f"{each.name}.{name}", value.description


def test_the_exported_schema_is_what_the_command_prints() -> None:
    printed = testing.CliRunner().invoke(cli.app, ["schema"]).stdout
    assert EXPORTED.read_text() == printed, "schema.graphql is stale: run `slipway schema > schema.graphql`"


def test_everything_has_a_description() -> None:
    assert [place for place, description in described() if not (description or "").strip()] == []


def test_descriptions_are_sentences_for_a_reader() -> None:
    # Those of enums and scalars of the library count as well; a description that repeats the name says nothing.
    for place, description in described():
        name = re.split(r"[.(]", place.rstrip(":)"))[-1]
        assert description is not None
        assert description.strip().rstrip(".").lower() != name.lower(), place
        assert len(description.strip()) > 2, place


def test_the_exported_schema_is_one_that_clients_can_build() -> None:
    built = graphql.build_schema(EXPORTED.read_text())
    assert graphql.validate_schema(built) == []


def test_the_first_query_of_graphiql_is_valid() -> None:
    # matches: export const FIRST_LOOK = `…`;
    found = re.search(r"FIRST_LOOK = `(.*?)`", FIRST_LOOK.read_text(), re.DOTALL)
    assert found is not None
    document = graphql.parse(found[1])
    assert graphql.validate(schema.build()._schema, document) == []


@pytest.mark.parametrize("name", ["Repository", "Artifact", "Container", "Workload", "User", "Credential", "ApiToken"])
def test_every_node_is_a_node(name: str) -> None:
    built = schema.build()._schema
    node = built.type_map[name]
    assert isinstance(node, graphql.GraphQLObjectType)
    assert [each.name for each in node.interfaces] == ["Node"]


def test_every_connection_is_relays() -> None:
    types = {each.name: each for each in own_types()}
    connections = [name for name in types if name.endswith("Connection")]
    assert connections
    for name in connections:
        node = name.removesuffix("Connection")
        connection, edge = types[name], types[f"{node}Edge"]
        assert isinstance(connection, graphql.GraphQLObjectType)
        assert isinstance(edge, graphql.GraphQLObjectType)
        assert {each: str(field.type) for each, field in connection.fields.items()} == {
            "edges": f"[{node}Edge!]!",
            "nodes": f"[{node}!]!",
            "pageInfo": "PageInfo!",
            "totalCount": "Int!",
        }
        assert {each: str(field.type) for each, field in edge.fields.items()} == {
            "cursor": "String!",
            "node": f"{node}!",
        }
    for each in types.values():
        if isinstance(each, graphql.GraphQLObjectType):
            for field in each.fields.values():
                if str(field.type).endswith("Connection!"):
                    assert {"first", "after", "last", "before"} <= set(field.args)
