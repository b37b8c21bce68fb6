"""What runs: the specification of an artifact, as the domain holds it once it has been checked.

A specification has one canonical JSON form (sorted keys, defaults filled in, no ids of rows). Its digest is the
identity of what runs: equal specifications have equal digests wherever they stand.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from app.domain import enums

DEFAULT_GROUP_NAME = "default"
PRIMARY_CONTAINER_NAME = "main"


@dataclasses.dataclass(frozen=True, slots=True)
class ProbeHeader:
    """A header that a probe sends."""

    name: str
    value: str


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """An HTTP probe with the fields and defaults of Kubernetes.

    https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Probe
    """

    path: str
    port: int
    scheme: enums.ProbeScheme = enums.ProbeScheme.HTTP
    headers: tuple[ProbeHeader, ...] = ()
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclasses.dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A variable of a container: `value` of a STRING, or `credential_id` and `field` of a CREDENTIAL."""

    name: str
    type: enums.EnvironmentVariableType = enums.EnvironmentVariableType.STRING
    value: str | None = None
    credential_id: UUID | None = None
    field: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Container:
    """One container of a group. `image_digest` is set once a lock has resolved the image: "sha256:…".

    `id` is that of the stored row, where there is one; it is no part of what runs.
    """

    name: str
    image_uri: str
    description: str = ""
    image_digest: str | None = None
    port: int | None = None
    primary: bool = False
    entrypoint: tuple[str, ...] | None = None
    environment_vars: tuple[EnvironmentVariable, ...] = ()
    probes: Mapping[enums.ProbeKind, Probe] = dataclasses.field(default_factory=dict)
    id: UUID | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerGroup:
    """Containers that share a network namespace: a pod."""

    containers: tuple[Container, ...]
    name: str = DEFAULT_GROUP_NAME

    @property
    def primary(self) -> Container:
        """The container that has the port and gets the traffic."""
        return next(container for container in self.containers if container.primary)


@dataclasses.dataclass(frozen=True, slots=True)
class Specification:
    """All that an artifact runs. Exactly one group is accepted today."""

    container_groups: tuple[ContainerGroup, ...]

    @property
    def containers(self) -> Iterator[Container]:
        """The containers of all groups, in order."""
        return (container for group in self.container_groups for container in group.containers)


def to_json(specification: Specification) -> dict[str, Any]:
    """The specification as plain JSON values, with every default filled in. `from_json` reads it back."""
    return {"containerGroups": [_group_to_json(group) for group in specification.container_groups]}


def from_json(document: Mapping[str, Any]) -> Specification:
    """Read what `to_json` wrote."""
    return Specification(tuple(_group_from_json(group) for group in document["containerGroups"]))


def digest(specification: Specification) -> str:
    """`sha256:` and 64 hexadecimal digits over the canonical JSON.

    A resolved `image_digest` is left out: locking pins what was written, it does not change it.
    """
    document = to_json(specification)
    for group in document["containerGroups"]:
        for container in group["containers"]:
            del container["imageDigest"]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _group_to_json(group: ContainerGroup) -> dict[str, Any]:
    return {"name": group.name, "containers": [_container_to_json(container) for container in group.containers]}


def _container_to_json(container: Container) -> dict[str, Any]:
    return {
        "name": container.name,
        "description": container.description,
        "imageUri": container.image_uri,
        "imageDigest": container.image_digest,
        "port": container.port,
        "primary": container.primary,
        "entrypoint": None if container.entrypoint is None else list(container.entrypoint),
        "environmentVars": [
            {
                "name": variable.name,
                "type": variable.type.value,
                "value": variable.value,
                "credentialId": None if variable.credential_id is None else str(variable.credential_id),
                "field": variable.field,
            }
            for variable in container.environment_vars
        ],
        "probes": {kind.value: _probe_to_json(container.probes[kind]) for kind in sorted(container.probes)},
    }


def _probe_to_json(probe: Probe) -> dict[str, Any]:
    return {
        "path": probe.path,
        "port": probe.port,
        "scheme": probe.scheme.value,
        "headers": [{"name": header.name, "value": header.value} for header in probe.headers],
        "initialDelaySeconds": probe.initial_delay_seconds,
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }


def _group_from_json(document: Mapping[str, Any]) -> ContainerGroup:
    return ContainerGroup(
        name=document["name"], containers=tuple(_container_from_json(each) for each in document["containers"])
    )


def _container_from_json(document: Mapping[str, Any]) -> Container:
    entrypoint = document["entrypoint"]
    return Container(
        name=document["name"],
        description=document["description"],
        image_uri=document["imageUri"],
        image_digest=document["imageDigest"],
        port=document["port"],
        primary=document["primary"],
        entrypoint=None if entrypoint is None else tuple(entrypoint),
        environment_vars=tuple(
            EnvironmentVariable(
                name=each["name"],
                type=enums.EnvironmentVariableType(each["type"]),
                value=each["value"],
                credential_id=None if each["credentialId"] is None else UUID(each["credentialId"]),
                field=each["field"],
            )
            for each in document["environmentVars"]
        ),
        probes={
            enums.ProbeKind(kind): _probe_from_json(document["probes"][kind])
            for kind in enums.ProbeKind
            if kind in document["probes"]
        },
    )


def _probe_from_json(document: Mapping[str, Any]) -> Probe:
    return Probe(
        path=document["path"],
        port=document["port"],
        scheme=enums.ProbeScheme(document["scheme"]),
        headers=tuple(ProbeHeader(each["name"], each["value"]) for each in document["headers"]),
        initial_delay_seconds=document["initialDelaySeconds"],
        period_seconds=document["periodSeconds"],
        timeout_seconds=document["timeoutSeconds"],
        success_threshold=document["successThreshold"],
        failure_threshold=document["failureThreshold"],
    )
