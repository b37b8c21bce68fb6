"""The way to PostgreSQL: reads of one statement each, transactions with the only commit, and answers that are text.

Statements that answer with text go past SQLAlchemy, on connections of their own.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db.gathering import Gathering, Together

STATEMENT_TIMEOUT_SECONDS = 30
# A server that freezes in the middle of a transaction is not to hold its rows for longer than a lease. There are two
# limits: one for when the client owes a statement, and since PostgreSQL 17 one that also ends half a statement.
IDLE_TRANSACTION_TIMEOUT_SECONDS = 20
TRANSACTION_TIMEOUT_SECONDS = 30
POOL_SIZE = 10
POOL_OVERFLOW = 10
POOL_TIMEOUT_SECONDS = 10
# What a connection keeps of statements that answer with text: PostgreSQL holds a plan for each, many times as large.
STATEMENTS_PREPARED_MAXIMUM = 64
PREPARED_MAXIMUM_BYTES = 32_768
# What is asked for is in memory: to fetch a page costs little against what is done with its rows, and no more where the
# next one is elsewhere. https://www.postgresql.org/docs/current/runtime-config-query.html#GUC-RANDOM-PAGE-COST
PAGE_COSTS = {"seq_page_cost": "0.1", "random_page_cost": "0.1"}
SERVER_SETTINGS = {
    "application_name": "slipway",
    "timezone": "UTC",
    "statement_timeout": str(STATEMENT_TIMEOUT_SECONDS * 1000),
    "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_TIMEOUT_SECONDS * 1000),
    # The list of all that is shared with a viewer is kept as a hash where it fits in twice of this, which is so for a
    # million and a half grants; otherwise it would be read anew for each row.
    "work_mem": "32MB",
}


class Plan(StrEnum):
    """How PostgreSQL plans a statement: once for all arguments, or each time for these.

    Left to itself it takes the plan for all where that looks cheaper on average, and walks through a million rows to
    find the one that a rare value has.

    https://www.postgresql.org/docs/current/runtime-config-query.html#GUC-PLAN-CACHE-MODE
    """

    ONCE = "force_generic_plan"
    BY_ARGUMENTS = "force_custom_plan"

    @property
    def server_settings(self) -> dict[str, str]:
        """What a connection is opened with, for statements that are planned so."""
        return {
            **SERVER_SETTINGS,
            "jit": "off",  # compiling a plan to machine code takes longer than any of these runs
            # It makes room for all rows of a list, half a million, before a page of them is read: that takes 0.6 ms.
            "enable_memoize": "off",
            "plan_cache_mode": self.value,
            **PAGE_COSTS,
        }


def sqlalchemy_url(dsn: str) -> str:
    """The same address for SQLAlchemy's asyncpg dialect: `postgres://…` and `postgresql://…` are both understood."""
    _, separator, rest = dsn.partition("://")
    return f"postgresql+asyncpg{separator}{rest}"


class Database:
    """A pool of connections to one database. Give it back with `close`."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(dsn),
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            pool_pre_ping=False,
            connect_args={"server_settings": SERVER_SETTINGS},
        )
        event.listen(self.engine.sync_engine, "connect", _limit_transactions)
        self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._texts = {plan: _Connections(dsn, plan) for plan in Plan}
        self._gatherings = {plan: Gathering(connections) for plan, connections in self._texts.items()}

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A short session for reads. Each statement stands alone: no transaction, no extra round trip."""
        async with AsyncSession(self._reading, expire_on_commit=False, autoflush=False) as session:
            yield session

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One action: committed at the end, rolled back by any exception. Nothing else in the code commits."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session
            await session.commit()

    async def fetch_bytes(
        self, statement: str, arguments: Sequence[Any], *, plan: Plan, together: Together | None = None
    ) -> bytes | None:
        """The one value of a statement that answers with text; None: it is NULL.

        `together`: how the same is asked for many.

        Raises:
            asyncpg.QueryCanceledError: it took longer than a statement may.
            asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError, OSError: the
                statement or an argument can't be used, or the connection.
        """
        found: bytes | None
        if together is None:
            [(found,)] = await self._texts[plan].fetch(statement, arguments)
        else:
            found = await self._gatherings[plan].fetch_value(statement, arguments, together)
        return found

    async def close(self) -> None:
        """Close every connection of the pools."""
        for connections in self._texts.values():
            await connections.close()
        await self.engine.dispose()


class _Connections:
    """Connections for statements that stand alone: one after the other on each, so many at once.

    asyncpg's own pool makes a task and a timer for each statement, which costs more than the rest of it.
    """

    def __init__(self, dsn: str, plan: Plan) -> None:
        self._dsn = dsn
        self._plan = plan
        self._idle: list[asyncpg.Connection] = []
        self._slots = asyncio.Semaphore(POOL_SIZE)

    async def fetch(self, statement: str, arguments: Sequence[Any]) -> Sequence[asyncpg.Record]:
        if self._slots.locked():
            async with asyncio.timeout(POOL_TIMEOUT_SECONDS):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        connection: asyncpg.Connection | None = None
        try:
            while connection is None and self._idle:
                connection = self._idle.pop()
                connection = None if connection.is_closed() else connection
            connection = connection or await self._connect()
            return await connection.fetch(statement, *arguments)  # type: ignore[no-any-return]  # asyncpg has no types
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            # Cut, maybe in the middle: nobody knows what it would say next.
            if connection is not None:
                connection.terminate()
            raise
        finally:
            # One whose statement was cancelled is told so, and waits for it before the next.
            if connection is not None and not connection.is_closed():
                self._idle.append(connection)
            self._slots.release()

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            self._dsn,
            statement_cache_size=STATEMENTS_PREPARED_MAXIMUM,
            max_cacheable_statement_size=PREPARED_MAXIMUM_BYTES,
            server_settings=self._plan.server_settings,
        )
        # A backend gives large buffers back to the kernel after each statement, until it was seen to want them again.
        await connection.fetchval("SELECT length(repeat('x', 16000000))")
        return connection

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()


def _limit_transactions(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(
        f"SELECT set_config('transaction_timeout', '{TRANSACTION_TIMEOUT_SECONDS}s', false)"
        " WHERE current_setting('server_version_num')::int >= 170000"
    )
    cursor.close()
    connection.commit()
