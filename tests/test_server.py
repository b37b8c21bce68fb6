"""The server as an operator runs it: its own process, its own PostgreSQL, real HTTP, real children, real signals."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.harness import container, spec

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

    def create(self, name: str, **given: Any) -> str:
        """A draft that serves its GREETING; answers its id."""
        document = """mutation ($input: CreateArtifactInput!) { createArtifact(input: $input) {
            ... on ArtifactPayload { artifact { id } } ... on Problem { message } } }"""
        variable = {"name": "GREETING", "value": f"hello from {name}"}
        served = container(entrypoint=SERVE, readinessProbe=READY, environmentVars=[variable], **given)
        created = self.run(document, input={"name": name, "spec": spec(served)})["createArtifact"]
        artifact_id: str = created["artifact"]["id"]
        return artifact_id

    def act(self, mutation: str, payload: str, **given: Any) -> dict[str, Any]:
        """The workload that a mutation answers."""
        kind = {"stopWorkload": "Workload", "startWorkload": "Workload", "restartWorkload": "Workload"}.get(mutation)
        input_type = f"{kind}Input" if kind else f"{mutation[0].upper()}{mutation[1:]}Input"
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


@pytest.fixture
def server(data_directory: Path) -> Iterator[Server]:
    """A server that has been started; whatever is left of it is ended."""
    made = Server(data_directory.parent)
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    left = made.processes()
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert left == []


def test_a_service_is_tried_locked_deployed_reached_and_stopped(server: Server) -> None:
    artifact_id = server.create("first")
    trial = server.act("testArtifact", "TestArtifactPayload", artifactId=artifact_id)
    seen = server.reaches(trial["id"], "RUNNING")
    assert (seen["readyReplicas"], seen["containerStatuses"][0]["state"]) == (1, "RUNNING")
    assert "image" in seen["statusMessage"].lower()
    assert server.curl(trial["endpoint"]).text == "hello from first\n"
    eventually(lambda: "GET / HTTP/1.1" in server.logs(trial["id"]), "its log tells of the request")

    first = server.act("deployArtifact", "DeployArtifactPayload", artifactId=artifact_id)
    second = server.act("deployArtifact", "DeployArtifactPayload", artifactId=artifact_id, replicas=2)
    for workload in (first, second):
        server.reaches(workload["id"], "RUNNING")
        assert server.curl(workload["endpoint"]).text == "hello from first\n"
    assert server.workload(second["id"])["readyReplicas"] == 2

    server.act("stopWorkload", "WorkloadPayload", workloadId=first["id"])
    server.reaches(first["id"], "STOPPED")
    assert server.curl(first["endpoint"]).status_code == 503
    server.act("stopWorkload", "WorkloadPayload", workloadId=trial["id"])
    server.reaches(trial["id"], "TERMINATED")

    server.act("startWorkload", "WorkloadPayload", workloadId=first["id"])
    server.reaches(first["id"], "RUNNING")
    assert server.curl(first["endpoint"]).text == "hello from first\n"
    assert httpx.get(first["endpoint"]).status_code == 401
    assert server.stop() == 0


def test_a_killed_server_loses_nothing_and_leaves_nothing(server: Server) -> None:
    _kill_and_catch_up(server, times=3)


@pytest.mark.slow
def test_a_server_killed_twenty_times_loses_nothing_and_leaves_nothing(server: Server) -> None:
    _kill_and_catch_up(server, times=20)


def _kill_and_catch_up(server: Server, times: int) -> None:
    """Kill the server at another moment each time; afterwards all that was answered is there, and runs once."""
    steady = server.act("deployArtifact", "DeployArtifactPayload", artifactId=server.create("steady"))
    server.reaches(steady["id"], "RUNNING")
    made = []
    for round_number in range(times):
        artifact_id = server.create(f"round {round_number}")
        workload = server.act("deployArtifact", "DeployArtifactPayload", artifactId=artifact_id)
        made.append(workload["id"])
        if round_number % 3 == 1:
            server.reaches(workload["id"], "RUNNING")
        if round_number % 3 == 2:
            server.act("stopWorkload", "WorkloadPayload", workloadId=workload["id"])
        server.kill()
        eventually(lambda: server.processes() == [], lambda: f"nothing is left: {server.processes()}")
        server.start()
    for round_number, workload_id in enumerate(made):
        server.reaches(workload_id, "STOPPED" if round_number % 3 == 2 else "RUNNING")
    server.reaches(steady["id"], "RUNNING")
    assert server.curl(steady["endpoint"]).text == "hello from steady\n"
    running = 1 + sum(round_number % 3 != 2 for round_number in range(times))
    serving = [process for process in server.processes() if "http.server" in process.cmdline()]
    assert len(serving) == running
    assert server.stop() == 0


def test_a_stopped_server_brings_its_services_back(server: Server) -> None:
    workload = server.act("deployArtifact", "DeployArtifactPayload", artifactId=server.create("again"))
    server.reaches(workload["id"], "RUNNING")
    assert server.stop() == 0
    assert server.processes() == []
    server.start()
    server.reaches(workload["id"], "RUNNING")
    assert server.curl(workload["endpoint"]).text == "hello from again\n"


def test_tokens_are_made_beside_a_running_server(server: Server) -> None:
    made = server.command("token", "create", "--user", "ada", "--group", "ml")
    assert (made.returncode, made.stderr, made.stdout.count("\n")) == (0, "", 1)
    server.headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert server.run("{ viewer { username groups admin } }") == {
        "viewer": {"username": "ada", "groups": ["ml"], "admin": False}
    }


def test_a_second_server_on_the_same_data_is_refused_with_a_sentence(server: Server) -> None:
    second = Server(server.directory)
    second.environment["SLIPWAY_DATA_DIR"] = server.environment["SLIPWAY_DATA_DIR"]
    refused = second.command("serve")
    assert refused.returncode == 2
    assert (refused.stdout, refused.stderr.count("\n"), "Traceback" in refused.stderr) == ("", 1, False)


def test_a_taken_port_is_refused_with_a_sentence_that_names_it(server: Server, data_directory: Path) -> None:
    second = Server(server.directory, SLIPWAY_PORT=str(server.port), SLIPWAY_DATA_DIR=str(data_directory / "other"))
    refused = second.command("serve")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"SLIPWAY_HOST and SLIPWAY_PORT: can't listen on 127.0.0.1 port {server.port}: Address already in use.\n"
    )


def test_the_runtime_is_chosen_once_and_said(data_directory: Path) -> None:
    server = Server(data_directory.parent, SLIPWAY_RUNTIME="auto", DOCKER_HOST="unix:///nowhere/docker.sock")
    server.start()
    try:
        workload = server.act("deployArtifact", "DeployArtifactPayload", artifactId=server.create("chosen"))
        server.reaches(workload["id"], "RUNNING")
    finally:
        assert server.stop() == 0
    assert server.log.read_text().count("Workloads run on the ") == 1
    assert (
        "Workloads run on the process runtime, because no Kubernetes cluster is configured and no container engine "
        "answers at unix:///nowhere/docker.sock.\n"
    ) in server.log.read_text()


def test_processes_beyond_loopback_have_to_be_asked_for_by_name(data_directory: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104  nothing gets so far as to listen
    here = {"SLIPWAY_RUNTIME": "auto", "DOCKER_HOST": "unix:///nowhere/docker.sock", "SLIPWAY_HOST": everywhere}
    for command in ("serve", "reconcile"):
        refused = Server(data_directory.parent, **here).command(command)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == (
            "SLIPWAY_HOST is '0.0.0.0', beyond this machine, for whose callers the runtime `process` would start any "
            "program here: set SLIPWAY_RUNTIME=process to allow that, or SLIPWAY_HOST=127.0.0.1.\n"
        )
    assert not data_directory.exists()


def test_a_test_expires_while_the_server_is_down(server: Server) -> None:
    artifact_id = server.create("brief")
    trial = server.act("testArtifact", "TestArtifactPayload", artifactId=artifact_id, expiresIn="PT3S")
    server.kill()
    started = time.monotonic()
    eventually(lambda: time.monotonic() - started > 3, "its time has passed")
    server.start()
    ended = server.reaches(trial["id"], "TERMINATED")
    assert ended["statusReason"] == "EXPIRED"
