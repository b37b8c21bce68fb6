"""The server as an operator runs it: its own process, its own PostgreSQL, real HTTP, real children, real signals."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.installation import Server, eventually


@pytest.fixture
def server(data_directory: Path) -> Iterator[Server]:
    """A server that has been started; whatever is left of it is ended."""
    made = Server(data_directory.parent)
    try:
        made.start()
        yield made
        if made.process is not None and made.process.poll() is None:
            made.stop()
    finally:
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_test_expires_while_the_server_is_down(server: Server) -> None:
    artifact_id = server.create("brief")
    trial = server.act("testArtifact", "TestArtifactPayload", artifactId=artifact_id, expiresIn="PT3S")
    server.kill()
    started = time.monotonic()
    eventually(lambda: time.monotonic() - started > 3, "its time has passed")
    server.start()
    ended = server.reaches(trial["id"], "TERMINATED")
    assert ended["statusReason"] == "EXPIRED"
