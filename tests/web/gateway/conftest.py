import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import pytest
import uvloop

from app.web.application import application
from app.web.gateway.endpoints import Endpoints
from tests.web import stub
from tests.web.gateway.world import AUTHORIZATION, Replica, Serve, Slipway


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Servers run on uvloop, whose transports are not quite those of asyncio."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def slipway(serve: Serve) -> AsyncIterator[Slipway]:
    server = Slipway()
    endpoints = Endpoints(server.authenticate, server.find_addresses, server.traffic)

    async def check_health() -> Mapping[str, Any]:
        return {}

    graphql = stub.stub_application(stub.Calls())
    server.app = application(graphql=graphql, check_health=check_health, endpoints=endpoints)
    server.port = await serve(server.app)
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
