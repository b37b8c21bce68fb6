"""The server's end of the lines to the keeper and its supervisors; see `app.runtimes.keeper`."""

import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.runtimes import keeper

ANSWER_TIMEOUT_SECONDS = 10.0
END_TIMEOUT_SECONDS = 5.0


class StartError(Exception):
    """A process could not be started; `errno` says why."""

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """A process to start. Its arguments and its environment may hold secrets."""

    arguments: list[str] = dataclasses.field(repr=False)
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    directory: Path
    log: Path


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: its exit code, or the signal that ended it. Both None: its supervisor was killed."""

    code: int | None
    signal: int | None


class Kept:
    """A process under a supervisor."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def start(self, order: Order) -> None:
        """Send the order.

        Raises:
            StartError: the process can't be started.
            OSError: the keeper or the supervisor has died.
        """
        await self._send(
            arguments=order.arguments,
            environment=dict(order.environment),
            directory=str(order.directory),
            log=str(order.log),
            log_maximum_bytes=keeper.LOG_MAXIMUM_BYTES,
        )
        answer = await self._receive()
        if answer is None:
            raise ConnectionResetError("The supervisor of a process has died.")
        if "failed" in answer:
            raise StartError(answer["failed"])

    async def stop(self, grace_seconds: float) -> None:
        """Ask the process to end, and make it end when it has not done so in time. `wait` tells when it has."""
        with contextlib.suppress(OSError):
            await self._send(stop=grace_seconds)

    async def wait(self) -> Exit:
        """Wait until nothing is left of the process and of all that it has started."""
        answer = await self._receive()
        if answer is None:
            return Exit(None, None)
        return Exit(answer["exited"], None) if not answer["signal"] else Exit(None, answer["signal"])

    def close(self) -> None:
        """Hang up: the supervisor kills what still runs."""
        self._writer.close()

    async def _send(self, **message: Any) -> None:
        self._writer.write(json.dumps(message).encode("utf-8") + b"\n")
        await self._writer.drain()

    async def _receive(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError):
            line = await self._reader.readline()
            if line.endswith(b"\n"):
                message: dict[str, Any] = json.loads(line)
                return message
        return None


class Keepers:
    """Starts a keeper when one is needed, and another when that one has died."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None

    async def start(self, order: Order) -> Kept:
        """Start a process.

        Raises:
            StartError: it can't be started.
            OSError: no keeper can be started.
        """
        ours, theirs = socket.socketpair()
        kept: Kept | None = None
        try:
            with theirs:
                await self._hand_over(theirs)
            ours.settimeout(0.0)
            kept = Kept(*await asyncio.open_unix_connection(sock=ours))
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                await kept.start(order)
        except BaseException:
            if kept is None:
                ours.close()
            else:
                kept.close()
            raise
        return kept

    async def ensure(self, dead: socket.socket | None = None) -> socket.socket:
        """The line to a keeper that lives. `dead` is a line that was found to be none.

        Raises:
            OSError: no keeper can be started.
        """
        async with self._starting:
            if self._process is not None and (self._control is dead or self._process.returncode is not None):
                await self._end(self._process)
            if self._control is None:
                ours, theirs = socket.socketpair()
                with theirs:
                    try:
                        self._process = await asyncio.create_subprocess_exec(
                            # Isolated and without site-packages, it starts in a few milliseconds.
                            *(sys.executable, "-I", "-S", keeper.__file__, str(theirs.fileno())),
                            env=dict(self._environment),
                            pass_fds=(theirs.fileno(),),
                            stdin=asyncio.subprocess.DEVNULL,
                            start_new_session=True,
                        )
                    except BaseException:
                        ours.close()
                        raise
                self._control = ours
            return self._control

    async def close(self) -> None:
        """Hang up on the keeper, and wait until it has ended what it holds."""
        async with self._starting:
            if self._process is not None:
                await self._end(self._process)

    async def _hand_over(self, theirs: socket.socket) -> None:
        control = await self.ensure()
        try:
            socket.send_fds(control, [b"+"], [theirs.fileno()])
        except OSError:  # the keeper died a moment ago
            control = await self.ensure(dead=control)
            socket.send_fds(control, [b"+"], [theirs.fileno()])

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if self._control is not None:
            self._control.close()
        self._process = self._control = None
        try:
            async with asyncio.timeout(END_TIMEOUT_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
