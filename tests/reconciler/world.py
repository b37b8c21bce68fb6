"""A database with workloads in it, a runtime that is a dictionary, and reconcilers that run beside a test."""

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlmodel import col, select

from app.db import tables, writes
from app.db.database import Database
from app.domain import ids, specification
from app.domain.enums import (
    ArtifactStatus,
    ArtifactType,
    ContainerState,
    EventKind,
    ReplacementStatus,
    Wanted,
    WorkloadPurpose,
    WorkloadStatus as Status,
)
from app.domain.logs import LogLine, LogQuery
from app.domain.observations import Address, ContainerObservation, Observation, Refusal
from app.domain.slots import Key, Policy
from app.domain.specification import Container, ContainerGroup, Specification
from app.reconciler.cycle import Timing
from app.reconciler.loop import Reconciler
from app.reconciler.prober import Prober
from app.runtimes.base import Health, Runtime, RuntimeUnavailable, WantedWorkload

PATIENCE_SECONDS = 45.0
QUICK = Timing(poll_seconds=0.05, heartbeat_seconds=0.1, collect_seconds=0.1, waiting_seconds=0.5, retry_seconds=0.02)
LENIENT = Policy(
    first_pause=timedelta(milliseconds=10),
    longest_pause=timedelta(milliseconds=50),
    settle=timedelta(milliseconds=50),
    drain=timedelta(milliseconds=100),
)
SIMPLE = Container("main", "image", port=80, primary=True, entrypoint=("run",))


def now() -> datetime:
    return datetime.now(UTC)


async def until(condition: Callable[[], Awaitable[bool] | bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.005)


class World:
    """The database, and what users do to it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.user_id = writes.new_id()
        self.repository_id = writes.new_id()
        self.service_id = writes.new_id()
        self._versions = itertools.count(1)

    async def furnish(self) -> None:
        """Somebody, and a repository with a locked artifact."""
        async with self.database.transaction() as session:
            session.add(tables.UserRow(id=self.user_id, username="ada", display_name="Ada", created_at=now()))
            await session.flush()
            repository = tables.RepositoryRow(
                id=self.repository_id, name="r", type=ArtifactType.SERVICE, **self._created()
            )
            session.add(repository)
            await session.flush()
            session.add(self._artifact(self.service_id, locked=True))

    def _created(self) -> dict[str, Any]:
        return {"created_by_id": self.user_id, "created_at": now(), "updated_at": now()}

    def _artifact(self, artifact_id: UUID, *, locked: bool) -> tables.ArtifactRow:
        values: dict[str, Any] = {}
        if locked:
            values = {"version": next(self._versions), "locked_by_id": self.user_id, "locked_at": now()}
        return tables.ArtifactRow(
            id=artifact_id,
            repository_id=self.repository_id,
            name="a",
            type=ArtifactType.SERVICE,
            status=ArtifactStatus.LOCKED if locked else ArtifactStatus.DRAFT,
            digest="sha256:0",
            **values,
            **self._created(),
        )

    async def deploy(self, *containers: Container, notify: bool = True, **values: Any) -> UUID:
        """A workload as the actions make it: a service, or a test where it has an end."""
        artifact_id = self.service_id
        async with self.database.transaction() as session:
            if "expires_at" in values:
                artifact_id = writes.new_id()
                session.add(self._artifact(artifact_id, locked=False))
                values["purpose"] = WorkloadPurpose.TEST
                await session.flush()
            row = tables.WorkloadRow(
                id=writes.new_id(),
                artifact_id=artifact_id,
                repository_id=self.repository_id,
                name="w",
                digest="sha256:0",
                launched_at=now(),
                **{
                    "purpose": WorkloadPurpose.SERVICE,
                    "specification": specification.to_json(Specification((ContainerGroup(containers or (SIMPLE,)),))),
                    "reconcile_at": now(),
                    **self._created(),
                    **values,
                },
            )
            session.add(row)
            if notify:
                await writes.wake_reconcilers(session)
        return row.id

    async def want(self, workload_id: UUID, wanted: Wanted) -> None:
        """Start, restart or stop it, as the actions do."""
        async with self.database.transaction() as session:
            row = (await session.exec(self._select(workload_id).with_for_update())).one()
            row.wanted = wanted
            row.status = Status.SUBMITTED if wanted is Wanted.RUNNING else Status.STOPPING
            row.status_reason = row.status_message = None
            row.generation += 1
            row.reconcile_at = now()
            if wanted is Wanted.RUNNING:
                row.launch = row.last_launch = row.last_launch + 1
                row.launched_at = now()
                row.was_ready = False
                row.started_at = row.stopped_at = None
            session.add(row)
            await writes.wake_reconcilers(session)

    async def replace(self, workload_id: UUID, *containers: Container, **values: Any) -> UUID:
        """Replace what it runs by another artifact of these containers, as the actions do; answers the replacement."""
        artifact_id = writes.new_id()
        async with self.database.transaction() as session:
            session.add(self._artifact(artifact_id, locked=True))
            await session.flush()
            row = (await session.exec(self._select(workload_id).with_for_update())).one()
            row.last_launch += 1
            row.generation += 1
            row.reconcile_at = now()
            session.add(row)
            replacement = tables.ReplacementRow(
                id=writes.new_id(),
                workload_id=workload_id,
                from_artifact_id=row.artifact_id,
                to_artifact_id=artifact_id,
                requested_by_id=self.user_id,
                started_at=now(),
                begun_at=now(),
                launch=row.last_launch,
                digest="sha256:1",
                specification=specification.to_json(Specification((ContainerGroup(containers or (SIMPLE,)),))),
                **{"replicas": row.replicas, "resources": [], "environment": [], **values},
            )
            session.add(replacement)
            await writes.wake_reconcilers(session)
        return replacement.id

    async def scale(self, workload_id: UUID, replicas: int) -> None:
        """Want another number of replicas, as the actions do."""
        async with self.database.transaction() as session:
            row = (await session.exec(self._select(workload_id).with_for_update())).one()
            row.replicas = replicas
            row.generation += 1
            row.reconcile_at = now()
            session.add(row)
            await writes.wake_reconcilers(session)

    async def replacement(self, replacement_id: UUID) -> tables.ReplacementRow:
        async with self.database.read() as session:
            row = tables.ReplacementRow
            return (await session.exec(select(row).where(col(row.id) == replacement_id))).one()

    async def ends(self, replacement_id: UUID) -> tables.ReplacementRow:
        """Wait for the end of a replacement, whatever it is. The history tells of it once."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := await self.replacement(replacement_id)).status is ReplacementStatus.ROLLING:
            assert time.monotonic() < deadline, "the replacement does not end"
            await asyncio.sleep(0.005)
        named = ids.encode(ids.Kind.REPLACEMENT, replacement_id)
        events = [each.changes or {} for each in await self._events(found.workload_id)]
        assert [each["status"] for each in events if each.get("replacement") == named] == [found.status.value]
        return found

    def _select(self, workload_id: UUID) -> Any:
        return select(tables.WorkloadRow).where(col(tables.WorkloadRow.id) == workload_id)

    async def row(self, workload_id: UUID) -> tables.WorkloadRow:
        async with self.database.read() as session:
            row: tables.WorkloadRow = (await session.exec(self._select(workload_id))).one()
            return row

    async def reaches(self, workload_id: UUID, status: Status, reason: str | None = None) -> tables.WorkloadRow:
        """Wait for a status, and for a reason where one is given."""
        row = await self.row(workload_id)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while row.status is not status or (reason is not None and row.status_reason != reason):
            assert time.monotonic() < deadline, f"it is not {status}, but {row.status} ({row.status_reason})"
            await asyncio.sleep(0.005)
            row = await self.row(workload_id)
        return row

    async def history(self, workload_id: UUID) -> list[str]:
        """The statuses that were recorded, in order; one with a reason as STATUS:REASON."""
        found = []
        for each in await self._events(workload_id):
            assert each.changes is not None
            assert (each.actor_id, each.subject_kind, each.repository_id) == (None, "wkl", self.repository_id)
            if each.kind is EventKind.WORKLOAD_STATUS:
                reason = each.changes["reason"]
                found.append(each.changes["status"]["after"] + (f":{reason}" if reason else ""))
        return found

    async def _events(self, workload_id: UUID) -> Sequence[tables.EventRow]:
        event = tables.EventRow
        statement = select(event).where(col(event.subject_id) == workload_id).order_by(col(event.id))
        async with self.database.read() as session:
            return (await session.exec(statement)).all()


@dataclasses.dataclass
class _Running:
    run: int
    state: ContainerState = ContainerState.RUNNING
    ready: bool | None = True
    started_at: datetime = dataclasses.field(default_factory=now)


@dataclasses.dataclass
class Engine:
    """What would be a container engine: several drivers may share it. `starts` counts every start of a container.

    `launches` holds the newest launch that was asked for of each workload.
    """

    launches: dict[UUID, int] = dataclasses.field(default_factory=dict)
    containers: dict[UUID, dict[Key, _Running]] = dataclasses.field(default_factory=dict)
    wanted: dict[UUID, WantedWorkload] = dataclasses.field(default_factory=dict)
    starts: list[tuple[UUID, int, str, int]] = dataclasses.field(default_factory=list)
    unavailable: str | None = None

    def launches_of(self, workload_id: UUID) -> set[int]:
        """The launches of a workload that have containers."""
        return {launch for launch, _, _ in self.containers.get(workload_id, {})}


class FakeRuntime:
    """A driver of an engine. A test may look into `calls`, and hold `gate` to make apply wait.

    What is started is ready at once, but for launches of the numbers in `unready`.
    """

    name = "fake"
    self_healing = False
    notice: str | None = "A notice."

    def __init__(self, engine: Engine | None = None, *, exclusive: bool = False) -> None:
        self.engine = engine or Engine()
        self.exclusive = exclusive
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.broken: set[UUID] = set()
        self.unready: set[int] = set()
        self.changed: Callable[[UUID], None] = lambda _: None

    def _ask(self) -> None:
        if self.engine.unavailable is not None:
            raise RuntimeUnavailable(self.engine.unavailable)

    async def open(self, changed: Callable[[UUID], None]) -> None:
        self.calls.append("open")
        self.changed = changed

    async def check(self) -> Health:
        return Health(self.engine.unavailable is None, self.engine.unavailable or "Fine.")

    def refusal(self, specification: Specification) -> Refusal | None:
        if next(specification.containers).entrypoint is None:
            return Refusal("NO_ENTRYPOINT", "There is none.")
        return None

    def endpoint(self, workload_id: UUID) -> str | None:  # noqa: ARG002  # as in the protocol
        return None

    async def observe(self, workload_ids: Collection[UUID]) -> Mapping[UUID, Observation]:
        self._ask()
        if self.broken & set(workload_ids):
            raise ZeroDivisionError
        return {each: self._observation(each) for each in workload_ids if each in self.engine.launches}

    def _observation(self, workload_id: UUID) -> Observation:
        containers = self.engine.containers.get(workload_id, {})
        launches: dict[int, list[ContainerObservation]] = {self.engine.launches[workload_id]: []}
        for (launch, replica, name), each in containers.items():
            address = Address("host", 1000 * launch + int(replica))
            launches.setdefault(launch, []).append(
                ContainerObservation(
                    replica, name, each.run, each.state, each.ready, address, started_at=each.started_at
                )
            )
        return Observation({launch: tuple(each) for launch, each in launches.items()})

    async def apply(self, workload: WantedWorkload) -> None:
        self._ask()
        self.waiting += 1
        await self.gate.wait()
        engine = self.engine
        engine.launches[workload.id] = workload.launches[-1].number
        engine.wanted[workload.id] = workload
        present = engine.containers.setdefault(workload.id, {})
        wanted = {
            (launch.number, replica, container): run
            for launch in workload.launches
            for replica, runs in launch.runs.items()
            for container, run in runs.items()
        }
        for (launch, replica, container), run in wanted.items():
            key = (launch, replica, container)
            if key not in present or present[key].run != run:
                present[key] = _Running(run, ready=launch not in self.unready)
                engine.starts.append((workload.id, launch, f"{replica}/{container}", run))
        for key in present.keys() - wanted.keys():
            del present[key]

    def become_ready(self, workload_id: UUID, launch: int) -> None:
        """All containers of a launch, also those to come."""
        self.unready.discard(launch)
        for (number, _, _), each in self.engine.containers[workload_id].items():
            if number == launch:
                each.ready = True
        self.changed(workload_id)

    async def remove(self, workload_id: UUID) -> None:
        self._ask()
        self.calls.append("remove")
        self.engine.launches.pop(workload_id, None)
        self.engine.containers.pop(workload_id, None)

    async def owned(self) -> Collection[UUID]:
        self._ask()
        return list(self.engine.launches)

    async def logs(self, workload_id: UUID, query: LogQuery) -> Sequence[LogLine]:  # noqa: ARG002  # the same
        return ()

    async def close(self, *, at_once: bool = False) -> None:
        self.calls.append("close at once" if at_once else "close")


async def no_secrets(credential_id: UUID, field: str) -> str:
    raise LookupError(f"{credential_id} {field}")


@contextlib.asynccontextmanager
async def reconciling(database: Database, runtime: Runtime, **values: Any) -> AsyncIterator[Reconciler]:
    """A reconciler that runs for the length of the block."""
    settings: dict[str, Any] = {"secrets": no_secrets, "clock": now, "policy": LENIENT, "timing": QUICK, **values}
    reconciler = Reconciler(database, runtime, **settings)
    task = asyncio.create_task(reconciler.run())
    try:
        await until(reconciler.ready.is_set, "the reconciler is ready")
        yield reconciler
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def hasty(speed: float) -> Callable[[Callable[[UUID], None]], Prober]:
    """A prober whose seconds pass so many times as fast."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / speed)

    return lambda changed: Prober(changed, monotonic=lambda: time.monotonic() * speed, sleep=sleep)
