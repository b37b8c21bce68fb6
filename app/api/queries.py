"""The root of all reading."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import null

from app.api import enums, examples, fields, filters as inputs, sources
from app.api.connections import Connection, connection
from app.api.context import Info
from app.api.events import Event
from app.api.fields import ById, ByIds, Related, Rows, Told, says
from app.api.finding import find
from app.api.interfaces import Node
from app.api.nodes import Artifact, Credential, Repository, Workload
from app.api.people import ApiToken, CreatorUsage, User
from app.api.values import TagUsage
from app.db import offers, tables
from app.domain import ids

TAGGABLE: dict[enums.Taggable, tuple[Any, Any, str]] = {
    enums.Taggable.REPOSITORY: (tables.RepositoryRow, tables.RepositoryTagRow, "repository_id"),
    enums.Taggable.ARTIFACT: (tables.ArtifactRow, tables.ArtifactTagRow, "artifact_id"),
    enums.Taggable.WORKLOAD: (tables.WorkloadRow, tables.WorkloadTagRow, "workload_id"),
}

Id = Annotated[strawberry.ID, strawberry.argument(description="The id.")]


async def _find_all(info: Info, wanted: Sequence[tuple[ids.Kind, UUID] | None]) -> list[Any]:
    """Nodes in the order asked for; asked for at once, so that each kind costs one statement."""

    async def one(each: tuple[ids.Kind, UUID] | None) -> Any:
        return None if each is None else await find(info, *each)

    return list(await asyncio.gather(*(one(each) for each in wanted)))


async def _find_one(info: Info, kind: ids.Kind, text: str) -> Any:
    return await find(info, kind, inputs.read_id("id", kind, text))


@strawberry.type(description="Everything that can be read.")
class Query:
    """The root of all reading."""

    repositories: Connection[Repository] = connection(
        sources.REPOSITORIES, "The repositories that the viewer has a role on."
    )
    artifacts: Connection[Artifact] = connection(sources.ARTIFACTS, "The artifacts that the viewer has a role on.")
    workloads: Connection[Workload] = connection(sources.WORKLOADS, "The workloads that the viewer has a role on.")
    credentials: Connection[Credential] = connection(
        sources.CREDENTIALS, "The credentials that the viewer has a role on."
    )
    users: Connection[User] = connection(sources.USERS, "Everybody.")
    events: Connection[Event] = connection(
        sources.EVENTS,
        "The history, oldest first: of what the viewer has a role on, and of what they did themselves.",
    )

    @strawberry.field(
        description="Anything by its id; null where it is absent or the viewer may not see it.", metadata=says(ById())
    )
    async def node(self, info: Info, id: Id) -> Node | None:
        """A node by its id."""
        found: Node | None = await find(info, *inputs.read_any_id(id))
        return found

    @strawberry.field(
        description=f"Things by their ids, at most {inputs.IDS_MAXIMUM}; the order is kept, and null stands for what "
        "is absent or the viewer may not see.",
        metadata=says(ByIds()),
    )
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="The ids.")]
    ) -> list[Node | None]:
        """Nodes by their ids."""
        return await _find_all(info, inputs.read_ids(ids))

    @strawberry.field(
        description="Who asks.",
        metadata=says(Related(tables.UserRow, lambda _, user, scope: (user.id == scope.viewer.user_id,))),
    )
    async def viewer(self, info: Info) -> User:
        """The viewer's own user."""
        found: User = fields.node(await info.context.loaders.row(tables.UserRow, info.context.viewer.user_id))
        return found

    @strawberry.field(
        description="A repository; null where it is absent or the viewer may not see it.",
        metadata=says(ById(ids.Kind.REPOSITORY)),
    )
    async def repository(self, info: Info, id: Id) -> Repository | None:
        """A repository by its id."""
        found: Repository | None = await _find_one(info, ids.Kind.REPOSITORY, id)
        return found

    @strawberry.field(
        description="An artifact; null where it is absent or the viewer may not see it.",
        metadata=says(ById(ids.Kind.ARTIFACT)),
    )
    async def artifact(self, info: Info, id: Id) -> Artifact | None:
        """An artifact by its id."""
        found: Artifact | None = await _find_one(info, ids.Kind.ARTIFACT, id)
        return found

    @strawberry.field(
        description="A workload; null where it is absent or the viewer may not see it.",
        metadata=says(ById(ids.Kind.WORKLOAD)),
    )
    async def workload(self, info: Info, id: Id) -> Workload | None:
        """A workload by its id."""
        found: Workload | None = await _find_one(info, ids.Kind.WORKLOAD, id)
        return found

    @strawberry.field(
        description="The viewer's own tokens, newest first, without their secrets.",
        metadata=says(
            Related(
                tables.ApiTokenRow,
                lambda _, token, scope: (token.user_id == scope.viewer.user_id,),
                order=lambda token: (token.id.desc(),),
            )
        ),
    )
    async def api_tokens(self, info: Info) -> list[ApiToken]:
        """The viewer's tokens."""
        rows = await info.context.loaders.children(tables.ApiTokenRow, "user_id", info.context.viewer.user_id, "id")
        return [fields.node(row) for row in reversed(rows)]

    @strawberry.field(
        description=f"What a filter for tags can offer: names and values with how often they are used, at most "
        f"{offers.OFFERS_MAXIMUM}.",
        metadata=says(Rows(lambda _, scope, given: offers.tags(*TAGGABLE[given["on"]], scope.viewer))),
    )
    async def tags(
        self, info: Info, on: Annotated[enums.Taggable, strawberry.argument(description="The tags of what.")]
    ) -> list[TagUsage]:
        """The tags in use."""
        table, tag, column = TAGGABLE[on]
        async with info.context.acting.database.read() as session:
            found = (await session.exec(offers.tags(table, tag, column, info.context.viewer))).all()
        return [TagUsage(name=name, value=value, count=count) for name, value, count in found]

    @strawberry.field(
        description=f"What a filter for creators can offer: who made how many, at most {offers.OFFERS_MAXIMUM}.",
        metadata=says(Rows(lambda _, scope, given: offers.creators(TAGGABLE[given["of"]][0], scope.viewer))),
    )
    async def creators(
        self, info: Info, of: Annotated[enums.Taggable, strawberry.argument(description="The creators of what.")]
    ) -> list[CreatorUsage]:
        """The creators."""
        async with info.context.acting.database.read() as session:
            found = (await session.exec(offers.creators(TAGGABLE[of][0], info.context.viewer))).all()
        users = await _find_all(info, [(ids.Kind.USER, user_id) for user_id, _ in found])
        return [CreatorUsage(user=user, count=count) for user, (_, count) in zip(users, found, strict=True)]

    @strawberry.field(
        description="A copy-ready createArtifact call against this server.",
        metadata=says(
            Told(
                lambda _, __: null(),
                lambda _, context, given: examples.artifact(
                    given.get("language", enums.ExampleLanguage.CURL), context.public_url
                ),
            )
        ),
    )
    async def artifact_example(
        self,
        info: Info,
        language: Annotated[
            enums.ExampleLanguage, strawberry.argument(description="What it is written for.")
        ] = enums.ExampleLanguage.CURL,
    ) -> str:
        """An example."""
        return examples.artifact(language, info.context.public_url)
