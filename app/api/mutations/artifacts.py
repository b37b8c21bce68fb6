"""Mutations of artifacts and repositories."""

import strawberry

from app.actions import artifacts, repositories, sharing, workloads
from app.api import convert, inputs
from app.api.context import Info
from app.api.mutations.common import Given, acting, deleted, spoken
from app.api.payloads import (
    ArtifactPayload,
    CloneArtifactResult,
    CreateArtifactResult,
    DeleteResult,
    DeployArtifactPayload,
    DeployArtifactResult,
    LockArtifactResult,
    RepositoryPayload,
    ShareArtifactResult,
    ShareRepositoryResult,
    StopArtifactResult,
    TestArtifactPayload,
    TestArtifactResult,
    UpdateArtifactResult,
    UpdateRepositoryResult,
)
from app.db import tables
from app.domain import editing, ids

ARTIFACT = ids.Kind.ARTIFACT
REPOSITORY = ids.Kind.REPOSITORY


@strawberry.type
class ArtifactMutations:
    """Create, edit, test, lock, deploy, clone, share and delete."""

    @strawberry.mutation(description="Make a draft: in a repository, or in a new one that it opens.")
    async def create_artifact(self, info: Info, input: Given[inputs.CreateArtifactInput]) -> CreateArtifactResult:
        """See `artifacts.create`."""
        repository_id = None
        if input.repository_id is not None:
            repository_id = convert.existing(REPOSITORY, input.repository_id)
        new = artifacts.NewArtifact(
            name=input.name,
            description=input.description,
            type=input.type,
            tags=convert.tags(input.tags),
            specification=convert.spec(input.spec),
            repository_id=repository_id,
        )
        artifact_id = await artifacts.create(acting(info), new)
        return ArtifactPayload(artifact=await spoken(info, tables.ArtifactRow, artifact_id))

    @strawberry.mutation(description="Edit a draft, or the tags of any artifact.")
    async def update_artifact(self, info: Info, input: Given[inputs.UpdateArtifactInput]) -> UpdateArtifactResult:
        """See `artifacts.update`."""
        artifact_id = convert.existing(ARTIFACT, input.artifact_id)
        given = None if input.spec is None else convert.spec(input.spec)
        changes = artifacts.ArtifactChanges(
            name=input.name,
            description=input.description,
            tags=convert.optional_tags(input.tags),
            specification=None if given is None else lambda _, before: editing.take_over(given, before),
        )
        await artifacts.update(acting(info), artifact_id, input.if_revision, changes)
        return ArtifactPayload(artifact=await spoken(info, tables.ArtifactRow, artifact_id))

    @strawberry.mutation(description="Run a draft for a while.")
    async def test_artifact(self, info: Info, input: Given[inputs.TestArtifactInput]) -> TestArtifactResult:
        """See `workloads.test_artifact`."""
        artifact_id = convert.existing(ARTIFACT, input.artifact_id)
        workload_id = await workloads.test_artifact(acting(info), artifact_id, input.if_revision, input.expires_in)
        return TestArtifactPayload(
            artifact=await spoken(info, tables.ArtifactRow, artifact_id),
            workload=await spoken(info, tables.WorkloadRow, workload_id),
        )

    @strawberry.mutation(description="Stop the active test of a draft; it ends for good.")
    async def stop_artifact(self, info: Info, input: Given[inputs.ArtifactInput]) -> StopArtifactResult:
        """See `workloads.stop_artifact`."""
        artifact_id = convert.existing(ARTIFACT, input.artifact_id)
        workload_id = await workloads.stop_artifact(acting(info), artifact_id, input.if_revision)
        return TestArtifactPayload(
            artifact=await spoken(info, tables.ArtifactRow, artifact_id),
            workload=await spoken(info, tables.WorkloadRow, workload_id),
        )

    @strawberry.mutation(
        description="Freeze a draft into the next version of its repository, and pin the digests that its images have "
        "now. There is no unlocking."
    )
    async def lock_artifact(self, info: Info, input: Given[inputs.ArtifactInput]) -> LockArtifactResult:
        """See `artifacts.lock`."""
        artifact_id = convert.existing(ARTIFACT, input.artifact_id)
        await artifacts.lock(acting(info), artifact_id, input.if_revision)
        return ArtifactPayload(artifact=await spoken(info, tables.ArtifactRow, artifact_id))

    @strawberry.mutation(description="Run an artifact as a service; a draft is locked first.")
    async def deploy_artifact(self, info: Info, input: Given[inputs.DeployArtifactInput]) -> DeployArtifactResult:
        """See `workloads.deploy`."""
        artifact_id = convert.existing(ARTIFACT, input.artifact_id)
        workload_id = await workloads.deploy(acting(info), artifact_id, input.if_revision, convert.deployment(input))
        return DeployArtifactPayload(
            artifact=await spoken(info, tables.ArtifactRow, artifact_id),
            workload=await spoken(info, tables.WorkloadRow, workload_id),
        )

    @strawberry.mutation(description="Make a new draft of a locked artifact, in the same repository.")
    async def clone_artifact(self, info: Info, input: Given[inputs.CloneArtifactInput]) -> CloneArtifactResult:
        """See `artifacts.clone`."""
        source_id = convert.existing(ARTIFACT, input.artifact_id)
        artifact_id = await artifacts.clone(acting(info), source_id, input.if_revision, input.name)
        return ArtifactPayload(artifact=await spoken(info, tables.ArtifactRow, artifact_id))

    @strawberry.mutation(description="Change who may what on an artifact and its workloads.")
    async def share_artifact(self, info: Info, input: Given[inputs.ShareInput]) -> ShareArtifactResult:
        """See `sharing.share_artifact`."""
        artifact_id = convert.existing(ARTIFACT, input.id)
        await sharing.share_artifact(acting(info), artifact_id, input.if_revision, convert.grants(input.grants))
        return ArtifactPayload(artifact=await spoken(info, tables.ArtifactRow, artifact_id))

    @strawberry.mutation(description="Delete a draft and its ended tests.")
    async def delete_artifact(self, info: Info, input: Given[inputs.ArtifactInput]) -> DeleteResult:
        """See `artifacts.delete_draft`."""
        artifact_id = convert.existing(ARTIFACT, input.artifact_id)
        return deleted(await artifacts.delete_draft(acting(info), artifact_id, input.if_revision))

    @strawberry.mutation(description="Change what describes a repository.")
    async def update_repository(self, info: Info, input: Given[inputs.UpdateRepositoryInput]) -> UpdateRepositoryResult:
        """See `repositories.update`."""
        repository_id = convert.existing(REPOSITORY, input.repository_id)
        changes = repositories.RepositoryChanges(
            name=input.name, description=input.description, tags=convert.optional_tags(input.tags)
        )
        await repositories.update(acting(info), repository_id, input.if_revision, changes)
        return RepositoryPayload(repository=await spoken(info, tables.RepositoryRow, repository_id))

    @strawberry.mutation(description="Change who may what on a repository and everything in it.")
    async def share_repository(self, info: Info, input: Given[inputs.ShareInput]) -> ShareRepositoryResult:
        """See `sharing.share_repository`."""
        repository_id = convert.existing(REPOSITORY, input.id)
        await sharing.share_repository(acting(info), repository_id, input.if_revision, convert.grants(input.grants))
        return RepositoryPayload(repository=await spoken(info, tables.RepositoryRow, repository_id))

    @strawberry.mutation(description="Delete a repository with its drafts, while nothing in it is locked or in use.")
    async def delete_repository(self, info: Info, input: Given[inputs.RepositoryInput]) -> DeleteResult:
        """See `repositories.delete_repository`."""
        repository_id = convert.existing(REPOSITORY, input.repository_id)
        return deleted(await repositories.delete_repository(acting(info), repository_id, input.if_revision))
