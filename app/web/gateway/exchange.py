"""One request and its answer: both are streamed, and each side is told when the other one leaves."""

import asyncio

import structlog
from starlette.types import Receive, Send

from app.domain.traffic import Address
from app.web.gateway import forwarding, upstream
from app.web.refusals import Refusal

# Whether a client without a body has left is of interest from then on: most answers are there before.
LISTEN_AFTER_SECONDS = 0.1
# A client that takes nothing of its answer for as long is not waited for.
CLIENT_TIMEOUT_SECONDS = 60.0
# RFC 9110, 10.1.1: a client that expects "100 Continue" does not wait for ever either.
CONTINUE_TIMEOUT_SECONDS = 1.0
# RFC 9110, 9.2.2: sending them twice is like sending them once.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

_log = structlog.get_logger(__name__)


class _ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class Exchange:
    """A request that a client waits for; `lead_on` gets it the answer of a replica."""

    def __init__(self, pool: upstream.Pool, request: forwarding.RequestHead, receive: Receive, send: Send) -> None:
        self._pool = pool
        self._request = request
        self._receive = receive
        self._send = send
        self._connection: upstream.Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None
        self._body_begun = False

    async def lead_on(self, address: Address) -> None:
        """Send the request to a replica, and its answer to the client.

        Servers close idle connections when they like. A request that meets such an end is sent again on a new
        connection, where that can't do anything twice.

        Raises:
            upstream.Unreachable: the replica accepts no connection; the request can go to another.
            Refusal: it gave no answer.
        """
        connection = await self._pool.connect(address)
        try:
            await self._exchange(connection)
        except upstream.BrokenOff as error:
            is_safe = self._request.method in IDEMPOTENT and not self._body_begun
            if connection.is_fresh or connection.has_heard or not is_safe:
                raise _failed() from error
            try:
                await self._exchange(await self._pool.connect(address, fresh=True))
            except upstream.BrokenOff as again:
                raise _failed() from again

    def leave(self) -> None:
        """End it, wherever it is."""
        if self._connection is not None:
            self._connection.fail(_ClientLeft())

    async def _exchange(self, connection: upstream.Connection) -> None:
        self._connection = connection
        try:
            connection.ask(self._request)
            self._listen_to_client()
            status, sent = await connection.answer()
            headers = forwarding.answer_headers(status, sent)
            if self._request.expects_continue and not self._body_begun:
                headers.append((b"connection", b"close"))  # what the client sends next may be the body, or may not
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._stream(connection)
        except upstream.TimedOut as error:
            raise Refusal(504, "ENDPOINT_TIMEOUT", "The replica did not answer in time.") from error
        except _ClientLeft:
            pass
        finally:
            self._connection = None
            self._stop_listening()
            connection.done()

    async def _stream(self, connection: upstream.Connection) -> None:
        """Send the body as it comes. Half an answer can't be taken back: the server cuts the connection for it."""
        try:
            piece, more = await connection.read()
            if not more:  # as most answers: then nothing of it waits for the client yet
                await self._send({"type": "http.response.body", "body": piece})
                return
            while True:
                async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
                    await self._send({"type": "http.response.body", "body": piece, "more_body": more})
                if not more:
                    return
                piece, more = await connection.read()
        except (upstream.BrokenOff, upstream.TimedOut, TimeoutError) as error:
            _log.warning("answer_cut", replica=connection.address, reason=str(error) or type(error).__name__)

    # What comes from the client: its body, and the news that it has left

    def _listen_to_client(self) -> None:
        if self._request.body is forwarding.Body.NONE:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LISTEN_AFTER_SECONDS, self._listen_from_now_on)
        else:
            self._listen_from_now_on()

    def _listen_from_now_on(self) -> None:
        self._listening = asyncio.create_task(self._listen())

    def _stop_listening(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()

    async def _listen(self) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101  # nobody listens for another
        if self._request.expects_continue and not await connection.may_go_on(CONTINUE_TIMEOUT_SECONDS):
            return
        sends_body = self._request.body is not forwarding.Body.NONE
        while (message := await self._receive())["type"] != "http.disconnect":
            if sends_body:
                self._body_begun = True
                sends_body = message.get("more_body", False)
                try:
                    await connection.send(message.get("body", b""), more=sends_body)
                except (upstream.BrokenOff, upstream.TimedOut, _ClientLeft):
                    return  # whoever reads the answer hears of it as well
        self.leave()


def _failed() -> Refusal:
    return Refusal(502, "ENDPOINT_FAILED", "The replica broke off before it answered.")
