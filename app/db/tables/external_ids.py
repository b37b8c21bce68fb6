"""Ids as clients see them, stored beside the rows: see `app.domain.ids`.

An id is in nearly every answer, and to work one out takes PostgreSQL 1.5 microseconds: as much as all other fields of a
row together. The database keeps the column by itself; only statements that answer with text read it.
"""

from typing import Any

from sqlalchemy import DDL, Column, Computed, Text, event
from sqlmodel import SQLModel

from app.domain.ids import ALPHABET, Kind

COLUMN = "external_id"
# Rows are read without it: it would have to be read back after each change.
UNMAPPED: dict[str, Any] = {"exclude_properties": {COLUMN}}

_PAIRS = "".join(first + second for first in ALPHABET for second in ALPHABET)


def _pair(number: int) -> str:
    """Two characters of an id, from ten bits of its 130: the first two are 0."""
    first_bit = 10 * number - 2
    last_byte = (first_bit + 9) // 8
    bytes_read = range(max(first_bit, 0) // 8, last_byte + 1)
    bits = " + ".join(f"(get_byte(uuid_send($2), {each}) << {8 * (last_byte - each)})" for each in bytes_read)
    return f"substr(pairs, (((({bits}) >> {8 * last_byte - first_bit - 2}) & 1023) << 1) + 1, 2)"


FUNCTION = f"""
CREATE OR REPLACE FUNCTION slipway_external_id(text, uuid) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
SELECT $1 || '_' || encode({" || ".join(_pair(number) for number in range(13))}, 'escape')
FROM (VALUES ('{_PAIRS}'::bytea)) AS characters (pairs)
$$
"""  # noqa: S608  made of constants


def external_id(kind: Kind) -> Column[str]:
    """The column, for the table of a kind."""
    return Column(COLUMN, Text, Computed(f"slipway_external_id('{kind}'::text, id)", persisted=True), nullable=False)


event.listen(SQLModel.metadata, "before_create", DDL(FUNCTION))  # type: ignore[no-untyped-call]  # SQLAlchemy has no type for it
