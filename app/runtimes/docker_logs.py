"""What containers have written, from the logs that the engine keeps of each run."""

import asyncio
import collections
import contextlib
from collections.abc import Sequence
from datetime import datetime

from app.domain.logs import LINE_MAXIMUM_CHARACTERS, LogLine, LogQuery, LogStream, newest
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.docker_containers import Container
from app.runtimes.docker_engine import Engine, Refused

CONTAINERS_AT_ONCE = 4
TOTAL_TIMEOUT_SECONDS = 15.0
# The engine rotates logs long before there is so much (see LOG_OPTIONS), or so many lines of a usual length.
READ_MAXIMUM_BYTES = 32 * 2**20
PIECES_MAXIMUM = 200_000
# A line of 16 KiB is one piece, a longer one several: so many more are read, to have all of the oldest line.
PIECES_EXTRA = 64

_STREAMS = {1: LogStream.STDOUT, 2: LogStream.STDERR}
_LINE_MAXIMUM_BYTES = 4 * LINE_MAXIMUM_CHARACTERS


async def read(engine: Engine, containers: Sequence[Container], query: LogQuery) -> list[LogLine]:
    """The newest lines that match, of all these runs, oldest first.

    Raises:
        RuntimeUnavailable: the engine can't be asked, or takes longer than TOTAL_TIMEOUT_SECONDS.
    """
    slots = asyncio.Semaphore(CONTAINERS_AT_ONCE)
    found: list[LogLine] = []

    async def one(container: Container) -> None:
        async with slots:
            lines = await _read_one(engine, container, query)
        found[:] = newest([*found, *lines], query)

    asked = [each for each in containers if query.container in {None, each.place.container} and not each.unstarted]
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT_SECONDS):
            outcomes = await asyncio.gather(*(one(each) for each in asked), return_exceptions=True)
    except TimeoutError:
        raise RuntimeUnavailable(f"The logs could not be read within {TOTAL_TIMEOUT_SECONDS:.0f} s.") from None
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return found


async def _read_one(engine: Engine, container: Container, query: LogQuery) -> Sequence[LogLine]:
    if query.contains is None:
        lines = await _newest_pieces(engine, container, query, query.last + PIECES_EXTRA)
        if len(lines.kept) == query.last or not lines.has_joined:
            return lines.kept
    return (await _newest_pieces(engine, container, query, PIECES_MAXIMUM)).kept


async def _newest_pieces(engine: Engine, container: Container, query: LogQuery, count: int) -> "_Lines":
    lines = _Lines(container, query)
    size = 0
    try:
        async with contextlib.aclosing(engine.logs(container.id, tail=count, since=query.since)) as pieces:
            async for stream, piece in pieces:
                lines.take(stream, piece)
                size += len(piece)
                if size > READ_MAXIMUM_BYTES:
                    break
    except Refused:  # it has gone meanwhile, or it has never written anything
        pass
    except (KeyError, ValueError) as error:
        raise RuntimeUnavailable(f"The log of container {container.name} can't be read.") from error
    lines.end()
    return lines


class _Lines:
    """Puts lines together out of the pieces that the engine gives, and keeps the newest that match."""

    def __init__(self, container: Container, query: LogQuery) -> None:
        self.kept: collections.deque[LogLine] = collections.deque(maxlen=query.last)
        self.has_joined = False
        self._place = container.place
        self._query = query
        self._begun: dict[int, tuple[datetime, bytearray]] = {}

    def take(self, stream: int, piece: bytes) -> None:
        """Take a piece: its time, a space, and what was written."""
        moment, _, data = piece.partition(b" ")
        begun = self._begun.pop(stream, None)
        if begun is None:
            begun = datetime.fromisoformat(moment.decode("ascii")), bytearray()
        else:
            self.has_joined = True
        begun[1].extend(data[: _LINE_MAXIMUM_BYTES - len(begun[1])])
        if data.endswith(b"\n"):
            self._keep(stream, *begun)
        else:
            self._begun[stream] = begun

    def end(self) -> None:
        """No more is to come: a line may lack its newline."""
        for stream, begun in self._begun.items():
            self._keep(stream, *begun)

    def _keep(self, stream: int, at: datetime, data: bytearray) -> None:
        text = data.removesuffix(b"\n").decode("utf-8", "replace")[:LINE_MAXIMUM_CHARACTERS]
        line = LogLine(at, self._place.container, self._place.replica, _STREAMS[stream], text)
        if self._query.matches(line):
            self.kept.append(line)
