"""What every resolver is handed: who asks, when, and the loaders of the operation."""

import dataclasses

import strawberry

from app.actions import context as acting
from app.api.loaders import Loaders
from app.db import tables
from app.domain import ids
from app.domain.people import Viewer


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """Made for each operation; `public_url` is where clients reach the server, without a slash at the end."""

    acting: acting.Context
    loaders: Loaders
    public_url: str

    @property
    def viewer(self) -> Viewer:
        """Who asks."""
        return self.acting.viewer

    def endpoint(self, workload: tables.WorkloadRow) -> str:
        """Where a workload answers: known from its creation on, and the same for ever."""
        return workload.endpoint or f"{self.public_url}/endpoints/{ids.encode(ids.Kind.WORKLOAD, workload.id)}/"


Info = strawberry.Info[Context, None]
