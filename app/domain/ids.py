"""Ids as clients see them: a prefix that names the type, and a UUIDv7 in 26 characters of Crockford's base32.

This is the TypeID format (https://github.com/jetify-com/typeid/tree/main/spec): lexicographic order of the text is
the order of the UUIDs, and so of creation. Example: `art_01kay2p5x3ezvr3a6jy9fgm7bq`.
"""

import re
from enum import StrEnum
from uuid import UUID

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
TEXT_LENGTH = 26
# The digits that Python's own base 32 has in the place of these.
_PYTHONS = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_DIGITS = re.compile(f"[{ALPHABET[:8]}][{ALPHABET}]{{{TEXT_LENGTH - 1}}}")


class Kind(StrEnum):
    """The types that have ids, by their prefix."""

    REPOSITORY = "rep"
    ARTIFACT = "art"
    CONTAINER = "ctr"
    WORKLOAD = "wkl"
    CREDENTIAL = "crd"
    USER = "usr"
    API_TOKEN = "tok"  # noqa: S105  a prefix, not a secret
    EVENT = "evt"
    REPLACEMENT = "rpl"


_KINDS = {kind.value: kind for kind in Kind}


def encode(kind: Kind, value: UUID) -> str:
    """Write a UUID as the id of a thing of this kind."""
    number = value.int
    digits = []
    for _ in range(TEXT_LENGTH):
        digits.append(ALPHABET[number & 31])
        number >>= 5
    return f"{kind}_{''.join(reversed(digits))}"


def decode(text: str) -> tuple[Kind, UUID] | None:
    """Read an id of any kind. None where it is not one: a wrong prefix, length, character or overflow."""
    prefix, _, digits = text.partition("_")
    kind = _KINDS.get(prefix)
    if kind is None or not _DIGITS.fullmatch(digits):
        return None
    return kind, UUID(int=int(digits.translate(_PYTHONS), 32))


def decode_as(kind: Kind, text: str) -> UUID | None:
    """Read an id of this kind. None where it is not one, or of another kind."""
    decoded = decode(text)
    return decoded[1] if decoded and decoded[0] is kind else None


def prefix_range(kind: Kind, text: str) -> tuple[UUID, UUID] | None:
    """The lowest and the highest UUID whose id begins with this text; None where no id can.

    `text` may be cut anywhere behind the prefix: "art_01ka". The prefix alone matches nothing: everything has it.
    """
    prefix, separator, digits = text.partition("_")
    if prefix != kind or not separator or not digits or len(digits) > TEXT_LENGTH:
        return None
    lowest = decode_as(kind, f"{prefix}_{digits.ljust(TEXT_LENGTH, ALPHABET[0])}")
    highest = decode_as(kind, f"{prefix}_{digits.ljust(TEXT_LENGTH, ALPHABET[-1])}")
    return (lowest, highest) if lowest is not None and highest is not None else None
