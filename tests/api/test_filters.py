"""Filters: each alone, and together, against a reference in Python."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from app.domain import enums, ids
from tests.api.reference import (
    DIGEST,
    IMAGES,
    KINDS,
    ORDERS,
    PAGE,
    START,
    World,
    order_of,
    ordered,
    page,
    shown,
    spoken,
)
from tests.harness import Slipway

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def world(lists_world: World) -> World:
    """Rows to list."""
    return lists_world


Test = Callable[[World, Any], bool]


def searched(text: str) -> Test:
    """Part of the name or description, regardless of case."""
    return lambda _, row: text.lower() in row.name.lower() or text.lower() in row.description.lower()


def tagged(name: str, *values: str) -> Test:
    """A tag with any of these values; without any: with any value."""
    return lambda world, row: name in world.tags[row.id] and (not values or world.tags[row.id][name] in values)


def created(user: str) -> Test:
    """Made by this user."""
    return lambda world, row: _made_by(world, row) == user


def _made_by(world: World, row: Any) -> str:
    return "ada" if row.created_by_id == world.repositories[0].created_by_id else "grace"


def has_image(text: str) -> Test:
    """A container of the artifact, or of what the workload runs."""

    def test(world: World, row: Any) -> bool:
        containers = world.images[getattr(row, "artifact_id", row.id)]
        return any(
            text in {each.image_uri, each.image_name, each.image_digest, each.image_uri.partition("@")[2] or None}
            for each in containers
        )

    return test


def during(field: str, start: datetime | None, end: datetime | None) -> Test:
    """From one moment on, and before another."""
    return lambda _, row: (not start or getattr(row, field) >= start) and (not end or getattr(row, field) < end)


def time_range(field: str, start: datetime | None, end: datetime | None) -> tuple[str, Test]:
    """The filter, and its test."""
    text = ", ".join(
        f'{name}: "{moment.isoformat()}"' for name, moment in (("from", start), ("to", end)) if moment is not None
    )
    snake = {"createdAt": "created_at", "updatedAt": "updated_at"}[field]
    return f"{field}: {{{text}}}", during(snake, start, end)


def nothing(_: World, __: Any) -> bool:
    """Matches no row."""
    return False


HOURS = [START + timedelta(hours=number) for number in range(6)]
SEARCHES = (
    "alpha",
    "ALPHA",
    "ÉLAN",
    "%",
    "_",
    "\\",
    "_x",
    "0%",
    "a\\b",
    "🚀",
    "text",
    "100% s",
    "/",
    "",
    "nowhere",
    "ß",
)
COMMON: list[tuple[str, Test]] = [
    *((f"search: {json.dumps(text, ensure_ascii=False)}", searched(text)) for text in SEARCHES),
    ("createdBy: [ADA]", created("ada")),
    ("createdBy: [GRACE]", created("grace")),
    ("createdBy: [ADA, GRACE, GRACE]", lambda *_: True),
    ("createdBy: []", nothing),
    ("createdBy: null", lambda *_: True),
    ('tags: [{name: "team"}]', tagged("team")),
    ('tags: [{name: "team", values: ["ml"]}]', tagged("team", "ml")),
    ('tags: [{name: "team", values: ["ml", "ops"]}]', tagged("team", "ml", "ops")),
    ('tags: [{name: "stage", values: [""]}]', tagged("stage", "")),
    ('tags: [{name: "team", values: []}]', nothing),
    ('tags: [{name: "TEAM"}]', nothing),
    ("tags: []", nothing),
    (
        'tags: [{name: "team", values: ["ml"]}, {name: "stage"}]',
        lambda world, row: tagged("team", "ml")(world, row) and tagged("stage")(world, row),
    ),
    ('tags: [{name: "team", values: ["ml"]}, {name: "team", values: ["ops"]}]', nothing),
    time_range("createdAt", HOURS[1], HOURS[3]),
    time_range("createdAt", HOURS[2], None),
    time_range("createdAt", None, HOURS[2]),
    time_range("createdAt", HOURS[3], HOURS[3]),
    ("createdAt: {}", lambda *_: True),
]
UPDATED = [
    time_range("updatedAt", START + timedelta(days=1), START + timedelta(days=2, microseconds=1)),
    time_range("updatedAt", None, START + timedelta(microseconds=1)),
]
TYPED: list[tuple[str, Test]] = [
    ("type: [AGENT, MCP]", lambda _, row: row.type in {"AGENT", "MCP"}),
    ("type: []", nothing),
]
IMAGED = [
    *((f'image: "{image}"', has_image(image)) for image in (*IMAGES, "python", "registry.test:5000/team/app", DIGEST)),
    ('image: "sha256:' + "a" * 64 + '"', has_image("sha256:" + "a" * 64)),
    ('image: "pyth"', nothing),
    ('image: "PYTHON"', nothing),
    ('image: ""', nothing),
]


def is_used(world: World, row: Any) -> bool:
    """A workload that has not ended runs it."""
    return any(each.artifact_id == row.id and each.status != "TERMINATED" for each in world.workloads)


def artifact_of(world: World, row: Any) -> Any:
    """What a workload runs."""
    return next(each for each in world.artifacts if each.id == row.artifact_id)


FILTERS: dict[str, list[tuple[str, Test]]] = {
    "repositories": [
        *COMMON,
        *UPDATED,
        *TYPED,
        *(
            (
                f"hasStatus: {status}",
                lambda world, row, status=status: any(
                    each.repository_id == row.id and each.status == status for each in world.artifacts
                ),
            )
            for status in enums.ArtifactStatus
        ),
    ],
    "artifacts": [
        *COMMON,
        *UPDATED,
        *TYPED,
        *IMAGED,
        ("status: [LOCKED]", lambda _, row: row.status == "LOCKED"),
        ("status: [LOCKED, DRAFT]", lambda *_: True),
        ("status: []", nothing),
        ("repositoryId: REPOSITORY", lambda world, row: row.repository_id == world.repositories[1].id),
        ("inUse: true", is_used),
        ("inUse: false", lambda world, row: not is_used(world, row)),
    ],
    "workloads": [
        *COMMON,
        *IMAGED,
        ("status: [RUNNING, STOPPED]", lambda _, row: row.status in {"RUNNING", "STOPPED"}),
        ("status: []", nothing),
        ("active: true", lambda _, row: row.status not in {"STOPPED", "TERMINATED"}),
        ("active: false", lambda _, row: row.status in {"STOPPED", "TERMINATED"}),
        ("purpose: TEST", lambda _, row: row.purpose == "TEST"),
        ("importance: [CRITICAL, LOW]", lambda _, row: row.importance in {"CRITICAL", "LOW"}),
        ("importance: []", nothing),
        ("artifactId: ARTIFACT", lambda world, row: row.artifact_id == world.artifacts[1].id),
        ("repositoryId: REPOSITORY", lambda world, row: row.repository_id == world.repositories[1].id),
        *(
            (
                f"artifactStatus: {status}",
                lambda world, row, status=status: artifact_of(world, row).status == status,
            )
            for status in enums.ArtifactStatus
        ),
    ],
}


def placed(world: World, text: str) -> str:
    """A filter with the ids that it speaks of."""
    users = {"ADA": world.repositories[0].created_by_id, "GRACE": world.repositories[1].created_by_id}
    named = {name: ids.encode(ids.Kind.USER, user) for name, user in users.items()}
    named["REPOSITORY"] = ids.encode(ids.Kind.REPOSITORY, world.repositories[1].id)
    named["ARTIFACT"] = ids.encode(ids.Kind.ARTIFACT, world.artifacts[1].id)
    return re.sub(r"\b(ADA|GRACE|REPOSITORY|ARTIFACT)\b", lambda match: json.dumps(named[match[1]]), text)


@pytest.mark.parametrize("name", FILTERS)
async def test_each_filter_alone(world: World, name: str) -> None:
    matched = 0
    for text, test in FILTERS[name]:
        expected = spoken(ordered([row for row in world.rows(name) if test(world, row)], None, "DESC"), name)
        found = await page(world.ada, name, f"filter: {{{placed(world, text)}}}", first=100)
        assert shown(found) == expected, text
        assert found["totalCount"] == len(expected), text
        matched += 0 < len(expected) < len(world.rows(name))
    # Most of them tell some rows from others.
    assert matched > len(FILTERS[name]) / 3


def field_of(narrowed: tuple[str, Test]) -> str:
    """The field of a filter."""
    return narrowed[0].partition(":")[0]


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_filters_together(world: World, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILTERS)))
    chosen = data.draw(st.lists(st.sampled_from(FILTERS[name]), min_size=2, max_size=4, unique_by=field_of))
    field = data.draw(st.sampled_from(ORDERS[name]))
    direction = data.draw(st.sampled_from(["ASC", "DESC"]))
    size = data.draw(st.integers(1, 100))
    rows = [row for row in world.rows(name) if all(test(world, row) for _, test in chosen)]
    expected = spoken(ordered(rows, field, direction), name)
    text = ", ".join(placed(world, each) for each, _ in chosen)
    found = await page(world.ada, name, f"filter: {{{text}}}", order_of(field, direction), first=size)
    assert (shown(found), found["totalCount"]) == (expected[:size], len(expected)), text


@given(search=st.text(st.sampled_from("aA1lé%_\\/*?[]^$.'\"Ωω🚀 "), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_search_takes_every_character_as_it_is(world: World, search: str) -> None:
    document = "query ($search: String) { artifacts(first: 100, filter: {search: $search}) { nodes { id } } }"
    found = await world.ada.run(document, search=search)
    rows = [row for row in world.artifacts if searched(search)(world, row)]
    assert shown(found["artifacts"]) == spoken(ordered(rows, None, "DESC"), "artifacts")


@pytest.mark.parametrize("name", KINDS)
async def test_a_search_finds_the_beginning_of_an_id(world: World, name: str) -> None:
    every = spoken(ordered(world.rows(name), None, "DESC"), name)
    wanted = every[3]
    for text in (wanted, wanted.upper(), f" {wanted} ", *(wanted[:length] for length in range(5, len(wanted)))):
        found = await page(world.ada, name, f"filter: {{search: {json.dumps(text)}}}", first=100)
        assert shown(found) == [each for each in every if each.startswith(text.strip().lower())], text
    # Everything has the prefix, so it finds nothing; nor does the middle of an id, or one of another kind.
    other = {"repositories": "art", "artifacts": "wkl", "workloads": "rep"}[name]
    for text in (wanted[:4], wanted[4:], wanted[6:12], f"{other}{wanted[3:]}", f"{wanted}0", wanted[:-1] + "u"):
        found = await page(world.ada, name, f"filter: {{search: {json.dumps(text)}}}", first=100)
        assert shown(found) == [], text


@pytest.mark.asyncio(loop_scope="function")
async def test_a_search_finds_users(slipway: Slipway) -> None:
    ada = await slipway.user("ada")
    for username in ("Grace", "grace_h", "linus%"):
        await slipway.user(username)
    async with slipway.database.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE users SET display_name = 'Dr. Hopper' WHERE username = 'Grace'")

    async def found(search: str) -> list[str]:
        document = "query ($search: String) { users(search: $search) { totalCount nodes { id username } } }"
        users = (await ada.run(document, search=search))["users"]
        assert users["totalCount"] == len(users["nodes"])
        return [each["username"] for each in users["nodes"]]

    assert await found("grace") == ["grace_h", "Grace"]
    assert await found("HOPPER") == ["Grace"]
    assert await found("%") == ["linus%"]
    assert await found("_") == ["grace_h"]
    assert await found("\\") == []
    assert await found("") == ["linus%", "grace_h", "Grace", "ada"]
    own = (await ada.run("{ viewer { id } }"))["viewer"]["id"]
    assert await found(own) == ["ada"]


# ───────────────────────────── nested lists ─────────────────────────────

NESTED = (
    ("repositories", "artifacts", "repository_id"),
    ("artifacts", "workloads", "artifact_id"),
)


@pytest.mark.parametrize(("name", "inner", "column"), NESTED)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_nested_list_is_that_of_each_parent(
    world: World, name: str, inner: str, column: str, data: st.DataObject
) -> None:
    """Under many parents at once it answers what it answers when each is asked alone, and what the rows say."""
    chosen = data.draw(st.lists(st.sampled_from(FILTERS[inner]), max_size=2, unique_by=field_of))
    field, direction = data.draw(st.sampled_from(ORDERS[inner])), data.draw(st.sampled_from(["ASC", "DESC"]))
    paging, size = data.draw(st.sampled_from(["first", "last"])), data.draw(st.integers(1, 12))
    text = ", ".join(placed(world, each) for each, _ in chosen)
    order = order_of(field, direction)
    rows = ordered(world.rows(inner), field, direction)
    whole = await page(world.ada, inner, order, first=100)
    cursor = data.draw(st.none() | st.sampled_from([each["cursor"] for each in whole["edges"]]))
    place = ("after" if paging == "first" else "before") if cursor else None
    between = "" if place is None else f"{place}: {json.dumps(cursor)}"
    asked = f"{inner}(filter: {{{text}}}, {order}, {paging}: {size}, {between}) {PAGE}"
    many = (await world.ada.run(f"{{ {name}(first: 100) {{ nodes {{ id {asked} }} }} }}"))[name]["nodes"]
    assert len(many) == len(world.rows(name))
    at = None if cursor is None else [each["cursor"] for each in whole["edges"]].index(cursor)
    for parent in many:
        decoded = ids.decode(parent["id"])
        assert decoded is not None
        children = [
            row for row in rows if getattr(row, column) == decoded[1] and all(test(world, row) for _, test in chosen)
        ]
        if at is not None:
            children_in = rows[at + 1 :] if place == "after" else rows[:at]
            window = [row for row in children if row in children_in]
        else:
            window = children
        kept = window[:size] if paging == "first" else window[-size:]
        assert shown(parent[inner]) == spoken(kept, inner), (text, order)
        assert parent[inner]["totalCount"] == len(children)
        assert parent[inner]["pageInfo"]["hasNextPage" if paging == "first" else "hasPreviousPage"] == (
            len(window) > size
        )
    alone = many[size % len(many)]
    single = await world.ada.run(f"query ($id: ID!) {{ {name_of(name)}(id: $id) {{ id {asked} }} }}", id=alone["id"])
    assert single[name_of(name)] == alone


def name_of(plural: str) -> str:
    """The root field for one."""
    return {"repositories": "repository", "artifacts": "artifact"}[plural]


# ───────────────────────────── what does not get in ─────────────────────────────


@pytest.mark.parametrize(
    ("name", "text", "path"),
    [
        ("artifacts", "search: LONG", "filter.search"),
        ("artifacts", "image: LONG", "filter.image"),
        ("artifacts", 'createdBy: ["ada"]', "filter.createdBy[0]"),
        ("artifacts", "createdBy: [ADA, ARTIFACT]", "filter.createdBy[1]"),
        ("artifacts", "repositoryId: ARTIFACT", "filter.repositoryId"),
        ("workloads", "artifactId: REPOSITORY", "filter.artifactId"),
        ("workloads", 'repositoryId: ""', "filter.repositoryId"),
        ("workloads", "tags: [{name: LONG}]", "filter.tags[0].name"),
        ("workloads", 'tags: [{name: "a"}, {name: "a", values: ["b", LONG]}]', "filter.tags[1].values[1]"),
        ("repositories", "tags: [MANY]", "filter.tags"),
        ("repositories", "createdBy: [USERS]", "filter.createdBy"),
    ],
)
async def test_a_wrong_filter_is_named(world: World, name: str, text: str, path: str) -> None:
    given_text = text.replace("LONG", json.dumps("x" * 10_000)).replace("MANY", '{name: "a"}, ' * 101)
    given_text = placed(world, given_text.replace("USERS", "ADA, " * 101))
    answer = await world.ada.answer(f"{{ {name}(filter: {{{given_text}}}) {{ totalCount }} }}")
    [error] = answer["errors"]
    assert error["extensions"] == {"code": "BAD_INPUT", "argument": path}
    assert error["message"].startswith(f"{path}: ")
