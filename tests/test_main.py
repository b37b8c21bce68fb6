"""Which runtime is chosen, and what its driver is made with."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app import main, settings
from app.db import tables
from app.db.database import Database
from app.domain import manifests
from app.main import Choice, StartError
from app.runtimes import kubernetes_account
from app.runtimes.docker import DockerRuntime
from app.runtimes.kubernetes import KubernetesRuntime
from app.runtimes.process import ProcessRuntime
from tests import engine

NOWHERE = "unix:///nowhere/docker.sock"
NOBODY_ANSWERS = f"no Kubernetes cluster is configured and no container engine answers at {NOWHERE}"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database, and nothing in it."""
    database = Database(database_url)
    yield database
    await database.close()


def configured(monkeypatch: pytest.MonkeyPatch, **environment: str) -> settings.Settings:
    """The settings of this environment, in which nothing else hints at a runtime."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "DOCKER_HOST", "SLIPWAY_RUNTIME", "SLIPWAY_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"DOCKER_HOST": NOWHERE} | environment).items():
        monkeypatch.setenv(name, value)
    return settings.load()


@pytest.mark.parametrize("name", ["process", "docker", "kubernetes"])
async def test_what_is_asked_for_by_name_is_taken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked = configured(monkeypatch, SLIPWAY_RUNTIME=name, KUBECONFIG="/any", SLIPWAY_HOST="::")
    choice = await main.choose_runtime(asked)
    assert choice == Choice(name, f"SLIPWAY_RUNTIME is {name}")
    assert str(choice) == f"Workloads run on the {name} runtime, because SLIPWAY_RUNTIME is {name}."


@pytest.mark.parametrize(
    ("environment", "choice"),
    [
        ({"KUBECONFIG": "/any"}, Choice("kubernetes", "KUBECONFIG is set")),
        ({"KUBECONFIG": "/any", "SLIPWAY_HOST": "::"}, Choice("kubernetes", "KUBECONFIG is set")),
        (
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
            Choice("kubernetes", "the server runs in a pod with a service account"),
        ),
        ({}, Choice("process", NOBODY_ANSWERS)),
        ({"DOCKER_HOST": "ssh://elsewhere"}, Choice("process", NOBODY_ANSWERS.replace(NOWHERE, "ssh://elsewhere"))),
    ],
)
async def test_left_alone_it_takes_what_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: Mapping[str, str], choice: Choice
) -> None:
    (tmp_path / "token").write_text("a token")
    monkeypatch.setattr(kubernetes_account, "SERVICE_ACCOUNT", tmp_path)
    assert await main.choose_runtime(configured(monkeypatch, **environment)) == choice


async def test_processes_are_not_for_callers_beyond_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError) as refused:
        await main.choose_runtime(configured(monkeypatch, SLIPWAY_HOST="slipway.example"))
    assert str(refused.value) == (
        "SLIPWAY_HOST is 'slipway.example', beyond this machine, for whose callers the runtime `process` would start "
        "any program here: set SLIPWAY_RUNTIME=process to allow that, or SLIPWAY_HOST=127.0.0.1."
    )


async def made(monkeypatch: pytest.MonkeyPatch, database: Database, name: str, **environment: str) -> Any:
    """The driver of a runtime."""
    return await main.make_runtime(Choice(name, "it is asked for"), configured(monkeypatch, **environment), database)


async def test_a_cluster_is_used_as_configured(monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
    environment = {
        "SLIPWAY_KUBERNETES_NAMESPACE": "tenants",
        "SLIPWAY_KUBERNETES_DOMAIN": "apps.example.com",
        "SLIPWAY_KUBERNETES_GATEWAY": "infrastructure/public",
        "SLIPWAY_REGISTRY_CREDENTIALS": '{"auths": {"registry.example": {"auth": "YWRhOnNlY3JldA=="}}}',
    }
    runtime = await made(monkeypatch, database, "kubernetes", **environment)
    assert isinstance(runtime, KubernetesRuntime)
    assert (runtime.cluster.namespace, runtime.cluster.domain, runtime.cluster.gateway) == (
        "tenants",
        "apps.example.com",
        manifests.Gateway("infrastructure", "public"),
    )
    assert runtime._credentials("registry.example") == ("ada", "secret")
    again = await made(monkeypatch, database, "kubernetes")
    assert again.cluster == runtime.cluster


async def test_an_engine_is_used_as_configured(monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
    credentials = '{"auths": {"registry.example": {"auth": "YWRhOnNlY3JldA=="}}}'
    runtime = await made(monkeypatch, database, "docker", SLIPWAY_REGISTRY_CREDENTIALS=credentials)
    assert isinstance(runtime, DockerRuntime)
    assert runtime._engine.host == NOWHERE
    assert runtime._credentials("registry.example") == ("ada", "secret")
    assert runtime.installation == (await made(monkeypatch, database, "docker")).installation


async def test_an_engine_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
    with pytest.raises(StartError) as refused:
        await made(monkeypatch, database, "docker", DOCKER_HOST="tcp://192.0.2.1:2375")
    assert str(refused.value).startswith("DOCKER_HOST: 'tcp://192.0.2.1:2375' is neither a socket")


@pytest.mark.docker
async def test_left_alone_it_takes_an_engine_that_answers(
    monkeypatch: pytest.MonkeyPatch, docker: engine.Docker
) -> None:
    choice = await main.choose_runtime(configured(monkeypatch, DOCKER_HOST=docker.host, SLIPWAY_HOST="::"))
    assert choice == Choice("docker", f"a container engine answers at {docker.host}")


async def test_processes_have_their_place_in_the_data_directory(
    monkeypatch: pytest.MonkeyPatch, database: Database, data_directory: Path
) -> None:
    runtime = await made(monkeypatch, database, "process", SLIPWAY_DATA_DIR=str(data_directory))
    assert isinstance(runtime, ProcessRuntime)
    assert runtime.directory == data_directory / "workloads"


async def test_all_servers_on_a_database_use_one_runtime(monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
    async with database.transaction() as session:
        session.add(tables.RuntimeRow(name="docker", available=True, seen_at=main.now()))
        session.add(tables.RuntimeRow(name="kubernetes", available=False, seen_at=main.now()))
    with pytest.raises(StartError) as refused:
        await made(monkeypatch, database, "process")
    assert str(refused.value) == (
        "SLIPWAY_RUNTIME: workloads would run on process here, because it is asked for, and another server on this "
        "database runs them on docker. Set it to the same for all; of a server that was killed it is forgotten after "
        "60 s."
    )
