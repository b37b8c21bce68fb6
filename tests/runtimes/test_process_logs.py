"""What is read of the log files of processes, whatever stands in them."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain.logs import LogQuery, LogStream
from app.runtimes import keeper, process_logs
from app.runtimes.keeper import Log

EVERYTHING = LogQuery(1_000)


def place(directory: Path, launch: int = 1, replica: str = "0", container: str = "main") -> Path:
    """The log of a container, with the directories around it."""
    path = directory / str(launch) / replica / f"{container}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def read(directory: Path, query: LogQuery = EVERYTHING) -> list[str]:
    return [each.text for each in process_logs.read(directory, query, threading.Event())]


def test_what_the_keeper_writes_is_read_back(tmp_path: Path) -> None:
    log = Log(place(tmp_path))
    log.write("stdout", b"one\n two \n\n")
    log.write("stderr", "drei €\n".encode())
    log.write("stdout", b"without end")
    log.close()
    found = process_logs.read(tmp_path, EVERYTHING, threading.Event())
    assert [(each.stream, each.text) for each in found] == [
        (LogStream.STDOUT, "one"),
        (LogStream.STDOUT, " two "),
        (LogStream.STDOUT, ""),
        (LogStream.STDERR, "drei €"),
        (LogStream.STDOUT, "without end"),
    ]
    assert {(each.container, each.replica) for each in found} == {("main", "0")}
    assert all(each.at.tzinfo is not None for each in found)


def test_the_older_half_comes_first_and_no_line_is_lost_between_them(tmp_path: Path) -> None:
    log = Log(place(tmp_path), maximum_bytes=2_000)
    for number in range(200):
        log.write("stdout", f"line {number}\n".encode())
    log.close()
    assert place(tmp_path).with_name("main.log.1").exists()
    lines = read(tmp_path)
    assert lines == [f"line {number}" for number in range(200 - len(lines), 200)]
    assert 20 < len(lines) < 200, "the oldest are gone, and what is there is in a row"


def test_parts_of_a_line_are_put_together_across_streams_and_halves(tmp_path: Path) -> None:
    limit = keeper.LINE_MAXIMUM_BYTES
    long = "€" * 10_000  # of three bytes each, so that it is split within one
    log = Log(place(tmp_path), maximum_bytes=limit + 200)
    log.write("stdout", long.encode()[: limit + 1])  # a part, in what is soon the older half
    log.write("stderr", b"between\n")
    log.write("stdout", long.encode()[limit + 1 :] + b"\nafter\n")
    log.close()
    assert place(tmp_path).with_name("main.log.1").exists()
    assert read(tmp_path) == ["between", long, "after"]


def test_all_launches_replicas_and_containers_in_the_order_of_time(tmp_path: Path) -> None:
    places = [(1, "0", "main"), (1, "1", "main"), (2, "0", "main"), (2, "0", "side")]
    for second, (launch, replica, container) in enumerate(reversed(places)):
        line = f"2026-11-26T12:00:0{second}.000000Z stdout F {launch}/{replica}/{container}\n"
        place(tmp_path, launch, replica, container).write_text(line)
    assert read(tmp_path) == ["2/0/side", "2/0/main", "1/1/main", "1/0/main"]
    assert read(tmp_path, LogQuery(2)) == ["1/1/main", "1/0/main"]
    assert read(tmp_path, LogQuery(10, container="side")) == ["2/0/side"]
    assert read(tmp_path, LogQuery(10, contains="/0/")) == ["2/0/side", "2/0/main", "1/0/main"]
    since = datetime(2026, 11, 26, 12, 0, 2, tzinfo=UTC)
    assert read(tmp_path, LogQuery(10, since=since)) == ["1/1/main", "1/0/main"]


BROKEN = [b"\n", b"nonsense\n", b"2026-11-26T12:00:00Z\n", b"yesterday stdout F x\n", b"\xff\xfe stdout F x\n"]
BROKEN += [b"2026-11-26T12:00:00Z stdin F x\n", b"", b"2026-11-26T12:00:00Z stdo"]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_line_is_passed_over(tmp_path: Path, broken: bytes) -> None:
    good = b"2026-11-26T12:00:00.000000Z stdout F good\n"
    place(tmp_path).write_bytes(good + broken + (good if broken.endswith(b"\n") else b""))
    assert {each for each in read(tmp_path) if each} == {"good"}


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    log = Log(place(tmp_path))
    log.write("stdout", b"a\xffb\r\n")
    log.close()
    assert read(tmp_path) == ["a\ufffdb\r"]


def test_nothing_of_a_workload_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path / "nothing") == []
    (tmp_path / "1" / "0" / "main").mkdir(parents=True)  # a working directory, and no output yet
    (tmp_path / "1" / "0" / "main.log").mkdir()
    assert read(tmp_path) == []


def test_a_working_directory_holds_no_logs(tmp_path: Path) -> None:
    """What a process writes into files of its own is its own."""
    (tmp_path / "1" / "0" / "main").mkdir(parents=True)
    (tmp_path / "1" / "0" / "main" / "mine.log").write_text("2026-11-26T12:00:00Z stdout F mine\n")
    assert read(tmp_path) == []


def test_reading_can_be_given_up(tmp_path: Path) -> None:
    place(tmp_path).write_bytes(b"2026-11-26T12:00:00Z stdout F line\n")
    given_up = threading.Event()
    given_up.set()
    assert process_logs.read(tmp_path, EVERYTHING, given_up) == []
