"""A server as an operator runs it: its own process, its own PostgreSQL, real HTTP, real signals."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.harness import INPUT_TYPES, container, spec

TOKEN = "a-token-for-the-tests"  # noqa: S105  of servers that live as long as a test
COMMAND = [sys.executable, "-c", "from app.cli import main; main()"]
PATIENCE_SECONDS = 30.0
SERVE = ["sh", "-c", 'echo "$GREETING" > index.html; exec python3 -m http.server "$PORT" --bind 127.0.0.1']
READY = {"path": "/", "periodSeconds": 1}


class Server:
    """A `slipway serve` in a directory of its own."""

    def __init__(self, directory: Path, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.directory = directory
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "SLIPWAY_PORT": str(self.port),
            "SLIPWAY_DATA_DIR": str(directory / "data"),
            "SLIPWAY_ADMIN_TOKEN": TOKEN,
            "SLIPWAY_IMAGE_PINNING": "off",
            "SLIPWAY_RUNTIME": "process",
            **environment,
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        self.log = directory / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve"], env=self.environment, cwd=self.directory, stdout=log, stderr=log
            )

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/health").status_code == 200
            return False

        eventually(answers, "the server answers")

    def kill(self) -> None:
        """End it as the kernel would: without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ctrl-C."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def run(self, document: str, **variables: Any) -> Any:
        """The data of a document."""
        body = {"query": document, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=body, headers=self.headers, timeout=30).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the same installation."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def create(self, name: str, repository_id: str | None = None, **given: Any) -> str:
        """A draft that serves its GREETING; answers its id. `given` is of its container."""
        document = """mutation ($input: CreateArtifactInput!) { createArtifact(input: $input) {
            ... on ArtifactPayload { artifact { id } } ... on Problem { message } } }"""
        variable = {"name": "GREETING", "value": f"hello from {name}"}
        served = container(**{"entrypoint": SERVE, "readinessProbe": READY, "environmentVars": [variable], **given})
        wanted = {"name": name, "repositoryId": repository_id, "spec": spec(served)}
        created = self.run(document, input=wanted)["createArtifact"]
        artifact_id: str = created["artifact"]["id"]
        return artifact_id

    def act(self, mutation: str, payload: str, **given: Any) -> dict[str, Any]:
        """The workload that a mutation answers."""
        input_type = INPUT_TYPES.get(mutation) or f"{mutation[0].upper()}{mutation[1:]}Input"
        document = f"""mutation ($input: {input_type}!) {{ {mutation}(input: $input) {{
            ... on {payload} {{ workload {{ id endpoint status }} }} ... on Problem {{ message }} }} }}"""
        result = self.run(document, input=given)[mutation]
        assert "workload" in result, result
        workload: dict[str, Any] = result["workload"]
        return workload

    def workload(self, workload_id: str) -> dict[str, Any]:
        """What the graph says of a workload."""
        found: dict[str, Any] = self.run(
            """query ($id: ID!) { workload(id: $id) {
                status statusReason statusMessage readyReplicas containerStatuses { state restartCount reason } } }""",
            id=workload_id,
        )["workload"]
        return found

    def logs(self, workload_id: str) -> str:
        """What its containers wrote."""
        document = "query ($id: ID!) { workload(id: $id) { logs { text } } }"
        return "\n".join(each["text"] for each in self.run(document, id=workload_id)["workload"]["logs"])

    def reaches(self, workload_id: str, status: str) -> dict[str, Any]:
        """Wait for a status."""
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(self.workload(workload_id))
            return bool(found["status"] == status)

        eventually(there, lambda: f"{workload_id} is {status}; it is {found}\n{self.log.read_text()[-3000:]}")
        return found

    def curl(self, endpoint: str) -> httpx.Response:
        """Ask a workload."""
        return httpx.get(endpoint, headers=self.headers, timeout=10)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs because of this server: what has its data directory in its environment or arguments."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = [*process.cmdline(), *process.environ().values(), process.cwd()]
                if any(str(self.directory) in word for word in words):
                    found.append(process)
        return found


def eventually(condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.05)
