"""What every resolver is handed: who asks, when, and the loaders of the operation."""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import strawberry

from app.actions import context as acting
from app.api.loaders import Loaders
from app.db import tables
from app.domain import ids
from app.domain.logs import LogLine, LogQuery
from app.domain.manifests import Cluster
from app.domain.people import Viewer

ReadLogs = Callable[[UUID, LogQuery], Awaitable[Sequence[LogLine]]]
"""Asks the runtime for the logs of a workload. Raises errors.RuntimeUnavailable."""


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What manifests are written for: a cluster, and the registries that ask its nodes for passwords."""

    cluster: Cluster
    registries: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """Made for each operation; `public_url` is where clients reach the server, without a slash at the end.

    `read_logs`, `surroundings` and `forget_viewers` are the same for all operations; the last is to be called when a
    token is good no more.
    """

    acting: acting.Context
    loaders: Loaders
    public_url: str
    read_logs: ReadLogs
    surroundings: Surroundings
    forget_viewers: Callable[[], None]

    @property
    def viewer(self) -> Viewer:
        """Who asks."""
        return self.acting.viewer

    def endpoint(self, workload: tables.WorkloadRow) -> str:
        """Where a workload answers: known from its creation on, and the same for ever."""
        return workload.endpoint or f"{self.public_url}/endpoints/{ids.encode(ids.Kind.WORKLOAD, workload.id)}/"


Info = strawberry.Info[Context, None]
