"""The Docker Engine API, as far as Slipway uses it: JSON over HTTP, on a Unix socket or on loopback.

https://docs.docker.com/reference/api/engine/version/v1.41/. Podman speaks it as well. Why no client library does this:
docs/decisions/014-the-engine-holds-everything.md.
"""

import base64
import contextlib
import ipaddress
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import httpx
import orjson

from app.runtimes.base import RuntimeUnavailable

API_VERSION = (1, 41)
"""What is asked for, unless the engine is too old (then it is its newest) or too new (then it is its oldest)."""

CONNECT_TIMEOUT_SECONDS = 2.0
ANSWER_TIMEOUT_SECONDS = 15.0
# Making and starting containers waits for disks and for other containers.
CHANGE_TIMEOUT_SECONDS = 60.0
# A registry that stalls for as long as this is given up, which the engine itself does not.
PULL_TIMEOUT_SECONDS = 300.0
ANSWER_MAXIMUM_BYTES = 64 * 2**20  # a thousand containers are 1 MiB
MESSAGE_MAXIMUM_BYTES = 2**20
WORDS_MAXIMUM_LENGTH = 500
CONNECTIONS_MAXIMUM = 1_000

_FRAME_HEADER_BYTES = 8


class Refused(RuntimeUnavailable):
    """The engine has answered, and says no: with this HTTP status (0: in the middle of an answer) and in these words.

    The words are bounded, without control characters, and can be shown to users.
    """

    def __init__(self, status: int, words: str) -> None:
        # Podman has a status of its own for what has just gone.
        self.status = httpx.codes.NOT_FOUND if "no such container" in words else status
        self.words = _shown(words)
        super().__init__(f"The container engine says: {self.words}")


class Engine:
    """One engine. Every method raises `Refused` where it says no, and RuntimeUnavailable where it can't be asked.

    `host` is written as in DOCKER_HOST: `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`. Raises ValueError for
    anything else: containers publish their ports on loopback, so an engine elsewhere would run what nobody can reach.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._socket, self._url = _parse(host)
        self._client: httpx.AsyncClient | None = None
        self._version: str | None = None

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def open(self) -> None:
        """Begin; connections are made when something is asked."""
        limits = httpx.Limits(max_connections=CONNECTIONS_MAXIMUM, max_keepalive_connections=16)
        transport = httpx.AsyncHTTPTransport(uds=self._socket, limits=limits, trust_env=False)
        self._client = httpx.AsyncClient(base_url=self._url, transport=transport, trust_env=False)
        self._version = None

    async def close(self) -> None:
        """End all that is being asked."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def describe(self, *, timeout_seconds: float = ANSWER_TIMEOUT_SECONDS) -> str:
        """What it is. Example: `Docker Engine 20.10.24`."""
        version = await self._ask_version(timeout_seconds)
        names = [each.get("Name") for each in version.get("Components") or [{}]]
        product = "Podman" if any("Podman" in str(name) for name in names) else "Docker Engine"
        return f"{product} {version.get('Version', 'of an unknown version')}"

    async def containers(self, *labels: str) -> list[dict[str, Any]]:
        """All containers that bear these labels (`key=value`), ended ones too."""
        filters = {"label": labels}
        found: list[dict[str, Any]] = await self._json("GET", "/containers/json", {"all": "true", **_filters(filters)})
        return found

    async def inspect(self, container: str) -> dict[str, Any]:
        """Everything about a container, given by its id or name."""
        found: dict[str, Any] = await self._json("GET", f"/containers/{container}/json")
        return found

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container; answers its id."""
        made = await self._json("POST", "/containers/create", {"name": name}, body)
        return str(made["Id"])

    async def start(self, container: str) -> None:
        """Start a container that has been made."""
        await self._json("POST", f"/containers/{container}/start")

    async def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        await self._json("POST", f"/containers/{container}/rename", {"name": name})

    async def stop(self, container: str, grace_seconds: float) -> None:
        """Ask a container to end, kill it after the grace period, and wait for that. The engine goes on without us."""
        seconds = math.ceil(grace_seconds)
        parameters = {"t": str(seconds)}
        limit = CHANGE_TIMEOUT_SECONDS + seconds
        await self._json("POST", f"/containers/{container}/stop", parameters, timeout_seconds=limit)

    async def remove(self, container: str) -> None:
        """Kill a container where it still runs, and delete it with its logs and its anonymous volumes."""
        await self._json("DELETE", f"/containers/{container}", {"force": "true", "v": "true"})

    async def image(self, reference: str) -> dict[str, Any] | None:
        """What the engine has under this reference, if anything."""
        try:
            found: dict[str, Any] = await self._json("GET", f"/images/{reference}/json")
        except Refused as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return found

    async def networks(self, label: str) -> list[dict[str, Any]]:
        """All networks that bear a label."""
        found: list[dict[str, Any]] = await self._json("GET", "/networks", _filters({"label": [label]}))
        return found

    async def create_network(self, body: Mapping[str, Any]) -> None:
        """Make a network."""
        await self._json("POST", "/networks/create", body=body)

    async def remove_network(self, network: str) -> None:
        """Remove a network that nothing uses."""
        await self._json("DELETE", f"/networks/{network}")

    async def pull(self, name: str, tag: str, login: tuple[str, str, str] | None) -> AsyncGenerator[dict[str, Any]]:
        """Fetch an image by tag or digest, and yield what the engine tells of it.

        `login` is a username, a password and the registry that they are for.
        """
        headers = {}
        if login is not None:
            username, password, registry = login
            given = {"username": username, "password": password, "serveraddress": registry}
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(orjson.dumps(given)).decode("ascii")
        parameters = {"fromImage": name, "tag": tag}
        async with self._stream(
            "POST", "/images/create", parameters, headers=headers, timeout_seconds=PULL_TIMEOUT_SECONDS
        ) as response:
            async for message in self._messages(response):
                if "error" in message:
                    raise Refused(0, str(message["error"]))
                yield message

    @contextlib.asynccontextmanager
    async def events(self, label: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """What happens to containers that bear a label, from when the block begins."""
        parameters = _filters({"type": ["container"], "label": [label]})
        async with self._stream("GET", "/events", parameters, timeout_seconds=None) as response:
            yield self._messages(response)

    async def logs(self, container: str, *, tail: int, since: datetime | None) -> AsyncGenerator[tuple[int, bytes]]:
        """The newest `tail` pieces of a container's output, oldest first: 1 (stdout) or 2 (stderr), and what it wrote.

        Each begins with its time (RFC 3339, nanoseconds) and a space. Lines beyond 16 KiB come in several pieces; only
        the last one of a line ends with a newline.
        """
        parameters = {"stdout": "true", "stderr": "true", "timestamps": "true", "tail": str(tail)}
        if since is not None:
            parameters["since"] = f"{int(since.timestamp())}.{since.microsecond:06d}000"
        held = bytearray()
        async with self._stream("GET", f"/containers/{container}/logs", parameters) as response:
            async for chunk in response.aiter_bytes():
                held += chunk
                begin = 0
                while len(held) - begin >= _FRAME_HEADER_BYTES:
                    end = begin + _FRAME_HEADER_BYTES + int.from_bytes(held[begin + 4 : begin + 8], "big")
                    if end - begin > MESSAGE_MAXIMUM_BYTES:
                        raise Refused(0, "the container's log is damaged")
                    if end > len(held):
                        break
                    yield held[begin], bytes(held[begin + _FRAME_HEADER_BYTES : end])
                    begin = end
                del held[:begin]

    async def _json(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Any:
        limit = timeout_seconds or (ANSWER_TIMEOUT_SECONDS if method == "GET" else CHANGE_TIMEOUT_SECONDS)
        async with self._stream(method, path, parameters, body, timeout_seconds=limit) as response:
            return await self._read(response)

    @contextlib.asynccontextmanager
    async def _stream(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = ANSWER_TIMEOUT_SECONDS,
    ) -> AsyncIterator[httpx.Response]:
        if self._version is None:
            await self._ask_version(ANSWER_TIMEOUT_SECONDS)
        async with self._send(
            method,
            f"/v{self._version}{path}",
            params=parameters,
            content=None if body is None else orjson.dumps(body),
            headers={"Content-Type": "application/json", **(headers or {})},
            timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
        ) as response:
            yield response

    @contextlib.asynccontextmanager
    async def _send(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        if self._client is None:
            raise RuntimeUnavailable("The docker runtime is not open.")
        try:
            async with self._client.stream(method, path, **options) as response:
                if response.is_error:
                    raise Refused(response.status_code, _words(await self._content(response)))
                yield response
        except httpx.TransportError as error:
            self._version = None  # it may be another engine when it is back
            raise RuntimeUnavailable(f"The container engine at {self.host} can't be reached: {_why(error)}.") from error

    async def _ask_version(self, timeout_seconds: float) -> dict[str, Any]:
        timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds))
        async with self._send("GET", "/version", timeout=timeout) as response:
            version = await self._read(response)
        try:
            newest, oldest = _version(version["ApiVersion"]), _version(version.get("MinAPIVersion") or "1.0")
        except (KeyError, TypeError, ValueError):
            raise RuntimeUnavailable(f"What answers at {self.host} is not a container engine.") from None
        self._version = ".".join(map(str, max(min(API_VERSION, newest), oldest)))
        return dict(version)

    async def _read(self, response: httpx.Response) -> Any:
        content = await self._content(response)
        return self._parsed(content) if content.strip() else {}

    async def _content(self, response: httpx.Response) -> bytearray:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > ANSWER_MAXIMUM_BYTES:
                raise RuntimeUnavailable(f"The container engine at {self.host} answers with too much.")
        return content

    async def _messages(self, response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
        """A stream of JSON objects, one to a line."""
        held = bytearray()
        async for chunk in response.aiter_bytes():
            *lines, rest = (held + chunk).split(b"\n")
            held = bytearray(rest)
            if len(held) > MESSAGE_MAXIMUM_BYTES:
                raise Refused(0, "it tells too much at once")
            for line in lines:
                if line.strip() and isinstance(message := self._parsed(line), dict):
                    yield message

    def _parsed(self, content: bytes | bytearray) -> Any:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise RuntimeUnavailable(f"What answers at {self.host} is not a container engine.") from error


async def reachable(host: str, *, timeout_seconds: float = 1.0) -> bool:
    """Whether a container engine answers there within this time. Never raises."""
    try:
        async with Engine(host) as engine:
            await engine.describe(timeout_seconds=timeout_seconds)
    except (ValueError, RuntimeUnavailable):
        return False
    return True


def _parse(host: str) -> tuple[str | None, str]:
    """The path of the socket, if it is one, and what URLs begin with."""
    try:
        parts: SplitResult = urlsplit(host)
        if parts.scheme == "unix" and parts.path and not parts.netloc:
            return parts.path, "http://engine"
        if parts.scheme in {"tcp", "http"} and _is_loopback(parts.hostname) and parts.path in {"", "/"}:
            return None, f"http://{parts.netloc if parts.port else f'{parts.netloc}:2375'}"
    except ValueError:
        pass
    raise ValueError(
        f"DOCKER_HOST: {host!r} is neither a socket, such as unix:///var/run/docker.sock, nor a port on this machine's "
        "loopback, such as tcp://127.0.0.1:2375."
    )


def _is_loopback(name: str | None) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False


def _filters(filters: Mapping[str, Any]) -> dict[str, str]:
    return {"filters": orjson.dumps(filters).decode()}


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _words(body: bytearray) -> str:
    """What an error says: `{"message": …}`, or anything at all."""
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
        return str(orjson.loads(body)["message"])
    return body.decode("utf-8", "replace") or "nothing"


def _shown(words: str) -> str:
    printable = " ".join("".join(each if each.isprintable() else " " for each in words).split())
    return printable if len(printable) <= WORDS_MAXIMUM_LENGTH else f"{printable[: WORDS_MAXIMUM_LENGTH - 1]}…"


def _why(error: httpx.TransportError) -> str:
    match error:
        case httpx.PoolTimeout():
            return "too much is being asked of it at once"
        case httpx.TimeoutException():
            return "it does not answer in time"
        case httpx.ConnectError():
            cause = error.__cause__
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__cause__ or cause.__context__
            return (cause.strerror or "connection refused") if isinstance(cause, OSError) else "connection refused"
        case _:
            return "it has closed the connection"
