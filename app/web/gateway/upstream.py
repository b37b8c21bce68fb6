"""HTTP/1.1 to replicas, as a gateway needs it: what comes goes on, piece by piece, and connections are used again.

The parser is llhttp, by way of httptools, as in the server in front. `docs/decisions` says why this is no library.
"""

import asyncio
import contextlib
from typing import cast

import httptools

from app.domain.traffic import Address
from app.web.gateway.forwarding import HEAD_MAXIMUM_BYTES, WITHOUT_BODY, Body, Headers, RequestHead

CONNECT_TIMEOUT_SECONDS = 2.0
# Between two pieces of an answer: streams of events have long silences.
READ_TIMEOUT_SECONDS = 300.0
WRITE_TIMEOUT_SECONDS = 60.0
# Servers close idle connections after 2 seconds or more; a request on one that is being closed would be lost.
IDLE_SECONDS = 1.0
SWEEP_SECONDS = 1.0
FINAL_STATUS_MINIMUM = 200
STATUS_MAXIMUM = 599
# As much of an answer is held for a client that takes it slowly.
BUFFER_MAXIMUM_BYTES = 256 * 1024


class Unreachable(Exception):
    """The replica does not accept the connection."""


class BrokenOff(Exception):
    """The replica closed the connection in the middle of something, or what it says is not HTTP/1."""


class TimedOut(Exception):
    """The replica said, or took, nothing for too long."""


class Connection(asyncio.Protocol):
    """A connection to a replica, which has one request at a time."""

    def __init__(self, pool: "Pool", address: Address) -> None:
        self.address = address
        self.is_fresh = True
        self.idle_since: float | None = None
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._failure: Exception | None = None
        self._reading: asyncio.Future[None] | None = None
        self._reading_since = 0.0
        self._writable = asyncio.Event()
        self._writable.set()
        self._blocked_since: float | None = None
        # What belongs to one request is set by `ask`; without a parser nobody has asked.
        self._parser: httptools.HttpResponseParser | None = None

    # What the gateway does

    def ask(self, request: RequestHead) -> None:
        """Send the beginning of a request."""
        self.has_heard = False
        self._may_go_on = asyncio.Event()
        self._is_head = request.method == "HEAD"
        self._body = request.body
        self._sent = request.body is Body.NONE
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._head_done = False
        self._complete = False
        self._framed = False
        self._keep_alive = False
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request.data)

    async def send(self, piece: bytes, *, more: bool) -> None:
        """Send a piece of the body.

        Raises:
            BrokenOff, TimedOut: the replica does not take it.
        """
        self._reading_since = self._loop.time()  # it need not answer yet
        if self._body is Body.CHUNKED:
            piece = (b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"") + (b"" if more else b"0\r\n\r\n")
        if self._failure is not None or self._transport.is_closing():
            raise self._failure or BrokenOff
        if piece:
            self._transport.write(piece)
        self._sent = not more
        if not self._writable.is_set():
            await self._writable.wait()
            if self._failure is not None:
                raise self._failure

    async def may_go_on(self, timeout_seconds: float) -> bool:
        """Wait until the replica wants the body, for so long at most; False where it has answered without it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._may_go_on.wait()
        return not self._head_done

    async def answer(self) -> tuple[int, Headers]:
        """The status and the headers of the answer.

        Raises:
            BrokenOff, TimedOut: there is none.
        """
        while not self._head_done:
            await self._wait()
        return self._status, self._headers

    async def read(self) -> tuple[bytes, bool]:
        """What there is of the answer's body, and whether there will be more.

        Raises:
            BrokenOff, TimedOut: the rest is lost.
        """
        while not self._pieces and not self._complete:
            await self._wait()
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._held_bytes > BUFFER_MAXIMUM_BYTES and not self._complete:
            self._transport.resume_reading()
        self._held_bytes = 0
        return piece, not self._complete

    def done(self) -> None:
        """Give the connection back, where it can be used again; else close it."""
        self._parser = None
        if self._complete and self._sent and self._keep_alive and not self._transport.is_closing():
            self.is_fresh = False
            self._pool.take_back(self)
        else:
            self._transport.abort()

    def fail(self, failure: Exception) -> None:
        """Close the connection; whoever waits for it gets this."""
        if self._failure is None:
            self._failure = failure
        self._wake()
        self._writable.set()
        self._transport.abort()

    def check(self, now: float) -> None:
        """Close what has been idle, or silent, for too long."""
        if self.idle_since is not None:
            if now - self.idle_since > IDLE_SECONDS:
                self._transport.close()
        elif (self._reading is not None and now - self._reading_since > READ_TIMEOUT_SECONDS) or (
            self._blocked_since is not None and now - self._blocked_since > WRITE_TIMEOUT_SECONDS
        ):
            self.fail(TimedOut())

    def is_closing(self) -> bool:
        """Whether it can't be used any more."""
        return self._transport.is_closing()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._reading = self._loop.create_future()
        self._reading_since = self._loop.time()
        try:
            await self._reading
        finally:
            self._reading = None

    def _wake(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """A piece of an answer."""
        if self._parser is None:
            self.fail(BrokenOff("It spoke without being asked."))
            return
        self.has_heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(BrokenOff(str(error)))
            return
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAXIMUM_BYTES:
                self.fail(BrokenOff("The head of its answer is too large."))
        elif not self._complete and self._held_bytes > BUFFER_MAXIMUM_BYTES:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed: the end of an answer without a length, or too early."""
        self._pool.closed(self)
        if self._parser is not None and self._head_done and not self._framed and exc is None:
            self._complete = True
        if self._failure is None:
            self._failure = BrokenOff("It closed the connection.")
        self._wake()
        self._writable.set()

    def pause_writing(self) -> None:
        """The replica takes less than is sent."""
        self._blocked_since = self._loop.time()
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._blocked_since = None
        self._writable.set()

    # What the parser calls

    def on_message_begin(self) -> None:
        """The first byte of an answer; of another one than was asked for, where this one is complete."""
        if self._complete:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer: those are dropped."""
        if not self._head_done:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there; that of an interim answer is of no interest."""
        assert self._parser is not None  # noqa: S101  # it calls this
        if self._head_done:
            return
        status = self._parser.get_status_code()
        if status < FINAL_STATUS_MINIMUM:
            self._headers.clear()
            self._may_go_on.set()
            return
        if status > STATUS_MAXIMUM:
            raise BrokenOff(f"Its answer has the status {status}.")
        for name, value in self._headers:
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise BrokenOff(f"Its answer has the transfer coding {value[:20]!r}, which nobody asked for.")
            self._framed = self._framed or name in (b"content-length", b"transfer-encoding")
        self._status = status
        self._head_done = True
        if self._is_head or status in WITHOUT_BODY:
            self._end()
        self._wake()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        if self._complete:
            self._keep_alive = False
            return
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        self._wake()

    def on_message_complete(self) -> None:
        """The end of an answer."""
        if self._head_done and not self._complete:
            self._end()
            self._wake()

    def _end(self) -> None:
        assert self._parser is not None  # noqa: S101  # it calls what calls this
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()


class Pool:
    """The connections to all replicas. Close them with `close`."""

    def __init__(self) -> None:
        self._idle: dict[Address, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    async def connect(self, address: Address, *, fresh: bool = False) -> Connection:
        """A connection that nobody uses.

        Raises:
            Unreachable: the replica accepts none.
        """
        loop = asyncio.get_running_loop()
        idle = self._idle.get(address)
        while idle and not fresh:
            connection = idle.pop()
            since, connection.idle_since = connection.idle_since, None
            if not connection.is_closing() and since is not None and loop.time() - since <= IDLE_SECONDS:
                return connection
            connection.fail(BrokenOff())
        host, port = address
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                return (await loop.create_connection(lambda: Connection(self, address), host, port))[1]
        except (OSError, TimeoutError) as error:
            raise Unreachable from error

    def take_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(connection.address, []).append(connection)

    def opened(self, connection: Connection) -> None:
        """A connection tells that it is there."""
        self._open.add(connection)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def closed(self, connection: Connection) -> None:
        """A connection tells that it is gone."""
        self._open.discard(connection)
        if connection.idle_since is not None:
            self._idle[connection.address].remove(connection)

    def close(self) -> None:
        """Close every connection."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in tuple(self._open):
            connection.fail(BrokenOff("The server ends."))

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._open):
            connection.check(now)
        self._idle = {address: idle for address, idle in self._idle.items() if idle}
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep) if self._open else None
