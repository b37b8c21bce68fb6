"""What an operation costs in statements: one for a query, and a number for each mutation."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from app.db import database
from app.db.database import Plan
from tests import harness
from tests.api import walk
from tests.compiler.conftest import Both
from tests.compiler.test_fields import VIEWERS
from tests.harness import Client, Slipway

pytestmark = pytest.mark.asyncio(loop_scope="module")

# BEGIN and COMMIT left out, authentication too: who has just asked is remembered.
MUTATIONS = {"createArtifact": 11, "updateArtifact": 13, "lockArtifact": 11, "deployArtifact": 18}


@contextlib.contextmanager
def counted(slipway: Slipway) -> Iterator[list[str]]:
    """Every statement that the server sends, whichever way."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    fetch = database._Connections.fetch

    async def fetched(self: Any, statement: str, arguments: Any) -> Any:
        seen.append(statement)
        return await fetch(self, statement, arguments)

    engine = slipway.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database._Connections, "fetch", fetched)
        yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("viewer", VIEWERS)
async def test_a_query_is_one_statement_whatever_it_asks_for(both: Both, viewer: str) -> None:
    client = both.on.anonymous(both.world.viewers[viewer].token)
    everything = " ".join(
        f"{name} {walk.selection(field, 1)}"
        for name, field in walk.fields("Query").items()
        if not walk.needs_arguments(field)
    )
    ids = walk.literal([each[0] for each in both.world.ids.values()])
    for document in ("{ viewer { id } }", f"{{ {everything} }}", f"{{ nodes(ids: {ids}) {{ id __typename }} }}"):
        await client.run(document)
        # To compile a large one can take longer than its viewer is remembered for.
        await client.run("{ viewer { id } }")
        with counted(both.on) as statements:
            await client.run(document)
        assert len(statements) == 1, document
        assert both.last_compiled


async def test_without_the_compiler_it_is_more(both: Both) -> None:
    client = both.off.anonymous(both.world.viewers["owner"].token)
    document = "{ artifacts { totalCount nodes { repository { name } } } }"
    await client.run(document)
    with counted(both.off) as statements:
        await client.run(document)
    assert len(statements) == 3


async def test_a_total_costs_nothing_where_nobody_asks(both: Both) -> None:
    client = both.on.anonymous(both.world.viewers["owner"].token)
    await client.run("{ viewer { id } }")
    with counted(both.on) as statements:
        await client.run("{ artifacts(first: 1) { nodes { id } } }")
        await client.run("{ artifacts(first: 1) { totalCount } }")
    # Who asks may have been forgotten in between.
    assert ["count(" in each for each in statements if "convert_to(" in each] == [False, True]


async def test_what_hangs_on_what_is_seen_is_not_judged_again(both: Both) -> None:
    client = both.on.anonymous(both.world.viewers["owner"].token)
    await client.run("{ viewer { id } }")
    with counted(both.on) as statements:
        await client.run("{ repositories { nodes { artifacts { nodes { workloads { nodes { id } } } } } } }")
    [statement] = statements
    assert re.findall(r"FROM (\w+_grants)", statement) == ["repository_grants"]


async def test_what_is_narrowed_to_values_is_planned_by_them(both: Both) -> None:
    client, plans = both.on.anonymous(both.world.viewers["owner"].token), []
    fetch = database._Connections.fetch

    async def fetched(self: Any, statement: str, arguments: Any) -> Any:
        plans.append(self._plan)
        return await fetch(self, statement, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database._Connections, "fetch", fetched)
        await client.run("{ artifacts(first: 1) { nodes { id } } }")
        await client.run("{ artifacts(filter: {status: DRAFT}) { nodes { id } } }")
    assert plans == [Plan.ONCE, Plan.BY_ARGUMENTS]


async def test_a_mutation_costs_so_many(database_url: str) -> None:
    async with harness.serving(database_url) as slipway:
        ada = await slipway.user("ada")
        await harness.new_artifact(ada)
        costs = {}
        with counted(slipway) as statements:

            async def cost(mutation: str, **given: Any) -> dict[str, Any]:
                statements.clear()
                result = await _payload(ada, mutation, given)
                costs[mutation] = len(statements)
                return result

            made = await cost("createArtifact", name="counted", spec=harness.spec())
            await cost("updateArtifact", artifactId=made["artifact"]["id"], description="changed")
            await cost("lockArtifact", artifactId=made["artifact"]["id"])
            await cost("deployArtifact", artifactId=made["artifact"]["id"])
    assert costs == MUTATIONS


async def _payload(client: Client, name: str, given: dict[str, Any]) -> dict[str, Any]:
    selection = "... on ArtifactPayload { artifact { id } }"
    if name == "deployArtifact":
        selection = "... on DeployArtifactPayload { workload { id } }"
    result = await client.mutate(name, selection, **given)
    assert result["__typename"].endswith("Payload"), result
    return result
