"""What may be done to a thing: the tables of the rules, read out, and what the rules want to know for it."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, cast

import strawberry
from sqlalchemy import exists
from sqlmodel import col, select

from app.api import fields, finding, sources
from app.api.context import Info
from app.api.fields import Scope
from app.api.interfaces import Node
from app.db import access, reads, tables
from app.db.aliases import Alias
from app.domain import enums, errors, ids, lifecycle
from app.domain.enums import Role

ACTIONS = "Every action, whether it is available to the viewer now, and everything that is in the way."


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
        rows = await asyncio.gather(
            *(loaders.reachable(finding.TABLES[kind], thing_id) for kind, thing_id in self.things)
        )
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


@dataclasses.dataclass(frozen=True, slots=True)
class Blocking:
    """Things of one kind that may block: `on` gets the row that they block and one of theirs, and gives conditions."""

    kind: ids.Kind
    on: Callable[[Any, Any], Sequence[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """How a field lists the actions on a thing, each with what `lifecycle.judge` says of it.

    `read` asks for the facts by loaders. For a statement `told` gives those that SQL can tell of a row, by name, and
    `things` what blocks, by name; `facts` makes the rules' facts of both.
    """

    state: Any
    actions: type[StrEnum]
    read: Callable[[Info, Any], Awaitable[lifecycle.Facts]]
    told: Callable[[Any, Scope], Mapping[str, Any]]
    facts: Callable[[Mapping[str, Any], Mapping[str, lifecycle.Things]], lifecycle.Facts]
    things: Mapping[str, tuple[Blocking, ...]] = dataclasses.field(default_factory=dict)


def states(judged: Judged, facts: lifecycle.Facts, *, read_only: bool) -> list[Any]:
    """Judge every action by what is known."""
    found = []
    for action in judged.actions:
        blockers = lifecycle.judge(cast("lifecycle.Action", action), facts, read_only=read_only)
        blocked = [blocker(each) for each in blockers]
        found.append(judged.state(action=action, available=not blockers, blockers=blocked))
    return found


def action_list(judged: Judged) -> Any:
    """A field that lists the actions on a thing."""

    async def resolve(root: Any, info: Info) -> Any:
        facts = await judged.read(info, root.row)
        return states(judged, facts, read_only=info.context.viewer.read_only)

    del resolve.__annotations__["return"]
    return strawberry.field(resolver=resolve, description=ACTIONS, metadata=fields.says(judged))


def _role(told: Any) -> Role:
    return Role.VIEWER if told is None else Role(told)


def _role_or_none(told: Any) -> Role | None:
    return None if told is None else Role(told)


def _live(column: str) -> tuple[Blocking, ...]:
    """The workloads that are not TERMINATED and name the row in this column."""

    def on(row: Any, workload: Any) -> Sequence[Any]:
        return getattr(workload, column) == row.id, workload.status != enums.WorkloadStatus.TERMINATED

    return (Blocking(ids.Kind.WORKLOAD, on),)


async def _repository_facts(info: Info, row: tables.RepositoryRow) -> lifecycle.RepositoryFacts:
    loaders = info.context.loaders
    return lifecycle.RepositoryFacts(
        role=await loaders.role(tables.RepositoryRow, row.id) or Role.VIEWER,
        locked_artifacts=await loaders.locked_artifacts(row.id),
        live_workloads=await loaders.live_workloads(col(tables.WorkloadRow.repository_id), row.id),
    )


REPOSITORY = Judged(
    RepositoryActionState,
    enums.RepositoryAction,
    _repository_facts,
    told=lambda row, scope: {"role": access.role(row, scope.viewer)},
    facts=lambda told, things: lifecycle.RepositoryFacts(_role(told["role"]), things["locked"], things["live"]),
    things={
        "locked": (
            Blocking(
                ids.Kind.ARTIFACT,
                lambda row, artifact: (
                    artifact.repository_id == row.id,
                    artifact.status == enums.ArtifactStatus.LOCKED,
                ),
            ),
        ),
        "live": _live("repository_id"),
    },
)


async def _artifact_facts(info: Info, row: tables.ArtifactRow) -> lifecycle.ArtifactFacts:
    loaders = info.context.loaders
    live = await loaders.live_workloads(col(tables.WorkloadRow.artifact_id), row.id)
    return lifecycle.ArtifactFacts(
        role=await loaders.role(tables.ArtifactRow, row.id) or Role.VIEWER,
        status=row.status,
        repository_role=await loaders.role(tables.RepositoryRow, row.repository_id),
        live_workloads=live,
        runtime_available=await loaders.runtime_available(),
    )


ARTIFACT = Judged(
    ArtifactActionState,
    enums.ArtifactAction,
    _artifact_facts,
    told=lambda row, scope: {
        "role": access.role(row, scope.viewer),
        "status": row.status,
        "repository_role": access.repository_role(row.repository_id, scope.viewer),
        "runtime": reads.is_runtime_available(scope.now),
    },
    facts=lambda told, things: lifecycle.ArtifactFacts(
        role=_role(told["role"]),
        status=enums.ArtifactStatus(told["status"]),
        repository_role=_role_or_none(told["repository_role"]),
        live_workloads=things["live"],
        runtime_available=told["runtime"],
    ),
    things={"live": _live("artifact_id")},
)


async def _workload_facts(info: Info, row: tables.WorkloadRow) -> lifecycle.WorkloadFacts:
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


def _told_of_workload(row: Any, scope: Scope) -> Mapping[str, Any]:
    artifact, replacement = Alias(tables.ArtifactRow), Alias(tables.ReplacementRow)

    def of_artifact(value: Any) -> Any:
        return select(value).where(artifact.id == row.artifact_id).correlate_except(artifact).scalar_subquery()

    def has_replacement(condition: Any) -> Any:
        return exists().where(replacement.workload_id == row.id, condition).correlate_except(replacement)

    return {
        "role": access.role(row, scope.viewer),
        "status": row.status,
        "purpose": row.purpose,
        "artifact_status": of_artifact(artifact.status),
        "artifact_role": of_artifact(access.role(artifact, scope.viewer)),
        "artifact_changed": of_artifact(artifact.digest != row.digest),
        "replacement_active": has_replacement(replacement.status == enums.ReplacementStatus.ROLLING),
        "replaced_before": has_replacement(reads.has_replaced(replacement)),
    }


WORKLOAD = Judged(
    WorkloadActionState,
    enums.WorkloadAction,
    _workload_facts,
    told=_told_of_workload,
    facts=lambda told, _: lifecycle.WorkloadFacts(
        role=_role(told["role"]),
        status=enums.WorkloadStatus(told["status"]),
        purpose=enums.WorkloadPurpose(told["purpose"]),
        artifact_status=enums.ArtifactStatus(told["artifact_status"]),
        artifact_role=_role_or_none(told["artifact_role"]),
        artifact_changed=told["artifact_changed"],
        replacement_active=told["replacement_active"],
        replaced_before=told["replaced_before"],
    ),
)


async def _credential_facts(info: Info, row: tables.CredentialRow) -> lifecycle.CredentialFacts:
    loaders = info.context.loaders
    return lifecycle.CredentialFacts(
        role=await loaders.role(tables.CredentialRow, row.id) or Role.VIEWER,
        users=await loaders.credential_users(row.id),
    )


def _using(credential: Any, workload: Any) -> Sequence[Any]:
    use = tables.WorkloadCredentialUseRow
    using = select(use.workload_id).where(col(use.credential_id) == credential.id).correlate_except(use)
    return (workload.id.in_(using),)


CREDENTIAL = Judged(
    CredentialActionState,
    enums.CredentialAction,
    _credential_facts,
    told=lambda row, scope: {"role": access.role(row, scope.viewer)},
    facts=lambda told, things: lifecycle.CredentialFacts(_role(told["role"]), things["users"]),
    things={
        "users": (
            Blocking(ids.Kind.ARTIFACT, lambda row, artifact: (sources.points_at_credential(artifact, row.id),)),
            Blocking(ids.Kind.WORKLOAD, _using),
        )
    },
)
