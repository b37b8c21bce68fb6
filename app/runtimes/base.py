"""What the reconciler asks of a runtime. Every driver answers the same way; one contract test runs over all of them."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from app.domain.logs import LogLine, LogQuery
from app.domain.observations import Observation, Refusal
from app.domain.specification import Specification
from app.domain.wanted import (
    WantedContainer as WantedContainer,
    WantedLaunch as WantedLaunch,
    WantedWorkload as WantedWorkload,
)


class RuntimeUnavailable(Exception):
    """The runtime can't be asked, or can't do it now: what it runs is unknown, not absent. The message is for users."""


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Whether a runtime can be used, and what there is to say about it."""

    available: bool
    message: str


class Runtime(Protocol):
    """Where workloads run.

    Every method may raise `RuntimeUnavailable`. One thing at a time is asked about a workload, and about several
    workloads at once.
    """

    name: str
    exclusive: bool
    """Only one reconciler may drive it at a time, because what it runs belongs to the process that started it."""
    self_healing: bool
    """It restarts, replaces and probes by itself, and tells how far it is as `Observation.rollout`."""
    notice: str | None
    """What users should know of everything that it runs."""

    async def open(self, changed: Callable[[UUID], None]) -> None:
        """Begin. `changed` is called for every workload that may look different now; calls may be lost or too many."""

    async def check(self) -> Health:
        """Whether it can be used now. Never raises."""

    def refusal(self, specification: Specification) -> Refusal | None:
        """Why it will never run this specification, if so."""

    def endpoint(self, workload_id: UUID) -> str | None:
        """The address of a workload for as long as it lives; None where the server's own gateway leads to it."""

    async def observe(self, workload_ids: Collection[UUID]) -> Mapping[UUID, Observation]:
        """What there is of these workloads. One that is left out has nothing in the runtime, for sure."""

    async def apply(self, workload: WantedWorkload) -> None:
        """Make it so. Idempotent; may return before it is done, `changed` tells when there is something to see."""

    async def remove(self, workload_id: UUID) -> None:
        """Leave nothing of a workload. Idempotent, may return before it is done."""

    async def owned(self) -> Collection[UUID]:
        """All workloads of which there is anything."""

    async def logs(self, workload_id: UUID, query: LogQuery) -> Sequence[LogLine]:
        """The newest lines of a workload that match, oldest first; nothing where nothing of it is there."""

    async def close(self, *, at_once: bool = False) -> None:
        """End. An exclusive runtime stops what it runs: `at_once` without a grace period. Can be opened again."""
