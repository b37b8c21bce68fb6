"""The way to PostgreSQL: one pool, reads of one statement each, and transactions with the only commit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

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
            connect_args={
                "server_settings": {
                    "application_name": "slipway",
                    "timezone": "UTC",
                    "statement_timeout": str(STATEMENT_TIMEOUT_SECONDS * 1000),
                    "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_TIMEOUT_SECONDS * 1000),
                },
            },
        )
        event.listen(self.engine.sync_engine, "connect", _limit_transactions)
        self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")

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

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self.engine.dispose()


def _limit_transactions(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(
        f"SELECT set_config('transaction_timeout', '{TRANSACTION_TIMEOUT_SECONDS}s', false)"
        " WHERE current_setting('server_version_num')::int >= 170000"
    )
    cursor.close()
    connection.commit()
