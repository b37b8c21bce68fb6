"""The `process` runtime: each container's entrypoint is a child process of the server. For where no engine is.

Images are not used, and there is no isolation: processes run as the server's user, share its file system and its
network, and `resources` are not enforced (a limit of the address space, RLIMIT_AS, breaks common language runtimes).
What they get of the server's environment is PATH; the rest is the container's own. Each has a working directory of its
own, which is also its HOME, and its output goes to a log. All of it lies below one directory:

    lock                                   held with flock(2) while a server uses the directory
    WORKLOAD/LAUNCH/REPLICA/CONTAINER/     working directory
    WORKLOAD/LAUNCH/REPLICA/CONTAINER.log  output, and CONTAINER.log.1 the older half; format: `keeper.Log`

Processes end with the server, whatever happens to it: `app.runtimes.keeper` says how.
"""

import asyncio
import contextlib
import dataclasses
import errno
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO
from uuid import UUID

from app.domain import environment
from app.domain.enums import ContainerState
from app.domain.logs import LogLine, LogQuery
from app.domain.observations import (
    EXITED,
    KILLED,
    NO_ENTRYPOINT,
    START_ERROR,
    Address,
    ContainerObservation,
    Observation,
    Refusal,
)
from app.domain.specification import Specification
from app.runtimes import keepers, process_logs
from app.runtimes.base import Health, RuntimeUnavailable, WantedContainer, WantedLaunch, WantedWorkload

INSTANCE_VARIABLE = "SLIPWAY_INSTANCE"
HOST = "127.0.0.1"
GRACE_SECONDS = 10.0
# Below the range from which Linux takes the ports of outgoing connections (ip_local_port_range begins at 32768), so
# that no such connection takes a port between its choice and its use, nor a probe connects to itself.
PORTS = range(20_000, 32_768)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STARTS_AT_ONCE = 16
NOT_OPEN = "The process runtime is not open here. Where another server runs the workloads, ask that one."
PORT_ATTEMPTS = 1_000
LEFTOVER_ROUNDS = 200
LEFTOVER_PATIENT_ROUNDS = 50
LEFTOVER_ROUND_SECONDS = 0.02

# What will not go away when the same is tried again; codes as shells give them.
_HOPELESS = {errno.ENOENT: 127, errno.ENOTDIR: 127, errno.EACCES: 126, errno.ENOEXEC: 126, errno.EINVAL: 126}
_HOPELESS[errno.E2BIG] = 126


@dataclasses.dataclass(slots=True)
class _Process:
    """One container of one replica, in its newest run."""

    run: int
    state: ContainerState = ContainerState.WAITING
    port: int | None = None
    kept: keepers.Kept | None = None
    stopping: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None

    @property
    def alive(self) -> bool:
        return self.state is not ContainerState.TERMINATED

    def end(self, exit_code: int | None, reason: str, message: str) -> None:
        self.state = ContainerState.TERMINATED
        self.finished_at = datetime.now(UTC)
        self.exit_code = exit_code
        self.reason = reason
        self.message = message
        self.kept = None


@dataclasses.dataclass(slots=True)
class _Launch:
    """What there is of one launch of a workload, by replica and container."""

    number: int
    processes: dict[tuple[str, str], _Process] = dataclasses.field(default_factory=dict)
    removing: bool = False

    @property
    def alive(self) -> list[_Process]:
        return [process for process in self.processes.values() if process.alive]


class ProcessRuntime:
    """Runs containers as child processes of this server."""

    name = "process"
    exclusive = True
    self_healing = False
    notice: str | None = "The process runtime runs the entrypoint as a process of this machine; images are not used."

    def __init__(self, directory: Path, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self.directory = directory
        self.grace_seconds = grace_seconds
        self._workloads: dict[UUID, dict[int, _Launch]] = {}
        self._changed: Callable[[UUID], None] = lambda _: None
        self._lock: TextIO | None = None
        self._keepers: keepers.Keepers | None = None
        self._closed_because = NOT_OPEN
        self._tasks: set[asyncio.Task[None]] = set()
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)

    async def open(self, changed: Callable[[UUID], None]) -> None:
        """Take the directory, and end what an earlier server has left running.

        Raises:
            RuntimeUnavailable: the directory is in use or can't be written, or leftovers do not end.
        """
        try:
            await self._open(changed)
        except RuntimeUnavailable as error:
            self._unlock()
            self._closed_because = str(error)
            raise

    async def _open(self, changed: Callable[[UUID], None]) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (self.directory / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            why = "another server uses it" if isinstance(error, BlockingIOError) else error.strerror
            raise RuntimeUnavailable(f"The process runtime can't use {self.directory}: {why}.") from error
        instance = _instance(self.directory)
        await asyncio.to_thread(_end_leftovers, instance)
        self._changed = changed
        self._workloads = dict(_workloads_on_disk(self.directory))
        self._keepers = keepers.Keepers({**_base_environment(), INSTANCE_VARIABLE: instance})

    async def check(self) -> Health:
        """Whether processes can be started."""
        if self._keepers is None:
            return Health(available=False, message=self._closed_because)
        try:
            await self._keepers.ensure()
        except OSError as error:
            return Health(available=False, message=f"The process runtime can't start processes: {error.strerror}.")
        return Health(available=True, message=self.notice or "")

    def refusal(self, specification: Specification) -> Refusal | None:
        """A container without an entrypoint can't run: there is no image that would have one."""
        for container in specification.containers:
            if not container.entrypoint:
                return Refusal(
                    NO_ENTRYPOINT,
                    f"Container {container.name} has no entrypoint. The process runtime does not use images, so it "
                    "needs one: set the command to run.",
                )
        return None

    def endpoint(self, workload_id: UUID) -> str | None:  # noqa: ARG002  # the gateway leads to all of them
        """None: the server's gateway leads to processes."""
        return None

    async def observe(self, workload_ids: Collection[UUID]) -> Mapping[UUID, Observation]:
        """What there is of these workloads.

        Raises:
            RuntimeUnavailable: it is not open.
        """
        self._opened()
        return {
            each: Observation({number: tuple(_observations(launch)) for number, launch in launches.items()})
            for each in workload_ids
            if (launches := self._workloads.get(each))
        }

    async def apply(self, workload: WantedWorkload) -> None:
        """Stop what is not wanted, start what is.

        Raises:
            RuntimeUnavailable: it is not open, or no process can be started now.
        """
        self._opened()
        wanted = {each.number for each in workload.launches}
        for number in self._workloads.get(workload.id, {}).keys() - wanted:
            await self._remove(workload.id, number)
        for each in workload.launches:
            await self._apply(workload.id, each)

    async def _apply(self, workload_id: UUID, wanted: WantedLaunch) -> None:
        launch = self._workloads.get(workload_id, {}).get(wanted.number)
        if launch is None and not any(wanted.runs.values()):
            return
        if launch is None:
            launch = self._workloads.setdefault(workload_id, {})[wanted.number] = _Launch(wanted.number)
        await self._stop(
            process
            for (replica, container), process in launch.processes.items()
            if process.run != wanted.runs.get(replica, {}).get(container)
        )
        for key in [key for key, process in launch.processes.items() if not process.alive]:
            if key[0] not in wanted.runs:
                del launch.processes[key]
        await self._start_missing(workload_id, launch, wanted)

    async def _start_missing(self, workload_id: UUID, launch: _Launch, wanted: WantedLaunch) -> None:
        containers = {each.name: each for each in wanted.containers}
        starts = []
        for replica, runs in wanted.runs.items():
            for container, run in runs.items():
                present = launch.processes.get((replica, container))
                if present is None or (not present.alive and present.run != run):
                    launch.processes[replica, container] = _Process(run)
                    starts.append(self._start(workload_id, launch, replica, containers[container]))
        for outcome in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def remove(self, workload_id: UUID) -> None:
        """Stop all processes of a workload, then delete its files.

        Raises:
            RuntimeUnavailable: it is not open.
        """
        self._opened()
        for number in list(self._workloads.get(workload_id, {})):
            await self._remove(workload_id, number)

    async def _remove(self, workload_id: UUID, number: int) -> None:
        launch = self._workloads.get(workload_id, {}).get(number)
        if launch is None:  # it has just gone
            return
        launch.removing = True
        if launch.alive:
            await self._stop(launch.alive)
        else:
            await self._forget(workload_id, number)

    async def owned(self) -> Collection[UUID]:
        """All workloads that have processes or files.

        Raises:
            RuntimeUnavailable: it is not open.
        """
        self._opened()
        return set(self._workloads)

    async def logs(self, workload_id: UUID, query: LogQuery) -> Sequence[LogLine]:
        """The newest lines of all that there is of a workload.

        Raises:
            RuntimeUnavailable: it is not open: another server runs the processes.
        """
        self._opened()
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(process_logs.read, self.directory / str(workload_id), query, given_up)
        finally:
            given_up.set()  # a thread does not end by itself when nobody waits for it any more

    async def close(self, *, at_once: bool = False) -> None:
        """Stop every process. Logs stay."""
        if self._keepers is None:
            return
        alive = [process for launch in self._all_launches() for process in launch.alive]
        if not at_once:
            await self._stop(alive)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self.grace_seconds + keepers.END_TIMEOUT_SECONDS)
        opened, self._keepers = self._keepers, None
        for process in alive:
            if process.kept is not None:
                process.kept.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await opened.close()
        self._workloads = {}
        self._closed_because = NOT_OPEN
        self._unlock()

    def _all_launches(self) -> Iterator[_Launch]:
        return (launch for launches in self._workloads.values() for launch in launches.values())

    def _opened(self) -> keepers.Keepers:
        if self._keepers is None:
            raise RuntimeUnavailable(self._closed_because)
        return self._keepers

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _start(self, workload_id: UUID, launch: _Launch, replica: str, container: WantedContainer) -> None:
        process = launch.processes[replica, container.name]
        directory = self.directory / str(workload_id) / str(launch.number) / replica / container.name
        async with self._starts:
            try:
                (directory / "tmp").mkdir(parents=True, exist_ok=True, mode=0o700)
                process.port = None if container.port is None else self._free_port()
                process.kept = await self._opened().start(self._order(container, process.port, directory))
            except keepers.StartError as error:
                command = (container.entrypoint or ("",))[0][:200]
                code = _HOPELESS.get(error.errno)
                process.end(code or 126, START_ERROR if code else EXITED, _why(command, error))
                return
            except BaseException as error:
                del launch.processes[replica, container.name]
                if isinstance(error, OSError):  # TimeoutError is one, too
                    raise RuntimeUnavailable(f"The process runtime can't start processes: {error}.") from error
                raise
        process.state = ContainerState.RUNNING
        process.started_at = datetime.now(UTC)
        self._spawn(self._follow(workload_id, launch, process, process.kept))

    def _order(self, container: WantedContainer, port: int | None, directory: Path) -> keepers.Order:
        variables = {
            **_base_environment(),
            "HOME": str(directory),
            "TMPDIR": str(directory / "tmp"),
            **container.environment,
            INSTANCE_VARIABLE: _instance(self.directory),
        }
        if port is not None:
            variables[environment.PORT_VARIABLE] = str(port)
        return keepers.Order(
            arguments=environment.expand_arguments(container.entrypoint or (), variables),
            environment=variables,
            directory=directory,
            log=directory.with_name(f"{container.name}.log"),
        )

    def _free_port(self) -> int:
        taken = {process.port for launch in self._all_launches() for process in launch.alive}
        for _ in range(PORT_ATTEMPTS):
            port = random.choice(PORTS)  # noqa: S311  not a secret
            if port not in taken:
                # Bound to every address, because the process may want that; not listening, and gone at once.
                with socket.socket() as candidate, contextlib.suppress(OSError):
                    candidate.bind(("", port))
                    return port
        raise OSError(errno.EADDRINUSE, "no port is free")

    async def _follow(self, workload_id: UUID, launch: _Launch, process: _Process, kept: keepers.Kept) -> None:
        """Wait for the end of a process, and finish what waited for it."""
        try:
            ended = await kept.wait()
        finally:
            kept.close()
        if ended.signal is not None:
            process.end(128 + ended.signal, KILLED, f"ended by {_signal_name(ended.signal)}")
        elif ended.code is not None:
            process.end(ended.code, EXITED, f"exited with code {ended.code}")
        else:
            process.end(None, KILLED, "lost its supervisor")
        if launch.removing and not launch.alive:
            await self._forget(workload_id, launch.number)
        self._changed(workload_id)

    async def _stop(self, processes: Iterable[_Process]) -> None:
        for process in list(processes):
            if process.kept is not None and not process.stopping:
                process.stopping = True
                await process.kept.stop(self.grace_seconds)

    async def _forget(self, workload_id: UUID, number: int) -> None:
        place = self.directory / str(workload_id)
        await asyncio.to_thread(shutil.rmtree, place / str(number), ignore_errors=True)
        launches = self._workloads.get(workload_id, {})
        launches.pop(number, None)
        if not launches:
            self._workloads.pop(workload_id, None)
            with contextlib.suppress(OSError):
                place.rmdir()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _observations(launch: _Launch) -> Iterator[ContainerObservation]:
    for (replica, container), process in launch.processes.items():
        yield ContainerObservation(
            replica=replica,
            container=container,
            run=process.run,
            state=process.state,
            address=None if process.port is None else Address(HOST, process.port),
            exit_code=process.exit_code,
            reason=process.reason,
            message=process.message,
            started_at=process.started_at,
            finished_at=process.finished_at,
        )


def _signal_name(number: int) -> str:
    """Most real-time signals have no name: signal(7)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _why(command: str, error: keepers.StartError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return f"there is no command {command!r} in its PATH"
        case errno.EACCES:
            return f"{command!r} is not executable"
        case _:
            return f"{command!r} can't be started: {error}"


def _workloads_on_disk(directory: Path) -> Iterator[tuple[UUID, dict[int, _Launch]]]:
    """What earlier servers left: files of workloads, whose processes have ended."""
    for path in directory.iterdir():
        with contextlib.suppress(ValueError, OSError):
            workload_id = UUID(path.name)
            numbers = [int(each.name) for each in path.iterdir()]
            yield workload_id, {number: _Launch(number) for number in numbers or [0]}


@functools.cache
def _base_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", DEFAULT_PATH), "LANG": "C.UTF-8"}


def _instance(directory: Path) -> str:
    """The mark of everything that is started from this directory, whatever its path: that of a copy is another."""
    status = directory.stat()
    return f"{status.st_dev:x}-{status.st_ino:x}"


def _end_leftovers(instance: str) -> None:
    """End what bears the mark of an earlier server of this directory.

    A keeper that has just lost its server is given time to do it itself, which is more thorough. Linux only: elsewhere
    there is no /proc.

    Raises:
        RuntimeUnavailable: something does not end.
    """
    mark = f"{INSTANCE_VARIABLE}={instance}".encode("ascii")
    for turn in range(LEFTOVER_ROUNDS):
        leftovers = _marked(mark)
        if not leftovers:
            return
        if turn >= LEFTOVER_PATIENT_ROUNDS:
            for pid in leftovers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(LEFTOVER_ROUND_SECONDS)
    raise RuntimeUnavailable(f"Processes of an earlier server do not end: {sorted(leftovers)}.")


def _marked(mark: bytes) -> list[int]:
    """The processes that have this in their environment. Zombies have none any more."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]
