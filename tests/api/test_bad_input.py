"""Whatever is sent gets a clear answer that names the input, and changes nothing where it is refused."""

from collections.abc import Iterator
from typing import Any

import graphql
import httpx
import pytest

from tests import harness, snapshots
from tests.api import hostile, walk
from tests.api.hostile import Raw
from tests.api.walk import SCHEMA
from tests.harness import Client, Slipway

pytestmark = pytest.mark.slow

ANSWER_MAXIMUM_BYTES = 20_000
MUTATIONS: Any = SCHEMA.mutation_type.fields  # type: ignore[union-attr]
QUERIES: Any = SCHEMA.query_type.fields  # type: ignore[union-attr]


def checked(response: httpx.Response) -> dict[str, Any]:
    """An answer of bounded size that is not the server's fault; each error says what it is."""
    answer: dict[str, Any] = response.json()
    assert response.status_code in {200, 400}, response.text[:500]
    assert len(response.content) < ANSWER_MAXIMUM_BYTES
    for error in answer.get("errors", ()):
        assert error["extensions"]["code"] != "INTERNAL_ERROR", error
        assert error["extensions"]["code"].isupper()
        assert 10 < len(error["message"]) <= 1_001, error
        assert "Traceback" not in error["message"]
    return answer


def _root(path: str) -> str:
    """The first name of a path."""
    return path.partition(".")[0].partition("[")[0]


async def world(ada: Client, grace: Client) -> dict[str, dict[str, Any]]:
    """A good input for every mutation, over things that exist."""
    secret = await ada.mutate(
        "createCredential",
        "... on CredentialPayload { credential { id } }",
        name="secret",
        values=[{"key": "token", "value": "hunter2"}],
    )
    variable = {
        "name": "TOKEN",
        "type": Raw("CREDENTIAL"),
        "credentialId": secret["credential"]["id"],
        "field": "token",
    }
    plain = {"name": "MODE", "type": Raw("STRING"), "value": "fast"}
    probe = {"path": "/", "port": 8080, "scheme": Raw("HTTP"), "headers": [{"name": "A", "value": "b"}]}
    probe |= {"initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 1}
    probe |= {"successThreshold": 1, "failureThreshold": 1}
    container = {"name": "main", "description": "d", "imageUri": "python:3", "port": 8080, "primary": True}
    container |= {"entrypoint": ["a"], "environmentVars": [plain, variable], "readinessProbe": probe}
    spec = {"containerGroups": [{"name": "default", "containers": [container]}]}
    draft = await harness.new_artifact(
        ada,
        "draft",
        spec=harness.spec(
            harness.container(environmentVars=[{"name": "MODE", "value": "slow"}], livenessProbe={"path": "/"})
        ),
    )
    artifact = {"artifactId": draft["id"], "ifRevision": draft["revision"]}
    part = {"containerId": draft["containers"][0]["id"], "ifRevision": draft["revision"]}
    locked = await harness.lock(ada, (await harness.new_artifact(ada, "locked"))["id"])
    frozen = {"artifactId": locked["id"], "ifRevision": locked["revision"]}
    service = await harness.deploy(ada, locked["id"])
    workload = {"workloadId": service["id"], "ifRevision": 1}
    successor = await harness.lock(ada, (await harness.new_artifact(ada, "successor"))["id"])
    tested = await harness.new_artifact(ada, "tested")
    trial = {"workloadId": (await harness.start_test(ada, tested["id"]))["id"], "ifRevision": 1}
    repository = {"repositoryId": draft["repository"]["id"], "ifRevision": 1}
    whose = (await grace.run("{ viewer { id } }"))["viewer"]["id"]
    grants = {"grants": [{"user": whose, "role": Raw("VIEWER")}], "ifRevision": 1}
    tags = [{"name": "team", "value": "ml"}]
    secret_id = secret["credential"]["id"]
    values = [{"key": "token", "value": "hunter3"}]
    named = {"name": "name", "description": "d", "tags": tags}
    overrides = [{"container": "main", **plain}, {"container": "main", **variable}]
    limits = [{"container": "main", "cpu": 0.5, "memoryBytes": 5e8}]
    return {
        "createArtifact": {"repositoryId": repository["repositoryId"], "type": Raw("SERVICE"), "spec": spec, **named},
        "updateArtifact": {**artifact, "spec": spec, **named},
        "addContainer": {
            **artifact,
            "container": {**container, "name": "other", "port": 1, "primary": False, "environmentVars": [plain]},
        },
        "updateContainer": {
            **part,
            **{key: container[key] for key in ("name", "description", "imageUri", "port", "primary", "entrypoint")},
        },
        "removeContainer": part,
        "setEnvironmentVariables": {**part, "variables": [plain, variable]},
        "removeEnvironmentVariables": {**part, "names": ["MODE"]},
        "setProbe": {**part, "kind": Raw("READINESS"), "probe": probe},
        "removeProbe": {**part, "kind": Raw("LIVENESS")},
        "testArtifact": {**artifact, "expiresIn": "PT1H"},
        "stopArtifact": artifact,
        "lockArtifact": artifact,
        "deployArtifact": {
            **artifact,
            "name": "name",
            "importance": Raw("LOW"),
            "replicas": 1,
            "resources": limits,
            "environment": overrides,
            "tags": tags,
        },
        "cloneArtifact": {**frozen, "name": "copy"},
        "shareArtifact": {"id": draft["id"], **grants},
        "deleteArtifact": artifact,
        "updateRepository": {**repository, **named},
        "shareRepository": {"id": repository["repositoryId"], **grants},
        "deleteRepository": repository,
        "updateWorkload": {**workload, **named, "importance": Raw("HIGH")},
        "startWorkload": workload,
        "stopWorkload": workload,
        "restartWorkload": workload,
        "configureWorkload": {**workload, "replicas": 2, "resources": limits, "environment": overrides},
        "replaceArtifact": {**workload, "artifactId": successor["id"]},
        "rollbackWorkload": workload,
        "promoteWorkload": trial,
        "extendTest": {**trial, "by": "PT1H"},
        "shareWorkload": {"id": service["id"], **grants},
        "deleteWorkload": workload,
        "createCredential": {"name": "name", "values": values},
        "rotateCredential": {"credentialId": secret_id, "values": values},
        "shareCredential": {"id": secret_id, **grants},
        "deleteCredential": {"credentialId": secret_id},
        "createApiToken": {"label": "label", "expiresIn": "PT1H", "readOnly": True},
        "revokeApiToken": {"tokenId": "tok_0000000000000000000000000a"},
    }


# Good inputs that their things are not ready for: the last container, no test, nothing to go back to, a made-up token.
REFUSED_AS_THEY_ARE = {
    "removeContainer": "InvalidInput",
    "stopArtifact": "ActionUnavailable",
    "rollbackWorkload": "ActionUnavailable",
    "revokeApiToken": "NotFound",
}


async def test_every_field_of_every_mutation(slipway: Slipway, ada: Client, grace: Client) -> None:
    good = await world(ada, grace)
    assert good.keys() == MUTATIONS.keys()
    before = await snapshots.dump(slipway)
    tried = 0
    known: set[tuple[str, str]] = set()
    for name, input_ in good.items():
        answer = checked(await ada.post(hostile.mutation(name, input_)))
        refusal: str = answer["data"][name]["__typename"]
        expected = REFUSED_AS_THEY_ARE.get(name)
        assert refusal == expected if expected else refusal.endswith("Payload"), (name, answer)
        await snapshots.restore(slipway, before)
        before = await snapshots.dump(slipway)
        taken: list[str] = []
        for path, spoiled in hostile.variants(MUTATIONS[name].args["input"].type, input_, known):
            document = hostile.mutation(name, spoiled)
            answer = checked(await ada.post(document))
            tried += 1
            if "errors" in answer:
                continue
            result = answer["data"][name]
            for issue in result.get("issues", ()):
                assert _root(issue["path"]) in input_.keys() | {_root(path[1:])}, (name, path, issue)
                assert 10 < len(issue["message"]) < 1_000
            if result["__typename"].endswith("Payload"):
                taken.append(document)
                await snapshots.restore(slipway, before)
            else:
                assert 10 < len(result["message"]) < 3_100, document[:500]
        # Tokens stay after a restore, on purpose: only they are made by what was taken here.
        if name != "createApiToken" or not taken:
            assert await snapshots.dump(slipway) == before, name
        before = await snapshots.dump(slipway)
    assert tried > 1_000


async def test_every_argument_of_every_field_of_a_thing(slipway: Slipway, ada: Client, grace: Client) -> None:
    good = await world(ada, grace)
    things = {
        "Repository": good["updateRepository"]["repositoryId"],
        "Artifact": good["lockArtifact"]["artifactId"],
        "Workload": good["stopWorkload"]["workloadId"],
    }
    before = await snapshots.dump(slipway)
    tried = 0
    for type_name, thing_id in things.items():
        for name, field in walk.fields(type_name).items():
            if walk.is_connection(field):  # those are lists of the root as well
                continue
            body = "" if walk.is_leaf(field) else "{ __typename }"
            for argument, declared in field.args.items():
                for value in hostile.values(declared.type, set(), ("", argument)):
                    asked = f"{name}({argument}: {hostile.literal(value)}) {body}"
                    document = f'{{ node(id: "{thing_id}") {{ ... on {type_name} {{ {asked} }} }} }}'
                    answer = checked(await ada.post(document))
                    tried += 1
                    for error in answer.get("errors", ()):
                        if error["extensions"]["code"] == "BAD_INPUT":
                            assert error["extensions"]["argument"] == argument
    assert tried > 50
    assert await snapshots.dump(slipway) == before


async def test_every_argument_of_every_query(slipway: Slipway, ada: Client, grace: Client) -> None:
    await world(ada, grace)
    before = await snapshots.dump(slipway)
    known: set[tuple[str, str]] = set()
    for name, field in QUERIES.items():
        for argument, declared in field.args.items():
            good = {
                key: hostile.example(each.type)
                for key, each in field.args.items()
                if key == argument or graphql.is_required_argument(each)
            }
            spoiled: Iterator[Any] = (value for _, value in hostile.variants(declared.type, good[argument], known))
            for value in (*hostile.values(declared.type, known, ("", argument)), *spoiled):
                answer = checked(await ada.post(hostile.query(name, {**good, argument: value})))
                for error in answer.get("errors", ()):
                    if error["extensions"]["code"] == "BAD_INPUT":
                        root = _root(error["extensions"]["argument"])
                        assert root == argument or (argument, root) == ("last", "first")
    assert await snapshots.dump(slipway) == before
