"""A small graph behind the real wire, so that its tests need nothing else of the project."""

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import strawberry
from graphql import GraphQLError
from starlette.requests import Request
from starlette.types import ASGIApp

from app.web.application import application
from app.web.graphql import GraphQLApp

TOKEN = "slp_valid-token"  # noqa: S105  known to the stub alone


@dataclasses.dataclass
class Calls:
    """What resolvers did, for tests of what was not done."""

    started: list[str] = dataclasses.field(default_factory=list)
    cancelled: list[str] = dataclasses.field(default_factory=list)
    changes: int = 0


@dataclasses.dataclass
class Context:
    viewer: str
    calls: Calls


@strawberry.input
class Secret:
    key: str
    value: str


@strawberry.type
class Node:
    name: str

    @strawberry.field
    def node(self) -> "Node":
        return self


async def wait_forever(name: str, calls: Calls) -> str:
    calls.started.append(name)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        calls.cancelled.append(name)
        raise
    raise AssertionError


@strawberry.type
class Query:
    @strawberry.field
    def viewer(self, info: strawberry.Info[Context, None]) -> str:
        return info.context.viewer

    @strawberry.field
    def echo(self, text: str) -> str:
        return text

    @strawberry.field
    def double(self, number: float) -> float:
        return 2 * number

    @strawberry.field
    def length(self, secret: Secret) -> int:
        return len(secret.value)

    @strawberry.field
    def unexpected(self) -> str:
        raise ValueError("password=hunter2")

    @strawberry.field
    def nullable_unexpected(self) -> str | None:
        raise ValueError("password=hunter2")

    @strawberry.field
    def refused(self) -> str | None:
        raise GraphQLError("Not like this.", extensions={"code": "REFUSED"})

    @strawberry.field
    def node(self) -> Node:
        return Node(name="a node")

    @strawberry.field
    async def waits(self, info: strawberry.Info[Context, None]) -> str:
        return await wait_forever("waits", info.context.calls)

    @strawberry.field
    async def waits_too(self, info: strawberry.Info[Context, None]) -> str:
        return await wait_forever("waitsToo", info.context.calls)


@strawberry.type
class Mutation:
    @strawberry.mutation
    def change(self, info: strawberry.Info[Context, None]) -> int:
        info.context.calls.changes += 1
        return info.context.calls.changes


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self) -> Any:
        yield 1


class Schema(strawberry.Schema):
    def process_errors(self, errors: Any, execution_context: Any = None) -> None:
        """The wire logs what is worth it."""


schema = Schema(Query, Mutation)


def graphql_app(calls: Calls, **options: Any) -> GraphQLApp[str]:
    async def authenticate(token: str | None) -> str | None:
        return "ada" if token == TOKEN else None

    def make_context(_: Request, viewer: str) -> Context:
        return Context(viewer, calls)

    return GraphQLApp(schema, make_context, authenticate, **options)


async def healthy() -> Mapping[str, Any]:
    return {}


def stub_application(calls: Calls | None = None, **graphql_options: Any) -> ASGIApp:
    return application(graphql=graphql_app(calls or Calls(), **graphql_options), check_health=healthy)
