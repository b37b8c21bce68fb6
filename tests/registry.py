"""Registries of images for tests: Debian's docker-registry as a process of its own, and stubs that misbehave.

Both listen on loopback alone. Images are pushed over the distribution API, so that no engine is needed.
"""

import asyncio
import base64
import contextlib
import dataclasses
import datetime as dt
import hashlib
import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

PROGRAM: Final = "docker-registry"
ABSENT: Final = f"no {PROGRAM}: `apt-get install {PROGRAM}` brings it"
START_SECONDS: Final = 30.0

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG: Final = {
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
}

USERNAME: Final = "ada"
PASSWORD: Final = "correct horse"  # noqa: S105  of registries that live as long as a test
HTPASSWD: Final = f"{USERNAME}:$2b$04$UC6h1gHMwxNQN5eJ1U6/beZu3H.8uMF2dxR1TxMmJrf.BJD2yTfhi\n"
"""The same, as `htpasswd -B` writes it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Registry:
    """A registry that runs. `host` is what references to its images begin with."""

    host: str
    http: httpx.Client

    def image(self, repository: str, tag: str = "1") -> str:
        """A reference to an image in here."""
        return f"{self.host}/{repository}:{tag}"

    def push(self, repository: str, tag: str = "1", *, content: str = "", media_type: str = OCI_MANIFEST) -> str:
        """Store an image without layers, that differs by `content`, and move the tag to it. Answers its digest."""
        config = json.dumps({"content": content}).encode()
        started = self.http.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
        upload = httpx.URL(started.headers["location"]).copy_merge_params({"digest": digest(config)})
        self.http.put(upload, content=config).raise_for_status()
        described = {"mediaType": _CONFIG[media_type], "digest": digest(config), "size": len(config)}
        return self._put(repository, tag, media_type, {"config": described, "layers": []})

    def push_index(self, repository: str, tag: str, media_type: str = OCI_INDEX) -> str:
        """Store an index of one image of each of two platforms. Answers the digest of the index."""
        member_type = OCI_MANIFEST if media_type == OCI_INDEX else DOCKER_MANIFEST
        members = []
        for architecture in ("amd64", "arm64"):
            member = self.push(repository, architecture, content=architecture, media_type=member_type)
            size = len(self.http.get(f"/v2/{repository}/manifests/{member}", headers={"Accept": member_type}).content)
            platform = {"os": "linux", "architecture": architecture}
            members.append({"mediaType": member_type, "digest": member, "size": size, "platform": platform})
        return self._put(repository, tag, media_type, {"manifests": members})

    def _put(self, repository: str, tag: str, media_type: str, document: Mapping[str, Any]) -> str:
        body = json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()
        url = f"/v2/{repository}/manifests/{tag}"
        self.http.put(url, content=body, headers={"Content-Type": media_type}).raise_for_status()
        return digest(body)


def digest(body: bytes) -> str:
    """How the distribution API names these bytes."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@contextlib.contextmanager
def running(
    directory: Path,
    *,
    tls: "Certificate | None" = None,
    guard: Mapping[str, Any] | None = None,
    host: str | None = None,
    **client: Any,
) -> Iterator[Registry]:
    """A docker-registry with its images below `directory`; `client` are options of the one that pushes.

    `host` is that of one before it, whose place it takes.

    `guard` is the `auth` of its configuration: https://distribution.github.io/distribution/about/configuration/#auth
    """
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.skip(ABSENT)
    if host is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{free.getsockname()[1]}"
    listening: dict[str, Any] = {"addr": host}
    if tls is not None:
        listening["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    configuration = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "images")}},
        "http": listening,
        **({"auth": dict(guard)} if guard else {}),
    }
    file = directory / "config.yml"
    file.write_text(json.dumps(configuration))  # JSON is YAML
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(file)], stdout=log, stderr=log)
    try:
        scheme = "http" if tls is None else "https"
        with httpx.Client(base_url=f"{scheme}://{host}", trust_env=False, **client) as http:
            _wait_for(http, process, directory / "log")
            yield Registry(host, http)
    finally:
        process.kill()
        process.wait()


def _wait_for(http: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(httpx.TransportError):
            http.get("/v2/")
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"{PROGRAM} did not start within {START_SECONDS} s"
        time.sleep(0.01)


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files of a server, and of the authority that signed its certificate."""

    authority: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """TLS as the server speaks it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def certify(directory: Path, *names: str) -> Certificate:
    """A certificate for a server with these host names, beside 127.0.0.1, from an authority that nobody knows."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An authority for tests")])
    known = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, names)]
    authority = (
        _builder(authority_key, authority_key, authority_name, authority_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    server = (
        _builder(server_key, authority_key, x509.Name([]), authority_name)
        .add_extension(x509.SubjectAlternativeName(known), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    written = Certificate(directory / "authority.pem", directory / "server.pem", directory / "server.key")
    written.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    written.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    written.key.write_bytes(server_key.private_bytes(serialization.Encoding.PEM, form, plain))
    return written


def _builder(
    key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name
) -> x509.CertificateBuilder:
    moment = dt.datetime.now(dt.UTC)
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - dt.timedelta(hours=1))
        .not_valid_after(moment + dt.timedelta(hours=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(signed_by, critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def issue_token(signer: Certificate, service: str, repository: str, *actions: str) -> str:
    """A token that lets a registry's client do this: https://distribution.github.io/distribution/spec/auth/jwt/."""
    key = serialization.load_pem_private_key(signer.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate(signer.certificate.read_bytes())
    chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
    now = int(time.time())
    claims = {
        "iss": "tests",
        "sub": USERNAME,
        "aud": service,
        "exp": now + 300,
        "nbf": now - 60,
        "iat": now,
        "jti": "1",
        "access": [{"type": "repository", "name": repository, "actions": actions}],
    }
    signed = f"{_part({'typ': 'JWT', 'alg': 'ES256', 'x5c': chain})}.{_part(claims)}"
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _part(document: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(document).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What a stub was asked. The names of headers are lowercase."""

    method: str
    path: str
    headers: Mapping[str, str]


Handler = Callable[[Request], bytes | Awaitable[bytes]]
"""What a stub answers, at once or later, byte by byte as it goes over the wire."""


def response(status: int, body: bytes = b"", /, **headers: str) -> bytes:
    """An answer; underscores in the names of headers stand for hyphens."""
    told = {"Content_Length": str(len(body)), "Connection": "close", **headers}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name.replace('_', '-')}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclasses.dataclass
class Stub:
    """A server that answers as a test wants. One request a connection; `requests` are those that it got.

    `hangs`: after its answer, which may be empty or cut, it waits until the client leaves.
    """

    handler: Handler
    hangs: bool
    host: str = ""
    requests: list[Request] = dataclasses.field(default_factory=list)
    open_connections: int = 0

    @property
    def asked(self) -> list[str]:
        """The requests in a word or two."""
        return [f"{each.method} {each.path}" for each in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.open_connections += 1
        try:
            await self._answer(reader, writer)
        finally:
            self.open_connections -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if first == b"\x16":  # TLS, to a server that does not speak it: hang up, as they do
            return
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.split("\r\n")
        method, path, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest if each)}
        request = Request(method, path, headers)
        self.requests.append(request)
        answer = self.handler(request)
        writer.write(answer if isinstance(answer, bytes) else await answer)
        await writer.drain()
        if self.hangs:
            await reader.read()


@contextlib.asynccontextmanager
async def stub(handler: Handler, *, tls: Certificate | None = None, hangs: bool = False) -> AsyncIterator[Stub]:
    """A stub that listens on loopback."""
    answering = Stub(handler, hangs)
    async with _listening(answering.serve, tls) as answering.host:
        yield answering


@contextlib.asynccontextmanager
async def proxy(destinations: Mapping[str, str]) -> AsyncIterator[str]:
    """An HTTP proxy that leads each `host:port` to another one, on loopback. Answers its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        wanted = destinations.get(head.split(" ")[1])
        if wanted is None:
            writer.write(response(502))
            return
        onward_reader, onward_writer = await asyncio.open_connection(*wanted.split(":"))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        try:
            await asyncio.gather(_copy(reader, onward_writer), _copy(onward_reader, writer))
        finally:
            await _close(onward_writer)

    async with _listening(serve) as host:
        yield f"http://{host}"


@contextlib.asynccontextmanager
async def _listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: Certificate | None = None
) -> AsyncIterator[str]:
    """Serve connections on loopback, at the host and port that this answers; all of them end with it."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                await serve(reader, writer)
            finally:
                await _close(writer)
        connections.discard(task)

    context = None if tls is None else tls.server_context()
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
