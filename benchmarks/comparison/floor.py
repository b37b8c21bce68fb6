"""The floor: a bare endpoint for each query, that runs SQL written by hand. Run with uvicorn."""

import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.domain import ids
from benchmarks.comparison.queries import STATEMENTS

VIEWER = """SELECT u.id, array(SELECT group_name FROM group_members WHERE user_id = u.id) AS groups FROM api_tokens t
    JOIN users u ON u.id = t.user_id WHERE t.secret_sha256 = $1 AND (t.expires_at IS NULL OR t.expires_at > now())"""
REMEMBERED_SECONDS = 1.0


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection on which nothing is set."""

    def get_reset_query(self) -> str:
        """Nothing has to be reset."""
        return ""


class Floor:
    """The pools, and who was seen.

    What looks for values is planned for them each time: a plan for all takes up to a second among a million artifacts.
    """

    def __init__(self) -> None:
        self.pool: Any = None
        self.pool_by_values: Any = None
        self.viewers: dict[str, tuple[float, Any]] = {}

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Open the pools."""
        async with _pool("force_generic_plan") as self.pool, _pool("force_custom_plan") as self.pool_by_values:
            yield

    async def viewer(self, request: Request) -> Any:
        """Who asks, remembered for a second."""
        secret = request.headers["authorization"].removeprefix("Bearer ")
        seen = self.viewers.get(secret)
        if seen is None or seen[0] < time.monotonic() - REMEMBERED_SECONDS:
            row = await self.pool.fetchrow(VIEWER, hashlib.sha256(secret.encode()).digest())
            seen = self.viewers[secret] = (time.monotonic(), (row["id"], row["groups"]))
        return seen[1]

    async def answer(self, request: Request) -> Response:
        """Run the statement of the query that the path names."""
        name = request.path_params["name"]
        variables = orjson.loads(await request.body()).get("variables") or {}
        arguments: list[Any] = []
        if name == "Q3":
            arguments = [ids.decode_as(ids.Kind.ARTIFACT, variables["id"])]
        elif name == "Q4":
            wanted = variables["filter"]
            [tag] = wanted["tags"]
            [creator], [value] = wanted["createdBy"], tag["values"]
            arguments = [ids.decode_as(ids.Kind.USER, creator), tag["name"], value]
        viewer = await self.viewer(request)
        pool = self.pool_by_values if name == "Q4" else self.pool
        return Response(await pool.fetchval(STATEMENTS[name], *viewer, *arguments), media_type="application/json")


def _pool(plan_cache_mode: str) -> Any:
    return asyncpg.create_pool(
        os.environ["DATABASE_URL"],
        max_size=10,
        connection_class=Connection,
        init=lambda connection: connection.fetchval("SELECT length(repeat('x', 16000000))"),
        server_settings={
            "timezone": "UTC",
            "jit": "off",
            "enable_memoize": "off",
            "plan_cache_mode": plan_cache_mode,
        },
    )


floor = Floor()
app = Starlette(routes=[Route("/{name}", floor.answer, methods=["POST"])], lifespan=floor.lifespan)
