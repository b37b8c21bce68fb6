"""What a document may ask for at most: refused before anything of it runs, by name."""

import graphql
import pytest

from app.api import limits
from tests.harness import Client, Slipway


def nested(depth: int) -> str:
    """A document so many levels deep."""
    inner = "id"
    for level in reversed(range(depth - 2)):
        inner = f"{('testWorkload', 'artifact')[level % 2]} {{ {inner} }}"
    return f'{{ artifact(id: "art_{"0" * 26}") {{ {inner} }} }}'


def spread(times: int) -> str:
    """A document whose fragment counts for eight fields wherever it is spread."""
    fragment = "fragment user on User { __typename id username displayName admin email groups }"
    return "{ viewer { " + "...user " * times + "} } " + fragment


BEYOND_ROWS = """{ artifacts(first: 99) { nodes { workloads(first: 99) { nodes {
  artifact { workloads { nodes { id } } } } } } } }"""
WITHIN_AND_BEYOND = {
    "levels deep": (nested(limits.DEPTH_MAXIMUM), nested(limits.DEPTH_MAXIMUM + 1)),
    "fields": (spread((limits.FIELDS_MAXIMUM - 1) // 8), spread((limits.FIELDS_MAXIMUM - 1) // 8 + 1)),
    "aliases": (
        "{ viewer { " + " ".join(f"a{number}: id" for number in range(limits.ALIASES_MAXIMUM)) + "} }",
        "{ viewer { " + " ".join(f"a{number}: id" for number in range(limits.ALIASES_MAXIMUM + 1)) + "} }",
    ),
    "rows": (
        "{ artifacts(first: 20) { nodes { workloads(first: 99) { nodes { id } } } } }",
        BEYOND_ROWS,
    ),
    "logs and manifests": (
        f"{{ workloads(first: {limits.COSTLY_MAXIMUM}) {{ nodes {{ logs {{ text }} }} }} }}",
        f"{{ workloads(first: {limits.COSTLY_MAXIMUM // 2 + 1}) {{ nodes {{ manifest logs {{ text }} }} }} }}",
    ),
}
ROWS = {
    "through a fragment": """{ repositories(first: 100) { ...a } }
      fragment a on RepositoryConnection { nodes { artifacts(first: 100) { ...b } } }
      fragment b on ArtifactConnection { edges { node { workloads(first: 100) { ... { nodes { id } } } } } }""",
    "with a variable": """query ($many: Int) { repositories(first: $many) { nodes {
      artifacts(first: $many) { nodes { workloads(last: $many) { nodes { id } } } } } } }""",
    "with the default": """{ repositories(first: 100) { nodes { artifacts(first: 100) { nodes {
      workloads { nodes { id } } } } } } }""",
    "by ids": "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Repository { artifacts(first: 100) { nodes {"
    " workloads(first: 100) { nodes { id } } } } } } }",
    "side by side": "{ "
    + " ".join(
        f"a{number}: artifacts(first: 100) {{ nodes {{ workloads(first: 100) {{ nodes {{ id }} }} }} }}"
        for number in range(20)
    )
    + " }",
}


@pytest.mark.parametrize("name", WITHIN_AND_BEYOND)
async def test_a_limit_holds_from_its_value_on(slipway: Slipway, ada: Client, name: str) -> None:
    within, beyond = WITHIN_AND_BEYOND[name]
    assert "errors" not in await ada.answer(within)
    with slipway.statements() as statements:
        refused = await ada.answer(beyond)
    [error] = refused["errors"]
    assert error["extensions"]["code"] == "DOCUMENT_TOO_LARGE"
    assert name in error["message"]
    assert "are allowed" in error["message"]
    assert "data" not in refused
    assert statements == []


@pytest.mark.parametrize("document", ROWS.values(), ids=ROWS)
async def test_rows_are_counted_however_they_are_asked_for(slipway: Slipway, ada: Client, document: str) -> None:
    with slipway.statements() as statements:
        refused = await ada.answer(document, many=1, ids=[])
    [error] = refused["errors"]
    assert error["extensions"]["code"] == "DOCUMENT_TOO_LARGE"
    assert "rows" in error["message"]
    assert statements == []


async def test_a_long_document_is_refused(slipway: Slipway, ada: Client) -> None:
    document = "{ viewer { id } " + "# \n" * 10 + "a(b: [" + "1 " * limits.TOKENS_MAXIMUM + "]) }"
    with slipway.statements() as statements:
        refused = await ada.answer(document)
    assert len(refused["errors"]) == 1
    assert "data" not in refused
    assert str(limits.TOKENS_MAXIMUM) in refused["errors"][0]["message"]
    assert statements == []


async def test_a_small_page_of_a_small_page_is_fine(ada: Client) -> None:
    document = """{ repositories(first: 10) { nodes { artifacts(first: 10) { nodes {
      workloads(first: 10) { nodes { artifact { workloads(first: 10) { nodes { id } } } } } } } } } }"""
    assert (await ada.run(document))["repositories"]["nodes"] == []


async def test_introspection_is_within_the_limits(ada: Client) -> None:
    found = await ada.run(graphql.get_introspection_query(descriptions=True))
    assert found["__schema"]["queryType"]["name"] == "Query"
