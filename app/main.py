"""The composition root: settings → database → runtime → schema → Starlette, and the reconciler beside it."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import structlog
import uvicorn
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp

from app import images
from app.actions import context as acting, credentials, people, sealing
from app.api import schema
from app.api.compiler import Compiler
from app.api.context import Context, Surroundings
from app.api.loaders import Loaders
from app.api.logs import Reader
from app.db import embedded, installations, migrate, reads
from app.db.database import Database
from app.domain import errors, manifests
from app.domain.logs import LogLine, LogQuery
from app.domain.people import Viewer
from app.domain.slots import Policy
from app.domain.traffic import Traffic
from app.domain.validation import Limits
from app.reconciler.loop import Reconciler
from app.runtimes import docker_engine, kubernetes_account
from app.runtimes.base import Runtime, RuntimeUnavailable
from app.runtimes.docker import DockerRuntime
from app.runtimes.process import ProcessRuntime
from app.settings import Settings
from app.web.application import application
from app.web.authentication import Remembered
from app.web.gateway.endpoints import Endpoints
from app.web.graphql import GraphQLApp
from app.web.transport import HttpProtocol

BACKLOG = 2_048
SHUTDOWN_TIMEOUT_SECONDS = 10
RECONCILER_PATIENCE_SECONDS = 15


class StartError(Exception):
    """The server can't start; the message is a sentence for the operator."""


def now() -> datetime:
    """The clock. Everything below is handed the time."""
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def connected(settings: Settings, *, share: bool = False) -> AsyncIterator[Database]:
    """A migrated database: the one of DATABASE_URL, or an embedded PostgreSQL that lives as long as this.

    `share`: where a server already runs the embedded one, use that.
    """
    async with contextlib.AsyncExitStack() as stack:
        if settings.database_url is not None:
            dsn: str = settings.database_url.get_secret_value()
        else:
            running = embedded.running_dsn(settings.data_directory) if share else None
            private = embedded.postgresql(settings.data_directory)
            dsn = running if running is not None else await stack.enter_async_context(private)
        try:
            await migrate.upgrade(dsn)
        except (OSError, RuntimeError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError) as error:
            reason = str(getattr(error, "orig", error)).strip().partition("\n")[0] or type(error).__name__
            named = reason.startswith("DATABASE_URL")
            raise StartError(reason if named else f"DATABASE_URL: the database can't be used: {reason}") from None
        database = Database(dsn)
        stack.push_async_callback(database.close)
        yield database


def sealer(settings: Settings) -> sealing.Sealer:
    """What seals secrets: with the key from the environment, or with one from a file made on the first start."""
    if settings.encryption_key is not None:
        return sealing.Sealer(settings.encryption_key.get_secret_value())
    try:
        return sealing.Sealer(sealing.key_from_file(_private(settings) / "encryption-key"))
    except (OSError, ValueError) as error:
        message = f"SLIPWAY_ENCRYPTION_KEY is not set, and the key in the data directory can't be used: {error}"
        raise StartError(message) from None


async def opened(database: Database, settings: Settings) -> sealing.Sealer:
    """The same, once it is clear that it opens what this database holds.

    Raises:
        StartError: the credentials there are sealed with another key.
    """
    seals = sealer(settings)
    try:
        await credentials.check_key(database, seals)
    except ValueError:
        message = (
            "SLIPWAY_ENCRYPTION_KEY: the credentials in this database are sealed with another key. Give every server "
            "on one database the same key: that of the first, or what its data directory holds as `encryption-key`."
        )
        raise StartError(message) from None
    return seals


def _private(settings: Settings) -> Path:
    """The data directory, where others may pass (PostgreSQL runs as another user) but not look around."""
    settings.data_directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    return settings.data_directory


def registry_credentials(settings: Settings) -> images.Credentials:
    """What opens registries."""
    configured = settings.registry_credentials
    return images.Credentials.from_docker_config(configured.get_secret_value() if configured else '{"auths": {}}')


def resolver(settings: Settings) -> images.Resolver | None:
    """What asks registries for digests; None where that is off."""
    if settings.image_pinning == "off":
        return None
    return images.Resolver(registry_credentials(settings), ca_file=settings.registry_ca)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Which runtime workloads run on, and why."""

    name: str
    because: str

    def __str__(self) -> str:
        return f"Workloads run on the {self.name} runtime, because {self.because}."


async def choose_runtime(settings: Settings) -> Choice:
    """The runtime that is asked for; by itself Kubernetes where a cluster is configured, else an engine that answers.

    Where there is none of these workloads run as processes.

    Raises:
        StartError: it would be processes, for callers beyond this machine, and nobody asked for that by name.
    """
    if settings.runtime != "auto":
        return Choice(settings.runtime, f"SLIPWAY_RUNTIME is {settings.runtime}")
    if (how := kubernetes_account.configured(os.environ)) is not None:
        return Choice("kubernetes", how)
    if await docker_engine.reachable(settings.docker_host):
        return Choice("docker", f"a container engine answers at {settings.docker_host}")
    if not settings.is_loopback:
        raise StartError(
            f"SLIPWAY_HOST is {settings.host!r}, beyond this machine, for whose callers the runtime `process` would "
            "start any program here: set SLIPWAY_RUNTIME=process to allow that, or SLIPWAY_HOST=127.0.0.1."
        )
    return Choice(
        "process", f"no Kubernetes cluster is configured and no container engine answers at {settings.docker_host}"
    )


async def make_runtime(choice: Choice, settings: Settings, database: Database) -> Runtime:
    """The driver of the runtime that was chosen.

    Raises:
        StartError: another server runs the workloads of this database on another runtime, or DOCKER_HOST can't be used.
    """
    async with database.read() as session:
        others = await reads.other_runtimes(session, choice.name, now())
    if others:
        raise StartError(
            f"SLIPWAY_RUNTIME: workloads would run on {choice.name} here, because {choice.because}, and another "
            f"server on this database runs them on {others[0]}. Set it to the same for all; of a server that was "
            f"killed it is forgotten after {reads.RUNTIME_SILENCE_MAXIMUM.total_seconds():.0f} s."
        )
    if choice.name == "kubernetes":
        # Its client library takes a second to import.
        from app.runtimes.kubernetes import KubernetesRuntime  # noqa: PLC0415

        where = await cluster(settings, database)
        return KubernetesRuntime(where, credentials=registry_credentials(settings).for_registry)
    if choice.name == "docker":
        installation = await installations.identity(database)
        try:
            return DockerRuntime(settings.docker_host, installation, registry_credentials(settings).for_registry)
        except ValueError as error:
            raise StartError(str(error)) from None
    return ProcessRuntime(_private(settings) / "workloads")


async def cluster(settings: Settings, database: Database) -> manifests.Cluster:
    """Where in a cluster workloads run, or would run."""
    gateway = settings.kubernetes_gateway
    return manifests.Cluster(
        installation=await installations.identity(database),
        namespace=settings.kubernetes_namespace,
        launch_deadline=settings.launch_deadline,
        domain=settings.kubernetes_domain,
        ingress_class=settings.kubernetes_ingress_class,
        gateway=None if gateway is None else manifests.Gateway(*gateway.split("/")),
    )


def reconciler(
    database: Database,
    settings: Settings,
    seals: sealing.Sealer,
    runtime: Runtime,
    choice: Choice,
    traffic: Traffic,
) -> Reconciler:
    """What makes workloads run."""

    async def open_secret(credential_id: UUID, key: str) -> str:
        async with database.read() as session:
            sealed = await reads.sealed_value(session, credential_id, key)
        if sealed is None:
            message = f"the credential has no key {key!r}"
            raise LookupError(message)
        return seals.open(credential_id, key, sealed)

    policy = Policy(launch_deadline=settings.launch_deadline)
    return Reconciler(database, runtime, open_secret, clock=now, policy=policy, traffic=traffic, chosen=str(choice))


@contextlib.asynccontextmanager
async def reconciling(works: Reconciler) -> AsyncIterator[None]:
    """Reconcile beside what happens inside; begins once it is recorded how the runtime is."""
    task = asyncio.create_task(works.run())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECONCILER_PATIENCE_SECONDS):
                await works.ready.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def web(
    database: Database,
    settings: Settings,
    seals: sealing.Sealer,
    traffic: Traffic,
    runtime: Runtime,
    where: manifests.Cluster,
) -> ASGIApp:
    """The ASGI application over a database."""
    resolves, requires_pins = resolver(settings), settings.image_pinning == "require"
    limits = Limits(settings.images_allowed, settings.images_denied, settings.replicas_max)

    async def ask_for_logs(workload_id: UUID, query: LogQuery) -> Sequence[LogLine]:
        try:
            return await runtime.logs(workload_id, query)
        except RuntimeUnavailable as error:
            raise errors.RuntimeUnavailable(str(error)) from error

    read_logs = Reader(ask_for_logs)
    surroundings = Surroundings(where, frozenset(registry_credentials(settings).logins))

    public_url = settings.public_url

    def make_context(_: Request, viewer: Viewer) -> Context:
        moment = now()
        return Context(
            acting=acting.Context(
                database, viewer, moment, limits, seals, resolves, requires_pins, endpoint=runtime.endpoint
            ),
            loaders=Loaders(database, viewer, moment),
            public_url=public_url,
            read_logs=read_logs,
            surroundings=surroundings,
            forget_viewers=remembered.forget,
        )

    async def authenticate(secret: str | None) -> Viewer | None:
        return None if secret is None else await people.authenticate(database, secret, now())

    reaches = people.Reaches(database, time.monotonic)

    async def authenticate_for_lists(secret: str | None) -> Viewer | None:
        viewer = await authenticate(secret)
        return None if viewer is None else await reaches(viewer)

    remembered = Remembered(authenticate_for_lists, time.monotonic)

    async def check_health() -> dict[str, Any]:
        async with database.read() as session:
            await session.exec(text("SELECT 1"))  # type: ignore[call-overload]
        return {}

    async def find_addresses(workload_id: UUID, viewer: Viewer) -> Sequence[Mapping[str, Any]] | None:
        async with database.read() as session:
            return await reads.addresses(session, workload_id, viewer)

    endpoints = Endpoints(authenticate, find_addresses, traffic)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await endpoints.close()

    graph = schema.build()
    compiler = Compiler(graph) if settings.compiler else None
    graphql: GraphQLApp[Viewer] = GraphQLApp(graph, make_context, remembered, compiler)
    return application(graphql=graphql, check_health=check_health, endpoints=endpoints, lifespan=lifespan)


def _raise_file_limit() -> None:
    """Each container that runs here costs a file descriptor, each connection another: take what the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Run the server until it is told to stop. `say` tells the operator where it is.

    Raises:
        StartError: the address is taken, or the key or the runtime can't be used.
    """
    configure_logging(settings.log_format, settings.log_level)
    _raise_file_limit()
    choice = await choose_runtime(settings)
    with _listen(settings) as listener:
        async with connected(settings) as database:
            seals = await opened(database, settings)
            token = await _administrator(database, settings)
            traffic = Traffic()
            runtime = await make_runtime(choice, settings, database)
            config = uvicorn.Config(
                web(database, settings, seals, traffic, runtime, await cluster(settings, database)),
                http=HttpProtocol,
                access_log=False,
                server_header=False,
                log_config=None,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
            )
            server = Server(config, ready=lambda: _greet(settings, choice, token, say))
            with server.stopped_by_signals():
                async with reconciling(reconciler(database, settings, seals, runtime, choice, traffic)):
                    await server.serve(sockets=[listener])


async def reconcile(settings: Settings, say: Callable[[str], None]) -> None:
    """Reconcile without serving, until told to stop. `say` tells the operator that it has begun."""
    _raise_file_limit()
    configure_logging(settings.log_format, settings.log_level)
    choice = await choose_runtime(settings)
    stop = asyncio.Event()
    async with connected(settings, share=True) as database:
        with _on_signals(stop.set):
            seals = await opened(database, settings)
            runtime = await make_runtime(choice, settings, database)
            async with reconciling(reconciler(database, settings, seals, runtime, choice, Traffic())):
                say(f"Slipway reconciles. {choice} Ctrl-C stops it.")
                await stop.wait()


async def _administrator(database: Database, settings: Settings) -> str | None:
    """Make sure that an administrator has a token. Answers it where it is the server's own to show."""
    if settings.admin_token is not None:
        await people.ensure_administrator(database, settings.admin_token.get_secret_value(), now(), configured=True)
        return None
    secret = sealing.secret_from_file(_private(settings) / "admin-token", sealing.new_token)
    await people.ensure_administrator(database, secret, now(), configured=False)
    return secret


def _greet(settings: Settings, choice: Choice, token: str | None, say: Callable[[str], None]) -> None:
    address = f"{settings.public_url}/graphql"
    say(f"Slipway serves {address}, its data is in {settings.data_directory}.")
    say(str(choice))
    if token is not None:
        say(f"GraphiQL: {address}#token={token}")
        say(f"Token:    {token}")
    say("Ctrl-C stops it.")


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        # At once: several may bind with SO_REUSEADDR, and only listening tells who has the port.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        message = (
            f"SLIPWAY_HOST and SLIPWAY_PORT: can't listen on {settings.host} port {settings.port}: {error.strerror}."
        )
        raise StartError(message) from None
    listener.set_inheritable(False)
    return listener


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready, and that ends by returning: what stands around it is closed in order."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            # What is there by now stays: looking through all of it again and again would make others wait.
            gc.collect()
            gc.freeze()
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `stopped_by_signals`: uvicorn would raise them again and so end the process too early."""
        yield

    def stopped_by_signals(self) -> contextlib.AbstractContextManager[None]:
        """Stop on SIGINT and SIGTERM; a second one does not wait for open requests."""
        return _on_signals(self._stop)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def configure_logging(log_format: str, log_level: str = "info") -> None:
    """Logs go to standard error, one line each; tracebacks never show the values of variables."""
    renderer: Any = structlog.processors.JSONRenderer(serializer=orjson.dumps)
    factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    if log_format == "console":
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        factory = structlog.PrintLoggerFactory(sys.stderr)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatting = [structlog.processors.format_exc_info] if log_format == "json" else []
    structlog.configure(
        processors=[*shared, *formatting, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(log_level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
