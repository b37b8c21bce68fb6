"""What the tests of replacements share: a service with somewhere to go, and what a reconciler records of a roll."""

import dataclasses
import uuid
from typing import Any

from sqlmodel import select

from app import main
from app.db import claims, tables
from app.domain import planning
from app.domain.enums import ReplacementStatus, WorkloadStatus
from tests import harness
from tests.api import history, racing
from tests.harness import Client, Slipway

REPLACEMENT = "replacement { id status message from { id } to { id } requestedBy { username } finishedAt }"
PAYLOAD = f"... on WorkloadPayload {{ {harness.WORKLOAD} }}"
ROLLED = f"... on WorkloadPayload {{ workload {{ id status revision artifact {{ id }} {REPLACEMENT} }} }}"


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """A service that runs the first of three locked artifacts of one repository."""

    id: str
    first: str
    second: str
    third: str


async def locked(client: Client, name: str, **given: Any) -> dict[str, Any]:
    """A locked artifact."""
    return await harness.lock(client, (await harness.new_artifact(client, name, **given))["id"])


async def service(slipway: Slipway, client: Client, status: str = "RUNNING", **given: Any) -> Service:
    """The service, as a reconciler has brought it to this status."""
    first = await locked(client, "first")
    within = {"repositoryId": first["repository"]["id"]}
    second, third = await locked(client, "second", **within), await locked(client, "third", **within)
    workload = await harness.deploy(client, first["id"], **given)
    await history.put(slipway, workload["id"], status, reconcile_at=None, was_ready=status == "RUNNING")
    return Service(workload["id"], first["id"], second["id"], third["id"])


async def roll(client: Client, mutation: str, workload_id: str, **given: Any) -> dict[str, Any]:
    """One of the mutations that roll, which must succeed; answers the workload."""
    result = await client.mutate(mutation, ROLLED, workloadId=workload_id, **given)
    assert result["__typename"] == "WorkloadPayload", result
    workload: dict[str, Any] = result["workload"]
    return workload


async def end_roll(slipway: Slipway, workload_id: str, status: str = "COMPLETED", message: str | None = None) -> None:
    """Record how the replacement that is under way ends, as a reconciler does it."""
    holder = uuid.uuid4()
    async with slipway.session() as session:
        woken = {racing.uuid(workload_id)}
        [claimed] = await claims.claim(session, holder, woken=woken, limit=1, lease_seconds=30)
    assert claimed.replacement is not None
    outcome = planning.Outcome(ReplacementStatus(status), message)
    plan = planning.Plan(status=WorkloadStatus.RUNNING, was_ready=True, outcome=outcome)
    async with slipway.session() as session:
        assert await claims.record(session, holder, claimed, plan, now=main.now(), then=None, lease_seconds=30)


async def replacements(slipway: Slipway) -> list[tables.ReplacementRow]:
    """All of them, oldest first."""
    return await racing.rows(slipway, tables.ReplacementRow)


async def uses(slipway: Slipway) -> list[tables.WorkloadCredentialUseRow]:
    """The keys of credentials that workloads are recorded to need."""
    async with slipway.session() as session:
        return list((await session.exec(select(tables.WorkloadCredentialUseRow))).all())
