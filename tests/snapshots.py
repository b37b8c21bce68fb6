"""Every row of every table, to see that nothing changed, and to put back what did."""

import json
from collections import Counter
from typing import Any

from sqlalchemy import delete, text

from app.db import tables
from tests import harness

# What a mutation under test leaves alone; `last_used_at` moves with every request.
_KEPT = {"users", "groups", "group_members", "api_tokens", "runtimes"}
_NAMES = [table.name for table in tables.metadata.sorted_tables]
_ROW = "to_jsonb(stored) - 'last_used_at'"
_PARTS = ", ".join(
    f"'{name}', (SELECT coalesce(jsonb_agg({_ROW} ORDER BY ({_ROW})::text), '[]') FROM {name} stored)"  # noqa: S608 - our own names
    for name in _NAMES
)
_DUMP = text(f"SELECT jsonb_build_object({_PARTS})::text")


async def dump(slipway: harness.Slipway) -> str:
    """All rows, as one JSON text: {table: [row, …]}."""
    async with slipway.session() as session:
        found: str = (await (await session.connection()).execute(_DUMP)).scalar_one()
    return found


async def restore(slipway: harness.Slipway, dumped: str) -> None:
    """Put all rows back, past every guard: the tests' own rewind."""
    stored = json.loads(dumped)
    async with slipway.session() as session:
        connection = await session.connection()
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for name in _NAMES:
            if name in _KEPT:
                continue
            await connection.execute(delete(tables.metadata.tables[name]))
            if stored[name]:
                rows = f"jsonb_populate_recordset(CAST(NULL AS {name}), CAST(:rows AS jsonb))"
                stored_columns = (each for each in tables.metadata.tables[name].columns if each.computed is None)
                columns = ", ".join(f'"{each.name}"' for each in stored_columns)
                insert = text(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {rows}")  # noqa: S608 - our own names
                await connection.execute(insert, {"rows": json.dumps(stored[name])})


def changes(before: str, after: str) -> dict[str, Any]:
    """What an action did.

    The kinds of its events in order, by how much each kind of thing grew its revision, and where the workloads that
    were there before stand now, and what is wanted of them, where that changed.
    """
    old, new = json.loads(before), json.loads(after)
    known = {event["id"] for event in old["events"]}
    written = sorted((event for event in new["events"] if event["id"] not in known), key=lambda event: event["id"])
    revisions: Counter[str] = Counter()
    for name in ("repositories", "artifacts", "workloads"):
        stood = {row["id"]: row["revision"] for row in old[name]}
        for row in new[name]:
            revisions[name] += row["revision"] - stood.get(row["id"], row["revision"])
    stood = {row["id"]: (row["status"], row["wanted"]) for row in old["workloads"]}
    stand = [(row["id"], (row["status"], row["wanted"])) for row in new["workloads"]]
    moved = [f"{now[0]}, to be {now[1]}" for each, now in stand if stood.get(each, now) != now]
    return {"events": [event["kind"] for event in written], "revisions": dict(+revisions), "moved": moved}
