"""Brings a database to the newest migration. Two servers that start together take turns."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import app
from app.db.database import sqlalchemy_url

# "slipway" in ASCII: the advisory lock that migrations run under.
MIGRATION_LOCK = int.from_bytes(b"slipway")
MINIMUM_SERVER_VERSION = 150_000


def migrations_directory() -> Path:
    """Where the migrations are: inside the installed package, or beside it in a checkout."""
    package = Path(app.__file__).parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration; `connection` is handed to `migrations/env.py`."""
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


async def upgrade(dsn: str) -> None:
    """Run every migration that the database lacks, in one transaction, under an advisory lock.

    Raises:
        RuntimeError: the server is older than PostgreSQL 15.
    """
    engine = create_async_engine(sqlalchemy_url(dsn), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            version = await connection.scalar(text("SELECT current_setting('server_version_num')::int"))
            if version is None or version < MINIMUM_SERVER_VERSION:
                message = f"DATABASE_URL: PostgreSQL 15 or newer is needed, this server says {version}"
                raise RuntimeError(message)
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            await connection.run_sync(lambda each: command.upgrade(configuration(each), "head"))
    finally:
        await engine.dispose()
