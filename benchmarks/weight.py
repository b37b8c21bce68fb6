"""How fast the program starts, and how much memory one server holds after many requests."""

import json
import secrets
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any

import psutil
import typer

from benchmarks.comparison.__main__ import World, world
from benchmarks.comparison.queries import DOCUMENTS
from benchmarks.load import ask
from benchmarks.server import Server, serving

CLIENTS = 8
RARELY = 400
SEARCH = "query($f: ArtifactFilter) { artifacts(first: 3, filter: $f) { nodes { id actions { action available } } } }"
FIRST = 1_000
TURN_SECONDS = 2
# More than are answered in a turn: then each of a turn is another.
BODIES_EACH = 10_000


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
            answered, resident = 0, []
            for wanted in (FIRST, requests):
                answered += _ask(given, server, wanted - answered, answered)
                resident.append(process.memory_info().rss)
                typer.echo(f"| resident after {answered:,} requests | {resident[-1] / 2**20:.0f} MiB |")
    typer.echo(f"| the last against the first | {resident[-1] / resident[0]:.2f} x |")


def _seconds(command: list[str], rounds: int) -> float:
    """The median time of a command."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _ask(given: World, server: Server, count: int, before: int) -> int:
    """So many requests or some more, of all kinds: compiled and not, with new variables, and wrong ones."""
    answered = 0
    usual = [given.bodies("Q3"), given.bodies("Q4")]
    while answered < count:
        begin = before + answered
        bodies = [_body(usual, number) for number in range(begin, begin + BODIES_EACH)]
        answered += ask(f"{server.url}/graphql", bodies, given.token, clients=CLIENTS, seconds=TURN_SECONDS)[0]
    return answered


def _body(usual: Sequence[Sequence[bytes]], number: int) -> bytes:
    match number % 20:
        case 0:
            # Each document is new.
            return _request(f"{{ viewer {{ id }} a{number}: viewer {{ username }} }}")
        case 1:
            return _request(SEARCH, f={"search": f"cedar-{number % 997}"})
        case 2:
            return _request("{ artifacts(first: 1000) { nodes { id } } }")
        case 3 if number % RARELY == 3:  # noqa: PLR2004
            return _request(DOCUMENTS["Q1"])
        case _:
            bodies = usual[number % 2]
            return bodies[number % len(bodies)]


def _request(query: str, **variables: Any) -> bytes:
    return json.dumps({"query": query, "variables": variables}).encode()


if __name__ == "__main__":
    typer.run(weight)
