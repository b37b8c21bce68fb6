"""The reconciler: it claims workloads that are due, works on them, and keeps house.

Any number of reconcilers may run on one database. A runtime whose processes belong to one server (`exclusive`) is
driven by the one that holds an advisory lock; the others stand by, end tests whose time is over, and take over when
the lock is free. Nothing depends on a notification: it only makes things quicker than the next look at the table.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from app.db import claims
from app.db.database import Database
from app.db.leadership import Line
from app.domain.enums import WorkloadStatus
from app.domain.slots import Policy
from app.domain.traffic import Traffic
from app.reconciler.cycle import Cycle, Secrets, Timing
from app.reconciler.prober import Prober
from app.runtimes.base import Health, Runtime, RuntimeUnavailable

BATCH_MAXIMUM = 50
BUSY_MAXIMUM = 100

_log = structlog.get_logger(__name__)


class Reconciler:
    """Makes what runs equal to what is wanted. Run `run` as a task, and cancel it to stop.

    `ready` is set once the state of the runtime is recorded, so that actions can go by it, or once it is clear that
    another reconciler drives it. `chosen` says why it is this runtime: it is recorded beside how it is.
    """

    def __init__(
        self,
        database: Database,
        runtime: Runtime,
        secrets: Secrets,
        *,
        clock: Callable[[], datetime],
        policy: Policy | None = None,
        timing: Timing | None = None,
        prober: Callable[[Callable[[UUID], None]], Prober] = Prober,
        traffic: Traffic | None = None,
        chosen: str = "",
    ) -> None:
        self.id = uuid.uuid4()
        self.ready = asyncio.Event()
        self._database = database
        self._runtime = runtime
        self._chosen = chosen
        self._clock = clock
        self._timing = timing or Timing()
        self._prober = prober(self._look_at)
        self._cycle = Cycle(
            database,
            runtime,
            self._prober,
            secrets,
            holder=self.id,
            policy=policy or Policy(),
            timing=self._timing,
            clock=clock,
            traffic=traffic or Traffic(),
        )
        self._wakeup = asyncio.Event()
        self._woken: set[UUID] = set()
        self._busy: set[UUID] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[UUID, asyncio.TimerHandle] = {}
        self._opened = False
        self._has_more = False

    async def run(self) -> None:
        """Reconcile until cancelled. What the runtime holds by itself ends then, and is wanted again at the next start.

        Nothing that happens to the database or the runtime ends this: it tries again.
        """
        while True:
            try:
                await self._serve()
            except Exception as error:  # noqa: BLE001  # whatever it is, what is wanted stays wanted
                _log.warning("reconciler_interrupted", exc_info=error)
            await asyncio.sleep(self._timing.retry_seconds)

    async def _serve(self) -> None:
        line = await Line.connect(self._database.dsn, self._wakeup.set)
        try:
            if self._runtime.exclusive:
                await self._stand_by(line)
                async with self._database.transaction() as session:
                    await claims.take_over(session)
            await self._drive(line)
        finally:
            line.close()

    async def _stand_by(self, line: Line) -> None:
        while not await line.take(self._runtime.name):
            self.ready.set()
            await self._expire()
            await self._pause()

    async def _drive(self, line: Line) -> None:
        lost = True
        try:
            await self._open()
            async with asyncio.TaskGroup() as group:
                group.create_task(line.wait_until_lost())
                group.create_task(self._keep_house(line))
                group.create_task(self._work())
        except asyncio.CancelledError:
            lost = False
            raise
        finally:
            await self._end(at_once=lost)

    async def _open(self) -> None:
        try:
            await self._runtime.open(self._look_at)
        except RuntimeUnavailable as error:
            _log.warning("runtime_unavailable", runtime=self._runtime.name, reason=str(error))
        else:
            self._opened = True

    async def _end(self, *, at_once: bool) -> None:
        """Stop working. `at_once`: another reconciler may begin any moment, so nothing may run on here."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._prober.forget_all()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._woken.clear()
        self._busy.clear()
        self._opened = False
        await self._runtime.close(at_once=at_once)
        if not at_once:
            with contextlib.suppress(Exception):  # the database may be gone as well
                async with self._database.transaction() as session:
                    await claims.release_all(session, self.id)
                await self._record_health(Health(available=False, message="Its server has been stopped."))

    async def _keep_house(self, line: Line) -> None:
        """Record how the runtime is doing, and remove from it what the database does not want there.

        Raises:
            ConnectionLost: the lock may be another's by now.
        """
        collect_at = time.monotonic()
        while True:
            await line.check()
            try:
                if not self._opened:
                    await self._open()
                await self._record_health(await self._runtime.check())
                self.ready.set()
                if time.monotonic() >= collect_at:
                    await self._collect()
                    collect_at = time.monotonic() + self._timing.collect_seconds
            except RuntimeUnavailable:
                pass  # its health says so
            except Exception as error:  # noqa: BLE001  # the next round may fare better
                _log.error("housekeeping_failed", exc_info=error)
            await asyncio.sleep(self._timing.heartbeat_seconds)

    async def _record_health(self, health: Health) -> None:
        async with self._database.transaction() as session:
            message = f"{health.message} {self._chosen}".strip()
            await claims.heartbeat(session, self._runtime.name, available=health.available, message=message)

    async def _collect(self) -> None:
        owned = await self._runtime.owned()
        async with self._database.read() as session:
            statuses = await claims.statuses(session, owned)
        for workload_id in owned:
            if workload_id not in statuses:
                _log.warning("removing_unknown_workload", workload_id=str(workload_id), runtime=self._runtime.name)
                await self._runtime.remove(workload_id)
            elif statuses[workload_id] in {WorkloadStatus.STOPPED, WorkloadStatus.TERMINATED}:
                self._look_at(workload_id)

    async def _work(self) -> None:
        expire_at = time.monotonic()
        while True:
            more = False
            try:
                if time.monotonic() >= expire_at:
                    expire_at = time.monotonic() + self._timing.poll_seconds
                    await self._expire()
                more = await self._claim()
            except Exception as error:  # noqa: BLE001  # the next round may fare better
                _log.error("claiming_failed", exc_info=error)
            if not more:
                await self._pause()

    async def _claim(self) -> bool:
        """Claim what is due, and have it worked on. Answers whether there may be more."""
        limit = min(BATCH_MAXIMUM, BUSY_MAXIMUM - len(self._busy))
        self._has_more = limit <= 0
        if self._has_more:
            return False
        woken = self._woken - self._busy
        self._woken -= woken
        try:
            async with self._database.transaction() as session:
                claimed = await claims.claim(
                    session, self.id, woken=woken, limit=limit, lease_seconds=self._timing.lease_seconds
                )
        except BaseException:
            self._woken |= woken
            raise
        ids = {each.row.id for each in claimed}
        if len(claimed) == limit:  # some may have been left out
            self._woken |= woken - ids
        if claimed:
            self._busy |= ids
            task = asyncio.create_task(self._work_on(claimed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(claimed) == limit

    async def _work_on(self, claimed: Sequence[claims.Claim]) -> None:
        try:
            await self._cycle.run(claimed, self._done)
        except Exception as error:  # noqa: BLE001  # the leases will end by themselves
            _log.error("reconciling_failed", exc_info=error)
        finally:
            self._busy -= {each.row.id for each in claimed}

    def _done(self, workload_id: UUID, delay: float | None) -> None:
        """Someone has let go of a workload: look again in time, or at once where something has happened meanwhile."""
        self._busy.discard(workload_id)
        if workload_id in self._woken or self._has_more:
            self._wakeup.set()
        timer = self._timers.pop(workload_id, None)
        if timer is not None:
            timer.cancel()
        if delay is not None and delay < self._timing.resync_seconds:
            self._timers[workload_id] = asyncio.get_running_loop().call_later(delay, self._look_at, workload_id)

    async def _expire(self) -> None:
        async with self._database.read() as session:
            if not await claims.any_expired(session):
                return
        async with self._database.transaction() as session:
            expired = await claims.expire(session, self._clock())
        if expired:
            self._wakeup.set()

    async def _pause(self) -> None:
        """Wait for the next look at the table, or for a reason to look earlier."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.poll_seconds):
                await self._wakeup.wait()
        self._wakeup.clear()

    def _look_at(self, workload_id: UUID) -> None:
        self._timers.pop(workload_id, None)
        self._woken.add(workload_id)
        self._wakeup.set()
