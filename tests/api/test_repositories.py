"""Repositories: they move with their artifacts, and go only when nothing in them must stay."""

from typing import Any

from tests import harness
from tests.api import history
from tests.harness import Client, Slipway

REPOSITORY = "... on RepositoryPayload { repository { name description type revision tags { name value } } }"


async def updated_at(client: Client, repository_id: str) -> str:
    found = await client.run("query ($id: ID!) { repository(id: $id) { updatedAt revision } }", id=repository_id)
    assert found["repository"]["revision"] == 1
    return str(found["repository"]["updatedAt"])


async def test_an_update_changes_what_it_names(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    repository_id = artifact["repository"]["id"]
    given = {"name": " Web ", "tags": [{"name": "team", "value": "ml"}]}
    async with history.written(slipway) as lines:
        result = await ada.mutate("updateRepository", REPOSITORY, repositoryId=repository_id, ifRevision=1, **given)
    expected = {"name": "Web", "description": "", "type": "SERVICE", "revision": 2, "tags": given["tags"]}
    assert result["repository"] == expected
    changes = {"name": {"before": "hello", "after": "Web"}, "tags": {"before": {}, "after": {"team": "ml"}}}
    assert lines == [("REPOSITORY_CHANGED", repository_id, "ada", changes)]
    async with history.unchanged(slipway):
        again = await ada.mutate("updateRepository", REPOSITORY, repositoryId=repository_id, **given)
        assert again["repository"] == expected
        wrong = await ada.mutate("updateRepository", repositoryId=repository_id, name="\n", description="d" * 5_001)
        assert [(each["path"], each["code"]) for each in wrong["issues"]] == [
            ("name", "TOO_SHORT"),
            ("description", "TOO_LONG"),
        ]
        stale = await ada.mutate("updateRepository", repositoryId=repository_id, name="x", ifRevision=1)
        assert (stale["__typename"], stale["currentRevision"]) == ("StaleRevision", 2)
    untouched = await ada.run("query ($id: ID!) { artifact(id: $id) { name revision } }", id=artifact["id"])
    assert untouched["artifact"] == {"name": "hello", "revision": 1}


async def test_it_moves_with_its_artifacts(ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    repository_id, artifact_id = artifact["repository"]["id"], artifact["id"]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("createArtifact", {"name": "b", "repositoryId": repository_id, "spec": harness.spec()}),
        ("updateArtifact", {"artifactId": artifact_id, "tags": [{"name": "a"}]}),
        ("addContainer", {"artifactId": artifact_id, "container": {"imageUri": "a"}}),
        ("shareArtifact", {"id": artifact_id, "grants": [{"everyone": True, "role": "VIEWER"}]}),
        ("lockArtifact", {"artifactId": artifact_id}),
        ("cloneArtifact", {"artifactId": artifact_id}),
    ]
    before = await updated_at(ada, repository_id)
    for name, given in changes:
        await ada.mutate(name, **given)
        after = await updated_at(ada, repository_id)
        assert after > before, name
        before = after
    for name, given in (
        ("updateArtifact", {"artifactId": artifact_id, "tags": [{"name": "a"}]}),
        ("updateArtifact", {"artifactId": artifact_id, "name": "x"}),
        ("deployArtifact", {"artifactId": artifact_id}),
    ):
        await ada.mutate(name, **given)
        assert await updated_at(ada, repository_id) == before, name


async def test_it_goes_with_its_drafts_and_their_ended_tests(slipway: Slipway, ada: Client) -> None:
    first = await harness.new_artifact(ada, "first")
    repository_id = first["repository"]["id"]
    second = await harness.new_artifact(ada, "second", repositoryId=repository_id)
    test = await harness.start_test(ada, first["id"])
    async with history.unchanged(slipway):
        refused = await ada.mutate("deleteRepository", repositoryId=repository_id)
        assert [(each["code"], each["nodes"]) for each in refused["blockers"]] == [("IN_USE", [{"id": test["id"]}])]
    await history.put(slipway, test["id"], "TERMINATED")
    async with history.written(slipway) as lines:
        selection = "... on DeletePayload { deletedIds }"
        deleted = await ada.mutate("deleteRepository", selection, repositoryId=repository_id, ifRevision=1)
    assert deleted["deletedIds"] == [repository_id, first["id"], test["id"], second["id"]]
    assert [(kind, subject, changes) for kind, subject, _, changes in lines] == [
        ("ARTIFACT_DELETED", first["id"], {"name": "first"}),
        ("ARTIFACT_DELETED", second["id"], {"name": "second"}),
        ("REPOSITORY_DELETED", repository_id, {"name": "first"}),
    ]
    everything = "{ repositories { totalCount } artifacts { totalCount } workloads { totalCount } }"
    assert await ada.run(everything) == {
        "repositories": {"totalCount": 0},
        "artifacts": {"totalCount": 0},
        "workloads": {"totalCount": 0},
    }


async def test_one_without_artifacts_stays_and_can_go(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    await ada.mutate("deleteArtifact", artifactId=artifact["id"])
    repository_id = artifact["repository"]["id"]
    again = await harness.new_artifact(ada, "again", repositoryId=repository_id)
    await harness.lock(ada, again["id"])
    async with history.unchanged(slipway):
        refused = await ada.mutate("deleteRepository", repositoryId=repository_id)
        assert [(each["code"], each["nodes"]) for each in refused["blockers"]] == [
            ("HAS_LOCKED_ARTIFACTS", [{"id": again["id"]}])
        ]
    empty = await harness.new_artifact(ada, "empty")
    await ada.mutate("deleteArtifact", artifactId=empty["id"])
    selection = "... on DeletePayload { deletedIds }"
    deleted = await ada.mutate("deleteRepository", selection, repositoryId=empty["repository"]["id"])
    assert deleted["deletedIds"] == [empty["repository"]["id"]]
