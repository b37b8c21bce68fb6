"""Asks containers how they are, for runtimes that do not: HTTP probes, sent and judged as the kubelet does it.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/#http-probes and
the kubelet's probe/http: an answer from 200 to 399 is a pass; redirects are followed on the same host, and one that
leads elsewhere is a pass by itself; certificates are not verified; at most 10 KiB of the body are read.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from datetime import datetime
from uuid import UUID

import httpx
import structlog

from app.domain import probing
from app.domain.enums import ProbeKind, ProbeScheme
from app.domain.slots import Key, Verdict
from app.domain.specification import Probe

BODY_MAXIMUM_BYTES = 10 * 1024
REDIRECTS_MAXIMUM = 10
PROBES_AT_ONCE = 100
HEADERS = {"user-agent": "slipway-probe", "accept": "*/*"}

# As the kubelet: a certificate names a service, and a probe asks an address.
_TLS = httpx.create_ssl_context(verify=False)
_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One start of a container: what to ask, and where. `ports` maps declared ports to those that are in use."""

    replica: str
    container: str
    launch: int
    run: int
    running: bool
    host: str
    ports: Mapping[int, int]
    probes: Mapping[ProbeKind, Probe]
    started_at: datetime | None = None

    def is_same_start(self, other: "Target") -> bool:
        """Whether both are about the same start of the same container; a run may be started anew by hand."""
        return (self.launch, self.run, self.started_at) == (other.launch, other.run, other.started_at)


class _Watch:
    """A target under observation: its state, and a task for each probe."""

    def __init__(self, target: Target, now: float) -> None:
        self.target = target
        self.state = probing.begin(target.probes, now)
        self.tasks: dict[ProbeKind, asyncio.Task[None]] = {}

    def end(self) -> None:
        """Ask no more. What is known stays."""
        for task in self.tasks.values():
            task.cancel()


class Prober:
    """Probes the targets that it is told to watch, and keeps a verdict on each."""

    def __init__(
        self,
        changed: Callable[[UUID], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._changed = changed
        self._monotonic = monotonic
        self._sleep = sleep
        self._watches: dict[UUID, dict[Key, _Watch]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(PROBES_AT_ONCE)

    def watch(self, workload_id: UUID, targets: Collection[Target]) -> None:
        """Watch exactly these targets of a workload from now on."""
        before = self._watches.pop(workload_id, {})
        after: dict[Key, _Watch] = {}
        for target in targets:
            key = (target.launch, target.replica, target.container)
            watch = before.get(key)
            if watch is not None and watch.target.is_same_start(target):
                del before[key]
                watch.target = target
            else:
                watch = _Watch(target, self._monotonic())
            after[key] = watch
            if target.running:
                self._ask_what_is_due(workload_id, watch)
            else:
                watch.end()
        for watch in before.values():
            watch.end()
        if after:
            self._watches[workload_id] = after

    def verdicts(self, workload_id: UUID) -> dict[Key, Verdict]:
        """What is known of the containers of a workload."""
        return {
            key: Verdict(
                watch.target.run, watch.state.ready, watch.state.failed, watch.state.message, watch.state.decided
            )
            for key, watch in self._watches.get(workload_id, {}).items()
        }

    async def forget_all(self) -> None:
        """Watch nothing any more, and wait until nothing is asked any more."""
        for workload_id in list(self._watches):
            self.watch(workload_id, ())
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ask_what_is_due(self, workload_id: UUID, watch: _Watch) -> None:
        for kind in probing.due(watch.state):
            if kind not in watch.tasks:
                task = watch.tasks[kind] = asyncio.create_task(self._keep_asking(workload_id, watch, kind))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _keep_asking(self, workload_id: UUID, watch: _Watch, kind: ProbeKind) -> None:
        while (due := probing.due(watch.state).get(kind)) is not None:
            await self._sleep(max(0.0, due - self._monotonic()))
            async with self._slots:
                if kind not in probing.due(watch.state):
                    return
                asked = self._monotonic()
                trouble = await ask(watch.target, watch.target.probes[kind])
            before = watch.state
            watch.state = probing.record(
                before, kind, asked=asked, now=self._monotonic(), passed=trouble is None, message=trouble or ""
            )
            self._ask_what_is_due(workload_id, watch)
            seen = (before.ready, before.failed, before.message, before.decided)
            if seen != (watch.state.ready, watch.state.failed, watch.state.message, watch.state.decided):
                self._changed(workload_id)


async def ask(target: Target, probe: Probe) -> str | None:
    """Send a probe. Answers None when it passed, else what was wrong, for a person."""
    scheme = "https" if probe.scheme is ProbeScheme.HTTPS else "http"
    what = f"GET {probe.path[:200]} on port {probe.port}"
    try:
        url = httpx.URL(f"{scheme}://{target.host}:{target.ports.get(probe.port, probe.port)}{probe.path}")
        # A transport for each probe: one that is cancelled in the middle of it would leave its connection in the pool.
        async with (
            httpx.AsyncHTTPTransport(verify=_TLS, trust_env=False) as transport,
            asyncio.timeout(probe.timeout_seconds),
        ):
            status = await _final_status(transport, url, probe)
    except TimeoutError:
        return f"{what} was not answered within {probe.timeout_seconds} s"
    except httpx.ConnectError:
        return f"{what} was not accepted"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        return f"{what} failed: {type(error).__name__}"
    except Exception as error:  # noqa: BLE001  # a probe that breaks must not end the probing
        _log.warning("probe_broke", exc_info=error)
        return f"{what} could not be sent"
    return None if httpx.codes.OK <= status < httpx.codes.BAD_REQUEST else f"{what} was answered with HTTP {status}"


async def _final_status(transport: httpx.AsyncBaseTransport, url: httpx.URL, probe: Probe) -> int:
    for _ in range(REDIRECTS_MAXIMUM + 1):
        async with _answer(transport, url, probe) as response:
            if not response.has_redirect_location:
                return response.status_code
            target = url.join(response.headers["location"])
        if target.host != url.host:
            return response.status_code
        url = target
    raise httpx.TooManyRedirects(f"more than {REDIRECTS_MAXIMUM} redirects")


@contextlib.asynccontextmanager
async def _answer(transport: httpx.AsyncBaseTransport, url: httpx.URL, probe: Probe) -> AsyncIterator[httpx.Response]:
    own = [(header.name, header.value) for header in probe.headers]
    named = {name.lower() for name, _ in own}
    headers = [(name, value) for name, value in HEADERS.items() if name not in named]
    request = httpx.Request(
        "GET", url, headers=httpx.Headers([*headers, *own, ("connection", "close")], encoding="utf-8")
    )
    response = await transport.handle_async_request(request)
    try:
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101  # that of an asynchronous transport
        read = 0
        async for chunk in response.stream:
            read += len(chunk)
            if read > BODY_MAXIMUM_BYTES:
                break
        yield response
    finally:
        await response.aclose()
