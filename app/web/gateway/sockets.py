"""WebSockets: the messages of either side, and its end, go to the other one.

Pings and compression are for one hop alone. The server and this client, both of the `websockets` library, send a ping
every 20 seconds, and end a connection whose other side does not answer it.
"""

import asyncio
import dataclasses
from collections.abc import Coroutine
from typing import Any
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from app.domain.traffic import Address
from app.web.gateway import forwarding, upstream
from app.web.refusals import Refusal

# As uvicorn's for what comes from clients.
MESSAGE_MAXIMUM_BYTES = 16 * 1024 * 1024
# Frames that wait for a client which takes them slowly.
QUEUE_MAXIMUM = 4
HANDSHAKE_TIMEOUT_SECONDS = 30.0
CLIENT_TIMEOUT_SECONDS = 60.0
CLOSE_TIMEOUT_SECONDS = 5.0

OWN_PROTOCOL = "slipway"
TOKEN_PROTOCOL = "slipway.token."  # noqa: S105  what stands before a token
# The headers of a handshake are for one hop.
HANDSHAKE = b"sec-websocket-"
# RFC 6455, 7.4, and the registry of close codes that it opens: those that may be sent.
SENDABLE = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What a client offers as subprotocols: some for the service, and maybe a token for the gateway."""

    token: str
    for_service: tuple[str, ...]
    knows_gateway: bool

    def answer(self, chosen: str | None) -> str | None:
        """The subprotocol that the client hears of; browsers want one of those that they have offered."""
        return chosen or (OWN_PROTOCOL if self.knows_gateway else None)


def offer(scope: Scope) -> Offer:
    """Browsers can't send a header with a WebSocket: the token may be a subprotocol, as `slipway.token.TOKEN`."""
    offered: list[str] = scope["subprotocols"]
    tokens = [unquote(each.removeprefix(TOKEN_PROTOCOL)) for each in offered if each.startswith(TOKEN_PROTOCOL)]
    for_service = tuple(each for each in offered if each != OWN_PROTOCOL and not each.startswith(TOKEN_PROTOCOL))
    return Offer(tokens[0] if tokens else "", for_service, OWN_PROTOCOL in offered)


class Socket:
    """A WebSocket that a client asks for; `lead_on` connects it with one of a replica."""

    def __init__(
        self, scope: Scope, workload: str, target: bytes, offered: Offer, receive: Receive, send: Send
    ) -> None:
        self._scope = scope
        self._workload = workload
        self._target = target
        self._offered = offered
        self._receive = receive
        self._send = send
        self._told_to_leave = asyncio.Event()

    async def lead_on(self, address: Address) -> None:
        """Connect to a replica, and carry messages until one side leaves.

        Raises:
            upstream.Unreachable: the replica accepts no connection; the client can be led to another.
            Refusal: it does not do its part of the handshake.
        """
        replica = await self._connect(address)
        try:
            await self._handshake(replica)
            await _first_of(self._to_replica(replica), self._to_client(replica), self._until_told_to_leave(replica))
        except InvalidStatus as error:
            await self._deny(error.response)
        except OSError:
            pass  # the client is gone
        finally:
            replica.transport.abort()

    def leave(self) -> None:
        """End it: the client may not be here any more."""
        self._told_to_leave.set()

    async def _connect(self, address: Address) -> ClientConnection:
        handshake = _Handshake(self._scope, self._workload, self._target, self._offered)
        host, port = address
        try:
            async with asyncio.timeout(upstream.CONNECT_TIMEOUT_SECONDS):
                _, replica = await asyncio.get_running_loop().create_connection(
                    lambda: ClientConnection(handshake, close_timeout=CLOSE_TIMEOUT_SECONDS, max_queue=QUEUE_MAXIMUM),
                    host,
                    port,
                )
        except (OSError, TimeoutError) as error:
            raise upstream.Unreachable from error
        return replica

    async def _handshake(self, replica: ClientConnection) -> None:
        """Shake hands with the replica, then with the client."""
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_SECONDS):
                await replica.handshake(user_agent_header=None)
        except TimeoutError as error:
            raise Refusal(504, "ENDPOINT_TIMEOUT", "The replica did not answer in time.") from error
        except (InvalidHandshake, ConnectionClosed) as error:
            if isinstance(error, InvalidStatus):
                raise
            raise Refusal(502, "ENDPOINT_FAILED", "The replica broke off before it answered.") from error
        replica.start_keepalive()
        assert replica.response is not None  # noqa: S101  # the handshake is over
        headers = [pair for pair in _headers_of(replica.response) if not pair[0].startswith(HANDSHAKE)]
        subprotocol = self._offered.answer(replica.subprotocol)
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})

    async def _deny(self, response: Response) -> None:
        """Tell the client what the replica answers instead of opening a WebSocket."""
        headers = [pair for pair in _headers_of(response) if pair[0] != b"content-length"]
        await self._send({"type": "websocket.http.response.start", "status": response.status_code, "headers": headers})
        await self._send({"type": "websocket.http.response.body", "body": bytes(response.body)})

    async def _to_replica(self, replica: ClientConnection) -> None:
        """Send on what the client says, until it leaves."""
        while (message := await self._receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            try:
                await replica.send(message["bytes"] if text is None else text)
            except ConnectionClosed:
                await asyncio.Event().wait()  # `_to_client` has heard the reason, and ends this
        code = message.get("code", CloseCode.NO_STATUS_RCVD)
        await replica.close(code if code in SENDABLE else CloseCode.GOING_AWAY, message.get("reason") or "")

    async def _to_client(self, replica: ClientConnection) -> None:
        """Send on what the replica says, until it leaves."""
        try:
            while True:
                message = await replica.recv()
                kind = "text" if isinstance(message, str) else "bytes"
                async with asyncio.timeout(CLIENT_TIMEOUT_SECONDS):
                    await self._send({"type": "websocket.send", kind: message})
        except ConnectionClosed as closed:
            code, reason = _end(closed)
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            await replica.close(CloseCode.GOING_AWAY)

    async def _until_told_to_leave(self, replica: ClientConnection) -> None:
        await self._told_to_leave.wait()
        reason = "The token is not valid any more, or may not see the workload any more."
        await self._send({"type": "websocket.close", "code": CloseCode.POLICY_VIOLATION, "reason": reason})
        await replica.close(CloseCode.GOING_AWAY)


class _Handshake(ClientProtocol):
    """The asking side of a handshake, with the headers of the client that it is for."""

    def __init__(self, scope: Scope, workload: str, target: bytes, offered: Offer) -> None:
        path, _, query = target.decode("latin-1").partition("?")
        super().__init__(
            WebSocketURI(secure=False, host="", port=0, path=path, query=query),
            subprotocols=[Subprotocol(each) for each in offered.for_service] or None,
            max_size=MESSAGE_MAXIMUM_BYTES,
        )
        self._headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in forwarding.request_headers(scope, workload)
            if not name.startswith(HANDSHAKE)
        ]

    def connect(self) -> Request:
        """The request, with the client's own host."""
        request = super().connect()
        del request.headers["Host"]
        request.headers.update(self._headers)
        return request


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of them until one is done."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _headers_of(response: Response) -> list[tuple[bytes, bytes]]:
    sent = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.raw_items()]
    return forwarding.answer_headers(response.status_code, sent)


def _end(closed: ConnectionClosed) -> tuple[int, str]:
    """What the client is told of the replica's end."""
    if closed.rcvd is not None and closed.rcvd_then_sent:
        return (closed.rcvd.code if closed.rcvd.code in SENDABLE else CloseCode.NORMAL_CLOSURE), closed.rcvd.reason
    if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
        return CloseCode.MESSAGE_TOO_BIG, f"A message of the service is larger than {MESSAGE_MAXIMUM_BYTES:,} bytes."
    return CloseCode.BAD_GATEWAY, "The replica broke off."
