"""Probes against real servers. Where a test says seconds, they are the prober's, which pass fifty times as fast."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.domain.enums import ProbeKind, ProbeScheme
from app.domain.specification import Probe, ProbeHeader
from app.reconciler.prober import Target, ask
from tests.reconciler.world import hasty, until

DECLARED = 80
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that does with each connection what it is told."""

    handling: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        try:
            with contextlib.suppress(OSError):
                await answer(reader, writer)
        finally:
            writer.close()
            handling.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*handling, return_exceptions=True)


class Web:
    """Answers by path, and remembers the requests."""

    def __init__(self, answers: Mapping[str, str | bytes] | None = None) -> None:
        self.answers = dict(answers or {})
        self.requests: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.requests.append(request)
        answer = self.answers.get(request.split()[1], "200 OK\r\n\r\n")
        writer.write(answer if isinstance(answer, bytes) else f"HTTP/1.1 {answer}".encode("latin-1"))
        await writer.drain()


def open_sockets() -> int:
    """How many this process has."""
    return len(psutil.Process().net_connections(kind="tcp"))


def target(port: int, **values: Any) -> Target:
    defaults: dict[str, Any] = {
        "replica": "0",
        "container": "main",
        "launch": 1,
        "run": 0,
        "running": True,
        "host": "127.0.0.1",
        "ports": {DECLARED: port},
        "probes": {},
    }
    return Target(**{**defaults, **values})


class TestAsking:
    @pytest.mark.parametrize(
        ("answer", "trouble"),
        [
            ("200 OK\r\n\r\n", None),
            ("204 No Content\r\n\r\n", None),
            ("399 Odd\r\n\r\n", None),
            ("304 Not Modified\r\n\r\n", None),
            ("302 Found\r\n\r\n", None),
            ("400 Bad Request\r\n\r\n", "HTTP 400"),
            ("503 Service Unavailable\r\n\r\n", "HTTP 503"),
            ("199 Odd\r\n\r\n", "failed: RemoteProtocolError"),
            (b"", "failed: RemoteProtocolError"),
            (b"nonsense\r\n\r\n", "failed: RemoteProtocolError"),
            ("200 OK\r\nContent-Length: 100\r\n\r\nshort", "failed: RemoteProtocolError"),
            (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, None),
        ],
    )
    async def test_answers(self, answer: str | bytes, trouble: str | None) -> None:
        async with listening(Web({"/ready": answer})) as port:
            said = await ask(target(port), Probe("/ready", DECLARED))
        assert (said is None) if trouble is None else (said is not None and said.endswith(trouble))

    async def test_one_that_is_given_up_closes_its_connection_wherever_it_is(self) -> None:
        """After any number of turns of the loop, so before, in and after the connection, the request and the answer."""
        async with listening(Web()) as port:
            before = open_sockets()
            for turns in [*range(60)] * 3:
                asking = asyncio.ensure_future(ask(target(port), Probe("/ready", DECLARED)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: open_sockets() == before, "all connections are closed")

    async def test_where_nobody_listens(self) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            said = await ask(target(one.getsockname()[1]), Probe("/ready", DECLARED))
        assert said == "GET /ready on port 80 was not accepted"

    @pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun"])
    async def test_an_answer_that_does_not_come_in_time(self, begun: bytes) -> None:
        async def hesitate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(begun)
            await reader.read()
            await reader.read()

        probe = Probe("/ready", DECLARED, timeout_seconds=0.05)  # type: ignore[arg-type]
        async with listening(hesitate) as port:
            said = await ask(target(port), probe)
        assert said == "GET /ready on port 80 was not answered within 0.05 s"

    async def test_the_request(self) -> None:
        web = Web()
        headers = (ProbeHeader("X-Own", "a"), ProbeHeader("X-Own", "b"), ProbeHeader("host", "named"))
        async with listening(web) as port:
            assert await ask(target(port), Probe("/a b?c=d", DECLARED, headers=headers)) is None
            own = (ProbeHeader("User-Agent", "me"), ProbeHeader("Accept", "text/x"))
            assert await ask(target(port), Probe("/", 9_999, headers=own)) is not None
            assert await ask(target(port), Probe("/", DECLARED, headers=own)) is None
        first, *lines = web.requests[0].strip().split("\r\n")
        assert first == "GET /a%20b?c=d HTTP/1.1"
        assert sorted(line.lower() for line in lines) == [
            "accept: */*",
            "connection: close",
            "host: named",
            "user-agent: slipway-probe",
            "x-own: a",
            "x-own: b",
        ]
        assert "User-Agent: me\r\n" in web.requests[1]
        assert "Accept: text/x\r\n" in web.requests[1]
        assert len(web.requests) == 2

    async def test_a_redirect_on_the_same_host_is_followed(self) -> None:
        web = Web({"/a": "302 Found\r\nLocation: /b\r\n\r\n", "/b": "500 No\r\n\r\n"})
        async with listening(web) as port:
            said = await ask(target(port), Probe("/a", DECLARED))
        assert said == "GET /a on port 80 was answered with HTTP 500"
        assert len(web.requests) == 2

    async def test_a_redirect_to_another_host_is_a_pass(self) -> None:
        web = Web({"/a": "302 Found\r\nLocation: http://elsewhere.invalid/\r\n\r\n"})
        async with listening(web) as port:
            assert await ask(target(port), Probe("/a", DECLARED)) is None
        assert len(web.requests) == 1

    async def test_redirects_come_to_an_end(self) -> None:
        web = Web({"/a": "302 Found\r\nLocation: /a\r\n\r\n"})
        async with listening(web) as port:
            said = await ask(target(port), Probe("/a", DECLARED))
        assert said == "GET /a on port 80 failed: TooManyRedirects"
        assert len(web.requests) == 11

    async def test_a_certificate_is_not_verified(self, tmp_path: Path) -> None:
        async with listening(Web(), tls=certified(tmp_path)) as port:
            assert await ask(target(port), Probe("/", DECLARED, ProbeScheme.HTTPS)) is None
            assert await ask(target(port), Probe("/", DECLARED, ProbeScheme.HTTP)) is not None

    @pytest.mark.parametrize("path", ["/\x7f", "/" + "x" * 70_000, "/\n", "//[", "/%"])
    async def test_a_path_that_makes_no_url_breaks_nothing(self, path: str) -> None:
        async with listening(Web()) as port:
            said = await ask(target(port), Probe(path, DECLARED))
        assert said is None or "failed" in said


def certified(directory: Path) -> ssl.SSLContext:
    """A server with a certificate that nobody knows, of a name that nobody asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "elsewhere")])
    moment = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment - dt.timedelta(days=2))
        .not_valid_after(moment - dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = directory / "server.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


class Watched:
    """A prober at work on one container."""

    def __init__(self, probes: Mapping[ProbeKind, Probe], port: int) -> None:
        self.id = uuid.uuid4()
        self.changes: list[UUID] = []
        self.prober = hasty(50)(self.changes.append)
        self.target = target(port, probes=probes)
        self.prober.watch(self.id, [self.target])

    def seen(self) -> tuple[bool, ProbeKind | None]:
        [verdict] = self.prober.verdicts(self.id).values()
        return verdict.ready, verdict.failed


@contextlib.asynccontextmanager
async def watching(web: Web, **probes: Probe) -> AsyncIterator[Watched]:
    async with listening(web) as port:
        watched = Watched({ProbeKind(kind): probe for kind, probe in probes.items()}, port)
        yield watched
        await watched.prober.forget_all()


def every_second(path: str = "/", **values: Any) -> Probe:
    return Probe(path, DECLARED, period_seconds=1, **{"failure_threshold": 2, **values})


class TestWatching:
    async def test_readiness_comes_and_goes(self) -> None:
        web = Web({"/": "503 No\r\n\r\n"})
        async with watching(web, READINESS=every_second()) as watched:
            await until(lambda: len(web.requests) >= 2, "it is asked")
            assert watched.seen() == (False, None)
            web.answers.clear()
            await until(lambda: watched.seen() == (True, None), "it is ready")
            assert watched.changes[-1] == watched.id
            web.answers["/"] = "503 No\r\n\r\n"
            await until(lambda: watched.seen() == (False, None), "it is not ready")
            [verdict] = watched.prober.verdicts(watched.id).values()
            assert verdict.message == "GET / on port 80 was answered with HTTP 503"

    async def test_what_is_started_anew_in_the_same_run_is_asked_anew_where_it_listens_now(self) -> None:
        old, new = Web(), Web({"/": "503 No\r\n\r\n"})
        async with watching(old, READINESS=every_second()) as watched, listening(new) as port:
            await until(lambda: watched.seen() == (True, None), "it is ready")
            again = target_of(watched, ports={DECLARED: port}, started_at=dt.datetime.now(dt.UTC))
            watched.prober.watch(watched.id, [again])
            assert watched.seen() == (False, None)
            await until(lambda: len(new.requests) >= 2, "it is asked where it listens now")
            assert watched.seen() == (False, None)

    async def test_the_wake_up_is_only_for_news(self) -> None:
        web = Web()
        async with watching(web, READINESS=every_second()) as watched:
            await until(lambda: len(web.requests) >= 5, "it is asked often")
            assert watched.changes == [watched.id]

    async def test_startup_goes_first_and_then_never_again(self) -> None:
        web = Web({"/s": "500 No\r\n\r\n"})
        probes = {
            "STARTUP": every_second("/s", failure_threshold=1_000),
            "READINESS": every_second("/r"),
            "LIVENESS": every_second("/l"),
        }
        async with watching(web, **probes) as watched:
            await until(lambda: len(web.requests) >= 3, "it is asked")
            assert {request.split()[1] for request in web.requests} == {"/s"}
            assert watched.seen() == (False, None)
            web.answers.clear()
            await until(lambda: watched.seen() == (True, None), "it is ready")
            web.requests.clear()
            await until(lambda: len(web.requests) >= 4, "it is asked")
            assert {request.split()[1] for request in web.requests} == {"/r", "/l"}

    async def test_after_a_failure_of_liveness_nothing_is_asked_until_the_next_run(self) -> None:
        web = Web({"/l": "500 No\r\n\r\n"})
        async with watching(web, LIVENESS=every_second("/l")) as watched:
            assert watched.seen() == (True, None)
            await until(lambda: watched.seen() == (False, ProbeKind.LIVENESS), "it has failed")
            assert len(web.requests) == 2
            watched.prober.watch(watched.id, [target_of(watched, running=False)])
            assert watched.seen() == (False, ProbeKind.LIVENESS)
            web.answers.clear()
            watched.prober.watch(watched.id, [target_of(watched, run=1)])
            assert watched.seen() == (True, None)
            await until(lambda: len(web.requests) >= 4, "it is asked again")

    async def test_a_slow_probe_does_not_hold_up_another(self) -> None:
        asked: list[str] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            asked.append(path)
            if path == "/slow":
                await reader.read()
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async with listening(answer) as port:
            slow = every_second("/slow", timeout_seconds=5)
            watched = Watched({ProbeKind.LIVENESS: slow, ProbeKind.READINESS: every_second("/r")}, port)
            await until(lambda: asked.count("/r") >= 3, "readiness is asked")
            assert asked.count("/slow") == 1
            await watched.prober.forget_all()

    async def test_what_is_forgotten_is_not_asked(self) -> None:
        web = Web()
        before = asyncio.all_tasks()
        async with watching(web, READINESS=every_second()) as watched:
            await until(lambda: watched.seen() == (True, None), "it is ready")
            watched.prober.watch(watched.id, [])
            assert watched.prober.verdicts(watched.id) == {}
            await until(lambda: asyncio.all_tasks() == before, "no task is left")


def target_of(watched: Watched, **values: Any) -> Target:
    port = watched.target.ports[DECLARED]
    return target(port, **{"probes": watched.target.probes, **values})
