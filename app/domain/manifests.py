"""A wanted launch as Kubernetes objects, and as a Compose file: plain values, as they stand in YAML or JSON.

The Kubernetes objects are those that the `kubernetes` runtime applies, with one difference: a Secret has its values in
`stringData`, to be read by people. Whoever shows a manifest puts `SECRET_PLACEHOLDER` where a secret would be.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.domain import environment, ids, references
from app.domain.enums import ProbeKind
from app.domain.specification import Probe
from app.domain.wanted import WantedContainer, WantedLaunch

Manifest = dict[str, Any]

Credentials = Mapping[str, tuple[str, str]]
"""Username and password of the registries that need them, by the name that image references have for each."""

SECRET_PLACEHOLDER = "<secret>"  # noqa: S105  it stands where a secret would

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
INSTALLATION_LABEL = "slipway.dev/installation"
WORKLOAD_LABEL = "slipway.dev/workload"
ARTIFACT_LABEL = "slipway.dev/artifact"
LAUNCH_LABEL = "slipway.dev/launch"
MANAGER = "slipway"

SERVICE_PORT = 80
PORT_NAME = "http"
GRACE_SECONDS = 30
# Until every node and gateway has heard that a pod ends, it goes on to serve.
DRAIN_SECONDS = 5
# A container without readiness probe counts as ready when it has run this long: what dies at once never was.
SETTLE_SECONDS = 2

_PROBES = {
    ProbeKind.STARTUP: "startupProbe",
    ProbeKind.READINESS: "readinessProbe",
    ProbeKind.LIVENESS: "livenessProbe",
}
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"


@dataclasses.dataclass(frozen=True, slots=True)
class Gateway:
    """A Gateway of the Gateway API, to which routes are attached."""

    namespace: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """Where in a cluster workloads run, and how they are reached there.

    With a `domain` each has a host of its own below it, by an Ingress (of `ingress_class`, or of the cluster's default)
    or, where there is a `gateway`, by an HTTPRoute.
    """

    installation: UUID
    namespace: str
    launch_deadline: timedelta = timedelta(minutes=10)
    domain: str | None = None
    ingress_class: str | None = None
    gateway: Gateway | None = None

    def host(self, owner: "Owner") -> str | None:
        """The host name under which it is reached from outside, if it is."""
        return None if self.domain is None else f"{owner.name}.{self.domain}"

    def endpoint(self, workload_id: UUID) -> str:
        """The address of a workload for as long as it lives: outside of the cluster with a domain, else inside."""
        owner = of_workload(self, workload_id)
        host = self.host(owner)
        return f"http://{owner.name}.{self.namespace}.svc.cluster.local/" if host is None else f"https://{host}/"


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whose objects they are: what they are called, the labels of all, and those that tell its pods from others."""

    name: str
    labels: Mapping[str, str]
    selector: Mapping[str, str]


def of_workload(cluster: Cluster, workload_id: UUID) -> Owner:
    """A workload that an installation of Slipway runs."""
    selector = {WORKLOAD_LABEL: label_of(workload_id)}
    labels = {MANAGED_BY_LABEL: MANAGER, INSTALLATION_LABEL: str(cluster.installation), **selector}
    return Owner(name_of(workload_id), labels, selector)


def of_artifact(artifact_id: UUID) -> Owner:
    """An artifact that someone runs without Slipway, which leaves alone what does not bear its labels."""
    label = ids.encode(ids.Kind.ARTIFACT, artifact_id)
    selector = {ARTIFACT_LABEL: label}
    return Owner(label.replace("_", "-"), selector, selector)


def name_of(workload_id: UUID) -> str:
    """What the objects of a workload are called: its id, as a DNS label."""
    return label_of(workload_id).replace("_", "-")


def label_of(workload_id: UUID) -> str:
    """The label of a workload: its id, as clients see it."""
    return ids.encode(ids.Kind.WORKLOAD, workload_id)


def selector(cluster: Cluster) -> str:
    """The label selector for everything that an installation of Slipway has in a cluster."""
    return f"{MANAGED_BY_LABEL}={MANAGER},{INSTALLATION_LABEL}={cluster.installation}"


def secret_name(owner: Owner, launch: int) -> str:
    """The Secret with the credential values of one launch. Each has its own, so that older pods keep theirs."""
    return f"{owner.name}-{launch}"


def registries_name(owner: Owner) -> str:
    """The Secret with which images are pulled."""
    return f"{owner.name}-registries"


def kubernetes(
    cluster: Cluster, owner: Owner, launch: WantedLaunch, credentials: Credentials | None = None
) -> list[Manifest]:
    """All objects of a workload, the Deployment last, as the others have to be there for it."""
    return [
        *surroundings(cluster, owner, launch, credentials),
        *rollout(cluster, owner, launch, credentials),
    ]


def surroundings(
    cluster: Cluster, owner: Owner, launch: WantedLaunch, credentials: Credentials | None = None
) -> list[Manifest]:
    """What a workload has beside its launches: the way to it, and to its images."""
    objects = []
    if any(container.primary and container.port is not None for container in launch.containers):
        objects.append(_service(cluster, owner))
        if cluster.domain is not None:
            objects.append(_ingress(cluster, owner) if cluster.gateway is None else _route(cluster, owner))
    if credentials:
        objects.append(_registries(cluster, owner, credentials))
    return objects


def rollout(
    cluster: Cluster, owner: Owner, launch: WantedLaunch, credentials: Credentials | None = None
) -> list[Manifest]:
    """What makes a workload run this launch: the Deployment, and before it the Secret, where there are secrets."""
    deployment = _deployment(cluster, owner, launch, pull=bool(credentials))
    secrets = dict(_secrets(launch.containers))
    return [_secret(cluster, owner, launch.number, secrets), deployment] if secrets else [deployment]


def _object(api_version: str, kind: str, cluster: Cluster, owner: Owner, name: str | None = None) -> Manifest:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name or owner.name,
            "namespace": cluster.namespace,
            "labels": dict(owner.labels),
        },
    }


def _service(cluster: Cluster, owner: Owner) -> Manifest:
    return {
        **_object("v1", "Service", cluster, owner),
        "spec": {
            "type": "ClusterIP",
            "selector": dict(owner.selector),
            # By name, so that two launches with two ports can serve side by side.
            "ports": [{"name": PORT_NAME, "protocol": "TCP", "port": SERVICE_PORT, "targetPort": PORT_NAME}],
        },
    }


def _ingress(cluster: Cluster, owner: Owner) -> Manifest:
    host = cluster.host(owner)
    backend = {"service": {"name": owner.name, "port": {"number": SERVICE_PORT}}}
    ingress_class = {} if cluster.ingress_class is None else {"ingressClassName": cluster.ingress_class}
    return {
        **_object("networking.k8s.io/v1", "Ingress", cluster, owner),
        "spec": {
            **ingress_class,
            # Without a Secret of its own: the controller's certificate, which is one for the whole domain.
            "tls": [{"hosts": [host]}],
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    }


def _route(cluster: Cluster, owner: Owner) -> Manifest:
    assert cluster.gateway is not None  # noqa: S101  the one caller has looked
    return {
        **_object("gateway.networking.k8s.io/v1", "HTTPRoute", cluster, owner),
        "spec": {
            "parentRefs": [{"namespace": cluster.gateway.namespace, "name": cluster.gateway.name}],
            "hostnames": [cluster.host(owner)],
            "rules": [{"backendRefs": [{"name": owner.name, "port": SERVICE_PORT}]}],
        },
    }


def _registries(cluster: Cluster, owner: Owner, credentials: Credentials) -> Manifest:
    auths = {
        _DOCKER_HUB_KEY if host == references.DOCKER_HUB else host: {"username": user, "password": password}
        for host, (user, password) in credentials.items()
    }
    return {
        **_object("v1", "Secret", cluster, owner, registries_name(owner)),
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps({"auths": auths}, sort_keys=True)},
    }


def _secret(cluster: Cluster, owner: Owner, launch: int, values: Mapping[str, str]) -> Manifest:
    secret = _object("v1", "Secret", cluster, owner, secret_name(owner, launch))
    secret["metadata"]["labels"][LAUNCH_LABEL] = str(launch)
    return {**secret, "type": "Opaque", "stringData": dict(values)}


def _secrets(containers: Sequence[WantedContainer]) -> Iterator[tuple[str, str]]:
    for container in containers:
        for name, value in container.environment.items():
            if name in container.secret_names:
                yield _secret_key(container, name), value


def _secret_key(container: WantedContainer, variable: str) -> str:
    """The key of a variable's value. By number, as a variable may have a name that no key of a Secret may have."""
    return f"{container.name}.{sorted(container.secret_names).index(variable)}"


def _deployment(cluster: Cluster, owner: Owner, launch: WantedLaunch, *, pull: bool) -> Manifest:
    labels = {**owner.labels, LAUNCH_LABEL: str(launch.number)}
    settle = 0 if all(ProbeKind.READINESS in container.probes for container in launch.containers) else SETTLE_SECONDS
    deadline = math.ceil(cluster.launch_deadline.total_seconds())
    return {
        **_object("apps/v1", "Deployment", cluster, owner),
        "spec": {
            "replicas": launch.replicas,
            "selector": {"matchLabels": dict(owner.selector)},
            # The new beside the old: one that serves goes only when another is ready.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "minReadySeconds": settle,
            # Kubernetes wants it to be the longer of the two.
            "progressDeadlineSeconds": max(deadline, settle + 1),
            # An earlier launch comes back as Slipway applies it, with its Secret.
            "revisionHistoryLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": GRACE_SECONDS,
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    **({"imagePullSecrets": [{"name": registries_name(owner)}]} if pull else {}),
                    "containers": [_container(each, secret_name(owner, launch.number)) for each in launch.containers],
                },
            },
        },
    }


def _container(container: WantedContainer, secret: str) -> Manifest:
    found: Manifest = {"name": container.name, "image": container.image}
    if container.entrypoint is not None:
        found["command"] = environment.fill_port(container.entrypoint, container.environment)
    if container.port is not None:
        named = {"name": PORT_NAME} if container.primary else {}
        found["ports"] = [{**named, "containerPort": container.port, "protocol": "TCP"}]
    found["env"] = [_variable(container, name, value, secret) for name, value in container.environment.items()]
    # Requests that equal the limits: what is promised is there, and one workload can't take what another was given.
    if amounts := _amounts(container):
        found["resources"] = {"requests": amounts, "limits": amounts}
    for kind, probe in container.probes.items():
        found[_PROBES[kind]] = _probe(probe)
    found["lifecycle"] = {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}}
    found["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return found


def _variable(container: WantedContainer, name: str, value: str, secret: str) -> Manifest:
    if name in container.secret_names:
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": _secret_key(container, name)}}}
    return {"name": name, "value": _literally(value)}


def _literally(value: str) -> str:
    """A value in which Kubernetes finds nothing to fill in: there "$$" is an escaped "$", and "$(NAME)" a reference."""
    return value.replace("$", "$$") if "$$" in value or "$(" in value else value


def _amounts(container: WantedContainer) -> dict[str, str]:
    amounts = {}
    if container.cpu is not None:
        amounts["cpu"] = f"{math.ceil(container.cpu * 1000)}m"
    if container.memory_bytes is not None:
        amounts["memory"] = str(math.ceil(container.memory_bytes))
    return amounts


def _probe(probe: Probe) -> Manifest:
    headers = [{"name": each.name, "value": each.value} for each in probe.headers]
    return {
        "httpGet": {
            "path": probe.path,
            "port": probe.port,
            "scheme": probe.scheme.value,
            **({"httpHeaders": headers} if headers else {}),
        },
        "initialDelaySeconds": probe.initial_delay_seconds,
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }


def compose(launch: WantedLaunch) -> Manifest:
    """A Compose file that runs one replica on one machine, with the primary's port on loopback.

    What Compose has no words for is left out: probes by HTTP, more replicas. Values of credentials are asked of the
    environment in which it is started, under the name of their variable.

    https://github.com/compose-spec/compose-spec/blob/main/spec.md
    """
    primary = next((container for container in launch.containers if container.primary), None)
    return {
        "services": {each.name: _compose_service(each, None if each.primary else primary) for each in launch.containers}
    }


def _compose_service(container: WantedContainer, primary: WantedContainer | None) -> Manifest:
    """`primary` is the one whose network the container shares."""
    asked = {name: _asked(name) for name in container.secret_names if name in container.environment}
    # NUL is in no value, so that what is to be asked for is found again once all else is escaped.
    marked = {**container.environment, **{name: f"\0{name}\0" for name in asked}}

    def written(text: str) -> str:
        text = text.replace("$", "$$")
        for name, question in asked.items():
            text = text.replace(f"\0{name.replace('$', '$$')}\0", question)
        return text

    found: Manifest = {"image": container.image.replace("$", "$$"), "restart": "always"}
    if container.entrypoint is not None:
        found["entrypoint"] = [written(each) for each in environment.expand_arguments(container.entrypoint, marked)]
    found["environment"] = {name: written(value) for name, value in marked.items()}
    if primary is not None:
        found["network_mode"] = f"service:{primary.name}"
    elif container.port is not None:
        found["ports"] = [f"127.0.0.1:{container.port}:{container.port}"]
    limits = {}
    if container.cpu is not None:
        limits["cpus"] = f"{container.cpu:g}"
    if container.memory_bytes is not None:
        limits["memory"] = f"{math.ceil(container.memory_bytes)}b"
    if limits:
        found["deploy"] = {"resources": {"limits": limits}}
    found["cap_drop"] = ["ALL"]
    found["security_opt"] = ["no-new-privileges:true"]
    return found


def _asked(name: str) -> str:
    """How a Compose file asks for a secret: `${NAME:?…}`, where Compose can read such a name."""
    return f"${{{name}:?comes from a credential}}" if name.isidentifier() and name.isascii() else SECRET_PLACEHOLDER
