"""A server of its own for a benchmark, as `slipway serve` starts it."""

import asyncio
import contextlib
import dataclasses
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

from app.db import embedded

CREATE = """mutation ($input: CreateArtifactInput!) { createArtifact(input: $input) {
    ... on ArtifactPayload { artifact { id } } ... on Problem { message } } }"""
LOCK = """mutation ($input: ArtifactInput!) { lockArtifact(input: $input) {
    ... on ArtifactPayload { artifact { id } } ... on Problem { message } } }"""
DEPLOY = """mutation ($input: DeployArtifactInput!) { deployArtifact(input: $input) {
    ... on DeployArtifactPayload { workload { id endpoint } } ... on Problem { message } } }"""
STATUS = """query ($id: ID!) { workload(id: $id) {
    status statusMessage replacement { status message } containerStatuses { restartCount } } }"""

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """Where it is, and an administrator's token."""

    url: str
    token: str
    data_directory: Path
    process: subprocess.Popen[bytes]

    def run(self, document: str, **variables: Any) -> Any:
        """The data of a document that has no errors.

        Raises:
            RuntimeError: it has.
        """
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": document, "variables": variables},
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
        ).json()
        if "errors" in answer:
            raise RuntimeError(answer["errors"])
        return answer["data"]

    def installation(self) -> str:
        """The id that its containers bear."""
        return str(asyncio.run(self._fetch("SELECT id FROM installations")))

    def locked(self, name: str, container: Mapping[str, Any]) -> str:
        """A locked artifact of one container; answers its id."""
        spec = {"containerGroups": [{"containers": [container]}]}
        made = self.run(CREATE, input={"name": name, "spec": spec})["createArtifact"]["artifact"]
        self.run(LOCK, input={"artifactId": made["id"]})
        artifact_id: str = made["id"]
        return artifact_id

    def deploy(self, artifact_id: str, **given: Any) -> dict[str, str]:
        """Deploy an artifact; answers the id and the endpoint of the workload."""
        answer = self.run(DEPLOY, input={"artifactId": artifact_id, **given})
        deployed: dict[str, str] = answer["deployArtifact"]["workload"]
        return deployed

    def until(self, workload_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until something holds of a workload, and answer what is seen of it then.

        Raises:
            TimeoutError: it does not.
        """
        seen: dict[str, Any] = {}

        def holds() -> bool:
            seen.update(self.run(STATUS, id=workload_id)["workload"])
            return condition(seen)

        eventually(holds, lambda: str(seen), POLL_SECONDS)
        return seen

    def at_rest(self, seconds: int) -> tuple[float, float]:
        """How much of a core the server uses, in percent, and how many SQL statements it runs a second.

        PostgreSQL writes them down for that time: BEGIN and COMMIT count as well.
        """
        log = self.data_directory / "postgresql" / "log"
        asyncio.run(self._log_statements(wanted=True))
        process = psutil.Process(self.process.pid)
        before, began = process.cpu_times(), time.monotonic()
        written = _statements(log)
        time.sleep(seconds)
        after, took = process.cpu_times(), time.monotonic() - began
        rate = (_statements(log) - written) / took
        asyncio.run(self._log_statements(wanted=False))
        used = after.user + after.system - before.user - before.system
        return 100 * used / took, rate

    async def _log_statements(self, *, wanted: bool) -> None:
        value = "all" if wanted else "none"
        await self._fetch(f"ALTER SYSTEM SET log_statement = '{value}'")
        await self._fetch("SELECT pg_reload_conf()")
        await asyncio.sleep(1.0)  # until every backend has read it

    async def _fetch(self, statement: str) -> Any:
        connection = await asyncpg.connect(embedded.running_dsn(self.data_directory))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


def _statements(log: Path) -> int:
    """The statements that were written down so far."""
    return sum(
        " statement: " in line or ": execute " in line
        for path in log.glob("*.log")
        for line in path.read_text(errors="replace").splitlines()
    )


@contextlib.contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[Server]:
    """A server for as long as this lasts, with these settings beside those that it needs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_urlsafe(16)
    directory = Path(tempfile.mkdtemp(prefix="slipway-benchmark-"))
    directory.chmod(0o711)  # PostgreSQL's user passes here
    settings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")},
        "SLIPWAY_PORT": str(port),
        "SLIPWAY_DATA_DIR": str(directory / "data"),
        "SLIPWAY_ADMIN_TOKEN": token,
        "SLIPWAY_LOG_FORMAT": "json",
        "SLIPWAY_IMAGE_PINNING": "off",
        "PYTHONPATH": str(HERE.parent),
        **environment,
    }
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from app.cli import main; main()", "serve"],
            cwd=directory,
            env=settings,
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _is_healthy(url), log.read_text)
        yield Server(url, token, directory / "data", process)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)
        shutil.rmtree(directory)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def eventually(
    condition: Callable[[], bool],
    what: Callable[[], str],
    poll_seconds: float = 0.05,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not, with what there is instead.
    """
    deadline = time.monotonic() + patience_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what())
        time.sleep(poll_seconds)
