"""The gateway between real servers: a client, Slipway, and replicas."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain import ids
from app.domain.people import Viewer
from app.domain.traffic import Traffic
from app.web.application import application
from app.web.endpoints import Endpoints
from tests.web import stub

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


async def authenticate(secret: str | None) -> Viewer | None:
    return ADA if secret == TOKEN else None


class Slipway:
    """The server under test, and what it finds when it looks for replicas."""

    def __init__(self) -> None:
        self.addresses: Sequence[Mapping[str, Any]] = []
        self.traffic = Traffic()
        self.port = 0

    async def find_addresses(self, workload_id: UUID, viewer: Viewer) -> Sequence[Mapping[str, Any]] | None:
        assert viewer == ADA
        return self.addresses if workload_id == WORKLOAD_ID else None

    def lead_to(self, *ports: int) -> None:
        self.addresses = [
            {"replica": str(number), "host": "127.0.0.1", "port": port} for number, port in enumerate(ports)
        ]


@pytest.fixture
async def slipway(serve: Serve) -> AsyncIterator[Slipway]:
    server = Slipway()
    endpoints = Endpoints(authenticate, server.find_addresses, server.traffic)

    async def check_health() -> Mapping[str, Any]:
        return {}

    graphql = stub.stub_application(stub.Calls())
    server.port = await serve(application(graphql=graphql, check_health=check_health, endpoints=endpoints))
    yield server
    await endpoints.close()


@pytest.fixture
async def replica(slipway: Slipway, serve: Serve) -> Replica:
    made = Replica("one")
    slipway.lead_to(await serve(made))
    return made


@pytest.fixture
async def client(slipway: Slipway) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://127.0.0.1:{slipway.port}"
    async with httpx.AsyncClient(base_url=base, headers=AUTHORIZATION, trust_env=False) as made:
        yield made


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["extensions"]["code"]


class TestWho:
    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
    async def test_without_a_good_token_nobody_gets_through(
        self, client: httpx.AsyncClient, replica: Replica, header: str
    ) -> None:
        answer = await client.get(f"{PREFIX}/", headers={"Authorization": header})
        assert code(answer) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert replica.asked == 0

    async def test_a_token_in_the_query_is_none(self, slipway: Slipway, replica: Replica) -> None:
        url = f"http://127.0.0.1:{slipway.port}{PREFIX}/"
        async with httpx.AsyncClient(trust_env=False) as stranger:
            assert code(await stranger.get(url, params={"token": TOKEN})) == (401, "UNAUTHENTICATED")
        assert replica.asked == 0

    @pytest.mark.parametrize(
        "name",
        [
            ids.encode(ids.Kind.WORKLOAD, HIDDEN_ID),
            ids.encode(ids.Kind.ARTIFACT, WORKLOAD_ID),
            "wkl_",
            "nothing",
            "%77kl_x",
        ],
    )
    async def test_what_one_may_not_see_does_not_exist(
        self, client: httpx.AsyncClient, replica: Replica, name: str
    ) -> None:
        assert code(await client.get(f"/endpoints/{name}/")) == (404, "NOT_FOUND")
        assert replica.asked == 0

    async def test_the_token_goes_no_further(self, client: httpx.AsyncClient, replica: Replica) -> None:
        told = (await client.get(f"{PREFIX}/")).json()
        assert replica.asked == 1
        assert TOKEN not in json.dumps(told)
        assert "authorization" not in dict(told["headers"])


class TestRequest:
    @pytest.mark.parametrize(
        ("sent", "path", "query"),
        [
            ("/", "/", ""),
            ("/a/b?c=d&e", "/a/b", "c=d&e"),
            ("//double//", "//double//", ""),
            ("/a%2Fb%20c%3F?x=%26", "/a%2Fb%20c%3F", "x=%26"),
            ("/a/../b/./c", "/a/../b/./c", ""),
            ("/%C3%A4", "/%C3%A4", ""),
            ("/?", "/", ""),
        ],
    )
    async def test_the_target_arrives_as_it_was_sent(
        self, slipway: Slipway, replica: Replica, sent: str, path: str, query: str
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
        writer.write(f"GET {PREFIX}{sent} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n".encode())
        writer.write(f"Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        answer = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        told = json.loads(answer.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0] or answer)
        assert (told["path"], told["query"]) == (path, query)
        assert replica.asked == 1

    async def test_without_a_slash_it_leads_to_the_one_with_a_slash(
        self, client: httpx.AsyncClient, replica: Replica
    ) -> None:
        answer = await client.get(f"{PREFIX}?a=b")
        assert (answer.status_code, answer.headers["location"]) == (308, f"{PREFIX}/?a=b")
        assert replica.asked == 0

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
    async def test_methods_and_bodies(self, client: httpx.AsyncClient, replica: Replica, method: str) -> None:
        told = (await client.request(method, f"{PREFIX}/", content=b"\x00body\xff")).json()
        assert (told["method"], told["body"]) == (method, "\x00body\xff")
        assert replica.name == told["name"]

    async def test_head_has_no_body(self, client: httpx.AsyncClient, replica: Replica) -> None:
        answer = await client.head(f"{PREFIX}/")
        assert (answer.status_code, answer.content, replica.asked) == (200, b"", 1)

    async def test_headers_of_one_hop_stay_and_others_go_on(
        self, client: httpx.AsyncClient, slipway: Slipway, replica: Replica
    ) -> None:
        headers = [
            ("Connection", "X-Private, keep-alive"),
            ("X-Private", "for one hop"),
            ("TE", "trailers"),
            ("X-Forwarded-User", "root"),
            ("Forwarded", "for=6.6.6.6"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("Cookie", "own=cookie"),
            ("User-Agent", "me"),
            ("Accept-Encoding", "br"),
            ("Accept", "text/x"),
        ]
        raw = [(name.encode(), value.encode("latin-1")) for name, value in [*headers, ("X-Latin", "\xe4")]]
        told = (await client.get(f"{PREFIX}/", headers=raw)).json()
        host = f"127.0.0.1:{slipway.port}"
        assert sorted(map(tuple, told["headers"])) == sorted(
            [
                ("host", host),
                ("x-twice", "1"),
                ("x-twice", "2"),
                ("x-latin", "\xe4"),
                ("cookie", "own=cookie"),
                ("user-agent", "me"),
                ("accept-encoding", "br"),
                ("accept", "text/x"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", host),
                ("x-forwarded-prefix", PREFIX),
            ]
        )
        assert replica.asked == 1

    async def test_a_body_is_streamed(self, client: httpx.AsyncClient, replica: Replica) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 1_000
            await until(lambda: "1000" in replica.going_on)
            yield b"x" * 10_000_000

        answer = await client.post(f"{PREFIX}/upload", content=pieces())
        assert answer.text == "10001000"


class TestAnswer:
    async def test_it_arrives_as_it_was_given(self, client: httpx.AsyncClient, replica: Replica) -> None:
        async with client.stream("GET", f"{PREFIX}/headers") as answer:
            body = b"".join([piece async for piece in answer.aiter_raw()])
        assert (answer.status_code, body) == (418, b"\x1f\x8bnot really")
        names = [name for name, _ in answer.headers.multi_items()]
        assert answer.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
        assert (answer.headers["x-own"], answer.headers["content-encoding"]) == ("kept", "gzip")
        assert "x-private" not in names
        assert "keep-alive" not in names
        assert names.count("date") == 1
        assert replica.asked == 1

    async def test_cookies_of_one_caller_are_not_sent_for_the_next(
        self, slipway: Slipway, client: httpx.AsyncClient, replica: Replica
    ) -> None:
        async with client.stream("GET", f"{PREFIX}/headers"):
            pass
        async with httpx.AsyncClient(headers=AUTHORIZATION, trust_env=False) as other:
            told = (await other.get(f"http://127.0.0.1:{slipway.port}{PREFIX}/")).json()
        assert "cookie" not in dict(told["headers"])
        assert replica.asked == 2

    async def test_redirects_are_the_clients_to_follow(self, client: httpx.AsyncClient, replica: Replica) -> None:
        answer = await client.get(f"{PREFIX}/redirect")
        assert (answer.status_code, answer.headers["location"], replica.asked) == (302, "/elsewhere", 1)

    async def test_events_arrive_when_they_happen_and_end_when_the_client_leaves(
        self, client: httpx.AsyncClient, replica: Replica
    ) -> None:
        async with client.stream("GET", f"{PREFIX}/events") as answer:
            async for piece in answer.aiter_raw():
                assert piece == b"data: one\n\n"
                assert replica.going_on == ["events"]
                break
        await until(lambda: replica.cancelled == ["events"])

    async def test_a_client_that_leaves_early_is_not_waited_for(
        self, client: httpx.AsyncClient, replica: Replica
    ) -> None:
        asking = asyncio.create_task(client.get(f"{PREFIX}/slow"))
        await until(lambda: replica.going_on == ["slow"])
        asking.cancel()
        await until(lambda: replica.cancelled == ["slow"])

    async def test_a_client_that_leaves_within_its_body_is_not_waited_for(
        self, slipway: Slipway, replica: Replica
    ) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
        writer.write(f"POST {PREFIX}/upload HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n".encode())
        writer.write(f"Authorization: Bearer {TOKEN}\r\n\r\nbegun".encode())
        await until(lambda: replica.going_on == ["5"])
        before = len(asyncio.all_tasks())
        writer.close()
        await until(lambda: len(asyncio.all_tasks()) < before - 1)


class TestReplicas:
    async def test_where_none_is_ready_it_says_so(self, client: httpx.AsyncClient, slipway: Slipway) -> None:
        slipway.lead_to()
        answer = await client.get(f"{PREFIX}/")
        assert code(answer) == (503, "NOT_READY")
        assert answer.headers["retry-after"] == "1"

    async def test_one_that_refuses_is_passed_over(
        self, client: httpx.AsyncClient, slipway: Slipway, replica: Replica
    ) -> None:
        slipway.lead_to(closed_port(), slipway.addresses[0]["port"], closed_port())
        for _ in range(3):
            told = (await client.post(f"{PREFIX}/", content=b"body")).json()
            assert told["body"] == "body"
        assert replica.asked == 3

    async def test_where_all_refuse_it_is_a_bad_gateway(self, client: httpx.AsyncClient, slipway: Slipway) -> None:
        slipway.lead_to(closed_port(), closed_port())
        assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_UNREACHABLE")

    @pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n"])
    async def test_one_that_breaks_off_is_a_bad_gateway(
        self, client: httpx.AsyncClient, slipway: Slipway, answer: bytes
    ) -> None:
        async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(break_off, "127.0.0.1", 0)
        slipway.lead_to(server.sockets[0].getsockname()[1])
        assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_FAILED")
        server.close()
        await server.wait_closed()

    async def test_they_take_turns(self, client: httpx.AsyncClient, slipway: Slipway, serve: Serve) -> None:
        replicas = [Replica(name) for name in "abc"]
        slipway.lead_to(*[await serve(each) for each in replicas])
        for _ in range(9):
            await client.get(f"{PREFIX}/")
        assert [each.asked for each in replicas] == [3, 3, 3]

    async def test_a_busy_one_is_spared(self, client: httpx.AsyncClient, slipway: Slipway, serve: Serve) -> None:
        replicas = [Replica(name) for name in "ab"]
        slipway.lead_to(*[await serve(each) for each in replicas])
        slow = asyncio.create_task(client.get(f"{PREFIX}/slow"))
        await until(lambda: any(each.going_on for each in replicas))
        [busy] = [each for each in replicas if each.going_on]
        [idle] = [each for each in replicas if not each.going_on]
        for _ in range(4):
            assert (await client.get(f"{PREFIX}/")).json()["name"] == idle.name
        assert len(slipway.traffic.busy()) == 1
        busy.proceed.set()
        assert (await slow).text == "done"
        await until(lambda: slipway.traffic.busy() == frozenset())
        for _ in range(4):
            await client.get(f"{PREFIX}/")
        assert (busy.asked, idle.asked) == (3, 6)


async def test_a_websocket_is_refused(slipway: Slipway) -> None:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    endpoints = Endpoints(authenticate, slipway.find_addresses, slipway.traffic)
    await endpoints({"type": "websocket", "path": f"{PREFIX}/"}, receive, send)
    await endpoints.close()
    assert [(each["type"], each["code"]) for each in messages] == [("websocket.close", 1008)]
