"""Ids: what they look like, that they keep the order of creation, and what the beginning of one finds."""

import uuid
from uuid import UUID

import pytest
import uuid_utils.compat
from hypothesis import given, strategies

from app.domain import ids
from app.domain.ids import Kind

UUIDS = strategies.uuids()
KINDS = strategies.sampled_from(list(Kind))
LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # The examples of the TypeID specification.
        (LOWEST, "art_00000000000000000000000000"),
        (UUID(int=1), "art_00000000000000000000000001"),
        (UUID(int=10), "art_0000000000000000000000000a"),
        (UUID(int=32), "art_00000000000000000000000010"),
        (UUID("01890a5d-ac96-774b-bcce-b302099a8057"), "art_01h455vb4pex5vsknk084sn02q"),
        (HIGHEST, "art_7zzzzzzzzzzzzzzzzzzzzzzzzz"),
    ],
)
def test_an_id_is_a_prefix_and_26_digits(value: UUID, text: str) -> None:
    assert ids.encode(Kind.ARTIFACT, value) == text
    assert ids.decode(text) == (Kind.ARTIFACT, value)


@given(KINDS, UUIDS)
def test_what_is_written_can_be_read(kind: Kind, value: UUID) -> None:
    text = ids.encode(kind, value)
    assert ids.decode(text) == (kind, value)
    for each in Kind:
        assert ids.decode_as(each, text) == (value if each is kind else None)


@given(UUIDS, UUIDS)
def test_ids_sort_as_their_uuids_do(one: UUID, other: UUID) -> None:
    assert (ids.encode(Kind.WORKLOAD, one) < ids.encode(Kind.WORKLOAD, other)) == (one < other)


def test_ids_sort_by_creation() -> None:
    made = [ids.encode(Kind.EVENT, uuid_utils.compat.uuid7()) for _ in range(1_000)]
    assert made == sorted(set(made))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "_",
        "art",
        "art_",
        "art_0000000000000000000000000",  # one digit too few
        "art_000000000000000000000000000",  # one too many
        "art_80000000000000000000000000",  # more than 128 bits
        "art_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "art_0000000000000000000000000A",
        "art_0000000000000000000000000i",  # i, l, o and u are no digits
        "art_0000000000000000000000000٣",
        "ART_00000000000000000000000000",
        "foo_00000000000000000000000000",
        " art_00000000000000000000000000",
        "art_0000000000000000000000000\0",
        "art_0000000000000_000000000000",
        "01890a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_what_is_no_id(text: str) -> None:
    assert ids.decode(text) is None
    assert ids.decode_as(Kind.ARTIFACT, text) is None


@given(strategies.text(max_size=40))
def test_any_text_is_an_id_or_none(text: str) -> None:
    decoded = ids.decode(text)
    assert decoded is None or ids.encode(*decoded) == text


@given(UUIDS, UUIDS, strategies.integers(1, ids.TEXT_LENGTH))
def test_the_beginning_of_an_id_finds_exactly_the_ids_that_begin_so(value: UUID, other: UUID, length: int) -> None:
    text = ids.encode(Kind.ARTIFACT, value)[: len("art_") + length]
    bounds = ids.prefix_range(Kind.ARTIFACT, text)
    assert bounds is not None
    lowest, highest = bounds
    for each in (value, other, lowest, highest):
        assert (lowest <= each <= highest) == ids.encode(Kind.ARTIFACT, each).startswith(text)
    for beyond in (lowest.int - 1, highest.int + 1):
        if 0 <= beyond < 2**128:
            assert not ids.encode(Kind.ARTIFACT, UUID(int=beyond)).startswith(text)


def test_a_whole_id_finds_itself() -> None:
    value = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert ids.prefix_range(Kind.ARTIFACT, ids.encode(Kind.ARTIFACT, value)) == (value, value)


@pytest.mark.parametrize(
    "text",
    ["", "art", "art_", "rep_0", "art_8", "art_i", "art_0A", "art_000000000000000000000000000", "0", "hello", "art_0_"],
)
def test_what_no_id_begins_with(text: str) -> None:
    assert ids.prefix_range(Kind.ARTIFACT, text) is None
