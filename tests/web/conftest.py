import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from tests.web import stub

AUTHORIZATION = {"Authorization": f"Bearer {stub.TOKEN}"}


@pytest.fixture
def calls() -> stub.Calls:
    return stub.Calls()


@pytest.fixture
async def client(calls: stub.Calls) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with a token, in front of the stub."""
    transport = httpx.ASGITransport(stub.stub_application(calls))
    async with httpx.AsyncClient(transport=transport, base_url="http://slipway", headers=AUTHORIZATION) as client:
        yield client


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[ASGIApp], Awaitable[int]]]:
    """Start a real server on loopback; the answer is its port."""
    running: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def start(app: ASGIApp) -> int:
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, access_log=False, log_config=None, lifespan="off")
        )
        task = asyncio.create_task(server.serve())
        running.append((server, task))
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
        port: int = server.servers[0].sockets[0].getsockname()[1]
        return port

    yield start
    for server, _ in running:
        server.should_exit = True
    await asyncio.gather(*(task for _, task in running))
