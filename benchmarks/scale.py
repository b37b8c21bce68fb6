"""What a page of 20 artifacts costs among 10,000, 100,000 and 1,000,000, for each filter and order, first and deep.

Each time is that of the statement alone, as the server prepares and plans it, on one connection: the median of many.
The databases take turns, so that what else the machine does is no ratio.
"""

import asyncio
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import orjson
import typer

from app import main
from app.actions import people
from app.api import schema
from app.api.compiler.compiler import Compiler, Kind, Ready
from app.db import embedded, migrate
from app.db.database import Database
from app.domain.people import Viewer
from benchmarks import dataset

# Where the measurement and PostgreSQL take turns.
CORE = max(os.sched_getaffinity(0))
TURNS = 3
# Of each turn: a statement is run so often, or for so long.
TIMES_MAXIMUM, SECONDS = 10, 0.7
REMARKABLE = (
    *("Seq Scan on artifacts ", "Seq Scan on artifact_tags ", "Seq Scan on containers ", "Seq Scan on events "),
    "Sort Key",
)
PAGE = "nodes { id name status }"
# What a filter narrows to: something common, and something rare.
FILTERS: Mapping[str, str] = {
    "no filter": "",
    "createdBy, who made much": 'createdBy: ["{creator}"]',
    "createdBy, who made little": 'createdBy: ["{rare_creator}"]',
    "createdBy, of both": 'createdBy: ["{creator}", "{rare_creator}"]',
    "tags, common": 'tags: [{{name: "stage", values: ["production"]}}]',
    "tags, rare": 'tags: [{{name: "team", values: ["team-40"]}}]',
    "tags, two": 'tags: [{{name: "stage", values: ["test"]}}, {{name: "team", values: ["team-20"]}}]',
    "status LOCKED": "status: [LOCKED]",
    "type": "type: [SERVICE]",
    "image, common": 'image: "{image}"',
    "image, rare": 'image: "{rare_image}"',
    "image, a digest": f'image: "{dataset.DIGEST}"',
    "repositoryId": 'repositoryId: "{repository}"',
    "inUse": "inUse: true",
    "createdAt": 'createdAt: {{from: "2026-01-02T00:00:00Z"}}',
    "updatedAt": 'updatedAt: {{to: "2026-03-01T00:00:00Z"}}',
    "search, in many names": 'search: "amber"',
    "search, in one name": 'search: "-4321"',
    "search, in none": 'search: "nowhere"',
    "search, an id": 'search: "{id}"',
}
# The same of the history, which holds three lines for an artifact.
EVENT_FILTERS: Mapping[str, str] = {
    "events": "",
    "events, actor, who did much": 'actor: ["{creator}"]',
    "events, actor, who did little": 'actor: ["{rare_creator}"]',
    "events, kind": "kind: [ARTIFACT_LOCKED]",
    "events, two kinds": "kind: [ARTIFACT_LOCKED, WORKLOAD_CREATED]",
    "events, of an actor and a kind": 'actor: ["{creator}"], kind: [ARTIFACT_LOCKED]',
    "events, at": 'at: {{from: "2026-01-02T00:00:00Z"}}',
    "events, at, an hour": 'at: {{from: "2026-01-01T01:00:00Z", to: "2026-01-01T02:00:00Z"}}',
    "events, subjectId": 'subjectId: "{id}"',
}
EVENTS_PAGE = "nodes { id kind at }"
ORDERS = ("NAME", "STATUS", "VERSION", "CREATED_AT", "UPDATED_AT")


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A document, what it is called, and whether it begins in the middle of its list."""

    name: str
    document: str
    deep: bool
    page: str = PAGE


def cases(known: Mapping[str, str]) -> Iterator[Case]:
    """Everything that is measured. `{after}` stands for the cursor of a page deep in the list."""
    for field, page, narrowing in (("artifacts", PAGE, FILTERS), ("events", EVENTS_PAGE, EVENT_FILTERS)):
        for name, text in narrowing.items():
            for deep in (False, True):
                after = ', after: "{after}"' if deep else ""
                document = f"{{ {field}(first: 20, filter: {{{text.format(**known)}}}{after}) {{ {page} }} }}"
                yield Case(name, document, deep, page)
    for order in ORDERS:
        for direction in ("ASC", "DESC"):
            for deep in (False, True):
                after = ', after: "{after}"' if deep else ""
                arguments = f"first: 20, orderBy: {{field: {order}, direction: {direction}}}{after}"
                yield Case(f"by {order} {direction}", f"{{ artifacts({arguments}) {{ {PAGE} }} }}", deep)


class World:
    """A database that is filled, and three who ask."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.compiler = Compiler(schema.build())
        self.viewers: dict[str, Viewer] = {}
        self.known: dict[str, str] = {}
        self.connections: dict[str, asyncpg.Connection] = {}

    async def open(self) -> None:
        """Find out what there is to ask for."""
        connection = await asyncpg.connect(self.dsn)
        self.viewers = {username: await self._viewer(username) for username in ("reader", "newcomer", "root")}
        creators = [
            row[0]
            for row in await connection.fetch(
                """SELECT (SELECT external_id FROM users WHERE id = created_by_id) FROM artifacts
                GROUP BY created_by_id ORDER BY count(*) DESC"""
            )
        ]
        images = [
            row[0]
            for row in await connection.fetch("SELECT image_name FROM containers GROUP BY 1 ORDER BY count(*) DESC")
        ]
        self.known = {
            "creator": creators[0],
            "rare_creator": creators[-1],
            "image": images[0],
            "rare_image": images[-1],
            "repository": await connection.fetchval("SELECT external_id FROM repositories OFFSET 7 LIMIT 1"),
            "id": await connection.fetchval("SELECT external_id FROM artifacts OFFSET 77 LIMIT 1"),
        }
        await connection.close()

    async def _viewer(self, username: str) -> Viewer:
        """A user as the server knows them."""
        database = Database(self.dsn)
        secret = await people.issue_token(database, username, people.NewToken("benchmark"), main.now())
        viewer = await people.authenticate(database, secret, main.now())
        assert viewer is not None, username  # noqa: S101  the token is good
        viewer = await people.Reaches(database, time.monotonic)(viewer)
        await database.close()
        return viewer

    def ready(self, document: str, viewer: str) -> Ready:
        """What the server runs for a document."""
        found = self.compiler._make_ready(document, None, None, Kind.of(self.viewers[viewer]))  # noqa: SLF001
        assert found is not None, document  # noqa: S101  all of them can be compiled
        return found

    async def run(self, ready: Ready, viewer: str, prefix: str = "") -> Any:
        """The answer of a statement, or of one before which `prefix` stands: EXPLAIN."""
        plan = ready.statement.plan
        if plan not in self.connections:
            self.connections[plan] = await asyncpg.connect(
                self.dsn, server_settings=plan.server_settings, max_cacheable_statement_size=0
            )
            # To wake another core takes longer than to read a page.
            for process_id in (0, self.connections[plan].get_server_pid()):
                os.sched_setaffinity(process_id, {CORE})
        arguments = ready.parameters(self.viewers[viewer], main.now(), "http://slipway.test")
        return await self.connections[plan].fetch(prefix + ready.statement.sql, *arguments)

    async def deep_cursor(self, case: Case, viewer: str) -> str | None:
        """The cursor in the middle of the list of a case: of row 200,000, or of the half of what there is."""
        document = case.document.replace(', after: "{after}"', "").replace("first: 20", "first: 1")
        count = await self._answer(document.replace(case.page, "totalCount"), viewer)
        offset = min(200_000, count["totalCount"] // 2)
        if offset < 1:
            return None
        ready = self.ready(document.replace(case.page, "edges { cursor }"), viewer)
        head, _, rest = ready.statement.sql.rpartition(" LIMIT 1)")
        statement = dataclasses.replace(ready.statement, sql=f"{head} OFFSET {offset} LIMIT 1){rest}")
        [row] = await self.run(dataclasses.replace(ready, statement=statement), viewer)
        [found] = orjson.loads(row[0])["data"].values()
        cursor: str = found["edges"][0]["cursor"]
        return cursor

    async def _answer(self, document: str, viewer: str) -> Any:
        [row] = await self.run(self.ready(document, viewer), viewer)
        [found] = orjson.loads(row[0])["data"].values()
        return found

    async def ready_at(self, case: Case, viewer: str) -> Ready | None:
        """What the server runs for a case; None where its list has no middle."""
        if not case.deep:
            return self.ready(case.document, viewer)
        cursor = await self.deep_cursor(case, viewer)
        return None if cursor is None else self.ready(case.document.replace("{after}", cursor), viewer)

    async def plan(self, case: Case, viewer: str) -> str | None:
        """How PostgreSQL runs a case, once it has run it a few times; None where the list has no middle."""
        ready = await self.ready_at(case, viewer)
        if ready is None:
            return None
        for _ in range(6):
            await self.run(ready, viewer)
        return "\n".join(row[0] for row in await self.run(ready, viewer, "EXPLAIN "))

    async def times(self, ready: Ready, viewer: str) -> list[float]:
        """The seconds that a statement takes, several times."""
        times: list[float] = []
        begun = started = time.perf_counter()
        while len(times) < TIMES_MAXIMUM and started - begun < SECONDS:
            await self.run(ready, viewer)
            times.append(time.perf_counter() - started)
            started = time.perf_counter()
        return times

    async def close(self) -> None:
        """Let go of the database."""
        for connection in self.connections.values():
            await connection.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What a case takes a viewer in each database, NaN where its list has no middle, and what is in its plan."""

    case: Case
    viewer: str
    milliseconds: Sequence[float]
    remarkable: str


async def measured(dsns: Sequence[str], only: str) -> list[Row]:
    """Every case for every viewer."""
    worlds = [World(dsn) for dsn in dsns]
    for world in worlds:
        await world.open()
    found = []
    for same in zip(*(cases(world.known) for world in worlds), strict=True):
        if only in same[0].name:
            for viewer in worlds[0].viewers:
                plans = [await world.plan(case, viewer) for world, case in zip(worlds, same, strict=True)]
                remarkable = ", ".join(each.strip() for each in REMARKABLE if each in (plans[-1] or ""))
                found.append(Row(same[-1], viewer, await _milliseconds(worlds, same, viewer), remarkable))
    for world in worlds:
        await world.close()
    return found


async def _milliseconds(worlds: Sequence[World], same: Sequence[Case], viewer: str) -> list[float]:
    """The median times of one case in all worlds."""
    ready = [await world.ready_at(case, viewer) for world, case in zip(worlds, same, strict=True)]
    times: list[list[float]] = [[] for _ in worlds]
    for _ in range(TURNS):
        for world, each, seen in zip(worlds, ready, times, strict=True):
            seen.extend([] if each is None else await world.times(each, viewer))
    return [1000 * statistics.median(each) if each else float("nan") for each in times]


async def fill(dsn: str, artifacts: int) -> str:
    """A database with so many artifacts; answers its DSN."""
    name = f"scale{artifacts}"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    filled = dsn.replace("@/postgres?", f"@/{name}?")
    await migrate.upgrade(filled)
    begun = time.monotonic()
    await dataset.fill(filled, dataset.scale(artifacts))
    typer.echo(f"{artifacts:,} artifacts were filled in within {time.monotonic() - begun:.0f} s", err=True)
    return filled


def scale(
    sizes: Annotated[str, typer.Option(help="How many artifacts, the least first.")] = "10000,100000,1000000",
    only: Annotated[str, typer.Option(help="Only the cases with this in their names.")] = "",
) -> None:
    """Print the table."""
    numbers = [int(each) for each in sizes.split(",")]
    directory = Path(tempfile.mkdtemp(prefix="slipway-scale-"))
    directory.chmod(0o711)  # PostgreSQL's user passes here
    server = embedded.start(directory, durable=False)
    try:
        found = asyncio.run(measured([asyncio.run(fill(server.dsn, number)) for number in numbers], only))
    finally:
        server.stop()
        shutil.rmtree(directory)
    report(numbers, found)


def report(numbers: Sequence[int], found: Sequence[Row]) -> None:
    """The table, as Markdown."""
    typer.echo("| page | who | " + " | ".join(f"{number:,}" for number in numbers) + " | last / first | in the plan |")
    typer.echo("|---|---|" + "--:|" * (len(numbers) + 1) + "---|")
    for row in found:
        first, *_, last = row.milliseconds
        cells = " | ".join(f"{each:.2f} ms" for each in row.milliseconds)
        page = f"{row.case.name}, deep" if row.case.deep else row.case.name
        typer.echo(f"| {page} | {row.viewer} | {cells} | {last / first:.2f} | {row.remarkable} |")


if __name__ == "__main__":
    typer.run(scale)
