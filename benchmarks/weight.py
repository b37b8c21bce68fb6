"""How fast the program starts, and how much memory one server holds after many requests."""

import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from typing import Annotated

import httpx
import psutil
import typer

from benchmarks.comparison.__main__ import World, world
from benchmarks.comparison.queries import DOCUMENTS
from benchmarks.server import Server, serving

CLIENTS = 8
RARELY = 400
SEARCH = "query($f: ArtifactFilter) { artifacts(first: 3, filter: $f) { nodes { id actions { action available } } } }"
FIRST = 1_000


def weight(
    requests: Annotated[int, typer.Option(help="How many requests before the second look.")] = 100_000,
    rounds: Annotated[int, typer.Option(help="How often each start is timed.")] = 5,
) -> None:
    """Print the table."""
    typer.echo("| what | measured |\n|---|--:|")
    command = [sys.executable, "-c", "from app.cli import main; main()", "--help"]
    typer.echo(f"| slipway --help | {_seconds(command, rounds):.2f} s |")
    with world() as given:
        environment = {
            "DATABASE_URL": given.dsn,
            "SLIPWAY_RUNTIME": "process",
            "SLIPWAY_LOG_LEVEL": "warning",
            "SLIPWAY_ENCRYPTION_KEY": b64encode(secrets.token_bytes(32)).decode(),
        }
        starts = []
        for _ in range(rounds):
            begun = time.perf_counter()
            with serving(environment):
                starts.append(time.perf_counter() - begun)
        typer.echo(f"| ready, with a database that is there | {statistics.median(starts):.2f} s |")
        with serving(environment) as server:
            process = psutil.Process(server.process.pid)
            asyncio.run(_ask(given, server, FIRST))
            first = process.memory_info().rss
            asyncio.run(_ask(given, server, requests - FIRST))
            last = process.memory_info().rss
    typer.echo(f"| resident after {FIRST:,} requests | {first / 2**20:.0f} MiB |")
    typer.echo(f"| resident after {requests:,} requests | {last / 2**20:.0f} MiB, {last / first:.2f} x |")


def _seconds(command: list[str], rounds: int) -> float:
    """The median time of a command."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


async def _ask(given: World, server: Server, count: int) -> None:
    """So many requests, of all kinds: compiled and not, with new variables, wrong ones, and a few mutations."""
    headers = {"Authorization": f"Bearer {given.token}", "Content-Type": "application/json"}
    bodies = [given.body(name) for name in ("Q3", "Q4")]
    numbers = iter(range(count))

    async def work(client: httpx.AsyncClient) -> None:
        for number in numbers:
            match number % 20:
                case 0:
                    # Each document is new.
                    body = json.dumps({"query": f"{{ viewer {{ id }} a{number}: viewer {{ username }} }}"}).encode()
                case 1:
                    search = {"search": f"cedar-{number % 997}"}
                    body = json.dumps({"query": SEARCH, "variables": {"f": search}}).encode()
                case 2:
                    body = json.dumps({"query": "{ artifacts(first: 1000) { nodes { id } } }"}).encode()
                case 3 if number % RARELY == 3:  # noqa: PLR2004
                    body = json.dumps({"query": DOCUMENTS["Q1"]}).encode()
                case _:
                    body = bodies[number % 2]
            response = await client.post("/graphql", content=body, headers=headers)
            response.raise_for_status()

    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        await asyncio.gather(*(work(client) for _ in range(CLIENTS)))


if __name__ == "__main__":
    typer.run(weight)
