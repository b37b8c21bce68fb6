"""What a runtime shows of a workload, in the words that planning and every runtime share."""

import dataclasses
from datetime import datetime

from app.domain import enums

# Why a container does not run. Runtimes report some of these, planning finds others.
NO_ENTRYPOINT = "NO_ENTRYPOINT"
START_ERROR = "START_ERROR"
CRASH_LOOP = "CRASH_LOOP"
EXITED = "EXITED"
KILLED = "KILLED"


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a container listens, as the server reaches it."""

    host: str
    port: int


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerObservation:
    """One container of one replica.

    `run` counts its starts in this launch, from 0: it is the number of restarts. `ready` is None where the runtime
    does not probe. `exit_code` is that of the newest run that ended; 128 and the signal's number for one that was
    killed, as shells and container engines count. `address` is that of the container's own port.
    """

    replica: str
    container: str
    run: int
    state: enums.ContainerState
    ready: bool | None = None
    address: Address | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """What a runtime has of a workload, of the launch that it belongs to. Nothing at all is None, not an empty one."""

    launch: int
    containers: tuple[ContainerObservation, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """Why a runtime will not run a workload, whenever it is asked."""

    reason: str
    message: str
