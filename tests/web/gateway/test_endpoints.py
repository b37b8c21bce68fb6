"""The gateway between real servers: a client, Slipway, and replicas."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from app.domain import ids
from tests.web.gateway.world import (
    AUTHORIZATION,
    HIDDEN_ID,
    PREFIX,
    TOKEN,
    WORKLOAD_ID,
    Replica,
    Serve,
    Slipway,
    closed_port,
    code,
    until,
)


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
