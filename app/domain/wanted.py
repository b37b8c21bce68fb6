"""What a runtime is to run: workloads, by launch, with everything that their containers need."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.domain import references
from app.domain.enums import ProbeKind
from app.domain.environment import EffectiveVariable
from app.domain.slots import Runs
from app.domain.specification import Probe, Specification


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


def containers(
    specification: Specification, values: Mapping[EffectiveVariable, str], resources: Sequence[Mapping[str, Any]]
) -> tuple[WantedContainer, ...]:
    """The containers of a launch.

    `values` says what each variable of each container holds, those too that come from credentials. `resources` are the
    limits as they are stored: `container`, `cpu` and `memoryBytes`.
    """
    limits = {each["container"]: each for each in resources}
    return tuple(
        WantedContainer(
            name=container.name,
            image=references.pinned(container.image_uri, container.image_digest),
            entrypoint=container.entrypoint,
            environment={each.name: value for each, value in values.items() if each.container == container.name},
            secret_names=frozenset(each.name for each in values if each.masked and each.container == container.name),
            port=container.port,
            primary=container.primary,
            probes=container.probes,
            cpu=limits.get(container.name, {}).get("cpu"),
            memory_bytes=limits.get(container.name, {}).get("memoryBytes"),
        )
        for container in specification.containers
    )
