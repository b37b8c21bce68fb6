"""The wire between a driver and an engine, that a test can cut: a Unix socket before the engine's own."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

CHUNK_BYTES = 2**16


class Wire:
    """Passes requests on. While `hangs` nothing is answered; while `is_cut` nobody can connect.

    The answer to a request that begins as one of the patterns in `losing` (`POST \\S+/start`) is lost once: what was
    asked for has been done when the connection breaks, and `lost` is set. `requests` are the first lines of all that
    was asked.
    """

    def __init__(self, path: Path, engine: str) -> None:
        self.host = f"unix://{path}"
        self.requests: list[str] = []
        self.losing: list[str] = []
        self.lost = asyncio.Event()
        self.hangs = False
        self._path = path
        self._engine = engine.removeprefix("unix://")
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def mend(self) -> None:
        """Let connections through, as at the beginning."""
        self._server = await asyncio.start_unix_server(self._accept, self._path)

    async def cut(self) -> None:
        """End all connections, and let nobody connect."""
        assert self._server is not None
        self._server.close()
        self._path.unlink(missing_ok=True)
        while self._connections:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connect(reader, writer))
        self._connections.add(task)

        def end(_: asyncio.Future[None]) -> None:
            writer.close()
            self._connections.discard(task)

        task.add_done_callback(end)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            engine_reader, engine_writer = await asyncio.open_unix_connection(self._engine)
            lose = asyncio.Event()
            passing = [
                asyncio.ensure_future(self._pass_requests(reader, engine_writer, lose)),
                asyncio.ensure_future(self._pass_answers(engine_reader, writer, lose)),
            ]
            try:
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
                if lose.is_set():  # even if the driver waits no longer
                    await passing[1]
            finally:
                engine_writer.close()
                for each in passing:
                    each.cancel()
                await asyncio.gather(*passing, return_exceptions=True)

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lose: asyncio.Event
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            line = chunk.partition(b"\r\n")[0].decode("latin-1")
            if line.endswith(" HTTP/1.1"):
                self.requests.append(line.removesuffix(" HTTP/1.1"))
                for each in self.losing:
                    if re.match(each, line):
                        self.losing.remove(each)
                        lose.set()
                        break
            writer.write(chunk)
            await writer.drain()

    async def _pass_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lose: asyncio.Event
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if lose.is_set():
                self.lost.set()
                return
            while self.hangs:
                await asyncio.sleep(0.01)
            writer.write(chunk)
            await writer.drain()


@contextlib.asynccontextmanager
async def wired(path: Path, engine: str) -> AsyncIterator[Wire]:
    """A wire that lasts as long as the block."""
    wire = Wire(path, engine)
    await wire.mend()
    try:
        yield wire
    finally:
        await wire.cut()
