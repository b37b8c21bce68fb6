"""A server over a fresh database for each test."""

from collections.abc import AsyncIterator

import pytest

from tests import harness


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
