"""Requests per second of all servers for each query, in rounds that take turns, after all have answered the same.

The compiler is switched off for turns of their own, which last longer: so slow a server answers nothing in a short one,
and works on for a while when those who asked are gone.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import httpx
import typer

from app.db import embedded, migrate
from app.db.database import PAGE_COSTS
from benchmarks import dataset
from benchmarks.comparison.queries import DOCUMENTS, TITLES
from benchmarks.load import ask
from benchmarks.server import eventually, serving

HERE = Path(__file__).parent
NODE = HERE / "node_modules" / ".bin" / "node"
ROOT = HERE.parent.parent
PEERS = {"Mercurius, JIT": "mercurius.mjs", "Apollo Server 5": "apollo.mjs", "PostGraphile 5": "postgraphile.mjs"}
# Below that a rate is told with a decimal.
SMALL = 10
# Each query has much to answer: an empty list would prove nothing.
ANSWER_MINIMUM_LENGTH = 1_000
# More than what Slipway remembers of small requests.
ARTIFACTS_ASKED = 2_500
# How long the turn lasts with the compiler off.
OFF_SECONDS = 30
OURS, OFF, FLOOR = "Slipway", "Slipway, compiler off", "SQL by hand"


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """The database, who asks, and the variables of the queries."""

    dsn: str
    token: str
    variables: Mapping[str, Sequence[Mapping[str, Any]]]

    def bodies(self, name: str) -> Sequence[bytes]:
        """What is sent for a query, in turn."""
        query = DOCUMENTS[name]
        return [json.dumps({"query": query, "variables": each}).encode() for each in self.variables[name]]


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A PostgreSQL that is filled."""
    directory = Path(tempfile.mkdtemp(prefix="slipway-comparison-"))
    directory.chmod(0o711)  # PostgreSQL's user passes here
    server = embedded.start(directory, durable=False)
    try:
        yield asyncio.run(_fill(server.dsn))
    finally:
        server.stop()
        shutil.rmtree(directory)


async def _fill(dsn: str) -> World:
    await migrate.upgrade(dsn)
    tokens = await dataset.fill(dsn, dataset.COMPARISON)
    connection = await asyncpg.connect(dsn)
    try:
        # For all who connect: what the server sets for itself.
        for name, value in PAGE_COSTS.items():
            await connection.execute(f"ALTER DATABASE postgres SET {name} = {value}")
        shared = await connection.fetch(
            """SELECT external_id FROM artifacts WHERE repository_id IN (SELECT repository_id FROM repository_grants
            WHERE group_name = 'staff') ORDER BY md5(external_id) LIMIT $1""",
            ARTIFACTS_ASKED,
        )
        creator = await connection.fetchval(
            """SELECT users.external_id FROM users JOIN artifacts ON created_by_id = users.id
            GROUP BY users.external_id ORDER BY count(*) DESC LIMIT 1"""
        )
    finally:
        await connection.close()
    wanted = {"createdBy": [creator], "tags": [{"name": "stage", "values": ["production"]}]}
    artifacts = [{"id": row["external_id"]} for row in shared]
    variables: dict[str, list[dict[str, Any]]] = {"Q1": [{}], "Q2": [{}], "Q3": artifacts, "Q4": [{"filter": wanted}]}
    return World(dsn, tokens.reader, variables)


@contextlib.contextmanager
def started(arguments: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[None]:
    """A process that listens on this port."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output)

        def told() -> str:
            output.seek(0)
            return output.read()

        try:
            eventually(lambda: _listens(port), told)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def servers(given: World, *, peers: bool) -> Iterator[Mapping[str, str]]:
    """All servers, idle beside each other: what each is called, and where it answers (`{}`: the query's name)."""
    common = {
        "DATABASE_URL": given.dsn,
        "SLIPWAY_RUNTIME": "process",
        "SLIPWAY_LOG_LEVEL": "warning",  # nobody else writes a line for each request
        "SLIPWAY_ENCRYPTION_KEY": b64encode(secrets.token_bytes(32)).decode(),
    }
    with contextlib.ExitStack() as stack:
        found = {}
        for name, compiler in ((OURS, "on"), (OFF, "off")):
            server = stack.enter_context(serving({**common, "SLIPWAY_COMPILER": compiler}))
            found[name] = f"{server.url}/graphql"
        port = _free_port()
        uvicorn = [sys.executable, "-m", "uvicorn", "benchmarks.comparison.floor:app", "--port", str(port)]
        options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        stack.enter_context(started([*uvicorn, *options], {"DATABASE_URL": given.dsn}, port))
        found[FLOOR] = f"http://127.0.0.1:{port}/{{}}"
        for name, script in PEERS.items() if peers else ():
            port = _free_port()
            production = {"NODE_ENV": "production", "GRAPHILE_ENV": "production"}
            environment = {"DATABASE_URL": given.dsn, "PORT": str(port), **production}
            stack.enter_context(started([str(NODE), str(HERE / script)], environment, port))
            found[name] = f"http://127.0.0.1:{port}/graphql"
        yield found


def prove_equal(given: World, urls: Mapping[str, str]) -> None:
    """All servers give the same answers.

    Raises:
        SystemExit: one of them does not.
    """
    headers = {"Authorization": f"Bearer {given.token}", "Content-Type": "application/json"}
    for query in DOCUMENTS:
        answers = {}
        for name, url in urls.items():
            response = httpx.post(url.format(query), content=given.bodies(query)[0], headers=headers, timeout=60)
            answers[name] = response.json()
        expected = answers[OURS]
        if "errors" in expected or len(str(expected)) < ANSWER_MINIMUM_LENGTH:
            sys.exit(f"{query}: {str(expected)[:500]}")
        for name, answer in answers.items():
            if answer != expected:
                sys.exit(f"{query}: {name} answers otherwise: {str(answer)[:500]}")


def compare(
    clients: Annotated[int, typer.Option(help="So many ask at once.")] = 16,
    rounds: Annotated[int, typer.Option(help="So often all take their turn.")] = 15,
    seconds: Annotated[int, typer.Option(help="How long each turn lasts.")] = 2,
    queries: Annotated[str, typer.Option(help="Which queries.")] = "Q1,Q2,Q3,Q4",
    peers: Annotated[bool, typer.Option(help="Whether the servers of others take part; they need npm ci.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Where to draw the table: a PNG.")] = None,
) -> None:
    """Print the table."""
    names = queries.split(",")
    with world() as given, servers(given, peers=peers) as urls:
        prove_equal(given, urls)

        def measure(name: str, query: str, seconds: int) -> float:
            bodies = given.bodies(query)
            return ask(urls[name].format(query), bodies, given.token, clients=clients, seconds=seconds)[1]

        quick = deque(name for name in urls if name != OFF)
        measured: dict[str, dict[str, list[float]]] = {query: {name: [] for name in urls} for query in names}
        for query in names:
            for name in quick:
                measure(name, query, 1)  # warm
        for _ in range(rounds):
            for query in names:
                for name in quick:
                    measured[query][name].append(measure(name, query, seconds))
            quick.rotate()
        for query in names:
            measured[query][OFF].append(measure(OFF, query, OFF_SECONDS))
    medians = {query: {name: statistics.median(rates) for name, rates in of.items()} for query, of in measured.items()}
    typer.echo(
        f"{clients} clients, {rounds} rounds of {seconds} s, medians; the compiler off: once, {OFF_SECONDS} s. "
        "Requests per second, and Slipway's ratio to it\n"
    )
    typer.echo(table(medians))
    if plot is not None:
        draw(medians, plot)


def table(medians: Mapping[str, Mapping[str, float]]) -> str:
    """The table, as Markdown."""
    names = list(next(iter(medians.values())))
    lines = ["| query | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for query, of in medians.items():
        cells = [f"{of[name]:,.{0 if of[name] >= SMALL else 1}f}" + _ratio(of, name) for name in names]
        lines.append(f"| {query} {TITLES[query]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(of: Mapping[str, float], name: str) -> str:
    return "" if name == OURS or not of[name] else f" ({of[OURS] / of[name]:.2f} x)"


def draw(medians: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """The table, as bars."""
    # Only who wants the picture needs the library.
    import matplotlib.pyplot as plt  # noqa: PLC0415

    names = list(next(iter(medians.values())))
    figure, axes = plt.subplots(1, len(medians), figsize=(14, 4), sharey=False)
    for axis, (query, of) in zip(axes, medians.items(), strict=True):
        axis.barh(names[::-1], [of[name] for name in names[::-1]], color=["#c0c6d0"] * (len(names) - 1) + ["#2f6fdb"])
        axis.set_title(f"{query}: requests per second", fontsize=9)
        axis.tick_params(labelsize=8, labelleft=axis is axes[0])
        axis.bar_label(axis.containers[0], fmt="{:,.0f}", fontsize=7, padding=2)
        axis.margins(x=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    typer.run(compare)
