"""What happens when two people do things at once, at two servers with a pool of connections each."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import delete as delete_rows, func, text
from sqlmodel import col, select

from app.db import tables
from app.domain import enums, ids
from tests import harness
from tests.api import cases, racing
from tests.api.racing import at_once, call, in_line, said
from tests.harness import Client, Slipway

pytestmark = pytest.mark.slow

ROUNDS = 60
VALUES = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]


@pytest.fixture
async def other(slipway: Slipway, database_url: str) -> AsyncIterator[Slipway]:
    """A second server over the same database."""
    async with harness.serving(database_url) as server:
        yield server


@pytest.fixture
async def elsewhere(other: Slipway, ada: Client) -> Client:
    """Ada at the second server."""
    return other.anonymous(ada.token)


async def test_locks_give_versions_without_gap_or_duplicate(slipway: Slipway, ada: Client, elsewhere: Client) -> None:
    first = await harness.new_artifact(ada)
    made = await racing.drafts(slipway, first, 2 * ROUNDS + 20)
    selection = "... on ArtifactPayload { artifact { version } }"
    for turn in range(ROUNDS):
        one, two = made[2 * turn], made[2 * turn + 1]
        results = await at_once(
            turn,
            call(ada, "lockArtifact", selection, artifactId=one),
            call(elsewhere, "lockArtifact", selection, artifactId=two),
        )
        assert sorted(each["artifact"]["version"] for each in results) == [2 * turn + 1, 2 * turn + 2]
    many = [
        call(client, "lockArtifact", selection, artifactId=each)
        for client, each in zip([ada, elsewhere] * 10, made[-20:], strict=True)
    ]
    results = await at_once(0, *many)
    assert sorted(each["artifact"]["version"] for each in results) == list(range(2 * ROUNDS + 1, 2 * ROUNDS + 21))
    await racing.assert_sound(slipway)
    (repository,) = await racing.rows(slipway, tables.RepositoryRow)
    assert repository.last_version == 2 * ROUNDS + 20


async def test_of_two_tests_of_one_draft_one_wins(slipway: Slipway, ada: Client, elsewhere: Client) -> None:
    first = await harness.new_artifact(ada)
    made = await racing.drafts(slipway, first, ROUNDS + 1)
    for turn, each in enumerate(made[:-1]):
        calls = [call(client, "testArtifact", artifactId=each) for client in (ada, elsewhere)]
        assert sorted(said(await at_once(turn, *calls))) == ["TEST_ACTIVE", "done"]
    calls = [call(client, "testArtifact", artifactId=made[-1]) for client in (ada, elsewhere)]
    queued = await in_line(slipway, tables.RepositoryRow, first["repository"]["id"], *calls)
    assert said(queued) == ("done", "TEST_ACTIVE")
    workloads = await racing.rows(slipway, tables.WorkloadRow)
    assert Counter(each.artifact_id for each in workloads) == dict.fromkeys(map(racing.uuid, made), 1)


async def test_a_locked_artifact_never_changes_afterwards(slipway: Slipway, ada: Client, elsewhere: Client) -> None:
    first = await harness.new_artifact(ada)
    made = await racing.drafts(slipway, first, ROUNDS + 2)
    outcomes = {}

    async def lock_and_edit(artifact_id: str) -> tuple[racing.Call, racing.Call]:
        container = await racing.container_of(slipway, artifact_id)
        variables = [{"name": "EDITED", "value": "1"}]
        edit = call(elsewhere, "setEnvironmentVariables", containerId=container, variables=variables)
        return call(ada, "lockArtifact", artifactId=artifact_id), edit

    for turn, each in enumerate(made[:-2]):
        outcomes[each] = said(await at_once(turn, *await lock_and_edit(each)))
    repository_id = first["repository"]["id"]
    lock, edit = await lock_and_edit(made[-2])
    outcomes[made[-2]] = said(await in_line(slipway, tables.RepositoryRow, repository_id, lock, edit))
    assert outcomes[made[-2]] == ("done", "ARTIFACT_LOCKED")
    lock, edit = await lock_and_edit(made[-1])
    edited, locked = said(await in_line(slipway, tables.RepositoryRow, repository_id, edit, lock))
    outcomes[made[-1]] = (locked, edited)
    assert outcomes[made[-1]] == ("done", "done")

    await racing.assert_sound(slipway)
    variables = await racing.rows(slipway, tables.ContainerRow, col(tables.ContainerRow.id).in_(_edited_containers()))
    edited_artifacts = {each.artifact_id for each in variables}
    for each in await racing.rows(slipway, tables.ArtifactRow, col(tables.ArtifactRow.version).is_not(None)):
        outcome = outcomes.pop(ids.encode(ids.Kind.ARTIFACT, each.id))
        assert outcome in {("done", "done"), ("done", "ARTIFACT_LOCKED")}
        was_edited = outcome == ("done", "done")
        assert (each.id in edited_artifacts, each.revision) == (was_edited, 3 if was_edited else 2)
    assert outcomes == {}


def _edited_containers() -> Any:
    row = tables.EnvironmentVariableRow
    return select(row.container_id).where(col(row.name) == "EDITED")


async def test_of_two_changes_of_one_revision_one_wins(slipway: Slipway, ada: Client, elsewhere: Client) -> None:
    first = await harness.new_artifact(ada)
    for turn, each in enumerate(await racing.drafts(slipway, first, ROUNDS)):
        given = {"artifactId": each, "ifRevision": 1}
        second = call(elsewhere, "lockArtifact", **given) if turn % 3 else call(elsewhere, "deployArtifact", **given)
        results = await at_once(turn, call(ada, "updateArtifact", **given, name="edited"), second)
        assert sorted(said(results)) == ["StaleRevision", "done"]
        assert [result["currentRevision"] for result in results if "currentRevision" in result] == [2]
    await racing.assert_sound(slipway)


async def test_a_draft_that_is_deployed_twice_is_locked_once(slipway: Slipway, ada: Client, elsewhere: Client) -> None:
    first = await harness.new_artifact(ada)
    made = await racing.drafts(slipway, first, ROUNDS)
    for turn, each in enumerate(made):
        calls = [call(client, "deployArtifact", artifactId=each) for client in (ada, elsewhere)]
        assert said(await at_once(turn, *calls)) == ("done", "done")
    await racing.assert_sound(slipway)
    artifacts = await racing.rows(slipway, tables.ArtifactRow, col(tables.ArtifactRow.id) != racing.uuid(first["id"]))
    assert [(each.version, each.revision) for each in artifacts] == [(turn + 1, 2) for turn in range(ROUNDS)]
    workloads = await racing.rows(slipway, tables.WorkloadRow, col(tables.WorkloadRow.purpose) == "SERVICE")
    assert Counter(each.artifact_id for each in workloads) == dict.fromkeys(map(racing.uuid, made), 2)
    event = tables.EventRow
    assert len(await racing.rows(slipway, event, col(event.kind) == "ARTIFACT_LOCKED")) == ROUNDS


async def test_a_draft_is_deleted_or_tested(slipway: Slipway, ada: Client, elsewhere: Client) -> None:
    first = await harness.new_artifact(ada)
    made = await racing.drafts(slipway, first, ROUNDS + 2)
    found: Counter[tuple[str, ...]] = Counter()
    for turn, each in enumerate(made[:-2]):
        test, delete = call(ada, "testArtifact", artifactId=each), call(elsewhere, "deleteArtifact", artifactId=each)
        found[said(await at_once(turn, test, delete))] += 1
    for outcome, each, mutations in (
        (("done", "IN_USE"), made[-2], ("testArtifact", "deleteArtifact")),
        (("done", "NotFound"), made[-1], ("deleteArtifact", "testArtifact")),
    ):
        calls = [call(ada, mutation, artifactId=each) for mutation in mutations]
        assert said(await in_line(slipway, tables.RepositoryRow, first["repository"]["id"], *calls)) == outcome
    tested, deleted = found.pop(("done", "IN_USE"), 0), found.pop(("NotFound", "done"), 0)
    assert (found, tested + deleted) == (Counter(), ROUNDS)
    assert len(await racing.rows(slipway, tables.WorkloadRow)) == tested + 1
    assert len(await racing.rows(slipway, tables.ArtifactRow)) == 1 + tested + 1


async def test_what_is_deleted_right_after_its_change_is_not_found(
    slipway: Slipway, ada: Client, elsewhere: Client
) -> None:
    first = await harness.new_artifact(ada)
    for turn, each in enumerate(await racing.drafts(slipway, first, ROUNDS)):
        edit = call(ada, "updateArtifact", artifactId=each, name="edited")
        delete = call(elsewhere, "deleteArtifact", artifactId=each)
        assert said(await at_once(turn, edit, delete)) in {("done", "done"), ("NotFound", "done")}
    (late,) = await racing.drafts(slipway, first, 1)

    async def delete_behind_the_edit() -> None:
        # The whole table is waited for: so the edit commits first, and reads what it answers when all is over.
        async with slipway.session() as session:
            connection = await session.connection()
            await connection.execute(text("LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE"))
            await connection.execute(
                delete_rows(tables.ArtifactRow).where(col(tables.ArtifactRow.id) == racing.uuid(late))
            )

    async with slipway.session() as session:
        await session.exec(select(tables.RepositoryRow).with_for_update())
        edit_task = asyncio.ensure_future(ada.mutate("updateArtifact", artifactId=late, name="edited"))
        await racing.until_waiting(slipway, 1)
        delete_task = asyncio.ensure_future(delete_behind_the_edit())
        await racing.until_waiting(slipway, 2)
    await delete_task
    assert cases.outcome(await edit_task) == ("NotFound", late)
    event = tables.EventRow
    changed = await racing.rows(
        slipway, event, col(event.subject_id) == racing.uuid(late), col(event.kind) == "ARTIFACT_CHANGED"
    )
    assert len(changed) == 1
    assert [racing.uuid(first["id"])] == [row.id for row in await racing.rows(slipway, tables.ArtifactRow)]


# What Ada is told who lost a grant just now: she still owns an artifact in the repository, or the repository above.
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("Repository", "PermissionDenied"),
        ("Artifact", "LAST_OWNER"),
        ("Workload", "LAST_OWNER"),
        ("Credential", "NotFound"),
    ],
)
async def test_the_last_owner_is_never_lost(
    slipway: Slipway, other: Slipway, ada: Client, kind: str, told: str
) -> None:
    grace, root = await slipway.user("grace"), await slipway.user("root", admin=True)
    owners = [await cases.user_id(each) for each in (ada, grace)]
    artifact = await harness.new_artifact(ada)
    thing_id = artifact["repository"]["id"] if kind == "Repository" else artifact["id"]
    if kind == "Workload":
        thing_id = (await harness.start_test(ada, artifact["id"]))["id"]
    if kind == "Credential":
        selection = "... on CredentialPayload { credential { id } }"
        made = await ada.mutate("createCredential", selection, name="c", values=VALUES)
        thing_id = made["credential"]["id"]

    def give(client: Client, *grants: tuple[str, str | None]) -> racing.Call:
        return call(client, f"share{kind}", id=thing_id, grants=[{"user": user, "role": role} for user, role in grants])

    both = give(root, (owners[0], "OWNER"), (owners[1], "OWNER"))
    table = getattr(tables, f"{kind}GrantRow")
    for turn in range(ROUNDS // 3):
        assert said([await both()]) == ("done",)
        calls = give(root, (owners[0], None)), give(other.anonymous(root.token), (owners[1], None))
        assert sorted(said(await at_once(turn, *calls))) == ["LAST_OWNER", "done"]
        assert [grant.role for grant in await racing.rows(slipway, table, _on(table, kind, thing_id))] == ["OWNER"]

        # Two owners who take it from each other: the second has lost it by then, and is told what she may still see.
        assert said([await both()]) == ("done",)
        calls = give(ada, (owners[1], None)), give(other.anonymous(grace.token), (owners[0], None))
        assert said(await at_once(turn, *calls)) in {("done", "NotFound"), (told, "done")}
        assert [grant.role for grant in await racing.rows(slipway, table, _on(table, kind, thing_id))] == ["OWNER"]


def _on(table: Any, kind: str, thing_id: str) -> Any:
    return getattr(table, f"{kind.lower()}_id") == racing.uuid(thing_id)


async def test_a_repository_goes_with_all_that_is_in_it(slipway: Slipway, ada: Client, elsewhere: Client) -> None:
    def calls(repository_id: str) -> tuple[racing.Call, racing.Call]:
        new = {"repositoryId": repository_id, "name": "late", "spec": harness.spec()}
        deleted = "... on DeletePayload { deletedIds }"
        return (
            call(ada, "createArtifact", **new),
            call(elsewhere, "deleteRepository", deleted, repositoryId=repository_id),
        )

    for turn in range(ROUNDS):
        artifact = await harness.new_artifact(ada)
        results = await at_once(turn, *calls(artifact["repository"]["id"]))
        created, deleted = said(results)
        assert deleted == "done"
        gone = len(results[1]["deletedIds"])
        assert (gone == 3 and created in {"done", "NotFound"}) or (gone == 2 and created == "NotFound")
    repository_id = (await harness.new_artifact(ada))["repository"]["id"]
    results = await in_line(slipway, tables.RepositoryRow, repository_id, *calls(repository_id))
    assert len(results[1]["deletedIds"]) == 3
    repository_id = (await harness.new_artifact(ada))["repository"]["id"]
    results = await in_line(slipway, tables.RepositoryRow, repository_id, *calls(repository_id)[::-1])
    assert (len(results[0]["deletedIds"]), said(results)) == (2, ("done", "NotFound"))
    assert await racing.rows(slipway, tables.RepositoryRow) == await racing.rows(slipway, tables.ArtifactRow) == []


@pytest.mark.parametrize(
    ("change", "outcomes"),
    [
        ("deleteCredential", {("done", "IN_USE"), ("NO_SUCH_CREDENTIAL", "done")}),
        ("rotateCredential", {("done", "KEY_IN_USE"), ("NO_SUCH_KEY", "done")}),
    ],
)
@pytest.mark.parametrize("pointing", ["setEnvironmentVariables", "deployArtifact"])
async def test_a_variable_never_points_at_what_is_gone(
    slipway: Slipway, ada: Client, elsewhere: Client, *, pointing: str, change: str, outcomes: set[tuple[str, str]]
) -> None:
    first = await harness.new_artifact(ada)
    made = await racing.drafts(slipway, first, ROUNDS // 2)
    found: set[tuple[str, ...]] = set()
    for turn, artifact_id in enumerate(made):
        selection = "... on CredentialPayload { credential { id } }"
        credential = (await ada.mutate("createCredential", selection, name="c", values=VALUES))["credential"]["id"]
        variables = [{"name": "SECRET", "type": "CREDENTIAL", "credentialId": credential, "field": "a"}]
        if pointing == "deployArtifact":
            point = call(ada, pointing, artifactId=artifact_id, environment=variables)
        else:
            container = await racing.container_of(slipway, artifact_id)
            point = call(ada, pointing, containerId=container, variables=variables)
        rotated = {"values": VALUES[1:]} if change == "rotateCredential" else {}
        away = call(elsewhere, change, credentialId=credential, **rotated)
        if turn >= 2:
            found.add(said(await at_once(turn, point, away)))
        elif turn == 0:
            found.add(said(await in_line(slipway, tables.CredentialRow, credential, point, away)))
        else:
            found.add(said(await in_line(slipway, tables.CredentialRow, credential, away, point))[::-1])
    assert found == outcomes
    async with slipway.session() as session:
        for table in ("environment_variables", "workload_credential_uses"):
            dangling = text(
                f"SELECT count(*) FROM {table} WHERE credential_id IS NOT NULL AND (credential_id, field)"  # noqa: S608
                " NOT IN (SELECT credential_id, key FROM credential_values)"
            )
            assert (await (await session.connection()).execute(dangling)).scalar_one() == 0


async def test_nobody_waits_for_each_other_for_ever(slipway: Slipway, ada: Client, elsewhere: Client) -> None:
    """Everything at once on few things, while workloads move: a deadlock would be an error in an answer."""
    selection = "... on CredentialPayload { credential { id } }"
    credential = (await ada.mutate("createCredential", selection, name="c", values=VALUES))["credential"]["id"]
    first = await harness.new_artifact(ada)
    made = [first["id"], *await racing.drafts(slipway, first, 5)]
    containers = [await racing.container_of(slipway, each) for each in made]
    somebody = await cases.user_id(await slipway.user("grace"))
    workloads = [(await harness.start_test(ada, each))["id"] for each in made[:2]]
    workloads += [(await harness.deploy(ada, each))["id"] for each in made[1:3] * 2]
    storm = Storm(made, containers, workloads, first["repository"]["id"], credential, somebody)
    over = asyncio.Event()
    reconcilers = [asyncio.ensure_future(_reconcile(slipway, over)) for _ in range(2)]
    said_by_all = await asyncio.gather(*(storm.blow(random.Random(n), [ada, elsewhere][n % 2]) for n in range(8)))  # noqa: S311
    over.set()
    await asyncio.gather(*reconcilers)
    assert sum(map(len, said_by_all)) == 8 * Storm.CALLS
    await racing.assert_sound(slipway)


class Storm:
    """Random mutations of few things."""

    CALLS = 40

    def __init__(
        self,
        artifacts: list[str],
        containers: list[str],
        workloads: list[str],
        repository: str,
        credential: str,
        user: str,
    ) -> None:
        self.artifacts, self.containers, self.workloads = artifacts, containers, workloads
        self.repository, self.credential, self.user = repository, credential, user

    async def blow(self, dice: random.Random, client: Client) -> list[str]:
        """Make the calls; answers what they said. An answer with `errors` fails."""
        return [said([await call(client, name, **given)()])[0] for name, given in self._choices(dice)]

    def _choices(self, dice: random.Random) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        for turn in range(self.CALLS):
            artifact, workload = dice.choice(self.artifacts), dice.choice(self.workloads)
            grants = [{"user": self.user, "role": dice.choice(["VIEWER", "EDITOR", None])}]
            secret = {"name": "SECRET", "type": "CREDENTIAL", "credentialId": self.credential, "field": "a"}
            offered: list[tuple[str, dict[str, Any]]] = [
                ("updateArtifact", {"artifactId": artifact, "tags": [{"name": f"t{turn}"}]}),
                ("updateArtifact", {"artifactId": artifact, "name": f"n{turn}"}),
                (
                    "setEnvironmentVariables",
                    {"containerId": dice.choice(self.containers), "variables": [secret]},
                ),
                ("testArtifact", {"artifactId": artifact}),
                ("stopArtifact", {"artifactId": artifact}),
                *[("lockArtifact", {"artifactId": artifact})] * (turn > self.CALLS // 2),
                ("deployArtifact", {"artifactId": self.artifacts[1], "environment": [secret]}),
                ("cloneArtifact", {"artifactId": artifact}),
                ("shareArtifact", {"id": artifact, "grants": grants}),
                ("deleteArtifact", {"artifactId": artifact}),
                ("createArtifact", {"name": "n", "repositoryId": self.repository, "spec": harness.spec()}),
                ("updateRepository", {"repositoryId": self.repository, "description": f"d{turn}"}),
                ("shareRepository", {"id": self.repository, "grants": grants}),
                ("deleteRepository", {"repositoryId": self.repository}),
                ("updateWorkload", {"workloadId": workload, "description": f"d{turn}"}),
                ("startWorkload", {"workloadId": workload}),
                ("stopWorkload", {"workloadId": workload}),
                ("restartWorkload", {"workloadId": workload}),
                ("configureWorkload", {"workloadId": workload, "replicas": turn % 3}),
                ("configureWorkload", {"workloadId": workload, "environment": [secret] * (turn % 2)}),
                ("replaceArtifact", {"workloadId": workload, "artifactId": artifact}),
                ("rollbackWorkload", {"workloadId": workload}),
                ("extendTest", {"workloadId": workload, "by": "PT1H"}),
                *[("promoteWorkload", {"workloadId": workload})] * (turn > self.CALLS // 2),
                ("shareWorkload", {"id": workload, "grants": grants}),
                ("rotateCredential", {"credentialId": self.credential, "values": VALUES}),
                ("shareCredential", {"id": self.credential, "grants": grants}),
                ("deleteCredential", {"credentialId": self.credential}),
            ]
            found.append(dice.choice(offered))
        return found


async def _reconcile(slipway: Slipway, over: asyncio.Event) -> None:
    """Record what a runtime would do, as reconcilers do: one row at a time, passing by those that are taken."""
    row = tables.WorkloadRow
    after = {"SUBMITTED": "RUNNING", "RUNNING": "INTERRUPTED", "INTERRUPTED": "RUNNING"}
    while not over.is_set():
        async with slipway.session() as session:
            moving = select(row).where(col(row.status).not_in(["TERMINATED", "STOPPED"])).order_by(func.random())
            workload = (await session.exec(moving.limit(1).with_for_update(skip_locked=True))).first()
            if workload is not None:
                workload.status = enums.WorkloadStatus(after.get(workload.status, workload.wanted))
        await asyncio.sleep(0)
