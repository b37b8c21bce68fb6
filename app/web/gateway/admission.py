"""Who gets to which replicas: asked of the database, and remembered for a second."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from app.domain import ids
from app.domain.people import Viewer
from app.domain.traffic import Address
from app.web.refusals import Refusal

# Less than the 2 seconds that a replica still serves after it has left `workloads.addresses`. A revoked token, or a
# role that was taken away, counts this much later.
REMEMBERED_SECONDS = 1.0
REMEMBERED_MAXIMUM = 10_000

Authenticate = Callable[[str | None], Awaitable[Viewer | None]]
FindAddresses = Callable[[UUID, Viewer], Awaitable[Sequence[Mapping[str, Any]] | None]]
_Key = tuple[bytes, str]


@dataclasses.dataclass(frozen=True, slots=True)
class _Question:
    """A question to the database. `asked_at` is before it was sent, so what it answers is as old at most."""

    asked_at: float
    answer: asyncio.Task[tuple[Address, ...]]


class Admission:
    """Where the ready replicas of a workload are, for those who may see it.

    Requests that come together ask once together. Only what lets a request through is remembered: who is refused, or
    finds no replica, gets through as soon as that has changed.
    """

    def __init__(self, authenticate: Authenticate, find_addresses: FindAddresses) -> None:
        self._authenticate = authenticate
        self._find_addresses = find_addresses
        self._questions: dict[_Key, _Question] = {}

    async def replicas(self, token: str, workload: str, *, asked_since: float | None = None) -> tuple[Address, ...]:
        """The ready replicas of the workload with this id; there may be none.

        `asked_since`, a time of the event loop, takes nothing that was remembered from before.

        Raises:
            Refusal: the token is no good, or the workload does not exist for its owner.
        """
        key = (hashlib.sha256(token.encode()).digest(), workload)
        now = asyncio.get_running_loop().time()
        question = self._questions.get(key)
        if question is None or question.asked_at < (now - REMEMBERED_SECONDS if asked_since is None else asked_since):
            if len(self._questions) >= REMEMBERED_MAXIMUM:
                self._questions.clear()
            question = _Question(now, asyncio.create_task(self._ask(key, token, workload)))
            self._questions[key] = question
        if question.answer.done():
            return question.answer.result()
        # Whoever asked first may leave before the others.
        return await asyncio.shield(question.answer)

    async def _ask(self, key: _Key, token: str, workload: str) -> tuple[Address, ...]:
        found: tuple[Address, ...] = ()
        try:
            viewer = await self._authenticate(token) if token else None
            if viewer is None:
                message = "This endpoint needs a valid token: send it as `Authorization: Bearer TOKEN`."
                raise Refusal(401, "UNAUTHENTICATED", message, {"WWW-Authenticate": "Bearer"})
            workload_id = ids.decode_as(ids.Kind.WORKLOAD, workload)
            addresses = None if workload_id is None else await self._find_addresses(workload_id, viewer)
            if addresses is None:
                raise Refusal(404, "NOT_FOUND", f"There is no workload {workload[:64]!r}, or you may not see it.")
            found = tuple((str(each["host"]), int(each["port"])) for each in addresses)
        finally:
            if not found:
                self._questions.pop(key, None)
        return found
