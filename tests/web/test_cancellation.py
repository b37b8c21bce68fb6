"""An operation runs for as long as its client waits for it."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
from starlette.types import ASGIApp
from structlog.testing import capture_logs

from tests.web import stub
from tests.web.conftest import AUTHORIZATION


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def leave_during(request: bytes, port: int, calls: stub.Calls) -> None:
    """Send a request, wait until both of its fields are being resolved, and hang up."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await until(lambda: len(calls.started) == 2)
    assert calls.cancelled == []
    writer.close()
    await writer.wait_closed()


def head(line: str) -> str:
    return f"{line} HTTP/1.1\r\nHost: slipway\r\nAuthorization: {AUTHORIZATION['Authorization']}\r\n"


async def test_an_operation_by_post_is_cancelled_when_its_client_leaves(
    serve: Callable[[ASGIApp], Awaitable[int]], calls: stub.Calls
) -> None:
    port = await serve(stub.stub_application(calls))
    body = b'{"query": "{ waits waitsToo }"}'
    request = f"{head('POST /graphql')}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with capture_logs() as logs:
        await leave_during(request.encode() + body, port, calls)
        await until(lambda: len(calls.cancelled) == 2 and bool(logs))
    assert sorted(calls.cancelled) == ["waits", "waitsToo"]
    assert [(log["event"], log["status"]) for log in logs] == [("request", 499)]


async def test_an_operation_by_get_is_cancelled_when_its_client_leaves(
    serve: Callable[[ASGIApp], Awaitable[int]], calls: stub.Calls
) -> None:
    port = await serve(stub.stub_application(calls))
    await leave_during(f"{head('GET /graphql?query={waits+waitsToo}')}\r\n".encode(), port, calls)
    await until(lambda: len(calls.cancelled) == 2)


async def test_no_task_outlives_its_request(client: httpx.AsyncClient) -> None:
    before = asyncio.all_tasks()
    response = await client.post("/graphql", json={"query": "{ viewer }"})
    assert response.json() == {"data": {"viewer": "ada"}}
    assert asyncio.all_tasks() == before


async def test_a_server_that_stops_cancels_what_runs(calls: stub.Calls) -> None:
    transport = httpx.ASGITransport(stub.stub_application(calls))
    async with httpx.AsyncClient(transport=transport, base_url="http://slipway", headers=AUTHORIZATION) as client:
        request = asyncio.create_task(client.post("/graphql", json={"query": "{ waits waitsToo }"}))
        await until(lambda: len(calls.started) == 2)
        request.cancel()
        await asyncio.wait([request])
    assert request.cancelled()
    assert sorted(calls.cancelled) == ["waits", "waitsToo"]
