"""The field `logs`: which lines it gives to whom, and what it says where there are none to be had."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.api.logs import CONTAINS_MAXIMUM_LENGTH, Reader
from app.domain import errors
from app.domain.logs import LogLine, LogQuery, LogStream
from app.runtimes.base import RuntimeUnavailable
from tests import harness
from tests.harness import Client, Slipway

NOON = datetime(2100, 11, 26, 12, tzinfo=UTC)
LOGS = """query ($id: ID!, $container: String, $since: DateTime, $last: Int, $contains: String) { workload(id: $id) {
  logs(container: $container, since: $since, last: $last, contains: $contains) { text } } }"""


def line(second: int, text: str, container: str = "main", stream: LogStream = LogStream.STDOUT) -> LogLine:
    """A line that was written so many seconds after noon."""
    return LogLine(NOON + timedelta(seconds=second), container, "0", stream, text)


@pytest.fixture
async def workload_id(slipway: Slipway, ada: Client) -> str:
    """A workload of ada's that has written 103 lines."""
    artifact = await harness.new_artifact(ada)
    workload: str = (await harness.deploy(ada, artifact["id"]))["id"]
    slipway.runtime.written[workload] = [
        *(line(number, f"line {number}") for number in range(101)),
        line(101, "from the side", "sidecar"),
        line(102, "Boom!", stream=LogStream.STDERR),
    ]
    return workload


async def texts(client: Client, workload_id: str, **given: Any) -> list[str]:
    """The lines that somebody is given."""
    found = (await client.run(LOGS, id=workload_id, **given))["workload"]["logs"]
    return [each["text"] for each in found]


async def test_a_line_says_when_and_where_it_was_written(ada: Client, workload_id: str) -> None:
    document = "query ($id: ID!) { workload(id: $id) { logs(last: 2) { at container replica stream text } } }"
    assert (await ada.run(document, id=workload_id))["workload"]["logs"] == [
        {
            "at": "2100-11-26T12:01:41.000000Z",
            "container": "sidecar",
            "replica": "0",
            "stream": "STDOUT",
            "text": "from the side",
        },
        {"at": "2100-11-26T12:01:42.000000Z", "container": "main", "replica": "0", "stream": "STDERR", "text": "Boom!"},
    ]


async def test_the_newest_hundred_are_given_where_no_number_is(ada: Client, workload_id: str) -> None:
    by_default = (await ada.run("query ($id: ID!) { workload(id: $id) { logs { text } } }", id=workload_id))["workload"]
    assert [each["text"] for each in by_default["logs"]] == await texts(ada, workload_id, last=None)
    assert len(by_default["logs"]) == 100
    assert by_default["logs"][0] == {"text": "line 3"}


async def test_every_argument_narrows(ada: Client, workload_id: str) -> None:
    assert await texts(ada, workload_id, last=1) == ["Boom!"]
    assert await texts(ada, workload_id, container="sidecar") == ["from the side"]
    assert await texts(ada, workload_id, container="no-such-container") == []
    assert await texts(ada, workload_id, since="2100-11-26T12:01:41Z") == ["from the side", "Boom!"]
    assert await texts(ada, workload_id, contains="line 10") == ["line 10", "line 100"]
    assert await texts(ada, workload_id, contains="", last=1) == ["Boom!"]
    assert await texts(ada, workload_id, contains="line", container="sidecar") == []
    assert len(await texts(ada, workload_id, last=10_000)) == 103


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("last", 0, "last: 0 is not between 1 and 10000."),
        ("last", 10_001, "last: 10001 is not between 1 and 10000."),
        ("container", "../main", "container: '../main' is the name of no container: those are DNS labels."),
        ("container", "*", "container: '*' is the name of no container: those are DNS labels."),
        ("container", "", "container: '' is the name of no container: those are DNS labels."),
        ("contains", "x" * 1_001, "contains: It has 1001 characters; at most 1000 are allowed."),
    ],
)
async def test_an_argument_that_can_not_be_is_refused_by_name(
    slipway: Slipway, ada: Client, workload_id: str, argument: str, value: Any, message: str
) -> None:
    answer = await ada.answer(LOGS, id=workload_id, **{argument: value})
    [error] = answer["errors"]
    assert (error["message"], error["extensions"]) == (message, {"code": "BAD_INPUT", "argument": argument})
    assert slipway.runtime.asked is None


async def test_the_longest_text_to_look_for_is_taken(ada: Client, workload_id: str) -> None:
    assert await texts(ada, workload_id, contains="x" * CONTAINS_MAXIMUM_LENGTH) == []


async def test_a_moment_before_the_workload_is_none(slipway: Slipway, ada: Client, workload_id: str) -> None:
    for long_ago in ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"):
        assert await texts(ada, workload_id, since=long_ago, last=1) == ["Boom!"]
        assert slipway.runtime.asked == LogQuery(last=1)


async def test_who_may_see_the_workload_may_read_them(slipway: Slipway, ada: Client, workload_id: str) -> None:
    grace = await slipway.user("grace")
    assert (await grace.run(LOGS, id=workload_id))["workload"] is None
    await harness.share(ada, "Workload", workload_id, {"user": await harness.user_id(grace), "role": "VIEWER"})
    assert await texts(grace, workload_id, last=1) == ["Boom!"]
    assert await texts(await slipway.user("ada", read_only=True), workload_id, last=1) == ["Boom!"]


async def test_of_what_is_gone_there_are_none(slipway: Slipway, ada: Client, workload_id: str) -> None:
    del slipway.runtime.written[workload_id]
    assert await texts(ada, workload_id) == []


async def test_a_runtime_that_can_not_be_asked_is_an_error_at_the_field(
    slipway: Slipway, ada: Client, workload_id: str
) -> None:
    slipway.runtime.failure = RuntimeUnavailable("The Docker engine at unix:///none does not answer.")
    answer = await ada.answer(LOGS, id=workload_id)
    [error] = answer["errors"]
    assert (error["message"], error["path"], error["extensions"]) == (
        "The Docker engine at unix:///none does not answer.",
        ["workload", "logs"],
        {"code": "RUNTIME_UNAVAILABLE"},
    )
    assert answer["data"] == {"workload": None}


# ───────────────────────────── how much at once ─────────────────────────────


class Asked:
    """A runtime that answers when it is let. `most` were open at the same time."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.open = self.most = 0

    async def __call__(self, _: uuid.UUID, __: LogQuery) -> Sequence[LogLine]:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self.answers.wait()
        finally:
            self.open -= 1
        return [line(0, "text")]


async def test_so_many_are_read_at_once_and_the_others_have_their_turn() -> None:
    asked = Asked()
    read = Reader(asked, at_once=2)
    reading = [asyncio.create_task(read(uuid.uuid4(), LogQuery(1))) for _ in range(5)]
    while asked.open < 2:
        await asyncio.sleep(0)
    asked.answers.set()
    assert await asyncio.gather(*reading) == [[line(0, "text")]] * 5
    assert (asked.most, asked.open) == (2, 0)


async def test_the_time_includes_the_wait_for_ones_turn_and_is_told() -> None:
    asked = Asked()
    read = Reader(asked, at_once=1, timeout_seconds=0.05)
    reading = [asyncio.create_task(read(uuid.uuid4(), LogQuery(1))) for _ in range(2)]
    for each in reading:
        with pytest.raises(errors.RuntimeUnavailable) as refused:
            await each
        assert refused.value.message == "The logs could not be read within 0.05 s: ask for fewer lines, or later."
    assert (asked.most, asked.open) == (1, 0)
    asked.answers.set()
    assert await read(uuid.uuid4(), LogQuery(1)) == [line(0, "text")]
