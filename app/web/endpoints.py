"""The endpoints of workloads: /endpoints/{workload}/… leads to a replica that is ready, and streams both ways.

Only a token of someone who may see the workload gets through, and it goes no further. Of the replicas the least busy
one is asked, of several in turn; one that does not accept the connection is passed over. Requests go straight to the
transport of the HTTP library: its client would keep the cookies of one caller for the next.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import Receive, Scope, Send

from app.domain import ids
from app.domain.people import Viewer
from app.domain.traffic import Traffic
from app.web.refusals import Refusal

CONNECT_TIMEOUT_SECONDS = 5.0
# Between two pieces of an answer: streams of events have long silences.
READ_TIMEOUT_SECONDS = 300.0
WRITE_TIMEOUT_SECONDS = 60.0
CONNECTIONS_MAXIMUM = 500
# Servers close idle connections after 2 seconds or more; a request on one that is being closed would be lost.
IDLE_SECONDS = 1.0
RETRY_AFTER_SECONDS = 1
# RFC 9110, 7.6.1, and what is between the client and this server alone.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
FORWARDED = (b"forwarded", b"x-forwarded-")
TIMEOUTS = httpx.Timeout(
    READ_TIMEOUT_SECONDS,
    connect=CONNECT_TIMEOUT_SECONDS,
    write=WRITE_TIMEOUT_SECONDS,
    pool=CONNECT_TIMEOUT_SECONDS,
).as_dict()

Authenticate = Callable[[str | None], Awaitable[Viewer | None]]
FindAddresses = Callable[[UUID, Viewer], Awaitable[Sequence[Mapping[str, Any]] | None]]
Headers = Iterable[tuple[bytes, bytes]]


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class Endpoints:
    """The ASGI application under /endpoints. Give its connections back with `close`.

    `traffic` tells others what is open to which replica.
    """

    def __init__(self, authenticate: Authenticate, find_addresses: FindAddresses, traffic: Traffic) -> None:
        self._authenticate = authenticate
        self._find_addresses = find_addresses
        self._traffic = traffic
        self._turn = 0
        self._transport = httpx.AsyncHTTPTransport(
            trust_env=False,
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAXIMUM,
                max_keepalive_connections=CONNECTIONS_MAXIMUM,
                keepalive_expiry=IDLE_SECONDS,
            ),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. WebSockets are not led on.

        Raises:
            Refusal: no token, no such workload, no replica that answers.
        """
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "WebSockets are not supported here."})
            return
        request = Request(scope)
        viewer = await self._viewer(request)
        prefix, path = _split(scope)
        workload_id = ids.decode_as(ids.Kind.WORKLOAD, prefix)
        addresses = None if workload_id is None else await self._find_addresses(workload_id, viewer)
        if addresses is None:
            raise Refusal(404, "NOT_FOUND", f"There is no workload {prefix[:64]!r}, or you may not see it.")
        if path is None:
            query = f"?{request.url.query}" if request.url.query else ""
            await RedirectResponse(f"/endpoints/{prefix}/{query}", status_code=308)(scope, receive, send)
            return
        if not addresses:
            raise _unavailable("NOT_READY", "No replica of this workload is ready: its statusMessage says why.")
        client = _Client(receive, sends_body=_sends_body(request))
        await _unless_it_leaves(client, self._lead_on(request, client, prefix, path, addresses, send))

    async def _viewer(self, request: Request) -> Viewer:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        viewer = await self._authenticate(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
        if viewer is None:
            message = "This endpoint needs a valid token: send it as `Authorization: Bearer TOKEN`."
            raise Refusal(401, "UNAUTHENTICATED", message, {"WWW-Authenticate": "Bearer"})
        return viewer

    async def _lead_on(
        self,
        request: Request,
        client: "_Client",
        prefix: str,
        path: bytes,
        addresses: Sequence[Mapping[str, Any]],
        send: Send,
    ) -> None:
        headers = list(_request_headers(request, prefix))
        body = client.body() if _sends_body(request) else None
        for host, port in self._least_busy_first(addresses):
            upstream = httpx.Request(
                request.method,
                httpx.URL(scheme="http", host=host, port=port),
                headers=headers,
                content=body,
                # The target goes out as it came in: as a part of the URL it would be put in order.
                extensions={"timeout": TIMEOUTS, "target": path},
            )
            with self._traffic.open((host, port)):
                answer = await self._ask(upstream)
                if answer is not None:
                    await _stream(answer, send)
                    return
        raise Refusal(502, "ENDPOINT_UNREACHABLE", "No replica accepts connections, though they were ready just now.")

    async def _ask(self, upstream: httpx.Request) -> httpx.Response | None:
        """The beginning of an answer; None where the replica does not accept the connection."""
        try:
            return await self._transport.handle_async_request(upstream)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return None
        except httpx.PoolTimeout as error:
            raise _unavailable("ENDPOINT_BUSY", "Too many requests to endpoints are open.") from error
        except httpx.TimeoutException as error:
            raise Refusal(504, "ENDPOINT_TIMEOUT", "The replica did not answer in time.") from error
        except httpx.HTTPError as error:
            raise Refusal(502, "ENDPOINT_FAILED", "The replica broke off before it answered.") from error

    def _least_busy_first(self, addresses: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
        self._turn += 1
        known = [(str(each["host"]), int(each["port"])) for each in addresses]
        turned = known[self._turn % len(known) :] + known[: self._turn % len(known)]
        return sorted(turned, key=self._traffic.count)


class _Client:
    """What comes from the client: its body, and the news that it has left."""

    def __init__(self, receive: Receive, *, sends_body: bool) -> None:
        self._receive = receive
        self._has_sent = asyncio.Event()
        if not sends_body:
            self._has_sent.set()

    async def body(self) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        Raises:
            ClientLeft: it will never be complete.
        """
        try:
            more = True
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                yield message.get("body", b"")
                more = message.get("more_body", False)
        finally:
            self._has_sent.set()

    async def left(self) -> None:
        """Wait until the client has closed its connection; what it has to say comes first."""
        await self._has_sent.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _unless_it_leaves(client: _Client, work: Awaitable[None]) -> None:
    """Answer a client as long as it waits for that; the replica is told by the end of its connection."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(client.left())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, leaving):
            task.cancel()
        outcome, _ = await asyncio.gather(working, leaving, return_exceptions=True)
    if isinstance(outcome, Exception) and not isinstance(outcome, ClientLeft):
        raise outcome


async def _stream(answer: httpx.Response, send: Send) -> None:
    dropped = HOP_BY_HOP | _named_by_connection(answer.headers.raw) | {b"date"}  # the server writes its own date
    headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in dropped]
    try:
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        assert isinstance(answer.stream, httpx.AsyncByteStream)  # noqa: S101  # that of an asynchronous transport
        async for piece in answer.stream:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await answer.aclose()


def _split(scope: Scope) -> tuple[str, bytes | None]:
    """The workload, and the target for its replica as it was sent; None where not even a slash follows."""
    sent: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    _, _, prefix, *rest = sent.partition(b"?")[0].split(b"/", 3)  # /endpoints/wkl_…/the/rest
    query: bytes = scope.get("query_string", b"")
    target = b"/" + rest[0] + (b"?" + query if query else b"") if rest else None
    return prefix.decode("latin-1"), target


def _request_headers(request: Request, prefix: str) -> Iterator[tuple[bytes, bytes]]:
    dropped = HOP_BY_HOP | _named_by_connection(request.headers.raw) | {b"authorization"}
    for name, value in request.headers.raw:
        if name not in dropped and not name.startswith(FORWARDED):
            yield name, value
    yield b"x-forwarded-for", (request.client.host if request.client else "unknown").encode("latin-1")
    yield b"x-forwarded-proto", request.url.scheme.encode("latin-1")
    yield b"x-forwarded-host", request.headers.get("host", "").encode("latin-1")
    yield b"x-forwarded-prefix", f"/endpoints/{prefix}".encode("latin-1")


def _sends_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Headers that `Connection` names are for one hop alone."""
    values = [value for name, value in headers if name.lower() == b"connection"]
    return frozenset(name.strip().lower() for value in values for name in value.split(b","))


def _unavailable(code: str, message: str) -> Refusal:
    return Refusal(503, code, message, {"Retry-After": str(RETRY_AFTER_SECONDS)})
