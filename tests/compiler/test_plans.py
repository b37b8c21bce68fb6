"""How PostgreSQL reads the pages of lists: in order, from an index, and no more than it needs.

The plans are those of the statements that the server runs, for a registry of some size.
"""

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from benchmarks import dataset, scale
from tests import conftest

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

ARTIFACTS = 40_000
VIEWERS = ("reader", "newcomer", "root")
# A rare value is found by its index, and the few rows that have it are sorted.
SORTED = {"repositoryId", "createdBy, who made little", "createdAt", "image, a digest"}
# What begins with any characters is found by reading all names: see benchmarks/README.md for what that costs.
SEARCHES = {"search, in one name", "search, in none", "search, an id"}

_numbers = itertools.count(1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(postgresql_dsn: str, template_database: str) -> AsyncIterator[scale.World]:
    """A registry of some size, made once for all."""
    name = f"plans_{next(_numbers)}"
    await conftest.execute(postgresql_dsn, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY FILE_COPY")
    found = scale.World(conftest.database_dsn(postgresql_dsn, name))
    await dataset.fill(found.dsn, dataset.scale(ARTIFACTS))
    await found.open()
    yield found
    for connection in found.connections.values():
        await connection.close()
    await conftest.execute(postgresql_dsn, f"DROP DATABASE {name} WITH (FORCE)")


CASES = [
    (case.name, case.deep)
    for case in scale.cases(dict.fromkeys(("creator", "rare_creator", "image", "rare_image", "repository", "id"), ""))
]


@pytest.mark.parametrize("viewer", VIEWERS)
@pytest.mark.parametrize(("name", "deep"), CASES, ids=[f"{name}{', deep' * deep}" for name, deep in CASES])
async def test_a_page_is_read_from_an_index(world: scale.World, viewer: str, name: str, deep: bool) -> None:
    [case] = [each for each in scale.cases(world.known) if (each.name, each.deep) == (name, deep)]
    plan = await world.plan(case, viewer)
    if plan is None:
        pytest.skip("the list is too short to have a middle")
    for table in ("artifacts", "artifact_tags", "containers", "workloads", "events"):
        assert f"Seq Scan on {table} " not in plan or name in SEARCHES, plan
    # A newcomer sees so little that all of it is found first.
    assert "Sort Key" not in plan or name in SORTED | SEARCHES or viewer == "newcomer", plan


async def test_how_much_each_viewer_sees(world: scale.World) -> None:
    found = {name: (viewer.sees_much, viewer.sees_little) for name, viewer in world.viewers.items()}
    assert found == {"reader": (True, False), "newcomer": (False, True), "root": (False, False)}
