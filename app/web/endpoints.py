"""The endpoints of workloads: /endpoints/{workload}/… leads to a replica that is ready, and streams both ways.

Only a token of someone who may see the workload gets through, and it goes no further. Of the replicas the least busy
one is asked, of several in turn; one that can't be connected to is passed over.
"""

import collections
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.domain import ids
from app.domain.people import Viewer
from app.web.refusals import Refusal

CONNECT_TIMEOUT_SECONDS = 5.0
# Between two pieces of an answer: streams of events have long silences.
READ_TIMEOUT_SECONDS = 300.0
WRITE_TIMEOUT_SECONDS = 60.0
CONNECTIONS_MAXIMUM = 500
RETRY_AFTER_SECONDS = 1
# RFC 9110, 7.6.1, and what is between the client and this server alone.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
NOT_PASSED_ON = HOP_BY_HOP | {"authorization"}

Authenticate = Callable[[str | None], Awaitable[Viewer | None]]
FindAddresses = Callable[[UUID, Viewer], Awaitable[Sequence[Mapping[str, Any]] | None]]


class Endpoints:
    """The ASGI application under /endpoints. Give its connections back with `close`."""

    def __init__(self, authenticate: Authenticate, find_addresses: FindAddresses) -> None:
        self._authenticate = authenticate
        self._find_addresses = find_addresses
        self._open: collections.Counter[tuple[str, int]] = collections.Counter()
        self._turn = 0
        self._http = httpx.AsyncClient(
            trust_env=False,
            timeout=httpx.Timeout(
                READ_TIMEOUT_SECONDS,
                connect=CONNECT_TIMEOUT_SECONDS,
                write=WRITE_TIMEOUT_SECONDS,
                pool=CONNECT_TIMEOUT_SECONDS,
            ),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAXIMUM),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. WebSockets are not led on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "WebSockets are not supported here."})
            return
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        viewer = await self._viewer(request)
        below = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        prefix, _, path = below.lstrip("/").partition("/")
        workload_id = ids.decode_as(ids.Kind.WORKLOAD, prefix)
        addresses = None if workload_id is None else await self._find_addresses(workload_id, viewer)
        if addresses is None:
            raise Refusal(404, "NOT_FOUND", f"There is no workload {prefix[:64]!r}, or you may not see it.")
        if not addresses:
            raise Refusal(
                503,
                "NOT_READY",
                "No replica of this workload is ready: its status and statusMessage say why.",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        return await self._lead_on(request, prefix, path, addresses)

    async def _viewer(self, request: Request) -> Viewer:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        viewer = await self._authenticate(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
        if viewer is None:
            message = "This endpoint needs a valid token: send it as `Authorization: Bearer TOKEN`."
            raise Refusal(401, "UNAUTHENTICATED", message, {"WWW-Authenticate": "Bearer"})
        return viewer

    async def _lead_on(
        self, request: Request, prefix: str, path: str, addresses: Sequence[Mapping[str, Any]]
    ) -> Response:
        for host, port in self._least_busy_first(addresses):
            url = httpx.URL(scheme="http", host=host, port=port, raw_path=_raw_path(request, path))
            upstream = self._http.build_request(
                request.method, url, headers=_request_headers(request, prefix), content=_body(request)
            )
            self._open[host, port] += 1
            try:
                answer = await self._http.send(upstream, stream=True)
            except httpx.ConnectError:
                self._done(host, port)
                continue
            except httpx.TimeoutException:
                self._done(host, port)
                raise Refusal(504, "ENDPOINT_TIMEOUT", "The replica did not answer in time.") from None
            except httpx.HTTPError:
                self._done(host, port)
                raise Refusal(502, "ENDPOINT_FAILED", "The replica broke off before it answered.") from None
            except BaseException:
                self._done(host, port)
                raise
            return self._stream(answer, host, port)
        raise Refusal(502, "ENDPOINT_UNREACHABLE", "No replica accepts connections, though they were ready just now.")

    def _least_busy_first(self, addresses: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
        self._turn += 1
        known = [(str(each["host"]), int(each["port"])) for each in addresses]
        turned = known[self._turn % len(known) :] + known[: self._turn % len(known)]
        return sorted(turned, key=lambda each: self._open[each])

    def _stream(self, answer: httpx.Response, host: str, port: int) -> Response:
        async def body() -> AsyncIterator[bytes]:
            # A replica that breaks off in the middle of its answer: the client's connection ends short as well.
            async for piece in answer.aiter_raw():
                yield piece

        async def finish() -> None:
            self._done(host, port)
            with contextlib.suppress(httpx.HTTPError):
                await answer.aclose()

        response = _Finishing(body(), status_code=answer.status_code, background=BackgroundTask(finish))
        dropped = HOP_BY_HOP | _named_by_connection(answer.headers.get_list("connection"))
        response.raw_headers = [
            (name.lower(), value) for name, value in answer.headers.raw if name.lower().decode("latin-1") not in dropped
        ]
        return response

    def _done(self, host: str, port: int) -> None:
        self._open[host, port] -= 1
        if not self._open[host, port]:
            del self._open[host, port]


class _Finishing(StreamingResponse):
    """A stream whose end is told also when the client has left in the middle."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        finish, self.background = self.background, None
        try:
            await super().__call__(scope, receive, send)
        finally:
            if finish is not None:
                await finish()


def _raw_path(request: Request, path: str) -> bytes:
    """The path behind the workload and the query, as they were sent: nothing is decoded and encoded again."""
    sent: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    sent = sent.partition(b"?")[0]
    # /endpoints/wkl_…/the/rest
    raw = b"/".join(sent.lstrip(b"/").split(b"/")[2:]) if sent.startswith(b"/endpoints/") else path.encode()
    query: bytes = request.scope.get("query_string", b"")
    return b"/" + raw + (b"?" + query if query else b"")


def _request_headers(request: Request, prefix: str) -> list[tuple[str, str]]:
    dropped = NOT_PASSED_ON | _named_by_connection(request.headers.getlist("connection"))
    headers = [
        (name, value)
        for name, value in request.headers.items()
        if name not in dropped and not name.startswith("x-forwarded-")
    ]
    client = request.client.host if request.client else "unknown"
    return [
        *headers,
        ("x-forwarded-for", client),
        ("x-forwarded-proto", request.url.scheme),
        ("x-forwarded-host", request.headers.get("host", "")),
        ("x-forwarded-prefix", f"/endpoints/{prefix}"),
    ]


def _body(request: Request) -> AsyncIterator[bytes] | None:
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    return request.stream() if has_body else None


def _named_by_connection(values: Iterable[str]) -> frozenset[str]:
    """Headers that `Connection` names are for one hop alone."""
    return frozenset(name.strip().lower() for value in values for name in value.split(","))
