"""Each field of the graph by itself, for every kind of viewer, by both ways of answering."""

import graphql
import pytest

from tests.api import walk
from tests.compiler.conftest import Both

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIEWERS = (
    "owner",
    "administrator",
    "read-only",
    "editor by group",
    "viewer by name",
    "of a workload",
    "stranger",
)
FIELDS = [(type_name, name) for type_name in walk.NODE_TYPES for name in walk.fields(type_name)]


@pytest.mark.parametrize(("type_name", "name"), FIELDS, ids=[".".join(each) for each in FIELDS])
async def test_a_field_of_every_thing(both: Both, type_name: str, name: str) -> None:
    field = walk.fields(type_name)[name]
    ids = both.world.ids[type_name]
    step = 10 if name in walk.SPARSE else 40
    for viewer in VIEWERS:
        for start in range(0, len(ids), step):
            inner = f"... on {type_name} {{ {name} {walk.selection(field, 1)} }}"
            await both.same(
                viewer,
                f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ __typename {inner} }} }}",
                {"ids": ids[start : start + step]},
            )
            assert both.last_compiled, name


@pytest.mark.parametrize("viewer", VIEWERS)
async def test_the_fields_of_the_root(both: Both, viewer: str) -> None:
    known = {
        "id": [each[0] for each in both.world.ids.values()],
        "ids": [[each[-1] for each in both.world.ids.values()]],
        "search": ["a", "%", "_", "ö", both.world.ids["Artifact"][0][:12]],
        "createdBy": [both.world.ids["User"][:2], []],
        "tags": [[{"name": "team"}], [{"name": "team", "values": ["ml", "x"]}, {"name": "empty"}], []],
        "repositoryId": both.world.ids["Repository"][:2],
        "artifactId": both.world.ids["Artifact"][:2],
        "image": ["docker.io/library/redis", "odd.test/a", f"sha256:{'a' * 64}"],
    }
    for name, field in walk.fields("Query").items():
        kind = graphql.get_named_type(field.type).name
        calls = list(walk.calls(name, field, known | {"id": both.world.ids.get(kind, known["id"])[:8]}))
        for call in calls:
            await both.same(viewer, f"{{ {call} {walk.selection(field, 1)} }}")
            assert both.last_compiled, call
