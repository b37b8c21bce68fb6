import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import uvicorn
import uvicorn.server
from starlette.types import ASGIApp

from app.web.transport import HttpProtocol
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
    """Start a real server on loopback; the answer is its port.

    It is uvicorn without its main loop, which looks ten times a second whether it should end: most of a short test.
    """
    listening: list[asyncio.Server] = []
    state = uvicorn.server.ServerState()
    state.default_headers = [(b"date", b"Thu, 26 Nov 2026 00:00:00 GMT")]

    async def start(app: ASGIApp) -> int:
        config = uvicorn.Config(app, log_config=None)
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)
        listening.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield start
    for server in listening:
        server.close()
    for connection in tuple(state.connections):
        connection.shutdown()
    async with asyncio.timeout(10):
        while state.connections or state.tasks:
            await asyncio.sleep(0.001)
