"""A replica that says, byte by byte, what a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

CLOSE = b""
"""Instead of an answer: the connection is closed."""


HANG_UP = b"hang up"


class Scripted:
    """A server that answers the requests on its first connection by the first script, and so on.

    A script has what is sent for each request, as soon as its head is there: nothing means that the connection is
    closed. After the last one it stays open, unless that is `HANG_UP`.
    """

    def __init__(self, *scripts: Sequence[bytes]) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self.connections = 0
        self.ended = 0
        self._scripts = scripts
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            for answer in script:
                if answer == HANG_UP:
                    return
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if not answer:
                    return
                writer.write(answer)
            while await reader.read(65536):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            self._serving.discard(task)
            writer.close()

    async def end(self) -> None:
        """Close what is open."""
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


@contextlib.asynccontextmanager
async def scripted(*scripts: Sequence[bytes]) -> AsyncIterator[Scripted]:
    """Such a server on loopback."""
    made = Scripted(*scripts)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
        await made.end()
