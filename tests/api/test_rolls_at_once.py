"""What happens when a workload is replaced and something else is asked for at once, at two servers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import main
from app.db import claims, tables
from app.domain import planning
from app.domain.enums import ReplacementStatus, WorkloadStatus
from tests import harness
from tests.api import history, racing, rolls
from tests.api.racing import at_once, call, in_line, said
from tests.harness import Client, Slipway

pytestmark = pytest.mark.slow

ROUNDS = 8
ENVIRONMENT = [{"name": "A", "value": "1"}]


@pytest.fixture
async def other(slipway: Slipway, database_url: str) -> AsyncIterator[Slipway]:
    """A second server over the same database."""
    async with harness.serving(database_url) as server:
        yield server


@pytest.fixture
async def elsewhere(other: Slipway, ada: Client) -> Client:
    """Ada at the second server."""
    return other.anonymous(ada.token)


async def assert_sound(slipway: Slipway) -> None:
    """Whatever happened: what is rolling rolls a workload that runs, and launches are given out once."""
    workloads = {each.id: each for each in await racing.rows(slipway, tables.WorkloadRow)}
    replacements = await rolls.replacements(slipway)
    for each in replacements:
        workload = workloads[each.workload_id]
        if each.status is ReplacementStatus.ROLLING:
            assert workload.status is WorkloadStatus.RUNNING
            assert workload.launch < each.launch == workload.last_launch
    launches = [(each.workload_id, each.launch) for each in replacements]
    assert len(launches) == len(set(launches))


# Beside a replacement: what else is asked for, and how it may end (the replacement first, then the other), as words.
BESIDE: Mapping[str, tuple[dict[str, Any], set[tuple[str, str]]]] = {
    "replaceArtifact": ({}, {("done", "REPLACEMENT_ACTIVE"), ("REPLACEMENT_ACTIVE", "done")}),
    "configureWorkload": (
        {"environment": ENVIRONMENT},
        {("done", "REPLACEMENT_ACTIVE"), ("REPLACEMENT_ACTIVE", "done")},
    ),
    "stopWorkload": ({}, {("done", "done")}),
    "restartWorkload": ({}, {("done", "done")}),
    "deleteWorkload": ({}, {("done", "done")}),
}


@pytest.mark.parametrize("beside", BESIDE)
async def test_a_replacement_and_something_else(slipway: Slipway, ada: Client, elsewhere: Client, beside: str) -> None:
    given, outcomes = BESIDE[beside]
    service = await rolls.service(slipway, ada)
    target: dict[str, Any] = {"artifactId": service.third} if beside == "replaceArtifact" else given

    def calls(workload_id: str) -> tuple[racing.Call, racing.Call]:
        on = {"workloadId": workload_id}
        return (
            call(ada, "replaceArtifact", **on, artifactId=service.second),
            call(elsewhere, beside, **on, **target),
        )

    async def another() -> str:
        workload = await harness.deploy(ada, service.first)
        await history.put(slipway, workload["id"], "RUNNING")
        return str(workload["id"])

    found = {said(await at_once(turn, *calls(await another()))) for turn in range(ROUNDS)}
    assert found <= outcomes
    workload_id = await another()
    assert said(await in_line(slipway, tables.WorkloadRow, workload_id, *calls(workload_id))) in outcomes
    workload_id = await another()
    results = await in_line(slipway, tables.WorkloadRow, workload_id, *calls(workload_id)[::-1])
    assert said(results[::-1]) in outcomes
    await assert_sound(slipway)


async def test_something_else_at_once_is_the_end_of_a_replacement(
    slipway: Slipway, ada: Client, elsewhere: Client
) -> None:
    service = await rolls.service(slipway, ada)
    calls = [
        call(ada, "replaceArtifact", workloadId=service.id, artifactId=service.second),
        call(elsewhere, "stopWorkload", workloadId=service.id),
    ]
    await in_line(slipway, tables.WorkloadRow, service.id, *calls)
    assert [each.status.value for each in await rolls.replacements(slipway)] == ["CANCELLED"]
    row = await history.workload(slipway, service.id)
    assert (row.status, row.artifact_id) == ("STOPPING", racing.uuid(service.first))


@pytest.mark.parametrize("asked", ["stopWorkload", "restartWorkload", "deleteWorkload"])
async def test_a_reconciler_that_comes_too_late_records_nothing(slipway: Slipway, ada: Client, asked: str) -> None:
    """It has decided that the successor takes over; meanwhile something else was asked for."""
    service = await rolls.service(slipway, ada)
    await rolls.roll(ada, "replaceArtifact", service.id, artifactId=service.second)
    holder = uuid.uuid4()
    woken = {racing.uuid(service.id)}
    async with slipway.session() as session:
        [claimed] = await claims.claim(session, holder, woken=woken, limit=1, lease_seconds=30)
    await ada.mutate(asked, workloadId=service.id)
    async with history.unchanged(slipway):
        outcome = planning.Outcome(ReplacementStatus.COMPLETED)
        plan = planning.Plan(status=WorkloadStatus.RUNNING, outcome=outcome)
        async with slipway.session() as session:
            assert not await claims.record(session, holder, claimed, plan, now=main.now(), then=None, lease_seconds=30)
    assert [each.status.value for each in await rolls.replacements(slipway)] == ["CANCELLED"]


DRAFT, WORKLOAD = tables.ArtifactRow, tables.WorkloadRow
# Beside a promotion: the same, and the rows that both of them lock.
BESIDE_A_PROMOTION: Mapping[str, tuple[dict[str, Any], tuple[Any, ...], set[tuple[str, str]]]] = {
    "updateArtifact": (
        {"spec": harness.spec(harness.container(port=9090))},
        (DRAFT,),
        {("done", "ARTIFACT_LOCKED"), ("ARTIFACT_CHANGED", "done")},
    ),
    "lockArtifact": ({}, (DRAFT,), {("done", "ARTIFACT_LOCKED"), ("ARTIFACT_LOCKED", "done")}),
    "deleteArtifact": ({}, (DRAFT,), {("done", "ARTIFACT_LOCKED IN_USE"), ("done", "IN_USE")}),
    "stopArtifact": ({}, (DRAFT, WORKLOAD), {("done", "ARTIFACT_LOCKED"), ("WORKLOAD_NOT_ACTIVE", "done")}),
    "stopWorkload": ({}, (WORKLOAD,), {("done", "done"), ("WORKLOAD_NOT_ACTIVE", "done")}),
    "promoteWorkload": ({}, (DRAFT,), {("done", "NOT_A_TEST"), ("NOT_A_TEST", "done")}),
    "configureWorkload": ({"environment": ENVIRONMENT}, (DRAFT, WORKLOAD), {("done", "done")}),
}


class TestTests:
    """Draft, test and promotion. `trial` makes a draft that is under test, and answers both ids."""

    async def trial(self, slipway: Slipway, ada: Client) -> tuple[str, str]:
        draft = await harness.new_artifact(ada)
        workload = await harness.start_test(ada, draft["id"])
        await history.put(slipway, workload["id"], "RUNNING")
        return draft["id"], workload["id"]

    @pytest.mark.parametrize("change", BESIDE_A_PROMOTION)
    async def test_a_promotion_and_something_else(
        self, slipway: Slipway, ada: Client, elsewhere: Client, change: str
    ) -> None:
        given, locks, outcomes = BESIDE_A_PROMOTION[change]
        # Both wait for a row that they lock, one behind the other, and the other way round; then they meet by chance.
        turns = [(table, order) for table in locks for order in (1, -1)]
        found = set()
        for turn in range(ROUNDS):
            draft, workload = await self.trial(slipway, ada)
            named = {"artifactId": draft} if change.endswith("Artifact") else {"workloadId": workload}
            calls = [call(ada, "promoteWorkload", workloadId=workload), call(elsewhere, change, **named, **given)]
            if turn < len(turns):
                table, order = turns[turn]
                row_id = draft if table is tables.ArtifactRow else workload
                found.add(said((await in_line(slipway, table, row_id, *calls[::order]))[::order]))
            else:
                found.add(said(await at_once(turn, *calls)))
        assert found == outcomes
        await racing.assert_sound(slipway)

    @pytest.mark.parametrize("beside", ["stopArtifact", "promoteWorkload"])
    async def test_a_configuration_waits_for_nobody_who_waits_for_it(
        self, slipway: Slipway, ada: Client, elsewhere: Client, beside: str
    ) -> None:
        """Its replacement names the draft, which the other has locked before it comes to the workload."""
        for order in (1, -1):
            draft, workload = await self.trial(slipway, ada)
            named = {"artifactId": draft} if beside == "stopArtifact" else {"workloadId": workload}
            calls = [
                call(ada, "configureWorkload", workloadId=workload, environment=ENVIRONMENT),
                call(elsewhere, beside, **named),
            ]
            results = await in_line(slipway, tables.WorkloadRow, workload, *calls[::order])
            assert said(results) == ("done", "done")

    async def test_a_promotion_and_the_end_of_the_test(self, slipway: Slipway, ada: Client, other: Slipway) -> None:
        """Whichever comes first: what was promoted goes on, and what has ended is not promoted."""
        over = datetime.now(UTC) - timedelta(seconds=1)

        async def expire() -> int:
            async with other.session() as session:
                return await claims.expire(session, main.now())

        found = set()
        for turn in range(ROUNDS):
            _, workload = await self.trial(slipway, ada)
            await history.put(slipway, workload, "RUNNING", expires_at=over)
            if turn == 0:
                assert await expire() == 1
            promoting = asyncio.ensure_future(ada.mutate("promoteWorkload", workloadId=workload))
            for _ in range(turn % 4):
                await asyncio.sleep(0.002)
            ended = await expire()
            promoted = said([await promoting])[0]
            ended += await expire()  # it passes by what others have locked
            row = await history.workload(slipway, workload)
            if promoted == "done":
                assert (ended, row.purpose, row.status, row.wanted) == (0, "SERVICE", "RUNNING", "RUNNING")
            else:
                assert promoted == "WORKLOAD_NOT_ACTIVE"
                assert (row.purpose, row.status, row.wanted) == ("TEST", "STOPPING", "TERMINATED")
                assert row.status_reason == "EXPIRED"
            found.add(promoted)
        assert "WORKLOAD_NOT_ACTIVE" in found

    async def test_the_end_of_a_test_is_the_end_of_its_replacement(self, slipway: Slipway, ada: Client) -> None:
        _, workload = await self.trial(slipway, ada)
        await rolls.roll(ada, "configureWorkload", workload, environment=ENVIRONMENT)
        await history.put(slipway, workload, "RUNNING", expires_at=datetime.now(UTC))
        async with slipway.session() as session:
            assert await claims.expire(session, main.now()) == 1
        assert [each.status.value for each in await rolls.replacements(slipway)] == ["CANCELLED"]
