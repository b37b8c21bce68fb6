"""The `docker` runtime: each run of a container is a container of a Docker engine, or of Podman's.

A replica is a group of containers that share the network namespace of its primary one, which publishes the ports of all
of them on this machine's loopback. They have no more rights than an ordinary program (no capabilities, no way to gain
any, no files of the machine) and reach out, but not each other. What runs is told by names and labels in the engine, so
several servers may drive one; what only waits to be made is known to the driver alone, and may be lost.

There is no init process, as in Kubernetes: one would reap and pass on signals, but break images that bring their own,
and hide from the engine that a command is not there. So what runs as process 1 without a handler for SIGTERM ends after
the grace period.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

import structlog

from app.domain.enums import ContainerState
from app.domain.logs import LogLine, LogQuery
from app.domain.observations import EXITED, INVALID_IMAGE_NAME, START_ERROR, ContainerObservation, Observation, Refusal
from app.domain.specification import Specification
from app.runtimes import docker_containers, docker_logs
from app.runtimes.base import Health, RuntimeUnavailable, WantedContainer, WantedLaunch, WantedWorkload
from app.runtimes.docker_containers import Container, Pending, Place
from app.runtimes.docker_engine import Engine, Refused, reachable as reachable
from app.runtimes.docker_images import Credentials, Pulls
from app.runtimes.docker_view import View

GRACE_SECONDS = 10.0
# A container whose network has gone with its primary is started anew at once; who waits for a reply waits in vain.
STRANDED_GRACE_SECONDS = 2.0
CHECK_TIMEOUT_SECONDS = 5.0
# Two cores start four containers a second, however many are asked for at once.
STARTS_AT_ONCE = 8
# Each waits for a grace period.
STOPS_AT_ONCE = 256
# Of each container the newest run and the one before, so that logs show why it was started anew.
RUNS_KEPT = 2

_log = structlog.get_logger(__name__)

Slots = Mapping[str, Sequence[Container]]
"""The containers of a replica by name: the runs of each, oldest first."""


@dataclasses.dataclass(slots=True)
class _Ending:
    """A container that is being stopped, and removed after that where `remove` is set."""

    container: Container
    remove: bool
    task: asyncio.Task[None] | None = None


class DockerRuntime:
    """Runs containers in a Docker engine.

    `installation` tells what belongs to this database from what belongs to others that use the same engine. Raises
    ValueError where `host` is not what `docker_engine.Engine` takes.
    """

    name = "docker"
    exclusive = False
    self_healing = False
    notice: str | None = None

    def __init__(
        self, host: str, installation: UUID, credentials: Credentials, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.installation = installation
        self.grace_seconds = grace_seconds
        self._engine = Engine(host)
        self._credentials = credentials
        self._changed: Callable[[UUID], None] = lambda _: None
        self._is_open = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin()

    def _begin(self) -> None:
        self._view = View(self._engine, self.installation, self._tell)
        self._pulls = Pulls(self._engine, self._credentials, self._tell)
        self._pending: dict[Place, Pending] = {}
        self._endings: dict[str, _Ending] = {}
        self._network: str | None = None
        self._making_network = asyncio.Lock()
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._stops = asyncio.Semaphore(STOPS_AT_ONCE)

    async def open(self, changed: Callable[[UUID], None]) -> None:
        """Begin. The engine need not be there yet: it is found when it comes."""
        self._changed = changed
        self._begin()
        self._engine.open()
        self._is_open = True
        self._spawn(self._view.follow())
        self._spawn(self._prepare())

    async def _prepare(self) -> None:
        """Make the network before the first container needs it, where the engine is there already."""
        with contextlib.suppress(RuntimeUnavailable):
            await self._own_network()

    async def check(self) -> Health:
        """Whether the engine answers."""
        try:
            return Health(available=True, message=await self._engine.describe(timeout_seconds=CHECK_TIMEOUT_SECONDS))
        except RuntimeUnavailable as error:
            return Health(available=False, message=str(error))

    def refusal(self, specification: Specification) -> Refusal | None:  # noqa: ARG002  # the engine decides
        """Nothing that is valid is refused beforehand."""
        return None

    def endpoint(self, workload_id: UUID) -> str | None:  # noqa: ARG002  # the same for all
        """Containers listen on loopback alone: the server's gateway leads to them."""
        return None

    async def observe(self, workload_ids: Collection[UUID]) -> Mapping[UUID, Observation]:
        """What there is of these workloads.

        Raises:
            RuntimeUnavailable: the engine can't be asked.
        """
        self._check_open()
        containers = await self._view.of(workload_ids)
        counting = {each: self._counting(containers.get(each, ())) for each in workload_ids}
        observations = {each: self._observation(each, found) for each, found in counting.items()}
        return {each: observation for each, observation in observations.items() if observation.launches}

    async def apply(self, workload: WantedWorkload) -> None:
        """Stop what is not wanted, start what is.

        Raises:
            RuntimeUnavailable: the engine can't be asked, or refuses what has nothing to do with one container alone.
        """
        self._check_open()
        self._view.forget(workload.id)
        replicas: dict[tuple[int, str], list[Container]] = {}
        for container in self._counting((await self._view.of([workload.id])).get(workload.id, ())):
            replicas.setdefault((container.place.launch, container.place.replica), []).append(container)
        wanted = {(launch.number, replica): launch for launch in workload.launches for replica in launch.runs}
        self._keep_in_mind(workload)
        for key, containers in replicas.items():
            if key not in wanted:
                self._end(containers, remove=True)
        try:
            await _all(
                self._apply_replica(workload.id, launch, replica, self._slots(replicas.get((number, replica), ())))
                for (number, replica), launch in wanted.items()
            )
        finally:
            self._view.forget(workload.id)

    async def remove(self, workload_id: UUID) -> None:
        """Stop all containers of a workload, then remove them.

        Raises:
            RuntimeUnavailable: the engine can't be asked.
        """
        self._check_open()
        self._view.forget(workload_id)
        self._keep_in_mind(WantedWorkload(workload_id, ()))
        self._end(self._counting((await self._view.of([workload_id])).get(workload_id, ())), remove=True)

    async def owned(self) -> Collection[UUID]:
        """All workloads that have containers, or wait for an image. What could not be removed is tried again.

        Raises:
            RuntimeUnavailable: the engine can't be asked.
        """
        self._check_open()
        workloads = await self._view.workloads()
        self._end(await self._view.dead(), remove=True)
        return workloads | self._pulls.owned() | {each.workload_id for each in self._pending}

    async def logs(self, workload_id: UUID, query: LogQuery) -> Sequence[LogLine]:
        """The newest lines that match, of the kept runs of all containers.

        Raises:
            RuntimeUnavailable: the engine can't be asked.
        """
        self._check_open()
        containers = (await self._view.of([workload_id])).get(workload_id, ())
        return await docker_logs.read(self._engine, containers, query)

    async def close(self, *, at_once: bool = False) -> None:  # noqa: ARG002  # containers are the engine's and stay
        """Let go of the engine. What runs goes on."""
        self._is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pulls.close()
        await self._engine.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeUnavailable("The docker runtime is not open.")

    def _tell(self, workload_id: UUID) -> None:
        self._changed(workload_id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _keep_in_mind(self, wanted: WantedWorkload) -> None:
        """Forget what else was in mind of a workload. What failed is remembered as long as its replica is there."""
        replicas = {(launch.number, replica) for launch in wanted.launches for replica in launch.runs}
        runs = {
            (Place(wanted.id, launch.number, replica, name), run)
            for launch in wanted.launches
            for replica, containers in launch.runs.items()
            for name, run in containers.items()
        }
        self._pulls.keep_only(wanted.id, runs)
        for place in [each for each in self._pending if each.workload_id == wanted.id]:
            waits = self._pending[place].state is ContainerState.WAITING
            if waits or (place.launch, place.replica) not in replicas:
                del self._pending[place]

    def _suspend(
        self,
        place: Place,
        run: int,
        state: ContainerState,
        reason: str | None,
        message: str,
        exit_code: int | None = None,
    ) -> None:
        self._pending[place] = Pending(place, run, datetime.now(UTC), state, reason, message, exit_code)

    def _observation(self, workload_id: UUID, containers: Sequence[Container]) -> Observation:
        replicas: dict[tuple[int, str], list[Container]] = {}
        for each in containers:
            replicas.setdefault((each.place.launch, each.place.replica), []).append(each)
        seen: dict[int, dict[tuple[str, str], ContainerObservation]] = {}
        for (launch, replica), group in replicas.items():
            slots = self._slots(group)
            primary = _primary(slots)
            shown = {name: docker_containers.observed(runs, primary) for name, runs in slots.items()}
            seen.setdefault(launch, {}).update({(replica, name): each for name, each in shown.items() if each})
        for pending in self._in_mind(workload_id):
            place = pending.place
            launch_seen = seen.setdefault(place.launch, {})
            before = launch_seen.get((place.replica, place.container))
            made = [each for each in containers if each.place == place]
            if before is None or (before.run < pending.run and not pending.is_overtaken_by(made)):
                launch_seen[place.replica, place.container] = pending.shown_beside(before)
        return Observation({launch: tuple(each for _, each in sorted(seen[launch].items())) for launch in sorted(seen)})

    def _in_mind(self, workload_id: UUID) -> Iterator[Pending]:
        """What the engine can't tell: containers that wait to be made, or could not be."""
        yield from self._pulls.waiting(workload_id)
        yield from (each for each in self._pending.values() if each.place.workload_id == workload_id)

    def _slots(self, containers: Iterable[Container]) -> Slots:
        """The containers of a replica by name, the runs of each oldest first: the newest has the name to itself."""
        slots: dict[str, list[Container]] = {}
        for each in containers:
            slots.setdefault(each.place.container, []).append(each)
        for name, runs in slots.items():
            slots[name] = sorted(
                runs, key=lambda each: (each.name == each.place.name(self.installation), each.run, each.created_at)
            )
        return slots

    async def _apply_replica(self, workload_id: UUID, launch: WantedLaunch, replica: str, slots: Slots) -> None:
        runs = launch.runs[replica]
        for name, slot in slots.items():
            self._end(slot[:-1] if name in runs else slot, remove=False)
        if any(self._goes(each) for slot in slots.values() for each in slot[-1:]):
            return  # the replica was to go a moment ago: it can be made again when it has gone
        ports = sorted(each.port for each in launch.containers if each.port is not None)
        primary = _primary(slots)
        wanted = [(each, runs[each.name]) for each in launch.containers if each.name in runs]
        for each, run in wanted:
            if each.primary:
                place = Place(workload_id, launch.number, replica, each.name)
                primary = await self._bring(place, run, each, slots.get(each.name, ()), ports=ports)
        await _all(
            self._bring_beside(primary, Place(workload_id, launch.number, replica, each.name), run, each, slots)
            for each, run in wanted
            if not each.primary
        )

    async def _bring_beside(
        self, primary: Container | None, place: Place, run: int, wanted: WantedContainer, slots: Slots
    ) -> None:
        """Have a container run in the network of the primary one."""
        slot = slots.get(place.container, ())
        current = slot[-1] if slot else None
        if primary is None or not primary.alive:
            if current is None or current.run < run:
                self._suspend(place, run, ContainerState.WAITING, None, "waits for the network of the primary one")
            return
        if current is not None and current.alive and not current.shares_network_of(primary) and current.run <= run:
            with contextlib.suppress(Refused):  # it has just gone
                await self._engine.stop(current.id, min(self.grace_seconds, STRANDED_GRACE_SECONDS))
            await self._make(place, run, wanted, slot, network=primary.shared_network)
            return
        await self._bring(place, run, wanted, slot, network=primary.shared_network)

    async def _bring(
        self,
        place: Place,
        run: int,
        wanted: WantedContainer,
        slot: Sequence[Container],
        *,
        network: str | None = None,
        ports: Sequence[int] = (),
    ) -> Container | None:
        """Have a container run in this run, unless it has been in it already. Answers what is there then."""
        current = slot[-1] if slot else None
        pending = self._pending.get(place)
        if pending is not None and pending.run >= run and not pending.is_overtaken_by(slot):
            return current
        if current is None or current.run < run:
            if current is not None and current.alive:
                self._end([current], remove=False)
                return current
            return await self._make(place, run, wanted, slot, network=network, ports=ports)
        if current.run == run and current.unstarted:
            return await self._start(current.id, place, run)
        return current

    async def _make(
        self,
        place: Place,
        run: int,
        wanted: WantedContainer,
        slot: Sequence[Container],
        *,
        network: str | None,
        ports: Sequence[int] = (),
    ) -> Container | None:
        """Make a container and start it. It takes the name of the one before it, which has ended."""
        asked_for = place, run
        if not self._pulls.has_fetched(asked_for) and await self._pulls.must_ask(wanted.image):
            self._pulls.wait_for(wanted.image, asked_for)
            return None
        name = place.name(self.installation)
        async with self._starts:
            if slot and slot[-1].name == name:
                await self._take_name(slot[-1])
            body = docker_containers.container_body(
                self.installation, place, run, wanted, network=network or await self._own_network(), ports=ports
            )
            try:
                container_id = await self._engine.create(name, body)
            except Refused as error:
                return await self._not_made(error, place, run, wanted.image)
            self._pending.pop(place, None)
            self._end(slot[: 1 - RUNS_KEPT], remove=True)
            return await self._start(container_id, place, run)

    async def _take_name(self, container: Container) -> None:
        """Have a container be called otherwise, as the next one needs its name."""
        with contextlib.suppress(Refused):  # it has just gone, or another server was quicker
            await self._engine.rename(container.id, f"{container.name}.{container.id[:12]}")

    async def _not_made(self, error: Refused, place: Place, run: int, image: str) -> Container | None:
        """See why a container was not made: it is there already, its image is not, or the engine does not like it."""
        if error.status == HTTPStatus.CONFLICT:
            there = await self._view.one(place.name(self.installation))
            if there is not None and (there.place, there.run, there.unstarted) == (place, run, True):
                return await self._start(there.id, place, run)
            if there is not None and there.dead:
                await self._take_name(there)
                return None  # this is made when it is looked at again
            return there  # whatever run it is: another server has been quicker, and it is looked at again
        if "no such image" in error.words.lower() and not self._pulls.has_fetched((place, run)):
            self._pulls.wait_for(image, (place, run))
            return None
        reason = EXITED
        if error.status == HTTPStatus.BAD_REQUEST:
            reason = INVALID_IMAGE_NAME if "invalid reference format" in error.words else START_ERROR
        code = docker_containers.UNKNOWN_ERROR
        self._suspend(place, run, ContainerState.TERMINATED, reason, f"it can't be made: {error.words}", code)
        return None

    async def _start(self, container_id: str, place: Place, run: int) -> Container | None:
        """Start a container that was made. Whether it can is seen of it afterwards."""
        try:
            await self._engine.start(container_id)
        except Refused as error:
            self._network = None  # it may be what is missing
            there = await self._view.one(container_id)
            if there is not None and there.unstarted:  # Podman does not keep why
                code = docker_containers.exit_code_of(error.words)
                code, reason, message = docker_containers.unstartable(error.words, code, there.command)
                self._suspend(place, run, ContainerState.TERMINATED, reason, message, code)
            return there
        return await self._view.one(container_id)

    async def _own_network(self) -> str:
        """The id of the network for primary containers.

        Docker before 25 lets two servers make one each by the same name, and starts nothing in either: the older stays.
        """
        async with self._making_network:
            if self._network is None:
                label = docker_containers.installation_label(self.installation)
                found = await self._engine.networks(label)
                if not found:
                    with contextlib.suppress(Refused):  # another server has just made it
                        await self._engine.create_network(docker_containers.network_body(self.installation))
                    found = await self._engine.networks(label)
                if not found:
                    raise RuntimeUnavailable("The container engine can't make a network for Slipway's containers.")
                oldest, *younger = sorted((str(each["Created"]), str(each["Id"])) for each in found)
                for _, network in younger:
                    with contextlib.suppress(Refused):  # another server has just removed it
                        await self._engine.remove_network(network)
                self._network = oldest[1]
            return self._network

    def _counting(self, containers: Iterable[Container]) -> list[Container]:
        """Without those that the engine failed to remove, also while that is tried again.

        Their files are in use elsewhere, as by a mount that the engine does not see. Whoever stopped them is not to
        wait until an operator has found it.
        """
        again = {key for key, ending in self._endings.items() if ending.container.dead}
        return [each for each in containers if not each.dead and each.id not in again]

    def _goes(self, container: Container) -> bool:
        ending = self._endings.get(container.id)
        return ending is not None and ending.remove

    def _end(self, containers: Iterable[Container], *, remove: bool) -> None:
        """Stop containers in the background, and remove them where that is wanted."""
        for each in containers:
            ending = self._endings.get(each.id)
            if ending is not None:
                ending.remove = ending.remove or remove
            elif remove or each.alive:
                ending = self._endings[each.id] = _Ending(each, remove)
                ending.task = self._spawn(self._carry_out(ending))

    async def _carry_out(self, ending: _Ending) -> None:
        container = ending.container
        try:
            if container.alive:
                async with self._stops:
                    await self._engine.stop(container.id, self.grace_seconds)
            if ending.remove and container.primary:  # Podman removes it last
                await asyncio.gather(*self._endings_beside(container), return_exceptions=True)
            if ending.remove:
                await self._engine.remove(container.id)
        except RuntimeUnavailable as error:
            gone = isinstance(error, Refused) and error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}
            if not gone:  # whoever looks next tries again
                _log.warning("container_not_ended", container=container.name, reason=str(error))
        finally:
            del self._endings[container.id]
            self._view.forget(container.place.workload_id)
            self._tell(container.place.workload_id)

    def _endings_beside(self, primary: Container) -> list[asyncio.Task[None]]:
        """The ends of the containers that share its network."""
        others = [each for each in self._endings.values() if each.container.network == primary.shared_network]
        return [each.task for each in others if each.task is not None]


def _primary(slots: Slots) -> Container | None:
    """The newest run of the primary container."""
    return next((runs[-1] for runs in slots.values() if runs[-1].primary), None)


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """Wait for all of them, whatever becomes of one; then raise what went wrong first."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
