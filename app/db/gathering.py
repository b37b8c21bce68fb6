"""What differs in its arguments alone is asked together, while the like of it is being answered.

To send a statement, to begin and to end it costs more than to look one thing up: eight artifacts with all of theirs
take PostgreSQL a third of what they take one by one, and the server a fifth. Nobody waits for others to come: who is
alone is asked alone.
"""

import asyncio
import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

# With more, all would be in one statement at a time, and the server have nothing to do meanwhile.
TOGETHER_MAXIMUM = 8
# So long is waited for one that takes longer than such statements do.
WAIT_SECONDS = 0.002


class Connections(Protocol):
    """Where statements are run."""

    async def fetch(self, statement: str, arguments: Sequence[Any]) -> Sequence[Any]:
        """The rows of a statement with these arguments."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Together:
    """A statement that answers what another one does, for many: rows of a number, from 1, and the value.

    `arguments`: which of the other's arguments it takes, by place, and whether as a list of what each one gives, or as
    they are. Those are the same for all, and hashable.
    """

    sql: str
    arguments: Sequence[tuple[int, bool]]


@dataclasses.dataclass(slots=True)
class _Asked:
    arguments: Sequence[Any]
    answer: asyncio.Future[Any]


@dataclasses.dataclass(slots=True)
class _Likes:
    """Those that can be asked together: how many statements are under way, at least one, and who waits."""

    statement: str
    together: Together
    under_way: int = 1
    waiting: list[_Asked] = dataclasses.field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Gathering:
    """Answers statements of one value each."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._likes: dict[Hashable, _Likes] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def fetch_value(self, statement: str, arguments: Sequence[Any], together: Together) -> Any:
        """The one value of a statement. Raises what `Connections.fetch` does."""
        key = (together, *(arguments[place] for place, various in together.arguments if not various))
        likes = self._likes.get(key)
        if likes is None:
            likes = self._likes[key] = _Likes(statement, together)
            try:
                return await self._alone(statement, arguments)
            finally:
                self._end(key, likes)
        loop = asyncio.get_running_loop()
        asked = _Asked(arguments, loop.create_future())
        likes.waiting.append(asked)
        if len(likes.waiting) == 1:
            likes.timer = loop.call_later(WAIT_SECONDS, self._begin, key, likes)
        elif len(likes.waiting) == TOGETHER_MAXIMUM:
            self._begin(key, likes)
        return await asked.answer

    async def _alone(self, statement: str, arguments: Sequence[Any]) -> Any:
        [(value,)] = await self._connections.fetch(statement, arguments)
        return value

    def _begin(self, key: Hashable, likes: _Likes) -> None:
        """Ask for those who wait."""
        if likes.timer is not None:
            likes.timer.cancel()
        likes.under_way += 1
        asked, likes.waiting = likes.waiting, []
        task = asyncio.create_task(self._answer(key, likes, asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, key: Hashable, likes: _Likes) -> None:
        likes.under_way -= 1
        if likes.waiting:
            self._begin(key, likes)
        elif not likes.under_way:
            del self._likes[key]

    async def _answer(self, key: Hashable, likes: _Likes, asked: Sequence[_Asked]) -> None:
        asked = [each for each in asked if not each.answer.done()]  # whose client has gone
        try:
            if len(asked) > 1:
                await self._answer_together(likes.together, asked)
            else:
                await self._answer_alone(likes.statement, asked)
        except TimeoutError:  # no connection was free, and none would be for each alone
            for each in _unanswered(asked):
                each.answer.set_exception(TimeoutError())
        except Exception:  # noqa: BLE001  whosever it is, the others are not to have it
            await self._answer_alone(likes.statement, _unanswered(asked))
        finally:
            self._end(key, likes)

    async def _answer_together(self, together: Together, asked: Sequence[_Asked]) -> None:
        arguments = [
            [each.arguments[place] for each in asked] if various else asked[0].arguments[place]
            for place, various in together.arguments
        ]
        for number, value in await self._connections.fetch(together.sql, arguments):
            answer = asked[number - 1].answer
            if not answer.done():
                answer.set_result(value)

    async def _answer_alone(self, statement: str, asked: Sequence[_Asked]) -> None:
        values = (self._alone(statement, each.arguments) for each in asked)
        for each, value in zip(asked, await asyncio.gather(*values, return_exceptions=True), strict=True):
            if each.answer.done():
                continue
            if isinstance(value, BaseException):
                each.answer.set_exception(value)
            else:
                each.answer.set_result(value)


def _unanswered(asked: Sequence[_Asked]) -> list[_Asked]:
    return [each for each in asked if not each.answer.done()]
