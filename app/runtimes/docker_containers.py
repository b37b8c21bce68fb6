"""Containers of an engine: what they are made from, what their labels say of them, and how they look to the reconciler.

Everything that is known of a container stands in the engine. The labels:

    app.kubernetes.io/managed-by   slipway
    dev.slipway.installation       whose database it belongs to
    dev.slipway.workload           the workload's id, as the graph writes it
    dev.slipway.launch, .replica, .container, .run, .primary, .port, .command

Each container of a replica has one name in the engine, whatever its run, and only its newest run bears it. The engine
gives a name to one container at a time, so nobody can start a second one: not who repeats a call whose answer was lost,
nor a reconciler that slept while another took over.
"""

import dataclasses
import signal
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.domain import environment, ids, references
from app.domain.enums import ContainerState
from app.domain.observations import EXITED, KILLED, OOM_KILLED, START_ERROR, Address, ContainerObservation
from app.runtimes.base import WantedContainer

HOST = "127.0.0.1"

MANAGED_BY = "app.kubernetes.io/managed-by"
SLIPWAY = "slipway"
INSTALLATION = "dev.slipway.installation"
WORKLOAD = "dev.slipway.workload"
_LAUNCH = "dev.slipway.launch"
_REPLICA = "dev.slipway.replica"
_CONTAINER = "dev.slipway.container"
_RUN = "dev.slipway.run"
_PRIMARY = "dev.slipway.primary"
_PORT = "dev.slipway.port"
_COMMAND = "dev.slipway.command"

PIDS_MAXIMUM = 4_096
LOG_OPTIONS = {"max-size": "8m", "max-file": "2"}
# The engine refuses less.
MEMORY_MINIMUM_BYTES = 6 * 2**20
CPU_MINIMUM = 0.01
COMMAND_MAXIMUM_LENGTH = 200

NOT_FOUND = 127
NOT_EXECUTABLE = 126
UNKNOWN_ERROR = 128
_SIGNALS = range(129, 129 + 64)

_SHARED_NETWORK = "container:"
_ALIVE = frozenset({"running", "paused", "restarting"})
REMOVING = "removing"
DEAD = "dead"
"""What the engine calls a container that has ended and that it failed to remove. It can't be started again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a container belongs: it is there in one run at a time."""

    workload_id: UUID
    launch: int
    replica: str
    container: str

    def name(self, installation: UUID) -> str:
        """The name that its newest run has in the engine."""
        workload = ids.encode(ids.Kind.WORKLOAD, self.workload_id)
        return f"{short(installation)}-{workload}-{self.launch}-{self.replica}-{self.container}"


@dataclasses.dataclass(frozen=True, slots=True)
class Container:
    """One run of a container, as the engine shows it. `error` says why it could not be started."""

    id: str
    name: str
    place: Place
    run: int
    primary: bool
    port: int | None
    network: str
    published: Mapping[int, int]
    command: str
    state: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int
    oom_killed: bool
    error: str

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.state in _ALIVE

    @property
    def dead(self) -> bool:
        """Whether it is but what the engine could not get rid of."""
        return self.state == DEAD

    @property
    def unstarted(self) -> bool:
        """Whether nobody has tried to start it yet."""
        return self.state == "created" and not self.error

    @property
    def shared_network(self) -> str:
        """What the network of containers is called that share its own."""
        return f"{_SHARED_NETWORK}{self.id}"

    def shares_network_of(self, primary: "Container") -> bool:
        """Whether it is in the network namespace that this primary has now: each start of a primary makes a new one."""
        return (
            self.network == primary.shared_network
            and self.started_at is not None
            and primary.started_at is not None
            and self.started_at >= primary.started_at
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Pending:
    """A run of which the engine has nothing: it waits to be made since then, or could not be made (TERMINATED) then."""

    place: Place
    run: int
    since: datetime
    state: ContainerState
    reason: str | None
    message: str
    exit_code: int | None = None

    def is_overtaken_by(self, made: Iterable[Container]) -> bool:
        """Whether another server has gone on with the place since: these are its containers in the engine."""
        return any(each.created_at > self.since for each in made)

    def shown_beside(self, before: ContainerObservation | None) -> ContainerObservation:
        """What is seen of the place: `before` is what the engine shows of an earlier run."""
        known = None if before is None else before.exit_code
        return ContainerObservation(
            self.place.replica,
            self.place.container,
            self.run,
            self.state,
            exit_code=known if self.exit_code is None else self.exit_code,
            reason=self.reason,
            message=self.message,
            finished_at=self.since if self.state is ContainerState.TERMINATED else None,
        )


def short(installation: UUID) -> str:
    """What the names of all that an installation has in an engine begin with."""
    return f"{SLIPWAY}-{installation.hex[-12:]}"


def installation_label(installation: UUID) -> str:
    """What all of it is labelled with."""
    return f"{INSTALLATION}={installation}"


def workload_label(workload_id: UUID) -> str:
    """What all containers of a workload are labelled with."""
    return f"{WORKLOAD}={ids.encode(ids.Kind.WORKLOAD, workload_id)}"


def workload_of(labels: Mapping[str, str]) -> UUID | None:
    """The workload whose label this is."""
    return ids.decode_as(ids.Kind.WORKLOAD, labels.get(WORKLOAD, ""))


def network_body(installation: UUID) -> dict[str, Any]:
    """The network of an installation: containers reach out, and not each other."""
    return {
        "Name": short(installation),
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Options": {"com.docker.network.bridge.enable_icc": "false"},
        "Labels": {MANAGED_BY: SLIPWAY, INSTALLATION: str(installation)},
    }


def container_body(
    installation: UUID,
    place: Place,
    run: int,
    wanted: WantedContainer,
    *,
    network: str,
    ports: Sequence[int],
) -> dict[str, Any]:
    """What the engine makes a container from. It has the values of secrets in it: never shown or logged.

    `network` is a network's id, or `container:ID` for the network namespace of another; `ports` are published.
    """
    exposed = [f"{port}/tcp" for port in ports]
    body: dict[str, Any] = {
        "Image": image(wanted.image),
        "Env": [f"{name}={value}" for name, value in wanted.environment.items()],
        "Labels": _labels(installation, place, run, wanted),
        "ExposedPorts": {each: {} for each in exposed},
        # Slipway probes; what an image brings along would only cost.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": network,
            "PortBindings": {each: [{"HostIp": HOST, "HostPort": ""}] for each in exposed},
            "RestartPolicy": {"Name": "no"},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": PIDS_MAXIMUM,
            "LogConfig": {"Type": "json-file", "Config": LOG_OPTIONS},
            **_limits(wanted),
        },
    }
    if not network.startswith(_SHARED_NETWORK):
        # Docker's default: without the capability for it, a program that serves port 80 could not do so elsewhere.
        body["HostConfig"]["Sysctls"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    if wanted.entrypoint:
        body["Entrypoint"] = environment.expand_arguments(wanted.entrypoint, wanted.environment)
    return body


def image(reference: str) -> str:
    """A reference as the engine takes it: a digest makes a tag superfluous."""
    parsed = references.parse(reference)
    if isinstance(parsed, str) or parsed.digest is None:
        return reference
    return f"{parsed.name}@{parsed.digest}"


def _labels(installation: UUID, place: Place, run: int, wanted: WantedContainer) -> dict[str, str]:
    labels = {
        MANAGED_BY: SLIPWAY,
        INSTALLATION: str(installation),
        WORKLOAD: ids.encode(ids.Kind.WORKLOAD, place.workload_id),
        _LAUNCH: str(place.launch),
        _REPLICA: place.replica,
        _CONTAINER: place.container,
        _RUN: str(run),
    }
    if wanted.primary:
        labels[_PRIMARY] = "true"
    if wanted.port is not None:
        labels[_PORT] = str(wanted.port)
    if wanted.entrypoint:
        labels[_COMMAND] = wanted.entrypoint[0][:COMMAND_MAXIMUM_LENGTH]  # as it was written, without values
    return labels


def _limits(wanted: WantedContainer) -> dict[str, int]:
    limits = {}
    if wanted.cpu is not None:
        limits["NanoCpus"] = int(max(wanted.cpu, CPU_MINIMUM) * 1e9)
    if wanted.memory_bytes is not None:
        limits["Memory"] = limits["MemorySwap"] = int(max(wanted.memory_bytes, MEMORY_MINIMUM_BYTES))
    return limits


def container(shown: Mapping[str, Any]) -> Container:
    """A container from what the engine answers to an inspection.

    Raises:
        KeyError, TypeError, ValueError: it is not one of Slipway's, or the answer is not what the API promises.
    """
    labels = shown["Config"]["Labels"]
    workload_id = workload_of(labels)
    if workload_id is None:
        raise ValueError(labels)
    state = shown["State"]
    started_at, finished_at = _moment(state["StartedAt"]), _moment(state["FinishedAt"])
    return Container(
        id=shown["Id"],
        name=shown["Name"].removeprefix("/"),
        place=Place(workload_id, int(labels[_LAUNCH]), labels[_REPLICA], labels[_CONTAINER]),
        run=int(labels[_RUN]),
        primary=_PRIMARY in labels,
        port=int(labels[_PORT]) if _PORT in labels else None,
        network=shown["HostConfig"]["NetworkMode"],
        published=_published((shown.get("NetworkSettings") or {}).get("Ports") or {}),
        command=labels.get(_COMMAND) or str(shown.get("Path") or ""),
        state=state["Status"],
        created_at=_moment(shown["Created"]) or datetime.now(UTC),
        started_at=started_at,
        # A short run may seem to end before it has begun: the two are noted by different parts of the engine.
        finished_at=max(finished_at, started_at) if finished_at and started_at else finished_at,
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        error=str(state.get("Error") or ""),
    )


def _published(ports: Mapping[str, Any]) -> dict[int, int]:
    """Ports of the container → ports of this machine. Example of what is given: {"80/tcp": [{"HostPort": "49153"}]}."""
    return {
        int(port.partition("/")[0]): int(bindings[0]["HostPort"])
        for port, bindings in ports.items()
        if bindings and bindings[0].get("HostPort")
    }


def _moment(text: str) -> datetime | None:
    """A time of the engine's, which says year 1 for never."""
    moment = datetime.fromisoformat(text)
    return None if moment.year == 1 else moment.astimezone(UTC)


def observed(runs: Sequence[Container], primary: Container | None) -> ContainerObservation | None:
    """What is seen of a place: its newest run that was started, and the exit code of the newest that ended.

    `runs` are oldest first. `primary` is the newest run of the replica's primary container.
    """
    tried = [each for each in runs if not each.unstarted]
    if not tried:
        return None
    newest = tried[-1]
    ended = next((each for each in reversed(tried) if not each.alive), None)
    seen = ContainerObservation(
        replica=newest.place.replica,
        container=newest.place.container,
        run=newest.run,
        state=ContainerState.RUNNING if newest.alive else ContainerState.TERMINATED,
        address=_address(newest, primary),
        exit_code=None if ended is None else ended.exit_code,
        started_at=newest.started_at,
    )
    if not newest.alive:
        return _ended(seen, newest)
    if primary is not None and primary.alive and not newest.primary and not newest.shares_network_of(primary):
        message = f"lost its network when {primary.place.container} was started anew"
        stranded = dataclasses.replace(seen, state=ContainerState.TERMINATED, reason=EXITED, message=message)
        return dataclasses.replace(stranded, finished_at=primary.started_at)
    return seen


def _address(container: Container, primary: Container | None) -> Address | None:
    """All ports of a replica are published by its primary container."""
    owner = container if container.primary else primary
    published = None if owner is None or container.port is None else owner.published.get(container.port)
    return None if published is None else Address(HOST, published)


def _ended(seen: ContainerObservation, container: Container) -> ContainerObservation:
    if container.error and container.started_at is None:
        code, reason, message = unstartable(container.error, container.exit_code, container.command)
        return dataclasses.replace(
            seen, exit_code=code, reason=reason, message=message, finished_at=container.created_at
        )
    reason, message = _ending(container)
    return dataclasses.replace(seen, reason=reason, message=message, finished_at=container.finished_at)


def unstartable(words: str, exit_code: int, command: str) -> tuple[int, str, str]:
    """Exit code, reason and message for what could not be started, from the words of the engine."""
    if exit_code == NOT_FOUND:
        return exit_code, START_ERROR, f"there is no command {command!r} in its image"
    if exit_code == NOT_EXECUTABLE:
        return exit_code, START_ERROR, f"{command!r} is not executable"
    return exit_code, EXITED, f"it can't be started: {words}"


def exit_code_of(words: str) -> int:
    """The exit code for what could not be started, where there are only words to tell it by."""
    if any(each in words for each in ("executable file not found", "no such file or directory", "not a directory")):
        return NOT_FOUND
    return NOT_EXECUTABLE if "permission denied" in words else UNKNOWN_ERROR


def _ending(container: Container) -> tuple[str, str]:
    if container.oom_killed:
        return OOM_KILLED, "killed because it used more memory than it may"
    if container.exit_code in _SIGNALS:
        return KILLED, f"ended by {_signal_name(container.exit_code - 128)}"
    return EXITED, f"exited with code {container.exit_code}"


def _signal_name(number: int) -> str:
    """Most real-time signals have no name: signal(7)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
