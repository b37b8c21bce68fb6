"""Who is asked for alone, and who together: with statements that end when a test says so."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from app.db import gathering
from app.db.gathering import TOGETHER_MAXIMUM, Gathering, Together

ALONE, MANY = "alone", "many"
TOGETHER = Together(MANY, [(1, True), (0, False)])
"""Of arguments that are a viewer and an id."""


class Statements:
    """Answers an id with itself in capitals, as soon as `end` says so, and the last of many first."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[Any]]] = []
        self.failing: dict[str, Exception] = {}
        self._going: list[asyncio.Future[None]] = []

    async def fetch(self, statement: str, arguments: Sequence[Any]) -> Sequence[Any]:
        self.sent.append((statement, list(arguments)))
        self._going.append(asyncio.get_running_loop().create_future())
        await self._going[-1]
        names = [arguments[1]] if statement == ALONE else arguments[0]
        for each in names:
            if each in self.failing:
                raise self.failing[each]
        if statement == ALONE:
            return [(arguments[1].upper(),)]
        return [(number, name.upper()) for number, name in reversed(list(enumerate(names, 1)))]

    async def end(self) -> None:
        """End all that are under way, and let what follows begin."""
        going, self._going = self._going, []
        for each in going:
            if not each.done():  # whose client has gone
                each.set_result(None)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class World:
    """A gathering, and who asks it."""

    def __init__(self) -> None:
        self.statements = Statements()
        self.gathering = Gathering(self.statements)

    async def ask(self, names: str, viewer: str = "ada", together: Together = TOGETHER) -> list[asyncio.Task[Any]]:
        """Ask for each letter; answers when all have been heard."""
        asking = [asyncio.create_task(self.gathering.fetch_value(ALONE, [viewer, each], together)) for each in names]
        await settle()
        return asking

    async def answered(self, asking: Sequence[asyncio.Task[Any]]) -> str:
        return "".join(await asyncio.gather(*asking))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(gathering, "WAIT_SECONDS", 3600.0)
    return World()


async def test_who_is_alone_is_asked_alone(world: World) -> None:
    for name in "ab":
        asking = await world.ask(name)
        await world.statements.end()
        assert await world.answered(asking) == name.upper()
    assert world.statements.sent == [(ALONE, ["ada", "a"]), (ALONE, ["ada", "b"])]
    assert world.gathering._likes == {}


async def test_who_comes_meanwhile_is_asked_together_when_that_ends(world: World) -> None:
    asking = await world.ask("abcd")
    assert world.statements.sent == [(ALONE, ["ada", "a"])]
    await world.statements.end()
    assert world.statements.sent[1:] == [(MANY, [["b", "c", "d"], "ada"])]
    asking += await world.ask("e")
    await world.statements.end()
    await world.statements.end()
    assert world.statements.sent[2:] == [(ALONE, ["ada", "e"])]
    assert await world.answered(asking) == "ABCDE"
    assert world.gathering._likes == {}


async def test_enough_of_them_do_not_wait_for_the_end(world: World) -> None:
    names = "abcdefghijklmnopqr"
    asking = await world.ask(names)
    assert TOGETHER_MAXIMUM == 8
    assert world.statements.sent == [
        (ALONE, ["ada", "a"]),
        (MANY, [list("bcdefghi"), "ada"]),
        (MANY, [list("jklmnopq"), "ada"]),
    ]
    await world.statements.end()
    await world.statements.end()
    assert world.statements.sent[3:] == [(ALONE, ["ada", "r"])]
    assert await world.answered(asking) == names.upper()


async def test_nobody_waits_long_for_one_that_takes_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "WAIT_SECONDS", 0.0)
    asking = await world.ask("abc")
    assert world.statements.sent == [(ALONE, ["ada", "a"]), (MANY, [["b", "c"], "ada"])]
    await world.statements.end()
    assert await world.answered(asking) == "ABC"
    assert world.gathering._likes == {}


async def test_others_are_asked_for_by_themselves(world: World) -> None:
    other = Together(MANY, TOGETHER.arguments)
    asking = [*await world.ask("ab"), *await world.ask("cd", viewer="bob"), *await world.ask("ef", together=other)]
    await world.statements.end()
    await world.statements.end()
    assert sorted(world.statements.sent) == sorted(
        (ALONE, [viewer, each])
        for each, viewer in zip("abcdef", ["ada", "ada", "bob", "bob", "ada", "ada"], strict=True)
    )
    assert await world.answered(asking) == "ABCDEF"


async def test_one_that_fails_is_nothing_to_the_others(world: World) -> None:
    world.statements.failing["c"] = asyncpg.DataError("c is wrong")
    asking = await world.ask("abcd")
    for _ in range(3):
        await world.statements.end()
    assert world.statements.sent[1:] == [
        (MANY, [["b", "c", "d"], "ada"]),
        *((ALONE, ["ada", each]) for each in "bcd"),
    ]
    with pytest.raises(asyncpg.DataError, match="c is wrong"):
        await asking.pop(2)
    assert await world.answered(asking) == "ABD"
    assert world.gathering._likes == {}


async def test_where_no_connection_is_free_nobody_waits_twice(world: World) -> None:
    asking = await world.ask("abc")
    world.statements.failing["b"] = TimeoutError()
    await world.statements.end()
    await world.statements.end()
    assert len(world.statements.sent) == 2
    assert await asking.pop(0) == "A"
    for each in asking:
        with pytest.raises(TimeoutError):
            await each
    assert world.gathering._likes == {}


async def test_who_has_gone_is_not_asked_for(world: World) -> None:
    asking = await world.ask("abcd")
    asking.pop(1).cancel()
    await settle()
    await world.statements.end()
    assert world.statements.sent[1:] == [(MANY, [["c", "d"], "ada"])]
    asking.pop(1).cancel()
    await settle()
    await world.statements.end()
    assert await world.answered(asking) == "AD"
    assert world.gathering._likes == {}


async def test_where_the_first_goes_the_others_do_not_wait_for_it(world: World) -> None:
    first, *asking = await world.ask("abc")
    first.cancel()
    await settle()
    assert world.statements.sent[1:] == [(MANY, [["b", "c"], "ada"])]
    await world.statements.end()
    assert await world.answered(asking) == "BC"


async def test_where_all_have_gone_nothing_is_asked(world: World) -> None:
    asking = await world.ask("abc")
    for each in asking[1:]:
        each.cancel()
    await settle()
    await world.statements.end()
    assert len(world.statements.sent) == 1
    assert world.gathering._likes == {}
