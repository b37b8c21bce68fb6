"""A client, Slipway, and replicas: what the tests of the gateway have in common."""

import asyncio
import json
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain import ids
from app.domain.people import Viewer
from app.domain.traffic import Traffic

Serve = Callable[[ASGIApp], Awaitable[int]]

TOKEN = "a-token"  # noqa: S105  known to these tests alone
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
ADA = Viewer(uuid.uuid4(), "ada")
WORKLOAD_ID = uuid.UUID("0199a1b2-0000-7000-8000-000000000001")
HIDDEN_ID = uuid.UUID("0199a1b2-0000-7000-8000-000000000002")
PREFIX = f"/endpoints/{ids.encode(ids.Kind.WORKLOAD, WORKLOAD_ID)}"


class Replica:
    """A container's server: it tells what it was asked, or does as its path says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.going_on: list[str] = []
        self.cancelled: list[str] = []
        self.proceed = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.asked += 1
        action = getattr(self, "do_" + scope["path"].strip("/").partition("/")[0], self.do_echo)
        await action(Request(scope, receive), send)

    async def answer(self, send: Send, body: bytes, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    async def do_echo(self, request: Request, send: Send) -> None:
        told = {
            "name": self.name,
            "method": request.method,
            "path": request.scope["raw_path"].decode("latin-1"),
            "query": request.scope["query_string"].decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw],
            "body": (await request.body()).decode("latin-1"),
        }
        await self.answer(send, json.dumps(told).encode())

    async def do_headers(self, _: Request, send: Send) -> None:
        headers = [
            ("Set-Cookie", "a=1; Path=/"),
            ("Set-Cookie", "b=2"),
            ("Connection", "x-private"),
            ("X-Private", "for one hop"),
            ("Keep-Alive", "timeout=5"),
            ("Content-Encoding", "gzip"),
            ("X-Own", "kept"),
        ]
        await self.answer(send, b"\x1f\x8bnot really", 418, headers)

    async def do_redirect(self, _: Request, send: Send) -> None:
        await self.answer(send, b"", 302, [("Location", "/elsewhere")])

    async def do_upload(self, request: Request, send: Send) -> None:
        """Take a body piece by piece, and tell the number of bytes so far."""
        total = 0
        async for piece in request.stream():
            total += len(piece)
            self.going_on.append(str(total))
        await self.answer(send, str(total).encode())

    async def do_events(self, _: Request, send: Send) -> None:
        """One event, then silence until someone leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})
        await self.wait(_, "events")

    async def do_slow(self, request: Request, send: Send) -> None:
        await self.wait(request, "slow")
        await self.answer(send, b"done")

    async def wait(self, request: Request, what: str) -> None:
        self.going_on.append(what)
        left = asyncio.create_task(self.until_left(request))
        proceed = asyncio.create_task(self.proceed.wait())
        await asyncio.wait({left, proceed}, return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            self.cancelled.append(what)
        left.cancel()
        proceed.cancel()

    async def until_left(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


class Slipway:
    """The server under test, and what it finds when it looks for tokens and replicas."""

    def __init__(self) -> None:
        self.tokens = {TOKEN}
        self.is_down = False
        self.addresses: Sequence[Mapping[str, Any]] = []
        self.asked: list[str] = []
        self.traffic = Traffic()
        self.app: ASGIApp
        self.port = 0

    async def authenticate(self, secret: str | None) -> Viewer | None:
        self.asked.append("token")
        if self.is_down:
            raise ConnectionError
        return ADA if secret in self.tokens else None

    async def find_addresses(self, workload_id: UUID, viewer: Viewer) -> Sequence[Mapping[str, Any]] | None:
        assert viewer == ADA
        self.asked.append("addresses")
        return self.addresses if workload_id == WORKLOAD_ID else None

    def lead_to(self, *ports: int) -> None:
        self.addresses = [
            {"replica": str(number), "host": "127.0.0.1", "port": port} for number, port in enumerate(ports)
        ]


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["extensions"]["code"]
