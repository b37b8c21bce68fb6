"""Images for an engine: fetched once for all who wait for one, told of while they come, tried again when they don't.

As in Kubernetes an image that is there is not fetched again, unless its tag is `latest` or left out: what that means is
asked of the registry for each run. Where the registry can't tell and the engine has one by that name, as it does where
images are built on the machine that runs them, that one is taken.
"""

import asyncio
import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

import structlog

from app.domain import references
from app.domain.enums import ContainerState
from app.domain.observations import IMAGE_NOT_FOUND, IMAGE_PULL_DENIED, IMAGE_PULL_FAILED, INVALID_IMAGE_NAME, PULLING
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.docker_containers import Pending, Place, image
from app.runtimes.docker_engine import Engine, Refused

Credentials = Callable[[str], tuple[str, str] | None]
"""Username and password for a registry, by the host in the reference; `docker.io` where there is none in it."""

Run = tuple[Place, int]

DOCKER_HUB = "docker.io"
PULLS_AT_ONCE = 4
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
TELL_SECONDS = 1.0
# Who has not asked how it goes for so long does not wait any more: another reconciler may have taken over.
FORGOTTEN_AFTER_SECONDS = 300.0

_MEGABYTE = 10**6
_DENIED = re.compile(r"(?<!permission )denied|unauthorized|authoriz?ation failed|no basic auth|forbidden")
_DONE = frozenset({"Download complete", "Extracting", "Pull complete", "Already exists", "Verifying Checksum"})

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(slots=True)
class _Waiting:
    """One who waits for an image: since when, and when it was last asked how that goes, on the monotonic clock."""

    since: datetime
    asked_at: float


@dataclasses.dataclass(slots=True)
class _Pull:
    """One image that is on its way, and who waits for it."""

    reference: str
    reason: str
    message: str
    waiting: dict[Run, _Waiting] = dataclasses.field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    told_at: float = 0.0


class Pulls:
    """All images that are being fetched. `changed` is called for a workload when there is something new to say."""

    def __init__(self, engine: Engine, credentials: Credentials, changed: Callable[[UUID], None]) -> None:
        self._engine = engine
        self._credentials = credentials
        self._changed = changed
        self._pulls: dict[str, _Pull] = {}
        self._fetched: set[Run] = set()
        self._slots = asyncio.Semaphore(PULLS_AT_ONCE)

    def wait_for(self, reference: str, run: Run) -> None:
        """Fetch an image for a run of a container: `changed` tells when it is there."""
        self._fetched.discard(run)
        pull = self._pulls.get(reference)
        if pull is None:
            pull = self._pulls[reference] = _Pull(reference, PULLING, f"pulling {reference}")
            pull.task = asyncio.create_task(self._run(pull))
        pull.waiting[run] = _Waiting(datetime.now(UTC), time.monotonic())

    def has_fetched(self, run: Run) -> bool:
        """Whether the image of this run has been fetched for it."""
        return run in self._fetched

    async def must_ask(self, reference: str) -> bool:
        """Whether the registry has to be asked what the reference means today."""
        parsed = references.parse(reference)
        if isinstance(parsed, str) or parsed.digest is not None or parsed.tag not in {None, "latest"}:
            return False
        here = await self._engine.image(reference)
        return here is None or bool(here.get("RepoDigests"))  # without, no registry ever had it

    def waiting(self, workload_id: UUID) -> Iterator[Pending]:
        """What containers of a workload wait for."""
        for pull in self._pulls.values():
            for (place, run), waiting in pull.waiting.items():
                if place.workload_id == workload_id:
                    waiting.asked_at = time.monotonic()
                    yield Pending(place, run, waiting.since, ContainerState.WAITING, pull.reason, pull.message)

    def owned(self) -> set[UUID]:
        """All workloads that wait for something."""
        return {place.workload_id for pull in self._pulls.values() for place, _ in pull.waiting}

    def keep_only(self, workload_id: UUID, wanted: Collection[Run]) -> None:
        """Forget what else of a workload was waiting. Nobody fetches an image for which nobody waits."""
        self._fetched = {each for each in self._fetched if each[0].workload_id != workload_id or each in wanted}
        for pull in list(self._pulls.values()):
            for run in [each for each in pull.waiting if each[0].workload_id == workload_id and each not in wanted]:
                del pull.waiting[run]
            if not pull.waiting:
                self._end(pull)

    async def close(self) -> None:
        """Stop fetching."""
        tasks = [pull.task for pull in self._pulls.values() if pull.task is not None]
        for pull in list(self._pulls.values()):
            self._end(pull)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fetched.clear()

    def _end(self, pull: _Pull) -> None:
        if self._pulls.get(pull.reference) is pull:
            del self._pulls[pull.reference]
        if pull.task is not None:
            pull.task.cancel()

    async def _run(self, pull: _Pull) -> None:
        failures = 0
        while pull.waiting:
            try:
                async with self._slots:
                    await self._fetch(pull)
            except RuntimeUnavailable as error:
                if await self._has_one_all_the_same(pull.reference):
                    _log.warning("image_not_asked_for", image=pull.reference, reason=str(error))
                    break
                words = error.words if isinstance(error, Refused) else str(error)
                pull.reason, pull.message = _reason(error), f"{pull.reference} can't be pulled: {words}"
            else:
                break
            self._tell(pull)
            await asyncio.sleep(min(FIRST_PAUSE_SECONDS * 2 ** min(failures, 10), LONGEST_PAUSE_SECONDS))
            failures += 1
            self._forget_the_silent(pull)
        self._fetched.update(pull.waiting)
        del self._pulls[pull.reference]
        self._tell(pull)

    async def _fetch(self, pull: _Pull) -> None:
        parsed = references.parse(pull.reference)
        if isinstance(parsed, str):
            raise Refused(400, f"invalid reference format: {parsed}")
        host = parsed.host or DOCKER_HUB
        login = self._credentials(host)
        progress = _Progress()
        messages = self._engine.pull(
            parsed.name, parsed.digest or parsed.tag or "latest", None if login is None else (*login, host)
        )
        async with contextlib.aclosing(messages):
            async for message in messages:
                progress.note(message)
                # The failure before stands until there is progress: else it would come and go with each attempt.
                if progress.known and time.monotonic() >= pull.told_at + TELL_SECONDS:
                    pull.reason, pull.message = PULLING, f"pulling {pull.reference}{progress}"
                    self._tell(pull)

    async def _has_one_all_the_same(self, reference: str) -> bool:
        parsed = references.parse(reference)
        if isinstance(parsed, str) or parsed.digest is not None:
            return False
        with contextlib.suppress(RuntimeUnavailable):
            return await self._engine.image(image(reference)) is not None
        return False

    def _forget_the_silent(self, pull: _Pull) -> None:
        before = time.monotonic() - FORGOTTEN_AFTER_SECONDS
        for run in [run for run, waiting in pull.waiting.items() if waiting.asked_at < before]:
            del pull.waiting[run]

    def _tell(self, pull: _Pull) -> None:
        pull.told_at = time.monotonic()
        for workload_id in {place.workload_id for place, _ in pull.waiting}:
            self._changed(workload_id)


class _Progress:
    """How much of an image has come, by layer. Its text is empty as long as no size is known."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    @property
    def known(self) -> bool:
        """Whether anything has come at all."""
        return bool(self._layers)

    def note(self, message: Mapping[str, Any]) -> None:
        """Take what the engine says: {"status": "Downloading", "id": "a1", "progressDetail": {"current": 1, …}}."""
        layer, status = str(message.get("id", "")), message.get("status")
        detail = message.get("progressDetail") or {}
        if status == "Downloading" and isinstance(detail.get("total"), int):
            self._layers[layer] = int(detail.get("current") or 0), detail["total"]
        elif status in _DONE and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = total, total

    def __str__(self) -> str:
        done = sum(each[0] for each in self._layers.values())
        total = sum(each[1] for each in self._layers.values())
        return f": {done / _MEGABYTE:.0f} of {total / _MEGABYTE:.0f} MB" if total else ""


def _reason(error: RuntimeUnavailable) -> str:
    """Why an image can't be fetched. Engines give most failures one status, so their words are what there is to go by.

    Docker has "manifest unknown" for a missing image, and words with "denied" for one that may be missing or private.
    """
    words = str(error).lower()
    if "invalid reference format" in words:
        return INVALID_IMAGE_NAME
    if "manifest unknown" in words or "name unknown" in words:
        return IMAGE_NOT_FOUND
    if _DENIED.search(words):
        return IMAGE_PULL_DENIED
    if isinstance(error, Refused) and error.status == HTTPStatus.NOT_FOUND:
        return IMAGE_NOT_FOUND
    return IMAGE_PULL_FAILED
