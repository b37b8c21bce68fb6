"""What is open is counted, by replica, until it ends."""

import pytest

from app.domain.traffic import Traffic

ONE = ("127.0.0.1", 8001)
OTHER = ("127.0.0.1", 8002)


def test_a_replica_is_busy_until_the_last_of_its_requests_has_ended() -> None:
    traffic = Traffic()
    first, second = traffic.open(ONE), traffic.open(ONE)
    with traffic.open(OTHER):
        first.__enter__()
        second.__enter__()
        assert (traffic.count(ONE), traffic.count(OTHER)) == (2, 1)
        assert traffic.busy() == {ONE, OTHER}
    assert traffic.busy() == {ONE}
    first.__exit__(None, None, None)
    assert (traffic.count(ONE), traffic.busy()) == (1, frozenset({ONE}))
    second.__exit__(None, None, None)
    assert (traffic.count(ONE), traffic.busy()) == (0, frozenset())


def test_a_request_that_fails_has_ended() -> None:
    traffic = Traffic()
    with pytest.raises(ConnectionError), traffic.open(ONE):
        raise ConnectionError
    assert traffic.busy() == frozenset()


def test_asking_counts_nothing() -> None:
    traffic = Traffic()
    assert traffic.count(ONE) == 0
    assert traffic.busy() == frozenset()
