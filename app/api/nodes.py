"""The nodes of the graph: everything that runs or is needed for it. Each field says where its value comes from."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.api import judged, manifests, sources, values
from app.api.connections import Connection, connection
from app.api.context import Info
from app.api.enums import ManifestFormat
from app.api.events import Event, event_list
from app.api.fields import (
    Column,
    Expression,
    Related,
    Rows,
    Told,
    children,
    column,
    edge,
    external_id,
    id_field,
    node,
    says,
    speaks,
)
from app.api.interfaces import Node
from app.api.logs import LAST_DEFAULT, LogLine, facts_of_logs, log_query, logs_of_facts, read_logs
from app.api.parts import (
    active_test,
    artifact_count,
    by_group_and_position,
    containers_of_artifact,
    containers_of_group,
    facts_of_warnings,
    groups_of_artifact,
    probe_of,
    spoken_warnings,
    tag_list,
    viewer_role,
    warnings_of_facts,
)
from app.api.people import Grant, User, grant_list
from app.db import access, lists, reads, tables
from app.db.values import among, member
from app.domain import enums, ids
from app.domain.logs import LINES_MAXIMUM

CREATED_AT = "When it was made."
CREATED_BY = "Who made it."
NO_SECRETS = "Secrets are left out: comments in it say where to put them."
REVISION = "Grows with every change; give it back as ifRevision to change only what was read."


Format = Annotated[ManifestFormat, strawberry.argument(name="format", description="What it is written for.")]


@speaks(tables.RepositoryRow)
@strawberry.type(description="The lineage of one service: all its artifacts. Opened by its first artifact.")
class Repository(Node):
    """A repository."""

    id: strawberry.ID = id_field(ids.Kind.REPOSITORY)
    name: str = column(tables.RepositoryRow.name, "At first that of its first artifact.")
    description: str = column(tables.RepositoryRow.description, "What it is for.")
    type: enums.ArtifactType = column(tables.RepositoryRow.type, "That of all its artifacts.")
    created_by: User = edge(tables.RepositoryRow.created_by_id, tables.UserRow, CREATED_BY)
    created_at: datetime = column(tables.RepositoryRow.created_at, CREATED_AT)
    updated_at: datetime = column(
        tables.RepositoryRow.updated_at, "The newest change of the repository or of an artifact in it."
    )
    revision: int = column(tables.RepositoryRow.revision, REVISION)
    last_version: int = column(tables.RepositoryRow.last_version, "The newest version; 0 before the first lock.")
    artifacts: Connection["Artifact"] = connection(
        sources.ARTIFACTS,
        "Its artifacts, as far as the viewer has a role on them.",
        sources.named_by("repository_id"),
        inherits=True,
    )

    tags: list[values.Tag] = tag_list(tables.RepositoryTagRow, "repository_id")

    @strawberry.field(
        description="How many artifacts it holds that the viewer has a role on.",
        metadata=says(Expression(artifact_count)),
    )
    async def artifact_count(
        self,
        info: Info,
        status: Annotated[
            list[enums.ArtifactStatus] | None, strawberry.argument(description="Only those of these statuses.")
        ] = None,
    ) -> int:
        """The number of artifacts."""
        row = tables.ArtifactRow
        conditions: tuple[Any, ...] = (access.visible(row, info.context.viewer),)
        statuses = None if status is None else tuple(sorted(set(status), key=enums.rank))
        if statuses is not None:
            conditions = (*conditions, member(row.status, statuses))
        listing = lists.Listing(row, conditions, sources.named_by("repository_id"))
        number: int = await info.context.loaders.batched(
            ("artifact_count", statuses), self.row.id, lambda session, keys: lists.counts(session, listing, keys)
        )
        return number

    viewer_role: enums.Role = viewer_role()
    grants: list[Grant] = grant_list(tables.RepositoryGrantRow, "repository_id")
    events: Connection[Event] = event_list("repository_id")
    actions: list[judged.RepositoryActionState] = judged.action_list(judged.REPOSITORY)


@strawberry.type(description="A variable of a container, as the artifact has it.")
class EnvironmentVariable:
    """A stored variable, spoken."""

    row: strawberry.Private[tables.EnvironmentVariableRow]
    name: str = column(tables.EnvironmentVariableRow.name, "The name.")
    type: enums.EnvironmentVariableType = column(tables.EnvironmentVariableRow.type, "Where the value comes from.")
    value: str | None = column(tables.EnvironmentVariableRow.value, "Of a STRING.")
    credential: "Credential | None" = edge(
        tables.EnvironmentVariableRow.credential_id,
        tables.CredentialRow,
        "Of a CREDENTIAL; null where the viewer may not see it.",
        open_to_all=False,
    )
    field: str | None = column(tables.EnvironmentVariableRow.field, "Which key of that credential.")


@speaks(tables.ContainerRow)
@strawberry.type(description="One container: an image, and how it is started and asked whether it is well.")
class Container(Node):
    """A container."""

    id: strawberry.ID = id_field(ids.Kind.CONTAINER)
    name: str = column(tables.ContainerRow.name, "A DNS label, unique in its group.")
    description: str = column(tables.ContainerRow.description, "What it does.")
    image_uri: str = column(tables.ContainerRow.image_uri, "The image, as written.")
    image_digest: str | None = column(
        tables.ContainerRow.image_digest,
        "Resolved when the artifact was locked; what workloads run. Null where no registry told it.",
    )
    port: int | None = column(tables.ContainerRow.port, "The port that it listens on.")
    primary: bool = column(tables.ContainerRow.primary, "Whether it gets the traffic: exactly one of a group does.")
    entrypoint: list[str] | None = column(
        tables.ContainerRow.entrypoint, "What is started, without a shell; null: what the image says."
    )
    artifact: "Artifact" = edge(tables.ContainerRow.artifact_id, tables.ArtifactRow, "The artifact that it is part of.")

    environment_vars: list[EnvironmentVariable] = children(
        tables.EnvironmentVariableRow,
        "container_id",
        "position",
        description="Its variables, in order.",
        speak=lambda row: EnvironmentVariable(row=row),
    )
    probes: list[values.Probe] = children(
        tables.ProbeRow,
        "container_id",
        "kind",
        description="The probes that are set, in the order startup, readiness, liveness.",
        speak=lambda row: values.Probe.of(row.kind, reads.probe(row)),
    )
    startup_probe: values.Probe | None = probe_of(
        enums.ProbeKind.STARTUP, "Asks whether it has started; holds the other two back until it has passed."
    )
    readiness_probe: values.Probe | None = probe_of(enums.ProbeKind.READINESS, "Asks whether it may get traffic.")
    liveness_probe: values.Probe | None = probe_of(
        enums.ProbeKind.LIVENESS, "Asks whether it is still well; a failure restarts it."
    )


@strawberry.type(description="Containers that share a network: a pod.")
class ContainerGroup:
    """A group of containers."""

    name: str = strawberry.field(description="The name of the group.")
    containers: list[Container] = strawberry.field(
        description="Its containers, in order.",
        metadata=says(Related(tables.ContainerRow, containers_of_group, order=lambda container: (container.position,))),
    )


@speaks(tables.ArtifactRow)
@strawberry.type(description="What runs: a specification of containers. A draft can change, a locked one never does.")
class Artifact(Node):
    """An artifact."""

    id: strawberry.ID = id_field(ids.Kind.ARTIFACT)
    name: str = column(tables.ArtifactRow.name, "1 to 200 characters.")
    description: str = column(tables.ArtifactRow.description, "What it is for.")
    type: enums.ArtifactType = column(tables.ArtifactRow.type, "That of its repository.")
    status: enums.ArtifactStatus = column(tables.ArtifactRow.status, "Whether it can change.")
    version: int | None = column(
        tables.ArtifactRow.version, "Null until it is locked; then 1, 2, 3… within the repository."
    )
    revision: int = column(tables.ArtifactRow.revision, REVISION)
    digest: str = column(
        tables.ArtifactRow.digest, '"sha256:…" over the canonical specification: equal ones have equal digests.'
    )
    repository: Repository = edge(
        tables.ArtifactRow.repository_id, tables.RepositoryRow, "The repository that it stands in."
    )
    created_by: User = edge(tables.ArtifactRow.created_by_id, tables.UserRow, CREATED_BY)
    created_at: datetime = column(tables.ArtifactRow.created_at, CREATED_AT)
    updated_at: datetime = column(tables.ArtifactRow.updated_at, "When it was changed last.")
    locked_by: User | None = edge(tables.ArtifactRow.locked_by_id, tables.UserRow, "Who locked it.")
    locked_at: datetime | None = column(tables.ArtifactRow.locked_at, "When it was locked.")
    cloned_from: "Artifact | None" = edge(
        tables.ArtifactRow.cloned_from_id,
        tables.ArtifactRow,
        "The artifact that it is a clone of; null where the viewer may not see it.",
        open_to_all=False,
    )
    workloads: Connection["Workload"] = connection(
        sources.WORKLOADS, "What runs it, or did.", sources.named_by("artifact_id"), inherits=True
    )

    tags: list[values.Tag] = tag_list(tables.ArtifactTagRow, "artifact_id")

    @strawberry.field(
        description="Its containers in groups that share a network. Empty where only a workload of it is shared.",
        metadata=says(Rows(groups_of_artifact, framed=True)),
    )
    async def container_groups(self, info: Info) -> list[ContainerGroup]:
        """The groups, in order."""
        groups: dict[tuple[int, str], list[Container]] = {}
        for each in await self._containers(info):
            groups.setdefault((each.row.group_position, each.row.group_name), []).append(each)
        return [ContainerGroup(name=name, containers=containers) for (_, name), containers in groups.items()]

    @strawberry.field(
        description="The containers of all groups, in order.",
        metadata=says(Related(tables.ContainerRow, containers_of_artifact, order=by_group_and_position, framed=True)),
    )
    async def containers(self, info: Info) -> list[Container]:
        """The containers."""
        return await self._containers(info)

    async def _is_frame(self, info: Info) -> bool:
        return not self.listed and await info.context.loaders.role(tables.ArtifactRow, self.row.id) is None

    async def _containers(self, info: Info) -> list[Container]:
        if await self._is_frame(info):
            return []
        rows = await info.context.loaders.children(
            tables.ContainerRow, "artifact_id", self.row.id, "group_position", "position"
        )
        return [Container(row=row) for row in rows]

    @strawberry.field(
        description="What it may say, and is likely to be sorry for. Empty where only a workload of it is shared.",
        metadata=says(Told(facts_of_warnings, warnings_of_facts, framed=True)),
    )
    async def warnings(self, info: Info) -> list[values.SpecWarning]:
        """The warnings."""
        if await self._is_frame(info):
            return []
        return spoken_warnings(await info.context.loaders.specification(self.row.id), self.row.status)

    @strawberry.field(
        description=f"One replica of it as YAML, to be run elsewhere. {NO_SECRETS} Empty where only a workload of it "
        "is shared.",
        metadata=says(Told(manifests.facts_of_artifact, manifests.of_artifact_facts, framed=True)),
    )
    async def manifest(self, info: Info, format_: Format = ManifestFormat.KUBERNETES) -> str:
        """The YAML."""
        return "" if await self._is_frame(info) else await manifests.of_artifact(info, self.row, format_)

    @strawberry.field(
        description="The active test of a draft; null once it is locked.",
        metadata=says(Related(tables.WorkloadRow, active_test, listed=True)),
    )
    async def test_workload(self, info: Info) -> "Workload | None":
        """The active test."""
        if self.row.status is not enums.ArtifactStatus.DRAFT:
            return None
        viewer = info.context.viewer

        async def batch(session: AsyncSession, keys: Sequence[UUID]) -> Mapping[UUID, Any]:
            row = tables.WorkloadRow
            statement = select(row).where(
                among(row.artifact_id, keys),
                col(row.status) != enums.WorkloadStatus.TERMINATED,
                col(row.purpose) == enums.WorkloadPurpose.TEST,
                access.visible(row, viewer),
            )
            return {each.artifact_id: each for each in await session.exec(statement)}

        row = await info.context.loaders.batched("test_workload", self.row.id, batch)
        found: Workload | None = node(row, listed=True)
        return found

    viewer_role: enums.Role = viewer_role()
    grants: list[Grant] = grant_list(tables.ArtifactGrantRow, "artifact_id")
    events: Connection[Event] = event_list("artifact_id")
    actions: list[judged.ArtifactActionState] = judged.action_list(judged.ARTIFACT)


@speaks(tables.WorkloadRow)
@strawberry.type(description="An artifact that runs, and how it runs.")
class Workload(Node):
    """A workload."""

    id: strawberry.ID = id_field(ids.Kind.WORKLOAD)
    name: str = column(tables.WorkloadRow.name, "At first that of its artifact, where nothing else was asked for.")
    description: str = column(tables.WorkloadRow.description, "What it is for.")
    purpose: enums.WorkloadPurpose = column(tables.WorkloadRow.purpose, "Whether it is a test or a service.")
    importance: enums.Importance = column(tables.WorkloadRow.importance, "How much it matters.")
    status: enums.WorkloadStatus = column(tables.WorkloadRow.status, "Where it stands.")
    status_reason: str | None = column(
        tables.WorkloadRow.status_reason, "Why, for a machine: IMAGE_NOT_FOUND, CRASH_LOOP, EXPIRED, …"
    )
    status_message: str | None = column(tables.WorkloadRow.status_message, "Why, for a person.")
    artifact: Artifact = edge(tables.WorkloadRow.artifact_id, tables.ArtifactRow, "What it runs.")
    repository: Repository = edge(
        tables.WorkloadRow.repository_id, tables.RepositoryRow, "The repository of what it runs."
    )
    digest: str = column(
        tables.WorkloadRow.digest, "Of the specification it was started with, which it runs until it is replaced."
    )
    replicas: int = column(tables.WorkloadRow.replicas, "How many are wanted.")
    ready_replicas: int = column(tables.WorkloadRow.ready_replicas, "How many were seen ready.")
    revision: int = column(
        tables.WorkloadRow.revision, "Grows with every change that someone asked for, not with what is merely seen."
    )
    created_by: User = edge(tables.WorkloadRow.created_by_id, tables.UserRow, CREATED_BY)
    created_at: datetime = column(tables.WorkloadRow.created_at, CREATED_AT)
    updated_at: datetime = column(tables.WorkloadRow.updated_at, "When it, or its status, changed last.")
    started_at: datetime | None = column(tables.WorkloadRow.started_at, "When it was started last.")
    stopped_at: datetime | None = column(tables.WorkloadRow.stopped_at, "When it stopped; null while it runs.")
    expires_at: datetime | None = column(tables.WorkloadRow.expires_at, "When a test ends by itself.")

    @strawberry.field(
        description="Where it answers, from its creation on and across restarts and replacements. Needs a token "
        "of someone who may see the workload, as `Authorization: Bearer …`.",
        metadata=says(
            Expression(
                lambda row, scope, _: func.coalesce(
                    row.endpoint, func.concat(scope.public_url, "/endpoints/", external_id(row), "/")
                )
            )
        ),
    )
    async def endpoint(self, info: Info) -> str | None:
        """The address."""
        return info.context.endpoint(self.row)

    @strawberry.field(
        description="The limits of its containers, as far as there are any.", metadata=says(Column("resources"))
    )
    async def resources(self) -> list[values.ContainerResources]:
        """The limits."""
        return [
            values.ContainerResources(container=each["container"], cpu=each["cpu"], memory_bytes=each["memoryBytes"])
            for each in self.row.resources
        ]

    @strawberry.field(
        description="What its containers get: platform over workload over artifact. What comes from a credential is "
        "masked. The runtime `process` sets PORT to a free port of each replica in the place of the one shown.",
        metadata=says(Told(manifests.facts_of_variables, manifests.variables_of_facts)),
    )
    async def environment(self, info: Info) -> list[values.EffectiveVariable]:
        """The variables of all containers."""
        return manifests.spoken_variables(await manifests.variables_of(info, self.row))

    @strawberry.field(
        description="What the runtime showed last of each container of each replica.",
        metadata=says(Column("container_statuses")),
    )
    async def container_statuses(self) -> list[values.ContainerStatus]:
        """The statuses."""
        return [values.ContainerStatus.of(each) for each in self.row.container_statuses]

    @strawberry.field(
        description="The newest lines that its containers wrote, of all replicas, oldest first. They hold whatever the "
        "service prints, secrets too where it prints those, and everybody who may see the workload may read them. "
        "Fewer where they are long; none where nothing of the workload is left in the runtime. A runtime that can't "
        "be asked is an error with the code RUNTIME_UNAVAILABLE.",
        metadata=says(Told(facts_of_logs, logs_of_facts)),
    )
    async def logs(
        self,
        info: Info,
        container: Annotated[
            str | None, strawberry.argument(description="Only those of the container of this name.")
        ] = None,
        since: Annotated[datetime | None, strawberry.argument(description="Only those from this moment on.")] = None,
        last: Annotated[
            int | None, strawberry.argument(description=f"So many at most: 1 to {LINES_MAXIMUM:,}.")
        ] = LAST_DEFAULT,
        contains: Annotated[
            str | None, strawberry.argument(description="Only those with this text in them, compared as it is written.")
        ] = None,
    ) -> list[LogLine]:
        """The lines."""
        query = log_query(container, since, last, contains)
        return await read_logs(info.context, self.row.id, self.row.created_at, query)

    @strawberry.field(
        description=f"What it runs now, as YAML, with its replicas, resources and environment. {NO_SECRETS} For "
        "Kubernetes it is what the runtime `kubernetes` applies, or would.",
        metadata=says(Told(manifests.facts_of_workload, manifests.of_workload_facts)),
    )
    async def manifest(self, info: Info, format_: Format = ManifestFormat.KUBERNETES) -> str:
        """The YAML."""
        return await manifests.of_workload(info, self.row, format_)

    history: Connection["Replacement"] = connection(
        sources.REPLACEMENTS, "How it was replaced.", sources.named_by("workload_id")
    )

    @strawberry.field(
        description="The replacement that is under way, else the newest; null where there was none.",
        metadata=says(
            Related(
                tables.ReplacementRow,
                lambda row, replacement, _: (replacement.workload_id == row.id,),
                order=lambda replacement: (replacement.id.desc(),),
            )
        ),
    )
    async def replacement(self, info: Info) -> "Replacement | None":
        """The newest replacement: there is one at a time, so one under way is it."""
        newest: Replacement | None = node(
            await info.context.loaders.batched("replacement", self.row.id, reads.newest_replacements)
        )
        return newest

    tags: list[values.Tag] = tag_list(tables.WorkloadTagRow, "workload_id")
    viewer_role: enums.Role = viewer_role()
    grants: list[Grant] = grant_list(tables.WorkloadGrantRow, "workload_id")
    events: Connection[Event] = event_list("workload_id")
    actions: list[judged.WorkloadActionState] = judged.action_list(judged.WORKLOAD)


@speaks(tables.ReplacementRow)
@strawberry.type(
    description="A roll of a workload to another artifact or, where `from` and `to` are the same, to another "
    "configuration. The new one is brought up beside the old and takes over once it is ready; one that fails goes."
)
class Replacement(Node):
    """A replacement."""

    id: strawberry.ID = id_field(ids.Kind.REPLACEMENT)
    workload: Workload = edge(tables.ReplacementRow.workload_id, tables.WorkloadRow, "What is rolled.")
    from_: Artifact = edge(
        tables.ReplacementRow.from_artifact_id, tables.ArtifactRow, "What it ran before.", name="from"
    )
    to: Artifact = edge(tables.ReplacementRow.to_artifact_id, tables.ArtifactRow, "What it is to run.")
    status: enums.ReplacementStatus = column(tables.ReplacementRow.status, "How it is going, or how it ended.")
    message: str | None = column(tables.ReplacementRow.message, "Why it failed.")
    requested_by: User = edge(tables.ReplacementRow.requested_by_id, tables.UserRow, "Who asked for it.")
    started_at: datetime = column(tables.ReplacementRow.started_at, "When it was asked for.")
    finished_at: datetime | None = column(tables.ReplacementRow.finished_at, "When it ended.")


@speaks(tables.CredentialRow)
@strawberry.type(description="A named set of secret values. Values go in and never come out.")
class Credential(Node):
    """A credential."""

    id: strawberry.ID = id_field(ids.Kind.CREDENTIAL)
    name: str = column(tables.CredentialRow.name, "1 to 200 characters.")
    created_by: User = edge(tables.CredentialRow.created_by_id, tables.UserRow, CREATED_BY)
    created_at: datetime = column(tables.CredentialRow.created_at, CREATED_AT)
    updated_at: datetime = column(tables.CredentialRow.updated_at, "When it was rotated or shared last.")
    used_by: Connection[Artifact] = connection(
        sources.CREDENTIAL_USERS, "The artifacts with a variable that points at it.", sources.points_at_credential
    )

    @strawberry.field(
        description="The keys that variables can point at, in order.",
        metadata=says(
            Related(
                tables.CredentialValueRow,
                lambda row, value, _: (value.credential_id == row.id,),
                order=lambda value: (value.position,),
                column="key",
            )
        ),
    )
    async def keys(self, info: Info) -> list[str]:
        """The keys."""

        async def batch(session: AsyncSession, keys: Sequence[UUID]) -> Mapping[UUID, Any]:
            return await reads.credential_keys(session, keys)

        found: list[str] | None = await info.context.loaders.batched("credential_keys", self.row.id, batch)
        return found or []

    viewer_role: enums.Role = viewer_role()
    grants: list[Grant] = grant_list(tables.CredentialGrantRow, "credential_id")
    actions: list[judged.CredentialActionState] = judged.action_list(judged.CREDENTIAL)
