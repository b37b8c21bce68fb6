"""Every mutation in every state by everybody: allowed, or refused with exactly this problem and nothing changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from app.db import tables
from tests import harness, snapshots
from tests.api import cases
from tests.api.cases import Case, Person
from tests.harness import Client, Slipway

ARTIFACT_NEEDS = {
    "EDIT": "EDITOR",
    "TAG": "EDITOR",
    "TEST": "EDITOR",
    "STOP": "EDITOR",
    "LOCK": "EDITOR",
    "DEPLOY": "EDITOR",
    "SHARE": "OWNER",
    "DELETE": "OWNER",
    "CLONE": "EDITOR",
}
FINAL = {
    "EDIT": ["ARTIFACT_LOCKED"],
    "TEST": ["ARTIFACT_LOCKED"],
    "STOP": ["ARTIFACT_LOCKED"],
    "LOCK": ["ARTIFACT_LOCKED"],
}
ARTIFACT_BLOCKERS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "draft": {"STOP": ["NO_ACTIVE_TEST"], "CLONE": ["ARTIFACT_DRAFT"]},
    "draft under test": {"TEST": ["TEST_ACTIVE"], "CLONE": ["ARTIFACT_DRAFT"], "DELETE": ["IN_USE"]},
    "draft with an ended test": {"STOP": ["NO_ACTIVE_TEST"], "CLONE": ["ARTIFACT_DRAFT"]},
    "locked": {**FINAL, "DELETE": ["ARTIFACT_LOCKED"]},
    "locked in use": {**FINAL, "DELETE": ["ARTIFACT_LOCKED", "IN_USE"]},
    "locked with a test that outlived it": {**FINAL, "DELETE": ["ARTIFACT_LOCKED", "IN_USE"]},
}


def effect(*events: str, moved: Sequence[str] = (), **revisions: int) -> dict[str, Any]:
    """What an allowed mutation leaves behind: see `snapshots.changes`."""
    return {"events": list(events), "revisions": revisions, "moved": list(moved)}


ARTIFACT_EFFECTS = {
    "EDIT": effect("ARTIFACT_CHANGED", artifacts=1),
    "TAG": effect("ARTIFACT_CHANGED", artifacts=1),
    "TEST": effect("WORKLOAD_CREATED"),
    "STOP": effect("WORKLOAD_STATUS", workloads=1, moved=["STOPPING, to be TERMINATED"]),
    "LOCK": effect("ARTIFACT_LOCKED", artifacts=1),
    "DEPLOY": effect("WORKLOAD_CREATED"),
    "DEPLOY of a draft": effect("ARTIFACT_LOCKED", "WORKLOAD_CREATED", artifacts=1),
    "SHARE": effect("ARTIFACT_SHARED", artifacts=1),
    "DELETE": effect("ARTIFACT_DELETED"),
    "CLONE": effect("ARTIFACT_CLONED"),
}
TWO_CONTAINERS = harness.spec(
    harness.container(
        name="main", primary=True, environmentVars=[{"name": "A", "value": "1"}], readinessProbe={"path": "/ready"}
    ),
    harness.container(name="side", port=9090),
)


def artifact_cases(artifact: Mapping[str, Any], somebody: str) -> list[Case]:
    main, side = (each["id"] for each in artifact["containers"])
    on = {"artifactId": artifact["id"]}
    edits = [
        ("updateArtifact", {**on, "name": "other"}),
        ("updateArtifact", {**on, "description": "other"}),
        ("updateArtifact", {**on, "spec": harness.spec()}),
        ("updateArtifact", {**on, "name": "other", "tags": [{"name": "t"}]}),
        ("addContainer", {**on, "container": harness.container(port=7070)}),
        ("updateContainer", {"containerId": side, "port": 6060}),
        ("removeContainer", {"containerId": side}),
        ("setEnvironmentVariables", {"containerId": main, "variables": [{"name": "A", "value": "2"}]}),
        ("removeEnvironmentVariables", {"containerId": main, "names": ["A"]}),
        ("setProbe", {"containerId": main, "kind": "LIVENESS", "probe": {"path": "/alive"}}),
        ("removeProbe", {"containerId": main, "kind": "READINESS"}),
    ]
    return [
        *(Case(name, given, "EDIT", "EDITOR") for name, given in edits),
        Case("updateArtifact", {**on, "tags": [{"name": "t"}]}, "TAG", "EDITOR"),
        Case("testArtifact", on, "TEST", "EDITOR"),
        Case("stopArtifact", on, "STOP", "EDITOR"),
        Case("lockArtifact", on, "LOCK", "EDITOR"),
        Case("deployArtifact", on, "DEPLOY", "EDITOR"),
        Case("cloneArtifact", on, "CLONE", "EDITOR"),
        Case(
            "shareArtifact", {"id": artifact["id"], "grants": [{"user": somebody, "role": "VIEWER"}]}, "SHARE", "OWNER"
        ),
        Case("deleteArtifact", on, "DELETE", "OWNER"),
    ]


async def artifact_in(owner: Client, state: str) -> tuple[dict[str, Any], str | None]:
    """An artifact in a state, and the id of its workload."""
    artifact = await harness.new_artifact(owner, spec=TWO_CONTAINERS)
    workload = None
    if "test" in state:
        workload = await harness.start_test(owner, artifact["id"])
    if state.startswith("locked"):
        await harness.lock(owner, artifact["id"])
    if state == "locked in use":
        workload = await harness.deploy(owner, artifact["id"])
    return artifact, None if workload is None else workload["id"]


async def locked_beside(owner: Client, artifact: Mapping[str, Any]) -> str:
    """The id of another locked artifact in the repository of this one."""
    other = await harness.new_artifact(owner, "other", repositoryId=artifact["repository"]["id"])
    return str((await harness.lock(owner, other["id"]))["id"])


async def set_status(slipway: Slipway, status: str, wanted: str) -> None:
    """What the reconciler would do, to every workload."""
    async with slipway.session() as session:
        await session.exec(update(tables.WorkloadRow).values(status=status, wanted=wanted))


@pytest.mark.parametrize("state", ARTIFACT_BLOCKERS)
async def test_artifacts(slipway: Slipway, state: str) -> None:
    cast = await cases.cast_of(slipway)
    artifact, workload_id = await artifact_in(cast["owner"].client, state)
    somebody = await cases.user_id(cast["stranger"].client)
    await cases.share(cast, "shareRepository", artifact["repository"]["id"], editor="EDITOR", viewer="VIEWER")
    cast["editor of the artifact alone"] = Person(await slipway.user("alo"), "EDITOR")
    cast["owner of a workload alone"] = Person(await slipway.user("wor"), "VIEWER" if workload_id else None)
    await cases.share(cast, "shareArtifact", artifact["id"], **{"editor of the artifact alone": "EDITOR"})
    if workload_id is not None:
        await cases.share(cast, "shareWorkload", workload_id, **{"owner of a workload alone": "OWNER"})
    if "ended" in state:
        await set_status(slipway, "TERMINATED", "TERMINATED")
    blockers = ARTIFACT_BLOCKERS[state]

    for name, person in cast.items():
        assert await cases.judged(person, "Artifact", artifact["id"]) == cases.readable(
            person, ARTIFACT_NEEDS, blockers
        ), name
    tried = artifact_cases(artifact, somebody)
    wrong, done = await cases.play(slipway, tried, cast, blockers)
    for case in tried:  # a frame shows no containers
        if "containerId" in case.given and workload_id is not None:
            frame = wrong.pop(f"owner of a workload alone: {case}")
            assert frame == (("NotFound", case.given["containerId"]), ("PermissionDenied", "EDITOR"))
    assert wrong == {}
    allowed = [case for case in tried if case.action not in blockers]
    draft = " of a draft" if state.startswith("draft") else ""
    assert done == {
        str(each): ARTIFACT_EFFECTS.get(f"{each.action}{draft}", ARTIFACT_EFFECTS[each.action]) for each in allowed
    }


def moved(status: str, wanted: str, *events: str) -> dict[str, Any]:
    """The effect of a command that moves a workload."""
    return effect(*(events or ("WORKLOAD_STATUS",)), workloads=1, moved=[f"{status}, to be {wanted}"])


WORKLOAD_NEEDS = {
    "EDIT": "EDITOR",
    "CONFIGURE": "EDITOR",
    "START": "EDITOR",
    "STOP": "EDITOR",
    "RESTART": "EDITOR",
    "PROMOTE": "EDITOR",
    "REPLACE": "EDITOR",
    "ROLLBACK": "EDITOR",
    "EXTEND": "EDITOR",
    "SHARE": "OWNER",
    "DELETE": "OWNER",
}
STARTED = ("SUBMITTED", "PROVISIONING", "LAUNCHING", "RUNNING", "INTERRUPTED")
ENDED = ["WORKLOAD_TERMINATED"]
WORKLOAD_BLOCKERS: Mapping[str, Mapping[str, Sequence[str]]] = {
    **{each: {} for each in (*STARTED, "ERRORED")},
    "STOPPING": {"START": ["WORKLOAD_ACTIVE"], "RESTART": ["WORKLOAD_NOT_ACTIVE"]},
    "STOPPED": {"RESTART": ["WORKLOAD_NOT_ACTIVE"]},
    "TERMINATED": dict.fromkeys(set(WORKLOAD_NEEDS) - {"DELETE"}, ENDED),
}
PURPOSE_BLOCKERS: Mapping[str, Mapping[str, str]] = {
    "TEST": {"REPLACE": "STATUS_MISMATCH", "ROLLBACK": "NO_EARLIER_ARTIFACT"},
    "TEST STOPPING": {"PROMOTE": "WORKLOAD_NOT_ACTIVE", "EXTEND": "WORKLOAD_NOT_ACTIVE"},
    "SERVICE": {"PROMOTE": "NOT_A_TEST", "EXTEND": "NOT_A_TEST", "ROLLBACK": "NO_EARLIER_ARTIFACT"},
}
NOTHING = effect()
# What each action does from each status; elsewhere, nothing.
MOVES: Mapping[tuple[str, str], dict[str, Any]] = {
    **{(each, "RESTART"): moved("SUBMITTED", "RUNNING") for each in (*STARTED[1:], "ERRORED")},
    ("SUBMITTED", "RESTART"): effect(workloads=1),
    ("STOPPED", "START"): moved("SUBMITTED", "RUNNING"),
    ("ERRORED", "START"): moved("SUBMITTED", "RUNNING"),
    **{
        (each, "DELETE"): moved("STOPPING", "TERMINATED", "WORKLOAD_STATUS", "WORKLOAD_DELETED")
        for each in (*STARTED, "ERRORED")
    },
    ("STOPPED", "DELETE"): moved("TERMINATED", "TERMINATED", "WORKLOAD_STATUS", "WORKLOAD_DELETED"),
}
SERVICE_MOVES = {
    **{(each, "STOP"): moved("STOPPING", "STOPPED") for each in (*STARTED, "ERRORED")},
    ("STOPPING", "DELETE"): moved("STOPPING", "TERMINATED", "WORKLOAD_DELETED"),
}
TEST_MOVES = {(each, "STOP"): moved("STOPPING", "TERMINATED") for each in (*STARTED, "ERRORED")}
# What is beside the lines of the history that tell of the change itself. Beside what runs a replacement begins; else it
# is over at once, and what gave up is launched anew.
ANEW = moved("SUBMITTED", "RUNNING", "WORKLOAD_STATUS")


def changed(status: str, *events: str, rolls: bool) -> dict[str, Any]:
    """The effect of another artifact or configuration."""
    replaced = ["WORKLOAD_REPLACED"] * rolls * (1 if status in STARTED[1:] else 2)
    if status == "ERRORED":
        return {**ANEW, "events": [*events, *replaced, *ANEW["events"]]}
    return effect(*events, *replaced, workloads=1)


def roll_effects(status: str) -> dict[str, dict[str, Any]]:
    """What the mutations that change what runs do, by their cases."""
    return {
        "configureWorkload(workloadId, replicas)": changed(status, "WORKLOAD_CHANGED", rolls=False),
        "configureWorkload(workloadId, environment)": changed(status, "WORKLOAD_CHANGED", rolls=True),
        "replaceArtifact(workloadId, artifactId)": changed(status, rolls=True),
        "rollbackWorkload(workloadId)": changed(status, rolls=True),
        "promoteWorkload(workloadId)": effect("ARTIFACT_LOCKED", "WORKLOAD_CHANGED", artifacts=1, workloads=1),
        "extendTest(workloadId, by)": effect("WORKLOAD_CHANGED", workloads=1),
    }


def roll_cases(workload_id: str, target: str) -> list[Case]:
    on = {"workloadId": workload_id}
    return [
        Case("configureWorkload", {**on, "replicas": 2}, "CONFIGURE", "EDITOR"),
        Case("configureWorkload", {**on, "environment": [{"name": "A", "value": "1"}]}, "CONFIGURE", "EDITOR"),
        Case("replaceArtifact", {**on, "artifactId": target}, "REPLACE", "EDITOR"),
        Case("rollbackWorkload", on, "ROLLBACK", "EDITOR"),
        Case("promoteWorkload", on, "PROMOTE", "EDITOR"),
        Case("extendTest", {**on, "by": "PT1H"}, "EXTEND", "EDITOR"),
    ]


def workload_cases(workload_id: str, somebody: str) -> list[Case]:
    on = {"workloadId": workload_id}
    return [
        Case("updateWorkload", {**on, "name": "other"}, "EDIT", "EDITOR"),
        Case("updateWorkload", {**on, "description": "d", "importance": "HIGH"}, "EDIT", "EDITOR"),
        Case("updateWorkload", {**on, "tags": [{"name": "t"}]}, "EDIT", "EDITOR"),
        Case("startWorkload", on, "START", "EDITOR"),
        Case("stopWorkload", on, "STOP", "EDITOR"),
        Case("restartWorkload", on, "RESTART", "EDITOR"),
        Case("shareWorkload", {"id": workload_id, "grants": [{"user": somebody, "role": "VIEWER"}]}, "SHARE", "OWNER"),
        Case("deleteWorkload", on, "DELETE", "OWNER"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("status", WORKLOAD_BLOCKERS)
@pytest.mark.parametrize("purpose", ["TEST", "SERVICE"])
async def test_workloads(slipway: Slipway, purpose: str, status: str) -> None:
    if (purpose, status) == ("TEST", "STOPPED"):
        return  # a test that is stopped ends
    cast = await cases.cast_of(slipway)
    artifact, workload_id = await artifact_in(
        cast["owner"].client, "draft under test" if purpose == "TEST" else "locked in use"
    )
    assert workload_id is not None
    target = await locked_beside(cast["owner"].client, artifact)
    somebody = await cases.user_id(cast["stranger"].client)
    await cases.share(cast, "shareRepository", artifact["repository"]["id"], viewer="VIEWER")
    for each in (artifact["id"], target):
        await cases.share(cast, "shareArtifact", each, editor="EDITOR")
    cast["editor of the workload alone"] = Person(await slipway.user("alo"), "EDITOR")
    await cases.share(cast, "shareWorkload", workload_id, **{"editor of the workload alone": "EDITOR"})
    wanted = {
        "TERMINATED": "TERMINATED",
        "STOPPED": "STOPPED",
        "STOPPING": "TERMINATED" if purpose == "TEST" else "STOPPED",
    }
    await set_status(slipway, status, wanted.get(status, "RUNNING"))
    blockers = {action: list(codes) for action, codes in WORKLOAD_BLOCKERS[status].items()}
    for words in (purpose, f"{purpose} {status}"):
        for action, code in PURPOSE_BLOCKERS.get(words, {}).items():
            blockers.setdefault(action, []).append(code)

    for name, person in cast.items():
        alone = {"PROMOTE": [*blockers.get("PROMOTE", ()), "ROLE_TOO_LOW"]} if "alone" in name else {}
        said = await cases.judged(person, "Workload", workload_id)
        assert said == cases.readable(person, WORKLOAD_NEEDS, {**blockers, **alone}), name
    tried = [*workload_cases(workload_id, somebody), *roll_cases(workload_id, target)]
    wrong, done = await cases.play(slipway, tried, cast, blockers)
    # Whoever has a role on the workload alone sees no other artifact, and may not lock its own.
    got, _ = wrong.pop("editor of the workload alone: replaceArtifact(workloadId, artifactId)")
    assert got == ("NotFound", target)
    got, _ = wrong.pop("editor of the workload alone: promoteWorkload(workloadId)")
    assert got == ("ActionUnavailable", "PROMOTE", sorted([*blockers.get("PROMOTE", ()), "ROLE_TOO_LOW"]))
    assert wrong == {}
    effects = {**MOVES, **(TEST_MOVES if purpose == "TEST" else SERVICE_MOVES)}
    described = {"EDIT": effect("WORKLOAD_CHANGED", workloads=1), "SHARE": effect("WORKLOAD_SHARED", workloads=1)}
    rolls = roll_effects(status)
    assert done == {
        str(each): described.get(each.action) or rolls.get(str(each)) or effects.get((status, each.action), NOTHING)
        for each in tried
        if each.action not in blockers
    }


REPOSITORY_NEEDS = {"EDIT": "EDITOR", "SHARE": "OWNER", "DELETE": "OWNER"}
REPOSITORY_BLOCKERS: Mapping[str, Sequence[str]] = {
    "empty": [],
    "draft": [],
    "draft with an ended test": [],
    "draft under test": ["IN_USE"],
    "locked": ["HAS_LOCKED_ARTIFACTS"],
    "locked in use": ["HAS_LOCKED_ARTIFACTS", "IN_USE"],
}


@pytest.mark.parametrize("state", REPOSITORY_BLOCKERS)
async def test_repositories(slipway: Slipway, state: str) -> None:
    cast = await cases.cast_of(slipway)
    owner = cast["owner"].client
    artifact, _ = await artifact_in(owner, state)
    repository_id = artifact["repository"]["id"]
    await harness.new_artifact(owner, "another draft", repositoryId=repository_id)
    if state == "empty":
        for each in (await owner.run("{ artifacts { nodes { id } } }"))["artifacts"]["nodes"]:
            assert (await owner.mutate("deleteArtifact", artifactId=each["id"]))["__typename"] == "DeletePayload"
    if "ended" in state:
        await set_status(slipway, "TERMINATED", "TERMINATED")
    somebody = await cases.user_id(cast["stranger"].client)
    await cases.share(cast, "shareRepository", repository_id, editor="EDITOR", viewer="VIEWER")
    if state != "empty":
        cast["owner of an artifact alone"] = Person(await slipway.user("alo"), "VIEWER")
        await cases.share(cast, "shareArtifact", artifact["id"], **{"owner of an artifact alone": "OWNER"})
    blockers = {"DELETE": REPOSITORY_BLOCKERS[state]} if REPOSITORY_BLOCKERS[state] else {}
    on = {"repositoryId": repository_id}
    tried = [
        Case("updateRepository", {**on, "name": "other"}, "EDIT", "EDITOR"),
        Case("updateRepository", {**on, "description": "d", "tags": [{"name": "t"}]}, "EDIT", "EDITOR"),
        Case("createArtifact", {**on, "name": "new", "spec": harness.spec()}, "CREATE", "EDITOR"),
        Case(
            "shareRepository", {"id": repository_id, "grants": [{"user": somebody, "role": "VIEWER"}]}, "SHARE", "OWNER"
        ),
        Case("deleteRepository", on, "DELETE", "OWNER"),
    ]

    for name, person in cast.items():
        said = await cases.judged(person, "Repository", repository_id)
        assert said == cases.readable(person, REPOSITORY_NEEDS, blockers), name
    wrong, done = await cases.play(slipway, tried, cast, blockers)
    assert wrong == {}
    drafts = 0 if state == "empty" else 2
    effects = {
        "EDIT": effect("REPOSITORY_CHANGED", repositories=1),
        "CREATE": effect("ARTIFACT_CREATED"),
        "SHARE": effect("REPOSITORY_SHARED", repositories=1),
        "DELETE": effect(*["ARTIFACT_DELETED"] * drafts, "REPOSITORY_DELETED"),
    }
    assert done == {str(each): effects[each.action] for each in tried if each.action not in blockers}


CREDENTIAL_NEEDS = {"ROTATE": "EDITOR", "SHARE": "OWNER", "DELETE": "OWNER"}
CREDENTIAL_STATES = {
    "unused": False,
    "used by an artifact": True,
    "used by a workload": True,
    "used by an ended workload": False,
}
VALUES = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]


@pytest.mark.parametrize("state", CREDENTIAL_STATES)
async def test_credentials(slipway: Slipway, state: str) -> None:
    cast = await cases.cast_of(slipway)
    owner = cast["owner"].client
    made = await owner.mutate(
        "createCredential", "... on CredentialPayload { credential { id } }", name="c", values=VALUES
    )
    credential_id = made["credential"]["id"]
    variable = {"name": "SECRET", "type": "CREDENTIAL", "credentialId": credential_id, "field": "a"}
    if "artifact" in state:
        await harness.new_artifact(owner, spec=harness.spec(harness.container(environmentVars=[variable])))
    if "workload" in state:
        await harness.deploy(owner, (await harness.new_artifact(owner))["id"], environment=[variable])
    if "ended" in state:
        await set_status(slipway, "TERMINATED", "TERMINATED")
    somebody = await cases.user_id(cast["stranger"].client)
    await cases.share(cast, "shareCredential", credential_id, editor="EDITOR", viewer="VIEWER")
    used = CREDENTIAL_STATES[state]
    blockers = {"DELETE": ["IN_USE"]} if used else {}
    on = {"credentialId": credential_id}
    tried = [
        Case("rotateCredential", {**on, "values": VALUES}, "ROTATE", "EDITOR"),
        Case("rotateCredential", {"values": VALUES[:1], **on}, "ROTATE", "EDITOR"),
        Case(
            "shareCredential", {"id": credential_id, "grants": [{"user": somebody, "role": "VIEWER"}]}, "SHARE", "OWNER"
        ),
        Case("deleteCredential", on, "DELETE", "OWNER"),
    ]

    for name, person in cast.items():
        said = await cases.judged(person, "Credential", credential_id)
        assert said == cases.readable(person, CREDENTIAL_NEEDS, blockers), name
    wrong, done = await cases.play(slipway, tried, cast, blockers)
    assert wrong == {}
    effects = {"ROTATE": "CREDENTIAL_ROTATED", "SHARE": "CREDENTIAL_SHARED", "DELETE": "CREDENTIAL_DELETED"}
    assert done == {str(each): effect(effects[each.action]) for each in tried if each.action not in blockers}

    before = await snapshots.dump(slipway)
    dropping = await owner.mutate("rotateCredential", **on, values=VALUES[1:])
    if used:
        assert cases.outcome(dropping) == ("InvalidInput", ["values"])
        assert dropping["issues"][0]["code"] == "KEY_IN_USE"
        assert await snapshots.dump(slipway) == before
    else:
        assert cases.outcome(dropping) == ("done",)
