"""Who is behind a token: asked of the database, and remembered for a second."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

REMEMBERED_SECONDS = 1.0
REMEMBERED_MAXIMUM = 10_000

Viewer = TypeVar("Viewer")
Authenticate = Callable[[str | None], Awaitable[Viewer | None]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Question(Generic[Viewer]):
    """A question to the database. `asked_at` is before it was sent, so what it answers is as old at most."""

    asked_at: float
    answer: asyncio.Task[Viewer | None]


class Remembered(Generic[Viewer]):
    """Asks who is behind a token, once for all requests that come together, and not again within a second.

    A token that is revoked elsewhere, or a group that its user has left, counts for so long. Only who gets in is
    remembered. `clock` gives seconds.
    """

    def __init__(
        self, authenticate: Callable[[str | None], Awaitable[Viewer | None]], clock: Callable[[], float]
    ) -> None:
        self._authenticate = authenticate
        self._clock = clock
        self._questions: dict[bytes, _Question[Viewer]] = {}

    async def __call__(self, token: str | None) -> Viewer | None:
        """The viewer; None where there is none."""
        if token is None:
            return None
        key = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        question = self._questions.get(key)
        if question is None or question.asked_at < now - REMEMBERED_SECONDS:
            if len(self._questions) >= REMEMBERED_MAXIMUM:
                self._questions.clear()
            question = _Question(now, asyncio.create_task(self._ask(key, token)))
            self._questions[key] = question
        if question.answer.done():
            return question.answer.result()
        # Whoever asked first may leave before the others.
        return await asyncio.shield(question.answer)

    def forget(self) -> None:
        """Ask again for every token: one was revoked here."""
        self._questions.clear()

    async def _ask(self, key: bytes, token: str) -> Viewer | None:
        found: Viewer | None = None
        try:
            found = await self._authenticate(token)
        finally:
            if found is None:
                self._questions.pop(key, None)
        return found
