"""Bodies that nobody should send, and how far each of them gets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from starlette.types import ASGIApp, Message

from app.web import bodies
from app.web.refusals import Refusal
from tests.web import stub
from tests.web.conftest import AUTHORIZATION
from tests.web.test_graphql import only_error

HEADERS = {"Content-Type": "application/json", **AUTHORIZATION}
MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is not valid JSON"),
        (b"  ", "The body is not valid JSON"),
        (b'{ "not a JSON', "The body is not valid JSON: unexpected end of data: line 1 column 14 (char 13)."),
        (b"query=%7B__typename%7D", "The body is not valid JSON"),
        (b'{"query": "{ __typename }"}x', "The body is not valid JSON"),
        (b'{"query": "{ double(number: 1) }", "variables": {"a": NaN}}', "The body is not valid JSON"),
        (b'{"query": "{ double(number: 1) }", "variables": {"a": Infinity}}', "The body is not valid JSON"),
        (b'{"query": "{ double(number: 1) }", "variables": {"a": -Infinity}}', "The body is not valid JSON"),
        (b'{"query": "{ double(number: 1) }", "variables": {"a": 1e400}}', "The body is not valid JSON"),
        (
            b'{"query": "{ double(number: 1) }", "variables": {"a": ' + b"9" * 5_000 + b"}}",
            "The body is not valid JSON",
        ),
        (b'{"query": "\\ud800"}', "The body is not valid JSON"),
        (b'{"query": "\xff"}', "The body is not valid JSON"),
        (b'{"query": "\x00"}', "The body is not valid JSON"),
        (b'\xef\xbb\xbf{"query": "{ __typename }"}', "The body is not valid JSON"),
        ('{"query": "{ __typename }"}'.encode("utf-16"), "The body is not valid JSON"),
        (b"[" * 100_000, "The body is not valid JSON: depth limit exceeded"),
        (b'{"variables":' * 100_000, "The body is not valid JSON: depth limit exceeded"),
        (
            b'{"query": "query ($text: String!) { echo(text: $text) }", "variables": {"text": "a\\u0000b"}}',
            "The body has the character U+0000 (NUL) at variables.text. Take it out.",
        ),
        (
            b'{"query": "{ __typename }", "variables": {"list": [{"a": 1}, {"b": "\\u0000"}]}}',
            "The body has the character U+0000 (NUL) at variables.list[1].b. Take it out.",
        ),
        (
            b'{"query": "{ __typename }", "variables": {"\\u0000": 1}}',
            "The body has the character U+0000 (NUL) at a key of variables. Take it out.",
        ),
        (b'"\\u0000"', "The body has the character U+0000 (NUL) at its top. Take it out."),
        (b"5", 'The body is a number. Send a JSON object, as {"query": "…"}.'),
        (b"1.5", 'The body is a number. Send a JSON object, as {"query": "…"}.'),
        (b'"text"', 'The body is a string. Send a JSON object, as {"query": "…"}.'),
        (b"true", 'The body is a boolean. Send a JSON object, as {"query": "…"}.'),
        (b"null", 'The body is null. Send a JSON object, as {"query": "…"}.'),
        (b"[1]", "The body is a list. Send one GraphQL request, a JSON object, at a time."),
        (b"[]", "The body is a list. Send one GraphQL request, a JSON object, at a time."),
    ],
)
async def test_an_unsound_body_is_400_and_says_why(client: httpx.AsyncClient, body: bytes, message: str) -> None:
    response = await client.post("/graphql", content=body, headers=HEADERS)
    assert response.status_code == 400
    assert only_error(response)["message"].startswith(message)


async def test_an_escaped_backslash_before_u0000_is_no_nul(client: httpx.AsyncClient) -> None:
    body = rb'{"query": "query ($text: String!) { echo(text: $text) }", "variables": {"text": "\\u0000"}}'
    response = await client.post("/graphql", content=body, headers=HEADERS)
    assert response.json() == {"data": {"echo": r"\u0000"}}


@pytest.mark.parametrize("number", ["99999999999999999999", "1e300", "0.1", "-0"])
async def test_numbers_are_doubles(client: httpx.AsyncClient, number: str) -> None:
    body = f'{{"query": "query ($n: Float!) {{ double(number: $n) }}", "variables": {{"n": {number}}}}}'
    response = await client.post("/graphql", content=body, headers=HEADERS)
    assert response.json() == {"data": {"double": 2 * float(number)}}


# Size


async def chunks(total_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(total_bytes // 65_536):
        yield b" " * 65_536


def padded(size: int) -> bytes:
    body = b'{"query": "{ viewer }"}'
    return body + b" " * (size - len(body))


async def test_a_body_of_exactly_the_limit_is_taken(calls: stub.Calls) -> None:
    transport = httpx.ASGITransport(stub.stub_application(calls, body_limit_bytes=1_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://slipway", headers=HEADERS) as client:
        assert (await client.post("/graphql", content=padded(1_000))).json() == {"data": {"viewer": "ada"}}
        response = await client.post("/graphql", content=padded(1_001))
    assert response.status_code == 413
    assert only_error(response) == {
        "message": "The body is larger than 1,000 bytes. Send less in one request.",
        "extensions": {"code": "BODY_TOO_LARGE"},
    }


async def test_the_limit_is_4_mebibytes(client: httpx.AsyncClient) -> None:
    assert (await client.post("/graphql", content=padded(4 * MEBIBYTE), headers=HEADERS)).status_code == 200
    assert (await client.post("/graphql", content=padded(4 * MEBIBYTE + 1), headers=HEADERS)).status_code == 413


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_30_megabytes_over_a_real_connection_are_refused(
    serve: Callable[[ASGIApp], Awaitable[int]], declared: bool
) -> None:
    port = await serve(stub.stub_application())
    content = padded(30 * MEBIBYTE) if declared else chunks(30 * MEBIBYTE)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HEADERS) as client:
        response = await client.post("/graphql", content=content)
        assert (response.status_code, only_error(response)["extensions"]) == (413, {"code": "BODY_TOO_LARGE"})
        # The connection, or a new one, serves the next request.
        response = await client.post("/graphql", json={"query": "{ viewer }"})
    assert response.json() == {"data": {"viewer": "ada"}}


async def test_an_endless_body_is_refused_before_its_end(serve: Callable[[ASGIApp], Awaitable[int]]) -> None:
    port = await serve(stub.stub_application(body_limit_bytes=100_000))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    writer.write(f"POST /graphql HTTP/1.1\r\nHost: slipway\r\nTransfer-Encoding: chunked\r\n{head}\r\n".encode())
    for _ in range(3):
        writer.write(b"c350\r\n" + b" " * 50_000 + b"\r\n")
    async with asyncio.timeout(10):
        status = await reader.readline()
    assert status == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    writer.close()
    await writer.wait_closed()


# Time


async def test_a_body_that_does_not_come_is_408(serve: Callable[[ASGIApp], Awaitable[int]]) -> None:
    port = await serve(stub.stub_application(body_timeout_seconds=0.05))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    writer.write(f'POST /graphql HTTP/1.1\r\nHost: slipway\r\nContent-Length: 100\r\n{head}\r\n{{"que'.encode())
    async with asyncio.timeout(10):
        answer = await reader.read()  # to the end: the server closes the connection
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert answer.endswith(
        b'{"errors":[{"message":"The body was not complete after 0.05 seconds. Send it faster, or less of it.",'
        b'"extensions":{"code":"BODY_TIMEOUT"}}]}'
    )
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves_within_its_body_gets_no_answer(calls: stub.Calls) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"query": "mutation { change }"', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": headers}
    await stub.graphql_app(calls)(scope, receive, send)
    assert (sent, calls.changes) == ([], 0)


@pytest.mark.parametrize("text", ["NaN", '{"a": "\\u0000"}'])
def test_text_is_judged_like_bytes(text: str) -> None:
    with pytest.raises(Refusal):
        bodies.parse_json(text, "It")
