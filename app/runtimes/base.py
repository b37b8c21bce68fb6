"""What the reconciler asks of a runtime. Every driver answers the same way; one contract test runs over all of them."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Protocol
from uuid import UUID

from app.domain import planning
from app.domain.observations import Observation, Refusal
from app.domain.specification import Specification


class RuntimeUnavailable(Exception):
    """The runtime can't be asked, or can't do it now: what it runs is unknown, not absent. The message is for users."""


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Whether a runtime can be used, and what there is to say about it."""

    available: bool
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class WantedContainer:
    """A container with everything that it needs to start. `environment` holds secrets: it is never shown or logged."""

    name: str
    image: str
    entrypoint: tuple[str, ...] | None
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    port: int | None = None
    primary: bool = False
    cpu: float | None = None
    memory_bytes: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class WantedWorkload:
    """What a runtime is to have of a workload; whatever it has of an earlier launch goes first.

    `runs` says which containers of which replicas run now, each in its how-manieth run. A container in an earlier run
    is started anew; one that is left out is stopped and remembered; a replica that is left out goes altogether.
    """

    id: UUID
    launch: int
    containers: tuple[WantedContainer, ...]
    runs: planning.Runs


class Runtime(Protocol):
    """Where workloads run.

    Every method may raise `RuntimeUnavailable`. One thing at a time is asked about a workload, and about several
    workloads at once.
    """

    name: str
    exclusive: bool
    """Only one reconciler may drive it at a time, because what it runs belongs to the process that started it."""
    notice: str | None
    """What users should know of everything that it runs."""

    async def open(self, changed: Callable[[UUID], None]) -> None:
        """Begin. `changed` is called for every workload that may look different now; calls may be lost or too many."""

    async def check(self) -> Health:
        """Whether it can be used now. Never raises."""

    def refusal(self, specification: Specification) -> Refusal | None:
        """Why it will never run this specification, if so."""

    async def observe(self, workload_ids: Collection[UUID]) -> Mapping[UUID, Observation]:
        """What there is of these workloads. One that is left out has nothing in the runtime, for sure."""

    async def apply(self, workload: WantedWorkload) -> None:
        """Make it so. Idempotent; may return before it is done, `changed` tells when there is something to see."""

    async def remove(self, workload_id: UUID) -> None:
        """Leave nothing of a workload. Idempotent, may return before it is done."""

    async def owned(self) -> Collection[UUID]:
        """All workloads of which there is anything."""

    async def close(self, *, at_once: bool = False) -> None:
        """End. An exclusive runtime stops what it runs: `at_once` without a grace period. Can be opened again."""
