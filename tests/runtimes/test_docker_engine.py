"""The client of the Engine API against what may answer: any version, any words, anything that is no engine at all."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.runtimes import docker_engine
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.docker_engine import Engine, Refused

Answers = Mapping[str, tuple[int, bytes]]
"""Status and body by the request's first line, without the protocol; what is not there is answered with 404."""

Stub = Callable[[Answers], contextlib.AbstractAsyncContextManager[tuple[Engine, list[str]]]]

VERSION = "GET /version"


def version(newest: str, oldest: str | None = None, **more: Any) -> tuple[int, bytes]:
    document = {"ApiVersion": newest, "Version": "1.2.3", **more}
    return 200, json.dumps(document if oldest is None else {**document, "MinAPIVersion": oldest}).encode()


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    @contextlib.asynccontextmanager
    async def serve(answers: Answers) -> AsyncIterator[tuple[Engine, list[str]]]:
        asked: list[str] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.partition(b" HTTP/1.1")[0].decode()
            asked.append(line)
            status, body = answers.get(line, (404, b'{"message": "page not found"}'))
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)
            )
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(answer, tmp_path / "stub.sock")
        async with Engine(f"unix://{tmp_path}/stub.sock") as engine:
            yield engine, asked
        server.close()
        await asyncio.sleep(0)

    return serve


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", "1.41"),
        ("1.52", "1.24", "1.41"),
        ("1.52", "1.44", "1.44"),  # Docker 29 speaks nothing older
        ("1.40", "1.12", "1.40"),
        ("1.41", None, "1.41"),
        ("1.41", "", "1.41"),
    ],
)
async def test_it_speaks_a_version_that_the_engine_speaks(
    stub: Stub, newest: str, oldest: str | None, spoken: str
) -> None:
    inspection = f"GET /v{spoken}/containers/x/json"
    async with stub({VERSION: version(newest, oldest), inspection: (200, b'{"Id": "x"}')}) as (engine, asked):
        assert await engine.inspect("x") == {"Id": "x"}
        assert await engine.inspect("x") == {"Id": "x"}
        assert asked == [VERSION, inspection, inspection]


async def test_what_an_engine_is_called(stub: Stub) -> None:
    async with stub({VERSION: version("1.41")}) as (engine, _):
        assert await engine.describe() == "Docker Engine 1.2.3"
    async with stub({VERSION: version("1.41", Components=[{"Name": "Podman Engine"}])}) as (engine, _):
        assert await engine.describe() == "Podman 1.2.3"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"ApiVersion": "new"}', b""])
async def test_what_answers_may_be_no_engine(stub: Stub, body: bytes) -> None:
    async with stub({VERSION: (200, body)}) as (engine, _):
        with pytest.raises(
            RuntimeUnavailable, match=r"^What answers at unix://.*/stub.sock is not a container engine\.$"
        ):
            await engine.inspect("x")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b'{"message": "No such container: x"}', "No such container: x"),
        (500, b'{"message": "two\\nlines\\u0000 and  more"}', "two lines and more"),
        (502, b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (500, b"", "nothing"),
        (500, b'{"message": "%b"}' % (b"x" * 1000), "x" * 499 + "…"),
    ],
)
async def test_a_refusal_has_a_status_and_words_that_can_be_shown(
    stub: Stub, status: int, body: bytes, words: str
) -> None:
    answers = {VERSION: version("1.41"), "GET /v1.41/containers/x/json": (status, body)}
    async with stub(answers) as (engine, _):
        with pytest.raises(Refused) as raised:
            await engine.inspect("x")
    assert (raised.value.status, raised.value.words) == (status, words)
    assert str(raised.value) == f"The container engine says: {words}"


def test_podman_says_in_its_own_way_that_something_has_gone() -> None:
    assert Refused(500, "container 6a8c does not exist in database: no such container").status == 404
    assert Refused(500, "no such luck").status == 500


async def test_an_answer_has_a_limit(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "ANSWER_MAXIMUM_BYTES", 1_000)
    answers = {VERSION: version("1.41"), "GET /v1.41/containers/x/json": (200, b'{"Id": "%b"}' % (b"x" * 1_000))}
    async with stub(answers) as (engine, _):
        with pytest.raises(RuntimeUnavailable, match="answers with too much"):
            await engine.inspect("x")


async def test_a_log_that_is_damaged_is_not_read_on(stub: Stub) -> None:
    line = "GET /v1.41/containers/x/logs?stdout=true&stderr=true&timestamps=true&tail=5"
    frames = b"\x01\0\0\0\0\0\0\x02a\n" + b"\x02\0\0\0\xff\xff\xff\xff"
    async with stub({VERSION: version("1.41"), line: (200, frames)}) as (engine, _):
        logs = engine.logs("x", tail=5, since=None)
        async with contextlib.aclosing(logs):
            assert await anext(logs) == (1, b"a\n")
            with pytest.raises(Refused, match="damaged"):
                await anext(logs)


@pytest.mark.parametrize(
    "host",
    [
        "unix:///var/run/docker.sock",
        "tcp://127.0.0.1:2375",
        "tcp://localhost:2375",
        "tcp://127.0.0.1",
        "http://[::1]:2375/",
    ],
)
def test_hosts_that_can_be_asked(host: str) -> None:
    assert Engine(host).host == host


@pytest.mark.parametrize(
    "host",
    [
        "",
        "/var/run/docker.sock",
        "unix://",
        "unix://var/run/docker.sock",
        "tcp://10.0.0.1:2375",
        "tcp://engine.example:2375",
        "tcp://127.0.0.1:port",
        "tcp://127.0.0.1:2375/path",
        "https://127.0.0.1:2376",
        "ssh://user@127.0.0.1",
        "fd://",
    ],
)
def test_hosts_where_nobody_could_reach_what_runs(host: str) -> None:
    with pytest.raises(ValueError, match=r"^DOCKER_HOST: ") as raised:
        Engine(host)
    assert repr(host) in str(raised.value)
