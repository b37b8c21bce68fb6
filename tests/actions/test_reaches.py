"""How much a viewer sees, from which it is decided how lists are read."""

import dataclasses
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from app import main
from app.actions import people
from app.db import access
from app.domain.people import Viewer
from tests import harness
from tests.harness import Slipway

ARTIFACTS = 3


@dataclasses.dataclass(slots=True)
class World:
    """A user who made three artifacts, and the seconds of a clock."""

    slipway: Slipway
    viewer: Viewer
    seconds: float = 0.0

    async def reach(self) -> tuple[bool, bool]:
        """Asked anew."""
        viewer = await people.Reaches(self.slipway.database, lambda: self.seconds)(self.viewer)
        return viewer.sees_much, viewer.sees_little


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with harness.serving(database_url) as slipway:
        ada = await slipway.user("ada")
        for number in range(ARTIFACTS):
            await harness.new_artifact(ada, f"made-{number}")
        viewer = await people.authenticate(slipway.database, ada.token, main.now())
        assert viewer is not None
        async with slipway.database.transaction() as session:
            await session.exec(text("ANALYZE artifacts"))  # type: ignore[call-overload]
        yield World(slipway, viewer)


@pytest.mark.parametrize(("maximum", "much"), [(ARTIFACTS, False), (ARTIFACTS - 1, True)])
async def test_who_has_many_grants_sees_much(
    world: World, monkeypatch: pytest.MonkeyPatch, maximum: int, much: bool
) -> None:
    monkeypatch.setattr(access, "LISTED_MAXIMUM", maximum)
    assert await world.reach() == (much, False)


@pytest.mark.parametrize(
    ("maximum", "share", "little"),
    [(ARTIFACTS, 1, True), (ARTIFACTS - 1, 1, False), (ARTIFACTS, 2, False), (access.LITTLE_MAXIMUM, 20, False)],
)
async def test_little_is_a_small_number_and_a_small_share(
    world: World, monkeypatch: pytest.MonkeyPatch, maximum: int, share: int, little: bool
) -> None:
    monkeypatch.setattr(access, "LITTLE_MAXIMUM", maximum)
    monkeypatch.setattr(access, "LITTLE_SHARE", share)
    assert await world.reach() == (False, little)


async def test_it_is_asked_once_a_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reaches = people.Reaches(world.slipway.database, lambda: world.seconds)
    assert not (await reaches(world.viewer)).sees_much
    monkeypatch.setattr(access, "LISTED_MAXIMUM", 0)
    world.seconds = people.REACH_REMEMBERED_SECONDS - 1
    assert not (await reaches(world.viewer)).sees_much
    world.seconds = people.REACH_REMEMBERED_SECONDS
    assert (await reaches(world.viewer)).sees_much


async def test_an_administrator_is_not_asked_about(world: World) -> None:
    root = dataclasses.replace(world.viewer, admin=True)
    with world.slipway.statements() as statements:
        assert await people.Reaches(world.slipway.database, lambda: 0.0)(root) == root
    assert statements == []
