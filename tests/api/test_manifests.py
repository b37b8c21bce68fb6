"""The field `manifest`: YAML that is valid, that says what runs, and that holds no secret."""

import re
from typing import Any

import pydantic
import pytest
import yaml
from hypothesis import given, strategies

from app.api import manifests
from app.domain import references
from tests import harness
from tests.harness import Client, Slipway

MANIFEST = """query ($id: ID!, $format: ManifestFormat!) {
  node(id: $id) { ... on Artifact { manifest(format: $format) } ... on Workload { manifest(format: $format) } } }"""
SECRET = "sw0rdf1sh"  # noqa: S105  what must be in no manifest
CONFIG = '{"auths": {"registry.test": {"auth": "YWRhOmRhcmpjMzNsaW5n"}}}'  # ada:darjc33ling


async def written(client: Client, thing_id: str, written_as: str) -> str:
    """The manifest of a thing."""
    node = (await client.run(MANIFEST, id=thing_id, format=written_as))["node"]
    text: str = node["manifest"]
    return text


async def objects(client: Client, thing_id: str) -> dict[str, Any]:
    """The Kubernetes objects in a manifest, by kind."""
    found = list(yaml.safe_load_all(await written(client, thing_id, "KUBERNETES")))
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


@pytest.fixture
async def artifact(ada: Client) -> dict[str, Any]:
    """A draft of two containers with a secret, a script and values that YAML could take for something else."""
    result = await ada.mutate(
        "createCredential",
        "... on CredentialPayload { credential { id } }",
        name="secret",
        values=[{"key": "key", "value": SECRET}],
    )
    pointing = {"type": "CREDENTIAL", "credentialId": result["credential"]["id"], "field": "key"}
    variables = [
        {"name": "TOKEN", **pointing},
        {"name": "odd name", **pointing},
        *({"name": f"TEXT_{number}", "value": text} for number, text in enumerate(("1e3", "y", "no", "", "a: b # c"))),
    ]
    main = harness.container(
        name="web",
        primary=True,
        entrypoint=["sh", "-c", "echo $TOKEN\nexec serve --port $PORT\n"],
        environmentVars=variables,
        readinessProbe={"path": "/ready", "periodSeconds": 2},
    )
    return await harness.new_artifact(ada, spec=harness.spec(main, harness.container(name="side", port=9090)))


async def test_an_artifact_is_written_for_kubernetes(ada: Client, artifact: dict[str, Any]) -> None:
    found = await objects(ada, artifact["id"])
    assert list(found) == ["Service", "Secret", "Deployment"]
    name = artifact["id"].replace("_", "-")
    labels = {"slipway.dev/artifact": artifact["id"]}
    for each in found.values():
        assert each["metadata"]["labels"].items() >= labels.items()
        assert "app.kubernetes.io/managed-by" not in each["metadata"]["labels"], "Slipway would take it for its own"
    assert found["Secret"]["metadata"]["name"] == f"{name}-1"
    assert found["Secret"]["stringData"] == {"web.0": "<secret>", "web.1": "<secret>"}
    assert found["Deployment"]["metadata"]["name"] == found["Service"]["metadata"]["name"] == name
    deployment = found["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["selector"]) == (1, {"matchLabels": labels})
    web, side = deployment["template"]["spec"]["containers"]
    assert (web["name"], side["name"], web["image"]) == ("web", "side", "docker.io/library/python:3.13")
    assert web["command"] == ["sh", "-c", "echo $TOKEN\nexec serve --port $PORT\n"]
    assert web["readinessProbe"]["periodSeconds"] == 2
    refer = {"secretKeyRef": {"name": f"{name}-1", "key": "web.0"}}
    assert {each["name"]: each.get("value", each.get("valueFrom")) for each in web["env"]} == {
        "SLIPWAY_ARTIFACT_ID": artifact["id"],
        "SLIPWAY_ARTIFACT_VERSION": "",
        "PORT": "8080",
        "TOKEN": refer,
        "odd name": {"secretKeyRef": {**refer["secretKeyRef"], "key": "web.1"}},
        "TEXT_0": "1e3",
        "TEXT_1": "y",
        "TEXT_2": "no",
        "TEXT_3": "",
        "TEXT_4": "a: b # c",
    }


async def test_a_workload_is_written_for_kubernetes_as_its_runtime_applies_it(
    slipway: Slipway, ada: Client, artifact: dict[str, Any]
) -> None:
    override = {"container": "side", "name": "MODE", "value": "fast"}
    limits = [{"container": "web", "cpu": 0.5, "memoryBytes": 2.0**26}]
    workload = await harness.deploy(ada, artifact["id"], replicas=3, resources=limits, environment=[override])
    found = await objects(ada, workload["id"])
    name = workload["id"].replace("_", "-")
    assert found["Deployment"]["metadata"]["labels"].keys() == {
        "app.kubernetes.io/managed-by",
        "slipway.dev/installation",
        "slipway.dev/workload",
    }
    assert found["Deployment"]["spec"]["replicas"] == 3
    assert found["Deployment"]["spec"]["selector"] == {"matchLabels": {"slipway.dev/workload": workload["id"]}}
    web, side = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert web["resources"]["limits"] == web["resources"]["requests"] == {"cpu": "500m", "memory": "67108864"}
    environment = {each["name"]: each.get("value") for each in side["env"]}
    assert environment == {
        "SLIPWAY_WORKLOAD_ID": workload["id"],
        "SLIPWAY_ARTIFACT_ID": artifact["id"],
        "SLIPWAY_ARTIFACT_VERSION": "1",
        "PORT": "9090",
        "MODE": "fast",
    }
    assert found["Secret"]["metadata"]["name"] == f"{name}-1"


async def test_both_are_written_for_compose(ada: Client, artifact: dict[str, Any]) -> None:
    text = await written(ada, artifact["id"], "COMPOSE")
    assert re.findall(r"^# (.*)$", text, re.MULTILINE) == [
        "Probes are left out: Compose runs a command in the container, and which ones it has is not known here.",
        "Values of credentials are taken from the environment; put others in the place of <secret>.",
    ]
    [found] = yaml.safe_load_all(text)
    assert found["name"] == artifact["id"].replace("_", "-")
    locked_down = {"restart": "always", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    platform = {"SLIPWAY_ARTIFACT_ID": artifact["id"], "SLIPWAY_ARTIFACT_VERSION": ""}
    assert found["services"] == {
        "web": {
            "image": "docker.io/library/python:3.13",
            "entrypoint": ["sh", "-c", "echo $$TOKEN\nexec serve --port $$PORT\n"],
            "environment": {
                **platform,
                "PORT": "8080",
                "TOKEN": "${TOKEN:?comes from a credential}",
                "odd name": "<secret>",
                "TEXT_0": "1e3",
                "TEXT_1": "y",
                "TEXT_2": "no",
                "TEXT_3": "",
                "TEXT_4": "a: b # c",
            },
            "ports": ["127.0.0.1:8080:8080"],
            **locked_down,
        },
        "side": {
            "image": "docker.io/library/python:3.13",
            "environment": {**platform, "PORT": "9090"},
            "network_mode": "service:web",
            **locked_down,
        },
    }
    workload = await harness.deploy(ada, artifact["id"], replicas=3)
    text = await written(ada, workload["id"], "COMPOSE")
    assert text.startswith("# Slipway runs 3 replicas; this is one, as the port of a machine is there once.\n")
    [of_workload] = yaml.safe_load_all(text)
    assert of_workload["services"]["web"]["environment"]["SLIPWAY_WORKLOAD_ID"] == workload["id"]


async def test_no_secret_is_in_any(ada: Client, artifact: dict[str, Any]) -> None:
    workload = await harness.deploy(ada, artifact["id"])
    for thing_id in (artifact["id"], workload["id"]):
        for written_as in ("KUBERNETES", "COMPOSE"):
            text = await written(ada, thing_id, written_as)
            assert "<secret>" in text
            assert SECRET not in text


async def test_where_there_is_nothing_to_say_there_are_no_remarks(ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    assert (await written(ada, artifact["id"], "COMPOSE")).startswith("name: ")
    assert (await written(ada, artifact["id"], "KUBERNETES")).startswith("apiVersion: ")


async def test_passwords_of_registries_are_asked_for_where_they_are_needed(database_url: str) -> None:
    async with harness.serving(database_url, registry_credentials=pydantic.SecretStr(CONFIG)) as slipway:
        ada = await slipway.user("ada")
        containers = [
            harness.container(imageUri="registry.test/app:1", primary=True),
            harness.container(name="side", imageUri="python:3.13", port=None),
        ]
        artifact = await harness.new_artifact(ada, spec=harness.spec(*containers))
        text = await written(ada, artifact["id"], "KUBERNETES")
        assert "darjc33ling" not in text
        [service, secret, deployment] = yaml.safe_load_all(text)
        assert (service["kind"], secret["type"]) == ("Service", "kubernetes.io/dockerconfigjson")
        assert secret["stringData"] == {
            ".dockerconfigjson": '{"auths": {"registry.test": {"password": "<secret>", "username": "<secret>"}}}'
        }
        pull = deployment["spec"]["template"]["spec"]["imagePullSecrets"]
        assert pull == [{"name": secret["metadata"]["name"]}]
        open_to_all = await harness.new_artifact(ada)
        assert "Secret" not in await objects(ada, open_to_all["id"])


async def test_a_frame_has_none_and_the_workload_under_it_has(
    slipway: Slipway, ada: Client, artifact: dict[str, Any]
) -> None:
    workload = await harness.deploy(ada, artifact["id"])
    grace = await slipway.user("grace")
    await harness.share(ada, "Workload", workload["id"], {"user": await harness.user_id(grace), "role": "VIEWER"})
    assert await written(grace, artifact["id"], "KUBERNETES") == ""
    assert await written(grace, artifact["id"], "COMPOSE") == ""
    for written_as in ("KUBERNETES", "COMPOSE"):
        assert await written(grace, workload["id"], written_as) == await written(ada, workload["id"], written_as)


async def test_a_workload_shows_what_it_runs_and_not_what_became_of_the_draft(
    ada: Client, artifact: dict[str, Any]
) -> None:
    trial = await harness.start_test(ada, artifact["id"])
    [web, _] = artifact["containers"]
    await ada.mutate("updateContainer", containerId=web["id"], imageUri="python:edited")
    images = {}
    for thing_id in (artifact["id"], trial["id"]):
        deployment = (await objects(ada, thing_id))["Deployment"]
        images[thing_id] = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert images == {artifact["id"]: "python:edited", trial["id"]: "docker.io/library/python:3.13"}


async def test_pinned_images_are_written_with_their_digests(ada: Client) -> None:
    digest = f"sha256:{'a' * 64}"
    artifact = await harness.new_artifact(ada, spec=harness.spec(harness.container(imageUri=f"python:3@{digest}")))
    await harness.lock(ada, artifact["id"])
    deployment = (await objects(ada, artifact["id"]))["Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == references.pinned(f"python:3@{digest}", digest)


# ───────────────────────────── YAML ─────────────────────────────


@given(strategies.text(strategies.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_read_back_as_it_was(text: str) -> None:
    document = {"key": text, "list": [text, {"deeper": text}]}
    assert list(yaml.safe_load_all(manifests.to_yaml([document, document]))) == [document, document]


# Numbers, truths, dates and nothing at all, in YAML 1.1 or in 1.2: https://yaml.org/spec/1.2.2/#103-core-schema
AMBIGUOUS = """1 1.5 1e3 0o7 0x1F 1_000 .inf .NaN 12:30:45 2026-11-26 ~ null Null NULL y Y n N yes No on OFF true FALSE
  = << - <secret>"""


@pytest.mark.parametrize("text", [*AMBIGUOUS.split(), "a b", ""])
def test_what_could_be_taken_for_something_else_is_quoted(text: str) -> None:
    assert manifests.to_yaml([{"key": text}]) in {f'key: "{text}"\n', f"key: '{text}'\n"}


def test_names_and_scripts_are_written_for_people() -> None:
    document = {"image": "docker.io/library/python:3.13@sha256:0", "path": "/ready", "script": "echo a\nexec b\n"}
    assert manifests.to_yaml([document, {"same": [document["path"]] * 2}]) == (
        "image: docker.io/library/python:3.13@sha256:0\n"
        "path: /ready\n"
        "script: |\n"
        "  echo a\n"
        "  exec b\n"
        "---\n"
        "same:\n"
        "- /ready\n"
        "- /ready\n"
    )
