"""Which of several problems is answered, changes decided on an old revision, and what makes a revision grow."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from app.db import tables
from tests import harness, snapshots
from tests.api import cases
from tests.harness import Client, Slipway

pytestmark = pytest.mark.slow

ORDER = ("NotFound", "PermissionDenied", "StaleRevision", "InvalidInput", "ActionUnavailable")
STALE = 77


@dataclasses.dataclass(frozen=True)
class World:
    """One owner's things.

    An open draft, a draft under test, a locked artifact with a service that ran another one before and with an ended
    test, and a locked artifact of another type.
    """

    owner: Client
    repository_id: str
    draft: dict[str, Any]
    tested: dict[str, Any]
    locked: dict[str, Any]
    service_id: str
    ended_id: str
    test_id: str
    other_id: str
    agent_id: str


async def world(slipway: Slipway, owner: Client) -> World:
    draft = await harness.new_artifact(owner, "draft", spec=SPEC)
    repository_id = draft["repository"]["id"]
    locked = await harness.new_artifact(owner, "locked", repositoryId=repository_id)
    ended = await harness.start_test(owner, locked["id"])
    async with slipway.session() as session:
        await session.exec(update(tables.WorkloadRow).values(status="TERMINATED", wanted="TERMINATED"))
    tested = await harness.new_artifact(owner, "tested", repositoryId=repository_id)
    test = await harness.start_test(owner, tested["id"])
    other = await harness.new_artifact(owner, "other", repositoryId=repository_id)
    service = await harness.deploy(owner, other["id"], name="locked")
    await harness.lock(owner, locked["id"])
    assert (await owner.mutate("replaceArtifact", workloadId=service["id"], artifactId=locked["id"]))["__typename"] == (
        "WorkloadPayload"
    )
    agent = await harness.lock(owner, (await harness.new_artifact(owner, "agent", type="AGENT"))["id"])
    things = (draft, tested, locked, service["id"], ended["id"], test["id"], other["id"], agent["id"])
    return World(owner, repository_id, *things)


SPEC = harness.spec(
    harness.container(
        name="main", primary=True, environmentVars=[{"name": "A", "value": "1"}], readinessProbe={"path": "/ready"}
    ),
    harness.container(name="side", port=9090),
)

# Each flaw, and what it does to the input of a mutation that would be fine. `unavailable` is the state of its thing.
NO_GRANTS: Mapping[str, Any] = {"grants": []}
FLAWED: Mapping[str, Mapping[str, Any]] = {
    "updateArtifact": {"key": "artifactId", "fine": {"name": "n"}, "invalid": {"name": " "}},
    "addContainer": {
        "key": "artifactId",
        "fine": {"container": harness.container(port=7070)},
        "invalid": {"container": harness.container(port=0)},
    },
    "testArtifact": {"key": "artifactId", "fine": {}, "invalid": {"expiresIn": "PT9H"}},
    "cloneArtifact": {"key": "artifactId", "fine": {}, "invalid": {"name": "\u0007"}},
    "deployArtifact": {"key": "artifactId", "fine": {}, "invalid": {"replicas": -1}},
    "stopArtifact": {"key": "artifactId", "fine": {}},
    "lockArtifact": {"key": "artifactId", "fine": {}},
    "deleteArtifact": {"key": "artifactId", "fine": {}},
    "shareArtifact": {"key": "id", "fine": NO_GRANTS, "invalid": NO_GRANTS},
    "updateRepository": {"key": "repositoryId", "fine": {"name": "n"}, "invalid": {"name": ""}},
    "shareRepository": {"key": "id", "fine": NO_GRANTS, "invalid": NO_GRANTS},
    "deleteRepository": {"key": "repositoryId", "fine": {}},
    "updateWorkload": {"key": "workloadId", "fine": {"name": "n"}, "invalid": {"name": ""}},
    "startWorkload": {"key": "workloadId", "fine": {}},
    "stopWorkload": {"key": "workloadId", "fine": {}},
    "restartWorkload": {"key": "workloadId", "fine": {}},
    "shareWorkload": {"key": "id", "fine": {}, "invalid": NO_GRANTS},
    "configureWorkload": {"key": "workloadId", "fine": {"replicas": 2}, "invalid": {"replicas": -1}},
    "replaceArtifact": {
        "key": "workloadId",
        "fine": {"artifactId": "other_id"},
        "invalid": {"artifactId": "agent_id"},
    },
    "rollbackWorkload": {"key": "workloadId", "fine": {}},
    "promoteWorkload": {"key": "workloadId", "fine": {}},
    "extendTest": {"key": "workloadId", "fine": {"by": "PT1H"}, "invalid": {"by": "PT0S"}},
}


def _input(here: World, key: str, thing: str, *given: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent about a thing; another artifact is named by its field in the world."""
    sent = {name: value for each in given for name, value in each.items()}
    if "artifactId" in sent:
        sent["artifactId"] = getattr(here, sent["artifactId"])
    return {**sent, key: thing}


def _thing(mutation: str, here: World, *, unavailable: bool) -> Any:
    """What to try it on; None where no state makes it unavailable."""
    match mutation:
        case "cloneArtifact":
            return here.draft["id"] if unavailable else here.locked["id"]
        case "deployArtifact" | "shareArtifact":
            return None if unavailable else here.locked["id"]
        case "stopArtifact":
            return here.locked["id"] if unavailable else here.tested["id"]
        case "updateRepository" | "shareRepository":
            return None if unavailable else here.repository_id
        case "deleteRepository":
            return here.repository_id
        case "promoteWorkload" | "extendTest":
            return here.ended_id if unavailable else here.test_id
        case _ if mutation.endswith("Workload") or mutation == "replaceArtifact":
            return here.ended_id if unavailable else here.service_id
        case _:
            return here.locked["id"] if unavailable else here.draft["id"]


@pytest.mark.parametrize("mutation", FLAWED)
async def test_of_several_problems_the_first_is_answered(slipway: Slipway, mutation: str) -> None:
    ada, vic, sam = [await slipway.user(name) for name in ("ada", "vic", "sam")]
    here = await world(slipway, ada)
    viewer = {"user": await cases.user_id(vic), "role": "VIEWER"}
    await ada.mutate("shareRepository", id=here.repository_id, grants=[viewer])
    await ada.mutate("shareArtifact", id=here.agent_id, grants=[viewer])
    flaw = FLAWED[mutation]
    before = await snapshots.dump(slipway)
    pairs = set()
    for chosen in itertools.product((False, True), repeat=len(ORDER)):
        flaws = [problem for problem, here_too in zip(ORDER, chosen, strict=True) if here_too]
        thing = _thing(mutation, here, unavailable="ActionUnavailable" in flaws)
        if not flaws or thing is None or ("InvalidInput" in flaws and "invalid" not in flaw):
            continue
        client = sam if "NotFound" in flaws else vic if "PermissionDenied" in flaws else ada
        given = _input(here, flaw["key"], thing, flaw["fine"], flaw["invalid"] if "InvalidInput" in flaws else {})
        if "StaleRevision" in flaws:
            given["ifRevision"] = STALE
        if mutation == "shareWorkload" and "InvalidInput" not in flaws:
            given["grants"] = [viewer]
        result = await client.mutate(mutation, **given)
        assert result["__typename"] == flaws[0], (flaws, result)
        pairs |= set(itertools.combinations(flaws, 2))
    assert await snapshots.dump(slipway) == before
    impossible = {"InvalidInput"} if "invalid" not in flaw else set()
    if _thing(mutation, here, unavailable=True) is None:
        impossible |= {"ActionUnavailable"}
    possible = [problem for problem in ORDER if problem not in impossible]
    assert pairs == set(itertools.combinations(possible, 2))


async def test_a_read_only_token_is_told_of_what_is_absent_first(slipway: Slipway) -> None:
    reader = await slipway.user("sam", read_only=True)
    here = await world(slipway, await slipway.user("ada"))
    before = await snapshots.dump(slipway)
    for mutation, flaw in FLAWED.items():
        thing = _thing(mutation, here, unavailable=False)
        grants: dict[str, Any] = {"grants": []} if "share" in mutation else {}
        result = await reader.mutate(mutation, **_input(here, flaw["key"], thing, flaw["fine"], grants))
        assert cases.outcome(result) == ("NotFound", thing), mutation
    assert await snapshots.dump(slipway) == before


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        ("createArtifact", {"name": "", "spec": harness.spec()}),
        ("createCredential", {"name": "", "values": []}),
        ("createApiToken", {"label": ""}),
    ],
)
async def test_a_read_only_token_makes_nothing(slipway: Slipway, mutation: str, given: dict[str, Any]) -> None:
    reader = await slipway.user("ada", read_only=True)
    before = await snapshots.dump(slipway)
    assert cases.outcome(await reader.mutate(mutation, **given)) == ("PermissionDenied", None)
    assert await snapshots.dump(slipway) == before


# ── ifRevision ──


def _changes(here: World, somebody: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every mutation that takes ifRevision: (the table of its thing, the mutation, an input that is fine)."""
    main, side = (each["id"] for each in here.draft["containers"])
    draft = {"artifactId": here.draft["id"]}
    service = {"workloadId": here.service_id}
    grants = [{"user": somebody, "role": "VIEWER"}]
    return [
        ("artifacts", "updateArtifact", {**draft, "name": "other"}),
        ("artifacts", "addContainer", {**draft, "container": harness.container(port=7070)}),
        ("artifacts", "updateContainer", {"containerId": side, "port": 6060}),
        ("artifacts", "removeContainer", {"containerId": side}),
        ("artifacts", "setEnvironmentVariables", {"containerId": main, "variables": [{"name": "B", "value": "2"}]}),
        ("artifacts", "removeEnvironmentVariables", {"containerId": main, "names": ["A"]}),
        ("artifacts", "setProbe", {"containerId": main, "kind": "LIVENESS", "probe": {"path": "/alive"}}),
        ("artifacts", "removeProbe", {"containerId": main, "kind": "READINESS"}),
        ("artifacts", "testArtifact", draft),
        ("artifacts", "stopArtifact", {"artifactId": here.tested["id"]}),
        ("artifacts", "lockArtifact", draft),
        ("artifacts", "deployArtifact", draft),
        ("artifacts", "cloneArtifact", {"artifactId": here.locked["id"]}),
        ("artifacts", "shareArtifact", {"id": here.draft["id"], "grants": grants}),
        ("artifacts", "deleteArtifact", draft),
        ("repositories", "updateRepository", {"repositoryId": here.repository_id, "name": "other"}),
        ("repositories", "shareRepository", {"id": here.repository_id, "grants": grants}),
        ("workloads", "updateWorkload", {**service, "name": "other"}),
        ("workloads", "startWorkload", service),
        ("workloads", "stopWorkload", service),
        ("workloads", "restartWorkload", service),
        ("workloads", "configureWorkload", {**service, "replicas": 3}),
        ("workloads", "configureWorkload", {**service, "environment": [{"name": "A", "value": "1"}]}),
        ("workloads", "replaceArtifact", {**service, "artifactId": here.other_id}),
        ("workloads", "rollbackWorkload", service),
        ("workloads", "promoteWorkload", {"workloadId": here.test_id}),
        ("workloads", "extendTest", {"workloadId": here.test_id, "by": "PT1H"}),
        ("workloads", "shareWorkload", {"id": here.service_id, "grants": grants}),
        ("workloads", "deleteWorkload", service),
    ]


async def test_a_change_that_was_decided_on_another_revision_is_refused(slipway: Slipway) -> None:
    ada, sam = await slipway.user("ada"), await slipway.user("sam")
    here = await world(slipway, ada)
    current = 7
    async with slipway.session() as session:
        for table in (tables.RepositoryRow, tables.ArtifactRow, tables.WorkloadRow):
            await session.exec(update(table).values(revision=current))
    before = await snapshots.dump(slipway)
    for _, mutation, given in _changes(here, await cases.user_id(sam)):
        for other in (current - 1, current + 1, 0, -1):
            result = await ada.mutate(mutation, **given, ifRevision=other)
            assert cases.outcome(result) == ("StaleRevision", current), (mutation, other)
            assert await snapshots.dump(slipway) == before
        result = await ada.mutate(mutation, **given, ifRevision=current)
        assert cases.outcome(result) == ("done",), (mutation, result)
        await snapshots.restore(slipway, before)


async def test_an_empty_repository_is_deleted_at_its_revision_alone(ada: Client, slipway: Slipway) -> None:
    artifact = await harness.new_artifact(ada)
    given = {"repositoryId": artifact["repository"]["id"]}
    before = await snapshots.dump(slipway)
    assert cases.outcome(await ada.mutate("deleteRepository", **given, ifRevision=2)) == ("StaleRevision", 1)
    assert await snapshots.dump(slipway) == before
    assert cases.outcome(await ada.mutate("deleteRepository", **given, ifRevision=1)) == ("done",)


# ── what makes a revision grow ──


async def test_what_changes_nothing_leaves_everything_as_it_was(slipway: Slipway) -> None:
    ada, sam = await slipway.user("ada"), await slipway.user("sam")
    here = await world(slipway, ada)
    artifact, container = here.draft["id"], here.draft["containers"][0]["id"]
    held = [{"user": await cases.user_id(ada), "role": "OWNER"}, {"user": await cases.user_id(sam), "role": None}]
    tags = [{"name": "b"}, {"name": "a", "value": "1"}]
    await ada.mutate("updateArtifact", artifactId=artifact, tags=tags)
    await ada.mutate("updateRepository", repositoryId=here.repository_id, tags=tags)
    await ada.mutate("updateWorkload", workloadId=here.service_id, tags=tags)
    before = await snapshots.dump(slipway)
    named = {"name": "draft", "description": "", "tags": tags}
    nothings: Sequence[tuple[str, dict[str, Any]]] = [
        ("updateArtifact", {"artifactId": artifact}),
        ("updateArtifact", {"artifactId": artifact, **named, "spec": SPEC}),
        ("updateArtifact", {"artifactId": artifact, "name": "  draft "}),
        ("updateArtifact", {"artifactId": here.locked["id"]}),
        ("updateArtifact", {"artifactId": here.locked["id"], "tags": []}),
        ("updateContainer", {"containerId": container}),
        ("updateContainer", {"containerId": container, "name": "main", "port": 8080, "primary": True}),
        ("setEnvironmentVariables", {"containerId": container, "variables": [{"name": "A", "value": "1"}]}),
        ("removeEnvironmentVariables", {"containerId": container, "names": []}),
        ("setProbe", {"containerId": container, "kind": "READINESS", "probe": {"path": "/ready"}}),
        ("shareArtifact", {"id": artifact, "grants": held}),
        ("updateRepository", {"repositoryId": here.repository_id, **named}),
        ("shareRepository", {"id": here.repository_id, "grants": held}),
        ("updateWorkload", {"workloadId": here.service_id, "name": "locked", "importance": "LOW", "tags": tags}),
        ("shareWorkload", {"id": here.service_id, "grants": held}),
        ("configureWorkload", {"workloadId": here.service_id}),
        ("configureWorkload", {"workloadId": here.service_id, "replicas": 1, "resources": [], "environment": []}),
        ("startWorkload", {"workloadId": here.service_id}),
        ("deleteWorkload", {"workloadId": here.ended_id}),
    ]
    for mutation, given in nothings:
        result = await ada.mutate(mutation, **given)
        assert cases.outcome(result) == ("done",), (mutation, result)
        assert await snapshots.dump(slipway) == before, mutation


async def test_a_command_that_is_repeated_counts_once(ada: Client, slipway: Slipway) -> None:
    workload = await harness.deploy(ada, (await harness.new_artifact(ada))["id"])
    for mutation in ("stopWorkload", "deleteWorkload"):
        assert cases.outcome(await ada.mutate(mutation, workloadId=workload["id"])) == ("done",)
        once = await snapshots.dump(slipway)
        assert cases.outcome(await ada.mutate(mutation, workloadId=workload["id"])) == ("done",)
        assert await snapshots.dump(slipway) == once, mutation


async def test_each_change_grows_the_revision_of_its_thing_by_one(slipway: Slipway) -> None:
    ada, sam = await slipway.user("ada"), await slipway.user("sam")
    here = await world(slipway, ada)
    before = await snapshots.dump(slipway)
    left = {"testArtifact", "stopArtifact", "cloneArtifact", "deleteArtifact", "startWorkload"}
    for table, mutation, given in _changes(here, await cases.user_id(sam)):
        await ada.mutate(mutation, **given)
        revisions = snapshots.changes(before, await snapshots.dump(slipway))["revisions"]
        beside = {"stopArtifact": {"workloads": 1}, "promoteWorkload": {"artifacts": 1}}.get(mutation, {})
        assert revisions == {**beside, **({} if mutation in left else {table: 1})}, mutation
        await snapshots.restore(slipway, before)


async def test_one_change_of_many_things_grows_the_revision_by_one(ada: Client, slipway: Slipway) -> None:
    artifact = await harness.new_artifact(ada)
    everything = {"name": "n", "description": "d", "tags": [{"name": "t"}], "spec": SPEC}
    result = await ada.mutate("updateArtifact", harness.ARTIFACT, artifactId=artifact["id"], **everything)
    assert result["artifact"]["revision"] == 2
