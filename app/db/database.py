"""The way to PostgreSQL: reads of one statement each, transactions with the only commit, and answers that are text.

Statements that answer with text go past SQLAlchemy, on connections of their own.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

STATEMENT_TIMEOUT_SECONDS = 30
# A server that freezes in the middle of a transaction is not to hold its rows for longer than a lease. There are two
# limits: one for when the client owes a statement, and since PostgreSQL 17 one that also ends half a statement.
IDLE_TRANSACTION_TIMEOUT_SECONDS = 20
TRANSACTION_TIMEOUT_SECONDS = 30
POOL_SIZE = 10
POOL_OVERFLOW = 10
POOL_TIMEOUT_SECONDS = 10
# A statement that answers with text is as long as the document that it stands for is rich.
STATEMENT_MAXIMUM_BYTES = 200_000
SERVER_SETTINGS = {
    "application_name": "slipway",
    "timezone": "UTC",
    "statement_timeout": str(STATEMENT_TIMEOUT_SECONDS * 1000),
    "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_TIMEOUT_SECONDS * 1000),
}


class Plan(StrEnum):
    """How PostgreSQL plans a statement: once for all arguments, or for these, where it finds that to be worth it.

    https://www.postgresql.org/docs/current/runtime-config-query.html#GUC-PLAN-CACHE-MODE
    """

    ONCE = "force_generic_plan"
    BY_ARGUMENTS = "auto"


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
        self._pools: dict[str, asyncpg.Pool] = {}
        self._opening = asyncio.Lock()

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

    async def fetch_bytes(self, statement: str, *arguments: Any, plan: Plan) -> bytes:
        """The one value of a statement that answers with text.

        Raises:
            asyncpg.QueryCanceledError: it took longer than a statement may.
            asyncpg.PostgresError, asyncpg.InterfaceError, ValueError: the statement or an argument can't be used.
        """
        pool = self._pools.get(plan) or await self._open(plan)
        async with pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
            found: bytes = await connection.fetchval(statement, *arguments)
        return found

    async def _open(self, plan: Plan) -> asyncpg.Pool:
        async with self._opening:
            if plan not in self._pools:
                self._pools[plan] = await asyncpg.create_pool(
                    self.dsn,
                    connection_class=_Stateless,
                    min_size=1,
                    max_size=POOL_SIZE,
                    init=_keep_buffers,
                    max_cacheable_statement_size=STATEMENT_MAXIMUM_BYTES,
                    # Compiling a plan to machine code takes longer than any of these runs.
                    server_settings={**SERVER_SETTINGS, "jit": "off", "plan_cache_mode": plan.value},
                )
            return self._pools[plan]

    async def close(self) -> None:
        """Close every connection of the pools."""
        for pool in self._pools.values():
            await pool.close()
        await self.engine.dispose()


class _Stateless(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection on which nothing is ever set, so that nothing has to be reset: a round trip less."""

    def get_reset_query(self) -> str:
        """What is run when the connection goes back to the pool."""
        return ""


async def _keep_buffers(connection: asyncpg.Connection) -> None:
    """A backend gives large buffers back to the kernel after each statement, until it was seen to want them again."""
    await connection.fetchval("SELECT length(repeat('x', 16000000))")


def _limit_transactions(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(
        f"SELECT set_config('transaction_timeout', '{TRANSACTION_TIMEOUT_SECONDS}s', false)"
        " WHERE current_setting('server_version_num')::int >= 170000"
    )
    cursor.close()
    connection.commit()
