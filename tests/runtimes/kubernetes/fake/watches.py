"""Watches: what the log of the store tells to those who look at a part of it."""

import asyncio
import contextlib
import copy
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

from tests.runtimes.kubernetes.fake.failures import Failure
from tests.runtimes.kubernetes.fake.fields import Object
from tests.runtimes.kubernetes.fake.store import Change, Kind, Store

_REQUIREMENT = re.compile(r"\s*([-./\w]+)\s*(=|==|!=)\s*([-.\w]*)\s*")


class Watches:
    """All streams that are open."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.are_silent = False
        """Whether nothing is told any more; a stream still ends in its time."""
        self.never_end = False
        self.bookmark_seconds = 60.0
        self._cuts: set[asyncio.Event] = set()

    def cut(self) -> None:
        """Close all streams, in the middle of a line."""
        for each in self._cuts:
            each.set()

    @property
    def count(self) -> int:
        return len(self._cuts)

    async def stream(
        self, kind: Kind, namespace: str, query: Mapping[str, str], *, partial: bool
    ) -> AsyncIterator[bytes]:
        cut = asyncio.Event()
        self._cuts.add(cut)
        try:
            async with contextlib.aclosing(self._lines(kind, namespace, query, cut)) as lines:
                async for event in lines:
                    if partial and event["type"] != "BOOKMARK":
                        found = event["object"]
                        event["object"] = {"kind": "PartialObjectMetadata", "metadata": found["metadata"]}
                    yield json.dumps(event).encode() + b"\n"
            if cut.is_set():
                yield b'{"type":"MODIF'
        except Failure as failure:
            yield json.dumps({"type": "ERROR", "object": failure.body}).encode() + b"\n"
        finally:
            self._cuts.discard(cut)

    async def _lines(
        self, kind: Kind, namespace: str, query: Mapping[str, str], cut: asyncio.Event
    ) -> AsyncGenerator[Object]:
        version = int(query.get("resourceVersion", self.store.version))
        matches = selector(query.get("labelSelector"))
        now = asyncio.get_running_loop().time
        seconds = float(query.get("timeoutSeconds", 1_800))
        end = now() + seconds
        # Bookmarks come now and then, and once more shortly before the end.
        bookmarks = [now() + self.bookmark_seconds, end - seconds / 10]
        if version > self.store.version:  # silent until that version is there
            bookmarks = []
        while (now() < end or self.never_end) and not cut.is_set():
            arrived = self.store.arrival()
            if not self.are_silent:
                for change in self.store.since(version, kind, namespace):
                    version = change.version
                    if event := _event(change, matches):
                        yield event
                if bookmarks and now() >= min(bookmarks):
                    bookmarks.remove(min(bookmarks))
                    version = self.store.version
                    yield _bookmark(kind, version)
            await _either(arrived, cut, min([end, *bookmarks]) - now())


async def _either(first: asyncio.Event, second: asyncio.Event, seconds: float) -> None:
    """Wait until one of two things happens, at most so long."""
    waits = [asyncio.ensure_future(each.wait()) for each in (first, second)]
    try:
        await asyncio.wait(waits, timeout=max(seconds, 0.001), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


def selector(text: str | None) -> Callable[[Object], bool]:
    """Whether an object's labels are as a selector wants them. Of the grammar only what Slipway uses."""
    requirements = []
    for part in text.split(",") if text else ():
        matched = _REQUIREMENT.fullmatch(part)
        if matched is None:
            raise Failure(400, "unable to parse requirement: found '(', expected: ',', ')' or identifier")
        requirements.append(matched.groups())

    def matches(found: Object) -> bool:
        labels = found["metadata"].get("labels", {})
        return all((labels.get(key) == value) is (sign != "!=") for key, sign, value in requirements)

    return matches


def _event(change: Change, matches: Callable[[Object], bool]) -> Object | None:
    """A change as a watch with a selector tells it: one that leaves the selector is a deletion, of what it was."""
    before = change.before is not None and matches(change.before)
    after = change.after is not None and matches(change.after)
    if not before and not after:
        return None
    kind = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
    found = copy.deepcopy((change.after if after else change.before) or {})
    found["metadata"]["resourceVersion"] = str(change.version)
    return {"type": kind, "object": found}


def _bookmark(kind: Kind, version: int) -> Object:
    found = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {"resourceVersion": str(version)}}
    return {"type": "BOOKMARK", "object": found}
