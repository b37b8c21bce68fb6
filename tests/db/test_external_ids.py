"""Ids as clients see them, worked out by the database."""

import random
from uuid import UUID

import asyncpg

from app.domain import ids


async def test_the_database_writes_ids_as_python_does(database_url: str) -> None:
    some = random.Random(7)  # noqa: S311  nothing secret
    values = [UUID(int=0), UUID(int=2**128 - 1), *(UUID(int=1 << bit) for bit in range(128))]
    values += [UUID(int=some.getrandbits(128)) for _ in range(500)]
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT slipway_external_id('art', id) FROM unnest($1::uuid[]) WITH ORDINALITY AS t (id, n) ORDER BY n",
            values,
        )
    finally:
        await connection.close()
    assert [row[0] for row in rows] == [ids.encode(ids.Kind.ARTIFACT, value) for value in values]
