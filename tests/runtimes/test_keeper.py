from pathlib import Path

import pytest

from app.runtimes.keeper import LINE_MAXIMUM_BYTES, Log


def records(path: Path) -> list[tuple[bytes, bytes, bytes]]:
    lines = [line.split(b" ", 3) for line in path.read_bytes().splitlines()]
    return [(stream, tag, text) for _, stream, tag, text in lines]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "main.log"


def test_a_line_is_written_when_it_ends(path: Path) -> None:
    log = Log(path)
    log.write("stdout", b"one\ntw")
    log.write("stderr", b"error\n")
    assert records(path) == [(b"stdout", b"F", b"one"), (b"stderr", b"F", b"error")]
    log.write("stdout", b"o\n\n")
    log.close()
    assert records(path)[2:] == [(b"stdout", b"F", b"two"), (b"stdout", b"F", b"")]


def test_what_has_no_end_is_written_at_the_end(path: Path) -> None:
    log = Log(path)
    log.write("stdout", b"unfinished")
    log.close()
    assert records(path) == [(b"stdout", b"F", b"unfinished")]


@pytest.mark.parametrize("chunk", [1_000, 10**9])
def test_a_long_line_is_written_in_parts(path: Path, chunk: int) -> None:
    log = Log(path)
    line = b"x" * LINE_MAXIMUM_BYTES * 2 + b"y"
    for begin in range(0, len(line) + 1, chunk):
        log.write("stdout", (line + b"\n")[begin : begin + chunk])
    log.close()
    assert [(tag, len(text)) for _, tag, text in records(path)] == [
        (b"P", LINE_MAXIMUM_BYTES),
        (b"P", LINE_MAXIMUM_BYTES),
        (b"F", 1),
    ]


def test_two_files_of_bounded_size_are_kept(path: Path) -> None:
    log = Log(path, maximum_bytes=1_000)
    for number in range(100):
        log.write("stdout", f"line {number:04}\n".encode())
    log.close()
    older = path.with_name("main.log.1")
    assert sorted(each.name for each in path.parent.iterdir()) == ["main.log", "main.log.1"]
    assert older.stat().st_size <= 1_000
    assert path.stat().st_size <= 1_000
    texts = [text for _, _, text in records(older) + records(path)]
    assert texts == [f"line {number:04}".encode() for number in range(100 - len(texts), 100)]


def test_it_goes_on_where_the_file_ended(path: Path) -> None:
    for _ in range(2):
        log = Log(path)
        log.write("stdout", b"hello\n")
        log.close()
    assert len(records(path)) == 2


def test_what_cannot_be_stored_is_lost(tmp_path: Path) -> None:
    log = Log(tmp_path / "nowhere" / "main.log")
    log.write("stdout", b"hello\n")
    log.close()
    assert list(tmp_path.iterdir()) == []
