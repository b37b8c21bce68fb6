"""A server over a fresh database for each test."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests import conftest, harness
from tests.api import reference


@pytest.fixture
async def slipway(database_url: str) -> AsyncIterator[harness.Slipway]:
    """The server."""
    async with harness.serving(database_url) as server:
        yield server


@pytest.fixture
async def ada(slipway: harness.Slipway) -> harness.Client:
    """A user without any special rights."""
    return await slipway.user("ada")


@pytest.fixture
async def grace(slipway: harness.Slipway) -> harness.Client:
    """Another user."""
    return await slipway.user("grace")


@pytest.fixture
async def root(slipway: harness.Slipway) -> harness.Client:
    """An administrator."""
    return await slipway.user("root", admin=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lists_world(postgresql_dsn: str, template_database: str) -> AsyncIterator[reference.World]:
    """Rows to list, built once for a module: nothing changes them."""
    name = "lists"
    await conftest.execute(postgresql_dsn, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY FILE_COPY")
    async with harness.serving(conftest.database_dsn(postgresql_dsn, name)) as slipway:
        yield await reference.build(slipway)
    await conftest.execute(postgresql_dsn, f"DROP DATABASE {name} WITH (FORCE)")
