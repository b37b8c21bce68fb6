"""Reads the logs that the `process` runtime writes: see `keeper.Log` for the format, and `process` for the places."""

import contextlib
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from app.domain import logs
from app.domain.logs import LogLine, LogQuery, LogStream


def read(directory: Path, query: LogQuery, given_up: threading.Event) -> list[LogLine]:
    """The newest lines below the directory of a workload that match, oldest first; none once it is `given_up`."""
    return logs.newest(_lines(directory, query.container, given_up), query)


def _lines(directory: Path, container: str | None, given_up: threading.Event) -> Iterator[LogLine]:
    for path in sorted(directory.glob("*/*/*.log")):
        replica, name = path.parent.name, path.name.removesuffix(".log")
        if given_up.is_set():
            return
        if container not in {None, name}:
            continue
        yield from _lines_of_container([path.with_name(f"{path.name}.1"), path], name, replica)


def _lines_of_container(halves: list[Path], container: str, replica: str) -> Iterator[LogLine]:
    """The lines of the older half and of the newer one; parts of a line are put together."""
    parts: dict[str, bytes] = {}
    for path in halves:
        with contextlib.suppress(OSError), path.open("rb") as file:  # it may be gone, or none yet
            for record in file:
                at, stream, tag, text = (*record.rstrip(b"\n").split(b" ", 3), b"", b"", b"", b"")[:4]
                name = stream.decode("ascii", "replace")
                text = (parts.pop(name, b"") + text)[: 4 * logs.LINE_MAXIMUM_CHARACTERS]
                if tag == b"P":
                    parts[name] = text
                    continue
                with contextlib.suppress(ValueError):  # a line that is being written
                    yield LogLine(
                        at=datetime.fromisoformat(at.decode("ascii")),
                        container=container,
                        replica=replica,
                        stream=LogStream(name.upper()),
                        text=text.decode("utf-8", "replace")[: logs.LINE_MAXIMUM_CHARACTERS],
                    )
