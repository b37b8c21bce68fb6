"""The small types of the graph, that have no id of their own."""

from datetime import datetime
from typing import Any

import strawberry

from app.domain import enums, specification


@strawberry.type(description="A name with a value on a thing; names are unique on it.")
class Tag:
    """A tag."""

    name: str = strawberry.field(description="1 to 128 characters.")
    value: str = strawberry.field(description="Up to 512 characters; may be empty.")


@strawberry.type(description="A tag that a filter can offer.")
class TagUsage:
    """How often a tag is used."""

    name: str = strawberry.field(description="The name of the tag.")
    value: str = strawberry.field(description="One of its values.")
    count: int = strawberry.field(description="On how many things that the viewer may see it stands.")


@strawberry.type(description="A header that a probe sends.")
class ProbeHeader:
    """A header of a probe."""

    name: str = strawberry.field(description="A token of RFC 9110.")
    value: str = strawberry.field(description="What it says.")


@strawberry.type(description="An HTTP probe, with the fields and defaults of Kubernetes.")
class Probe:
    """A probe of a container."""

    kind: enums.ProbeKind = strawberry.field(description="What it asks.")
    path: str = strawberry.field(description="The path that is asked for.")
    port: int = strawberry.field(description="The port that is asked.")
    scheme: enums.ProbeScheme = strawberry.field(description="HTTP or HTTPS.")
    headers: list[ProbeHeader] = strawberry.field(description="What is sent along.")
    initial_delay_seconds: int = strawberry.field(description="How long after the container's start it begins.")
    period_seconds: int = strawberry.field(description="How often it asks.")
    timeout_seconds: int = strawberry.field(description="How long it waits for an answer.")
    success_threshold: int = strawberry.field(description="So many successes in a row make it pass.")
    failure_threshold: int = strawberry.field(description="So many failures in a row make it fail.")

    @classmethod
    def of(cls, kind: enums.ProbeKind, probe: specification.Probe) -> "Probe":
        """A probe of the domain, spoken."""
        return cls(
            kind=kind,
            path=probe.path,
            port=probe.port,
            scheme=probe.scheme,
            headers=[ProbeHeader(name=each.name, value=each.value) for each in probe.headers],
            initial_delay_seconds=probe.initial_delay_seconds,
            period_seconds=probe.period_seconds,
            timeout_seconds=probe.timeout_seconds,
            success_threshold=probe.success_threshold,
            failure_threshold=probe.failure_threshold,
        )


@strawberry.type(description="What a specification may say, and is likely to be sorry for.")
class SpecWarning:
    """A warning about a specification."""

    code: str = strawberry.field(
        description="What, for a machine: MUTABLE_TAG, IMAGE_NOT_PINNED, NO_READINESS_PROBE, LIVENESS_BEFORE_STARTUP, "
        "UNUSUAL_VARIABLE_NAME; more may follow."
    )
    path: str = strawberry.field(description="Where: spec.containerGroups[0].containers[1].imageUri")
    message: str = strawberry.field(description="What, and what to do, for a person.")


@strawberry.type(description="What one container of one replica does, as the runtime saw it last.")
class ContainerStatus:
    """The status of a container."""

    container: str = strawberry.field(description="The name of the container.")
    replica: str = strawberry.field(description="The name of the replica.")
    launch: int = strawberry.field(
        description="Grows with every start, restart and roll: while one launch takes over from another, both are here."
    )
    state: enums.ContainerState = strawberry.field(description="What it does.")
    ready: bool = strawberry.field(description="Whether its probes let it have traffic.")
    restart_count: int = strawberry.field(description="How often it was restarted in this launch.")
    reason: str | None = strawberry.field(description="Why, for a machine: CRASH_LOOP, OOM_KILLED, …")
    message: str | None = strawberry.field(description="Why, for a person.")
    started_at: datetime | None = strawberry.field(description="When it was started last.")
    last_exit_code: int | None = strawberry.field(description="How it ended last.")

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "ContainerStatus":
        """What the reconciler recorded, spoken."""
        started_at = stored.get("startedAt")
        return cls(
            container=stored["container"],
            replica=stored["replica"],
            launch=stored["launch"],
            state=enums.ContainerState(stored["state"]),
            ready=stored["ready"],
            restart_count=stored["restartCount"],
            reason=stored.get("reason"),
            message=stored.get("message"),
            started_at=None if started_at is None else datetime.fromisoformat(started_at),
            last_exit_code=stored.get("lastExitCode"),
        )


@strawberry.type(description="The limits of one container.")
class ContainerResources:
    """Limits."""

    container: str = strawberry.field(description="The name of the container.")
    cpu: float | None = strawberry.field(description="In cores; null: no limit.")
    memory_bytes: float | None = strawberry.field(description="In bytes; null: no limit.")


@strawberry.type(description="A variable as a container gets it: platform over workload over artifact, by name.")
class EffectiveVariable:
    """A variable of a running container."""

    name: str = strawberry.field(description="The name of the variable.")
    container: str = strawberry.field(description="The name of the container.")
    value: str | None = strawberry.field(description="Null where it comes from a credential.")
    origin: enums.VariableOrigin = strawberry.field(description="Who gave it this value.")
    masked: bool = strawberry.field(description="Whether the value is kept back because it is a secret.")


@strawberry.type(description="A named set of users.")
class Group:
    """A group."""

    name: str = strawberry.field(description="The name of the group.")


@strawberry.type(description="Everybody who has a token.")
class Everyone:
    """All users."""

    label: str = strawberry.field(description="How to call them.")
