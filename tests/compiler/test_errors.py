"""What is wrong with a request is told in the same words, at the same place, whatever would have answered it."""

from typing import Any

import pytest

from tests.api.walk import literal
from tests.compiler.conftest import Both

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "query($first: Int, $after: String) { artifacts(first: $first, after: $after) { nodes { id } } }"
FILTERED = "query($filter: ArtifactFilter) { artifacts(filter: $filter) { nodes { id } } }"
ONE = "query($id: ID!) { artifact(id: $id) { id } }"
ALL = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"

# `ARTIFACT` and `USER` stand for ids that are there, `CURSOR` for one of the list of artifacts.
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    # The document
    "no end": ("{ artifacts { nodes { id }", {}),
    "nothing selected": ("{ artifacts }", {}),
    "a selection of a scalar": ("{ viewer { id { x } } }", {}),
    "a field that is not there": ("{ artifacts { nodes { id colour } } }", {}),
    "two fields that are not there": ("{ colour artifacts { nodes { size } } }", {}),
    "an argument that is not there": ("{ artifacts(limit: 3) { nodes { id } } }", {}),
    "an argument that is missing": ("{ artifact { id } }", {}),
    "an argument twice": ("{ artifacts(first: 1, first: 2) { nodes { id } } }", {}),
    "a literal of another type": ('{ artifacts(first: "3") { nodes { id } } }', {}),
    "a number beyond Int": ("{ artifacts(first: 3000000000) { nodes { id } } }", {}),
    "an enum that is not there": ("{ artifacts(filter: {status: [OPEN]}) { nodes { id } } }", {}),
    "a field of an input that is not there": ("{ artifacts(filter: {colour: 1}) { nodes { id } } }", {}),
    "a field of an input that is missing": ("{ artifacts(orderBy: {direction: ASC}) { nodes { id } } }", {}),
    "one key for two fields": ("{ artifacts { nodes { x: id x: name } } }", {}),
    "one key for two arguments": (
        "{ x: artifacts(first: 1) { nodes { id } } x: artifacts(first: 2) { nodes { id } } }",
        {},
    ),
    "a fragment that is not there": ("{ viewer { ...Some } }", {}),
    "a fragment in itself": ("{ viewer { ...A } } fragment A on User { ...A }", {}),
    "a fragment for nobody": ("{ viewer { id } } fragment A on User { id }", {}),
    "a fragment on another type": ("{ viewer { ... on Artifact { id } } }", {}),
    "a directive that is not there": ("{ viewer { id @hidden } }", {}),
    "a condition that is missing": ("{ viewer { id @skip } }", {}),
    "two operations, none named": ("query A { viewer { id } } query B { viewer { id } }", {}),
    "no operation": ("fragment A on User { id }", {}),
    "too deep": (
        "{ artifacts { nodes " + "{ repository { artifacts { nodes " * 8 + "{ id }" + " } } }" * 8 + " } }",
        {},
    ),
    # Variables
    "a variable that nobody defines": ("{ artifacts(first: $first) { nodes { id } } }", {}),
    "a variable that nobody uses": ("query($first: Int) { viewer { id } }", {}),
    "a variable of a type that is not there": (
        "query($first: Number) { artifacts(first: $first) { nodes { id } } }",
        {},
    ),
    "a variable of another type": ("query($first: String) { artifacts(first: $first) { nodes { id } } }", {}),
    "a variable that is missing": (ONE, {}),
    "a variable that is null": (ONE, {"id": None}),
    "a condition without its variable": ("query($x: Boolean!) { viewer { id @include(if: $x) } }", {}),
    "text for a number": (PAGE, {"first": "3"}),
    "a fraction for a number": (PAGE, {"first": 1.5}),
    "a large number": (PAGE, {"first": 2**40}),
    "an object for a text": (PAGE, {"after": {"a": 1}}),
    "a list with a null": (ALL, {"ids": ["ARTIFACT", None]}),
    "an unknown key": (FILTERED, {"filter": {"colour": "red"}}),
    "an unknown enum": (FILTERED, {"filter": {"status": ["OPEN"]}}),
    "no moment": (FILTERED, {"filter": {"createdAt": {"from": "yesterday"}}}),
    "several things at once": (FILTERED, {"filter": {"status": ["OPEN"], "type": 3, "createdAt": {"to": "never"}}}),
    # What the graph itself asks of them
    "none on a page": (PAGE, {"first": 0}),
    "fewer than none": ("{ artifacts(last: -1) { nodes { id } } }", {}),
    "too many on a page": (PAGE, {"first": 101}),
    "too many, further down": ("{ repositories { nodes { artifacts(first: 1000) { nodes { id } } } } }", {}),
    "first and last": ("{ artifacts(first: 1, last: 1) { nodes { id } } }", {}),
    "no cursor": (PAGE, {"after": "somewhere"}),
    "a long cursor": (PAGE, {"after": "a" * 3_000}),
    "a cursor of another list": ('{ workloads(after: "CURSOR") { nodes { id } } }', {}),
    "a cursor of another order": ('{ artifacts(after: "CURSOR", orderBy: {field: NAME}) { nodes { id } } }', {}),
    "no id": (ONE, {"id": "7"}),
    "an id of another kind": (ONE, {"id": "USER"}),
    "an id of a kind that is not there": ('{ node(id: "xyz_1") { id } }', {}),
    "a number for an id": ("{ artifact(id: 7) { id } }", {}),
    "too many ids": (ALL, {"ids": ["ARTIFACT"] * 101}),
    "a creator of another kind": (FILTERED, {"filter": {"createdBy": ["ARTIFACT"]}}),
    "a long search": (FILTERED, {"filter": {"search": "a" * 500}}),
    "an empty tag": (FILTERED, {"filter": {"tags": [{"name": ""}]}}),
    "too many tags": (FILTERED, {"filter": {"tags": [{"name": f"t{number}"} for number in range(200)]}}),
    "a tag twice": (FILTERED, {"filter": {"tags": [{"name": "a"}, {"name": "a"}]}}),
    "a time that ends before it begins": (
        FILTERED,
        {"filter": {"createdAt": {"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}}},
    ),
    "one of two roots": (f"query($id: ID!) {{ viewer {{ id }} {ONE[ONE.index('artifact') : -2]} }}", {"id": "USER"}),
}
# Taken as it is: nothing is wrong with them.
RIGHT = {"a tag twice", "an empty tag", "a time that ends before it begins"}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_request_has_one_answer(both: Both, name: str) -> None:
    root = both.world.viewers["administrator"]
    page = await root.run("{ artifacts(first: 1) { pageInfo { endCursor } } }")
    known = {
        "ARTIFACT": both.world.ids["Artifact"][0],
        "USER": both.world.ids["User"][0],
        "CURSOR": page["artifacts"]["pageInfo"]["endCursor"],
    }
    document, variables = WRONG[name]
    for word, value in known.items():
        document = document.replace(word, value)
    for viewer in ("owner", "stranger"):
        body = await both.same(viewer, document, _known(variables, known))
        errors = dict(body).get("errors", [])
        assert bool(errors) is (name not in RIGHT), body
        assert all(dict(each)["message"] for each in errors)


def _known(value: Any, known: dict[str, str]) -> Any:
    match value:
        case str():
            return known.get(value, value)
        case list():
            return [_known(each, known) for each in value]
        case dict():
            return {key: _known(each, known) for key, each in value.items()}
        case _:
            return value


async def test_an_error_says_where_it_is(both: Both) -> None:
    document = "{\n  viewer { id }\n  artifact(id: " + literal(both.world.ids["User"][0]) + ") { id }\n}"
    body = await both.same("owner", document)
    [error] = dict(body)["errors"]
    assert dict(error)["path"] == ["artifact"]
    assert [dict(each) for each in dict(error)["locations"]] == [{"line": 3, "column": 3}]
