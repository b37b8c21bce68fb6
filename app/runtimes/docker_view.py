"""What is known of the containers of an installation, so that most questions cost the engine nothing.

The engine answers about all containers (a thousand of them take 70 ms of its time), or about one more closely; it can't
be asked about fifty. So what it said is kept as long as its events tell of every change, and ten seconds at most. A
workload about which there was an event is asked about again, and all of them once the events have been interrupted.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID

import structlog

from app.runtimes import docker_containers
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.docker_containers import DEAD, REMOVING, Container
from app.runtimes.docker_engine import Engine, Refused

MAXIMUM_AGE_SECONDS = 10.0
# Up to here it is cheaper to ask for workloads one by one than for everything.
ONE_BY_ONE_MAXIMUM = 4
INSPECTIONS_AT_ONCE = 16
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0

# Docker's words and Podman's, of what changes how a container looks.
_TELLING = frozenset(
    {"create", "start", "die", "died", "oom", "destroy", "remove", "pause", "unpause", "rename", "restart"}
)

_log = structlog.get_logger(__name__)

_Mark = tuple[Any, ...]
"""What a list shows of a container. As long as that is the same, so is everything else but for what an event tells."""


class View:
    """The containers of an installation, by workload. `changed` is called for workloads that may look different."""

    def __init__(self, engine: Engine, installation: UUID, changed: Callable[[UUID], None]) -> None:
        self._engine = engine
        self._label = docker_containers.installation_label(installation)
        self._changed = changed
        self._marks: dict[UUID, dict[str, _Mark]] = {}
        self._containers: dict[str, tuple[_Mark, Container]] = {}
        self._stale: set[UUID] = set()
        self._complete_at: float | None = None
        self._following = False
        self._events = 0
        self._asking = asyncio.Lock()
        self._failures = 0
        self._why = ""
        self._inspections = asyncio.Semaphore(INSPECTIONS_AT_ONCE)

    async def of(self, workload_ids: Collection[UUID]) -> Mapping[UUID, Sequence[Container]]:
        """All containers of these workloads; one that has none is left out.

        Raises:
            RuntimeUnavailable: the engine can't be asked.
        """
        for _ in range(ATTEMPTS):
            await self._ask(set(workload_ids))
            marks = {each: self._marks[each] for each in workload_ids if each in self._marks}
            asked = [self._known(*each) for shown in marks.values() for each in shown.items()]
            try:
                found = {each.id: each for each in await asyncio.gather(*asked)}
            except LookupError as error:
                self._stale.update(each for each, shown in marks.items() if error.args[0] in shown)
                continue
            return {each: [found[container_id] for container_id in shown] for each, shown in marks.items()}
        raise RuntimeUnavailable("Containers come and go faster than the engine can tell how they look.")

    async def one(self, name: str) -> Container | None:
        """One container by its id or name, as it is now; None where there is none.

        Raises:
            RuntimeUnavailable: the engine can't be asked, or it is not one of Slipway's.
        """
        try:
            shown = await self._engine.inspect(name)
        except Refused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        try:
            return docker_containers.container(shown)
        except (KeyError, TypeError, ValueError) as error:
            raise RuntimeUnavailable(f"What the container engine says of container {name} makes no sense.") from error

    async def workloads(self) -> set[UUID]:
        """All workloads that have a container, as the engine says now.

        Raises:
            RuntimeUnavailable: the engine can't be asked.
        """
        await self._ask(None)
        return set(self._marks)

    async def dead(self) -> Sequence[Container]:
        """What the engine failed to remove, of all that was listed last.

        Raises:
            RuntimeUnavailable: the engine can't be asked.
        """
        shown = [
            each for each, marks in self._marks.items() if any(mark[0] in {REMOVING, DEAD} for mark in marks.values())
        ]
        return [each for found in (await self.of(shown)).values() for each in found if each.dead]

    def forget(self, workload_id: UUID) -> None:
        """Ask anew for a workload: something has been done to it."""
        self._stale.add(workload_id)

    async def follow(self) -> None:
        """Listen to the engine's events until cancelled, and connect again where they end."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._engine.events(self._label) as events:
                    self._begin()
                    pause = FIRST_PAUSE_SECONDS
                    self._tell(await self.workloads())
                    async for event in events:
                        self._note(event)
            except RuntimeUnavailable as error:
                _log.warning("engine_events_interrupted", reason=str(error))
            known = set(self._marks)
            self._begin(following=False)
            self._tell(known)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _begin(self, *, following: bool = True) -> None:
        """Trust nothing that was known before."""
        self._following = following
        self._complete_at = None
        self._containers.clear()
        self._events += 1

    def _tell(self, workload_ids: Collection[UUID]) -> None:
        for each in workload_ids:
            self._changed(each)

    def _note(self, event: Mapping[str, Any]) -> None:
        """Take an event. Example: {"Action": "die", "Actor": {"ID": …, "Attributes": {all labels}}}."""
        if event.get("Action", event.get("status")) not in _TELLING:
            return
        actor = event.get("Actor") or {}
        self._events += 1
        self._containers.pop(str(actor.get("ID")), None)
        workload_id = docker_containers.workload_of(actor.get("Attributes") or {})
        if workload_id is not None:
            self._stale.add(workload_id)
            self._changed(workload_id)

    async def _ask(self, workload_ids: set[UUID] | None) -> None:
        """Ask for what is not known well enough of these workloads, or for everything.

        One asks at a time, so that the next may find its answer there. An engine that does not answer one of them keeps
        the others waiting no longer.
        """
        failures = self._failures
        async with self._asking:
            if self._failures != failures:
                raise RuntimeUnavailable(self._why)
            try:
                await (self._ask_for_everything() if workload_ids is None else self._refresh(workload_ids))
            except RuntimeUnavailable as error:
                self._failures += 1
                self._why = str(error)
                raise

    async def _refresh(self, workload_ids: set[UUID]) -> None:
        too_old = self._complete_at is None or time.monotonic() - self._complete_at > MAXIMUM_AGE_SECONDS
        stale = self._stale & workload_ids
        if too_old or not self._following or len(stale) > ONE_BY_ONE_MAXIMUM:
            await self._ask_for_everything()
        else:
            for each in stale:
                await self._ask_for(each)

    async def _ask_for_everything(self) -> None:
        asked_at = time.monotonic()
        # What is told from now on may be newer than the answer, so it stays stale.
        stale, self._stale = self._stale, set()
        try:
            listed = await self._engine.containers(self._label)
        except BaseException:
            self._stale |= stale
            raise
        self._marks = {}
        for each in listed:
            workload_id = docker_containers.workload_of(each.get("Labels") or {})
            if workload_id is not None:
                self._marks.setdefault(workload_id, {})[each["Id"]] = _mark(each)
        known = {container_id for marks in self._marks.values() for container_id in marks}
        self._containers = {key: value for key, value in self._containers.items() if key in known}
        self._complete_at = asked_at

    async def _ask_for(self, workload_id: UUID) -> None:
        self._stale.discard(workload_id)
        try:
            listed = await self._engine.containers(self._label, docker_containers.workload_label(workload_id))
        except BaseException:
            self._stale.add(workload_id)
            raise
        for container_id in self._marks.pop(workload_id, {}).keys() - {each["Id"] for each in listed}:
            self._containers.pop(container_id, None)
        if listed:
            self._marks[workload_id] = {each["Id"]: _mark(each) for each in listed}

    async def _known(self, container_id: str, mark: _Mark) -> Container:
        """A container that a list has shown so.

        Raises:
            LookupError: it has gone since.
            RuntimeUnavailable: the engine can't be asked.
        """
        known = self._containers.get(container_id)
        if known is not None and known[0] == mark:
            return known[1]
        events = self._events
        async with self._inspections:
            container = await self.one(container_id)
        if container is None:
            raise LookupError(container_id)
        if events == self._events and container.state != REMOVING:  # what is dead then is listed as before
            self._containers[container_id] = mark, container
        return container


def _mark(listed: Mapping[str, Any]) -> _Mark:
    ports = [(each.get("PrivatePort"), each.get("PublicPort")) for each in listed.get("Ports") or ()]
    with contextlib.suppress(TypeError):
        ports.sort()
    return listed.get("State"), tuple(listed.get("Names") or ()), tuple(ports)
