from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from app.domain import probing
from app.domain.enums import ProbeKind
from app.domain.specification import Probe

STARTUP, READINESS, LIVENESS = ProbeKind.STARTUP, ProbeKind.READINESS, ProbeKind.LIVENESS


def probe(**values: Any) -> Probe:
    return Probe("/", 80, **values)


def answers(state: probing.State, kind: ProbeKind, results: str, *, at: float = 0.0) -> probing.State:
    """`+` passed, `-` failed, one a second."""
    for index, result in enumerate(results):
        state = probing.record(state, kind, asked=at + index, now=at + index, passed=result == "+", message="no")
    return state


def test_a_container_without_probes_is_ready_at_once() -> None:
    state = probing.begin({}, 5.0)
    assert (state.started, state.ready, state.failed, probing.due(state)) == (True, True, None, {})


def test_each_probe_waits_for_its_initial_delay_then_for_its_period() -> None:
    state = probing.begin({READINESS: probe(initial_delay_seconds=3), LIVENESS: probe()}, 100.0)
    assert probing.due(state) == {READINESS: 103.0, LIVENESS: 100.0}
    state = probing.record(state, LIVENESS, asked=100.0, now=100.9, passed=True)
    assert probing.due(state) == {READINESS: 103.0, LIVENESS: 110.0}


def test_startup_holds_the_others_back_and_is_done_once_it_has_passed() -> None:
    state = probing.begin({STARTUP: probe(), READINESS: probe(), LIVENESS: probe(initial_delay_seconds=60)}, 0.0)
    assert probing.due(state) == {STARTUP: 0.0}
    assert not state.ready
    state = answers(state, STARTUP, "-")
    assert (probing.due(state), state.message) == ({STARTUP: 10.0}, "no")
    state = probing.record(state, STARTUP, asked=10.0, now=10.5, passed=True)
    assert (state.started, state.ready, state.message) == (True, False, None)
    assert probing.due(state) == {READINESS: 10.5, LIVENESS: 60.0}


def test_without_readiness_a_passed_startup_makes_ready() -> None:
    state = probing.begin({STARTUP: probe()}, 0.0)
    assert not state.ready
    assert answers(state, STARTUP, "+").ready


@pytest.mark.parametrize(
    ("success", "failure", "results", "ready"),
    [
        (1, 3, "", False),
        (1, 3, "+", True),
        (1, 3, "+--", True),
        (1, 3, "+---", False),
        (1, 3, "+--+--", True),
        (1, 3, "+---+", True),
        (3, 1, "++", False),
        (3, 1, "+++", True),
        (3, 1, "++-++", False),
        (3, 1, "+++-", False),
        (3, 1, "+++-+++", True),
    ],
)
def test_readiness_counts_results_in_a_row(success: int, failure: int, results: str, ready: bool) -> None:
    state = probing.begin({READINESS: probe(success_threshold=success, failure_threshold=failure)}, 0.0)
    state = answers(state, READINESS, results)
    assert (state.ready, state.failed) == (ready, None)


@pytest.mark.parametrize("kind", [STARTUP, LIVENESS])
def test_startup_and_liveness_that_fail_end_the_run(kind: ProbeKind) -> None:
    state = probing.begin({kind: probe(failure_threshold=3)}, 0.0)
    assert answers(state, kind, "--").failed is None
    failed = answers(state, kind, "---")
    assert (failed.failed, failed.ready, failed.message, probing.due(failed)) == (kind, False, "no", {})
    assert answers(failed, kind, "+++") == failed, "nothing revives it but a new run"


def test_liveness_does_not_take_out_of_traffic_before_it_has_failed() -> None:
    state = answers(probing.begin({LIVENESS: probe()}, 0.0), LIVENESS, "+--")
    assert (state.ready, state.message) == (True, "no")
    assert answers(state, LIVENESS, "+").message is None


def test_the_message_stays_while_another_probe_fails() -> None:
    state = probing.begin({READINESS: probe(), LIVENESS: probe()}, 0.0)
    state = answers(answers(state, READINESS, "-"), LIVENESS, "+")
    assert state.message == "no"
    assert answers(state, READINESS, "+").message is None


@given(
    thresholds=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    results=st.lists(st.booleans(), max_size=30),
)
def test_readiness_is_decided_by_the_last_long_enough_row(thresholds: tuple[int, int], results: Sequence[bool]) -> None:
    success, failure = thresholds
    state = probing.begin({READINESS: probe(success_threshold=success, failure_threshold=failure)}, 0.0)
    expected = False
    for index, passed in enumerate(results):
        state = probing.record(state, READINESS, asked=float(index), now=float(index), passed=passed)
        for decided, length in ((True, success), (False, failure)):
            if len(results[: index + 1]) >= length and set(results[index + 1 - length : index + 1]) == {decided}:
                expected = decided
        assert state.ready is expected
