"""Many things by their ids at once have the answers that each has alone, by fewer statements."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import graphql
import pytest

from app.db import database, gathering
from tests.api import walk
from tests.compiler.conftest import Both
from tests.compiler.test_fields import VIEWERS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Sequence[Any]]]:
    """What was asked of PostgreSQL."""
    seen: list[tuple[str, Sequence[Any]]] = []
    fetch = database._Connections.fetch

    async def fetched(self: Any, statement: str, arguments: Sequence[Any]) -> Sequence[Any]:
        seen.append((statement, arguments))
        return await fetch(self, statement, arguments)

    monkeypatch.setattr(database._Connections, "fetch", fetched)
    return seen


def documents(type_name: str) -> Iterator[str]:
    """Everything about one thing, field by field: all of it together would be too much to be gathered."""
    named = walk.SCHEMA.type_map[type_name]
    assert isinstance(named, graphql.GraphQLObjectType)
    for name, field in named.fields.items():
        if not walk.needs_arguments(field):
            selection = f"id {name} {walk.selection(field, 0)}"
            yield f"query($id: ID!) {{ node(id: $id) {{ __typename ... on {type_name} {{ {selection} }} }} }}"


@pytest.mark.equality
@pytest.mark.parametrize("type_name", walk.NODE_TYPES)
async def test_each_has_its_own_answer(
    both: Both, type_name: str, sent: list[tuple[str, Sequence[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "WAIT_SECONDS", 3600.0)
    everything = [each[0] for each in both.world.ids.values()]
    ids = [*both.world.ids[type_name][:30], *everything]
    for document in documents(type_name):
        for viewer in VIEWERS:
            client = both.world.viewers[viewer]
            alone = [await both.ask(both.on, client.token, document, {"id": each}) for each in ids]
            await both.ask(both.on, client.token, "{ viewer { id } }")
            sent.clear()
            together = await asyncio.gather(*(both.ask(both.on, client.token, document, {"id": each}) for each in ids))
            assert together == alone, (viewer, document)
            kinds = len(both.world.ids)
            assert len(sent) <= 4 * kinds + len(ids) / gathering.TOGETHER_MAXIMUM, document


async def test_those_who_differ_are_kept_apart(both: Both, sent: list[tuple[str, Sequence[Any]]]) -> None:
    document = "query($id: ID!) { node(id: $id) { id __typename ... on Artifact { name viewerRole } } }"
    asked = [(viewer, each) for each in both.world.ids["Artifact"][:20] for viewer in (*VIEWERS, *VIEWERS)]
    off = {
        (viewer, each): await both.ask(both.off, both.world.viewers[viewer].token, document, {"id": each})
        for viewer, each in asked
    }
    assert len({answer[2:] for answer in map(str, off.values())}) > len(VIEWERS)
    found = await asyncio.gather(
        *(both.ask(both.on, both.world.viewers[viewer].token, document, {"id": each}) for viewer, each in asked)
    )
    assert found == [off[each] for each in asked]
    assert len([one for one in sent if "convert_to(" in one[0]]) < len(asked) / 3


@pytest.mark.parametrize(
    ("selection", "gathers"),
    [
        ("artifact(id: $id) { name workloads(first: 5) { nodes { name } } }", True),
        ("artifact(id: $id) { name } viewer { username }", False),
        ("one: artifact(id: $id) { name } other: artifact(id: $id) { id }", False),
        ("nodes(ids: [$id]) { id }", False),
        ("artifact(id: $id) { workloads(filter: {status: RUNNING}) { totalCount } }", False),
        (
            "artifact(id: $id) {repository { artifacts(first: 20) { nodes { workloads(first: 24) { totalCount } } } }}",
            True,
        ),
        (
            "artifact(id: $id) {repository { artifacts(first: 20) { nodes { workloads(first: 25) { totalCount } } } }}",
            False,
        ),
    ],
)
async def test_what_is_gathered(
    both: Both, selection: str, gathers: bool, sent: list[tuple[str, Sequence[Any]]]
) -> None:
    document, token = f"query($id: ID!) {{ {selection} }}", both.world.viewers["owner"].token
    ids = both.world.ids["Artifact"][:6]
    await both.ask(both.on, token, document, {"id": ids[0]})
    sent.clear()
    await asyncio.gather(*(both.ask(both.on, token, document, {"id": each}) for each in ids))
    statements = Counter("given" in statement for statement, _ in sent if "convert_to(" in statement)
    assert statements == ({False: 1, True: 1} if gathers else {False: 6})
