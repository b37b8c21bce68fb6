"""A runtime under test, with what the tests of all runtimes need to know of it."""

import dataclasses
from collections.abc import Awaitable, Callable
from uuid import UUID

from app.runtimes.base import Runtime, WantedContainer
from tests.runtimes import world


@dataclasses.dataclass(frozen=True)
class Subject:
    """A runtime that is open, and the workloads that it has called changed.

    `image` has a shell; `running` counts what really runs of a workload, without asking the driver.
    """

    runtime: Runtime
    changes: list[UUID]
    image: str
    running: Callable[[UUID], Awaitable[int]]

    def shell(self, script: str, name: str = "main", port: int | None = 80, **environment: str) -> WantedContainer:
        """A container that runs a script."""
        return world.shell(script, name, port, self.image, **environment)

    async def runs(self, workload_id: UUID, count: int) -> None:
        """Wait until so many really run: a shell is two for a moment when it starts a program."""

        async def are_running() -> bool:
            return await self.running(workload_id) == count

        await world.until(are_running, f"{count} run")
