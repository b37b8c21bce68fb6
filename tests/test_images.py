"""Digests from registries: a real docker-registry in each of its ways, and stubs that do what a registry should not."""

import asyncio
import base64
import functools
import gzip
import json
import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import images
from tests import registry
from tests.registry import PASSWORD, USERNAME, Request, response

MANIFEST = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
HASTY = images.Timeouts(connect_seconds=0.2, read_seconds=0.2, total_seconds=5)
WRONG = (USERNAME, "wrong battery")
NOBODY_LISTENS = "127.0.0.1:1"


def credentials(*hosts: str, login: tuple[str, str] = (USERNAME, PASSWORD)) -> images.Credentials:
    return images.Credentials(dict.fromkeys(hosts, login))


@functools.cache
def without_options() -> images.Resolver:
    """For most tests: to read the system's authorities takes longer than they do."""
    return images.Resolver(credentials(), timeouts=HASTY)


async def resolve(*asked: str, known: images.Credentials | None = None, **options: Any) -> images.Resolution:
    if known is None and not options:
        return await without_options().resolve(asked)
    resolver = images.Resolver(known or credentials(), **{"timeouts": HASTY, **options})
    return await resolver.resolve(asked)


async def digest_of(image: str, **options: Any) -> str:
    resolution = await resolve(image, **options)
    assert resolution.unresolved == {}
    return resolution.digests[image]


async def sentence(image: str, **options: Any) -> str:
    """Why there is no digest; what every such sentence begins with is left out."""
    resolution = await resolve(image, **options)
    assert resolution.digests == {}
    told = resolution.unresolved[image]
    assert told.startswith(f"{image!r}: ")
    return told.removeprefix(f"{image!r}: ")


def always(answer: bytes) -> registry.Handler:
    return lambda _: answer


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry.Registry]:
    """A registry that wants a password."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "htpasswd").write_text(registry.HTPASSWD)
    guard = {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}
    with registry.running(directory, guard=guard, auth=(USERNAME, PASSWORD)) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> registry.Certificate:
    """That of several servers."""
    names = ("registry.example", "auth.example", "elsewhere.example", "registry-1.docker.io")
    return registry.certify(tmp_path_factory.mktemp("tls"), *names)


class TestRegistry:
    @pytest.mark.parametrize("media_type", [registry.OCI_MANIFEST, registry.DOCKER_MANIFEST])
    async def test_a_tag_is_the_digest_of_its_manifest(
        self, image_registry: registry.Registry, media_type: str
    ) -> None:
        pushed = image_registry.push("manifests/app", media_type=media_type)
        assert await digest_of(image_registry.image("manifests/app")) == pushed

    @pytest.mark.parametrize("media_type", [registry.OCI_INDEX, registry.DOCKER_LIST])
    async def test_of_several_platforms_it_is_the_digest_of_the_index(
        self, image_registry: registry.Registry, media_type: str
    ) -> None:
        pushed = image_registry.push_index("indexes/app", "1", media_type)
        assert await digest_of(image_registry.image("indexes/app")) == pushed

    async def test_a_moved_tag_is_another_digest(self, image_registry: registry.Registry) -> None:
        image = image_registry.image("moved/app")
        before = image_registry.push("moved/app", content="before")
        assert await digest_of(image) == before
        after = image_registry.push("moved/app", content="after")
        assert await digest_of(image) == after != before

    async def test_without_a_tag_it_is_latest(self, image_registry: registry.Registry) -> None:
        pushed = image_registry.push("untagged/app", "latest")
        assert await digest_of(f"{image_registry.host}/untagged/app") == pushed

    async def test_what_is_not_there_is_told_in_the_words_of_the_registry(
        self, image_registry: registry.Registry
    ) -> None:
        assert await sentence(image_registry.image("missing/app")) == (
            f'{image_registry.host} does not have it ("manifest unknown"). Push it, or correct the reference.'
        )

    async def test_each_of_several_has_its_own_answer_in_the_order_asked(
        self, image_registry: registry.Registry
    ) -> None:
        names = [f"several/{name}" for name in "cab"]
        pushed = {image_registry.image(name): image_registry.push(name, content=name) for name in names}
        missing = image_registry.image("several/none")
        refused = f"{NOBODY_LISTENS}/several/none"
        resolution = await resolve(missing, *pushed, refused)
        assert list(resolution.digests.items()) == list(pushed.items())
        assert list(resolution.unresolved) == [missing, refused]


class TestPassword:
    async def test_the_one_of_this_registry_opens_it(self, guarded: registry.Registry) -> None:
        pushed = guarded.push("team/app")
        known = credentials(guarded.host, "elsewhere.example")
        assert await digest_of(guarded.image("team/app"), known=known) == pushed

    async def test_that_of_another_registry_does_not(self, guarded: registry.Registry) -> None:
        guarded.push("team/app")
        assert await sentence(guarded.image("team/app"), known=credentials("elsewhere.example")) == (
            f'{guarded.host} denies it ("authentication required"). Check the reference, and whether {guarded.host} '
            "wants a username and password: SLIPWAY_REGISTRY_CREDENTIALS has none for it."
        )

    async def test_a_wrong_one_is_told_and_not_repeated(self, guarded: registry.Registry) -> None:
        guarded.push("team/app")
        known = credentials(guarded.host, login=WRONG)
        assert await sentence(guarded.image("team/app"), known=known) == (
            f"{guarded.host} denies it to the username that SLIPWAY_REGISTRY_CREDENTIALS has for {guarded.host} "
            '("authentication required"). Check the reference, the password, and what the username may pull.'
        )


class TestTLS:
    async def test_a_registry_of_a_private_authority(self, tmp_path: Path, certificate: registry.Certificate) -> None:
        trusted = ssl.create_default_context(cafile=certificate.authority)
        with registry.running(tmp_path, tls=certificate, verify=trusted) as running:
            pushed = running.push("team/app")
            image = running.image("team/app")
            assert await digest_of(image, ca_file=certificate.authority) == pushed
            assert await sentence(image) == (
                f"the certificate of https://{running.host} can't be trusted: unable to get local issuer certificate. "
                "Where an authority of your own has signed it, name that in SLIPWAY_REGISTRY_CA."
            )

    async def test_a_certificate_for_another_name_is_refused(
        self, certificate: registry.Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with (
            registry.stub(always(response(200, MANIFEST)), tls=certificate) as stub,
            registry.proxy({"other.example:443": stub.host}) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            told = await sentence("other.example/app", ca_file=certificate.authority)
            assert "Hostname mismatch" in told
            assert stub.requests == []

    async def test_without_a_host_it_is_docker_hub(
        self, certificate: registry.Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with (
            registry.stub(always(response(200, MANIFEST)), tls=certificate) as stub,
            registry.proxy({"registry-1.docker.io:443": stub.host}) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            resolution = await resolve("python", "docker.io/team/app:2", ca_file=certificate.authority)
            assert set(resolution.digests.values()) == {registry.digest(MANIFEST)}
            assert sorted(stub.asked) == sorted(
                f"{method} /v2/{path}"
                for path in ("library/python/manifests/latest", "team/app/manifests/2")
                for method in ("HEAD", "GET")
            )

    async def test_beyond_this_machine_nothing_goes_over_plain_http(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with (
            registry.stub(always(response(200, MANIFEST))) as stub,
            registry.proxy({f"registry.example:{port}": stub.host for port in (80, 443, 5000)}) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            monkeypatch.setenv("HTTP_PROXY", proxy)
            for host in ("registry.example", "registry.example:5000"):
                assert f"https://{host} " in await sentence(f"{host}/app")
            assert stub.requests == []

    @pytest.mark.parametrize("challenged", ["realm", "redirect"])
    async def test_nor_does_it_where_a_registry_points_to_it(
        self, certificate: registry.Certificate, monkeypatch: pytest.MonkeyPatch, challenged: str
    ) -> None:
        async with registry.stub(always(response(200, b'{"token": "t"}'))) as plain:
            there = f"http://{plain.host}/there"
            answer = {
                "realm": response(401, WWW_Authenticate=f'Bearer realm="{there}"'),
                "redirect": response(307, Location=there),
            }[challenged]
            async with (
                registry.stub(always(answer), tls=certificate) as stub,
                registry.proxy({"registry.example:443": stub.host}) as proxy,
            ):
                monkeypatch.setenv("HTTPS_PROXY", proxy)
                known = credentials("registry.example")
                told = await sentence("registry.example/app", known=known, ca_file=certificate.authority)
                assert told == (f"registry.example points to 'http://{plain.host}', and only https is safe to follow.")
                assert plain.requests == []

    async def test_a_password_does_not_follow_a_redirect(
        self, certificate: registry.Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def guarded(request: Request) -> bytes:
            if "authorization" not in request.headers:
                return response(401, WWW_Authenticate="Basic realm=x")
            return response(307, Location="https://elsewhere.example/v2/app/manifests/latest")

        async with (
            registry.stub(guarded, tls=certificate) as stub,
            registry.stub(always(response(200, MANIFEST)), tls=certificate) as elsewhere,
            registry.proxy({"registry.example:443": stub.host, "elsewhere.example:443": elsewhere.host}) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            known = credentials("registry.example")
            digest = await digest_of("registry.example/app", known=known, ca_file=certificate.authority)
            assert digest == registry.digest(MANIFEST)
            assert "authorization" in stub.requests[1].headers
            assert [sorted(each.headers) for each in elsewhere.requests] == [
                ["accept", "accept-encoding", "connection", "host", "user-agent"]
            ] * 2

    async def test_a_redirect_to_a_registry_with_its_own_token_server(
        self, certificate: registry.Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As registry.k8s.io does it."""

        def elsewhere(request: Request) -> bytes:
            if request.path.startswith("/token"):
                return response(200, b'{"token": "secret-token"}')
            if request.headers.get("authorization") == "Bearer secret-token":
                return response(200, MANIFEST)
            return response(
                401, WWW_Authenticate='Bearer realm="https://auth.example/token",scope="repository:app:pull"'
            )

        redirect = always(response(302, Location="https://elsewhere.example/v2/app/manifests/latest"))
        async with (
            registry.stub(redirect, tls=certificate) as first,
            registry.stub(elsewhere, tls=certificate) as second,
            registry.proxy(
                {
                    "registry.example:443": first.host,
                    "elsewhere.example:443": second.host,
                    "auth.example:443": second.host,
                }
            ) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            digest = await digest_of("registry.example/app", ca_file=certificate.authority)
            assert digest == registry.digest(MANIFEST)
            assert [each for each in second.asked if "token" in each] == ["GET /token?scope=repository%3Aapp%3Apull"]


class TestToken:
    """The handshake of https://distribution.github.io/distribution/spec/auth/token/."""

    async def test_a_real_registry_lets_in_who_has_a_token(self, tmp_path: Path) -> None:
        signer = registry.certify(tmp_path)
        asked: list[str] = []

        def tokens(request: Request) -> bytes:
            asked.append(request.path)
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
            kind, name, action = query["scope"][0].split(":")
            assert (kind, action) == ("repository", "pull")
            if request.headers.get("authorization") != basic(USERNAME, PASSWORD):
                return response(401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}')
            token = registry.issue_token(signer, query["service"][0], name, action)
            return response(200, json.dumps({"access_token": token}).encode())

        async with registry.stub(tokens) as server:
            guard = {
                "realm": f"http://{server.host}/token?account=x",
                "service": "A registry",
                "issuer": "tests",
                "rootcertbundle": str(signer.authority),
            }
            pusher = registry.issue_token(signer, "A registry", "team/app", "pull", "push")
            bearer = {"Authorization": f"Bearer {pusher}"}
            with registry.running(tmp_path, guard={"token": guard}, headers=bearer) as running:
                pushed = running.push("team/app")
                image = running.image("team/app")
                assert await digest_of(image, known=credentials(running.host)) == pushed
                assert asked == ["/token?account=x&service=A+registry&scope=repository%3Ateam%2Fapp%3Apull"]
                who = f"the token server http://{server.host} of {running.host}"
                assert await sentence(image) == (
                    f'{who} denies it ("who are you?"). Check the reference, and whether {running.host} wants a '
                    "username and password: SLIPWAY_REGISTRY_CREDENTIALS has none for it."
                )
                assert (await sentence(image, known=credentials(running.host, login=WRONG))).startswith(
                    f"{who} denies it to the username that SLIPWAY_REGISTRY_CREDENTIALS has for {running.host} "
                )

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (b"{}", "answers, but not with a token."),
            (b"[]", "answers, but not with a token."),
            (b"<html>", "answers, but not with a token."),
            (b'{"token": 5}', "answers, but not with a token."),
            (b'{"token": ""}', "answers, but not with a token."),
            (b'{"token": "a\\r\\nX-Injected: b"}', "answers, but not with a token."),
            (b'{"token": "' + b"a" * 16_385 + b'"}', "answers, but not with a token."),
        ],
    )
    async def test_what_is_no_token_is_not_sent(self, answer: bytes, told: str) -> None:
        def both(request: Request) -> bytes:
            if request.path.startswith("/token"):
                return response(200, answer)
            return response(401, WWW_Authenticate=f'Bearer realm="http://{request.headers["host"]}/token"')

        async with registry.stub(both) as stub:
            assert await sentence(f"{stub.host}/app") == f"the token server http://{stub.host} of {stub.host} {told}"
            assert stub.asked == ["HEAD /v2/app/manifests/latest", "GET /token"]

    async def test_a_token_is_asked_for_once(self) -> None:
        def both(request: Request) -> bytes:
            if request.path == "/token":
                return response(200, b'{"token": "t"}')
            if request.headers.get("authorization") == "Bearer t":
                return response(200, MANIFEST)
            return response(401, WWW_Authenticate=f'Bearer realm="http://{request.headers["host"]}/token"')

        async with registry.stub(both) as stub:
            await digest_of(f"{stub.host}/app:1")
            assert stub.asked == [
                "HEAD /v2/app/manifests/1",
                "GET /token",
                "HEAD /v2/app/manifests/1",
                "GET /v2/app/manifests/1",
            ]

    async def test_a_registry_that_is_never_content_is_asked_no_more_than_that(self) -> None:
        def both(request: Request) -> bytes:
            if request.path == "/token":
                return response(200, b'{"token": "t"}')
            return response(401, WWW_Authenticate=f'Bearer realm="http://{request.headers["host"]}/token"')

        async with registry.stub(both) as stub:
            assert (await sentence(f"{stub.host}/app:1")).startswith(f"{stub.host} denies it.")
            assert stub.asked == [
                "HEAD /v2/app/manifests/1",
                "GET /token",
                "HEAD /v2/app/manifests/1",
                "GET /v2/app/manifests/1",
            ]

    @pytest.mark.parametrize(
        ("header", "understood"),
        [
            ('Bearer realm="https://a/t",service="s",scope="x y"', {"bearer": ("https://a/t", "s", "x y")}),
            ("bearer realm=https://a/t , service = s", {"bearer": ("https://a/t", "s", None)}),
            ('Basic realm="Bearer realm=x", Bearer realm="r"', {"basic": ("Bearer realm=x",), "bearer": ("r",)}),
            ('Bearer realm="r",scope="a,b", Digest realm="d"', {"bearer": ("r", None, "a,b"), "digest": ("d",)}),
            ("Negotiate, Basic", {"negotiate": (None,), "basic": (None,)}),
            ('Bearer realm="unclosed', {"bearer": (None,), "unclosed": (None,)}),
            ("", {}),
            ('=,=,"', {}),
        ],
    )
    def test_challenges_are_read(self, header: str, understood: Mapping[str, tuple[str | None, ...]]) -> None:
        found = dict(images._challenges(httpx.Headers({"WWW-Authenticate": header})))
        names = ("realm", "service", "scope")
        assert found == {
            scheme: {name: value for name, value in zip(names, values, strict=False) if value is not None}
            for scheme, values in understood.items()
        }

    def test_challenges_without_end_cost_nothing(self) -> None:
        for part in ("a", "a=", 'a="', "a ", " ", ",", '"', "a=a,"):
            before = time.process_time()
            dict(images._challenges(httpx.Headers({"WWW-Authenticate": f"a{part * 100_000}"})))
            assert time.process_time() - before < 1


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class TestStrangers:
    """What answers under a host that somebody wrote into a reference."""

    async def told(self, answer: bytes, **options: Any) -> tuple[str, list[str]]:
        """The sentence, with HOST in the place of the stub's, and what it was asked for."""
        async with registry.stub(always(answer)) as stub:
            said = await sentence(f"{stub.host}/app:1", **options)
            return said.replace(stub.host, "HOST"), [each.split(" ")[0] for each in stub.asked]

    async def test_a_digest_in_the_head_is_taken(self) -> None:
        claimed = registry.digest(b"anything")
        async with registry.stub(always(response(200, Docker_Content_Digest=claimed))) as stub:
            assert await digest_of(f"{stub.host}/app:1") == claimed
            [request] = stub.requests
            assert (request.method, request.path) == ("HEAD", "/v2/app/manifests/1")
            assert request.headers["accept"].split(", ") == [
                registry.OCI_INDEX,
                registry.OCI_MANIFEST,
                registry.DOCKER_LIST,
                registry.DOCKER_MANIFEST,
            ]

    @pytest.mark.parametrize("claimed", ["", "sha256:abc", "sha256:" + "A" * 64, "md5:" + "0" * 32, "<html>"])
    async def test_without_one_the_manifest_is_hashed(self, claimed: str) -> None:
        async with registry.stub(always(response(200, MANIFEST, Docker_Content_Digest=claimed))) as stub:
            assert await digest_of(f"{stub.host}/app:1") == registry.digest(MANIFEST)
            assert stub.asked == ["HEAD /v2/app/manifests/1", "GET /v2/app/manifests/1"]

    async def test_a_registry_that_knows_no_head(self) -> None:
        def get_only(request: Request) -> bytes:
            return response(200, MANIFEST) if request.method == "GET" else response(405)

        async with registry.stub(get_only) as stub:
            assert await digest_of(f"{stub.host}/app:1") == registry.digest(MANIFEST)

    async def test_a_lie_about_the_digest_is_told(self) -> None:
        claimed = registry.digest(b"anything")

        def lying(request: Request) -> bytes:
            return response(200, MANIFEST, Docker_Content_Digest=claimed if request.method == "GET" else "")

        async with registry.stub(lying) as stub:
            assert await sentence(f"{stub.host}/app:1") == (
                f"{stub.host} says that its manifest is {claimed}, but what it sends is {registry.digest(MANIFEST)}. "
                "Don't trust it before this is explained."
            )

    @pytest.mark.parametrize(
        ("headers", "when"),
        [
            ({"Retry_After": "60"}, "in 60 seconds"),
            ({"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "later"),
            ({"Retry_After": "-1"}, "later"),
            ({}, "later"),
        ],
    )
    async def test_too_many_requests(self, headers: Mapping[str, str], when: str) -> None:
        """Nothing more is asked then."""
        assert await self.told(response(429, **headers)) == (f"HOST was asked too often. Try again {when}.", ["HEAD"])

    async def test_a_failing_registry(self) -> None:
        assert await self.told(response(503)) == ("HOST failed with status 503. Try again later.", ["HEAD"])

    async def test_a_forbidden_image(self) -> None:
        said, _ = await self.told(response(403, b'{"errors": [{"code": "DENIED"}]}'))
        assert said.startswith('HOST denies it ("DENIED"). Check the reference,')

    @pytest.mark.parametrize("status", [204, 302, 400, 418])
    async def test_another_status(self, status: int) -> None:
        assert await self.told(response(status)) == (
            f"HOST answers with status {status}: is it a registry of OCI images?",
            ["HEAD", "GET"],
        )

    @pytest.mark.parametrize(
        "body",
        [
            b"<html>Welcome</html>",
            b"",
            b"[]",
            b"5",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"9" * 100_000,
            b'"\xff\xfe"',
            b'{"schemaVersion": 1, "signatures": []}',
            gzip.compress(MANIFEST, mtime=0),
        ],
        ids=lambda body: repr(body[:12]),
    )
    async def test_what_is_no_manifest(self, body: bytes) -> None:
        assert await self.told(response(200, body)) == (
            "HOST answers, but not with a manifest: is it a registry of OCI images?",
            ["HEAD", "GET"],
        )

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b'{"errors": [{"message": "no such\\nthing\\u0000 \\u001b[31m"}]}', ' ("no suchthing [31m")'),
            (b'{"errors": [{"message": "' + b"x" * 5_000 + b'"}]}', f' ("{"x" * 200}…")'),
            (b'{"errors": [{"message": 5}]}', ""),
            (b'{"errors": []}', ""),
            (b'{"errors": {"message": "x"}}', ""),
            (b'{"errors": ["x"]}', ""),
            (b"<html>secrets of somebody else</html>", ""),
        ],
    )
    async def test_what_it_says_is_cut_and_printable(self, body: bytes, words: str) -> None:
        said, _ = await self.told(response(404, body))
        assert said == f"HOST does not have it{words}. Push it, or correct the reference."

    async def test_nothing_is_unpacked(self) -> None:
        bomb = gzip.compress(bytes(2 * images.MANIFEST_MAXIMUM_BYTES))
        said, _ = await self.told(response(200, bomb, Content_Encoding="gzip"))
        assert said == "HOST answers, but not with a manifest: is it a registry of OCI images?"

    @pytest.mark.parametrize("status", [200, 404])
    async def test_a_body_without_end_is_not_read(self, status: int) -> None:
        endless = response(status, b"x" * 2**23, Content_Length=str(2**40))
        assert await self.told(endless) == ("http://HOST answers with more than 4194304 bytes.", ["HEAD", "GET"])

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
            b"\x15\x03\x01\x00\x02\x02\x16",
        ],
    )
    async def test_what_does_not_speak_http(self, answer: bytes) -> None:
        said, _ = await self.told(answer)
        assert said == "http://HOST breaks off: is it a registry of OCI images?"

    async def test_nobody(self) -> None:
        assert await sentence(f"{NOBODY_LISTENS}/app") == (
            f"http://{NOBODY_LISTENS} can't be reached: Connection refused. Check the reference and the network."
        )

    async def test_nobody_at_any_of_several_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def both(*_: Any, **__: Any) -> list[Any]:
            stream = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(socket.AF_INET6, *stream, ("::1", 1, 0, 0)), (socket.AF_INET, *stream, ("127.0.0.1", 1))]

        monkeypatch.setattr(socket, "getaddrinfo", both)
        assert await sentence("localhost:1/app") == (
            "http://localhost:1 can't be reached: Connection refused. Check the reference and the network."
        )

    @pytest.mark.parametrize("host", ["registry.invalid", "a" * 70 + ".invalid", f"{'a.' * 300}invalid"])
    async def test_a_name_that_nobody_has(self, host: str) -> None:
        said = await sentence(f"{host}/app")
        assert said.startswith(f"https://{host} can't be reached: ")

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n{"])
    async def test_silence(self, answer: bytes) -> None:
        async with registry.stub(always(answer), hangs=True) as stub:
            assert await sentence(f"{stub.host}/app:1") == (
                f"http://{stub.host} does not answer. Check the reference, and try again."
            )

    async def test_silence_from_the_first_byte_on(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            host = f"127.0.0.1:{deaf.getsockname()[1]}"
            assert await sentence(f"{host}/app") == (
                f"http://{host} does not answer. Check the reference, and try again."
            )

    async def test_a_proxy_that_does_not_lead_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with registry.proxy({}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            assert await sentence("registry.example/app") == (
                "the proxy of this server does not lead to https://registry.example (502 Said). Check the reference."
            )


class TestRedirects:
    async def test_they_are_followed_on_this_machine(self) -> None:
        def leading(request: Request) -> bytes:
            if request.path.startswith("/v2/"):
                return response(301, Location="/moved?to=1")
            return response(200, MANIFEST)

        async with registry.stub(leading) as stub:
            assert await digest_of(f"{stub.host}/app:1") == registry.digest(MANIFEST)
            assert stub.asked == [
                "HEAD /v2/app/manifests/1",
                "HEAD /moved?to=1",
                "GET /v2/app/manifests/1",
                "GET /moved?to=1",
            ]

    async def test_not_in_circles(self) -> None:
        async with registry.stub(always(response(308, Location="/v2/app/manifests/1"))) as stub:
            assert await sentence(f"{stub.host}/app:1") == (
                f"{stub.host} redirects more than 5 times. Correct the reference."
            )
            assert len(stub.requests) == 6

    @pytest.mark.parametrize(
        ("location", "told"),
        [
            ("http://registry.example/x", "points to 'http://registry.example', and only https is safe to follow."),
            ("ftp://registry.example/x", "points to 'ftp://registry.example', and only https is safe to follow."),
        ],
    )
    async def test_nor_anywhere(self, location: str, told: str) -> None:
        async with registry.stub(always(response(307, Location=location))) as stub:
            assert await sentence(f"{stub.host}/app:1") == f"{stub.host} {told}"

    @pytest.mark.parametrize(
        "location",
        [
            "http://a:b:c/",
            "https://127.0.0.1:65536/",
            "https://.../",
            "http://[",
            "https://xn--a.example/",
            "https:///x",
        ],
    )
    @pytest.mark.parametrize("pointing", ["Location", "realm"])
    async def test_nor_to_what_is_no_address(self, location: str, pointing: str) -> None:
        answer = response(307, Location=location)
        if pointing == "realm":
            answer = response(401, WWW_Authenticate=f'Bearer realm="{location}"')
        async with registry.stub(always(answer)) as stub:
            await sentence(f"{stub.host}/app:1")
            assert len(stub.requests) == 1


class TestBounds:
    async def test_a_digest_in_the_reference_needs_no_registry(self) -> None:
        digest = registry.digest(b"anything")
        image = f"{NOBODY_LISTENS}/app:1@{digest}"
        assert await resolve(image) == images.Resolution({image: digest})

    async def test_what_is_no_name_of_a_host_has_none(self) -> None:
        told = "'xn--a.example' is no name of a host. Correct the reference."
        assert await sentence("xn--a.example/app") == told

    async def test_what_is_no_reference_has_no_digest(self) -> None:
        assert await sentence("https://registry.example/app") == (
            "An image reference has no scheme: leave out what stands before '//' and the slashes."
        )

    async def test_each_image_is_asked_for_once(self) -> None:
        async with registry.stub(always(response(404))) as stub:
            asked = [f"{stub.host}/app:{number % 3}" for number in range(6)]
            assert list((await resolve(*asked)).unresolved) == asked[:3]
            assert sorted(stub.asked) == sorted(
                f"{method} /v2/app/manifests/{number}" for method in ("HEAD", "GET") for number in range(3)
            )

    @pytest.mark.parametrize(("callers", "most"), [(1, 8), (10, 64)])
    async def test_eight_at_a_time_and_sixty_four_for_all_who_ask(self, callers: int, most: int) -> None:
        resolver = images.Resolver(credentials(), timeouts=images.Timeouts(60, 60, 60))
        async with registry.stub(always(b""), hangs=True) as stub:
            asked = [[f"{stub.host}/app:{caller}-{number}" for number in range(20)] for caller in range(callers)]
            asking = asyncio.gather(*map(resolver.resolve, asked))
            async with asyncio.timeout(30):
                while len(stub.requests) < most:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)  # for those that must not come
            assert len(stub.requests) == most
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            async with asyncio.timeout(5):
                while stub.open_connections:
                    await asyncio.sleep(0.005)

    async def test_dead_registries_cost_no_more_than_the_time_for_all(self) -> None:
        async with registry.stub(always(b""), hangs=True) as stub:
            timeouts = images.Timeouts(connect_seconds=5, read_seconds=5, total_seconds=0.3)
            asked = [f"{stub.host}/app:{number}" for number in range(20)]
            before = time.monotonic()
            resolution = await resolve(*asked, timeouts=timeouts)
            assert time.monotonic() - before < 2
            assert resolution.unresolved == {
                image: f"{image!r}: its registry did not answer within 0.3 seconds. Try again." for image in asked
            }

    async def test_by_default_that_is_ten_seconds(self) -> None:
        assert images.Timeouts() == images.Timeouts(connect_seconds=3, read_seconds=5, total_seconds=10)

    async def test_who_no_longer_waits_stops_the_asking(self) -> None:
        async with registry.stub(always(b""), hangs=True) as stub:
            asking = asyncio.create_task(resolve(f"{stub.host}/app", timeouts=images.Timeouts()))
            async with asyncio.timeout(5):
                while not stub.requests:
                    await asyncio.sleep(0.005)
                asking.cancel()
                while stub.open_connections:
                    await asyncio.sleep(0.005)
            with pytest.raises(asyncio.CancelledError):
                await asking

    async def test_no_connection_stays_open(self) -> None:
        async with registry.stub(always(response(200, MANIFEST))) as stub:
            await digest_of(f"{stub.host}/app")
            async with asyncio.timeout(5):
                while stub.open_connections:
                    await asyncio.sleep(0.005)

    async def test_a_proxy_is_not_asked_for_what_is_on_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{NOBODY_LISTENS}")
        async with registry.stub(always(response(200, MANIFEST))) as stub:
            assert await digest_of(f"{stub.host}/app") == registry.digest(MANIFEST)


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class TestCredentials:
    @pytest.mark.parametrize(
        ("address", "registries"),
        [
            ("registry.example", ["registry.example", "registry.example:443", "REGISTRY.example"]),
            ("https://registry.example/v1/", ["registry.example"]),
            ("registry.example:5000", ["registry.example:5000"]),
            ("https://index.docker.io/v1/", ["docker.io", "index.docker.io", "registry-1.docker.io"]),
            ("docker.io", ["docker.io", "registry-1.docker.io"]),
            ("localhost:5000", ["localhost:5000"]),
            ("[::1]:5000", ["[::1]:5000"]),
        ],
    )
    def test_a_docker_config_is_understood(self, address: str, registries: list[str]) -> None:
        read = images.Credentials.from_docker_config(json.dumps({"auths": {address: {"auth": auth("ada:a:b c")}}}))
        for each in registries:
            assert read.for_registry(each) == ("ada", "a:b c")
        assert read.for_registry("registry.example:6000") is None
        assert read.for_registry("example") is None

    def test_username_and_password_may_stand_by_themselves(self) -> None:
        entry = {"username": "ada", "password": "ünïcode", "email": "x"}
        read = images.Credentials.from_docker_config(json.dumps({"auths": {"a.example": entry}, "HttpHeaders": {}}))
        assert read.for_registry("a.example") == ("ada", "ünïcode")

    def test_of_two_entries_for_a_registry_the_first_counts(self) -> None:
        auths = {"https://index.docker.io/v1/": {"auth": auth("a:b")}, "docker.io": {"auth": auth("c:d")}}
        read = images.Credentials.from_docker_config(json.dumps({"auths": auths}))
        assert read == images.Credentials({"docker.io": ("a", "b")})

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "null",
            "{}",
            '{"auths": []}',
            '{"auths": {"a.example": {}}}',
            '{"auths": {"a.example": "YTpi"}}',
            '{"auths": {"a.example": {"auth": "no base64!"}}}',
            '{"auths": {"a.example": {"auth": "YWRh OmI="}}}',
            '{"auths": {"a.example": {"auth": 5}}}',
            f'{{"auths": {{"a.example": {{"auth": "{auth("no-colon")}"}}}}}}',
            f'{{"auths": {{"a.example": {{"auth": "{auth("no-password:")}"}}}}}}',
            '{"auths": {"a.example": {"identitytoken": "secret"}}}',
            '{"auths": ' * 100_000,
        ],
        ids=lambda text: text[:60],
    )
    def test_what_holds_no_password_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):  # noqa: PT011  the message is that of whoever asked for it
            images.Credentials.from_docker_config(text)

    def test_no_text_of_it_has_the_passwords(self) -> None:
        known = credentials("registry.example")
        assert PASSWORD not in f"{known!r} {known}"
