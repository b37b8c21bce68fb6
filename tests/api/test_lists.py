"""Lists: orders, pages and cursors, against a reference in Python."""

import base64
import itertools
import json
import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from tests import harness
from tests.api.reference import KINDS, SORTED, World, order_of, ordered, page, shown, spoken
from tests.harness import Client, Slipway

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def world(lists_world: World) -> World:
    """Rows to list."""
    return lists_world


@pytest.mark.slow
@pytest.mark.parametrize(("name", "field", "direction"), SORTED)
async def test_every_page_of_every_order(world: World, name: str, field: str | None, direction: str) -> None:
    expected = spoken(ordered(world.rows(name), field, direction), name)
    order = order_of(field, direction)
    whole = await page(world.ada, name, order, first=100)
    assert shown(whole) == expected
    assert whole["totalCount"] == len(expected)
    cursors = [each["cursor"] for each in whole["edges"]]
    assert len(set(cursors)) == len(cursors)
    for size, (at, until) in itertools.product((1, 4), ((0, 5), (7, len(cursors) - 1))):
        after, before = cursors[at], cursors[until]
        inner = expected[at + 1 : until]
        for paging, window in (
            ({"first": size, "after": after}, expected[at + 1 :]),
            ({"first": size, "before": before}, expected[:until]),
            ({"first": size, "after": after, "before": before}, inner),
            ({"last": size, "before": before}, expected[:until]),
            ({"last": size, "after": after}, expected[at + 1 :]),
            ({"last": size, "after": after, "before": before}, inner),
        ):
            forward = "first" in paging
            found = await page(world.ada, name, order, **paging)
            assert shown(found) == (window[:size] if forward else window[-size:]), paging
            # Relay, 4.4: the side that is paged towards is known, the other one by its cursor.
            more = len(window) > size
            info = found["pageInfo"]
            assert info["hasNextPage"] == (more if forward else "before" in paging), paging
            assert info["hasPreviousPage"] == (more if not forward else "after" in paging), paging


@pytest.mark.parametrize(("name", "field", "direction"), SORTED)
async def test_paging_meets_every_row_once(world: World, name: str, field: str | None, direction: str) -> None:
    expected = spoken(ordered(world.rows(name), field, direction), name)
    order = order_of(field, direction)
    for step, cursor, to, more, edge in (
        ("first", "after", "endCursor", "hasNextPage", 1),
        ("last", "before", "startCursor", "hasPreviousPage", -1),
    ):
        met: list[str] = []
        paging: dict[str, Any] = {}
        while True:
            found = await page(world.ada, name, order, **{step: 7}, **paging)
            met = met + shown(found) if edge == 1 else shown(found) + met
            if not found["pageInfo"][more]:
                break
            paging = {cursor: found["pageInfo"][to]}
        assert met == expected


async def test_a_page_has_twenty_rows_when_nothing_is_said(world: World) -> None:
    found = await page(world.ada, "artifacts", "filter: {}")
    assert shown(found) == spoken(ordered(world.artifacts, None, "DESC"), "artifacts")[:20]
    assert found["pageInfo"]["hasNextPage"] is True


@pytest.mark.parametrize("order", ["", "orderBy: {field: NAME}", "orderBy: {field: UPDATED_AT}"])
@pytest.mark.asyncio(loop_scope="function")
async def test_paging_while_rows_come_and_go(slipway: Slipway, order: str) -> None:
    ada = await slipway.user("ada")
    stay = [(await harness.new_artifact(ada, f"stay {'abcdefgh'[number]}"))["id"] for number in range(8)]
    go = {(await harness.new_artifact(ada, f"go {number}"))["id"] for number in range(4)}
    met: list[str] = []
    paging: dict[str, Any] = {}
    # Newer rows come on both sides of the cursor, so a list sorted by age grows ahead of it: stop where all were met.
    while not set(stay) <= set(met):
        found = await page(ada, "artifacts", order, first=2, **paging)
        met += shown(found)
        # The rows at the cursor go.
        for each in go & set(shown(found)):
            go.remove(each)
            gone = await ada.mutate("deleteArtifact", artifactId=each)
            assert gone["__typename"] == "DeletePayload"
        await harness.new_artifact(ada, f"between {len(met)}")
        await harness.new_artifact(ada, f"zz {len(met)}")
        assert found["pageInfo"]["hasNextPage"] or set(stay) <= set(met)
        paging = {"after": found["pageInfo"]["endCursor"]}
    assert [met.count(each) for each in stay] == [1] * len(stay)
    assert len(met) == len(set(met))


@pytest.mark.asyncio(loop_scope="function")
async def test_a_cursor_outlives_its_row(slipway: Slipway) -> None:
    ada = await slipway.user("ada")
    made = [(await harness.new_artifact(ada, "same"))["id"] for _ in range(5)]
    order = "orderBy: {field: NAME}"
    whole = await page(ada, "artifacts", order)
    assert shown(whole) == made
    await ada.mutate("deleteArtifact", artifactId=made[2])
    cursor = whole["edges"][2]["cursor"]
    assert shown(await page(ada, "artifacts", order, first=9, after=cursor)) == made[3:]
    assert shown(await page(ada, "artifacts", order, last=9, before=cursor)) == made[:2]


# ───────────────────────────── cursors ─────────────────────────────


def written(*place: Any) -> str:
    """A cursor that holds this."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


async def assert_refused(client: Client, name: str, argument: str, cursor: str, order: str = "") -> None:
    """An error with a code, that names the argument."""
    document = f"query ($cursor: String) {{ {name}(first: 1, {order} {argument}: $cursor) {{ nodes {{ id }} }} }}"
    answer = await client.answer(document, cursor=cursor)
    [error] = answer["errors"]
    assert error["extensions"] == {"code": "BAD_INPUT", "argument": argument}, (cursor, error)
    assert error["message"].startswith(f"{argument}: "), error
    assert answer["data"] is None


async def test_cursors_of_another_list_or_order_are_refused(world: World) -> None:
    cursors = {}
    for name, field, direction in SORTED:
        order = order_of(field, direction)
        cursors[name, order] = (await page(world.ada, name, order, first=1))["pageInfo"]["endCursor"]
    for name in ("credentials", "users"):
        cursors[name, ""] = written(name, "NEWEST", "DESC", UUID(int=1).hex, UUID(int=1).hex)
    for (name, order), (other, cursor) in itertools.product(cursors, cursors.items()):
        if (name, order) != other and (name == other[0] or order == other[1]):
            await assert_refused(world.ada, name, "after", cursor, order)
    for name in ("artifacts", "workloads", "repositories", "credentials", "users"):
        await assert_refused(world.ada, name, "before", cursors["artifacts" if name != "artifacts" else "users", ""])


async def test_a_damaged_cursor_is_refused(world: World) -> None:
    order = "orderBy: {field: NAME}"
    cursor = (await page(world.ada, "artifacts", order, first=1))["pageInfo"]["endCursor"]
    for length in range(len(cursor)):
        await assert_refused(world.ada, "artifacts", "after", cursor[:length], order)
    for damaged in (f"{cursor}A", f" {cursor}", f"{cursor}\n", cursor.swapcase(), "é", "null", "AAAA", "a" * 3_000):
        await assert_refused(world.ada, "artifacts", "before", damaged, order)


ID = UUID(int=7).hex
MADE_UP = [
    ("NAME", 1),
    ("NAME", None),
    ("NAME", ["a"]),
    ("NAME", "a\0b"),
    ("NAME", "\ud800"),
    ("STATUS", "RUNNING"),
    ("STATUS", 1),
    ("VERSION", "1"),
    ("VERSION", True),
    ("VERSION", 2**31),
    ("VERSION", -(2**31) - 1),
    ("VERSION", 1.5),
    ("CREATED_AT", "yesterday"),
    ("CREATED_AT", "2026-01-01T00:00:00"),
    ("CREATED_AT", 5),
    ("CREATED_AT", "0001-01-01T00:00:00+14:00"),
    ("CREATED_AT", "9999-12-31T23:59:59-14:00"),
]


@pytest.mark.parametrize(("field", "key"), MADE_UP)
async def test_a_cursor_with_a_key_of_another_type_is_refused(world: World, field: str, key: Any) -> None:
    order = f"orderBy: {{field: {field}}}"
    await assert_refused(world.ada, "artifacts", "after", written("artifacts", field, "ASC", key, ID), order)


@pytest.mark.parametrize("row_id", ["", "x", 7, None, ID[:-1], "art_" + "0" * 26, "\ud800", [ID]])
async def test_a_cursor_without_a_row_is_refused(world: World, row_id: Any) -> None:
    order = "orderBy: {field: NAME}"
    await assert_refused(world.ada, "artifacts", "after", written("artifacts", "NAME", "ASC", "a", row_id), order)
    await assert_refused(world.ada, "artifacts", "after", written("artifacts", "NEWEST", "DESC", row_id, ID))


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)


@given(
    cursor=st.text()
    | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    | JSON.map(lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode())
    | st.tuples(
        st.just("artifacts"), st.sampled_from(["NAME", "VERSION", "UPDATED_AT"]), st.just("ASC"), JSON, JSON
    ).map(lambda place: written(*place)),
    field=st.sampled_from(["NAME", "VERSION", "UPDATED_AT"]),
)
@example(cursor="[" * 1000, field="NAME")
@example(cursor=base64.urlsafe_b64encode(b"[" * 1_500).decode(), field="NAME")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_no_made_up_cursor_breaks_anything(world: World, cursor: str, field: str) -> None:
    document = """query ($cursor: String, $field: ArtifactOrderField!) {
      artifacts(first: 1, after: $cursor, orderBy: {field: $field}) { nodes { id } } }"""
    response = await world.ada.http.post(
        "/graphql",
        content=json.dumps({"query": document, "variables": {"cursor": cursor, "field": field}}),
        headers={"Authorization": f"Bearer {world.ada.token}", "Content-Type": "application/json"},
    )
    assert response.status_code in {200, 400}
    for error in response.json().get("errors", ()):
        assert error["extensions"]["code"] in {"BAD_INPUT", "MALFORMED_JSON"}, error


@pytest.mark.parametrize(
    ("paging", "argument"),
    [
        ("first: 0", "first"),
        ("first: -1", "first"),
        ("first: 101", "first"),
        ("last: 0", "last"),
        ("last: 1000", "last"),
        ("first: 1, last: 1", "first"),
    ],
)
async def test_a_page_has_1_to_100_rows(world: World, paging: str, argument: str) -> None:
    for name in KINDS:
        answer = await world.ada.answer(f"{{ {name}({paging}) {{ nodes {{ id }} }} }}")
        [error] = answer["errors"]
        assert error["extensions"] == {"code": "BAD_INPUT", "argument": argument}
        assert re.match(rf"{argument}: (Give first or last|-?\d+ is not between 1 and 100)", error["message"])
    nested = await world.ada.answer(
        f"{{ repositories(first: 1) {{ nodes {{ artifacts({paging}) {{ totalCount }} }} }} }}"
    )
    assert nested["errors"][0]["extensions"]["argument"] == argument
