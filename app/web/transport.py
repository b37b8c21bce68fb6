"""How the server writes: what is written in one turn of the event loop goes out at its end, in one piece.

Uvicorn writes the head of an answer and then its body. Each write to a socket wakes up its reader and costs several
microseconds, which is a third of what a short answer costs.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# More than that goes out at once: the transport has to see it, to say when it is too much.
HELD_MAXIMUM_BYTES = 64 * 1024


class OneWriteATurn:
    """A transport that holds back what is written until the end of the turn; all else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.is_closing = transport.is_closing
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write at the end of the turn."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_MAXIMUM_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is held back, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(b"".join(self._held))
            self._held.clear()
            self._held_bytes = 0


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's protocol on such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin."""
        super().connection_made(cast("asyncio.Transport", OneWriteATurn(transport, self.loop)))
