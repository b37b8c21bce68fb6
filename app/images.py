"""OCI references → digests: what an image's registry holds under a tag now, asked over the distribution API.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md, and for bearer tokens
https://distribution.github.io/distribution/spec/auth/token/.

Users write references, so every registry is a stranger: times, sizes and redirects are bounded, a password goes to its
own registry and to the token server that this one names, and nothing goes over plain http but from this machine to
itself.
"""

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from app.domain import references

MANIFEST_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MANIFEST_MAXIMUM_BYTES = 4 * 2**20  # what the specification asks registries to accept
TOKEN_MAXIMUM_LENGTH = 16_384
REDIRECTS_MAXIMUM = 5
CONCURRENT_MAXIMUM = 64  # requests of all that resolve at a time
CONCURRENT_EACH_MAXIMUM = 8  # of them, those of one `resolve`
WORDS_MAXIMUM_LENGTH = 200

_DOCKER_HUB_API = "registry-1.docker.io"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_TOKEN = re.compile(r"[!-~]+")
_CHALLENGE = re.compile(
    r"(?P<scheme>[a-z]{1,32})(?=\s+[^\s=]|\s*(?:,|$))"
    r'|(?P<key>[a-z_]{1,32})\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s,"]+))',
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a connection, for the next bytes, and for all that one `resolve` does."""

    connect_seconds: float = 3.0
    read_seconds: float = 5.0
    total_seconds: float = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """Usernames and passwords of registries, each a pair under the name that image references have for its registry."""

    logins: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def from_docker_config(cls, text: str) -> Self:
        """Read a Docker `config.json`: `{"auths": {"registry.example": {"auth": base64 of "username:password"}}}`.

        A registry may be written as an address (`https://index.docker.io/v1/`), and have `username` and `password` in
        the place of `auth`. Of two entries for one registry the first counts.

        Raises:
            ValueError: it is not that, or has no password for a registry that it names: it may be in a credential
                helper, and those are not run.
        """
        try:
            entries = json.loads(text)["auths"].items()
            logins: dict[str, tuple[str, str]] = {}
            for address, entry in entries:
                host = address.partition("://")[2] or address
                logins.setdefault(references.registry_at(host.partition("/")[0]), _login(entry))
        except (AttributeError, KeyError, RecursionError, TypeError) as error:
            raise ValueError from error
        return cls(logins)

    def for_registry(self, host: str) -> tuple[str, str] | None:
        """Username and password for a registry, which is named as `Reference.registry` names it."""
        return self.logins.get(references.registry_at(host))


def _login(entry: Mapping[str, Any]) -> tuple[str, str]:
    username, password = entry.get("username"), entry.get("password")
    if encoded := entry.get("auth"):
        # binascii.Error and UnicodeDecodeError are ValueErrors.
        username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    if not username or not password:
        raise ValueError
    return str(username), str(password)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trust the system's authorities, and those in a PEM file.

    Raises:
        OSError: the file can't be read; as ssl.SSLError, it holds no certificates.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


@dataclasses.dataclass(frozen=True, slots=True)
class Resolution:
    """What registries answered, by image as it was written: its digest, or a sentence that says why there is none."""

    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unresolved: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Resolver:
    """Asks registries for digests. Holds no connections between two calls."""

    def __init__(
        self, credentials: Credentials, *, ca_file: Path | None = None, timeouts: Timeouts | None = None
    ) -> None:
        self._credentials = credentials
        self._tls = tls_context(ca_file)
        self._timeouts = timeouts or Timeouts()
        self._gate = asyncio.Semaphore(CONCURRENT_MAXIMUM)

    async def resolve(self, images: Collection[str]) -> Resolution:
        """Ask for all of these at once, each once. What a registry does never raises: it is told in `unresolved`."""
        gate = asyncio.Semaphore(CONCURRENT_EACH_MAXIMUM)

        async def answer(image: str) -> str | _Unresolved:
            try:
                async with asyncio.timeout(self._timeouts.total_seconds), gate, self._gate:
                    return await self._digest(image)
            except _Unresolved as why:
                return why
            except TimeoutError:
                waited = f"{self._timeouts.total_seconds:g} seconds"
                return _Unresolved(f"{image!r}: its registry did not answer within {waited}. Try again.")

        asked = dict.fromkeys(images)
        answers = dict(zip(asked, await asyncio.gather(*map(answer, asked)), strict=True))
        return Resolution(
            digests={image: each for image, each in answers.items() if isinstance(each, str)},
            unresolved={image: str(each) for image, each in answers.items() if isinstance(each, _Unresolved)},
        )

    async def _digest(self, image: str) -> str:
        reference = references.parse(image)
        if isinstance(reference, str):
            raise _Unresolved(f"{image!r}: {reference}")
        if reference.digest is not None:
            return reference.digest
        host = _DOCKER_HUB_API if reference.registry == references.DOCKER_HUB else reference.registry
        try:
            registry = _address(f"https://{host}/v2/")
        except ValueError:
            raise _Unresolved(f"{image!r}: {host!r} is no name of a host. Correct the reference.") from None
        manifest = registry.join(f"{reference.repository}/manifests/{reference.tag or references.DEFAULT_TAG}")
        timeout = httpx.Timeout(self._timeouts.read_seconds, connect=self._timeouts.connect_seconds)
        local = _is_loopback(registry)
        # What is on this machine is not asked through a proxy.
        async with httpx.AsyncClient(verify=self._tls, timeout=timeout, trust_env=not local) as client:
            asking = _Asking(client, self._credentials, image, reference.registry, local=local)
            if local and not await asking.speaks_tls(registry):
                manifest = manifest.copy_with(scheme="http")
            return await asking.digest(manifest)


class _Unresolved(Exception):
    """Why an image has no digest: a sentence that names it, says what its registry did, and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def digest(self) -> str | None:
        claimed = self.headers.get("docker-content-digest", "")
        return claimed if _SHA256.fullmatch(claimed) else None

    def json(self) -> dict[str, Any]:
        """The object in the body; an empty one where there is none."""
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(self.body)
            if isinstance(document, dict):
                return document
        return {}


@dataclasses.dataclass
class _Asking:
    """The requests about one image. `local`: its registry is on this machine."""

    client: httpx.AsyncClient
    credentials: Credentials
    image: str
    registry: str
    local: bool
    authorizations: dict[str, str] = dataclasses.field(default_factory=dict)  # by scheme, host and port

    async def speaks_tls(self, url: httpx.URL) -> bool:
        """Whether a registry on this machine is behind TLS: as with Docker, it need not be."""
        try:
            await self.client.head(url)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return any(isinstance(each, ssl.SSLCertVerificationError) for each in _causes(error))
        except httpx.TransportError:
            pass  # what came after the handshake is told of the request that matters
        return True

    async def digest(self, url: httpx.URL) -> str:
        """The digest of the manifest at this address.

        A digest that the registry tells is taken at its word: who pulls by it checks what comes.

        Raises:
            _Unresolved: there is none to be had.
        """
        answer = await self._ask("HEAD", url)
        if answer.status == httpx.codes.OK and answer.digest is not None:
            return answer.digest
        if answer.status == httpx.codes.TOO_MANY_REQUESTS or answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise self._refused(answer, self.registry)
        # The body has the manifest, or says why there is none.
        answer = await self._ask("GET", url)
        if answer.status != httpx.codes.OK:
            raise self._refused(answer, self.registry)
        if answer.json().get("schemaVersion") != 2:  # noqa: PLR2004  that of all four media types
            raise self._unresolved(f"{self.registry} answers, but not with a manifest: is it a registry of OCI images?")
        computed = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if answer.digest not in {None, computed}:
            raise self._unresolved(
                f"{self.registry} says that its manifest is {answer.digest}, but what it sends is {computed}. "
                "Don't trust it before this is explained."
            )
        return computed

    async def _ask(self, method: str, url: httpx.URL) -> _Answer:
        """Ask for a manifest: with a token or a password where that is demanded, and wherever it leads."""
        for _ in range(REDIRECTS_MAXIMUM + 1):
            origin = _origin(url)
            answer = await self._send(method, url, self.authorizations.get(origin))
            if answer.status == httpx.codes.UNAUTHORIZED and origin not in self.authorizations:
                authorization = await self._authorization(answer, url)
                if authorization is not None:
                    self.authorizations[origin] = authorization
                    answer = await self._send(method, url, authorization)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            url = self._pointed_to(location, url)
        raise self._unresolved(f"{self.registry} redirects more than {REDIRECTS_MAXIMUM} times. Correct the reference.")

    def _pointed_to(self, text: str, base: httpx.URL) -> httpx.URL:
        """An address that a registry names, if it may be asked."""
        try:
            url = _address(text, base)
        except ValueError:
            raise self._unresolved(f"{self.registry} points to what is no address: {_cut(text)!r}.") from None
        if url.scheme == "https" or (url.scheme == "http" and self.local and _is_loopback(url)):
            return url
        raise self._unresolved(f"{self.registry} points to {_cut(_origin(url))!r}, and only https is safe to follow.")

    async def _authorization(self, answer: _Answer, url: httpx.URL) -> str | None:
        """What to send along to an address that has answered 401; None where there is nothing to send."""
        challenges = dict(_challenges(answer.headers))
        login = self.credentials.for_registry(url.netloc.decode())
        basic = None if login is None else "Basic " + base64.b64encode(":".join(login).encode()).decode()
        if "bearer" in challenges:
            challenge = challenges["bearer"]
            realm = self._pointed_to(challenge.get("realm", ""), url)
            for key in ("service", "scope"):
                realm = realm.copy_set_param(key, challenge[key]) if key in challenge else realm
            return await self._token(realm, basic)
        return basic if "basic" in challenges else None

    async def _token(self, realm: httpx.URL, basic: str | None) -> str:
        answer = await self._send("GET", realm, basic)
        who = f"the token server {_origin(realm)} of {self.registry}"
        if answer.status != httpx.codes.OK:
            raise self._refused(answer, who)
        document = answer.json()
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or len(token) > TOKEN_MAXIMUM_LENGTH:
            raise self._unresolved(f"{who} answers, but not with a token.")
        return f"Bearer {token}"

    async def _send(self, method: str, url: httpx.URL, authorization: str | None) -> _Answer:
        """One request and its bounded answer, as it came over the wire: nothing is unpacked."""
        headers = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES), "Accept-Encoding": "identity", "User-Agent": "slipway"}
        if authorization is not None:
            headers["Authorization"] = authorization
        body = bytearray()
        try:
            async with self.client.stream(method, url, headers=headers) as response:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MANIFEST_MAXIMUM_BYTES:
                        raise self._unresolved(f"{_origin(url)} answers with more than {MANIFEST_MAXIMUM_BYTES} bytes.")
        except ValueError:  # httpx looks where a redirect leads, also where it does not follow
            raise self._unresolved(f"{_origin(url)} points to what is no address.") from None
        except httpx.TransportError as error:
            raise self._unreachable(error, url) from None
        return _Answer(response.status_code, response.headers, bytes(body))

    def _unresolved(self, why: str) -> _Unresolved:
        return _Unresolved(f"{self.image!r}: {why}")

    def _refused(self, answer: _Answer, who: str) -> _Unresolved:
        said = _words(answer)
        match answer.status:
            case httpx.codes.NOT_FOUND:
                why = f"{who} does not have it{said}. Push it, or correct the reference."
            case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN if self.credentials.for_registry(self.registry):
                why = (
                    f"{who} denies it to the username that SLIPWAY_REGISTRY_CREDENTIALS has for {self.registry}{said}. "
                    "Check the reference, the password, and what the username may pull."
                )
            case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
                why = (
                    f"{who} denies it{said}. Check the reference, and whether {self.registry} wants a username and "
                    "password: SLIPWAY_REGISTRY_CREDENTIALS has none for it."
                )
            case httpx.codes.TOO_MANY_REQUESTS:
                wait = answer.headers.get("retry-after", "")
                when = f"in {wait} seconds" if re.fullmatch(r"[0-9]{1,9}", wait) else "later"
                why = f"{who} was asked too often{said}. Try again {when}."
            case status if status >= httpx.codes.INTERNAL_SERVER_ERROR:
                why = f"{who} failed with status {status}{said}. Try again later."
            case status:
                why = f"{who} answers with status {status}{said}: is it a registry of OCI images?"
        return self._unresolved(why)

    def _unreachable(self, error: Exception, url: httpx.URL) -> _Unresolved:
        who = _origin(url)
        if isinstance(error, httpx.TimeoutException):
            return self._unresolved(f"{who} does not answer. Check the reference, and try again.")
        if isinstance(error, httpx.ProxyError):
            reason = _cut(str(error))
            return self._unresolved(f"the proxy of this server does not lead to {who} ({reason}). Check the reference.")
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                reason = cause.verify_message.rstrip(".")
                return self._unresolved(
                    f"the certificate of {who} can't be trusted: {reason}. Where an authority of your own has signed "
                    "it, name that in SLIPWAY_REGISTRY_CA."
                )
            if isinstance(cause, ssl.SSLError):
                return self._unresolved(f"{who} does not speak TLS as it should. Plain http is for this machine alone.")
            if isinstance(cause, OSError) and cause.errno is not None:
                named = isinstance(cause, socket.gaierror)
                reason = (cause.strerror if named else os.strerror(cause.errno)) or "no reason is given"
                return self._unresolved(f"{who} can't be reached: {reason}. Check the reference and the network.")
        return self._unresolved(f"{who} breaks off: is it a registry of OCI images?")


def _address(text: str, base: httpx.URL | None = None) -> httpx.URL:
    """An address whose host and port can be.

    Raises:
        ValueError: it is none.
    """
    try:
        url = httpx.URL(text) if base is None else base.join(text)
    except httpx.InvalidURL as error:
        raise ValueError from error
    if not url.host or (url.port is not None and not 0 < url.port < 2**16):  # the host is decoded, and may not be one
        raise ValueError
    return url


def _is_loopback(url: httpx.URL) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(url.host).is_loopback
    return url.host == "localhost"


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        # Of several addresses that one name has, the first speaks for all.
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__


def _challenges(headers: httpx.Headers) -> Iterator[tuple[str, dict[str, str]]]:
    """The schemes of `WWW-Authenticate`, in lower case, with their parameters (RFC 9110, section 11.6.1)."""
    parameters: dict[str, str] = {}
    for found in _CHALLENGE.finditer(", ".join(headers.get_list("www-authenticate"))):
        if found["scheme"]:
            parameters = {}
            yield found["scheme"].lower(), parameters
        else:
            parameters[found["key"].lower()] = found["quoted"] if found["bare"] is None else found["bare"]


def _words(answer: _Answer) -> str:
    """What a registry says of an error, as the specification words it: `{"errors": [{"message": …}]}`."""
    errors = answer.json().get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    message = first.get("message") or first.get("code") if isinstance(first, dict) else None
    return f' ("{_cut(message)}")' if isinstance(message, str) else ""


def _cut(text: str) -> str:
    printable = "".join(character for character in text if character.isprintable())
    return printable if len(printable) <= WORDS_MAXIMUM_LENGTH else f"{printable[:WORDS_MAXIMUM_LENGTH]}…"
