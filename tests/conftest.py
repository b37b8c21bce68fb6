"""What many tests need: directories that an unprivileged PostgreSQL can reach, and a fresh database for each test."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.db import embedded, migrate
from tests import engine, registry

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - tmpfs: a clone takes 10 ms there, and on a busy disk 400
_IN_MEMORY_MINIMUM_BYTES = 2**30
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs an engine where there is none, and say so: one line for each file."""
    if not os.environ.get(engine.VARIABLE):
        for item in items:
            if item.get_closest_marker("docker"):
                item.add_marker(pytest.mark.skip(reason=engine.ABSENT))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many of the generated documents were compiled."""
    reports = (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed"))
    counts = [value for each in reports for name, value in each.user_properties if name == "equality"]
    if counts:
        made, answered, compiled = (sum(column) for column in zip(*counts, strict=True))
        terminalreporter.write_line(
            f"{made} documents, {answered} of them answered without errors, {compiled / answered:.2%} of those compiled"
        )


@pytest.fixture(scope="session")
def docker() -> engine.Docker:
    """The engine for tests marked `docker`. They run beside each other: each names and labels its things uniquely
    (`engine.unique`) and removes them (`Docker.remove_labelled`)."""
    return engine.Docker(os.environ[engine.VARIABLE])


@pytest.fixture(scope="session")
def tiny_image(docker: engine.Docker) -> Iterator[str]:
    """The name of an image of 2 MB, there for this process's tests: see `Docker.import_tiny`."""
    name = f"slipway.test/{engine.unique('tiny')}:1"
    docker.import_tiny(name)
    yield name
    docker.run("image", "rm", "--force", name)


@pytest.fixture
def own_engine() -> Iterator[engine.Engine]:
    """An engine for one test marked `docker`, which may stop it and start it."""
    if os.geteuid():
        pytest.skip("only root can start an engine")
    with engine.running() as started:
        yield started


@pytest.fixture(scope="session")
def image_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry.Registry]:
    """A docker-registry for all tests of this process that anyone may push to. Each test names its own repositories."""
    with registry.running(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def data_directory() -> Iterator[Path]:
    """A place for a server's data. Unlike `tmp_path`, PostgreSQL's user may enter it when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="slipway-test-"))
    directory.chmod(0o711)
    yield directory / "data"
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgresql_dsn() -> Iterator[str]:
    """A PostgreSQL for all tests of this process, gone with it."""
    is_roomy = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _IN_MEMORY_MINIMUM_BYTES
    directory = Path(tempfile.mkdtemp(prefix="slipway-test-", dir=_IN_MEMORY if is_roomy else None))
    directory.chmod(0o711)
    server = embedded.start(directory, durable=False)
    yield server.dsn
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def template_database(postgresql_dsn: str) -> str:
    """The name of a migrated, empty database that nobody is connected to."""

    async def migrated() -> None:
        await execute(postgresql_dsn, "CREATE DATABASE migrated")
        await migrate.upgrade(database_dsn(postgresql_dsn, "migrated"))

    asyncio.run(migrated())
    return "migrated"


@pytest.fixture
async def database_url(postgresql_dsn: str, template_database: str) -> AsyncIterator[str]:
    """The DSN of a migrated, empty database of this test alone."""
    name = f"test_{next(_numbers)}"
    await execute(postgresql_dsn, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY FILE_COPY")
    yield database_dsn(postgresql_dsn, name)
    await execute(postgresql_dsn, f"DROP DATABASE {name} WITH (FORCE)")


def database_dsn(dsn: str, name: str) -> str:
    """The same server's database `name`."""
    return dsn.replace("@/postgres?", f"@/{name}?")


async def execute(dsn: str, statement: str) -> None:
    """Run one statement outside of any transaction."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
