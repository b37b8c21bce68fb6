"""Lines of logs, as every runtime gives them and the graph speaks them."""

import dataclasses
import heapq
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

LINES_MAXIMUM = 10_000
LINE_MAXIMUM_CHARACTERS = 16_384
# Of all lines of an answer together: ten thousand long ones would fill the memory of the server and of its clients.
TEXT_MAXIMUM_CHARACTERS = 4 * 2**20


class LogStream(StrEnum):
    """Where a container wrote a line."""

    STDOUT = "STDOUT"
    STDERR = "STDERR"


@dataclasses.dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a container wrote, without its end. Longer ones are cut at LINE_MAXIMUM_CHARACTERS."""

    at: datetime
    container: str
    replica: str
    stream: LogStream
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines: the newest `last` (1 to LINES_MAXIMUM) of those that match everything else that is given.

    `since` lets in what is as old as that or newer; `contains` is compared as it is written.
    """

    last: int
    container: str | None = None
    since: datetime | None = None
    contains: str | None = None

    def matches(self, line: LogLine) -> bool:
        """Whether the line is one of those that are asked for."""
        return (
            (self.container is None or line.container == self.container)
            and (self.since is None or line.at >= self.since)
            and (self.contains is None or self.contains in line.text)
        )


def newest(lines: Iterable[LogLine], query: LogQuery) -> list[LogLine]:
    """The lines that the query asks for, oldest first. What has the same time stays in its order.

    Fewer where they have more than TEXT_MAXIMUM_CHARACTERS: the oldest are left out. No more than that is ever held.
    """
    kept: list[tuple[datetime, int, LogLine]] = []  # a heap, the oldest on top
    characters = 0
    for position, line in enumerate(lines):
        if query.matches(line):
            heapq.heappush(kept, (line.at, position, line))
            characters += len(line.text)
            while len(kept) > query.last or characters > TEXT_MAXIMUM_CHARACTERS:
                characters -= len(heapq.heappop(kept)[2].text)
    return [line for _, _, line in sorted(kept)]
