"""What the graph costs in SQL statements: a number for each field, whatever the number of rows."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import graphql
import pytest
import pytest_asyncio

from app.api import limits
from tests import conftest, harness
from tests.api import walk
from tests.harness import Client, Slipway

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARENTS = (1, 3, 30)
# A document may ask for so many of these at most.
PARENTS_OF_COSTLY = (1, 3, limits.COSTLY_MAXIMUM)

# What a field costs under its parents, all that is in it included. A field that is not here costs nothing.
COSTS = {
    "Repository": {
        "createdBy": 1,
        "tags": 1,
        "artifacts": 1,
        "artifactCount": 1,
        "viewerRole": 1,
        "grants": 2,  # the grants, their users
        "events": 1,
        "actions": 3,  # the role, locked artifacts, live workloads
    },
    "Artifact": {
        "repository": 1,
        "createdBy": 1,
        "lockedBy": 1,
        "clonedFrom": 1,
        "tags": 1,
        "containers": 1,
        "containerGroups": 1,
        "warnings": 3,  # containers, variables, probes
        "manifest": 3,  # the same
        "testWorkload": 1,
        "workloads": 1,
        "viewerRole": 1,
        "grants": 2,
        "events": 1,
        "actions": 4,  # two roles, live workloads, the runtime
    },
    "Container": {
        "artifact": 1,
        "environmentVars": 1,
        "probes": 1,
        "startupProbe": 1,
        "readinessProbe": 1,
        "livenessProbe": 1,
    },
    "Workload": {
        "artifact": 1,
        "repository": 1,
        "createdBy": 1,
        "environment": 2,  # the overrides, the artifacts for their versions
        "manifest": 2,  # the same
        "tags": 1,
        "viewerRole": 1,
        "grants": 2,
        "events": 1,
        "actions": 4,  # two roles, the artifacts, the replacements
        "replacement": 1,
        "history": 1,
    },
    "Replacement": {"workload": 1, "from": 1, "to": 1, "requestedBy": 1},
    "Credential": {
        "createdBy": 1,
        "usedBy": 1,
        "keys": 1,
        "viewerRole": 1,
        "grants": 2,
        "actions": 3,  # the role, the artifacts and the workloads that point at it
    },
    "User": {"groups": 1},
    "ApiToken": {},
    "Event": {"actor": 1, "subject": 1},
}
SERVICES = "workloads(first: %d, filter: {purpose: SERVICE}) { nodes "
# How many things of a type are reached at once: what stands before the field, and what that costs.
ROOTS = {
    "Repository": ("repositories(first: %d) { nodes { ", 1),
    "Artifact": ("artifacts(first: %d, filter: {status: LOCKED}) { nodes { ", 1),
    "Container": ("artifacts(first: %d, filter: {status: LOCKED}) { nodes { containers { ", 2),
    "Workload": ("workloads(first: %d) { nodes { ", 1),
    "Replacement": (f"{SERVICES} {{ replacement {{ ", 2),
    "Credential": ("credentials(first: %d) { nodes { ", 1),
    "User": ("users(first: %d) { nodes { ", 1),
    "ApiToken": ("apiTokens { ", 1),
    "Event": ("events(first: %d, filter: {kind: [ARTIFACT_CREATED]}) { nodes { ", 1),
}
# Where the things that a root reaches have nothing to lead to.
OTHER_ROOTS = {
    ("Artifact", "clonedFrom"): ("artifacts(first: %d, filter: {status: DRAFT}) { nodes { ", 1),
    ("Artifact", "testWorkload"): ("artifacts(first: %d, filter: {status: DRAFT}) { nodes { ", 1),
}
ROOT_COSTS = {
    "node": 1,
    "nodes": 1,
    "viewer": 1,
    "repository": 1,
    "artifact": 1,
    "workload": 1,
    "repositories": 1,
    "artifacts": 1,
    "workloads": 1,
    "credentials": 1,
    "users": 1,
    "events": 1,
    "apiTokens": 1,
    "tags": 1,
    "creators": 2,  # the counts, the users
    "artifactExample": 0,
}
# What blocks costs one statement for each kind of thing; parts of a thing without an id of their own cost theirs.
LOCKED = "artifacts(first: %d, filter: {status: LOCKED}) { nodes "
BLOCKERS = "{ actions { blockers { hiddenCount nodes { id } } } }"
DEEPER = {
    "blockers of repositories": (f"repositories(first: %d) {{ nodes {BLOCKERS} }}", 1 + 3 + 2),
    "blockers of artifacts": (f"{LOCKED} {BLOCKERS} }}", 1 + 4 + 1),
    "blockers of credentials": (f"credentials(first: %d) {{ nodes {BLOCKERS} }}", 1 + 3 + 2),
    "blockers of workloads": (f"workloads(first: %d) {{ nodes {BLOCKERS} }}", 1 + 4),
    # the replacements; the artifacts, once for both ends; the users
    "history": (f"{SERVICES} {{ history {{ nodes {{ from {{ id }} to {{ id }} requestedBy {{ id }} }} }} }} }}", 1 + 3),
    # containers, variables, credentials
    "credentials": (f"{LOCKED} {{ containers {{ environmentVars {{ field credential {{ name }} }} }} }} }}", 1 + 3),
    "groups": (f"{LOCKED} {{ containerGroups {{ containers {{ probes {{ path }} }} }} }} }}", 1 + 2),
    # grants, their users, the groups of those
    "subjects": (f"{LOCKED} {{ grants {{ subject {{ ... on User {{ username groups }} }} }} }} }}", 1 + 3),
    # tags, users, containers, probes
    "siblings": (
        f"{LOCKED} {{ tags {{ name }} createdBy {{ id }} lockedBy {{ id }} containers {{ probes {{ path }} }} }} }}",
        1 + 4,
    ),
    "levels": (
        "repositories(first: %d) { nodes { artifacts { nodes { workloads(first: 5) { nodes { tags { name } } } } } } }",
        4,
    ),
    "back and forth": (f"{LOCKED} {{ repository {{ artifacts {{ nodes {{ repository {{ id }} }} }} }} }} }}", 3),
}


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """A server with thirty of everything."""

    slipway: Slipway
    ada: Client

    async def count(self, document: str, **variables: Any) -> int:
        """How many statements a document takes."""
        with self.slipway.statements() as statements:
            await self.ada.run(document, **variables)
        return len(statements)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(postgresql_dsn: str, template_database: str) -> AsyncIterator[World]:
    """Built once for all: nothing here changes it."""
    name = "statements"
    await conftest.execute(postgresql_dsn, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY FILE_COPY")
    async with harness.serving(conftest.database_dsn(postgresql_dsn, name), compiler=False) as slipway:
        ada = await slipway.user("ada")
        await fill(slipway, ada)
        yield World(slipway, ada)
    await conftest.execute(postgresql_dsn, f"DROP DATABASE {name} WITH (FORCE)")


async def fill(slipway: Slipway, ada: Client) -> None:
    """Thirty repositories, each with a locked artifact that runs, and a clone of it under test."""
    users = [await slipway.user(f"user-{number}", groups=("ml", f"group-{number}")) for number in range(4)]
    grants: list[dict[str, Any]] = [{"user": await harness.user_id(each), "role": "VIEWER"} for each in users]
    grants += [{"group": "ml", "role": "EDITOR"}, {"everyone": True, "role": "VIEWER"}]
    tags = [{"name": "team", "value": "ml"}, {"name": "stage", "value": "test"}]
    probe = {"path": "/"}
    for number in range(max(PARENTS)):
        await slipway.user(f"more-{number}")
        key = await harness.credential(ada, f"key-{number}")
        pointing = {"name": "KEY", "type": "CREDENTIAL", "credentialId": key, "field": "key"}
        container = harness.container(
            environmentVars=[pointing, {"name": "PLAIN", "value": "x"}], startupProbe=probe, livenessProbe=probe
        )
        sidecar = harness.container(name="sidecar", port=9090)
        spec = harness.spec({**container, "primary": True}, sidecar)
        artifact = await harness.new_artifact(ada, f"artifact-{number}", tags=tags, spec=spec)
        await ada.mutate("updateRepository", repositoryId=artifact["repository"]["id"], tags=tags)
        service = await harness.deploy(ada, artifact["id"], tags=tags, environment=[pointing])
        more = {"name": "PLAIN", "value": "y"}
        await ada.mutate("configureWorkload", workloadId=service["id"], environment=[pointing, more])
        # Things have different numbers of grants, to different users.
        some = grants[number % 3 :]
        await harness.share(ada, "Repository", artifact["repository"]["id"], *some)
        await harness.share(ada, "Artifact", artifact["id"], *some)
        await harness.share(ada, "Workload", service["id"], *some)
        await harness.share(ada, "Credential", key, *some)
        clone = await ada.mutate("cloneArtifact", harness.ARTIFACT, artifactId=artifact["id"])
        await harness.start_test(ada, clone["artifact"]["id"])


EDGES = [(type_name, name) for type_name in walk.NODE_TYPES for name in walk.fields(type_name)]


async def test_the_tables_name_what_is_there() -> None:
    assert set(COSTS) == set(ROOTS) == set(walk.NODE_TYPES)
    for type_name, costs in COSTS.items():
        assert set(costs) <= set(walk.fields(type_name))
    assert set(ROOT_COSTS) == set(walk.fields("Query"))


def minimal(field: Any) -> str:
    """A selection that costs nothing beyond the field itself."""
    named = graphql.get_named_type(field.type)
    if walk.is_leaf(field):
        return ""
    if walk.is_connection(field):
        return "{ edges { cursor node { id } } nodes { id } pageInfo { hasNextPage endCursor } }"
    if named.name in walk.NODE_TYPES or isinstance(named, graphql.GraphQLInterfaceType):
        return "{ id }"
    if named.name == "CreatorUsage":
        return "{ count user { id } }"
    assert isinstance(named, graphql.GraphQLObjectType)
    text = walk.whole(named, 0)
    return text.replace("}", "blockers { code message hiddenCount } }") if says_what_is_available(named.name) else text


def says_what_is_available(name: str) -> bool:
    """Whether a type says if an action is available."""
    return name.endswith("ActionState")


def under(root: str, field: str) -> str:
    """A document that asks each thing of a root for a field."""
    return f"{{ {root}{field}{' }' * (root.count('{') - root.count('}'))} }}"


@pytest.mark.parametrize(("type_name", "name"), EDGES, ids=[".".join(each) for each in EDGES])
async def test_a_field_costs_the_same_under_any_number_of_parents(world: World, type_name: str, name: str) -> None:
    root, cost = OTHER_ROOTS.get((type_name, name), ROOTS[type_name])
    field = walk.fields(type_name)[name]
    document = under(root, f"{name} {minimal(field)}")
    for parents in PARENTS_OF_COSTLY if name in limits.COSTLY else PARENTS:
        asked = document.replace("%d", str(parents))
        assert await world.count(asked) == cost + COSTS[type_name].get(name, 0), asked


@pytest.mark.parametrize("name", DEEPER)
async def test_what_is_deeper_costs_the_same_as_well(world: World, name: str) -> None:
    document, cost = DEEPER[name]
    for parents in PARENTS:
        assert await world.count("{ " + document % parents + " }") == cost, parents


@pytest.mark.parametrize("name", ROOT_COSTS)
async def test_a_root_field_costs_what_it_says(world: World, name: str) -> None:
    things = await world.ada.run(
        "{ repositories { nodes { id } } artifacts { nodes { id } } workloads { nodes { id } } }"
    )
    ids = {kind: things[many]["nodes"][0]["id"] for kind, many in PLURALS.items()}
    repositories = [each["id"] for each in things["repositories"]["nodes"]]
    field = walk.fields("Query")[name]
    known: dict[str, list[Any]] = {"id": [ids.get(name, ids["artifact"])], "ids": [repositories]}
    call = next(walk.calls(name, field, known))
    assert await world.count(f"{{ {call} {minimal(field)} }}") == ROOT_COSTS[name]


PLURALS = {"repository": "repositories", "artifact": "artifacts", "workload": "workloads"}


async def test_many_nodes_cost_one_statement_for_each_kind(world: World) -> None:
    things = await world.ada.run(
        "{ repositories { nodes { id } } artifacts { nodes { id } } workloads { nodes { id } } }"
    )
    ids = [each["id"] for many in things.values() for each in many["nodes"]]
    document = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    for count in PARENTS:
        some = [ids[start + number] for number in range(count // 3 or 1) for start in (0, 20, 40)]
        assert await world.count(document, ids=some) == 3
    assert await world.count(document, ids=ids[:1]) == 1


CONNECTIONS = [
    (type_name, name)
    for type_name in ("Query", *walk.NODE_TYPES)
    for name, field in walk.fields(type_name).items()
    if walk.is_connection(field)
]


@pytest.mark.parametrize(("type_name", "name"), CONNECTIONS, ids=[".".join(each) for each in CONNECTIONS])
async def test_a_total_costs_one_statement_and_only_where_asked_for(world: World, type_name: str, name: str) -> None:
    root, cost = ("", 0) if type_name == "Query" else ROOTS[type_name]
    for parents in PARENTS:
        for inner, more in (("nodes { id }", 1), ("totalCount nodes { id }", 2), ("totalCount edges { cursor }", 2)):
            document = under(root, f"{name}(first: 2) {{ {inner} }}").replace("%d", str(parents))
            assert await world.count(document) == cost + more, document


@pytest.mark.parametrize("name", [name for type_name, name in CONNECTIONS if type_name == "Query"])
async def test_a_deep_page_costs_what_the_first_does(world: World, name: str) -> None:
    page = "{ nodes { id } pageInfo { endCursor hasNextPage } }"
    document = f"query ($after: String) {{ {name}(first: 5, after: $after) {page} }}"
    after, pages = None, 0
    while True:
        with world.slipway.statements() as statements:
            found = (await world.ada.run(document, after=after))[name]
        assert len(statements) == 1
        # By keyset, never by counting rows off.
        assert "OFFSET" not in statements[0].upper()
        pages += 1
        if not found["pageInfo"]["hasNextPage"]:
            break
        after = found["pageInfo"]["endCursor"]
    assert pages >= 6


async def test_filters_and_orders_cost_no_statement_of_their_own(world: World) -> None:
    known: dict[str, list[Any]] = {
        "search": ["artifact"],
        "createdBy": [[await harness.user_id(world.ada)]],
        "tags": [[{"name": "team"}, {"name": "stage", "values": ["test"]}]],
        "image": ["docker.io/library/python"],
        "repositoryId": [(await world.ada.run("{ repositories { nodes { id } } }"))["repositories"]["nodes"][0]["id"]],
        "artifactId": [(await world.ada.run("{ artifacts { nodes { id } } }"))["artifacts"]["nodes"][0]["id"]],
    }
    known |= {"subjectId": known["artifactId"], "actor": known["createdBy"]}
    for type_name, name in CONNECTIONS:
        if type_name == "Query":
            calls = list(walk.calls(name, walk.fields("Query")[name], known))
            asked = " ".join(f"a{number}: {call} {{ nodes {{ id }} }}" for number, call in enumerate(calls))
            assert await world.count(f"{{ {asked} }}") == len(calls), name
