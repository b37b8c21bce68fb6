"""deploy/ without a cluster: that it is what Kubernetes takes, fits together, and grants what the runtime asks for."""

import re
import shutil
import subprocess

import pytest
import yaml

from app import settings
from app.runtimes import kubernetes_access
from app.runtimes.kubernetes_client import HTTP_ROUTES, INGRESSES
from tests.deployment import (
    DEPLOY,
    DIRECTORIES,
    ROOT,
    config_map,
    container,
    kustomizations,
    manifests,
    one,
    pod,
)
from tests.runtimes.kubernetes.test_schema import misfits


def test_every_file_is_used() -> None:
    used = {
        directory / resource
        for name in DIRECTORIES
        for directory, kustomization in kustomizations(DEPLOY / name)
        for resource in kustomization["resources"]
    }
    files = {path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "kustomization.yaml"}
    assert files == {path for path in used if path.is_file()}
    assert {path.parent.name for path in DEPLOY.rglob("kustomization.yaml")} == set(DIRECTORIES)


def test_kubernetes_knows_every_field() -> None:
    for manifest in manifests("ingress"):
        assert list(misfits(manifest, f"V1{manifest['kind']}", manifest["kind"])) == []


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl to ask what kustomize makes of it")
def test_kustomize_builds_what_these_tests_read(name: str) -> None:
    built = subprocess.run(["kubectl", "kustomize", DEPLOY / name], check=True, capture_output=True, text=True).stdout
    objects = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(built)}
    [(made, settings_made)] = [(key, each) for key, each in objects.items() if key[0] == "ConfigMap"]
    assert settings_made["data"] == config_map(name)
    assert set(objects) - {made} == {(each["kind"], each["metadata"]["name"]) for each in manifests(name)}
    [server] = objects["Deployment", "slipway"]["spec"]["template"]["spec"]["containers"]
    assert server["envFrom"] == [{"configMapRef": {"name": made[1]}}]
    assert server["image"] == "registry.example/slipway:0.1.0"


def test_the_version_is_that_of_the_package() -> None:
    [image] = next(iter(kustomizations(DEPLOY / "base")))[1]["images"]
    assert f'version = "{image["newTag"]}"' in (ROOT / "pyproject.toml").read_text()
    assert image["name"] == container()["image"]


def test_everything_that_selects_selects_the_server() -> None:
    labels = pod()["metadata"]["labels"]
    selectors = {
        "Deployment": one("Deployment")["spec"]["selector"]["matchLabels"],
        "Service": one("Service")["spec"]["selector"],
        "PodDisruptionBudget": one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        "spread": pod()["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    }
    assert selectors == dict.fromkeys(selectors, labels)


def test_a_request_finds_its_way_by_names() -> None:
    service, ingress = one("Service"), one("Ingress", "ingress")
    [rule] = ingress["spec"]["rules"]
    [path] = rule["http"]["paths"]
    [service_port] = service["spec"]["ports"]
    [port] = container()["ports"]
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": service_port["name"]}}
    assert service_port["targetPort"] == port["name"]
    assert one("NetworkPolicy")["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": port["name"]}]}]
    assert {probe["httpGet"]["port"] for kind, probe in container().items() if kind.endswith("Probe")} == {port["name"]}
    assert port["containerPort"] == settings.Settings.model_fields["port"].default
    assert config_map("ingress")["SLIPWAY_PUBLIC_URL"] == f"https://{rule['host']}"
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    namespace = service["metadata"]["namespace"]
    assert config_map()["SLIPWAY_PUBLIC_URL"] == f"http://{service['metadata']['name']}.{namespace}.svc.cluster.local"


def test_namespaces_are_there_and_hold_what_the_settings_say() -> None:
    namespaces = {each["metadata"]["name"] for each in manifests() if each["kind"] == "Namespace"}
    workloads = config_map()["SLIPWAY_KUBERNETES_NAMESPACE"]
    assert namespaces == {"slipway", workloads}
    rights = {"Role", "RoleBinding"}
    for manifest in manifests("ingress"):
        if manifest["kind"] != "Namespace":
            expected = workloads if manifest["kind"] in rights else "slipway"
            assert manifest["metadata"]["namespace"] == expected, manifest["kind"]


def test_the_role_has_the_rights_that_the_runtime_needs_and_no_other() -> None:
    needed = {
        (resource.group_version.rpartition("/")[0], "/".join(filter(None, (resource.plural, part))), verb)
        for routes in (INGRESSES, HTTP_ROUTES)
        for resource, part, verb in kubernetes_access.needed(routes)
    }
    given = {
        (group, resource, verb, *rule.get("resourceNames", ()))
        for rule in one("Role")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    # It looks whether its namespace is there and stays.
    assert given == needed | {("", "namespaces", "get", config_map()["SLIPWAY_KUBERNETES_NAMESPACE"])}


def test_the_rights_are_those_of_the_account_that_the_server_has() -> None:
    account, role, binding = one("ServiceAccount")["metadata"], one("Role"), one("RoleBinding")
    assert pod()["spec"]["serviceAccountName"] == account["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", **account}]
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }


def environment(monkeypatch: pytest.MonkeyPatch, **changed: str) -> settings.Settings:
    """The settings of a server in the pod."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    [host] = re.findall(r"SLIPWAY_HOST=(\S+)", dockerfile)
    secrets = {
        "DATABASE_URL": "postgresql://slipway:secret@postgresql/slipway",
        "SLIPWAY_ENCRYPTION_KEY": "A" * 43 + "=",
        "SLIPWAY_ADMIN_TOKEN": "a-token-for-the-tests",
    }
    assert {each["name"]: each["valueFrom"]["secretKeyRef"]["key"] for each in container()["env"]} == {
        name: name for name in secrets
    }
    for name, value in {"SLIPWAY_HOST": host, **config_map(), **secrets, **changed}.items():
        monkeypatch.setenv(name, value)
    return settings.load()


def test_the_server_takes_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment(monkeypatch)
    assert found.runtime == "kubernetes"
    assert found.kubernetes_namespace == config_map()["SLIPWAY_KUBERNETES_NAMESPACE"]
    assert found.public_url == config_map()["SLIPWAY_PUBLIC_URL"]


def test_what_kubernetes_would_set_for_services_is_kept_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pod()["spec"]["enableServiceLinks"] is False
    with pytest.raises(settings.SettingsError, match="SLIPWAY_PORT"):
        environment(monkeypatch, SLIPWAY_PORT="tcp://10.0.0.1:80")


def test_the_server_has_no_rights_on_its_node() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a root that can't change."""
    [user] = re.findall(r"^USER (\d+):\d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert pod()["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(user),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {kind for volume in pod()["spec"]["volumes"] for kind in volume} == {"name", "emptyDir"}
    server = next(each for each in manifests() if each["kind"] == "Namespace")
    assert server["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_the_data_directory_can_be_written() -> None:
    [directory] = re.findall(r"SLIPWAY_DATA_DIR=(\S+)", (ROOT / "Dockerfile").read_text())
    assert [mount["mountPath"] for mount in container()["volumeMounts"]] == [directory]


def test_the_readme_makes_the_secret_that_the_server_needs() -> None:
    [command] = re.findall(r"create secret generic slipway(.*?[^\\])\n", (ROOT / "README.md").read_text(), re.DOTALL)
    assert re.findall(r"--from-literal=(\w+)=", command) == [each["name"] for each in container()["env"]]
    assert {each["valueFrom"]["secretKeyRef"]["name"] for each in container()["env"]} == {"slipway"}
