import dataclasses
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.domain import manifests
from app.domain.enums import ProbeKind, ProbeScheme
from app.domain.specification import Probe, ProbeHeader
from app.domain.wanted import WantedContainer, WantedLaunch

WORKLOAD_ID = UUID("0199a1b2-0000-7000-8000-000000000001")
INSTALLATION = UUID("00000000-0000-4000-8000-000000000001")
CLUSTER = manifests.Cluster(INSTALLATION, "workloads", timedelta(minutes=10))
OWNER = manifests.of_workload(CLUSTER, WORKLOAD_ID)

MAIN = WantedContainer(
    "main",
    "registry.example/team/app:1@sha256:" + "a" * 64,
    ("serve", "--port=$PORT", "$(GREETING)", "sh -c 'echo $PORT $$'"),
    {"PORT": "8080", "GREETING": "hello", "TOKEN": "s3cret", "odd name": "other secret"},
    secret_names=frozenset({"TOKEN", "odd name"}),
    port=8080,
    primary=True,
    probes={
        ProbeKind.READINESS: Probe("/ready", 8080, headers=(ProbeHeader("Host", "example"),), period_seconds=1),
        ProbeKind.LIVENESS: Probe("/live", 9090, scheme=ProbeScheme.HTTPS, failure_threshold=5),
    },
    cpu=0.25,
    memory_bytes=128 * 1024 * 1024,
)
SIDE = WantedContainer("side", "python:3.13", None, {"A": "1"})
LAUNCH = WantedLaunch(3, (MAIN, SIDE), 2, {})


def by_kind(objects: list[manifests.Manifest]) -> dict[str, manifests.Manifest]:
    assert len({each["kind"] for each in objects}) == len(objects)
    return {each["kind"]: each for each in objects}


def deployment(launch: WantedLaunch, **changes: Any) -> dict[str, Any]:
    [*_, found] = manifests.kubernetes(dataclasses.replace(CLUSTER, **changes), OWNER, launch)
    return found


def container(wanted: WantedContainer) -> dict[str, Any]:
    [found] = deployment(WantedLaunch(1, (wanted,), 1, {}))["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_a_launch_is_a_service_a_secret_and_a_deployment_in_this_order() -> None:
    objects = manifests.kubernetes(CLUSTER, OWNER, LAUNCH)
    label = manifests.label_of(WORKLOAD_ID)
    name = label.replace("_", "-")
    labels = {
        "app.kubernetes.io/managed-by": "slipway",
        "slipway.dev/installation": str(INSTALLATION),
        "slipway.dev/workload": label,
    }
    service, secret, found = objects
    assert service == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "workloads", "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "selector": {"slipway.dev/workload": label},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}],
        },
    }
    assert secret == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{name}-3", "namespace": "workloads", "labels": {**labels, "slipway.dev/launch": "3"}},
        "type": "Opaque",
        "stringData": {"main.0": "s3cret", "main.1": "other secret"},
    }
    template = found["spec"].pop("template")
    assert found == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "workloads", "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"slipway.dev/workload": label}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "minReadySeconds": 2,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 0,
        },
    }
    containers = template["spec"].pop("containers")
    assert template == {
        "metadata": {"labels": {**labels, "slipway.dev/launch": "3"}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 30,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        },
    }
    locked_down = {
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    defaults = {"initialDelaySeconds": 0, "timeoutSeconds": 1, "successThreshold": 1}
    headers = [{"name": "Host", "value": "example"}]
    assert containers == [
        {
            "name": "main",
            "image": MAIN.image,
            "command": ["serve", "--port=8080", "$(GREETING)", "sh -c 'echo $PORT $$'"],
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "env": [
                {"name": "PORT", "value": "8080"},
                {"name": "GREETING", "value": "hello"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": f"{name}-3", "key": "main.0"}}},
                {"name": "odd name", "valueFrom": {"secretKeyRef": {"name": f"{name}-3", "key": "main.1"}}},
            ],
            "resources": {
                "requests": {"cpu": "250m", "memory": "134217728"},
                "limits": {"cpu": "250m", "memory": "134217728"},
            },
            "readinessProbe": {
                "httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP", "httpHeaders": headers},
                **defaults,
                "periodSeconds": 1,
                "failureThreshold": 3,
            },
            "livenessProbe": {
                "httpGet": {"path": "/live", "port": 9090, "scheme": "HTTPS"},
                **defaults,
                "periodSeconds": 10,
                "failureThreshold": 5,
            },
            **locked_down,
        },
        {"name": "side", "image": "python:3.13", "env": [{"name": "A", "value": "1"}], **locked_down},
    ]


def test_the_deployment_alone_says_nothing_of_secrets() -> None:
    assert "s3cret" not in json.dumps(deployment(LAUNCH))
    assert "other secret" not in json.dumps(deployment(LAUNCH))


def test_names_are_dns_labels() -> None:
    name = manifests.name_of(WORKLOAD_ID)
    assert name == f"wkl-{manifests.label_of(WORKLOAD_ID)[4:]}"
    longest = max(manifests.secret_name(OWNER, 10**9), manifests.registries_name(OWNER), key=len)
    assert len(longest) <= 63


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("$", "$"),
        ("$HOME", "$HOME"),
        ("$(NAME)", "$$(NAME)"),
        ("$$", "$$$$"),
        ("a$(B) $C", "a$$(B) $$C"),
    ],
)
def test_kubernetes_fills_nothing_into_a_value(value: str, written: str) -> None:
    assert container(WantedContainer("main", "image", None, {"A": value}))["env"] == [{"name": "A", "value": written}]


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("$PORT", "8080"),
        ("${PORT}", "8080"),
        (":$PORT/x", ":8080/x"),
        ("$PORTS", "$PORTS"),
        ("$(PORT)", "$(PORT)"),  # the kubelet's to fill in
        ("$$PORT", "$$PORT"),  # stands for $PORT, as it is written
        ("$$$PORT", "$$8080"),
        ("$$(PORT)", "$$(PORT)"),
        ("echo $PORT", "echo $PORT"),
        ("$(TOKEN)", "$(TOKEN)"),
    ],
)
def test_only_the_port_is_filled_into_a_command(argument: str, written: str) -> None:
    wanted = WantedContainer("main", "image", (argument,), {"PORT": "8080"}, port=8080)
    assert container(wanted)["command"] == [written]


def test_without_a_port_its_name_stays() -> None:
    assert container(WantedContainer("side", "image", ("$PORT", "${PORT}"), {}))["command"] == ["$PORT", "${PORT}"]


def test_an_image_brings_its_own_entrypoint() -> None:
    assert "command" not in container(SIDE)
    assert container(dataclasses.replace(SIDE, entrypoint=()))["command"] == []


@pytest.mark.parametrize(
    ("cpu", "memory", "amounts"),
    [(0.0001, None, {"cpu": "1m"}), (1.5, None, {"cpu": "1500m"}), (None, 4194304.0, {"memory": "4194304"})],
)
def test_what_is_promised_is_what_is_allowed(cpu: float | None, memory: float | None, amounts: dict[str, str]) -> None:
    found = container(dataclasses.replace(SIDE, cpu=cpu, memory_bytes=memory))
    assert found["resources"] == {"requests": amounts, "limits": amounts}
    assert "resources" not in container(SIDE)


def test_a_pod_settles_only_where_a_container_has_no_readiness_probe() -> None:
    assert deployment(WantedLaunch(1, (MAIN,), 1, {}))["spec"]["minReadySeconds"] == 0
    short = deployment(WantedLaunch(1, (SIDE,), 1, {}), launch_deadline=timedelta(seconds=1))["spec"]
    assert (short["minReadySeconds"], short["progressDeadlineSeconds"]) == (2, 3)


def test_the_endpoint_is_in_the_cluster_without_a_domain() -> None:
    name = manifests.name_of(WORKLOAD_ID)
    assert CLUSTER.endpoint(WORKLOAD_ID) == f"http://{name}.workloads.svc.cluster.local/"
    assert CLUSTER.host(OWNER) is None


def test_with_a_domain_an_ingress_leads_to_the_service() -> None:
    name = manifests.name_of(WORKLOAD_ID)
    cluster = dataclasses.replace(CLUSTER, domain="apps.example.com", ingress_class="nginx")
    assert cluster.endpoint(WORKLOAD_ID) == f"https://{name}.apps.example.com/"
    ingress = by_kind(manifests.kubernetes(cluster, OWNER, LAUNCH))["Ingress"]
    assert ingress["apiVersion"] == "networking.k8s.io/v1"
    assert ingress["spec"] == {
        "ingressClassName": "nginx",
        "tls": [{"hosts": [f"{name}.apps.example.com"]}],
        "rules": [
            {
                "host": f"{name}.apps.example.com",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": name, "port": {"number": 80}}},
                        }
                    ]
                },
            }
        ],
    }
    default = by_kind(manifests.kubernetes(dataclasses.replace(cluster, ingress_class=None), OWNER, LAUNCH))["Ingress"]
    assert "ingressClassName" not in default["spec"]


def test_with_a_gateway_a_route_leads_to_the_service() -> None:
    name = manifests.name_of(WORKLOAD_ID)
    gateway = manifests.Gateway("infrastructure", "public")
    cluster = dataclasses.replace(CLUSTER, domain="apps.example.com", gateway=gateway)
    objects = by_kind(manifests.kubernetes(cluster, OWNER, LAUNCH))
    assert "Ingress" not in objects
    assert objects["HTTPRoute"]["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert objects["HTTPRoute"]["spec"] == {
        "parentRefs": [{"namespace": "infrastructure", "name": "public"}],
        "hostnames": [f"{name}.apps.example.com"],
        "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
    }


def test_credentials_of_registries_go_with_the_workload() -> None:
    credentials = {"docker.io": ("ada", "p1"), "registry.example:5000": ("bob", "p2")}
    objects = manifests.kubernetes(CLUSTER, OWNER, LAUNCH, credentials)
    [secret] = [each for each in objects if each.get("type") == "kubernetes.io/dockerconfigjson"]
    assert json.loads(secret["stringData"][".dockerconfigjson"]) == {
        "auths": {
            "https://index.docker.io/v1/": {"username": "ada", "password": "p1"},
            "registry.example:5000": {"username": "bob", "password": "p2"},
        }
    }
    pod = objects[-1]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": secret["metadata"]["name"]}]
    assert "slipway.dev/launch" not in secret["metadata"]["labels"]


def test_a_launch_without_secrets_has_no_secret() -> None:
    plain = WantedLaunch(1, (dataclasses.replace(MAIN, secret_names=frozenset()),), 1, {})
    assert [each["kind"] for each in manifests.kubernetes(CLUSTER, OWNER, plain)] == ["Service", "Deployment"]


def test_a_compose_file_runs_the_same_on_one_machine() -> None:
    main = dataclasses.replace(
        MAIN,
        entrypoint=("serve", "$PORT", "$(TOKEN)", "$(odd name)", "$$HOME", "a b $X"),
        environment={**MAIN.environment, "PRICE": "$5 ${X}"},
    )
    assert manifests.compose(WantedLaunch(3, (main, SIDE), 2, {})) == {
        "services": {
            "main": {
                "image": MAIN.image,
                "restart": "always",
                "entrypoint": [
                    "serve",
                    "8080",
                    "${TOKEN:?comes from a credential}",
                    "<secret>",
                    "$$HOME",
                    "a b $$X",
                ],
                "environment": {
                    "PORT": "8080",
                    "GREETING": "hello",
                    "TOKEN": "${TOKEN:?comes from a credential}",
                    "odd name": "<secret>",
                    "PRICE": "$$5 $${X}",
                },
                "ports": ["127.0.0.1:8080:8080"],
                "deploy": {"resources": {"limits": {"cpus": "0.25", "memory": "134217728b"}}},
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges:true"],
            },
            "side": {
                "image": "python:3.13",
                "restart": "always",
                "environment": {"A": "1"},
                "network_mode": "service:main",
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges:true"],
            },
        }
    }
