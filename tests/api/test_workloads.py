"""Workloads: what update, start, stop, restart and delete record, as a reconciler will find it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests import harness
from tests.api import history
from tests.harness import Client, Slipway

WORKLOAD = f"... on WorkloadPayload {{ {harness.WORKLOAD} }}"
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
# What an action asks for; the rest of the row is what a reconciler saw.
ASKED = ("status", "wanted", "launch", "generation", "revision")


@pytest.fixture
async def service(ada: Client) -> dict[str, Any]:
    """A service that nothing has touched yet."""
    artifact = await harness.new_artifact(ada)
    return await harness.deploy(ada, artifact["id"])


async def asked(slipway: Slipway, workload_id: str) -> tuple[Any, ...]:
    row = await history.workload(slipway, workload_id)
    return tuple(getattr(row, each) for each in ASKED)


async def test_a_new_service_is_wanted_and_due_at_once(slipway: Slipway, service: dict[str, Any]) -> None:
    row = await history.workload(slipway, service["id"])
    assert await asked(slipway, service["id"]) == ("SUBMITTED", "RUNNING", 1, 1, 1)
    assert row.launched_at == row.reconcile_at == row.created_at == row.updated_at
    assert (row.was_ready, row.started_at, row.stopped_at, row.expires_at) == (False, None, None, None)
    assert (row.lease_holder, row.lease_until, row.container_statuses, row.addresses) == (None, None, [], [])
    assert row.specification["containerGroups"][0]["containers"][0]["imageUri"] == "docker.io/library/python:3.13"


async def test_an_update_describes_and_rolls_nothing(slipway: Slipway, ada: Client, service: dict[str, Any]) -> None:
    given = {"name": " web ", "description": "d", "importance": "HIGH", "tags": [{"name": "a", "value": "b"}]}
    selection = "... on WorkloadPayload { workload { name description importance tags { name value } revision } }"
    async with history.written(slipway) as lines:
        result = await ada.mutate("updateWorkload", selection, workloadId=service["id"], ifRevision=1, **given)
    assert result["workload"] == {**given, "name": "web", "revision": 2}
    assert await asked(slipway, service["id"]) == ("SUBMITTED", "RUNNING", 1, 1, 2)
    changes = {
        "name": {"before": "hello", "after": "web"},
        "description": {"before": "", "after": "d"},
        "importance": {"before": "LOW", "after": "HIGH"},
        "tags": {"before": {}, "after": {"a": "b"}},
    }
    assert lines == [("WORKLOAD_CHANGED", service["id"], "ada", changes)]
    async with history.unchanged(slipway):
        again = await ada.mutate("updateWorkload", selection, workloadId=service["id"], **given)
        assert again["workload"] == result["workload"]
        stale = await ada.mutate("updateWorkload", workloadId=service["id"], name="x", ifRevision=1)
        assert (stale["__typename"], stale["currentRevision"]) == ("StaleRevision", 2)
        wrong = await ada.mutate("updateWorkload", workloadId=service["id"], name="", tags=[{"name": ""}])
        assert [issue["path"] for issue in wrong["issues"]] == ["name", "tags[0].name"]


async def test_stop_and_start_again(slipway: Slipway, ada: Client, service: dict[str, Any]) -> None:
    workload_id = service["id"]
    seen = {"status_reason": "CRASH_LOOP", "status_message": "again", "reconcile_at": None, "was_ready": True}
    await history.put(slipway, workload_id, "RUNNING", started_at=MOMENT, **seen)
    async with history.written(slipway) as lines:
        stopped = await ada.mutate("stopWorkload", WORKLOAD, workloadId=workload_id, ifRevision=1)
    assert stopped["workload"] == {**service, "status": "STOPPING", "revision": 2}
    assert await asked(slipway, workload_id) == ("STOPPING", "STOPPED", 1, 2, 2)
    row = await history.workload(slipway, workload_id)
    assert (row.status_reason, row.status_message, row.reconcile_at) == (None, None, row.updated_at)
    change = {"status": {"before": "RUNNING", "after": "STOPPING"}}
    assert lines == [("WORKLOAD_STATUS", workload_id, "ada", change)]

    async with history.unchanged(slipway):
        assert (await ada.mutate("stopWorkload", WORKLOAD, workloadId=workload_id))["workload"]["revision"] == 2
        early = await ada.mutate("startWorkload", workloadId=workload_id)
        assert [each["code"] for each in early["blockers"]] == ["WORKLOAD_ACTIVE"]

    await history.put(slipway, workload_id, "STOPPED", stopped_at=MOMENT, reconcile_at=None)
    async with history.written(slipway) as lines:
        started = await ada.mutate("startWorkload", WORKLOAD, workloadId=workload_id)
    assert started["workload"] == {**service, "status": "SUBMITTED", "revision": 3}
    assert await asked(slipway, workload_id) == ("SUBMITTED", "RUNNING", 2, 3, 3)
    row = await history.workload(slipway, workload_id)
    assert (row.was_ready, row.started_at, row.stopped_at) == (False, None, None)
    assert row.launched_at == row.reconcile_at == row.updated_at > row.created_at
    assert [(kind, changes) for kind, _, _, changes in lines] == [
        ("WORKLOAD_STATUS", {"status": {"before": "STOPPED", "after": "SUBMITTED"}})
    ]


@pytest.mark.parametrize("status", ["SUBMITTED", "PROVISIONING", "LAUNCHING", "RUNNING", "INTERRUPTED"])
async def test_starting_what_runs_changes_nothing(
    slipway: Slipway, ada: Client, service: dict[str, Any], status: str
) -> None:
    await history.put(slipway, service["id"], status)
    async with history.unchanged(slipway):
        started = await ada.mutate("startWorkload", WORKLOAD, workloadId=service["id"])
    assert started["workload"] == {**service, "status": status}


async def test_a_restart_is_a_new_launch(slipway: Slipway, ada: Client, service: dict[str, Any]) -> None:
    await history.put(slipway, service["id"], "ERRORED", status_reason="LAUNCH_DEADLINE", reconcile_at=None)
    restarted = await ada.mutate("restartWorkload", WORKLOAD, workloadId=service["id"], ifRevision=1)
    assert restarted["workload"] == {**service, "status": "SUBMITTED", "revision": 2}
    assert await asked(slipway, service["id"]) == ("SUBMITTED", "RUNNING", 2, 2, 2)
    await history.put(slipway, service["id"], "STOPPED")
    async with history.unchanged(slipway):
        refused = await ada.mutate("restartWorkload", workloadId=service["id"])
        assert [each["code"] for each in refused["blockers"]] == ["WORKLOAD_NOT_ACTIVE"]


async def test_a_stopped_test_ends_for_good(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    test = await harness.start_test(ada, artifact["id"])
    await ada.mutate("stopWorkload", workloadId=test["id"])
    assert await asked(slipway, test["id"]) == ("STOPPING", "TERMINATED", 1, 2, 2)


async def test_deleting_stops_first_and_keeps_what_ended_readable(
    slipway: Slipway, ada: Client, service: dict[str, Any]
) -> None:
    workload_id = service["id"]
    async with history.written(slipway) as lines:
        deleted = await ada.mutate("deleteWorkload", "... on DeletePayload { deletedIds }", workloadId=workload_id)
    assert deleted["deletedIds"] == [workload_id]
    assert await asked(slipway, workload_id) == ("STOPPING", "TERMINATED", 1, 2, 2)
    assert [kind for kind, *_ in lines] == ["WORKLOAD_STATUS", "WORKLOAD_DELETED"]
    async with history.unchanged(slipway):
        await ada.mutate("deleteWorkload", workloadId=workload_id)
    await history.put(slipway, workload_id, "TERMINATED", reconcile_at=None)
    async with history.unchanged(slipway):
        again = await ada.mutate("deleteWorkload", "... on DeletePayload { deletedIds }", workloadId=workload_id)
        assert again["deletedIds"] == [workload_id]
        for name in ("updateWorkload", "startWorkload", "stopWorkload", "restartWorkload"):
            refused = await ada.mutate(name, workloadId=workload_id)
            assert [each["code"] for each in refused["blockers"]] == ["WORKLOAD_TERMINATED"], name
    found = await ada.run("query ($id: ID!) { workload(id: $id) { status name } }", id=workload_id)
    assert found["workload"] == {"status": "TERMINATED", "name": "hello"}


async def test_deleting_what_is_stopped_ends_it_at_once(slipway: Slipway, ada: Client, service: dict[str, Any]) -> None:
    await history.put(slipway, service["id"], "STOPPED", reconcile_at=None)
    await ada.mutate("deleteWorkload", workloadId=service["id"])
    assert await asked(slipway, service["id"]) == ("TERMINATED", "TERMINATED", 1, 2, 2)
    assert (await history.workload(slipway, service["id"])).reconcile_at is None
