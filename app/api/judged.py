"""What may be done to a thing: the tables of the rules, read out, and what the rules want to know for it."""

import asyncio
from collections.abc import Iterable
from typing import Any

import strawberry
from sqlmodel import col

from app.api import fields
from app.api.context import Info
from app.api.interfaces import Node
from app.db import tables
from app.domain import enums, errors, ids, lifecycle
from app.domain.enums import Role

TABLES = {
    ids.Kind.REPOSITORY: tables.RepositoryRow,
    ids.Kind.ARTIFACT: tables.ArtifactRow,
    ids.Kind.WORKLOAD: tables.WorkloadRow,
    ids.Kind.CREDENTIAL: tables.CredentialRow,
}


@strawberry.type(description="One reason why an action is not available.")
class Blocker:
    """A blocker, spoken."""

    code: enums.BlockerCode = strawberry.field(description="Which rule it is, for a machine.")
    message: str = strawberry.field(description="What is in the way and what to do, for a person.")
    hidden_count: int = strawberry.field(description="How many things block that the viewer may not see.")
    things: strawberry.Private[tuple[tuple[ids.Kind, Any], ...]]

    @strawberry.field(
        description=f"The things that block, as far as the viewer may see them: the newest "
        f"{lifecycle.NAMED_THINGS_MAXIMUM} of each kind."
    )
    async def nodes(self, info: Info) -> list[Node]:
        """The things that block."""
        loaders = info.context.loaders
        # At once, so that each kind is read in one statement.
        rows = await asyncio.gather(*(loaders.reachable(TABLES[kind], thing_id) for kind, thing_id in self.things))
        return [fields.node(row) for row in rows if row is not None]


def blocker(judged: errors.Blocker) -> Blocker:
    """A blocker of the domain, spoken."""
    return Blocker(code=judged.code, message=judged.message, hidden_count=judged.hidden_count, things=judged.nodes)


@strawberry.type(description="Whether an action on an artifact is available now, and if not, why.")
class ArtifactActionState:
    """An action on an artifact."""

    action: enums.ArtifactAction = strawberry.field(description="The action.")
    available: bool = strawberry.field(description="Whether the viewer can do it now.")
    blockers: list[Blocker] = strawberry.field(description="Everything that is in the way.")


@strawberry.type(description="Whether an action on a repository is available now, and if not, why.")
class RepositoryActionState:
    """An action on a repository."""

    action: enums.RepositoryAction = strawberry.field(description="The action.")
    available: bool = strawberry.field(description="Whether the viewer can do it now.")
    blockers: list[Blocker] = strawberry.field(description="Everything that is in the way.")


@strawberry.type(description="Whether an action on a workload is available now, and if not, why.")
class WorkloadActionState:
    """An action on a workload."""

    action: enums.WorkloadAction = strawberry.field(description="The action.")
    available: bool = strawberry.field(description="Whether the viewer can do it now.")
    blockers: list[Blocker] = strawberry.field(description="Everything that is in the way.")


@strawberry.type(description="Whether an action on a credential is available now, and if not, why.")
class CredentialActionState:
    """An action on a credential."""

    action: enums.CredentialAction = strawberry.field(description="The action.")
    available: bool = strawberry.field(description="Whether the viewer can do it now.")
    blockers: list[Blocker] = strawberry.field(description="Everything that is in the way.")


def states(info: Info, state: Any, actions: Iterable[lifecycle.Action], facts: lifecycle.Facts) -> list[Any]:
    """Judge every action by what is known. `state` is the type that speaks the answer."""
    read_only = info.context.viewer.read_only
    found = []
    for action in actions:
        blockers = lifecycle.judge(action, facts, read_only=read_only)
        found.append(state(action=action, available=not blockers, blockers=[blocker(each) for each in blockers]))
    return found


async def repository_facts(info: Info, row: tables.RepositoryRow) -> lifecycle.RepositoryFacts:
    """What the rules ask about a repository."""
    loaders = info.context.loaders
    return lifecycle.RepositoryFacts(
        role=await loaders.role(tables.RepositoryRow, row.id) or Role.VIEWER,
        locked_artifacts=await loaders.locked_artifacts(row.id),
        live_workloads=await loaders.live_workloads(col(tables.WorkloadRow.repository_id), row.id),
    )


async def artifact_facts(info: Info, row: tables.ArtifactRow) -> lifecycle.ArtifactFacts:
    """What the rules ask about an artifact."""
    loaders = info.context.loaders
    live = await loaders.live_workloads(col(tables.WorkloadRow.artifact_id), row.id)
    return lifecycle.ArtifactFacts(
        role=await loaders.role(tables.ArtifactRow, row.id) or Role.VIEWER,
        status=row.status,
        repository_role=await loaders.role(tables.RepositoryRow, row.repository_id),
        live_workloads=live,
        runtime_available=await loaders.runtime_available(),
    )


async def workload_facts(info: Info, row: tables.WorkloadRow) -> lifecycle.WorkloadFacts:
    """What the rules ask about a workload."""
    loaders = info.context.loaders
    artifact = await loaders.row(tables.ArtifactRow, row.artifact_id)
    replacement_active, replaced_before = await loaders.replaced(row.id)
    return lifecycle.WorkloadFacts(
        role=await loaders.role(tables.WorkloadRow, row.id) or Role.VIEWER,
        status=row.status,
        purpose=row.purpose,
        artifact_status=artifact.status,
        artifact_role=await loaders.role(tables.ArtifactRow, row.artifact_id),
        artifact_changed=artifact.digest != row.digest,
        replacement_active=replacement_active,
        replaced_before=replaced_before,
    )


async def credential_facts(info: Info, row: tables.CredentialRow) -> lifecycle.CredentialFacts:
    """What the rules ask about a credential."""
    loaders = info.context.loaders
    return lifecycle.CredentialFacts(
        role=await loaders.role(tables.CredentialRow, row.id) or Role.VIEWER,
        users=await loaders.credential_users(row.id),
    )
