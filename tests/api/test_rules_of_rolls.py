"""What may be asked of a service that was replaced before, or is being replaced, and exactly why not."""

from typing import Any

import pytest

from tests import harness, snapshots
from tests.api import cases, history, rolls
from tests.api.cases import Case
from tests.api.test_rules import STARTED, changed, effect, moved
from tests.harness import Client, Slipway

pytestmark = pytest.mark.slow

STATUSES = (*STARTED, "STOPPING", "STOPPED", "ERRORED", "TERMINATED")
ENVIRONMENT = [{"name": "A", "value": "1"}]


async def cast_around(slipway: Slipway, service: rolls.Service) -> dict[str, cases.Person]:
    """Those whose roles make a difference; who else there is, `test_rules` asks."""
    everybody = await cases.cast_of(slipway)
    cast = {name: everybody[name] for name in ("owner", "editor", "viewer")}
    found = await cast["owner"].client.run(
        "query ($id: ID!) { artifact(id: $id) { repository { id } } }", id=service.first
    )
    repository = found["artifact"]["repository"]["id"]
    await cases.share(cast, "shareRepository", repository, editor="EDITOR", viewer="VIEWER")
    return cast


def rolling_cases(service: rolls.Service) -> list[Case]:
    on = {"workloadId": service.id}
    return [
        Case("configureWorkload", {**on, "replicas": 3}, "CONFIGURE", "EDITOR"),
        Case("configureWorkload", {**on, "environment": ENVIRONMENT}, "CONFIGURE", "EDITOR"),
        Case("replaceArtifact", {**on, "artifactId": service.third}, "REPLACE", "EDITOR"),
        Case("rollbackWorkload", on, "ROLLBACK", "EDITOR"),
    ]


@pytest.mark.parametrize("status", STATUSES)
async def test_a_service_that_was_replaced_before(slipway: Slipway, status: str) -> None:
    owner = await slipway.user("ada")
    service = await rolls.service(slipway, owner)
    await rolls.roll(owner, "replaceArtifact", service.id, artifactId=service.second)
    await rolls.end_roll(slipway, service.id)
    await history.put(slipway, service.id, status)
    cast = await cast_around(slipway, service)
    tried = rolling_cases(service)
    blockers = {each.action: ["WORKLOAD_TERMINATED"] for each in tried} if status == "TERMINATED" else {}
    for person in cast.values():
        said = await cases.judged(person, "Workload", service.id)
        assert said is not None
        needed = {"CONFIGURE": "EDITOR", "REPLACE": "EDITOR", "ROLLBACK": "EDITOR"}
        assert {each: said[each] for each in needed} == cases.readable(person, needed, blockers)
    wrong, done = await cases.play(slipway, tried, cast, blockers)
    assert wrong == {}
    assert done == {
        str(case): changed(
            status, *["WORKLOAD_CHANGED"] * (case.action == "CONFIGURE"), rolls="replicas" not in case.given
        )
        for case in tried
        if case.action not in blockers
    }


@pytest.mark.parametrize("status", ["PROVISIONING", "RUNNING"])
async def test_a_service_that_is_being_replaced(slipway: Slipway, status: str) -> None:
    owner = await slipway.user("ada")
    service = await rolls.service(slipway, owner, status)
    await rolls.roll(owner, "replaceArtifact", service.id, artifactId=service.second)
    cast = await cast_around(slipway, service)
    on = {"workloadId": service.id}
    under_way = ["REPLACEMENT_ACTIVE"]
    blockers = {"CONFIGURE": under_way, "REPLACE": under_way, "ROLLBACK": [*under_way, "NO_EARLIER_ARTIFACT"]}
    said = await cases.judged(cast["owner"], "Workload", service.id)
    assert said is not None
    assert {each: said[each] for each in blockers} == {each: sorted(codes) for each, codes in blockers.items()}
    tried = [
        *rolling_cases(service),
        Case("updateWorkload", {**on, "name": "other"}, "EDIT", "EDITOR"),
        Case("startWorkload", on, "START", "EDITOR"),
        Case("stopWorkload", on, "STOP", "EDITOR"),
        Case("restartWorkload", on, "RESTART", "EDITOR"),
        Case("deleteWorkload", on, "DELETE", "OWNER"),
    ]
    wrong, done = await cases.play(slipway, tried, cast, blockers)
    assert wrong == {}
    # Something else is asked for: the replacement is cancelled.
    cancelled = "WORKLOAD_REPLACED"
    assert done == {
        "updateWorkload(workloadId, name)": effect("WORKLOAD_CHANGED", workloads=1),
        "startWorkload(workloadId)": effect(),
        "stopWorkload(workloadId)": moved("STOPPING", "STOPPED", cancelled, "WORKLOAD_STATUS"),
        "restartWorkload(workloadId)": moved("SUBMITTED", "RUNNING", cancelled, "WORKLOAD_STATUS"),
        "deleteWorkload(workloadId)": moved("STOPPING", "TERMINATED", cancelled, "WORKLOAD_STATUS", "WORKLOAD_DELETED"),
    }


@pytest.fixture
async def things(slipway: Slipway, ada: Client) -> dict[str, str]:
    """The ids of what can be named: a service, a test, and artifacts that fit or do not."""
    service = await rolls.service(slipway, ada)
    draft = await harness.new_artifact(ada, "draft")
    tested = await harness.new_artifact(ada, "tested")
    edited = await harness.new_artifact(ada, "edited")
    trials = {each["name"]: await harness.start_test(ada, each["id"]) for each in (tested, edited)}
    await ada.mutate("updateArtifact", artifactId=edited["id"], spec=harness.spec(harness.container(port=9090)))
    outlived = await harness.new_artifact(ada, "outlived")
    trials["outlived"] = await harness.start_test(ada, outlived["id"])
    await harness.lock(ada, outlived["id"])
    agent = await rolls.locked(ada, "agent", type="AGENT")
    model = await harness.new_artifact(ada, "model", type="NIM")
    return {
        "service": service.id,
        "same": service.first,
        "another": service.second,
        "draft": draft["id"],
        "agent": agent["id"],
        "draft of a model": model["id"],
        **{f"test of {name}": trial["id"] for name, trial in trials.items()},
    }


UNAVAILABLE: list[tuple[str, str, str | None, dict[str, str]]] = [
    (
        "replaceArtifact",
        "service",
        "draft",
        {"STATUS_MISMATCH": "Only a service can be replaced, and only by a locked artifact."},
    ),
    (
        "replaceArtifact",
        "test of tested",
        "another",
        {"STATUS_MISMATCH": "Only a service can be replaced, and only by a locked artifact."},
    ),
    ("replaceArtifact", "service", "same", {"SAME_ARTIFACT": "The workload runs this artifact already."}),
    (
        "rollbackWorkload",
        "service",
        None,
        {"NO_EARLIER_ARTIFACT": "The workload was never replaced: there is nothing to go back to."},
    ),
    (
        "rollbackWorkload",
        "test of tested",
        None,
        {"NO_EARLIER_ARTIFACT": "The workload was never replaced: there is nothing to go back to."},
    ),
    ("promoteWorkload", "service", None, {"NOT_A_TEST": "The workload is a service, not a test."}),
    ("extendTest", "service", None, {"NOT_A_TEST": "The workload is a service, not a test."}),
    (
        "promoteWorkload",
        "test of edited",
        None,
        {"ARTIFACT_CHANGED": "The draft was edited since this test was started: test it again."},
    ),
    (
        "promoteWorkload",
        "test of outlived",
        None,
        {"ARTIFACT_LOCKED": "The artifact is locked and can't change: clone it to go on."},
    ),
]


async def test_exactly_why_not(slipway: Slipway, ada: Client, things: dict[str, str]) -> None:
    before = await snapshots.dump(slipway)
    for mutation, workload, target, blockers in UNAVAILABLE:
        given: dict[str, Any] = {"workloadId": things[workload]}
        given |= {"artifactId": things[target]} if target else {}
        given |= {"by": "PT1H"} if mutation == "extendTest" else {}
        refused = await ada.mutate(mutation, **given)
        assert refused["__typename"] == "ActionUnavailable", (mutation, workload, target)
        assert {each["code"]: each["message"] for each in refused["blockers"]} == blockers
    assert await snapshots.dump(slipway) == before


@pytest.mark.parametrize("target", ["agent", "draft of a model"])
async def test_another_type_is_wrong_input(slipway: Slipway, ada: Client, things: dict[str, str], target: str) -> None:
    async with history.unchanged(slipway):
        refused = await ada.mutate("replaceArtifact", workloadId=things["service"], artifactId=things[target])
    kind = "AGENT" if target == "agent" else "NIM"
    assert refused["issues"] == [
        {
            "path": "artifactId",
            "code": "TYPE_MISMATCH",
            "message": f"It is of type {kind}; the workload runs SERVICE.",
        }
    ]


@pytest.mark.parametrize("role", [None, "VIEWER", "EDITOR", "OWNER"])
async def test_what_takes_over_must_be_ones_own_to_run(
    slipway: Slipway, ada: Client, grace: Client, role: str | None
) -> None:
    """A role on the workload is not enough: it would let its editors run what they may not even see."""
    service = await rolls.service(slipway, ada)
    whose = await harness.user_id(grace)
    await harness.share(ada, "Workload", service.id, {"user": whose, "role": "OWNER"})
    if role is not None:
        await harness.share(ada, "Artifact", service.second, {"user": whose, "role": role})
    before = await snapshots.dump(slipway)
    result = await grace.mutate("replaceArtifact", workloadId=service.id, artifactId=service.second)
    expected: dict[str | None, tuple[Any, ...]] = {
        None: ("NotFound", service.second),
        "VIEWER": ("PermissionDenied", "EDITOR"),
    }
    assert cases.outcome(result) == expected.get(role, ("done",))
    assert (await snapshots.dump(slipway) == before) is (role in expected)
