"""How a workload was replaced, as whoever may see the workload sees it."""

from typing import Any

from tests import harness, snapshots
from tests.api import rolls
from tests.harness import Client, Slipway

HISTORY = """query ($id: ID!) { workload(id: $id) {
  artifact { id }
  replacement { id }
  history(first: 10) { totalCount nodes { id workload { id } requestedBy { username }
    from { id name viewerRole containers { id } grants { role } repository { id name viewerRole artifactCount } }
    to { id name version } } } } }"""


async def replaced_elsewhere(slipway: Slipway, ada: Client) -> tuple[rolls.Service, dict[str, Any]]:
    """A service that now runs an artifact of another repository than before."""
    service = await rolls.service(slipway, ada)
    home = await rolls.locked(ada, "home")
    await rolls.roll(ada, "replaceArtifact", service.id, artifactId=home["id"])
    await rolls.end_roll(slipway, service.id)
    return service, home


async def test_the_newest_is_first_and_in_the_workload(slipway: Slipway, ada: Client) -> None:
    service, home = await replaced_elsewhere(slipway, ada)
    found = (await ada.run(HISTORY, id=service.id))["workload"]
    [first] = found["history"]["nodes"]
    assert (found["artifact"]["id"], first["from"]["id"], first["to"]["id"]) == (home["id"], service.first, home["id"])
    await rolls.roll(ada, "rollbackWorkload", service.id)
    found = (await ada.run(HISTORY, id=service.id))["workload"]
    assert [each["to"]["id"] for each in found["history"]["nodes"]] == [service.first, home["id"]]
    assert found["replacement"]["id"] == found["history"]["nodes"][0]["id"]
    node = await ada.run("query ($id: ID!) { node(id: $id) { __typename id } }", id=first["id"])
    assert node["node"] == {"__typename": "Replacement", "id": first["id"]}


async def test_what_a_shared_workload_ran_before_is_a_frame(slipway: Slipway, ada: Client, grace: Client) -> None:
    """It can be reached, with its name and version, over edges and by its id; nothing of it can be done or listed."""
    service, _ = await replaced_elsewhere(slipway, ada)
    await harness.share(ada, "Workload", service.id, {"user": await harness.user_id(grace), "role": "OWNER"})
    found = (await grace.run(HISTORY, id=service.id))["workload"]
    [replacement] = found["history"]["nodes"]
    repository = replacement["from"]["repository"]["id"]
    assert replacement["from"] == {
        "id": service.first,
        "name": "first",
        "viewerRole": "VIEWER",
        "containers": [],
        "grants": [],
        "repository": {"id": repository, "name": "first", "viewerRole": "VIEWER", "artifactCount": 0},
    }
    for thing in (replacement["id"], service.first, repository):
        assert (await grace.run("query ($id: ID!) { node(id: $id) { id } }", id=thing))["node"] == {"id": thing}
    for unseen in (service.second, service.third):
        assert (await grace.run("query ($id: ID!) { node(id: $id) { id } }", id=unseen))["node"] is None
    lists = await grace.run("{ repositories { totalCount } artifacts { totalCount } workloads { totalCount } }")
    assert [each["totalCount"] for each in lists.values()] == [0, 0, 1]
    before = await snapshots.dump(slipway)
    for mutation, given in (
        ("deployArtifact", {"artifactId": service.first}),
        ("cloneArtifact", {"artifactId": service.first}),
        ("updateRepository", {"repositoryId": repository, "name": "mine"}),
        ("replaceArtifact", {"workloadId": service.id, "artifactId": service.first}),
    ):
        assert (await grace.mutate(mutation, **given))["__typename"] == "PermissionDenied", mutation
    assert await snapshots.dump(slipway) == before


async def test_the_history_goes_with_the_role(slipway: Slipway, ada: Client, grace: Client) -> None:
    service, home = await replaced_elsewhere(slipway, ada)
    whose = {"user": await harness.user_id(grace)}
    things = {"Workload": service.id, "Artifact": home["id"], "Repository": home["repository"]["id"]}
    [replacement] = (await ada.run(HISTORY, id=service.id))["workload"]["history"]["nodes"]
    document = "query ($id: ID!) { node(id: $id) { id } }"
    for kind, thing in things.items():
        for role in ("VIEWER", None):
            await harness.share(ada, kind, thing, {**whose, "role": role})
            for each in (replacement["id"], service.first):
                found = (await grace.run(document, id=each))["node"]
                assert found == ({"id": each} if role else None), (kind, role)
    # A role on what it ran before is none on the workload.
    await harness.share(ada, "Artifact", service.first, {**whose, "role": "OWNER"})
    assert (await grace.run(document, id=replacement["id"]))["node"] is None
    assert (await grace.run(document, id=service.id))["node"] is None
