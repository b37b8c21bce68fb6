"""What is written in one turn of the event loop goes out in one piece, unless it is too much to hold back."""

import asyncio
from typing import Any, cast

from app.web.transport import HELD_MAXIMUM_BYTES, OneWriteATurn


class Transport:
    """What the kernel would get."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed_after: int | None = None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed_after = len(self.written)

    def is_closing(self) -> bool:
        return self.closed_after is not None

    def get_extra_info(self, name: str) -> Any:
        return name


def wrap(transport: Transport) -> OneWriteATurn:
    return OneWriteATurn(cast("asyncio.Transport", transport), asyncio.get_running_loop())


async def test_the_writes_of_one_turn_are_one() -> None:
    transport = Transport()
    one = wrap(transport)
    one.write(b"head, ")
    one.write(b"body")
    assert transport.written == []
    await asyncio.sleep(0)
    assert transport.written == [b"head, body"]
    one.write(b"more")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.written == [b"head, body", b"more"]


async def test_much_goes_out_at_once_and_in_order() -> None:
    transport = Transport()
    one = wrap(transport)
    one.write(b"head, ")
    one.write(b"x" * HELD_MAXIMUM_BYTES)
    assert transport.written == [b"head, " + b"x" * HELD_MAXIMUM_BYTES]
    one.write(b"end")
    await asyncio.sleep(0)
    assert transport.written[1:] == [b"end"]


async def test_what_is_held_back_goes_out_before_the_end() -> None:
    transport = Transport()
    one = wrap(transport)
    one.write(b"last words")
    assert not one.is_closing()
    one.close()
    assert (transport.written, transport.closed_after, one.is_closing()) == ([b"last words"], 1, True)
    await asyncio.sleep(0)
    assert transport.written == [b"last words"]


async def test_all_else_is_the_transports_own() -> None:
    assert wrap(Transport()).get_extra_info("peername") == "peername"
