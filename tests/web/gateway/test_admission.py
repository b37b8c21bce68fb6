"""Who gets through is asked of the database once a second, and never remembered to anyone's disadvantage."""

import asyncio
import contextlib
import socket

import httpx
import pytest

from app.web.gateway import admission, endpoints, upstream
from app.web.gateway.admission import Admission
from tests.web.gateway.world import HIDDEN_ID, PREFIX, Replica, Serve, Slipway, closed_port, code, until

ONCE = ["token", "addresses"]


async def test_what_lets_through_is_remembered(client: httpx.AsyncClient, slipway: Slipway, replica: Replica) -> None:
    for _ in range(5):
        await client.get(f"{PREFIX}/")
    assert slipway.asked == ONCE
    assert replica.asked == 5


async def test_what_lets_through_is_forgotten_in_time(
    client: httpx.AsyncClient, slipway: Slipway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "REMEMBERED_SECONDS", -1.0)
    for _ in range(3):
        await client.get(f"{PREFIX}/")
    assert slipway.asked == ONCE * 3
    slipway.tokens.clear()
    assert code(await client.get(f"{PREFIX}/")) == (401, "UNAUTHENTICATED")
    assert replica.asked == 3


async def test_those_who_come_together_ask_once_together(
    client: httpx.AsyncClient, slipway: Slipway, replica: Replica
) -> None:
    answers = await asyncio.gather(*(client.get(f"{PREFIX}/") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert slipway.asked == ONCE
    assert replica.asked == 20


async def test_one_who_asked_first_and_left_takes_nothing_from_the_others(slipway: Slipway) -> None:
    answers = asyncio.Event()

    async def authenticate(secret: str | None) -> object:
        await answers.wait()
        return await slipway.authenticate(secret)

    asked = Admission(authenticate, slipway.find_addresses)  # type: ignore[arg-type]  # the same as a coroutine
    workload = PREFIX.removeprefix("/endpoints/")
    slipway.lead_to(1)
    first = asyncio.create_task(asked.replicas("a-token", workload))
    second = asyncio.create_task(asked.replicas("a-token", workload))
    await asyncio.sleep(0)
    first.cancel()
    answers.set()
    assert await second == (("127.0.0.1", 1),)
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert slipway.asked == ONCE


async def test_a_refusal_is_not_remembered(client: httpx.AsyncClient, slipway: Slipway, replica: Replica) -> None:
    slipway.tokens.clear()
    assert code(await client.get(f"{PREFIX}/")) == (401, "UNAUTHENTICATED")
    slipway.tokens.add("a-token")
    assert (await client.get(f"{PREFIX}/")).status_code == 200
    assert replica.asked == 1


async def test_that_nothing_is_ready_is_not_remembered(
    client: httpx.AsyncClient, slipway: Slipway, replica: Replica
) -> None:
    ready = slipway.addresses
    slipway.lead_to()
    assert code(await client.get(f"{PREFIX}/")) == (503, "NOT_READY")
    slipway.addresses = ready
    assert (await client.get(f"{PREFIX}/")).status_code == 200
    assert replica.asked == 1


async def test_each_token_and_each_workload_is_asked_for(
    client: httpx.AsyncClient, slipway: Slipway, replica: Replica
) -> None:
    assert (await client.get(f"{PREFIX}/")).status_code == 200
    other = {"Authorization": "Bearer another-token"}
    assert code(await client.get(f"{PREFIX}/", headers=other)) == (401, "UNAUTHENTICATED")
    hidden = PREFIX.removesuffix("1") + "2"
    assert hidden.endswith(str(HIDDEN_ID)[-1])
    assert code(await client.get(f"{hidden}/")) == (404, "NOT_FOUND")
    assert replica.asked == 1


async def test_as_much_is_remembered_as_there_is_room_for(slipway: Slipway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "REMEMBERED_MAXIMUM", 2)
    asked = Admission(slipway.authenticate, slipway.find_addresses)
    slipway.lead_to(1)
    slipway.tokens |= {str(number) for number in range(5)}
    for number in range(5):
        assert await asked.replicas(str(number), PREFIX.removeprefix("/endpoints/")) == (("127.0.0.1", 1),)
        assert len(asked._questions) <= 2


async def test_where_the_remembered_replicas_refuse_the_newest_are_asked(
    client: httpx.AsyncClient, slipway: Slipway, serve: Serve
) -> None:
    slipway.lead_to(closed_port())
    assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_UNREACHABLE")
    replica = Replica("new")
    slipway.lead_to(await serve(replica))
    assert (await client.post(f"{PREFIX}/", content=b"body")).json()["body"] == "body"
    assert replica.asked == 1


async def test_where_the_remembered_replicas_refuse_and_none_is_left_it_says_so(
    client: httpx.AsyncClient, slipway: Slipway
) -> None:
    slipway.lead_to(closed_port())
    assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_UNREACHABLE")
    slipway.lead_to()
    await asyncio.sleep(0.002)  # the clock of uvloop ticks in milliseconds
    assert code(await client.get(f"{PREFIX}/")) == (503, "NOT_READY")


async def test_a_replica_that_neither_accepts_nor_refuses_is_passed_over(
    client: httpx.AsyncClient, slipway: Slipway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "CONNECT_TIMEOUT_SECONDS", 0.05)
    good = slipway.addresses[0]["port"]
    with socket.socket() as silent, socket.socket() as filling:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        filling.connect(silent.getsockname())
        slipway.lead_to(good, silent.getsockname()[1])
        for _ in range(2):
            assert (await client.get(f"{PREFIX}/")).json()["name"] == "one"
        assert replica.asked == 2
        monkeypatch.setattr(endpoints, "SEARCH_SECONDS", -1.0)
        slipway.lead_to(*[silent.getsockname()[1]] * 9)
        started = asyncio.get_running_loop().time()
        monkeypatch.setattr(admission, "REMEMBERED_SECONDS", -1.0)
        assert code(await client.get(f"{PREFIX}/")) == (502, "ENDPOINT_UNREACHABLE")
        assert asyncio.get_running_loop().time() - started < 0.4


@pytest.mark.parametrize("limit", ["OPEN_MAXIMUM", "OPEN_TO_ONE_WORKLOAD_MAXIMUM"])
async def test_more_than_enough_is_refused(
    client: httpx.AsyncClient, slipway: Slipway, replica: Replica, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(endpoints, limit, 1)
    slow = asyncio.create_task(client.get(f"{PREFIX}/slow"))
    await until(lambda: replica.going_on == ["slow"])
    answer = await client.get(f"{PREFIX}/")
    assert code(answer) == (503, "ENDPOINT_BUSY")
    assert answer.headers["retry-after"] == "1"
    replica.proceed.set()
    assert (await slow).text == "done"
    await until(lambda: slipway.traffic.total() == 0)
    assert (await client.get(f"{PREFIX}/")).status_code == 200


async def test_a_stream_ends_with_the_right_to_it(
    client: httpx.AsyncClient, slipway: Slipway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "ASKED_AGAIN_SECONDS", 0.01)
    async with client.stream("GET", f"{PREFIX}/events") as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"data: one\n\n"
        await until(lambda: len(slipway.asked) >= 6)  # it was asked again, and the stream goes on
        slipway.tokens.clear()
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
    await until(lambda: replica.cancelled == ["events"])
    asked = len(slipway.asked)
    await asyncio.sleep(0.05)
    assert len(slipway.asked) == asked


async def test_a_stream_outlives_a_database_that_does_not_answer(
    client: httpx.AsyncClient, slipway: Slipway, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "ASKED_AGAIN_SECONDS", 0.01)
    async with client.stream("GET", f"{PREFIX}/events") as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"data: one\n\n"
        slipway.is_down = True
        before = len(slipway.asked)
        await until(lambda: len(slipway.asked) >= before + 3)
        slipway.is_down = False
        assert replica.cancelled == []
