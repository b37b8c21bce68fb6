"""The HTTP/1.1 that replicas speak, well or badly, and what of it reaches the client."""

import asyncio
import contextlib

import httpx
import pytest

from app.web.gateway import exchange, forwarding, upstream
from tests.web.gateway.scripted import HANG_UP, scripted
from tests.web.gateway.world import PREFIX, TOKEN, Slipway, code, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def ask(slipway: Slipway, method: str = "GET", *, headers: str = "", body: bytes = b"") -> tuple[bytes, bytes]:
    """The head, in lower case, and the body of an answer as they come over a connection that is closed then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
    head = f"{method} {PREFIX}/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n{headers}"
    writer.write(head.encode() + b"\r\n" + body)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    start, _, rest = answer.partition(b"\r\n\r\n")
    return start.lower(), rest


class TestConnections:
    async def test_they_are_used_again(self, client: httpx.AsyncClient, slipway: Slipway) -> None:
        async with scripted([OK] * 3) as replica:
            slipway.lead_to(replica.port)
            assert [(await client.get(f"{PREFIX}/")).text for _ in range(3)] == ["ok"] * 3
            assert replica.connections == 1

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "TRACE"])
    async def test_that_one_is_closed_when_it_is_used_again_is_not_noticed(
        self, client: httpx.AsyncClient, slipway: Slipway, method: str
    ) -> None:
        async with scripted([OK, b""], [OK]) as replica:
            slipway.lead_to(replica.port)
            await client.get(f"{PREFIX}/")
            assert (await client.request(method, f"{PREFIX}/")).status_code == 200
            assert (replica.connections, len(replica.heads)) == (2, 3)

    @pytest.mark.parametrize(("method", "body"), [("POST", b""), ("PATCH", b""), ("PUT", b"body"), ("POST", b"body")])
    async def test_what_could_happen_twice_is_not_repeated(
        self, client: httpx.AsyncClient, slipway: Slipway, method: str, body: bytes
    ) -> None:
        async with scripted([OK, b""], [OK]) as replica:
            slipway.lead_to(replica.port)
            await client.get(f"{PREFIX}/")
            answer = await client.request(method, f"{PREFIX}/", content=body)
            assert code(answer) == (502, "ENDPOINT_FAILED")
            assert (replica.connections, len(replica.heads)) == (1, 2)

    async def test_a_request_is_repeated_once(self, client: httpx.AsyncClient, slipway: Slipway) -> None:
        async with scripted([OK, b""], [b""], [OK]) as replica:
            slipway.lead_to(replica.port)
            await client.get(f"{PREFIX}/")
            assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_FAILED")
            assert (replica.connections, len(replica.heads)) == (2, 3)

    async def test_a_request_on_a_new_connection_is_not_repeated(
        self, client: httpx.AsyncClient, slipway: Slipway
    ) -> None:
        async with scripted([b""], [OK]) as replica:
            slipway.lead_to(replica.port)
            assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_FAILED")
            assert (replica.connections, len(replica.heads)) == (1, 1)

    async def test_a_request_that_was_answered_in_part_is_not_repeated(
        self, client: httpx.AsyncClient, slipway: Slipway
    ) -> None:
        async with scripted([OK, b"HTTP/1.1 200 OK\r\n", HANG_UP], [OK]) as replica:
            slipway.lead_to(replica.port)
            await client.get(f"{PREFIX}/")
            assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_FAILED")
            assert replica.connections == 1

    async def test_one_that_was_closed_while_it_was_idle_is_not_used(
        self, client: httpx.AsyncClient, slipway: Slipway
    ) -> None:
        async with scripted([OK, HANG_UP], [OK]) as replica:
            slipway.lead_to(replica.port)
            await client.get(f"{PREFIX}/")
            await until(lambda: replica.ended == 1)
            assert (await client.post(f"{PREFIX}/")).text == "ok"
            assert replica.connections == 2

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nothers",
            OK + b"H",
            OK + b"\x00",
        ],
    )
    async def test_one_that_has_served_its_time_or_says_too_much_is_closed(
        self, client: httpx.AsyncClient, slipway: Slipway, answer: bytes
    ) -> None:
        async with scripted([answer]) as replica:
            slipway.lead_to(replica.port)
            assert [(await client.get(f"{PREFIX}/")).text for _ in range(3)] == ["ok"] * 3
            assert replica.connections == 3
            await until(lambda: replica.ended == 3)

    async def test_one_that_speaks_without_being_asked_is_closed(
        self, client: httpx.AsyncClient, slipway: Slipway
    ) -> None:
        asked_again, hung_up = asyncio.Event(), asyncio.Event()

        async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await asked_again.wait()
            writer.write(OK)
            await reader.read()
            writer.close()
            hung_up.set()

        async with await asyncio.start_server(replica, "127.0.0.1", 0) as server:
            slipway.lead_to(server.sockets[0].getsockname()[1])
            assert (await client.get(f"{PREFIX}/")).text == "ok"
            asked_again.set()
            async with asyncio.timeout(10):
                await hung_up.wait()

    async def test_one_that_has_been_idle_for_too_long_is_not_used(
        self, client: httpx.AsyncClient, slipway: Slipway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upstream, "IDLE_SECONDS", -1.0)
        async with scripted([OK] * 2) as replica:
            slipway.lead_to(replica.port)
            assert [(await client.get(f"{PREFIX}/")).text for _ in range(2)] == ["ok"] * 2
            assert replica.connections == 2
            await until(lambda: replica.ended >= 1)

    async def test_an_idle_one_is_closed_in_time(
        self, client: httpx.AsyncClient, slipway: Slipway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upstream, "IDLE_SECONDS", 0.02)
        monkeypatch.setattr(upstream, "SWEEP_SECONDS", 0.01)
        async with scripted([OK]) as replica:
            slipway.lead_to(replica.port)
            await client.get(f"{PREFIX}/")
            await until(lambda: replica.ended == 1)
            assert (await client.post(f"{PREFIX}/")).text == "ok"
            assert replica.connections == 2


class TestAnswers:
    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.0 200 OK\r\n\r\nwhole",
            b"HTTP/1.1 200 OK\r\n\r\nwhole",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nwh\r\n3\r\nole\r\n0\r\nTrailer: t\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
        ],
    )
    async def test_every_way_to_say_where_an_answer_ends(
        self, client: httpx.AsyncClient, slipway: Slipway, answer: bytes
    ) -> None:
        async with scripted([answer, HANG_UP]) as replica:
            slipway.lead_to(replica.port)
            whole = await client.get(f"{PREFIX}/")
            assert (whole.status_code, whole.text) == (200, "whole")
            assert not {"link", "trailer"} & set(whole.headers)

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
        ],
    )
    async def test_half_an_answer_does_not_pass_for_a_whole_one(
        self, client: httpx.AsyncClient, slipway: Slipway, answer: bytes
    ) -> None:
        async with scripted([answer, HANG_UP]) as replica:
            slipway.lead_to(replica.port)
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"{PREFIX}/")

    @pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
    @pytest.mark.parametrize("headers", [b"", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"])
    async def test_some_have_no_body(
        self, client: httpx.AsyncClient, slipway: Slipway, status: bytes, headers: bytes
    ) -> None:
        async with scripted([b"HTTP/1.1 " + status + b"\r\n" + headers + b"ETag: x\r\n\r\n", OK]) as replica:
            slipway.lead_to(replica.port)
            answer = await client.get(f"{PREFIX}/")
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (int(status[:3]), b"", "x")
            assert "content-length" not in answer.headers  # the server would take it for a promise
            assert (await client.get(f"{PREFIX}/")).text == "ok"
            assert replica.connections == 1

    @pytest.mark.parametrize(("body", "connections"), [(b"", 1), (b"12345", 2)])
    async def test_head_tells_the_length_and_has_no_body(
        self, client: httpx.AsyncClient, slipway: Slipway, body: bytes, connections: int
    ) -> None:
        async with scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body, OK], [OK]) as replica:
            slipway.lead_to(replica.port)
            answer = await client.head(f"{PREFIX}/")
            assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "5", b"")
            assert (await client.get(f"{PREFIX}/")).text == "ok"
            assert replica.connections == connections

    @pytest.mark.parametrize(
        "answer",
        [
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 999 Why\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nName\x01: x\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nName: x\x00y\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nName: " + b"x" * forwarding.HEAD_MAXIMUM_BYTES,
        ],
        ids=lambda answer: repr(answer[:60]),
    )
    async def test_what_is_no_answer_is_a_bad_gateway(
        self, client: httpx.AsyncClient, slipway: Slipway, answer: bytes
    ) -> None:
        async with scripted([answer]) as replica:
            slipway.lead_to(replica.port)
            assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_FAILED")
            await until(lambda: replica.ended == 1)

    async def test_a_large_one_comes_as_fast_as_the_client_takes_it(self, slipway: Slipway) -> None:
        size = 64 * 1024 * 1024
        taken = 0

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal taken
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            while taken < size:
                writer.write(b"x" * 65536)
                await writer.drain()
                taken += 65536
            writer.close()

        server = await asyncio.start_server(send, "127.0.0.1", 0)
        slipway.lead_to(server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
        writer.write(f"GET {PREFIX}/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while before != taken:  # the client takes nothing: at some time nothing moves any more
            before = taken
            await asyncio.sleep(0.2)
        assert taken < size // 2
        assert len(await reader.readexactly(size)) == size
        writer.close()
        server.close()


class TestTime:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upstream, "SWEEP_SECONDS", 0.01)

    async def test_a_replica_that_does_not_answer_is_given_up(
        self, client: httpx.AsyncClient, slipway: Slipway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upstream, "READ_TIMEOUT_SECONDS", 0.05)
        async with scripted([b"HTTP/1.1 100 Continue\r\n\r\n"]) as replica:
            slipway.lead_to(replica.port)
            assert code(await client.get(f"{PREFIX}/")) == (504, "ENDPOINT_TIMEOUT")
            await until(lambda: replica.ended == 1)

    async def test_a_replica_that_does_not_go_on_is_given_up(
        self, client: httpx.AsyncClient, slipway: Slipway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upstream, "READ_TIMEOUT_SECONDS", 0.05)
        async with scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]) as replica:
            slipway.lead_to(replica.port)
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"{PREFIX}/")
            await until(lambda: replica.ended == 1)

    async def test_a_replica_that_does_not_take_the_body_is_given_up(
        self, client: httpx.AsyncClient, slipway: Slipway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upstream, "WRITE_TIMEOUT_SECONDS", 0.05)
        left = asyncio.Event()

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await left.wait()
            writer.close()

        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        slipway.lead_to(server.sockets[0].getsockname()[1])
        answer = await client.post(f"{PREFIX}/", content=b"x" * 64 * 1024 * 1024)
        assert code(answer) == (504, "ENDPOINT_TIMEOUT")
        left.set()
        server.close()

    async def test_a_client_that_does_not_take_its_answer_is_given_up(
        self, slipway: Slipway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exchange, "CLIENT_TIMEOUT_SECONDS", 0.05)
        size = 64 * 1024 * 1024
        async with scripted([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size]) as replica:
            slipway.lead_to(replica.port)
            _, writer = await asyncio.open_connection("127.0.0.1", slipway.port, limit=1)
            writer.write(f"GET {PREFIX}/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
            await until(lambda: replica.connections == 1 and slipway.traffic.total() == 1)
            await until(lambda: slipway.traffic.total() == 0)
            await until(lambda: replica.ended == 1)
            writer.close()


class TestBodies:
    @pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b""])
    async def test_one_is_sent_when_the_replica_wants_it_or_says_nothing(
        self, slipway: Slipway, monkeypatch: pytest.MonkeyPatch, interim: bytes
    ) -> None:
        monkeypatch.setattr(exchange, "CONTINUE_TIMEOUT_SECONDS", 10.0 if interim else 0.02)
        heard: list[bytes] = []

        async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(interim)
            heard.append(await reader.readexactly(4))
            writer.write(OK)
            writer.close()

        async with await asyncio.start_server(replica, "127.0.0.1", 0) as server:
            slipway.lead_to(server.sockets[0].getsockname()[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
            head = f"POST {PREFIX}/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"
            writer.write(f"{head}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n".encode())
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"body")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()
        assert b"\r\nexpect: 100-continue\r\n" in heard[0]
        assert heard[1] == b"body"

    async def test_a_replica_that_refuses_it_never_gets_it(self, slipway: Slipway) -> None:
        async with scripted([b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"]) as replica:
            slipway.lead_to(replica.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
            head = f"POST {PREFIX}/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"
            writer.write(f"{head}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n".encode())
            answer = (await reader.read()).lower()  # to its end: the server closes
            assert answer.startswith(b"http/1.1 401")
            assert b"\r\nconnection: close\r\n" in answer
            assert b"100 continue" not in answer
            writer.close()

    async def test_a_large_one_goes_as_fast_as_the_replica_takes_it(self, slipway: Slipway) -> None:
        size = 64 * 1024 * 1024
        listen = asyncio.Event()

        async def listen_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await listen.wait()
            await reader.readexactly(size)
            writer.write(OK)
            writer.close()

        async with await asyncio.start_server(listen_late, "127.0.0.1", 0) as server:
            slipway.lead_to(server.sockets[0].getsockname()[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
            head = f"POST {PREFIX}/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {size}\r\n\r\n".encode())
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < size:
                    writer.write(b"x" * 65536)
                    sent += 65536
                    async with asyncio.timeout(0.3):
                        await writer.drain()
            assert sent < size // 2
            listen.set()
            writer.write(b"x" * (size - sent))
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()

    async def test_an_answer_may_come_before_its_end(self, client: httpx.AsyncClient, slipway: Slipway) -> None:
        async with scripted([b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno", OK], [OK]) as replica:
            slipway.lead_to(replica.port)
            head, body = await ask(slipway, "POST", headers="Content-Length: 1000\r\n", body=b"begun")
            assert (head.startswith(b"http/1.1 413"), body) == (True, b"no")
            assert (await client.get(f"{PREFIX}/")).text == "ok"  # on a connection where no half body is in the way
            assert replica.connections == 2
            await until(lambda: replica.ended == 1)

    async def test_what_connection_names_can_not_change_where_it_ends(
        self, client: httpx.AsyncClient, slipway: Slipway
    ) -> None:
        async with scripted([OK]) as replica:
            slipway.lead_to(replica.port)
            headers = {"Connection": "content-length, host, x-other", "X-Other": "y"}
            assert (await client.post(f"{PREFIX}/", content=b"body", headers=headers)).text == "ok"
            assert b"content-length: 4\r\n" in replica.heads[0]
            assert b"host: 127.0.0.1" in replica.heads[0]
            assert b"x-other" not in replica.heads[0]

    async def test_a_coding_that_would_be_lost_is_refused(self, slipway: Slipway) -> None:
        async with scripted([OK]) as replica:
            slipway.lead_to(replica.port)
            head, body = await ask(slipway, "POST", headers="Transfer-Encoding: gzip, chunked\r\n", body=b"0\r\n\r\n")
            assert head.startswith(b"http/1.1 501")
            assert b"TRANSFER_CODING_NOT_SUPPORTED" in body
            assert replica.connections == 0

    async def test_headers_that_are_too_large_are_refused(self, client: httpx.AsyncClient, slipway: Slipway) -> None:
        async with scripted([OK]) as replica:
            slipway.lead_to(replica.port)
            large = {"X-Large": "x" * forwarding.HEAD_MAXIMUM_BYTES}
            assert code(await client.get(f"{PREFIX}/", headers=large)) == (431, "HEADERS_TOO_LARGE")
            assert replica.connections == 0

    async def test_an_upgrade_to_something_else_is_not_made(self, slipway: Slipway) -> None:
        async with scripted([OK]) as replica:
            slipway.lead_to(replica.port)
            head, body = await ask(slipway, headers="Upgrade: h2c\r\nHTTP2-Settings: x\r\n")
            assert (head.startswith(b"http/1.1 200"), body) == (True, b"ok")
            assert b"upgrade" not in replica.heads[0].lower()

    async def test_a_client_of_http_1_0_needs_no_host(self, slipway: Slipway) -> None:
        async with scripted([OK]) as replica:
            slipway.lead_to(replica.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", slipway.port)
            writer.write(f"GET {PREFIX}/ HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
            assert (await reader.read()).endswith(b"\r\n\r\nok")
            assert replica.heads[0].startswith(b"GET / HTTP/1.1\r\n")
            assert b"\r\nhost: \r\n" in replica.heads[0]
            writer.close()
