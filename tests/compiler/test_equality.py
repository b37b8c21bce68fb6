"""The answer never depends on what answers: generated documents by both ways.

`EQUALITY_DOCUMENTS` says how many are generated, a few hundred to a shard, and `EQUALITY_WORDINGS` how often each is
asked: with other arguments, in other words, by others. How many that were is printed, and the share that was compiled.
"""

import os
import random
from collections.abc import Callable
from typing import Any

import graphql
import pytest

from tests.api import walk
from tests.compiler import documents
from tests.compiler.conftest import Both
from tests.compiler.documents import Known, Request
from tests.compiler.test_fields import VIEWERS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.equality]

DOCUMENTS = int(os.environ.get("EQUALITY_DOCUMENTS", "2000"))
DOCUMENTS_EACH = 250
SHARDS = -(-DOCUMENTS // DOCUMENTS_EACH)
WORDINGS = int(os.environ.get("EQUALITY_WORDINGS", "1"))
SEED = int(os.environ.get("EQUALITY_SEED", "1"))
COMPILED_MINIMUM = 0.95
ORDERS = {
    "repositories": "RepositoryOrder",
    "artifacts": "ArtifactOrder",
    "workloads": "WorkloadOrder",
    "credentials": "",
    "users": "",
}


async def known(both: Both) -> Known:
    """What there is to ask for."""
    world = both.world
    everything = [each for many in world.ids.values() for each in many]
    cursors: dict[tuple[str, str, str], list[str]] = {}
    root = world.viewers["administrator"]
    for name, order_type in ORDERS.items():
        orders: list[tuple[str, str, str]] = [("", "NEWEST", "DESC")]
        if order_type:
            fields = walk.SCHEMA.type_map[f"{order_type}Field"]
            assert isinstance(fields, graphql.GraphQLEnumType)
            orders += [
                (f"(orderBy: {{field: {field}, direction: {direction}}})", field, direction)
                for field in fields.values
                for direction in ("ASC", "DESC")
            ]
        for arguments, field, direction in orders:
            page = (await root.run(f"{{ {name}{arguments} {{ edges {{ cursor }} }} }}"))[name]
            cursors[name, field, direction] = [each["cursor"] for each in page["edges"]]
    cursors["usedBy", "NEWEST", "DESC"] = []
    return Known(
        world.ids,
        {
            "id": everything,
            "ids": [random.Random(each).choices([*everything, "art_nothing"], k=each) for each in range(8)],  # noqa: S311
            "search": ["a", "%", "_", "/", "ö", "\\", "", world.ids["Artifact"][0][:12], world.ids["User"][0]],
            "createdBy": [world.ids["User"][:2], world.ids["User"][1:3], []],
            "tags": [
                [{"name": "team"}],
                [{"name": "team", "values": ["ml", "x"]}, {"name": "empty"}],
                [{"name": "team", "values": []}],
                [],
            ],
            "repositoryId": world.ids["Repository"],
            "artifactId": world.ids["Artifact"],
            "subjectId": [*everything, "evt_nothing"],
            "actor": [world.ids["User"][:1], world.ids["User"][1:3], []],
            "image": ["docker.io/library/redis", "odd.test/a", f"sha256:{'a' * 64}", "docker.io/library/python:3.13"],
            "moment": ["2000-01-01T00:00:00Z", "2026-11-26T05:00:00.25+01:00", "2100-01-01T00:00:00Z"],
            "container": ["main", "sidecar"],
            "contains": ["a", "🚢"],
        },
        cursors,
    )


@pytest.mark.parametrize("shard", range(SHARDS))
async def test_generated_documents_have_one_answer(
    both: Both, shard: int, record_property: Callable[[str, Any], None]
) -> None:
    given = await known(both)
    some = random.Random(SEED * SHARDS + shard)  # noqa: S311  nothing secret
    made = documents.generate(DOCUMENTS_EACH, SEED * SHARDS + shard)
    both.compiled = both.answered = 0
    for text in made * WORDINGS:
        request = documents.sensible(text, given, some)
        viewer = some.choice(VIEWERS)
        fast, slow = await both.answers(viewer, request.document, request.variables, request.operation)
        if fast != slow:
            request = await smallest(both, viewer, request)
            await both.same(viewer, request.document, request.variables, request.operation)
    record_property("equality", (len(made) * WORDINGS, both.answered, both.compiled))
    assert both.compiled >= both.answered * COMPILED_MINIMUM
    assert both.answered >= len(made) * WORDINGS / 2


async def smallest(both: Both, viewer: str, request: Request) -> Request:
    """A smaller document that still has two answers."""
    while True:
        for text in documents.smaller(request.document):
            fast, slow = await both.answers(viewer, text, request.variables, request.operation)
            if fast != slow:
                request = Request(text, request.variables, request.operation)
                break
        else:
            return request
