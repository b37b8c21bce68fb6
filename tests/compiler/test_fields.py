"""Each field of the graph by itself, for every kind of viewer, by both ways of answering."""

from typing import Any

import graphql
import pytest

from tests.api import walk
from tests.compiler.conftest import Both

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.equality]

VIEWERS = (
    "owner",
    "administrator",
    "read-only",
    "editor by group",
    "viewer by name",
    "of a workload",
    "stranger",
)


@pytest.mark.parametrize("type_name", walk.NODE_TYPES)
async def test_every_field_of_every_thing(both: Both, type_name: str) -> None:
    named = walk.SCHEMA.type_map[type_name]
    assert isinstance(named, graphql.GraphQLObjectType)
    selections = {walk.whole(named, 1): 50}
    for name in walk.SPARSE & set(named.fields):
        selections[f"{{ {name} {walk.selection(named.fields[name], 0)} }}"] = 10
    for selection, step in selections.items():
        ids = both.world.ids[type_name]
        for start in range(0, len(ids), step):
            some = walk.literal(ids[start : start + step])
            for viewer in VIEWERS:
                await both.same(viewer, f"{{ nodes(ids: {some}) {{ __typename ... on {type_name} {selection} }} }}")
                assert both.last_compiled, selection


@pytest.mark.parametrize("type_name", walk.NODE_TYPES)
async def test_every_thing_by_its_id(both: Both, type_name: str) -> None:
    named = walk.SCHEMA.type_map[type_name]
    assert isinstance(named, graphql.GraphQLObjectType)
    document = f"query($id: ID!) {{ node(id: $id) {{ __typename ... on {type_name} {walk.whole(named, 1)} }} }}"
    for each in both.world.ids[type_name]:
        for viewer in VIEWERS:
            await both.same(viewer, document, {"id": each})
            assert both.last_compiled


@pytest.mark.parametrize("type_name", walk.NODE_TYPES)
async def test_each_field_alone_of_a_thing_by_its_id(both: Both, type_name: str) -> None:
    for name, field in walk.fields(type_name).items():
        if not walk.needs_arguments(field):
            selection = f"{{ {name} {walk.selection(field, 0)} }}"
            document = f"query($id: ID!) {{ node(id: $id) {{ ... on {type_name} {selection} }} }}"
            for viewer in ("owner", "administrator", "editor by group"):
                await both.same(viewer, document, {"id": both.world.ids[type_name][0]})
                assert both.last_compiled, document


@pytest.mark.parametrize("viewer", VIEWERS)
async def test_the_fields_of_the_root(both: Both, viewer: str) -> None:
    known: dict[str, Any] = {
        "id": [each[0] for each in both.world.ids.values()],
        "ids": [[each[-1] for each in both.world.ids.values()]],
        "search": ["a", "%", "_", "ö", both.world.ids["Artifact"][0][:12]],
        "createdBy": [both.world.ids["User"][:2], []],
        "tags": [[{"name": "team"}], [{"name": "team", "values": ["ml", "x"]}, {"name": "empty"}], []],
        "repositoryId": both.world.ids["Repository"][:2],
        "artifactId": both.world.ids["Artifact"][:2],
        "subjectId": [each[0] for each in both.world.ids.values()],
        "actor": [both.world.ids["User"][:2], []],
        "image": ["docker.io/library/redis", "odd.test/a", f"sha256:{'a' * 64}"],
    }
    for name, field in walk.fields("Query").items():
        kind = graphql.get_named_type(field.type).name
        calls = list(walk.calls(name, field, known | {"id": both.world.ids.get(kind, known["id"])[:8]}))
        for call in calls:
            await both.same(viewer, f"{{ {call} {walk.selection(field, 1)} }}")
            assert both.last_compiled, call
