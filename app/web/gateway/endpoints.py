"""The endpoints of workloads: /endpoints/{workload}/… leads to a replica that is ready, and streams both ways.

Only a token of someone who may see the workload gets through, and it goes no further. Of the replicas the least busy
one is asked, of several in turn; one that does not accept the connection is passed over.
"""

import asyncio

import structlog
from starlette.responses import RedirectResponse
from starlette.types import Receive, Scope, Send

from app.domain.traffic import Address, Traffic
from app.web.gateway import exchange, forwarding, sockets, upstream
from app.web.gateway.admission import Admission, Authenticate, FindAddresses
from app.web.refusals import Refusal

OPEN_MAXIMUM = 4_000
OPEN_TO_ONE_WORKLOAD_MAXIMUM = 1_000
# Replicas that neither accept nor refuse are tried one after the other for as long.
SEARCH_SECONDS = 10.0
RETRY_AFTER_SECONDS = 1
# What lasts longer ends with the right to it.
ASKED_AGAIN_SECONDS = 60.0

Visit = exchange.Exchange | sockets.Socket

_log = structlog.get_logger(__name__)


class Endpoints:
    """The ASGI application under /endpoints. Give its connections back with `close`.

    `traffic` tells others what is open to which replica.
    """

    def __init__(self, authenticate: Authenticate, find_addresses: FindAddresses, traffic: Traffic) -> None:
        self._admission = Admission(authenticate, find_addresses)
        self._traffic = traffic
        self._pool = upstream.Pool()
        self._turn = 0
        self._visits: dict[Visit, tuple[str, str]] = {}
        self._asking_again: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._asking_again is not None:
            self._asking_again.cancel()
            await asyncio.gather(self._asking_again, return_exceptions=True)
        self._pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or carry the messages of one WebSocket.

        Raises:
            Refusal: no token, no such workload, no replica that answers.
        """
        workload, target = forwarding.split(scope)
        offered = sockets.offer(scope) if scope["type"] == "websocket" else None
        token = _bearer(scope) or (offered.token if offered else "")
        addresses = await self._admission.replicas(token, workload)
        if target is None:
            query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
            await RedirectResponse(f"/endpoints/{workload}/{query}", status_code=308)(scope, receive, send)
            return
        visit: Visit
        if offered is None:
            visit = exchange.Exchange(self._pool, forwarding.request_head(scope, workload, target), receive, send)
        else:
            await receive()  # it tells that there is a WebSocket
            visit = sockets.Socket(scope, workload, target, offered, receive, send)
        self._visits[visit] = token, workload
        if self._asking_again is None:
            self._asking_again = asyncio.create_task(self._ask_again())
        try:
            await self._lead_on(visit, token, workload, addresses)
        finally:
            del self._visits[visit]

    async def _lead_on(self, visit: Visit, token: str, workload: str, addresses: tuple[Address, ...]) -> None:
        started = asyncio.get_running_loop().time()
        if await self._reaches(visit, addresses):
            return
        # They may have gone since they were remembered.
        newer = await self._admission.replicas(token, workload, asked_since=started)
        if newer == addresses or not await self._reaches(visit, newer):
            message = "No replica accepts connections, though they were ready just now."
            raise Refusal(502, "ENDPOINT_UNREACHABLE", message)

    async def _reaches(self, visit: Visit, addresses: tuple[Address, ...]) -> bool:
        """Whether one of these replicas accepts the visit; then it is over."""
        if not addresses:
            raise _unavailable("NOT_READY", "No replica of this workload is ready: its statusMessage says why.")
        if (
            sum(map(self._traffic.count, addresses)) >= OPEN_TO_ONE_WORKLOAD_MAXIMUM
            or self._traffic.total() >= OPEN_MAXIMUM
        ):
            raise _unavailable("ENDPOINT_BUSY", "Too many requests to endpoints are open.")
        clock = asyncio.get_running_loop().time
        deadline = clock() + SEARCH_SECONDS
        for address in self._least_busy_first(addresses):
            with self._traffic.open(address):
                try:
                    await visit.lead_on(address)
                except upstream.Unreachable:
                    if clock() > deadline:
                        break
                else:
                    return True
        return False

    async def _ask_again(self) -> None:
        """End the visits that are not admitted any more: streams and WebSockets last for as long as they like."""
        while True:
            await asyncio.sleep(ASKED_AGAIN_SECONDS)
            now = asyncio.get_running_loop().time()
            for visit, (token, workload) in tuple(self._visits.items()):
                try:
                    await self._admission.replicas(token, workload, asked_since=now)
                except Refusal:
                    visit.leave()
                except Exception as error:  # noqa: BLE001  # it is not known that anything has changed
                    _log.warning("admission_unknown", reason=type(error).__name__)

    def _least_busy_first(self, addresses: tuple[Address, ...]) -> list[Address]:
        self._turn += 1
        first = self._turn % len(addresses)
        return sorted(addresses[first:] + addresses[:first], key=self._traffic.count)


def _bearer(scope: Scope) -> str:
    """The token of a request; empty where there is none."""
    header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, token = header.decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _unavailable(code: str, message: str) -> Refusal:
    return Refusal(503, code, message, {"Retry-After": str(RETRY_AFTER_SECONDS)})
