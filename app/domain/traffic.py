"""What is on its way to replicas: the gateway counts it, and the reconciler asks before it takes a replica away."""

import collections
import contextlib
from collections.abc import Iterator

Address = tuple[str, int]
"""Host and port of a replica, as in `workloads.addresses`."""


class Traffic:
    """How many requests and WebSockets this process has open to each replica.

    The gateways of other processes are not seen: what they lead on has the drain time to end.
    """

    def __init__(self) -> None:
        self._open: collections.Counter[Address] = collections.Counter()

    @contextlib.contextmanager
    def open(self, address: Address) -> Iterator[None]:
        """Count one for as long as this lasts."""
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def count(self, address: Address) -> int:
        """How many are open to this replica."""
        return self._open[address]

    def total(self) -> int:
        """How many are open to all of them."""
        return self._open.total()

    def busy(self) -> frozenset[Address]:
        """The replicas to which something is open."""
        return frozenset(self._open)
