"""What of a request goes on to a replica, and what of an answer goes back: all that is not for one hop alone."""

import dataclasses
import enum
from collections.abc import Sequence

from starlette.types import Scope

from app.web.refusals import Refusal

# RFC 9110, 7.6.1
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Beside those: the token is for this server, and who sent the request is for this server to say.
HELD_BACK = HOP_BY_HOP | {b"authorization", b"forwarded"}
# The server writes its own date.
HELD_BACK_OF_ANSWERS = HOP_BY_HOP | {b"date"}

# By these a message is read: they are never for one hop alone.
ESSENTIAL = frozenset({b"content-length", b"host"})
SECURE = frozenset({"https", "wss"})
WITHOUT_BODY = frozenset({204, 304})
HEAD_MAXIMUM_BYTES = 64 * 1024

Headers = Sequence[tuple[bytes, bytes]]


class Body(enum.Enum):
    """How a body is sent."""

    NONE = enum.auto()
    SIZED = enum.auto()
    CHUNKED = enum.auto()


@dataclasses.dataclass(slots=True)
class RequestHead:
    """The beginning of a request as it goes to a replica."""

    data: bytes
    method: str
    body: Body
    expects_continue: bool


def split(scope: Scope) -> tuple[str, bytes | None]:
    """The workload, and the target for its replica as it was sent; None where not even a slash follows."""
    sent: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    _, _, workload, *rest = sent.partition(b"?")[0].split(b"/", 3)  # /endpoints/wkl_…/the/rest
    query: bytes = scope.get("query_string", b"")
    target = b"/" + rest[0] + (b"?" + query if query else b"") if rest else None
    return workload.decode("latin-1"), target


def request_head(scope: Scope, workload: str, target: bytes) -> RequestHead:
    """The request line and the headers.

    Raises:
        Refusal: the headers are too large, or the body is coded in a way that would be lost here.
    """
    codings = [value for name, value in scope["headers"] if name == b"transfer-encoding"]
    if any(each.lower() != b"chunked" for each in codings):
        message = "The body has a transfer coding other than `chunked`. Use Content-Encoding to compress it."
        raise Refusal(501, "TRANSFER_CODING_NOT_SUPPORTED", message)
    headers = request_headers(scope, workload)
    sent = dict(headers)
    body = Body.NONE
    if sent.get(b"content-length", b"0") != b"0":
        body = Body.SIZED
    elif codings:
        body = Body.CHUNKED
        headers.append((b"transfer-encoding", b"chunked"))
    if b"host" not in sent:
        headers.append((b"host", b""))  # RFC 9112, 3.2: HTTP/1.1 has it, even where a client of HTTP/1.0 did not
    method: str = scope["method"]
    lines = [method.encode("latin-1"), b" ", target, b" HTTP/1.1\r\n"]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    data = b"".join(lines)
    if len(data) > HEAD_MAXIMUM_BYTES:
        message = f"The address and the headers have more than {HEAD_MAXIMUM_BYTES:,} bytes. Send less in them."
        raise Refusal(431, "HEADERS_TOO_LARGE", message)
    return RequestHead(data, method, body, body is not Body.NONE and b"expect" in sent)


def request_headers(scope: Scope, workload: str) -> list[tuple[bytes, bytes]]:
    """The headers that go on, and who sent them to where."""
    sent: Headers = scope["headers"]
    dropped = HELD_BACK | _named_by_connection(sent)
    headers = [pair for pair in sent if pair[0] not in dropped and not pair[0].startswith(b"x-forwarded-")]
    client = scope.get("client")
    host = next((value for name, value in sent if name == b"host"), b"")
    headers += (
        (b"x-forwarded-for", client[0].encode("latin-1") if client else b"unknown"),
        (b"x-forwarded-proto", b"https" if scope["scheme"] in SECURE else b"http"),
        (b"x-forwarded-host", host),
        (b"x-forwarded-prefix", b"/endpoints/" + workload.encode("latin-1")),
    )
    return headers


def answer_headers(status: int, sent: Headers) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that go back. Names are in lower case."""
    dropped = HELD_BACK_OF_ANSWERS | _named_by_connection(sent)
    if status in WITHOUT_BODY:
        dropped |= {b"content-length"}  # the server would wait for a body of this length
    return [pair for pair in sent if pair[0] not in dropped]


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Headers that `Connection` names are for one hop alone."""
    values = [value for name, value in headers if name == b"connection"]
    return frozenset(name.strip().lower() for value in values for name in value.split(b",")) - ESSENTIAL
