"""The service that is asked: a small Starlette application on uvicorn, as thousands are deployed.

`/` answers some JSON at once, which is the hardest on a gateway; `/wait` after 10 ms, as if it had asked a database.
"""

import asyncio
import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

WAIT_SECONDS = 0.010
PORT = int(os.environ["PORT"])
ITEMS = [{"id": number, "name": f"item {number}", "price": 1.5 * number, "tags": ["a", "b"]} for number in range(12)]
ANSWER = {"port": PORT, "items": ITEMS}


async def at_once(_: Request) -> JSONResponse:
    """About 700 bytes."""
    return JSONResponse(ANSWER)


async def after_a_wait(_: Request) -> JSONResponse:
    """The same, later."""
    await asyncio.sleep(WAIT_SECONDS)
    return JSONResponse(ANSWER)


app = Starlette(routes=[Route("/", at_once), Route("/wait", after_a_wait)])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_config=None)
