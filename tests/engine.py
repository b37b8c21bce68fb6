"""A real Docker engine for tests: the one that TEST_DOCKER_HOST names, or one of our own for as long as a command runs.

    python3 -m tests.engine make test

As root, with Debian's docker.io and busybox-static installed. The standard library alone, so that it runs before
anything is installed.
"""

import contextlib
import dataclasses
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

VARIABLE: Final = "TEST_DOCKER_HOST"
"""Names the engine for tests, as DOCKER_HOST would. It doesn't begin with SLIPWAY_, which a server refuses to know."""

ABSENT: Final = f"no Docker engine: {VARIABLE} names none, and `python3 -m tests.engine make test` starts one"

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
FAMILY_SECONDS: Final = 15.0
COMMAND_SECONDS: Final = 120.0
COMPLAINT_CHARACTERS: Final = 4000

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - tmpfs: a container starts in 0.3 s there, and on a busy disk in seconds
_IN_MEMORY_MINIMUM_BYTES = 6 * 2**30

_OPTIONS = (
    # Left out, a container inherits a limit that makes some programs close a billion files one by one.
    "--default-ulimit=nofile=20000:20000",
    # The machine's firewall and routes stay as they are, and several engines don't disturb each other. Ports published
    # on loopback work without: a proxy of the engine's serves them. Networks are made by tests.
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
)

_ENTRYPOINT = """\
#!/bin/sh
# As process 1 a program ignores the signals that it has no handler for; as a child of this one it does not.
trap 'kill -TERM "$child"; wait "$child"; exit $?' TERM
"$@" &
child=$!
wait "$child"
"""


class DockerError(RuntimeError):
    """A `docker` command failed."""


def unique(prefix: str = "test") -> str:
    """A name for a container, a network, an image or a label that no other test uses, at the same time or later."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def fast_directory() -> Path:
    """Where files that live as long as a test are best kept: in memory, where there is enough of it."""
    roomy = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _IN_MEMORY_MINIMUM_BYTES
    return _IN_MEMORY if roomy else Path(tempfile.gettempdir())


@dataclasses.dataclass(frozen=True, slots=True)
class Docker:
    """An engine that answers at `host`, such as `unix:///run/docker.sock`, asked through Docker's command line."""

    host: str

    def run(self, *arguments: str, stdin: bytes | None = None, timeout_seconds: float = COMMAND_SECONDS) -> str:
        """The output of one `docker` command, without the space around it.

        Raises:
            DockerError: It failed; the message has what it complained of.
            subprocess.TimeoutExpired: It took too long.
        """
        command = ["docker", "--host", self.host, *arguments]
        # Debian's command line has no BuildKit.
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, timeout=timeout_seconds, check=False
        )
        if done.returncode:
            complaint = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise DockerError(f"docker {' '.join(arguments[:2])}: {complaint[-COMPLAINT_CHARACTERS:]}")
        return done.stdout.decode().strip()

    def import_tiny(self, name: str, *, files: Mapping[str, str] | None = None, changes: tuple[str, ...] = ()) -> str:
        """Make an image of 2 MB out of busybox, under this name; answers its id.

        It serves `/www` on port 8080, or on `$PORT`, and ends at once when it is told to. `/bin/entrypoint` is for
        commands that would ignore SIGTERM as process 1. `files` come on top, by path without the leading slash, and
        `changes` are Dockerfile instructions such as `USER 1000`.
        """
        defaults = (
            'ENTRYPOINT ["/bin/entrypoint"]',
            'CMD ["/bin/sh", "-c", "exec httpd -f -p ${PORT:-8080} -h /www"]',
        )
        options = [option for change in (*defaults, *changes) for option in ("--change", change)]
        return self.run("import", *options, "-", name, stdin=_tiny(files or {}))

    def remove_labelled(self, label: str) -> None:
        """Remove all containers, networks and volumes that carry a label, given as `key` or `key=value`."""
        for kind, list_options, remove_options in (
            ("container", ["--all"], ["--force", "--volumes"]),
            ("network", [], []),
            ("volume", [], ["--force"]),
        ):
            found = self.run(kind, "ls", *list_options, "--quiet", "--filter", f"label={label}").split()
            if found:
                self.run(kind, "rm", *remove_options, *found)

    def remove_everything(self) -> None:
        """Remove all containers and networks of an engine that is for tests alone."""
        containers = self.run("container", "ls", "--all", "--quiet").split()
        try:
            if containers:
                self.run("container", "rm", "--force", "--volumes", *containers)
        finally:
            # Their bridges would stay when the engine has ended. Each takes addresses, of which there are for 31.
            self.run("network", "prune", "--force")


class Engine:
    """A `dockerd` of our own. Stopped and started again, it still has its images and containers."""

    def __init__(self, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="slipway-engine-", dir=fast_directory()))
        self.docker = Docker(f"unix://{self.directory}/docker.sock")
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it answers, which takes half a second.

        Raises:
            RuntimeError: It ended, or does not answer in half a minute; the message has the end of its log.
        """
        configuration = self.directory / "daemon.json"  # else it would read that of the machine
        configuration.write_text("{}")
        self._share_mounts()
        with (self.directory / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "dockerd",
                    f"--config-file={configuration}",
                    f"--data-root={self.directory}/data",
                    f"--exec-root={self.directory}/exec",
                    f"--pidfile={self.directory}/dockerd.pid",
                    f"--host={self.docker.host}",
                    *_OPTIONS,
                    *self.options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests; the engine is stopped after them
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.is_running or time.monotonic() > deadline:
                lines = (self.directory / "dockerd.log").read_text(errors="replace").splitlines()
                raise RuntimeError("\n".join(["The Docker engine did not start:", *lines[-20:]]))
            time.sleep(0.02)

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """End it as an operator would (SIGTERM stops its containers too), or let it crash with SIGKILL."""
        if self._process is None:
            return
        self._process.send_signal(signal_number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # The next start would take its containerd for one that works, even while that is a zombie.
        containerd = self.directory / "exec/containerd"
        _end_processes_of(containerd / "containerd.toml")
        (containerd / "containerd.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Leave no container, network, process, mount or file of it behind, whatever state it is in."""
        try:
            if not self.is_running:
                self.start()
            self.docker.remove_everything()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"The Docker engine for tests could not be tidied: {error}", file=sys.stderr)  # noqa: T201
        self.stop()
        _end_processes_of(self.directory)
        for mount in _mounts_below(self.directory):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _share_mounts(self) -> None:
        """Have mounts below the data be shared, as they are where systemd has made all so.

        Else the engine does that, for as long as it runs: what was mounted when it ended is then hidden from its
        successor, which can't remove what it does not see.
        """
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        if str(data) not in _mounts_below(self.directory):
            subprocess.run(["mount", "--bind", "--make-shared", data, data], check=True)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(str(self.directory / "docker.sock"))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(100)
        except OSError:
            return False


@contextlib.contextmanager
def running(*options: str) -> Iterator[Engine]:
    """An engine that is gone afterwards. `options` are dockerd's, such as `--live-restore`."""
    engine = Engine(*options)
    try:
        engine.start()
        yield engine
    finally:
        engine.close()


def _tiny(files: Mapping[str, str]) -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise RuntimeError("There is no busybox for images of tests: install Debian's busybox-static.")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for directory, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("www", 0o755)):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        tar.add(busybox, "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        texts = {"bin/entrypoint": _ENTRYPOINT, "etc/passwd": "root:x:0:0::/:/bin/sh\n", "www/index.html": "hello\n"}
        for path, text in {**texts, **files}.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text.encode()), 0o755
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive.getvalue()


def _end_processes_of(path: Path) -> None:
    """Kill what has a path of an engine in its command line, or its root below it, and wait until it is gone."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if _is_of(process, os.fsencode(path)):
                    found.append(process)
                    os.kill(int(process.name), signal.SIGKILL)
        if not found:
            return
        time.sleep(0.01)


def _is_of(process: Path, path: bytes) -> bool:
    if path in (process / "cmdline").read_bytes():
        return True
    # 78 51 0:39 / / rw,relatime - overlay overlay rw,lowerdir=/…: a container that its shim has left alone
    mounts = (process / "mountinfo").read_bytes().splitlines()
    return any(path in mount for mount in mounts if mount.split()[4] == b"/")


def _end_family(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started, also where that is several generations down; nothing where it has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            for member in [process.pid, *_descendants(process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(FAMILY_SECONDS)


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # 4242 (a (strange) name) S 1 …: the parent is the second field after the name
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(process.name))
    found = [ancestor]
    for process_id in found:
        found += children.get(process_id, [])
    return found[1:]


def _mounts_below(directory: Path) -> list[str]:
    """The innermost first."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{directory}/")), reverse=True)


def main() -> int:
    """Run a command (a shell where none is given) beside an engine; answers its exit code."""
    command = sys.argv[1:] or [os.environ.get("SHELL", "sh")]

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    with running() as engine:
        process = subprocess.Popen(command, env={**os.environ, VARIABLE: engine.docker.host})
        try:
            return process.wait()
        finally:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # what was started is ended, however impatient the caller is
            _end_family(process)


if __name__ == "__main__":
    sys.exit(main())
