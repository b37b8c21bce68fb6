"""The program that holds the processes of the `process` runtime, so that none is ever leaked. Standard library only.

The server starts one keeper and shares a socket with it. For each container the server sends one end of another
socket, and the keeper forks a supervisor for it. A supervisor starts the container's process in a session of its own,
writes what it prints to a log, stops it when told, and reports how it ended:

    server ── keeper ──┬── supervisor ── process ── its children
       └───────────────┼──────┘
                       └── supervisor …

Both keeper and supervisors are subreapers (prctl(2), PR_SET_CHILD_SUBREAPER): whatever a process leaves behind, in
whichever session, becomes their child, and they kill it. When the server dies, its ends of the sockets close, and
everything goes. When a supervisor is killed, its process gets a SIGKILL with it (PR_SET_PDEATHSIG), and the keeper
kills the rest. Supervisors go on when the keeper is killed: each has its own line to the server.

Without prctl(2), as on macOS, a process that leaves its session outlives its container.

On a container's socket, lines of JSON: the server sends an order and later {"stop": seconds of grace}; the supervisor
sends {"started": pid} or {"failed": errno}, and at the end {"exited": code, "signal": number}.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
ON_LINUX = sys.platform == "linux"

READ_BYTES = 65_536
LINE_MAXIMUM_BYTES = 16_384  # what the kubelet's log format allows a line before it is split
LOG_MAXIMUM_BYTES = 5 * 1024**2
OPEN_FILES_MAXIMUM = 65_536
POLL_SECONDS = 0.002
PATIENCE_SECONDS = 2.0

_libc = ctypes.CDLL(None, use_errno=True) if ON_LINUX else None


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)


def _children() -> list[int]:
    """The direct children of this process. The kernel may leave some out while others end: ask again."""
    if not ON_LINUX:
        return []
    with contextlib.suppress(OSError):
        return [int(each) for each in Path("/proc/thread-self/children").read_text("ascii").split()]
    found = []  # a kernel without CONFIG_PROC_CHILDREN
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # "17 (a name) S 4 …": the name may hold anything, the fourth field is the parent.
            if int(stat.read_text("ascii", "replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _ended_children() -> Iterator[tuple[int, int]]:
    """Reap the children that have ended: process ids and statuses of wait(2).

    Raises:
        ChildProcessError: there are no children any more.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        yield pid, status


class _Wakeup:
    """A socket that becomes readable when a child has ended."""

    def __init__(self) -> None:
        self.reader, self.writer = socket.socketpair()
        self.reader.settimeout(0.0)
        self.writer.settimeout(0.0)
        signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.reader.recv(READ_BYTES):
                pass

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self.reader.close()
        self.writer.close()


class Log:
    """What a container prints, in the log format of the Container Runtime Interface, in two files of bounded size.

    A line is a time, a stream, `F` or `P` (full, or a part of a line that goes on) and the text as it was printed:
    `2026-11-23T12:00:00.000000Z stderr F something went wrong`. The older half is beside it, with `.1` at its end.
    """

    def __init__(self, path: Path, maximum_bytes: int = LOG_MAXIMUM_BYTES) -> None:
        self.path = path
        self.maximum_bytes = maximum_bytes
        self._descriptor: int | None = None
        self._unfinished: dict[str, bytes] = {}

    def write(self, stream: str, data: bytes) -> None:
        """Take what came in. What can't be stored, as on a full disk, is lost: it must not stop the container."""
        *lines, rest = (self._unfinished.get(stream, b"") + data).split(b"\n")
        records = [record for line in lines for record in self._records(stream, line, "F")]
        while len(rest) >= LINE_MAXIMUM_BYTES:
            records.append(self._record(stream, rest[:LINE_MAXIMUM_BYTES], "P"))
            rest = rest[LINE_MAXIMUM_BYTES:]
        self._unfinished[stream] = rest
        self._append(b"".join(records))

    def close(self) -> None:
        """Write out what had no end of line."""
        for stream, rest in self._unfinished.items():
            if rest:
                self._append(self._record(stream, rest, "F"))
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _records(self, stream: str, line: bytes, last: str) -> Iterator[bytes]:
        while len(line) > LINE_MAXIMUM_BYTES:
            yield self._record(stream, line[:LINE_MAXIMUM_BYTES], "P")
            line = line[LINE_MAXIMUM_BYTES:]
        yield self._record(stream, line, last)

    @staticmethod
    def _record(stream: str, text: bytes, tag: str) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return f"{now} {stream} {tag} ".encode("ascii") + text + b"\n"

    def _append(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags, 0o600)
            if os.fstat(self._descriptor).st_size + len(data) > self.maximum_bytes:
                self.path.replace(f"{self.path}.1")
                os.close(self._descriptor)
                self._descriptor = None
                self._append(data[: self.maximum_bytes])
                return
            os.write(self._descriptor, data)


class Supervisor:
    """Runs one container's process from its start to the end of everything that it has started."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.selector = selectors.DefaultSelector()
        self.wakeup = _Wakeup()
        self.status: int | None = None
        self.kill_at: float | None = None
        self._received = b""

    def run(self) -> None:
        """Take the order, start, and watch until the end."""
        order = self._receive()
        if order is None:
            return
        self.log = Log(Path(order["log"]), order["log_maximum_bytes"])
        try:
            self.process = self._start(order)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._send(failed=getattr(error, "errno", None) or errno.EINVAL)
            return
        self._send(started=self.process.pid)
        self.selector.register(self.control, selectors.EVENT_READ, self._obey)
        self.selector.register(self.wakeup.reader, selectors.EVENT_READ, self.wakeup.clear)
        for name in ("stdout", "stderr"):
            pipe = getattr(self.process, name)
            os.set_blocking(pipe.fileno(), False)
            self.selector.register(pipe, selectors.EVENT_READ, lambda name=name: self._read(name))
        self._watch()
        self._kill_all()
        for name in ("stdout", "stderr"):
            while self._read(name):
                pass
        self.log.close()
        assert self.status is not None  # noqa: S101  # _kill_all returns when the process has been reaped
        code = os.waitstatus_to_exitcode(self.status)
        self._send(exited=max(code, 0), signal=max(-code, 0))

    def _start(self, order: dict[str, Any]) -> "subprocess.Popen[bytes]":
        supervisor = os.getpid()

        def prepare() -> None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:  # it died before the line above could help
                os._exit(1)
            _prctl(PR_SET_NO_NEW_PRIVS, 1)  # a set-user-id program would lose the signal of the first line
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            soft = OPEN_FILES_MAXIMUM if hard == resource.RLIM_INFINITY else min(OPEN_FILES_MAXIMUM, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core holds the secrets of the environment

        return subprocess.Popen(  # noqa: S603  # running what users describe is what this program is for
            order["arguments"],
            env=order["environment"],
            cwd=order["directory"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509  # there are no threads here
        )

    def _watch(self) -> None:
        while self.status is None:
            timeout = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())
            for key, _ in self.selector.select(timeout):
                key.data()
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                return
            self._reap()

    def _obey(self) -> None:
        order = self._receive()
        if order is None:  # the server is gone
            self.kill_at = time.monotonic()
        elif self.kill_at is None:
            self.kill_at = time.monotonic() + order["stop"]
            self._signal_group(signal.SIGTERM)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            for pid, status in _ended_children():
                self._note(pid, status)

    def _note(self, pid: int, status: int) -> None:
        if pid == self.process.pid:
            self.status = status
            self.process.returncode = os.waitstatus_to_exitcode(status)

    def _kill_all(self) -> None:
        """A container ends with its first process. Orphans become children of this one, so the loop reaches all."""
        if self.status is None or not ON_LINUX:  # once it has been reaped, its number may be another's
            self._signal_group(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in _children():
                    _kill(pid)
                for pid, status in _ended_children():
                    self._note(pid, status)
                time.sleep(POLL_SECONDS)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def _read(self, name: str) -> bool:
        pipe = getattr(self.process, name)
        if pipe.closed:
            return False
        try:
            data = os.read(pipe.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self.log.write(name, data)
        else:
            self.selector.unregister(pipe)
            pipe.close()
        return bool(data)

    def _receive(self) -> dict[str, Any] | None:
        """The next line from the server; None when it has closed its end."""
        while b"\n" not in self._received:
            try:
                data = self.control.recv(READ_BYTES)
            except OSError:
                return None
            if not data:
                return None
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        order: dict[str, Any] = json.loads(line)
        return order

    def _send(self, **message: Any) -> None:
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(message).encode("utf-8") + b"\n")


class Keeper:
    """Forks a supervisor for each socket that comes in, and kills what supervisors have left behind."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.selector = selectors.DefaultSelector()
        self.wakeup = _Wakeup()
        self.supervisors: set[int] = set()

    def run(self) -> None:
        """Serve until the server closes its end, by will or by death; then leave nothing."""
        self.selector.register(self.control, selectors.EVENT_READ)
        self.selector.register(self.wakeup.reader, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in self.selector.select()}
            if self.wakeup.reader in ready:
                self.wakeup.clear()
                self._clean_up()
            if self.control in ready:
                try:
                    data, descriptors, _, _ = socket.recv_fds(self.control, 1, 1, socket.MSG_CMSG_CLOEXEC)
                except OSError:
                    break
                if not data:
                    break
                for descriptor in descriptors:
                    self._fork(descriptor)
        self._end()

    def _fork(self, descriptor: int) -> None:
        pid = os.fork()
        if pid:
            os.close(descriptor)
            self.supervisors.add(pid)
            return
        code = 1
        try:
            self.control.close()
            self.selector.close()
            self.wakeup.close()
            _prctl(PR_SET_CHILD_SUBREAPER, 1)
            Supervisor(socket.socket(fileno=descriptor)).run()
            code = 0
        except BaseException:  # noqa: BLE001  # the fork must end here, whatever happens
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _clean_up(self) -> None:
        """Reap; kill the orphans that supervisors left. Each that dies wakes this up again, for its own orphans."""
        with contextlib.suppress(ChildProcessError):
            for pid, _ in _ended_children():
                self.supervisors.discard(pid)
        for pid in _children():
            if pid not in self.supervisors:
                _kill(pid)

    def _end(self) -> None:
        """The supervisors have lost the server too and are at it; wait for them, then take over."""
        patient_until = time.monotonic() + PATIENCE_SECONDS
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in _children():
                    if pid not in self.supervisors or time.monotonic() > patient_until:
                        _kill(pid)
                for pid, _ in _ended_children():
                    self.supervisors.discard(pid)
                time.sleep(POLL_SECONDS)


def main() -> None:
    """Run as `keeper.py DESCRIPTOR`: the number of the socket that was inherited from the server."""
    # The server may have been started with signals ignored or blocked, as in the background of a shell, and what a
    # process ignores its children ignore as well.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):
            if signal.getsignal(number) is signal.SIG_IGN and number != signal.SIGPIPE:
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    Keeper(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
