"""A connection of the reconciler's own: it hears of work, and holds the lock of a runtime that only one may drive."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from app.db.writes import RECONCILE_CHANNEL

COMMAND_TIMEOUT_SECONDS = 5.0
# "slip" in ASCII: the first key of the advisory locks of runtimes; the second is a hash of the runtime's name.
LOCK_CLASS = int.from_bytes(b"slip")


class ConnectionLost(Exception):
    """The connection is gone, and the lock with it: another reconciler may have it by now."""


class Line:
    """The connection, from `connect` to `close`. A lock that was taken on it lasts as long as it does."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lost = asyncio.Event()
        connection.add_termination_listener(lambda _: self._lost.set())

    @classmethod
    async def connect(cls, dsn: str, heard: Callable[[], None]) -> "Line":
        """Connect and listen. `heard` is called when an action wants something of a workload."""
        connection = await asyncpg.connect(
            dsn,
            timeout=COMMAND_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings={"application_name": "slipway reconciler", "idle_session_timeout": "0"},
        )
        line = cls(connection)
        await connection.add_listener(RECONCILE_CHANNEL, lambda *_: heard())
        return line

    async def take(self, runtime: str) -> bool:
        """Try to become the one that drives this runtime on this database."""
        taken: bool = await self._connection.fetchval(
            "SELECT pg_try_advisory_lock($1, hashtext($2))", LOCK_CLASS, runtime
        )
        return taken

    async def check(self) -> None:
        """Make sure that the connection lives.

        Raises:
            ConnectionLost: it does not, or does not answer in time.
        """
        try:
            await self._connection.fetchval("SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ConnectionLost("The reconciler's connection to PostgreSQL does not answer.") from error

    async def wait_until_lost(self) -> None:
        """Wait for the end of the connection.

        Raises:
            ConnectionLost: always.
        """
        await self._lost.wait()
        raise ConnectionLost("PostgreSQL has closed the reconciler's connection.")

    def close(self) -> None:
        """Cut the connection, and give back the lock with it."""
        self._connection.terminate()
