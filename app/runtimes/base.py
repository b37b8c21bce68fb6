"""What the reconciler asks of a runtime. Every driver answers the same way; one contract test runs over all of them."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from app.domain.enums import ProbeKind
from app.domain.logs import LogLine, LogQuery
from app.domain.observations import Observation, Refusal
from app.domain.slots import Runs
from app.domain.specification import Probe, Specification


class RuntimeUnavailable(Exception):
    """The runtime can't be asked, or can't do it now: what it runs is unknown, not absent. The message is for users."""


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Whether a runtime can be used, and what there is to say about it."""

    available: bool
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class WantedContainer:
    """A container with everything that it needs to start. `environment` holds secrets: it is never shown or logged.

    `secret_names` are the variables whose values come from credentials. `image` has a digest where it is pinned.
    `probes` are for runtimes that probe by themselves.
    """

    name: str
    image: str
    entrypoint: tuple[str, ...] | None
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    secret_names: frozenset[str] = frozenset()
    port: int | None = None
    primary: bool = False
    probes: Mapping[ProbeKind, Probe] = dataclasses.field(default_factory=dict)
    cpu: float | None = None
    memory_bytes: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class WantedLaunch:
    """One launch of a workload, as it is to be.

    `runs` says which containers of which replicas run now, each in its how-manieth run. A container in an earlier run
    is started anew; one that is left out is stopped and remembered; a replica that is left out goes altogether.
    Runtimes that heal by themselves go by `replicas` alone. Where nothing is to be started `containers` may be empty.
    """

    number: int
    containers: tuple[WantedContainer, ...]
    replicas: int
    runs: Runs


@dataclasses.dataclass(frozen=True, slots=True)
class WantedWorkload:
    """What a runtime is to have of a workload: these launches, oldest first, and nothing of any other.

    While one launch replaces another there are two of them. A runtime that replaces by itself goes by the last.
    """

    id: UUID
    launches: tuple[WantedLaunch, ...]


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
