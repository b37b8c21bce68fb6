"""The server on a real container engine: a whole session, over real HTTP, and what is left when the server goes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db import installations
from app.db.database import Database
from app.runtimes import docker_containers
from tests import engine
from tests.installation import Server, eventually

pytestmark = pytest.mark.docker

SERVE = ["/bin/entrypoint", "sh", "-c", 'echo "$GREETING" > /tmp/index.html; exec httpd -f -v -p "$PORT" -h /tmp']


class DockerServer(Server):
    """A server that finds the engine by itself."""

    def __init__(self, directory: Path, database_url: str, docker: engine.Docker) -> None:
        super().__init__(directory, SLIPWAY_RUNTIME="auto", DOCKER_HOST=docker.host, DATABASE_URL=database_url)
        self.docker = docker

    def containers(self, workload_id: str) -> list[str]:
        """The ids of the containers of a workload that run."""
        label = f"label={docker_containers.WORKLOAD}={workload_id}"
        return sorted(self.docker.run("ps", "--quiet", "--filter", label).split())


@pytest.fixture
async def server(data_directory: Path, database_url: str, docker: engine.Docker) -> AsyncIterator[DockerServer]:
    """A server that has been started; what it leaves in the engine is removed."""
    data_directory.mkdir()
    made = DockerServer(data_directory, database_url, docker)
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    database = Database(database_url)
    docker.remove_labelled(f"{docker_containers.INSTALLATION}={await installations.identity(database)}")
    await database.close()
    assert made.processes() == []


def test_a_service_is_tried_deployed_reached_replaced_and_stopped(server: DockerServer, tiny_image: str) -> None:
    first = server.create("first", imageUri=tiny_image, entrypoint=SERVE)
    trial = server.act("testArtifact", "TestArtifactPayload", artifactId=first)
    server.reaches(trial["id"], "RUNNING")
    assert server.curl(trial["endpoint"]).text == "hello from first\n"
    eventually(lambda: "response:200" in server.logs(trial["id"]), "its log tells of the request")
    server.act("stopWorkload", "WorkloadPayload", workloadId=trial["id"])
    server.reaches(trial["id"], "TERMINATED")
    assert server.containers(trial["id"]) == []

    service = server.act("deployArtifact", "DeployArtifactPayload", artifactId=first, replicas=2)
    server.reaches(service["id"], "RUNNING")
    assert len(server.containers(service["id"])) == 2
    assert server.curl(service["endpoint"]).text == "hello from first\n"

    second = server.create("second", imageUri=tiny_image, entrypoint=SERVE)
    server.run("mutation ($id: ID!) { lockArtifact(input: {artifactId: $id}) { __typename } }", id=second)
    server.act("replaceArtifact", "WorkloadPayload", workloadId=service["id"], artifactId=second)
    answers = set()

    def replaced() -> bool:
        answer = server.curl(service["endpoint"])
        answers.add((answer.status_code, answer.text))
        return answer.text == "hello from second\n"

    eventually(replaced, lambda: f"the second one answers; so far {answers}")
    assert answers <= {(200, "hello from first\n"), (200, "hello from second\n")}
    eventually(lambda: len(server.containers(service["id"])) == 2, "the first one goes")

    server.act("stopWorkload", "WorkloadPayload", workloadId=service["id"])
    server.reaches(service["id"], "STOPPED")
    assert server.containers(service["id"]) == []
    assert server.stop() == 0
    said = f"Workloads run on the docker runtime, because a container engine answers at {server.docker.host}.\n"
    assert server.log.read_text().count(said) == 1


def test_what_runs_goes_on_while_no_server_is_there(server: DockerServer, tiny_image: str) -> None:
    artifact = server.create("steady", imageUri=tiny_image, entrypoint=SERVE)
    service = server.act("deployArtifact", "DeployArtifactPayload", artifactId=artifact)
    server.reaches(service["id"], "RUNNING")
    [running] = server.containers(service["id"])
    assert server.stop() == 0
    assert server.containers(service["id"]) == [running]
    server.start()
    server.reaches(service["id"], "RUNNING")
    assert server.curl(service["endpoint"]).text == "hello from steady\n"
    assert server.containers(service["id"]) == [running]
