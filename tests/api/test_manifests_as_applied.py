"""The manifest of a workload, held against what the `kubernetes` runtime applies: in the fake cluster of its tests."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import yaml

from app import main, settings
from app.runtimes.kubernetes import KubernetesRuntime
from tests import harness
from tests.reconciler.world import reconciling, until
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.kubernetes.fixtures import TIMING, fake_cluster as fake_cluster, kubeconfig as kubeconfig

CONFIG: dict[str, Any] = {
    "kubernetes_namespace": "workloads",
    "kubernetes_domain": "apps.example.com",
    "registry_credentials": pydantic.SecretStr('{"auths": {"registry.test": {"auth": "YWRhOnNlY3JldA=="}}}'),
}


async def open_secret(_: UUID, key: str) -> str:
    return f"the value of {key}"


def missing(shown: Any, applied: Any, path: str = "") -> Iterator[str]:
    """Where what is shown is not as it was applied. The cluster adds to that, and says nothing different."""
    if isinstance(shown, Mapping):
        for key, each in shown.items():
            if key in applied:
                yield from missing(each, applied[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} was not applied"
    elif isinstance(shown, list):
        if len(shown) != len(applied):
            yield f"{path} has {len(shown)} items; {len(applied)} were applied"
        for index, (mine, its) in enumerate(zip(shown, applied, strict=False)):
            yield from missing(mine, its, f"{path}[{index}]")
    elif shown != applied:
        yield f"{path} is {shown!r}; {applied!r} was applied"


async def test_what_is_shown_is_what_is_applied(database_url: str, fake_cluster: FakeCluster, kubeconfig: Path) -> None:
    async with harness.serving(database_url, **CONFIG) as slipway:
        ada = await slipway.user("ada")
        key = await harness.credential(ada, "key")
        secret = {"name": "TOKEN", "type": "CREDENTIAL", "credentialId": key, "field": "key"}
        given = {
            "entrypoint": ["serve", "$PORT", "$(TOKEN)"],
            "environmentVars": [secret, {"name": "A", "value": "1e3"}],
        }
        probes = {
            "readinessProbe": {"path": "/ready"},
            "livenessProbe": {"path": "/live", "headers": [{"name": "A", "value": "b"}]},
        }
        containers = [
            harness.container(imageUri="registry.test/app:1", primary=True, **given, **probes),
            harness.container(name="side", imageUri="python:3", port=None),
        ]
        artifact = await harness.new_artifact(ada, spec=harness.spec(*containers))
        options: dict[str, Any] = {
            "replicas": 2,
            "resources": [{"container": "main", "cpu": 0.5}],
            "environment": [{"container": "side", "name": "MODE", "value": "$(fast)"}],
        }
        workload = await harness.deploy(ada, artifact["id"], **options)
        configured = settings.Settings.model_construct(**CONFIG)
        runtime = KubernetesRuntime(
            await main.cluster(configured, slipway.database),
            credentials=main.registry_credentials(configured).for_registry,
            environ={"KUBECONFIG": str(kubeconfig)},
            timing=TIMING,
        )
        async with reconciling(slipway.database, runtime, secrets=open_secret):
            await until(lambda: fake_cluster.objects("Deployment") != [], "it is applied")
            applied = {
                (kind, each["metadata"]["name"]): each
                for kind in ("Service", "Ingress", "Secret", "Deployment")
                for each in fake_cluster.objects(kind)
            }
        document = "query ($id: ID!) { workload(id: $id) { manifest } }"
        text = (await ada.run(document, id=workload["id"]))["workload"]["manifest"]
    shown = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}
    assert shown.keys() == applied.keys()
    assert len(shown) == 5
    for name, each in shown.items():
        placeholders = each.pop("stringData", None)
        assert list(missing(each, applied[name])) == []
        if placeholders is not None:
            assert placeholders.keys() == applied[name]["data"].keys()
            secrets = [base64.b64decode(value).decode() for value in applied[name]["data"].values()]
            assert not any(value in text for value in secrets)
