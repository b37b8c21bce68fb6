"""What is done about workloads that have been claimed: observe → plan → apply → record."""

import asyncio
import dataclasses
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from app.db import claims, replacements, tables
from app.db.claims import KEEP, Claim, Release
from app.db.database import Database
from app.domain import environment, planning, specification, wanted
from app.domain.enums import ContainerState, Wanted, WorkloadStatus
from app.domain.observations import Observation, Refusal
from app.domain.planning import Plan
from app.domain.slots import Policy, Runs
from app.domain.traffic import Traffic
from app.reconciler.prober import Prober, Target
from app.runtimes.base import Runtime, RuntimeUnavailable, WantedContainer, WantedLaunch, WantedWorkload

Secrets = Callable[[UUID, str], Awaitable[str]]
"""The value of a key of a credential. Raises LookupError where there is none, ValueError where it can't be opened."""

Done = Callable[[UUID, float | None], None]
"""Called for each workload when it has been let go of: in how many seconds it is due again, if at all."""

PASSES_MAXIMUM = 3
LOCAL_HOST = "127.0.0.1"

_AT_REST = (WorkloadStatus.STOPPED, WorkloadStatus.TERMINATED, WorkloadStatus.ERRORED)

_log = structlog.get_logger(__name__)


class Unresolvable(Exception):
    """A launch can't be started because a value of its environment is missing. The message is for users."""

    def __init__(self, launch: int, message: str) -> None:
        super().__init__(message)
        self.launch = launch


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """How often things are looked at, in seconds."""

    poll_seconds: float = 1.0
    lease_seconds: float = 30.0
    # Beyond this a worker does not act any more on a lease that it holds: it may have slept, and lost it since.
    act_within_seconds: float = 20.0
    heartbeat_seconds: float = 5.0
    collect_seconds: float = 60.0
    # A workload about which nothing is to be done is looked at this often: events of a runtime may be lost.
    resync_seconds: float = 60.0
    # One whose runtime has been asked for something, and should have told of the result.
    waiting_seconds: float = 5.0
    retry_seconds: float = 1.0
    longest_retry_seconds: float = 30.0


@dataclasses.dataclass
class Claimed:
    """A workload in the hands of this reconciler, until `act_until` on the monotonic clock."""

    row: tables.WorkloadRow
    replacement: tables.ReplacementRow | None
    act_until: float

    @functools.cached_property
    def current(self) -> specification.Specification:
        """What the workload runs."""
        return specification.from_json(self.row.specification)

    @functools.cached_property
    def successor(self) -> planning.Successor | None:
        """What is to take over."""
        given = self.replacement
        if given is None:
            return None
        return planning.Successor(
            given.launch, specification.from_json(given.specification), given.replicas, given.begun_at
        )

    @property
    def specifications(self) -> dict[int, specification.Specification]:
        """What its launches run, by number: of the one that serves, and of the one that is to."""
        found = {self.row.launch: self.current}
        if self.successor is not None:
            found[self.successor.launch] = self.successor.specification
        return found

    def remember(self, plan: Plan, stored: Mapping[str, Any]) -> None:
        """The plan has been recorded, and the columns of the row hold this now."""
        for name, value in stored.items():
            setattr(self.row, name, value)
        if plan.outcome is not None:
            self.replacement = None
        elif self.replacement is not None and plan.successor_begun_at is not None:
            self.replacement.begun_at = plan.successor_begun_at
        for name in ("current", "successor"):
            self.__dict__.pop(name, None)


class Cycle:
    """Works on claimed workloads. One that goes wrong does not disturb the others."""

    def __init__(
        self,
        database: Database,
        runtime: Runtime,
        prober: Prober,
        secrets: Secrets,
        *,
        holder: UUID,
        policy: Policy,
        timing: Timing,
        clock: Callable[[], datetime],
        traffic: Traffic,
    ) -> None:
        self.database = database
        self.runtime = runtime
        self.traffic = traffic
        self.prober = prober
        self.secrets = secrets
        self.holder = holder
        self.policy = policy
        self.timing = timing
        self.clock = clock
        self._failures: dict[UUID, int] = {}

    async def run(self, given: Sequence[Claim], done: Done) -> None:
        """Work on claimed rows, and let go of each.

        Those about which there is nothing to say or do, the most by far, cost one statement together.
        """
        act_until = time.monotonic() + self.timing.act_within_seconds
        claimed = [Claimed(each.row, each.replacement, act_until) for each in given]
        try:
            observations = await self.runtime.observe([each.row.id for each in given])
        except Exception as error:  # noqa: BLE001  # a driver that breaks must not end the reconciling
            if isinstance(error, RuntimeUnavailable) or len(given) == 1:
                await self._all(claimed, done, [self._after(each, error) for each in claimed])
            else:  # one of them may be to blame
                await asyncio.gather(*(self.run([each], done) for each in given))
            return
        plans: list[tuple[Claimed, Plan]] = []
        failed: list[tuple[Claimed, Exception]] = []
        for each in claimed:
            try:
                plans.append((each, self._plan(each, observations.get(each.row.id))))
            except Exception as error:  # noqa: BLE001  # the same
                failed.append((each, error))
        idle = [(each, plan) for each, plan in plans if not plan.acts and not _differs(each, plan)]
        busy = [(each, plan) for each, plan in plans if plan.acts or _differs(each, plan)]
        await self._let_go_of_idle(idle, done)
        await self._all(
            [each for each, _ in [*busy, *failed]],
            done,
            [*(self._carry_out(*each) for each in busy), *(self._after(*each) for each in failed)],
        )

    async def _let_go_of_idle(self, idle: Sequence[tuple[Claimed, Plan]], done: Done) -> None:
        releases = [Release(each.row.id, each.row.generation, self._delay(plan)) for each, plan in idle]
        try:
            if releases:
                async with self.database.transaction() as session:
                    await claims.release(session, self.holder, releases)
        finally:
            for each in releases:
                self._failures.pop(each.workload_id, None)
                done(each.workload_id, each.delay_seconds)

    async def _all(
        self, claimed: Sequence[Claimed], done: Done, works: Sequence[Coroutine[Any, Any, float | None]]
    ) -> None:
        async def one(each: Claimed, work: Coroutine[Any, Any, float | None]) -> None:
            delay: float | None = None
            try:
                delay = await work
            except Exception as error:  # noqa: BLE001  # it could not even let go: the lease will end by itself
                delay = self.timing.lease_seconds
                _log.error("reconciling_failed", workload_id=str(each.row.id), exc_info=error)
            finally:
                done(each.row.id, delay)

        await asyncio.gather(*(one(each, work) for each, work in zip(claimed, works, strict=True)))

    async def _carry_out(self, claimed: Claimed, plan: Plan) -> float | None:
        try:
            delay = await self._until_settled(claimed, plan)
        except Unresolvable as error:
            hindered = dataclasses.replace(plan, reason=planning.CREDENTIAL_UNAVAILABLE, message=str(error), runs=None)
            return await self._settle(claimed, hindered, self._after_failure(claimed.row.id))
        except Exception as error:  # noqa: BLE001  # whatever it is, it concerns this workload alone
            return await self._after(claimed, error)
        self._failures.pop(claimed.row.id, None)
        return delay

    async def _until_settled(self, claimed: Claimed, plan: Plan) -> float | None:
        """Record, act, look again, until nothing is left to do now. Answers when it is due again."""
        for _ in range(PASSES_MAXIMUM):
            if not plan.acts:
                break
            if _differs(claimed, plan) and not await self._record(claimed, plan, KEEP):
                return await self._let_go(claimed, 0.0)
            left = claimed.act_until - time.monotonic()
            if left <= 0:
                return await self._let_go(claimed, 0.0)
            async with asyncio.timeout(left):
                refusals = await self._act(claimed, plan)
            asked = (plan.remove, plan.runs)
            observed = await self.runtime.observe([claimed.row.id])
            plan = self._plan(claimed, observed.get(claimed.row.id), refusals)
            if asked == (plan.remove, plan.runs):  # it is under way, and the runtime will tell
                break
        return await self._settle(claimed, plan, self._delay(plan))

    def _plan(
        self, claimed: Claimed, observation: Observation | None, refusals: Mapping[int, Refusal] | None = None
    ) -> Plan:
        row = claimed.row
        if not self.runtime.self_healing:
            self.prober.watch(row.id, _targets(claimed, observation))
        refused = {number: self.runtime.refusal(spec) for number, spec in claimed.specifications.items()}
        given = planning.Circumstances(
            now=self.clock(),
            policy=self.policy,
            verdicts=self.prober.verdicts(row.id),
            self_healing=self.runtime.self_healing,
            busy=self.traffic.busy(),
            refusals={number: each for number, each in refused.items() if each is not None} | dict(refusals or {}),
            notice=self.runtime.notice,
        )
        return planning.plan(_workload(claimed), observation, given)

    async def _act(self, claimed: Claimed, plan: Plan) -> Mapping[int, Refusal]:
        """Have the runtime do it. Answers why a successor can't be started, where that is so: then nothing was done."""
        row = claimed.row
        if plan.remove:
            await self.runtime.remove(row.id)
        elif plan.runs is not None:
            try:
                launches = [
                    await self._launch(claimed, number, runs, starts=number in plan.starts)
                    for number, runs in plan.runs.items()
                ]
            except Unresolvable as error:
                if error.launch == row.launch:
                    raise
                return {error.launch: Refusal(planning.CREDENTIAL_UNAVAILABLE, str(error))}
            await self.runtime.apply(WantedWorkload(row.id, tuple(launches)))
        return {}

    async def _launch(self, claimed: Claimed, number: int, runs: Runs, *, starts: bool) -> WantedLaunch:
        """A launch with all that it needs. One that only drains, or where nothing is started, needs nothing."""
        row, rolled_out = claimed.row, claimed.replacement
        if rolled_out is not None and number == rolled_out.launch and claimed.successor is not None:
            spec, replicas = claimed.successor.specification, rolled_out.replicas
            given = environment.overrides_from_json(rolled_out.environment)
            details = _Details(number, spec, rolled_out.to_artifact_id, rolled_out.resources, given)
        elif number == row.launch:
            spec, replicas = claimed.current, row.replicas
            details = _Details(number, spec, row.artifact_id, row.resources, None)
        else:
            return WantedLaunch(number, (), len(runs), runs)
        containers = await self._containers(row.id, details) if starts else ()
        return WantedLaunch(number, containers, replicas, runs)

    async def _containers(self, workload_id: UUID, details: "_Details") -> tuple[WantedContainer, ...]:
        async with self.database.read() as session:
            version = await claims.version(session, details.artifact_id)
            overrides = details.overrides
            if overrides is None:
                overrides = await replacements.overrides(session, workload_id)
        platform = environment.platform(workload_id, details.artifact_id, version)
        variables = environment.effective(details.specification, overrides, platform)
        values = {each: await self._value(details.launch, each) for each in variables}
        return wanted.containers(details.specification, values, details.resources)

    async def _value(self, launch: int, variable: environment.EffectiveVariable) -> str:
        if variable.value is not None:
            return variable.value
        where = f"Variable {variable.name} of container {variable.container}"
        if variable.credential_id is None or variable.field is None:
            raise Unresolvable(launch, f"{where} points at a credential that is gone.")
        try:
            return await self.secrets(variable.credential_id, variable.field)
        except LookupError:
            message = f"{where} points at a credential without the key {variable.field!r}."
            raise Unresolvable(launch, message) from None
        except ValueError as error:
            raise Unresolvable(launch, f"{where}: {error}") from None

    async def _record(self, claimed: Claimed, plan: Plan, then: float | str | None) -> bool:
        now = self.clock()
        begun = time.monotonic()
        async with self.database.transaction() as session:
            claim = Claim(claimed.row, claimed.replacement)
            stored = await claims.record(
                session, self.holder, claim, plan, now=now, then=then, lease_seconds=self.timing.lease_seconds
            )
        if stored is None:
            return False
        claimed.act_until = begun + self.timing.act_within_seconds
        claimed.remember(plan, stored)
        return True

    async def _settle(self, claimed: Claimed, plan: Plan, delay: float | None) -> float | None:
        """Let go of a workload, with what there is to record. Answers when it is due again."""
        if not _differs(claimed, plan):
            return await self._let_go(claimed, delay)
        if await self._record(claimed, plan, delay):
            return delay
        return await self._let_go(claimed, 0.0)

    async def _let_go(self, claimed: Claimed, delay: float | None) -> float | None:
        async with self.database.transaction() as session:
            await claims.release(session, self.holder, [Release(claimed.row.id, claimed.row.generation, delay)])
        return delay

    async def _after(self, claimed: Claimed, error: Exception) -> float | None:
        """Let go of a workload with which something went wrong."""
        delay = self._after_failure(claimed.row.id)
        if isinstance(error, RuntimeUnavailable):
            return await self._settle(claimed, planning.plan_unavailable(_workload(claimed), str(error)), delay)
        _log.error("reconciling_failed", workload_id=str(claimed.row.id), exc_info=error)
        return await self._let_go(claimed, delay)

    def _after_failure(self, workload_id: UUID) -> float:
        """How long to leave a workload alone: longer after each failure in a row."""
        failures = self._failures.get(workload_id, 0)
        self._failures[workload_id] = failures + 1
        return min(self.timing.retry_seconds * (1 << min(failures, 20)), self.timing.longest_retry_seconds)

    def _delay(self, plan: Plan) -> float | None:
        if not plan.acts and plan.status in _AT_REST:
            return None
        seconds = self.timing.waiting_seconds if plan.acts else self.timing.resync_seconds
        return seconds if plan.look_again is None else min(plan.look_again.total_seconds(), seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class _Details:
    """What the containers of a launch are made from. `overrides` is None where the workload's own hold."""

    launch: int
    specification: specification.Specification
    artifact_id: UUID
    resources: Sequence[Mapping[str, Any]]
    overrides: Sequence[environment.Override] | None


def _workload(claimed: Claimed) -> planning.Workload:
    row = claimed.row
    return planning.Workload(
        status=row.status,
        reason=row.status_reason,
        message=row.status_message,
        wanted=row.wanted,
        specification=claimed.current,
        replicas=row.replicas,
        launch=row.launch,
        launched_at=row.launched_at,
        was_ready=row.was_ready,
        ready_replicas=row.ready_replicas,
        container_statuses=row.container_statuses,
        addresses=row.addresses,
        draining=row.draining,
        successor=claimed.successor,
    )


_RECORDED = (
    "status",
    "status_reason",
    "status_message",
    "was_ready",
    "ready_replicas",
    "container_statuses",
    "addresses",
    "draining",
)


def _planned(plan: Plan) -> tuple[Any, ...]:
    return (
        plan.status,
        plan.reason,
        plan.message,
        plan.was_ready,
        plan.ready_replicas,
        list(plan.container_statuses),
        list(plan.addresses),
        list(plan.draining),
    )


def _differs(claimed: Claimed, plan: Plan) -> bool:
    row, replacement = claimed.row, claimed.replacement
    begun_at = None if replacement is None else replacement.begun_at
    return (
        tuple(getattr(row, name) for name in _RECORDED) != _planned(plan)
        or plan.launched_at not in {None, row.launched_at}
        or plan.successor_begun_at not in {None, begun_at}
        or plan.outcome is not None
    )


def _targets(claimed: Claimed, observation: Observation | None) -> list[Target]:
    """What is to be probed: containers that have probes, of the launch that serves and of the one that is to."""
    row = claimed.row
    if observation is None or row.wanted is not Wanted.RUNNING:
        return []
    return [
        target
        for launch, spec in claimed.specifications.items()
        for target in _targets_of_launch(launch, spec, observation, errored=row.status is WorkloadStatus.ERRORED)
    ]


def _targets_of_launch(
    launch: int, spec: specification.Specification, observation: Observation, *, errored: bool
) -> list[Target]:
    containers = {each.name: each for each in spec.containers}
    observed = observation.launches.get(launch, ())
    ports: dict[str, dict[int, int]] = {}
    for seen in observed:
        declared = containers[seen.container].port if seen.container in containers else None
        if declared is not None and seen.address is not None:
            ports.setdefault(seen.replica, {})[declared] = seen.address.port
    hosts = {seen.replica: seen.address.host for seen in observed if seen.address is not None}
    return [
        Target(
            replica=seen.replica,
            container=seen.container,
            launch=launch,
            run=seen.run,
            running=seen.state is ContainerState.RUNNING and not errored,
            host=hosts.get(seen.replica, LOCAL_HOST),
            ports=ports.get(seen.replica, {}),
            probes=containers[seen.container].probes,
            started_at=seen.started_at,
        )
        for seen in observed
        if seen.container in containers and containers[seen.container].probes
    ]
