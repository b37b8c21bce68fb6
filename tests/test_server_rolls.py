"""Rolls as users see them: a real server, its gateway, real processes, and clients that never stop asking."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.installation import Server, eventually

pytestmark = pytest.mark.slow

CLIENTS = 12
LOAD_SECONDS_MAXIMUM = 90.0
# Says GREETING and its process id; on /slow it takes longer than an idle replica stays before it goes. Connections are
# kept, as most services do it.
SERVICE = """
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        text = f"{os.environ['GREETING']} {os.getpid()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text[:1])
        time.sleep(2.5 if self.path == "/slow" else 0)
        self.wfile.write(text[1:])

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
ENTRYPOINT = ["python3", "-c", SERVICE]


class RollingServer(Server):
    """A server, and the words for what its tests do."""

    def locked(self, name: str, **given: Any) -> str:
        """A locked artifact that says hello from its name; answers its id."""
        artifact_id = self.create(name, **{"entrypoint": ENTRYPOINT, **given})
        self.run("mutation ($id: ID!) { lockArtifact(input: {artifactId: $id}) { __typename } }", id=artifact_id)
        return artifact_id

    def service(self, artifact_id: str, **given: Any) -> dict[str, Any]:
        """A service that runs."""
        workload = self.act("deployArtifact", "DeployArtifactPayload", artifactId=artifact_id, **given)
        self.reaches(workload["id"], "RUNNING")
        return workload

    def roll(self, mutation: str, workload_id: str, **given: Any) -> dict[str, Any]:
        """Begin a roll, and wait for its end; answers the replacement."""
        self.act(mutation, "WorkloadPayload", workloadId=workload_id, **given)
        return self.roll_ends(workload_id)

    def replacement(self, workload_id: str) -> dict[str, Any]:
        """The newest replacement."""
        document = "query ($id: ID!) { workload(id: $id) { replacement { id status message } } }"
        found: dict[str, Any] = self.run(document, id=workload_id)["workload"]["replacement"]
        return found

    def roll_ends(self, workload_id: str) -> dict[str, Any]:
        """Wait for the end of the replacement that is under way."""
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.replacement(workload_id))
            return bool(found["status"] != "ROLLING")

        eventually(is_over, lambda: f"the roll ends; it is {found}, {self.workload(workload_id)}")
        return found

    def serving(self) -> set[int]:
        """The processes of services."""
        found = set()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[1:] == ENTRYPOINT[1:]:
                    found.add(process.pid)
        return found

    def settles(self, count: int) -> set[int]:
        """Wait until just so many processes of services run."""
        eventually(lambda: len(self.serving()) == count, lambda: f"{count} run, not {self.serving()}")
        return self.serving()


@pytest.fixture
def server(data_directory: Path, database_url: str) -> Iterator[RollingServer]:
    """A server that has been started; nothing is left of it."""
    data_directory.mkdir()
    made = RollingServer(data_directory, DATABASE_URL=database_url)
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    left = made.processes()
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert left == []


@dataclasses.dataclass
class Load:
    """What clients were answered, all of them together."""

    texts: set[str] = dataclasses.field(default_factory=set)
    failures: list[str] = dataclasses.field(default_factory=list)
    count: int = 0


@contextlib.contextmanager
def under_load(server: RollingServer, endpoint: str) -> Iterator[Load]:
    """Clients that ask one request after another. Each third of them is slow."""
    load, over = Load(), threading.Event()
    until = time.monotonic() + LOAD_SECONDS_MAXIMUM

    def ask(path: str) -> None:
        with httpx.Client(headers=server.headers, timeout=20, trust_env=False) as client:
            while not over.is_set() and time.monotonic() < until:
                try:
                    answer = client.get(f"{endpoint}{path}")
                except httpx.HTTPError as error:
                    load.failures.append(repr(error))
                    continue
                load.count += 1
                load.texts.add(answer.text.rpartition(" ")[0])
                if answer.status_code != 200:
                    load.failures.append(f"{answer.status_code} {answer.text[:200]}")

    clients = [threading.Thread(target=ask, args=("" if number % 3 else "slow",)) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    try:
        yield load
    finally:
        over.set()
        for each in clients:
            each.join(timeout=30)
    assert time.monotonic() < until, "it took too long to mean anything"


def test_whatever_rolls_no_request_fails(server: RollingServer) -> None:
    first, second = server.locked("first"), server.locked("second")
    broken = server.locked("broken", entrypoint=["no-such-command"])
    service = server.service(first, replicas=2)
    with under_load(server, service["endpoint"]) as load:
        assert server.roll("replaceArtifact", service["id"], artifactId=second)["status"] == "COMPLETED"
        server.settles(2)
        assert server.curl(service["endpoint"]).text.startswith("hello from second ")
        assert server.roll("rollbackWorkload", service["id"])["status"] == "COMPLETED"
        configured = [{"name": "GREETING", "value": "hello from the configuration"}]
        assert server.roll("configureWorkload", service["id"], environment=configured)["status"] == "COMPLETED"
        kept = server.settles(2)
        failed = server.roll("replaceArtifact", service["id"], artifactId=broken)
        assert (failed["status"], failed["message"]) == (
            "FAILED",
            "Container main of replica 0: there is no command 'no-such-command' in its PATH",
        )
        assert server.serving() == kept
        server.act("configureWorkload", "WorkloadPayload", workloadId=service["id"], replicas=3)
        server.settles(3)
        server.reaches(service["id"], "RUNNING")
        server.act("configureWorkload", "WorkloadPayload", workloadId=service["id"], replicas=1)
        assert server.settles(1) < kept
    assert load.failures == []
    assert load.texts == {"hello from first", "hello from second", "hello from the configuration"}
    assert load.count > 100
    assert server.workload(service["id"])["readyReplicas"] == 1
    server.act("configureWorkload", "WorkloadPayload", workloadId=service["id"], replicas=0)
    server.settles(0)
    assert server.curl(service["endpoint"]).status_code == 503
    server.act("configureWorkload", "WorkloadPayload", workloadId=service["id"], replicas=1)
    server.settles(1)
    server.reaches(service["id"], "RUNNING")
    assert server.curl(service["endpoint"]).text.startswith("hello from the configuration ")
    assert server.stop() == 0


def test_a_promoted_test_is_the_same_process_at_the_same_address(server: RollingServer) -> None:
    draft = server.create("draft", entrypoint=ENTRYPOINT)
    trial = server.act("testArtifact", "TestArtifactPayload", artifactId=draft, expiresIn="PT10S")
    server.reaches(trial["id"], "RUNNING")
    before = server.curl(trial["endpoint"]).text
    server.act("extendTest", "WorkloadPayload", workloadId=trial["id"], by="PT1H")
    promoted = server.act("promoteWorkload", "WorkloadPayload", workloadId=trial["id"])
    assert (promoted["id"], promoted["endpoint"]) == (trial["id"], trial["endpoint"])
    document = """query ($id: ID!) { workload(id: $id) { status purpose expiresAt artifact { status version }
      containerStatuses { launch restartCount } } }"""
    assert server.run(document, id=trial["id"])["workload"] == {
        "status": "RUNNING",
        "purpose": "SERVICE",
        "expiresAt": None,
        "artifact": {"status": "LOCKED", "version": 1},
        "containerStatuses": [{"launch": 1, "restartCount": 0}],
    }
    assert server.curl(trial["endpoint"]).text == before
    # From here on it can be replaced, as any service.
    second = server.locked("second")
    assert server.roll("replaceArtifact", trial["id"], artifactId=second)["status"] == "COMPLETED"
    server.settles(1)
    assert server.curl(trial["endpoint"]).text.startswith("hello from second ")
    # One that is stopped takes it at its next start.
    server.act("stopWorkload", "WorkloadPayload", workloadId=trial["id"])
    server.reaches(trial["id"], "STOPPED")
    assert server.roll("rollbackWorkload", trial["id"])["status"] == "COMPLETED"
    server.act("startWorkload", "WorkloadPayload", workloadId=trial["id"])
    server.reaches(trial["id"], "RUNNING")
    assert server.curl(trial["endpoint"]).text.startswith("hello from draft ")
    assert server.stop() == 0


def test_a_server_that_is_killed_in_a_roll_ends_it_once_it_is_back(server: RollingServer) -> None:
    first, second = server.locked("first"), server.locked("second")
    service = server.service(first)
    moments = {
        "when it was asked for": lambda: True,
        "while both come up": lambda: len(server.serving()) == 2,
        "while what served drains": lambda: server.replacement(service["id"])["status"] == "COMPLETED",
    }
    target, other = second, first
    for moment, has_come in moments.items():
        server.act("replaceArtifact", "WorkloadPayload", workloadId=service["id"], artifactId=target)
        eventually(has_come, moment)
        server.kill()
        eventually(lambda: server.processes() == [], lambda: f"nothing is left: {server.processes()}")
        server.start()
        assert server.roll_ends(service["id"])["status"] == "COMPLETED", moment
        server.settles(1)
        server.reaches(service["id"], "RUNNING")
        name = "second" if target == second else "first"
        assert server.curl(service["endpoint"]).text.startswith(f"hello from {name} "), moment
        target, other = other, target
    assert server.stop() == 0
