"""The first session of a user, over HTTP, from nothing to a deployed service and back."""

from tests import harness


async def test_from_nothing_to_a_service_and_back(ada: harness.Client) -> None:
    draft = await harness.new_artifact(ada, "hello", tags=[{"name": "team", "value": "ml"}])
    assert (draft["status"], draft["version"], draft["revision"]) == ("DRAFT", None, 1)
    artifact_id = draft["id"]

    trial = await harness.start_test(ada, artifact_id, expiresIn="PT1H")
    assert (trial["purpose"], trial["status"]) == ("TEST", "SUBMITTED")
    assert trial["endpoint"] == f"{harness.PUBLIC_URL}/endpoints/{trial['id']}/"

    edited = await ada.mutate("updateArtifact", harness.ARTIFACT, artifactId=artifact_id, name="Hello", ifRevision=1)
    assert (edited["artifact"]["name"], edited["artifact"]["revision"]) == ("Hello", 2)

    stopped = await ada.mutate(
        "stopArtifact", "... on TestArtifactPayload { workload { status } }", artifactId=artifact_id
    )
    assert stopped["workload"]["status"] == "STOPPING"

    locked = await harness.lock(ada, artifact_id)
    assert (locked["status"], locked["version"], locked["revision"]) == ("LOCKED", 1, 3)

    refused = await ada.mutate("updateArtifact", artifactId=artifact_id, name="Other")
    assert [blocker["code"] for blocker in refused["blockers"]] == ["ARTIFACT_LOCKED"]

    first = await harness.deploy(ada, artifact_id)
    second = await harness.deploy(ada, artifact_id, name="second", replicas=2, importance="HIGH")
    assert (first["name"], second["name"]) == ("Hello", "second")
    assert first["digest"] == second["digest"] == locked["digest"]

    seen = await ada.run(
        """query ($id: ID!) { artifact(id: $id) {
          tags { name value }
          workloads(orderBy: {field: NAME}) { totalCount nodes { name purpose replicas importance } }
          testWorkload { id } actions { action available blockers { code } }
          repository { name lastVersion artifactCount }
        } }""",
        id=artifact_id,
    )
    assert seen["artifact"] == {
        "tags": [{"name": "team", "value": "ml"}],
        "workloads": {
            "totalCount": 3,
            "nodes": [
                {"name": "hello", "purpose": "TEST", "replicas": 1, "importance": "LOW"},
                {"name": "Hello", "purpose": "SERVICE", "replicas": 1, "importance": "LOW"},
                {"name": "second", "purpose": "SERVICE", "replicas": 2, "importance": "HIGH"},
            ],
        },
        "testWorkload": None,
        "actions": [
            {"action": "EDIT", "available": False, "blockers": [{"code": "ARTIFACT_LOCKED"}]},
            {"action": "TAG", "available": True, "blockers": []},
            {"action": "TEST", "available": False, "blockers": [{"code": "ARTIFACT_LOCKED"}]},
            {"action": "STOP", "available": False, "blockers": [{"code": "ARTIFACT_LOCKED"}]},
            {"action": "LOCK", "available": False, "blockers": [{"code": "ARTIFACT_LOCKED"}]},
            {"action": "DEPLOY", "available": True, "blockers": []},
            {"action": "SHARE", "available": True, "blockers": []},
            {"action": "DELETE", "available": False, "blockers": [{"code": "ARTIFACT_LOCKED"}, {"code": "IN_USE"}]},
            {"action": "CLONE", "available": True, "blockers": []},
        ],
        "repository": {"name": "hello", "lastVersion": 1, "artifactCount": 1},
    }

    running = await ada.run("query ($id: ID!) { workload(id: $id) { logs { text } manifest } }", id=second["id"])
    assert running["workload"]["logs"] == []
    assert "replicas: 2\n" in running["workload"]["manifest"]

    clone = await ada.mutate("cloneArtifact", harness.ARTIFACT, artifactId=artifact_id)
    assert (clone["artifact"]["name"], clone["artifact"]["status"]) == ("Hello (copy)", "DRAFT")
    assert clone["artifact"]["digest"] == locked["digest"]

    deleted = await ada.mutate(
        "deleteArtifact", "... on DeletePayload { deletedIds }", artifactId=clone["artifact"]["id"]
    )
    assert deleted["deletedIds"] == [clone["artifact"]["id"]]
    kept = await ada.mutate("deleteRepository", repositoryId=draft["repository"]["id"])
    assert [blocker["code"] for blocker in kept["blockers"]] == ["HAS_LOCKED_ARTIFACTS", "IN_USE"]
