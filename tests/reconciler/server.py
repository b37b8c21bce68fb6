"""A server that is frozen or killed: a reconciler on a Docker engine, with leases of two seconds.

Its arguments: the database, the engine, and the installation. It prints a line once it works.
"""

import asyncio
import sys
from uuid import UUID

from structlog.testing import capture_logs

from app.db import database
from app.reconciler.cycle import Timing
from app.runtimes.docker import DockerRuntime
from tests.reconciler.world import reconciling

BRIEF = Timing(
    poll_seconds=0.05,
    lease_seconds=2.0,
    act_within_seconds=1.5,
    heartbeat_seconds=0.1,
    collect_seconds=0.2,
    waiting_seconds=0.5,
    retry_seconds=0.05,
)


async def main() -> None:
    dsn, host, installation = sys.argv[1:]
    # One that freezes in the middle of a transaction holds its rows until PostgreSQL ends the session.
    database.IDLE_TRANSACTION_TIMEOUT_SECONDS = database.TRANSACTION_TIMEOUT_SECONDS = 1
    runtime = DockerRuntime(host, UUID(installation), lambda _: None, grace_seconds=1.0)
    with capture_logs():  # nobody reads them
        async with reconciling(database.Database(dsn), runtime, timing=BRIEF):
            print("ready", flush=True)  # noqa: T201
            await asyncio.sleep(120)


if __name__ == "__main__":
    asyncio.run(main())
