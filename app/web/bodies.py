"""Reading what a client sends: never more than allowed, never for longer than allowed, and only sound JSON."""

import asyncio
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from app.web.refusals import Refusal


def header(scope: Scope, name: bytes) -> list[str]:
    """The values of a request's header, in order. `name` is in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


class Interruption:
    """Cancels the task that made it when it is called, and knows that cancellation from others.

    `asyncio.timeout` does the same, and more, and takes about twice as long.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._came = False

    def __call__(self) -> None:
        """Interrupt."""
        if self._task is not None:
            self._came = True
            self._task.cancel()

    def settled(self) -> bool:
        """Whether the CancelledError that was caught is its own: then it is over, and another error is to be raised."""
        if self._came and self._task is not None:
            self._task.uncancel()
        return self._came


async def read(scope: Scope, receive: Receive, *, limit_bytes: int, timeout_seconds: float) -> bytes:
    """The body, counted while it streams in.

    Raises:
        Refusal: 413 as soon as it is too large, 408 when it takes too long.
        starlette.requests.ClientDisconnect: the client went away before the end.
    """
    for declared in header(scope, b"content-length"):
        if declared.isdecimal() and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
    body = bytearray()
    more = True
    interruption = Interruption()
    timer = asyncio.get_running_loop().call_later(timeout_seconds, interruption)
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
            more = message.get("more_body", False)
    except asyncio.CancelledError:
        if not interruption.settled():
            raise
        raise Refusal(
            408,
            "BODY_TIMEOUT",
            f"The body was not complete after {timeout_seconds:g} seconds. Send it faster, or less of it.",
            {"Connection": "close"},
        ) from None
    finally:
        timer.cancel()
    return bytes(body)


def parse_json(text: bytes | str, what: str) -> Any:
    """Parse JSON that somebody sent. `what` names it in the refusal: "The body".

    orjson refuses NaN, infinities, lone surrogates, a byte order mark, more than 1,024 levels and numbers beyond a
    double. NUL, which JSON allows as an escape and PostgreSQL's text does not, is refused here.

    Raises:
        Refusal: 400, with the line and column or the path of what is wrong.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "MALFORMED_JSON", f"{what} is not valid JSON: {error}.") from None
    if (b"\\u0000" if isinstance(text, bytes) else "\\u0000") in text:  # type: ignore[operator]  # both of one kind
        path = _path_of_nul(value)
        if path is not None:
            raise Refusal(
                400, "MALFORMED_JSON", f"{what} has the character U+0000 (NUL) at {path or 'its top'}. Take it out."
            )
    return value


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal(
        413,
        "BODY_TOO_LARGE",
        f"The body is larger than {limit_bytes:,} bytes. Send less in one request.",
    )


def _path_of_nul(value: Any) -> str | None:
    """Where in parsed JSON a NUL is, as `variables.tags[0].name`; None where there is none."""
    pending = [("", value)]
    while pending:
        path, each = pending.pop()
        if isinstance(each, str) and "\0" in each:
            return path
        if isinstance(each, list):
            pending.extend((f"{path}[{index}]", item) for index, item in enumerate(each))
        elif isinstance(each, dict):
            if any("\0" in key for key in each):
                return f"a key of {path}" if path else "a key"
            pending.extend((f"{path}.{key}" if path else key, item) for key, item in each.items())
    return None
