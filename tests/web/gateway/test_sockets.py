"""WebSockets through the gateway, between a real client, a real server and real replicas."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from app.web.gateway import endpoints, sockets
from app.web.transport import HttpProtocol
from tests.web.gateway.scripted import HANG_UP, scripted
from tests.web.gateway.world import AUTHORIZATION, HIDDEN_ID, PREFIX, TOKEN, Slipway, closed_port, until

MEBIBYTE = 1024 * 1024


class Echo:
    """A replica that says everything again, and remembers how each of its clients left."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.ends: list[tuple[int | None, str | None]] = []
        self.open: list[ServerConnection] = []

    async def serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.requests.append(socket.request)
        self.open.append(socket)
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send(await socket.recv())
        self.ends.append((socket.close_code, socket.close_reason))


@contextlib.asynccontextmanager
async def replica_of(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[int]:
    """A server of WebSockets; its port."""
    async with serve(handler, "127.0.0.1", 0, close_timeout=1, **options) as server:
        port: int = next(iter(server.sockets)).getsockname()[1]
        yield port


@pytest.fixture
async def echo(slipway: Slipway) -> AsyncIterator[Echo]:
    made = Echo()
    async with replica_of(made.serve, subprotocols=[Subprotocol("chat")], select_subprotocol=choose_chat) as port:
        made.port = port
        slipway.lead_to(port)
        yield made


def choose_chat(_: ServerConnection, offered: Any) -> Subprotocol | None:
    return Subprotocol("chat") if "chat" in offered else None


def dial(slipway: Slipway, path: str = f"{PREFIX}/", **options: Any) -> connect:
    """A client at an endpoint."""
    options.setdefault("additional_headers", AUTHORIZATION)
    return connect(f"ws://127.0.0.1:{slipway.port}{path}", proxy=None, **options)


async def refusal(dialled: connect) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused:
        await dialled
    return refused.value.response.status_code, bytes(refused.value.response.body).decode()


async def end_of(socket: ClientConnection) -> tuple[int, str]:
    """How the other side ended it."""
    async with asyncio.timeout(10):
        await socket.wait_closed()
    assert socket.protocol.close_rcvd is not None
    return socket.protocol.close_rcvd.code, socket.protocol.close_rcvd.reason


@pytest.mark.usefixtures("echo")
class TestMessages:
    @pytest.mark.parametrize("message", ["text", "", "ä\U0001f600", b"bytes", b"", b"\x00\xff", "x" * 200_000])
    async def test_they_go_both_ways(self, slipway: Slipway, message: str | bytes) -> None:
        async with dial(slipway) as socket:
            await socket.send(message)
            assert await socket.recv() == message

    async def test_they_stay_in_order(self, slipway: Slipway) -> None:
        async with dial(slipway) as socket:
            for number in range(200):
                await socket.send(str(number))
            assert [await socket.recv() for _ in range(200)] == [str(number) for number in range(200)]

    async def test_what_was_said_before_the_end_arrives(self, slipway: Slipway) -> None:
        heard: list[Any] = []

        async def talk(socket: ServerConnection) -> None:
            heard.append(await socket.recv())
            for number in range(50):
                await socket.send(str(number))

        async with replica_of(talk) as port:
            slipway.lead_to(port)
            async with dial(slipway) as socket:
                await socket.send("last words")
                assert [message async for message in socket] == [str(number) for number in range(50)]
        assert heard == ["last words"]

    async def test_large_ones_go_both_ways(self, slipway: Slipway) -> None:
        large = b"x" * (sockets.MESSAGE_MAXIMUM_BYTES - 1)

        async def send_back(socket: ServerConnection) -> None:
            await socket.send(await socket.recv())

        async with replica_of(send_back, max_size=None) as port:
            slipway.lead_to(port)
            async with dial(slipway, max_size=None, compression=None) as socket:
                await socket.send(large)
                assert await socket.recv() == large

    async def test_too_large_ones_end_it(self, slipway: Slipway, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sockets, "MESSAGE_MAXIMUM_BYTES", 1000)

        async def say_much(socket: ServerConnection) -> None:
            await socket.send("x" * 1001)
            await socket.wait_closed()

        async with replica_of(say_much) as port:
            slipway.lead_to(port)
            async with dial(slipway) as socket:
                code, reason = await end_of(socket)
        assert (code, reason) == (1009, "A message of the service is larger than 1,000 bytes.")

    async def test_too_large_ones_of_the_client_end_it(self, slipway: Slipway, echo: Echo) -> None:
        async with dial(slipway, compression=None) as socket:
            with contextlib.suppress(ConnectionClosed):
                await socket.send(b"x" * (sockets.MESSAGE_MAXIMUM_BYTES + 1))
            assert (await end_of(socket))[0] == 1009
        await until(lambda: [code for code, _ in echo.ends] == [1009])

    async def test_a_replica_is_not_heard_faster_than_the_client_listens(self, slipway: Slipway) -> None:
        sent = 0

        async def talk(socket: ServerConnection) -> None:
            nonlocal sent
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await socket.send(b"x" * MEBIBYTE)
                    sent += 1

        async with replica_of(talk, compression=None) as port:
            slipway.lead_to(port)
            async with dial(slipway, max_queue=1, compression=None) as socket:
                before = -1
                while before != sent:  # the client takes nothing: at some time nothing moves any more
                    before = sent
                    await asyncio.sleep(0.2)
                assert sent < 40
                for _ in range(sent + 5):
                    assert len(await socket.recv()) == MEBIBYTE
                socket.transport.abort()

    async def test_a_client_is_not_heard_faster_than_the_replica_listens(self, slipway: Slipway) -> None:
        listen = asyncio.Event()
        heard = 0

        async def listen_late(socket: ServerConnection) -> None:
            nonlocal heard
            await listen.wait()
            async for _ in socket:
                heard += 1

        async with replica_of(listen_late, max_queue=1, compression=None) as port:
            slipway.lead_to(port)
            async with dial(slipway, compression=None) as socket:
                sent = 0
                with contextlib.suppress(TimeoutError):
                    while sent < 100:
                        async with asyncio.timeout(0.3):
                            await socket.send(b"x" * MEBIBYTE)
                        sent += 1
                assert sent < 40
                listen.set()
                await until(lambda: heard >= sent)

    async def test_each_side_pings_the_gateway(self, slipway: Slipway, echo: Echo) -> None:
        async with dial(slipway) as socket, asyncio.timeout(10):
            await (await socket.ping())
            await until(lambda: len(echo.open) == 1)
            await (await echo.open[0].ping())


class TestHandshake:
    async def test_the_request_arrives_as_it_was_sent(self, slipway: Slipway, echo: Echo) -> None:
        sent = {
            **AUTHORIZATION,
            "Cookie": "a=b",
            "Origin": "https://a.example",
            "X-Own": "\xe4",
            "X-Forwarded-User": "root",
        }
        path = f"{PREFIX}//a%2Fb%20c/../d?e=%26&f"
        async with dial(slipway, path, additional_headers=sent, user_agent_header="me"):
            pass
        [request] = echo.requests
        host = f"127.0.0.1:{slipway.port}"
        assert request.path == "//a%2Fb%20c/../d?e=%26&f"
        told = [(name.lower(), value) for name, value in request.headers.raw_items()]
        assert {name for name, _ in told if name.startswith("sec-")} == {"sec-websocket-key", "sec-websocket-version"}
        assert sorted(pair for pair in told if not pair[0].startswith("sec-")) == [
            ("connection", "Upgrade"),
            ("cookie", "a=b"),
            ("host", host),
            ("origin", "https://a.example"),
            ("upgrade", "websocket"),
            ("user-agent", "me"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", host),
            ("x-forwarded-prefix", PREFIX),
            ("x-forwarded-proto", "http"),
            ("x-own", "\xe4"),
        ]

    async def test_the_answer_arrives_as_it_was_given(self, slipway: Slipway) -> None:
        def add(_: ServerConnection, __: Request, response: Response) -> None:
            response.headers["Set-Cookie"] = "a=1"
            response.headers["Set-Cookie"] = "b=2"

        echo = Echo()
        async with replica_of(echo.serve, process_response=add) as port:
            slipway.lead_to(port)
            async with dial(slipway) as socket:
                assert socket.response is not None
                assert socket.response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]

    @pytest.mark.parametrize("token", [TOKEN, "with/slash+and.dot"])
    @pytest.mark.parametrize("others", [["slipway"], ["slipway", "chat"], ["chat"], ["other", "slipway"], []])
    async def test_the_token_may_be_a_subprotocol_and_goes_no_further(
        self, slipway: Slipway, echo: Echo, token: str, others: list[str]
    ) -> None:
        slipway.tokens = {token}
        offered = [Subprotocol(each) for each in (*others, f"slipway.token.{quote(token, safe='')}")]
        async with dial(slipway, additional_headers=None, subprotocols=offered) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
        assert socket.subprotocol == ("chat" if "chat" in others else "slipway" if "slipway" in others else None)
        [request] = echo.requests
        passed_on = [each for each in others if each != "slipway"]
        assert request.headers.get_all("Sec-WebSocket-Protocol") == ([", ".join(passed_on)] if passed_on else [])
        assert "token" not in str(request.headers).lower()
        assert token not in str(request.headers)

    @pytest.mark.parametrize(
        "options",
        [
            {"additional_headers": None},
            {"additional_headers": {"Authorization": "Bearer wrong"}},
            {"additional_headers": None, "subprotocols": [Subprotocol("slipway.token.wrong")]},
            {"additional_headers": None, "subprotocols": [Subprotocol("slipway.token.")]},
            {"additional_headers": None, "subprotocols": [Subprotocol(TOKEN)]},
        ],
    )
    async def test_without_a_good_token_nobody_gets_through(
        self, slipway: Slipway, echo: Echo, options: dict[str, Any]
    ) -> None:
        status, body = await refusal(dial(slipway, **options))
        assert status == 401
        assert "UNAUTHENTICATED" in body
        assert echo.requests == []

    async def test_a_token_in_the_query_is_none(self, slipway: Slipway, echo: Echo) -> None:
        status, _ = await refusal(dial(slipway, f"{PREFIX}/?token={TOKEN}", additional_headers=None))
        assert (status, echo.requests) == (401, [])

    async def test_what_one_may_not_see_does_not_exist(self, slipway: Slipway, echo: Echo) -> None:
        hidden = PREFIX.removesuffix("1") + "2"
        assert str(HIDDEN_ID).endswith("2")
        status, body = await refusal(dial(slipway, f"{hidden}/"))
        assert (status, "NOT_FOUND" in body, echo.requests) == (404, True, [])

    async def test_without_a_slash_it_leads_to_the_one_with_a_slash(self, slipway: Slipway, echo: Echo) -> None:
        async with dial(slipway, f"{PREFIX}?a=b"):
            pass
        assert [request.path for request in echo.requests] == ["/?a=b"]

    async def test_where_none_is_ready_it_says_so(self, slipway: Slipway) -> None:
        slipway.lead_to()
        status, body = await refusal(dial(slipway))
        assert (status, "NOT_READY" in body) == (503, True)

    async def test_a_replica_that_refuses_is_passed_over(self, slipway: Slipway, echo: Echo) -> None:
        slipway.lead_to(closed_port(), echo.port, closed_port())
        for _ in range(3):
            async with dial(slipway) as socket:
                await socket.send("hello")
                assert await socket.recv() == "hello"

    async def test_where_all_refuse_it_is_a_bad_gateway(self, slipway: Slipway) -> None:
        slipway.lead_to(closed_port(), closed_port())
        status, body = await refusal(dial(slipway))
        assert (status, "ENDPOINT_UNREACHABLE" in body) == (502, True)

    @pytest.mark.parametrize(
        ("status", "headers"),
        [(403, ""), (302, "Location: http://127.0.0.1:1/\r\n"), (200, ""), (426, "Upgrade: x\r\n")],
    )
    async def test_what_the_replica_says_instead_is_for_the_client(
        self, slipway: Slipway, status: int, headers: str
    ) -> None:
        answer = f"HTTP/1.1 {status} X\r\nX-Own: kept\r\n{headers}Content-Length: 5\r\n\r\nsorry"
        async with scripted([answer.encode(), HANG_UP]) as replica:
            slipway.lead_to(replica.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
            writer.write(
                f"GET {PREFIX}/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            told = await reader.read()
            writer.close()
            assert told.startswith(f"HTTP/1.1 {status} ".encode())
            assert told.endswith(b"\r\n\r\nsorry")
            assert b"X-Own: kept\r\n" in told or b"x-own: kept\r\n" in told
            assert replica.connections == 1

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        ],
    )
    async def test_a_replica_that_does_not_do_its_part_is_a_bad_gateway(self, slipway: Slipway, answer: bytes) -> None:
        async with scripted([answer, HANG_UP]) as replica:
            slipway.lead_to(replica.port)
            status, body = await refusal(dial(slipway))
            assert (status, "ENDPOINT_FAILED" in body) == (502, True)

    async def test_a_replica_that_says_nothing_is_given_up(
        self, slipway: Slipway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sockets, "HANDSHAKE_TIMEOUT_SECONDS", 0.05)
        async with scripted([b"HTTP/1.1 101 X\r\n"]) as replica:
            slipway.lead_to(replica.port)
            status, body = await refusal(dial(slipway))
            assert (status, "ENDPOINT_TIMEOUT" in body) == (504, True)
            await until(lambda: replica.ended == 1)

    async def test_elsewhere_there_are_none(self, slipway: Slipway) -> None:
        for path in ("/", "/graphql", "/endpoints", "/health"):
            assert (await refusal(dial(slipway, path)))[0] == 403


class TestEnd:
    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, "own"), (4999, "ä" * 61)])
    async def test_the_clients_reason_is_for_the_replica(
        self, slipway: Slipway, echo: Echo, code: int, reason: str
    ) -> None:
        async with dial(slipway) as socket:
            await socket.close(code, reason)
        await until(lambda: echo.ends == [(code, reason)])

    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, "own"), (4999, "ä" * 61)])
    async def test_the_replicas_reason_is_for_the_client(
        self, slipway: Slipway, echo: Echo, code: int, reason: str
    ) -> None:
        async with dial(slipway) as socket:
            await until(lambda: len(echo.open) == 1)
            await echo.open[0].close(code, reason)
            assert await end_of(socket) == (code, reason)
        await until(lambda: slipway.traffic.total() == 0)

    async def test_a_client_that_is_gone_is_going_away(self, slipway: Slipway, echo: Echo) -> None:
        socket = await dial(slipway)
        await until(lambda: slipway.traffic.busy() == {("127.0.0.1", echo.port)})
        socket.transport.abort()
        await until(lambda: echo.ends == [(CloseCode.GOING_AWAY, "")])
        await until(lambda: slipway.traffic.total() == 0)

    async def test_a_replica_that_is_gone_is_a_bad_gateway(self, slipway: Slipway, echo: Echo) -> None:
        async with dial(slipway) as socket:
            await until(lambda: len(echo.open) == 1)
            echo.open[0].transport.abort()
            assert await end_of(socket) == (CloseCode.BAD_GATEWAY, "The replica broke off.")
        await until(lambda: slipway.traffic.total() == 0)

    async def test_a_client_that_takes_nothing_is_given_up(
        self, slipway: Slipway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sockets, "CLIENT_TIMEOUT_SECONDS", 0.05)
        monkeypatch.setattr(sockets, "CLOSE_TIMEOUT_SECONDS", 0.05)
        ends: list[int | None] = []

        async def talk(socket: ServerConnection) -> None:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await socket.send(b"x" * MEBIBYTE)
            ends.append(socket.close_code)

        async with replica_of(talk, compression=None) as port:
            slipway.lead_to(port)
            socket = await dial(slipway, max_queue=1, compression=None)
            await until(lambda: len(ends) == 1)
            await until(lambda: slipway.traffic.total() == 0)
            socket.transport.abort()

    async def test_it_ends_with_the_right_to_it(
        self, slipway: Slipway, echo: Echo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(endpoints, "ASKED_AGAIN_SECONDS", 0.01)
        async with dial(slipway) as socket:
            await until(lambda: len(slipway.asked) >= 6)  # it was asked again, and it goes on
            slipway.tokens.clear()
            reason = "The token is not valid any more, or may not see the workload any more."
            assert await end_of(socket) == (CloseCode.POLICY_VIOLATION, reason)
        await until(lambda: echo.ends == [(CloseCode.GOING_AWAY, "")])

    async def test_the_end_of_the_server_is_told_to_both(self, slipway: Slipway, echo: Echo) -> None:
        config = uvicorn.Config(
            slipway.app, port=0, http=HttpProtocol, log_config=None, lifespan="off", timeout_graceful_shutdown=10
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        slipway.port = server.servers[0].sockets[0].getsockname()[1]
        async with dial(slipway) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
            server.should_exit = True
            assert (await end_of(socket))[0] == CloseCode.SERVICE_RESTART
        async with asyncio.timeout(5):
            await serving
        assert echo.ends == [(CloseCode.SERVICE_RESTART, "")]
        assert slipway.traffic.total() == 0
