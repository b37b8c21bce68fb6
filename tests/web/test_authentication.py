"""Who is behind a token is asked once, for a second."""

import asyncio

from app.web.authentication import REMEMBERED_MAXIMUM, Remembered


class People:
    """A database of tokens. `asked` counts; a question is answered once `open` is set."""

    def __init__(self) -> None:
        self.good = {"a": "ada", "b": "bob"}
        self.asked: list[str | None] = []
        self.open = asyncio.Event()
        self.open.set()
        self.now = 100.0

    async def __call__(self, token: str | None) -> str | None:
        self.asked.append(token)
        await self.open.wait()
        return self.good.get(token or "")

    def remembered(self) -> Remembered[str]:
        return Remembered(self, lambda: self.now)


async def test_a_second_is_remembered_and_no_longer() -> None:
    people = People()
    remembered = people.remembered()
    for now, asked in ((100.0, 1), (101.0, 1), (101.1, 2), (102.1, 2), (102.2, 3)):
        people.now = now
        assert await remembered("a") == "ada"
        assert len(people.asked) == asked, now


async def test_requests_that_come_together_ask_once() -> None:
    people = People()
    remembered = people.remembered()
    people.open.clear()
    first = asyncio.create_task(remembered("a"))
    others = [asyncio.create_task(remembered("a")) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    people.open.set()
    assert await asyncio.gather(*others) == ["ada"] * 5
    assert people.asked == ["a"]


async def test_who_is_refused_is_asked_for_again() -> None:
    people = People()
    remembered = people.remembered()
    assert await remembered("c") is None
    people.good["c"] = "cid"
    assert await remembered("c") == "cid"
    assert await remembered(None) is None
    assert people.asked == ["c", "c"]


async def test_what_is_revoked_here_counts_at_once_and_elsewhere_after_a_second() -> None:
    people = People()
    here, elsewhere = people.remembered(), people.remembered()
    assert [await here("a"), await elsewhere("a"), await here("b")] == ["ada", "ada", "bob"]
    del people.good["a"]
    here.forget()
    assert [await here("a"), await elsewhere("a"), await here("b")] == [None, "ada", "bob"]
    people.now += 1.1
    assert await elsewhere("a") is None


async def test_there_is_a_limit() -> None:
    people = People()
    remembered = people.remembered()
    people.good = {str(number): "user" for number in range(REMEMBERED_MAXIMUM + 1)}
    for token in people.good:
        await remembered(token)
    assert len(people.asked) == REMEMBERED_MAXIMUM + 1
    await remembered("0")
    assert len(people.asked) == REMEMBERED_MAXIMUM + 2
