"""Configure, replace, roll back, promote and extend: what they record, as a reconciler will find it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain import ids
from tests import harness
from tests.api import history, racing, rolls
from tests.harness import Client, Slipway

ENVIRONMENT = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
LIMITS = [{"container": "main", "cpu": 0.5, "memoryBytes": 5e8}]


def told(status: str, replacement: dict[str, Any], start: str, end: str, message: str | None = None) -> dict[str, Any]:
    """What the history says of a replacement."""
    return {"replacement": replacement["id"], "status": status, "from": start, "to": end, "message": message}


class TestReplace:
    async def test_it_rolls_beside_what_serves(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada)
        before = await history.workload(slipway, service.id)
        async with history.written(slipway) as lines:
            workload = await rolls.roll(ada, "replaceArtifact", service.id, artifactId=service.second, ifRevision=1)
        replacement = workload["replacement"]
        assert (workload["artifact"]["id"], workload["revision"]) == (service.first, 2)
        assert replacement == {
            "id": replacement["id"],
            "status": "ROLLING",
            "message": None,
            "from": {"id": service.first},
            "to": {"id": service.second},
            "requestedBy": {"username": "ada"},
            "finishedAt": None,
        }
        assert lines == [
            ("WORKLOAD_REPLACED", service.id, "ada", told("ROLLING", replacement, service.first, service.second))
        ]
        # The row holds what serves; what is to take over has a launch of its own.
        row = await history.workload(slipway, service.id)
        [rolling] = await rolls.replacements(slipway)
        assert (row.artifact_id, row.launch, row.last_launch, rolling.launch) == (before.artifact_id, 1, 2, 2)
        assert (row.generation, row.reconcile_at, row.was_ready) == (2, row.updated_at, True)
        assert rolling.started_at == rolling.begun_at == row.updated_at

    @pytest.mark.parametrize(
        ("status", "message", "runs"), [("COMPLETED", None, "second"), ("FAILED", "It crashed.", "first")]
    )
    async def test_it_ends_one_way_or_the_other(
        self, slipway: Slipway, ada: Client, status: str, message: str | None, runs: str
    ) -> None:
        service = await rolls.service(slipway, ada)
        workload = await rolls.roll(ada, "replaceArtifact", service.id, artifactId=service.second)
        async with history.written(slipway) as lines:
            await rolls.end_roll(slipway, service.id, status, message)
        found = await ada.run(
            f"query ($id: ID!) {{ workload(id: $id) {{ status revision artifact {{ id }} {rolls.REPLACEMENT}"
            " history { totalCount nodes { status } } } }",
            id=service.id,
        )
        assert found["workload"]["artifact"] == {"id": getattr(service, runs)}
        assert (found["workload"]["status"], found["workload"]["revision"]) == ("RUNNING", workload["revision"])
        assert found["workload"]["history"] == {"totalCount": 1, "nodes": [{"status": status}]}
        ended = found["workload"]["replacement"]
        assert (ended["status"], ended["message"], ended["finishedAt"] is None) == (status, message, False)
        assert lines == [
            ("WORKLOAD_REPLACED", service.id, None, told(status, ended, service.first, service.second, message))
        ]
        row = await history.workload(slipway, service.id)
        assert (row.launch, row.last_launch) == ((2, 2) if runs == "second" else (1, 2))
        another = await rolls.roll(ada, "replaceArtifact", service.id, artifactId=service.third)
        assert another["replacement"]["from"] == {"id": getattr(service, runs)}

    @pytest.mark.parametrize("status", ["SUBMITTED", "STOPPING", "STOPPED"])
    async def test_where_nothing_runs_it_is_done_at_once(self, slipway: Slipway, ada: Client, status: str) -> None:
        service = await rolls.service(slipway, ada, status)
        async with history.written(slipway) as lines:
            workload = await rolls.roll(ada, "replaceArtifact", service.id, artifactId=service.second)
        assert (workload["status"], workload["artifact"]["id"], workload["revision"]) == (status, service.second, 2)
        replacement = workload["replacement"]
        assert replacement["status"] == "COMPLETED"
        assert [changes["status"] for _, _, _, changes in lines] == ["ROLLING", "COMPLETED"]
        row = await history.workload(slipway, service.id)
        assert (row.launch, row.last_launch, row.generation) == (2, 2, 2)
        assert (row.reconcile_at is None) is (status == "STOPPED")

    async def test_what_gave_up_is_launched_anew(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada, "ERRORED")
        workload = await rolls.roll(ada, "replaceArtifact", service.id, artifactId=service.second)
        assert (workload["status"], workload["artifact"]["id"]) == ("SUBMITTED", service.second)
        row = await history.workload(slipway, service.id)
        assert (row.launch, row.last_launch, row.was_ready) == (3, 3, False)

    async def test_what_is_asked_for_meanwhile_cancels_it(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada)
        await rolls.roll(ada, "replaceArtifact", service.id, artifactId=service.second)
        workload = await rolls.roll(ada, "restartWorkload", service.id)
        assert workload["replacement"]["status"] == "CANCELLED"
        assert workload["artifact"] == {"id": service.first}
        row = await history.workload(slipway, service.id)
        assert (row.launch, row.last_launch) == (3, 3), "numbers of launches are never given out twice"


class TestRollback:
    async def test_it_goes_back_to_the_artifact_before_the_newest_completed(
        self, slipway: Slipway, ada: Client
    ) -> None:
        service = await rolls.service(slipway, ada)

        async def replaced(artifact_id: str, status: str) -> None:
            await rolls.roll(ada, "replaceArtifact", service.id, artifactId=artifact_id)
            await rolls.end_roll(slipway, service.id, status)

        async def rolled_back() -> tuple[str, str]:
            workload = await rolls.roll(ada, "rollbackWorkload", service.id)
            await rolls.end_roll(slipway, service.id)
            return workload["replacement"]["from"]["id"], workload["replacement"]["to"]["id"]

        await replaced(service.second, "COMPLETED")
        await replaced(service.third, "FAILED")
        await rolls.roll(ada, "configureWorkload", service.id, environment=ENVIRONMENT)
        await rolls.end_roll(slipway, service.id)
        assert await rolled_back() == (service.second, service.first)
        # It is a replacement like any other: another one goes back to where it came from.
        assert await rolled_back() == (service.first, service.second)
        await replaced(service.third, "COMPLETED")
        assert await rolled_back() == (service.third, service.second)

    async def test_a_configuration_is_nothing_to_go_back_to(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada)
        await rolls.roll(ada, "configureWorkload", service.id, environment=ENVIRONMENT)
        await rolls.end_roll(slipway, service.id)
        refused = await ada.mutate("rollbackWorkload", workloadId=service.id)
        assert [each["code"] for each in refused["blockers"]] == ["NO_EARLIER_ARTIFACT"]

    async def test_the_configuration_stays(self, slipway: Slipway, ada: Client) -> None:
        """Also where it is of a container that only one of the artifacts has: it is there again when that one is."""
        service = await rolls.service(slipway, ada, replicas=2, resources=LIMITS, environment=ENVIRONMENT)
        renamed = await rolls.locked(ada, "renamed", spec=harness.spec(harness.container(name="web")))
        configured = """query ($id: ID!) { workload(id: $id) { replicas resources { container cpu }
          environment { container name value } } }"""
        before = await ada.run(configured, id=service.id)
        await rolls.roll(ada, "replaceArtifact", service.id, artifactId=renamed["id"])
        await rolls.end_roll(slipway, service.id)
        between = (await ada.run(configured, id=service.id))["workload"]
        assert {each["name"] for each in between["environment"]} & {"A", "B"} == set()
        # What it had for the other container is in the way of nothing.
        await rolls.roll(ada, "configureWorkload", service.id, replicas=3)
        await rolls.roll(ada, "configureWorkload", service.id, replicas=2)
        await rolls.roll(ada, "rollbackWorkload", service.id)
        await rolls.end_roll(slipway, service.id)
        after = await ada.run(configured, id=service.id)
        assert {each["name"] for each in after["workload"]["environment"]} >= {"A", "B"}
        assert after == before


class TestConfigure:
    async def test_another_number_of_replicas_is_reached_in_place(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada)
        for replicas, before in ((3, 1), (0, 3), (1, 0)):
            async with history.written(slipway) as lines:
                await rolls.roll(ada, "configureWorkload", service.id, replicas=replicas)
            change = {"replicas": {"before": before, "after": replicas}}
            assert lines == [("WORKLOAD_CHANGED", service.id, "ada", change)]
            row = await history.workload(slipway, service.id)
            assert (row.replicas, row.launch, row.last_launch) == (replicas, 1, 1)
            assert row.reconcile_at == row.updated_at
        assert await rolls.replacements(slipway) == []

    async def test_everything_else_rolls(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada, environment=ENVIRONMENT[:1])
        changes = {"replicas": 2, "resources": LIMITS, "environment": ENVIRONMENT}
        async with history.written(slipway) as lines:
            workload = await rolls.roll(ada, "configureWorkload", service.id, **changes)
        replacement = workload["replacement"]
        assert (replacement["from"], replacement["to"]) == ({"id": service.first},) * 2
        assert [(kind, changed) for kind, _, _, changed in lines] == [
            (
                "WORKLOAD_CHANGED",
                {
                    "replicas": {"before": 1, "after": 2},
                    "resources": {"before": [], "after": LIMITS},
                    # Their names alone: what they hold may be secret.
                    "environment": {"before": ["main/A"], "after": ["main/A", "main/B"]},
                },
            ),
            ("WORKLOAD_REPLACED", told("ROLLING", replacement, service.first, service.first)),
        ]
        # What serves stands in the row until the other has taken over.
        row = await history.workload(slipway, service.id)
        assert (row.replicas, row.resources) == (1, [])
        assert await overrides(ada, service.id) == {"A": "1"}
        await rolls.end_roll(slipway, service.id)
        row = await history.workload(slipway, service.id)
        assert (row.replicas, row.resources, row.launch) == (2, LIMITS, 2)
        assert await overrides(ada, service.id) == {"A": "1", "B": "2"}

    async def test_one_that_fails_leaves_the_configuration_as_it_was(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada, environment=ENVIRONMENT[:1])
        await rolls.roll(ada, "configureWorkload", service.id, environment=ENVIRONMENT, replicas=3)
        await rolls.end_roll(slipway, service.id, "FAILED", "It crashed.")
        assert (await history.workload(slipway, service.id)).replicas == 1
        assert await overrides(ada, service.id) == {"A": "1"}

    async def test_what_alters_nothing_rolls_nothing(self, slipway: Slipway, ada: Client) -> None:
        two = harness.spec({**harness.container(name="main"), "primary": True}, harness.container(name="s", port=1))
        limits = [*LIMITS, {"container": "s", "cpu": 1.0, "memoryBytes": None}]
        artifact = await rolls.locked(ada, "two", spec=two)
        service = await harness.deploy(ada, artifact["id"], resources=limits, environment=ENVIRONMENT)
        named = [{"container": "main", **each} for each in ENVIRONMENT]
        for same in (
            {},
            {"replicas": 1},
            {"resources": limits},
            {"resources": limits[::-1]},
            {"environment": ENVIRONMENT},
            {"environment": named[::-1], "replicas": 1, "resources": limits},
        ):
            async with history.unchanged(slipway):
                assert (await ada.mutate("configureWorkload", workloadId=service["id"], **same))["__typename"] == (
                    "WorkloadPayload"
                )

    async def test_a_test_can_be_configured_as_well(self, slipway: Slipway, ada: Client) -> None:
        trial = await harness.start_test(ada, (await harness.new_artifact(ada))["id"])
        await history.put(slipway, trial["id"], "RUNNING")
        workload = await rolls.roll(ada, "configureWorkload", trial["id"], environment=ENVIRONMENT)
        assert workload["replacement"]["status"] == "ROLLING"
        await rolls.end_roll(slipway, trial["id"])
        assert await overrides(ada, trial["id"]) == {"A": "1", "B": "2"}

    async def test_what_gave_up_is_given_another_launch(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada, "ERRORED")
        workload = await rolls.roll(ada, "configureWorkload", service.id, replicas=2)
        assert (workload["status"], workload["revision"]) == ("SUBMITTED", 2)
        row = await history.workload(slipway, service.id)
        assert (row.replicas, row.launch, row.last_launch) == (2, 2, 2)

    @pytest.mark.parametrize(
        ("given", "issues"),
        [
            ({"replicas": -1}, {"replicas": "OUT_OF_RANGE"}),
            ({"replicas": 101}, {"replicas": "OUT_OF_RANGE"}),
            ({"resources": [{"container": "other", "cpu": 0}]}, {"resources[0].container": "NO_SUCH_CONTAINER"}),
            ({"environment": [{"container": "other", "name": "A"}]}, {"environment[0].container": "NO_SUCH_CONTAINER"}),
            ({"environment": [{"name": "SLIPWAY_A", "value": "1"}]}, {"environment[0].name": "RESERVED"}),
            ({"environment": [ENVIRONMENT[0]] * 2}, {"environment[1].name": "DUPLICATE"}),
            (
                {"environment": [{"name": "A", "type": "CREDENTIAL", "field": "key"}]},
                {"environment[0].credentialId": "REQUIRED"},
            ),
        ],
    )
    async def test_what_does_not_get_in(
        self, slipway: Slipway, ada: Client, given: dict[str, Any], issues: dict[str, str]
    ) -> None:
        service = await rolls.service(slipway, ada)
        async with history.unchanged(slipway):
            refused = await ada.mutate("configureWorkload", workloadId=service.id, **given)
        found = {each["path"]: each["code"] for each in refused["issues"]}
        assert {path: found.get(path) for path in issues} == issues, refused

    async def test_no_more_replicas_than_the_server_runs(self, slipway: Slipway, ada: Client) -> None:
        service = await rolls.service(slipway, ada)
        async with history.unchanged(slipway):
            refused = await ada.mutate("configureWorkload", workloadId=service.id, replicas=51)
        assert (refused["__typename"], refused["limit"]) == ("LimitExceeded", 50)


async def overrides(client: Client, workload_id: str) -> dict[str, str | None]:
    """What a workload gives its primary container by itself."""
    document = "query ($id: ID!) { workload(id: $id) { environment { name value origin masked } } }"
    found = (await client.run(document, id=workload_id))["workload"]["environment"]
    return {each["name"]: each["value"] for each in found if each["origin"] == "WORKLOAD"}


async def credential(client: Client, name: str, *keys: str) -> str:
    """A credential with these keys."""
    values = [{"key": key, "value": f"{name}-{key}"} for key in keys]
    made = await client.mutate(
        "createCredential", "... on CredentialPayload { credential { id } }", name=name, values=values
    )
    found: str = made["credential"]["id"]
    return found


def pointing(name: str, credential_id: str | None, key: str | None) -> dict[str, Any]:
    """A variable that holds a secret."""
    return {"name": name, "type": "CREDENTIAL", "credentialId": credential_id, "field": key}


class TestCredentials:
    @pytest.mark.parametrize(
        ("ends", "needed"),
        [("COMPLETED", "new"), ("FAILED", "old"), ("stopWorkload", "old"), ("restartWorkload", "old")],
    )
    async def test_those_of_both_are_needed_while_it_rolls(
        self, slipway: Slipway, ada: Client, ends: str, needed: str
    ) -> None:
        old, new = await credential(ada, "old", "a", "b"), await credential(ada, "new", "a", "b")
        service = await rolls.service(slipway, ada, environment=[pointing("SECRET", old, "a")])
        await rolls.roll(ada, "configureWorkload", service.id, environment=[pointing("SECRET", new, "a")])
        assert await refusals(ada, old) == await refusals(ada, new) == (["IN_USE"], ["KEY_IN_USE"])
        if ends.endswith("Workload"):
            await rolls.roll(ada, ends, service.id)
        else:
            await rolls.end_roll(slipway, service.id, ends)
        free, used = (old, new) if needed == "new" else (new, old)
        assert await refusals(ada, used) == (["IN_USE"], ["KEY_IN_USE"])
        assert await refusals(ada, free) == ([], [])

    async def test_those_of_the_artifact_that_is_to_take_over_are_needed_by_the_workload(
        self, slipway: Slipway, ada: Client
    ) -> None:
        key = await credential(ada, "key", "a", "b")
        service = await rolls.service(slipway, ada)
        variable = harness.container(environmentVars=[pointing("SECRET", key, "b")])
        target = await rolls.locked(ada, "target", spec=harness.spec(variable))
        await rolls.roll(ada, "replaceArtifact", service.id, artifactId=target["id"])
        used = {(ids.encode(ids.Kind.CREDENTIAL, each.credential_id), each.field) for each in await rolls.uses(slipway)}
        assert used == {(key, "b")}
        document = """query ($id: ID!) { node(id: $id) { ... on Credential { actions { action
          blockers { nodes { id } } } } } }"""
        actions = (await ada.run(document, id=key))["node"]["actions"]
        [deletion] = [each for each in actions if each["action"] == "DELETE"]
        assert [each["id"] for each in deletion["blockers"][0]["nodes"]] == [target["id"], service.id]
        await rolls.end_roll(slipway, service.id, "FAILED")
        assert await rolls.uses(slipway) == []

    async def test_a_variable_without_credential_keeps_the_one_that_it_has(
        self, slipway: Slipway, ada: Client, grace: Client
    ) -> None:
        """Whoever may configure the workload need not see the credential to leave it alone."""
        key = await credential(ada, "key", "a", "b")
        service = await rolls.service(slipway, ada, environment=[pointing("SECRET", key, "a")])
        await harness.share(ada, "Workload", service.id, {"user": await harness.user_id(grace), "role": "EDITOR"})
        kept = pointing("SECRET", None, "a")
        async with history.unchanged(slipway):
            assert (await grace.mutate("configureWorkload", workloadId=service.id, environment=[kept]))[
                "__typename"
            ] == "WorkloadPayload"
        await rolls.roll(grace, "configureWorkload", service.id, environment=[kept, ENVIRONMENT[0]])
        await rolls.end_roll(slipway, service.id)
        assert [(each.credential_id, each.field) for each in await rolls.uses(slipway)] == [(racing.uuid(key), "a")]
        # Another key is another thing to point at, and that takes a role on the credential.
        refused = await grace.mutate(
            "configureWorkload", workloadId=service.id, environment=[pointing("SECRET", None, "b")]
        )
        assert [each["code"] for each in refused["issues"]] == ["NO_SUCH_CREDENTIAL"]


async def refusals(client: Client, credential_id: str) -> tuple[list[str], list[str]]:
    """Why the credential can't be deleted, and why its key "a" can't be dropped by a rotation. Changes nothing."""
    document = "query ($id: ID!) { node(id: $id) { ... on Credential { actions { action blockers { code } } } } }"
    actions = (await client.run(document, id=credential_id))["node"]["actions"]
    [deletion] = [each for each in actions if each["action"] == "DELETE"]
    blockers = [each["code"] for each in deletion["blockers"]]
    if not blockers:
        return [], []
    deleted = await client.mutate("deleteCredential", credentialId=credential_id)
    assert [each["code"] for each in deleted["blockers"]] == blockers
    rotated = await client.mutate(
        "rotateCredential", credentialId=credential_id, values=[{"key": "b", "value": "rotated"}]
    )
    return blockers, [each["code"] for each in rotated["issues"]]


DIGEST = "sha256:" + "d" * 64
PURPOSE = """... on WorkloadPayload { workload { id status purpose endpoint expiresAt digest
  artifact { id status version } } }"""


class TestPromote:
    @pytest.mark.parametrize("status", ["SUBMITTED", "PROVISIONING", "LAUNCHING", "RUNNING", "INTERRUPTED", "ERRORED"])
    async def test_the_test_becomes_a_service_in_place(self, slipway: Slipway, ada: Client, status: str) -> None:
        draft = await harness.new_artifact(ada)
        trial = await harness.start_test(ada, draft["id"])
        seen = {"addresses": [{"launch": 1, "replica": "0", "host": "h", "port": 1}], "was_ready": True}
        await history.put(slipway, trial["id"], status, **seen)
        async with history.written(slipway) as lines:
            promoted = await ada.mutate("promoteWorkload", PURPOSE, workloadId=trial["id"], ifRevision=1)
        assert promoted["workload"] == {
            "id": trial["id"],
            "status": status,
            "purpose": "SERVICE",
            "endpoint": trial["endpoint"],
            "expiresAt": None,
            "digest": trial["digest"],
            "artifact": {"id": draft["id"], "status": "LOCKED", "version": 1},
        }
        row = await history.workload(slipway, trial["id"])
        assert (row.launch, row.last_launch, row.addresses, row.was_ready) == (1, 1, seen["addresses"], True)
        assert (row.wanted, row.revision, row.generation) == ("RUNNING", 2, 2)
        assert [(kind, subject) for kind, subject, _, _ in lines] == [
            ("ARTIFACT_LOCKED", draft["id"]),
            ("WORKLOAD_CHANGED", trial["id"]),
        ]
        assert lines[1][3] == {"purpose": {"before": "TEST", "after": "SERVICE"}}

    async def test_it_pins_what_runs_and_what_is_to(self, slipway: Slipway, ada: Client) -> None:
        draft = await harness.new_artifact(ada, spec=harness.spec(harness.container(imageUri=f"python@{DIGEST}")))
        trial = await harness.start_test(ada, draft["id"])
        await history.put(slipway, trial["id"], "RUNNING")
        await rolls.roll(ada, "configureWorkload", trial["id"], environment=ENVIRONMENT)
        await rolls.roll(ada, "promoteWorkload", trial["id"])
        assert pin((await history.workload(slipway, trial["id"])).specification) == DIGEST
        [rolling] = await rolls.replacements(slipway)
        assert pin(rolling.specification) == DIGEST
        await rolls.end_roll(slipway, trial["id"])
        row = await history.workload(slipway, trial["id"])
        assert (row.purpose, row.launch, pin(row.specification)) == ("SERVICE", 2, DIGEST)

    async def test_a_test_that_was_edited_since_can_be_promoted_once_the_edit_is_undone(
        self, slipway: Slipway, ada: Client
    ) -> None:
        draft = await harness.new_artifact(ada)
        trial = await harness.start_test(ada, draft["id"])
        await ada.mutate("updateArtifact", artifactId=draft["id"], spec=harness.spec(harness.container(port=9)))
        async with history.unchanged(slipway):
            refused = await ada.mutate("promoteWorkload", workloadId=trial["id"])
            assert [each["code"] for each in refused["blockers"]] == ["ARTIFACT_CHANGED"]
        await ada.mutate("updateArtifact", artifactId=draft["id"], spec=harness.spec(), name="other")
        assert (await ada.mutate("promoteWorkload", workloadId=trial["id"]))["__typename"] == "WorkloadPayload"


def pin(specification: dict[str, Any]) -> str | None:
    """The digest that the only container of a stored specification runs."""
    found: str | None = specification["containerGroups"][0]["containers"][0]["imageDigest"]
    return found


class TestExtend:
    @pytest.mark.parametrize(
        ("left", "by", "ends"),
        [
            (timedelta(hours=1), "PT1H", timedelta(hours=2)),
            (timedelta(hours=1), "PT8H", timedelta(hours=8)),
            (timedelta(hours=7, minutes=59), "PT1H", timedelta(hours=8)),
            # Its time is over, and nobody has ended it yet.
            (timedelta(seconds=-2), "PT1M", timedelta(seconds=58)),
        ],
    )
    async def test_the_end_moves_to_at_most_eight_hours_from_now(
        self, slipway: Slipway, ada: Client, left: timedelta, by: str, ends: timedelta
    ) -> None:
        trial = await harness.start_test(ada, (await harness.new_artifact(ada))["id"])
        expires_at = datetime.now(UTC) + left
        await history.put(slipway, trial["id"], "RUNNING", expires_at=expires_at)
        async with history.written(slipway) as lines:
            await rolls.roll(ada, "extendTest", trial["id"], by=by)
        row = await history.workload(slipway, trial["id"])
        assert row.expires_at is not None
        assert abs((row.expires_at - expires_at) - (ends - left)) < timedelta(seconds=10)
        assert row.expires_at <= row.updated_at + timedelta(hours=8)
        moved = {"before": expires_at.isoformat(), "after": row.expires_at.isoformat()}
        assert lines == [("WORKLOAD_CHANGED", trial["id"], "ada", {"expiresAt": moved})]
        assert (row.revision, row.generation) == (2, 1), "nothing of it is for the reconciler"

    @pytest.mark.parametrize("by", ["PT0S", "-PT1H", "PT8H1S"])
    async def test_by_more_than_nothing_and_up_to_eight_hours(self, slipway: Slipway, ada: Client, by: str) -> None:
        trial = await harness.start_test(ada, (await harness.new_artifact(ada))["id"])
        async with history.unchanged(slipway):
            refused = await ada.mutate("extendTest", workloadId=trial["id"], by=by)
        assert [(each["path"], each["code"]) for each in refused["issues"]] == [("by", "OUT_OF_RANGE")]
