"""What gets in as a probe: every number just inside its bounds and just outside, paths and headers."""

import dataclasses
from typing import Any

import pytest

from app.domain import validation
from app.domain.enums import ProbeKind
from app.domain.specification import Probe, ProbeHeader
from tests.domain.test_validation import KIB, Found, found


def in_probe(kind: ProbeKind = ProbeKind.READINESS, /, **changes: Any) -> Found:
    probe = dataclasses.replace(Probe("/", 8080), **changes)
    return found(lambda issues: validation.probe(issues, "probe", kind, probe))


@pytest.mark.parametrize(
    ("field", "spoken", "lowest", "highest"),
    [
        ("initial_delay_seconds", "initialDelaySeconds", 0, 3_600),
        ("period_seconds", "periodSeconds", 1, 3_600),
        ("timeout_seconds", "timeoutSeconds", 1, 3_600),
        ("success_threshold", "successThreshold", 1, 1_000),
        ("failure_threshold", "failureThreshold", 1, 1_000),
        ("port", "port", 1, 65_535),
    ],
)
def test_the_numbers_of_a_probe(field: str, spoken: str, lowest: int, highest: int) -> None:
    assert in_probe(**{field: lowest}) == []
    assert in_probe(**{field: highest}) == []
    below = "REQUIRED" if field == "port" else "OUT_OF_RANGE"
    assert in_probe(**{field: lowest - 1}) == [(f"probe.{spoken}", below)]
    assert in_probe(**{field: highest + 1}) == [(f"probe.{spoken}", "OUT_OF_RANGE")]
    assert in_probe(**{field: -(2**31)}) == [(f"probe.{spoken}", "OUT_OF_RANGE")]


@pytest.mark.parametrize("kind", [ProbeKind.STARTUP, ProbeKind.LIVENESS])
def test_startup_and_liveness_succeed_at_once(kind: ProbeKind) -> None:
    assert in_probe(kind, success_threshold=1) == []
    for wrong in (0, 2):
        assert in_probe(kind, success_threshold=wrong) == [("probe.successThreshold", "OUT_OF_RANGE")]


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        ("/", []),
        ("/health?deep=1#ü", []),
        ("/" + "a" * 1_023, []),
        ("/" + "a" * 1_024, ["TOO_LONG"]),
        ("", ["NOT_A_PATH", "TOO_SHORT"]),
        ("health", ["NOT_A_PATH"]),
        ("http://x/", ["NOT_A_PATH"]),
        ("/a\r\nHost: b", ["CONTROL_CHARACTER"]),
        ("/\0", ["NUL_CHARACTER"]),
    ],
)
def test_the_path_of_a_probe(path: str, codes: list[str]) -> None:
    assert in_probe(path=path) == [("probe.path", code) for code in codes]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (ProbeHeader("X-Token_1", "a b\tü"), []),
        (ProbeHeader("!#$%&'*+-.^_`|~", ""), []),
        (ProbeHeader("A", "b" * (4 * KIB)), []),
        (ProbeHeader("A" * (4 * KIB), ""), []),
        (ProbeHeader("", ""), [("name", "NOT_A_HEADER")]),
        (ProbeHeader("A B", ""), [("name", "NOT_A_HEADER")]),
        (ProbeHeader("A:", ""), [("name", "NOT_A_HEADER")]),
        (ProbeHeader("Ä", ""), [("name", "NOT_A_HEADER")]),
        (ProbeHeader("A", "b\rc"), [("value", "NOT_A_HEADER")]),
        (ProbeHeader("A", "b\nc"), [("value", "NOT_A_HEADER")]),
        (ProbeHeader("A", "\0"), [("value", "NUL_CHARACTER")]),
        (ProbeHeader("A", "b" * (4 * KIB + 1)), [("value", "TOO_LONG")]),
        (ProbeHeader("A" * (4 * KIB + 1), ""), [("name", "TOO_LONG")]),
    ],
)
def test_the_headers_of_a_probe(header: ProbeHeader, expected: Found) -> None:
    assert in_probe(headers=(header,)) == [(f"probe.headers[0].{path}", code) for path, code in expected]


def test_a_probe_has_at_most_20_headers() -> None:
    assert in_probe(headers=(ProbeHeader("A", "b"),) * 20) == []
    assert in_probe(headers=(ProbeHeader("", "\r"),) * 21) == [("probe.headers", "WRONG_COUNT")]
