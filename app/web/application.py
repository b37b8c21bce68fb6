"""The ASGI application: which path leads where, and what holds for every answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from app.web import graphiql, negotiation
from app.web.graphql import MEDIA_TYPES, accepted
from app.web.refusals import Refusal, internal_error, json_response

HEALTH_TIMEOUT_SECONDS = 2.0

_log = structlog.get_logger(__name__)


def application(
    *,
    graphql: ASGIApp,
    check_health: Callable[[], Awaitable[Mapping[str, Any]]],
    endpoints: ASGIApp | None = None,
    lifespan: Lifespan[Starlette] | None = None,
    static_directory: Path = graphiql.STATIC_DIRECTORY,
) -> ASGIApp:
    """Assemble the routes.

    `check_health` returns what /health tells beside its status, and raises where the server can't do its work; anyone
    may read its answer. `endpoints` gets what is asked for under /endpoints.
    """
    routes = [
        Route("/", _to_graphql),
        Mount("/graphiql/assets", graphiql.Assets(static_directory)),
        Route("/health", _health(check_health)),
    ]
    pages = Starlette(
        routes=routes,
        middleware=[Middleware(_AccessLog), Middleware(_SecurityHeaders)],
        exception_handlers={HTTPException: _no_such_page, Refusal: _refuse},
        lifespan=lifespan,
    )
    return _Doors(
        graphql=_AccessLog(_SecurityHeaders(_GraphQLOrGraphiQL(graphql, static_directory))),
        endpoints=pages if endpoints is None else _AccessLog(_Sandboxed(endpoints)),
        pages=pages,
    )


class _Doors:
    """What others wait for goes straight to what answers it: a route costs as much as to answer a small query."""

    def __init__(self, *, graphql: ASGIApp, endpoints: ASGIApp, pages: ASGIApp) -> None:
        self.graphql = graphql
        self.endpoints = endpoints
        self.pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.pages
        if scope["type"] == "http" and scope["path"] == "/graphql":
            app = self.graphql
        elif scope["type"] != "lifespan" and scope["path"].startswith("/endpoints/"):
            app = self.endpoints
        await app(scope, receive, send)


class _GraphQLOrGraphiQL:
    """GraphiQL for a browser that asks for a page, GraphQL for everything else."""

    OFFERS = (*MEDIA_TYPES, "text/html")

    def __init__(self, graphql: ASGIApp, static_directory: Path) -> None:
        self.graphql = graphql
        self.static_directory = static_directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.graphql
        if scope["method"] in {"GET", "HEAD"} and negotiation.preferred(accepted(scope), self.OFFERS) == "text/html":
            app = graphiql.page(Request(scope), self.static_directory)
        await app(scope, receive, send)


async def _to_graphql(_: Request) -> Response:
    return RedirectResponse("/graphql")


def _health(check_health: Callable[[], Awaitable[Mapping[str, Any]]]) -> Callable[[Request], Awaitable[Response]]:
    async def health(_: Request) -> Response:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_SECONDS):
                details = await check_health()
        except Exception as error:  # noqa: BLE001  # whatever it is, the server is not healthy
            _log.warning("unhealthy", exc_info=error)
            message = "The server can't do its work at the moment. Its log says why."
            errors = [{"message": message, "extensions": {"code": "UNAVAILABLE"}}]
            return json_response({"status": "unavailable", "errors": errors}, status=503)
        return json_response({"status": "ok", **details})

    return health


async def _no_such_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for this class
    path = request.url.path[:200]
    match error.status_code:
        case 404:
            refusal = Refusal(404, "NOT_FOUND", f"There is nothing at {path}. GraphQL is served at /graphql.")
        case 405:
            allowed = (error.headers or {}).get("Allow", "GET")
            message = f"{path} is not served by {request.method[:20]}. Use {allowed}."
            refusal = Refusal(405, "METHOD_NOT_ALLOWED", message, {"Allow": allowed})
        case status:
            refusal = Refusal(status, "REFUSED", error.detail, error.headers)
    return refusal.response()


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  # it is registered for this class
    return error.response()


class _Sandboxed:
    """What a deployed service answers.

    It answers on the same origin as GraphiQL: without a sandbox its pages could read the token that GraphiQL keeps.
    """

    # Beside the policies that the deployed service sets: a browser obeys all of them.
    POLICY = (
        b"content-security-policy",
        b"sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts",
    )

    def __init__(self, endpoints: ASGIApp) -> None:
        self.endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_sandboxed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self.POLICY]
            await send(message)

        try:
            await self.endpoints(scope, receive, send_sandboxed)
        except Refusal as refusal:
            await refusal.response()(scope, receive, send_sandboxed)


class _SecurityHeaders:
    """Headers that keep a browser from doing more with an answer than it should."""

    OWN = (
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
    )
    NAMES = frozenset(name for name, _ in OWN)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                there = [name for name, _ in headers if name in self.NAMES]
                message["headers"] = [*headers, *(self.OWN if not there else self._without(there))]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _without(self, names: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
        """Those that the answer has not set by itself."""
        return [each for each in self.OWN if each[0] not in names]


class _AccessLog:
    """One log line a request, without its query string; and no exception leaves the server as anything but JSON."""

    CLIENT_CLOSED_REQUEST = 499  # nginx's number for a client that did not wait

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = self.CLIENT_CLOSED_REQUEST

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if status != self.CLIENT_CLOSED_REQUEST:
                raise  # half an answer is out: the server can only cut the connection
            masked = internal_error(error, path=scope["path"])
            await json_response({"errors": [masked]}, status=500)(scope, receive, send_and_note)
        finally:
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_milliseconds=round((time.perf_counter() - started) * 1000, 3),
            )
