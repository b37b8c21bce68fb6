"""The migrations make what the tables say, whoever runs them, and however often."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.db import database, migrate, tables
from tests.conftest import database_dsn, execute


@pytest.fixture
async def empty_database_url(postgresql_dsn: str) -> AsyncIterator[str]:
    """A database in which nothing was made."""
    await execute(postgresql_dsn, "CREATE DATABASE empty TEMPLATE template0 STRATEGY FILE_COPY")
    yield database_dsn(postgresql_dsn, "empty")
    await execute(postgresql_dsn, "DROP DATABASE empty WITH (FORCE)")


async def run(dsn: str, work: Any) -> Any:
    """Something that SQLAlchemy does on a connection."""
    engine = create_async_engine(database.sqlalchemy_url(dsn), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def fetch(dsn: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def shape(dsn: str) -> Mapping[str, Any]:
    """Everything in the schema, as PostgreSQL prints it, by what kind it is."""
    queries = {
        "columns": "SELECT table_name, column_name, udt_name, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1, 2",
        "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
        "enums": "SELECT typname, array_agg(enumlabel ORDER BY enumsortorder)::text FROM pg_enum"
        " JOIN pg_type ON pg_type.oid = enumtypid GROUP BY 1 ORDER BY 1",
        "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
        "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE NOT tgisinternal ORDER BY 1, 2",
        "types": "SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace ORDER BY 1",
    }
    return {name: await fetch(dsn, query) for name, query in queries.items()}


def without_alembic(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the migrations made, without the table that says how far they are."""
    return {kind: [row for row in rows if "alembic_version" not in row[0]] for kind, rows in found.items()}


async def test_alembic_finds_no_difference(database_url: str) -> None:
    def differences(connection: Connection) -> Any:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": tables.metadata}
        )
        return compare_metadata(context, tables.metadata)

    assert await run(database_url, differences) == []


async def test_the_tables_made_directly_are_the_migrated_ones(database_url: str, empty_database_url: str) -> None:
    """Enums in their order, check constraints, partial and expression indexes: as PostgreSQL itself prints them."""
    await run(empty_database_url, tables.metadata.create_all)
    migrated, made = without_alembic(await shape(database_url)), await shape(empty_database_url)
    for kind in ("columns", "constraints", "indexes", "enums", "types"):
        assert migrated[kind] == made[kind], kind


async def test_enums_are_those_of_the_domain_in_their_order(database_url: str) -> None:
    stored = dict(
        await fetch(
            database_url,
            "SELECT typname, array_agg(enumlabel ORDER BY enumsortorder)::text[] FROM pg_enum"
            " JOIN pg_type ON pg_type.oid = enumtypid GROUP BY 1",
        )
    )
    declared = {
        column.type.name: [member.value for member in column.type.enum_class]
        for table in tables.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sqlalchemy.Enum) and column.type.enum_class is not None
    }
    assert stored == declared


async def test_every_declared_check_and_partial_index_is_there(database_url: str) -> None:
    found = await shape(database_url)
    checks = {name for _, name, definition in found["constraints"] if definition.startswith("CHECK")}
    assert checks == {
        str(constraint.name)
        for table in tables.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    partial = {name for _, name, definition in found["indexes"] if " WHERE " in definition}
    assert partial == {
        str(index.name)
        for table in tables.metadata.tables.values()
        for index in table.indexes
        if index.dialect_options["postgresql"]["where"] is not None
    }


async def test_up_down_up(empty_database_url: str, database_url: str) -> None:
    nothing = await shape(empty_database_url)
    await migrate.upgrade(empty_database_url)
    once = await shape(empty_database_url)
    assert once == await shape(database_url)
    assert once["triggers"]
    assert once["functions"]
    await run(empty_database_url, lambda each: command.downgrade(migrate.configuration(each), "base"))
    assert without_alembic(await shape(empty_database_url)) == nothing
    await migrate.upgrade(empty_database_url)
    assert await shape(empty_database_url) == once


async def test_servers_that_migrate_at_once_take_turns(empty_database_url: str, database_url: str) -> None:
    await asyncio.gather(*(migrate.upgrade(empty_database_url) for _ in range(4)))
    assert await shape(empty_database_url) == await shape(database_url)


async def test_a_server_waits_for_the_one_that_migrates(empty_database_url: str) -> None:
    holder = await asyncpg.connect(empty_database_url)
    await holder.execute("SELECT pg_advisory_lock($1)", migrate.MIGRATION_LOCK)
    waiting = asyncio.create_task(migrate.upgrade(empty_database_url))
    async with asyncio.timeout(10):
        while not await holder.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
        ):
            await asyncio.sleep(0.005)
    assert await holder.fetchval("SELECT to_regclass('alembic_version')") is None
    await holder.close()
    await waiting
    found = await fetch(empty_database_url, "SELECT version_num FROM alembic_version")
    assert found == [("2026_11_27_events",)]


async def test_an_up_to_date_database_is_not_touched(postgresql_dsn: str, database_url: str) -> None:
    """A start against a database that takes no writes, as during a failover, succeeds when there is nothing to do."""
    found = re.search(r"/(test_\d+)\?", database_url)
    assert found is not None
    await execute(postgresql_dsn, f"ALTER DATABASE {found[1]} SET default_transaction_read_only = on")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await execute(database_url, "CREATE TABLE more ()")
    await migrate.upgrade(database_url)


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    await execute(empty_database_url, "CREATE FUNCTION slipway_guard_artifact() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    before = await shape(empty_database_url)
    with pytest.raises(sqlalchemy.exc.ProgrammingError, match="already exists"):
        await migrate.upgrade(empty_database_url)
    assert await shape(empty_database_url) == before


@pytest.mark.parametrize(("version", "accepted"), [(140_011, False), (149_999, False), (150_000, True)])
async def test_an_old_server_is_refused_with_a_sentence(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, version: int, accepted: bool
) -> None:
    """Only the answer about the version is made up."""

    def answer(statement: str) -> Any:
        if "server_version_num" in statement:
            return text(f"SELECT {version}")
        return text(statement)

    monkeypatch.setattr(migrate, "text", answer)
    if accepted:
        await migrate.upgrade(empty_database_url)
        return
    with pytest.raises(RuntimeError, match=rf"^DATABASE_URL: PostgreSQL 15 or newer is needed, .*{version}"):
        await migrate.upgrade(empty_database_url)
    assert (await shape(empty_database_url))["types"] == []
