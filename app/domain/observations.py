"""What a runtime shows of a workload, in the words that planning and every runtime share."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime

from app.domain import enums

# Why a container does not run, or does not get ready. Runtimes report some of these, planning finds others.
NO_ENTRYPOINT = "NO_ENTRYPOINT"
START_ERROR = "START_ERROR"
CRASH_LOOP = "CRASH_LOOP"
EXITED = "EXITED"
KILLED = "KILLED"
OOM_KILLED = "OOM_KILLED"
INVALID_IMAGE_NAME = "INVALID_IMAGE_NAME"
IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
IMAGE_PULL_DENIED = "IMAGE_PULL_DENIED"
IMAGE_PULL_FAILED = "IMAGE_PULL_FAILED"
PULLING = "PULLING"
CONFIGURATION_ERROR = "CONFIGURATION_ERROR"
UNSCHEDULABLE = "UNSCHEDULABLE"
QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
PROGRESS_DEADLINE = "PROGRESS_DEADLINE"
NODE_LOST = "NODE_LOST"

HOPELESS = frozenset({START_ERROR, INVALID_IMAGE_NAME, IMAGE_NOT_FOUND, IMAGE_PULL_DENIED})
"""Of what was never ready: the same again would end the same, so a launch is given up at once."""

TROUBLE = HOPELESS | {
    IMAGE_PULL_FAILED,
    CONFIGURATION_ERROR,
    UNSCHEDULABLE,
    QUOTA_EXCEEDED,
    PROGRESS_DEADLINE,
    NODE_LOST,
}
"""What keeps a container waiting, beyond the ordinary: it is told as the reason of the workload."""


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
    killed, as shells and container engines count. `address` is that of the container's own port. One that WAITS for
    something out of the ordinary (its image can't be pulled, no machine has room) has one of TROUBLE as `reason`.
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
class Rollout:
    """How far a runtime is that replaces and heals by itself. `launch` and `replicas` are what it was asked for last.

    `complete`: exactly these replicas of this launch are there, all ready, and nothing of an earlier one. `reason` and
    `message` say what hinders it. `failed`: it will not get there by itself.
    """

    launch: int
    replicas: int
    complete: bool
    failed: bool = False
    reason: str | None = None
    message: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """What a runtime has of a workload, by launch. Nothing at all is None, not an empty one.

    A launch without containers is one of which only remains are there. `rollout` is there for runtimes that heal by
    themselves.
    """

    launches: Mapping[int, tuple[ContainerObservation, ...]]
    rollout: Rollout | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """Why a runtime will not run a workload, whenever it is asked."""

    reason: str
    message: str
