"""Artifacts: create, edit, test, lock, deploy, clone and delete, with exact values."""

from typing import Any

import pytest

from tests import harness
from tests.api import history
from tests.harness import Client, Slipway

WHOLE = """... on ArtifactPayload { artifact {
  id name description type status version revision digest createdAt updatedAt tags { name value }
  createdBy { username } lockedBy { username } lockedAt clonedFrom { id } testWorkload { id }
  containerGroups { name containers { id name description imageUri imageDigest port primary entrypoint
    environmentVars { name type value field } probes { kind port } } }
  repository { id name description type revision lastVersion createdAt updatedAt artifactCount }
} }"""
DELETED = "... on DeletePayload { deletedIds }"


async def whole(client: Client, name: str, /, **given: Any) -> dict[str, Any]:
    result = await client.mutate(name, WHOLE, **given)
    assert result["__typename"] == "ArtifactPayload", result
    artifact: dict[str, Any] = result["artifact"]
    return artifact


def problems(result: dict[str, Any]) -> list[tuple[str, str]]:
    assert result["__typename"] == "InvalidInput", result
    return [(issue["path"], issue["code"]) for issue in result["issues"]]


async def test_the_first_artifact_opens_a_repository(slipway: Slipway, ada: Client) -> None:
    async with history.written(slipway) as lines:
        artifact = await whole(ada, "createArtifact", name=" First ", type="AGENT", spec=harness.spec())
    repository = artifact["repository"]
    assert artifact == {
        "id": artifact["id"],
        "name": "First",
        "description": "",
        "type": "AGENT",
        "status": "DRAFT",
        "version": None,
        "revision": 1,
        "digest": artifact["digest"],
        "createdAt": artifact["createdAt"],
        "updatedAt": artifact["createdAt"],
        "tags": [],
        "createdBy": {"username": "ada"},
        "lockedBy": None,
        "lockedAt": None,
        "clonedFrom": None,
        "testWorkload": None,
        "containerGroups": [
            {
                "name": "default",
                "containers": [
                    {
                        "id": artifact["containerGroups"][0]["containers"][0]["id"],
                        "name": "main",
                        "description": "",
                        "imageUri": "docker.io/library/python:3.13",
                        "imageDigest": None,
                        "port": 8080,
                        "primary": True,
                        "entrypoint": None,
                        "environmentVars": [],
                        "probes": [],
                    }
                ],
            }
        ],
        "repository": {
            "id": repository["id"],
            "name": "First",
            "description": "",
            "type": "AGENT",
            "revision": 1,
            "lastVersion": 0,
            "createdAt": artifact["createdAt"],
            "updatedAt": artifact["createdAt"],
            "artifactCount": 1,
        },
    }
    assert lines == [
        ("REPOSITORY_CREATED", repository["id"], "ada", {"name": "First"}),
        ("ARTIFACT_CREATED", artifact["id"], "ada", {"name": "First", "digest": artifact["digest"]}),
    ]


async def test_another_joins_a_repository_of_its_type(slipway: Slipway, ada: Client) -> None:
    first = await whole(ada, "createArtifact", name="first", type="MCP", spec=harness.spec())
    repository_id = first["repository"]["id"]
    second = await whole(
        ada, "createArtifact", name="second", type="MCP", repositoryId=repository_id, spec=harness.spec()
    )
    assert second["repository"] == {**first["repository"], "updatedAt": second["createdAt"], "artifactCount": 2}
    assert second["createdAt"] > first["createdAt"]
    async with history.unchanged(slipway):
        refused = await ada.mutate("createArtifact", name="", repositoryId=repository_id, spec=harness.spec())
    assert problems(refused) == [("name", "TOO_SHORT"), ("type", "TYPE_MISMATCH")]
    assert refused["issues"][1]["message"] == "The repository holds artifacts of type MCP."


async def test_names_of_containers_that_are_left_out_are_filled_in(ada: Client) -> None:
    containers: list[dict[str, Any]] = [
        {"imageUri": "a"},
        {"imageUri": "b", "port": 80, "primary": True},
        {"imageUri": "c", "name": "own"},
        {"imageUri": "d", "port": 81},
    ]
    artifact = await whole(ada, "createArtifact", name="a", spec=harness.spec(*containers))
    (group,) = artifact["containerGroups"]
    assert [(each["name"], each["port"], each["primary"]) for each in group["containers"]] == [
        ("container-1", None, False),
        ("main", 80, True),
        ("own", None, False),
        ("container-4", 81, False),
    ]


async def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_made(slipway: Slipway, ada: Client) -> None:
    spec = harness.spec(
        harness.container(name="", port=0, primary=True),
        harness.container(
            imageUri="denied.test/x",
            port=0,
            environmentVars=[
                {"name": "A", "type": "CREDENTIAL", "credentialId": "crd_0000000000000000000000000a", "field": "a"}
            ],
            readinessProbe={"path": "up", "port": 99_999},
        ),
    )
    async with history.unchanged(slipway):
        refused = await ada.mutate("createArtifact", name="", tags=[{"name": ""}], spec=spec)
    at = "spec.containerGroups[0].containers"
    assert problems(refused) == [
        ("name", "TOO_SHORT"),
        ("tags[0].name", "TOO_SHORT"),
        (f"{at}[0].name", "NOT_A_LABEL"),
        (f"{at}[0].port", "OUT_OF_RANGE"),
        (f"{at}[1].imageUri", "IMAGE_NOT_ALLOWED"),
        (f"{at}[1].port", "OUT_OF_RANGE"),
        (f"{at}[1].readinessProbe.path", "NOT_A_PATH"),
        (f"{at}[1].readinessProbe.port", "OUT_OF_RANGE"),
        (f"{at}[1].port", "DUPLICATE"),
        (f"{at}[1].environmentVars[0].credentialId", "NO_SUCH_CREDENTIAL"),
    ]


async def test_an_update_changes_what_it_names(slipway: Slipway, ada: Client) -> None:
    tags = [{"name": "b", "value": "1"}, {"name": "a", "value": ""}]
    before = await whole(ada, "createArtifact", name="a", description="d", tags=tags, spec=harness.spec())
    async with history.written(slipway) as lines:
        after = await whole(ada, "updateArtifact", artifactId=before["id"], name="b", tags=tags[:1], ifRevision=1)
    expected = {**before, "name": "b", "tags": tags[:1], "revision": 2, "updatedAt": after["updatedAt"]}
    assert after == expected | {"repository": before["repository"] | {"updatedAt": after["updatedAt"]}}
    assert after["updatedAt"] > before["updatedAt"]
    changes = {
        "name": {"before": "a", "after": "b"},
        "tags": {"before": {"a": "", "b": "1"}, "after": {"b": "1"}},
    }
    assert lines == [("ARTIFACT_CHANGED", before["id"], "ada", changes)]


async def test_an_edit_that_changes_nothing_leaves_no_trace(slipway: Slipway, ada: Client) -> None:
    spec = harness.spec(harness.container(environmentVars=[{"name": "A", "value": "1"}], livenessProbe={"path": "/"}))
    given = {"name": "a", "description": "d", "tags": [{"name": "x", "value": "y"}], "spec": spec}
    before = await whole(ada, "createArtifact", **given)
    part = {"containerId": before["containerGroups"][0]["containers"][0]["id"]}
    async with history.unchanged(slipway):
        assert await whole(ada, "updateArtifact", artifactId=before["id"]) == before
        assert await whole(ada, "updateArtifact", artifactId=before["id"], **given) == before
        assert await whole(ada, "updateContainer", **part, port=8080, primary=True) == before
        assert await whole(ada, "setEnvironmentVariables", **part, variables=[{"name": "A", "value": "1"}]) == before
        assert await whole(ada, "removeEnvironmentVariables", **part, names=[]) == before
        assert await whole(ada, "setProbe", **part, kind="LIVENESS", probe={"path": "/"}) == before


async def test_a_whole_specification_keeps_containers_by_name(slipway: Slipway, ada: Client) -> None:
    side = {"name": "side", "imageUri": "busybox"}
    before = await whole(ada, "createArtifact", name="a", spec=harness.spec(harness.container(primary=True), side))
    main_id, side_id = (each["id"] for each in before["containerGroups"][0]["containers"])
    new = {"name": "new", "imageUri": "alpine"}
    spec = harness.spec(new, side, harness.container(primary=True, imageUri="python:4"))
    async with history.written(slipway) as lines:
        after = await whole(ada, "updateArtifact", artifactId=before["id"], spec=spec)
    containers = after["containerGroups"][0]["containers"]
    assert [(each["name"], each["imageUri"]) for each in containers] == [
        ("new", "alpine"),
        ("side", "busybox"),
        ("main", "python:4"),
    ]
    assert [each["id"] for each in containers[1:]] == [side_id, main_id]
    assert containers[0]["id"] not in {side_id, main_id}
    assert after["revision"] == 2
    assert [(kind, changes) for kind, _, _, changes in lines] == [
        ("ARTIFACT_CHANGED", {"digest": {"before": before["digest"], "after": after["digest"]}})
    ]
    gone = await whole(ada, "updateArtifact", artifactId=before["id"], spec=harness.spec())
    assert [each["id"] for each in gone["containerGroups"][0]["containers"]] == [main_id]


async def test_a_stale_revision_changes_nothing(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    async with history.unchanged(slipway):
        refused = await ada.mutate("updateArtifact", artifactId=artifact["id"], name="", ifRevision=2)
    assert (refused["__typename"], refused["currentRevision"]) == ("StaleRevision", 1)
    assert refused["message"] == ("It was changed meanwhile and is at revision 1 now: read it again, then repeat.")


async def test_a_lock_freezes_all_but_the_tags(slipway: Slipway, ada: Client) -> None:
    first = await harness.new_artifact(ada, "one")
    second = await harness.new_artifact(ada, "two", repositoryId=first["repository"]["id"])
    async with history.written(slipway) as lines:
        two = await whole(ada, "lockArtifact", artifactId=second["id"], ifRevision=1)
        one = await whole(ada, "lockArtifact", artifactId=first["id"])
    assert [(each["version"], each["status"], each["revision"]) for each in (two, one)] == [
        (1, "LOCKED", 2),
        (2, "LOCKED", 2),
    ]
    assert (one["lockedBy"], one["lockedAt"], one["repository"]["lastVersion"]) == (
        {"username": "ada"},
        one["updatedAt"],
        2,
    )
    assert one["digest"] == first["digest"]
    assert [(kind, subject, changes["version"]) for kind, subject, _, changes in lines] == [
        ("ARTIFACT_LOCKED", second["id"], {"before": None, "after": 1}),
        ("ARTIFACT_LOCKED", first["id"], {"before": None, "after": 2}),
    ]
    tagged = await whole(ada, "updateArtifact", artifactId=first["id"], tags=[{"name": "prod"}])
    assert (tagged["tags"], tagged["revision"]) == ([{"name": "prod", "value": ""}], 3)
    async with history.unchanged(slipway):
        for given in ({"name": "x"}, {"description": "x", "tags": []}, {"spec": harness.spec()}):
            refused = await ada.mutate("updateArtifact", artifactId=first["id"], **given)
            assert (refused["action"], [each["code"] for each in refused["blockers"]]) == ("EDIT", ["ARTIFACT_LOCKED"])
        again = await ada.mutate("lockArtifact", artifactId=first["id"])
        assert [each["code"] for each in again["blockers"]] == ["ARTIFACT_LOCKED"]


async def test_a_test_is_started_and_stopped(slipway: Slipway, ada: Client) -> None:
    artifact = await whole(ada, "createArtifact", name="a", spec=harness.spec())
    async with history.written(slipway) as lines:
        workload = await harness.start_test(ada, artifact["id"], expiresIn="PT30M")
    assert workload == {
        "id": workload["id"],
        "name": "a",
        "status": "SUBMITTED",
        "revision": 1,
        "endpoint": f"{harness.PUBLIC_URL}/endpoints/{workload['id']}/",
        "purpose": "TEST",
        "digest": artifact["digest"],
        "expiresAt": workload["expiresAt"],
        "replicas": 1,
    }
    details = {"name": "a", "purpose": "TEST", "digest": artifact["digest"]}
    assert lines == [("WORKLOAD_CREATED", workload["id"], "ada", details)]
    testing = await whole(ada, "updateArtifact", artifactId=artifact["id"])
    assert testing == {**artifact, "testWorkload": {"id": workload["id"]}}
    async with history.unchanged(slipway):
        again = await ada.mutate("testArtifact", artifactId=artifact["id"])
        assert [(each["code"], each["nodes"]) for each in again["blockers"]] == [
            ("TEST_ACTIVE", [{"id": workload["id"]}])
        ]
    async with history.written(slipway) as lines:
        selection = f"... on TestArtifactPayload {{ artifact {{ revision }} {harness.WORKLOAD} }}"
        stopped = await ada.mutate("stopArtifact", selection, artifactId=artifact["id"])
    assert stopped["workload"] == {**workload, "status": "STOPPING", "revision": 2}
    assert stopped["artifact"] == {"revision": 1}
    status = {"status": {"before": "SUBMITTED", "after": "STOPPING"}}
    assert lines == [("WORKLOAD_STATUS", workload["id"], "ada", status)]
    async with history.unchanged(slipway):
        again = await ada.mutate(
            "stopArtifact", "... on TestArtifactPayload { workload { id } }", artifactId=artifact["id"]
        )
        assert again["workload"] == {"id": workload["id"]}


@pytest.mark.parametrize("expires_in", ["PT0S", "-PT1S", "PT8H0.000001S", "P999999999D"])
async def test_a_test_runs_for_at_most_eight_hours(slipway: Slipway, ada: Client, expires_in: str) -> None:
    artifact = await harness.new_artifact(ada)
    async with history.unchanged(slipway):
        refused = await ada.mutate("testArtifact", artifactId=artifact["id"], expiresIn=expires_in)
    assert refused["issues"] == [
        {"path": "expiresIn", "code": "OUT_OF_RANGE", "message": "It is above zero and at most 8 hours."}
    ]


DEPLOYED = """... on DeployArtifactPayload {
  artifact { status version revision }
  workload { name purpose status importance replicas readyReplicas expiresAt revision digest createdBy { username }
    tags { name value } resources { container cpu memoryBytes }
    environment { container name value origin masked } }
}"""


async def test_a_draft_is_locked_and_deployed_as_asked_for(slipway: Slipway, ada: Client) -> None:
    secret = await ada.mutate(
        "createCredential",
        "... on CredentialPayload { credential { id } }",
        name="secret",
        values=[{"key": "token", "value": "hunter2"}],
    )
    pointer = {"type": "CREDENTIAL", "credentialId": secret["credential"]["id"], "field": "token"}
    main = harness.container(
        primary=True, environmentVars=[{"name": "A", "value": "artifact"}, {"name": "B", "value": "artifact"}]
    )
    artifact = await harness.new_artifact(ada, spec=harness.spec(main, {"imageUri": "busybox", "name": "side"}))
    async with history.written(slipway) as lines:
        result = await ada.mutate(
            "deployArtifact",
            DEPLOYED,
            artifactId=artifact["id"],
            name=" prod ",
            importance="CRITICAL",
            replicas=3,
            tags=[{"name": "env", "value": "prod"}],
            resources=[{"container": "side", "cpu": 0.5, "memoryBytes": 4_194_304}, {"container": "main"}],
            environment=[
                {"name": "B", "value": "workload"},
                {"name": "PORT", "value": "1"},
                {"container": "side", "name": "TOKEN", **pointer},
            ],
        )
    assert result["artifact"] == {"status": "LOCKED", "version": 1, "revision": 2}
    workload_id = lines[1][1]
    platform = [
        ("PORT", "8080"),
        ("SLIPWAY_ARTIFACT_ID", artifact["id"]),
        ("SLIPWAY_ARTIFACT_VERSION", "1"),
        ("SLIPWAY_WORKLOAD_ID", workload_id),
    ]
    expected = [("main", name, value, "PLATFORM", False) for name, value in platform]
    expected += [("main", "B", "workload", "WORKLOAD", False), ("main", "A", "artifact", "ARTIFACT", False)]
    expected += [("side", name, value, "PLATFORM", False) for name, value in platform[1:]]
    expected += [("side", "TOKEN", None, "WORKLOAD", True)]
    environment = result["workload"].pop("environment")
    assert [tuple(each.values()) for each in environment] == expected
    assert result["workload"] == {
        "name": "prod",
        "purpose": "SERVICE",
        "status": "SUBMITTED",
        "importance": "CRITICAL",
        "replicas": 3,
        "readyReplicas": 0,
        "expiresAt": None,
        "revision": 1,
        "digest": artifact["digest"],
        "createdBy": {"username": "ada"},
        "tags": [{"name": "env", "value": "prod"}],
        "resources": [
            {"container": "side", "cpu": 0.5, "memoryBytes": 4_194_304.0},
            {"container": "main", "cpu": None, "memoryBytes": None},
        ],
    }
    assert [(kind, changes.get("name")) for kind, _, _, changes in lines] == [
        ("ARTIFACT_LOCKED", None),
        ("WORKLOAD_CREATED", "prod"),
    ]
    assert "hunter2" not in str(lines)


async def test_a_deployment_that_breaks_rules_locks_nothing(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    async with history.unchanged(slipway):
        refused = await ada.mutate(
            "deployArtifact",
            artifactId=artifact["id"],
            name=" ",
            replicas=101,
            tags=[{"name": "a"}, {"name": "a"}],
            resources=[{"container": "other", "cpu": 0, "memoryBytes": 1}],
            environment=[{"name": "SLIPWAY_A", "value": ""}, {"container": "x", "name": "A", "type": "CREDENTIAL"}],
        )
        assert problems(refused) == [
            ("name", "TOO_SHORT"),
            ("tags[1].name", "DUPLICATE"),
            ("replicas", "OUT_OF_RANGE"),
            ("resources[0].container", "NO_SUCH_CONTAINER"),
            ("resources[0].cpu", "OUT_OF_RANGE"),
            ("resources[0].memoryBytes", "OUT_OF_RANGE"),
            ("environment[0].name", "RESERVED"),
            ("environment[1].container", "NO_SUCH_CONTAINER"),
            ("environment[1].credentialId", "REQUIRED"),
            ("environment[1].field", "REQUIRED"),
        ]
        limited = await ada.mutate("deployArtifact", artifactId=artifact["id"], replicas=51)
        assert (limited["__typename"], limited["limit"]) == ("LimitExceeded", 50)
        assert limited["message"] == "This server runs at most 50 replicas of a workload; 51 were asked for."
    assert (await harness.deploy(ada, artifact["id"], replicas=50))["replicas"] == 50
    assert (await harness.deploy(ada, artifact["id"], replicas=0))["replicas"] == 0


async def test_a_clone_is_a_draft_with_all_of_it(slipway: Slipway, ada: Client) -> None:
    spec = harness.spec(harness.container(environmentVars=[{"name": "A", "value": "1"}], startupProbe={"path": "/"}))
    tags = [{"name": "z", "value": "1"}, {"name": "a", "value": "2"}]
    source = await whole(ada, "createArtifact", name="a" * 200, description="d", tags=tags, spec=spec)
    async with history.unchanged(slipway):
        refused = await ada.mutate("cloneArtifact", artifactId=source["id"])
        assert [each["code"] for each in refused["blockers"]] == ["ARTIFACT_DRAFT"]
    locked = await whole(ada, "lockArtifact", artifactId=source["id"])
    async with history.written(slipway) as lines:
        copy = await whole(ada, "cloneArtifact", artifactId=source["id"])
    name = "a" * 193 + " (copy)"
    assert lines == [("ARTIFACT_CLONED", copy["id"], "ada", {"clonedFrom": source["id"], "name": name})]
    old, new = source["containerGroups"][0]["containers"][0], copy["containerGroups"][0]["containers"][0]
    assert new == {**old, "id": new["id"]}
    assert new["id"] != old["id"]
    assert copy == {
        **source,
        "id": copy["id"],
        "name": name,
        "createdAt": copy["createdAt"],
        "updatedAt": copy["createdAt"],
        "clonedFrom": {"id": source["id"]},
        "containerGroups": [{"name": "default", "containers": [new]}],
        "repository": {**locked["repository"], "updatedAt": copy["createdAt"], "artifactCount": 2},
    }
    assert (await whole(ada, "cloneArtifact", artifactId=source["id"], name="  own  "))["name"] == "own"
    assert problems(await ada.mutate("cloneArtifact", artifactId=source["id"], name=" ")) == [("name", "TOO_SHORT")]


async def test_a_draft_takes_its_ended_tests_along(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    ended = []
    for _ in range(2):
        workload = await harness.start_test(ada, artifact["id"])
        ended.append(workload["id"])
        async with history.unchanged(slipway):
            refused = await ada.mutate("deleteArtifact", artifactId=artifact["id"])
            assert [(each["code"], each["nodes"]) for each in refused["blockers"]] == [
                ("IN_USE", [{"id": workload["id"]}])
            ]
        await history.put(slipway, workload["id"], "TERMINATED")
    async with history.written(slipway) as lines:
        deleted = await ada.mutate("deleteArtifact", DELETED, artifactId=artifact["id"])
    assert deleted["deletedIds"] == [artifact["id"], *ended]
    assert lines == [("ARTIFACT_DELETED", artifact["id"], "ada", {"name": "hello"})]
    kept = await ada.run("query ($id: ID!) { repository(id: $id) { artifactCount } }", id=artifact["repository"]["id"])
    assert kept == {"repository": {"artifactCount": 0}}
    gone = await ada.mutate("deleteArtifact", artifactId=artifact["id"])
    assert (gone["__typename"], gone["id"]) == ("NotFound", artifact["id"])


async def test_a_locked_artifact_stays(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    workload = await harness.deploy(ada, artifact["id"])
    async with history.unchanged(slipway):
        refused = await ada.mutate("deleteArtifact", artifactId=artifact["id"])
    assert [each["code"] for each in refused["blockers"]] == ["ARTIFACT_LOCKED", "IN_USE"]
    assert workload["id"] in refused["message"]
