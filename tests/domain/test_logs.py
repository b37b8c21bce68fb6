"""Which lines a query of logs lets through, and how many of them are ever held."""

from datetime import UTC, datetime, timedelta

import pytest

from app.domain import logs
from app.domain.logs import LogLine, LogQuery, LogStream

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def line(second: int, text: str = "text", container: str = "main") -> LogLine:
    """A line that was written so many seconds after noon."""
    return LogLine(NOON + timedelta(seconds=second), container, "0", LogStream.STDOUT, text)


LINES = [line(3, "three"), line(1, "one"), line(2, "two", "side"), line(2, "second two")]


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        (LogQuery(10), ["one", "two", "second two", "three"]),
        (LogQuery(2), ["second two", "three"]),
        (LogQuery(1), ["three"]),
        (LogQuery(10, container="main"), ["one", "second two", "three"]),
        (LogQuery(1, container="side"), ["two"]),
        (LogQuery(10, since=NOON + timedelta(seconds=2)), ["two", "second two", "three"]),
        (LogQuery(10, since=NOON + timedelta(seconds=4)), []),
        (LogQuery(1, contains="two"), ["second two"]),
        (LogQuery(10, contains="TWO"), []),
    ],
)
def test_the_newest_lines_that_match_are_given_oldest_first(query: LogQuery, texts: list[str]) -> None:
    assert [each.text for each in logs.newest(LINES, query)] == texts


def test_the_oldest_lines_give_way_where_there_is_too_much_text() -> None:
    longest = "x" * logs.LINE_MAXIMUM_CHARACTERS
    fit = logs.TEXT_MAXIMUM_CHARACTERS // logs.LINE_MAXIMUM_CHARACTERS
    given = [line(second, longest) for second in range(fit + 3)]
    assert logs.newest(given, LogQuery(logs.LINES_MAXIMUM)) == given[3:]
    assert logs.newest([*given, line(fit + 3, "x")], LogQuery(logs.LINES_MAXIMUM))[0] == given[4]
