"""Mutations of workloads. They record what is wanted; the reconciler makes it so."""

import strawberry

from app.actions import rolling, sharing, workloads
from app.api import convert, inputs
from app.api.context import Info
from app.api.mutations.common import Given, acting, deleted, spoken
from app.api.payloads import DeleteResult, WorkloadPayload, WorkloadResult
from app.db import tables
from app.domain import ids

WORKLOAD = ids.Kind.WORKLOAD


@strawberry.type
class WorkloadMutations:
    """Describe, configure, replace, promote, start, stop, restart, share and delete."""

    @strawberry.mutation(description="Change what describes a workload; nothing of it rolls.")
    async def update_workload(self, info: Info, input: Given[inputs.UpdateWorkloadInput]) -> WorkloadResult:
        """See `workloads.update`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        changes = workloads.WorkloadChanges(
            name=input.name,
            description=input.description,
            importance=input.importance,
            tags=convert.optional_tags(input.tags),
        )
        await workloads.update(acting(info), workload_id, input.if_revision, changes)
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(description="Start a workload that is stopped or gave up; what runs stays as it is.")
    async def start_workload(self, info: Info, input: Given[inputs.WorkloadInput]) -> WorkloadResult:
        """See `workloads.start`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        await workloads.start(acting(info), workload_id, input.if_revision)
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(description="Take a workload down. A test ends for good, a service can be started again.")
    async def stop_workload(self, info: Info, input: Given[inputs.WorkloadInput]) -> WorkloadResult:
        """See `workloads.stop`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        await workloads.stop(acting(info), workload_id, input.if_revision)
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(description="Launch a workload anew.")
    async def restart_workload(self, info: Info, input: Given[inputs.WorkloadInput]) -> WorkloadResult:
        """See `workloads.restart`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        await workloads.restart(acting(info), workload_id, input.if_revision)
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(
        description="Change how a workload runs: replicas in place, everything else beside what serves, as a roll."
    )
    async def configure_workload(self, info: Info, input: Given[inputs.ConfigureWorkloadInput]) -> WorkloadResult:
        """See `rolling.configure`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        await rolling.configure(acting(info), workload_id, input.if_revision, convert.configuration(input))
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(
        description="Roll a workload to another locked artifact: it is brought up beside what serves, and takes over "
        "once it is ready. One that fails is taken down, and nothing has changed."
    )
    async def replace_artifact(self, info: Info, input: Given[inputs.ReplaceArtifactInput]) -> WorkloadResult:
        """See `rolling.replace`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        artifact_id = convert.existing(ids.Kind.ARTIFACT, input.artifact_id)
        await rolling.replace(acting(info), workload_id, input.if_revision, artifact_id)
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(description="Roll a workload back to the artifact before its newest completed replacement.")
    async def rollback_workload(self, info: Info, input: Given[inputs.WorkloadInput]) -> WorkloadResult:
        """See `rolling.rollback`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        await rolling.rollback(acting(info), workload_id, input.if_revision)
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(
        description="Lock the draft of a test, and make the test a service in place: same id, same endpoint, no "
        "restart, no end."
    )
    async def promote_workload(self, info: Info, input: Given[inputs.WorkloadInput]) -> WorkloadResult:
        """See `rolling.promote`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        await rolling.promote(acting(info), workload_id, input.if_revision)
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(description="Move the end of a test further away, to at most 8 hours from now.")
    async def extend_test(self, info: Info, input: Given[inputs.ExtendTestInput]) -> WorkloadResult:
        """See `rolling.extend_test`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        await rolling.extend_test(acting(info), workload_id, input.if_revision, input.by)
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(description="Change who may what on a workload.")
    async def share_workload(self, info: Info, input: Given[inputs.ShareInput]) -> WorkloadResult:
        """See `sharing.share_workload`."""
        workload_id = convert.existing(WORKLOAD, input.id)
        await sharing.share_workload(acting(info), workload_id, input.if_revision, convert.grants(input.grants))
        return WorkloadPayload(workload=await spoken(info, tables.WorkloadRow, workload_id))

    @strawberry.mutation(description="Stop a workload for good. It stays readable.")
    async def delete_workload(self, info: Info, input: Given[inputs.WorkloadInput]) -> DeleteResult:
        """See `workloads.delete_workload`."""
        workload_id = convert.existing(WORKLOAD, input.workload_id)
        return deleted(await workloads.delete_workload(acting(info), workload_id, input.if_revision))
