"""Processes that serve and can be told not to, and a reconciler that runs them: what tests of real processes share."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from app.domain.enums import ProbeKind
from app.domain.specification import Container, EnvironmentVariable, Probe
from app.reconciler.loop import Reconciler
from app.runtimes.process import ProcessRuntime
from tests.reconciler.world import World, hasty, reconciling

SERVER = """
import http.server, os, pathlib

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        missing = pathlib.Path(self.path.strip("/") + ".down").exists()
        self.send_response(503 if missing else 200)
        self.end_headers()
        self.wfile.write(f"{os.environ['GREETING']} {os.getpid()}".encode())

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
"""Answers 200 with its process id; on /NAME 503 while there is a file NAME.down in its directory."""


def serving(**probes: Probe) -> Container:
    return Container(
        "main",
        "image",
        port=8080,
        primary=True,
        entrypoint=("python3", "-c", SERVER),
        environment_vars=(EnvironmentVariable("GREETING", value="hello"),),
        probes={ProbeKind(kind): probe for kind, probe in probes.items()},
    )


def every_second(path: str, failure_threshold: int = 3) -> Probe:
    return Probe(path, 8080, period_seconds=1, failure_threshold=failure_threshold)


READINESS = every_second("/ready")


def script(text: str) -> Container:
    return Container("main", "image", port=8080, primary=True, entrypoint=("sh", "-c", text))


@contextlib.asynccontextmanager
async def serving_processes(world: World, directory: Path, **values: Any) -> AsyncIterator[Reconciler]:
    runtime = ProcessRuntime(directory)
    async with reconciling(world.database, runtime, prober=hasty(20), **values) as reconciler:
        yield reconciler


async def answers(row: Any) -> list[str]:
    """What the ready replicas say."""
    async with httpx.AsyncClient(trust_env=False) as client:
        urls = [f"http://{each['host']}:{each['port']}/" for each in row.addresses]
        return [(await client.get(url)).text for url in urls]


def place(directory: Path, row: Any, name: str) -> Path:
    """A file in the working directory of the first replica."""
    return directory / str(row.id) / str(row.launch) / "0" / "main" / name
