"""What one operation reads, batched: however many rows a list has, an edge costs one statement.

A `Loaders` lives as long as one operation. Each batch opens its own short read: sibling fields run at the same time.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from aiodataloader import DataLoader
from sqlalchemy import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import access, lists, reads
from app.db.database import Database
from app.db.values import among
from app.domain import lifecycle
from app.domain.enums import Role
from app.domain.people import Viewer
from app.domain.specification import Specification

Batch = Callable[[AsyncSession, Sequence[UUID]], Awaitable[Mapping[UUID, Any]]]


class Loaders:
    """The loaders of one operation, made when they are first asked for."""

    def __init__(self, database: Database, viewer: Viewer, now: datetime) -> None:
        self._database = database
        self._viewer = viewer
        self._now = now
        self._loaders: dict[Hashable, DataLoader[UUID, Any]] = {}

    def clear(self) -> None:
        """Forget everything: something was changed."""
        self._loaders.clear()

    async def batched(self, name: Hashable, key: UUID, batch: Batch) -> Any:
        """The value for a key; keys that are asked for under the same name at the same time share a statement."""
        loader = self._loaders.get(name)
        if loader is None:

            async def load(keys: list[UUID]) -> list[Any]:
                async with self._database.read() as session:
                    found = await batch(session, keys)
                return [found.get(each) for each in keys]

            loader = self._loaders[name] = DataLoader(load, cache=True)
        return await loader.load(key)

    async def row(self, table: Any, row_id: UUID) -> Any:
        """A row by its id, whoever asks: for edges that lead to what everybody may see, or upwards."""
        return await self.batched(("row", table), row_id, lambda session, keys: _rows(session, table, keys))

    async def reachable(self, table: Any, row_id: UUID) -> Any:
        """A row by its id, as far as the viewer may see it: by a role or as a frame; else None."""
        condition = access.reachable(table, self._viewer)
        name = ("reachable", table)
        return await self.batched(name, row_id, lambda session, keys: _rows(session, table, keys, condition))

    async def role(self, table: Any, row_id: UUID) -> Role | None:
        """The viewer's role on a row; None on a frame."""

        async def batch(session: AsyncSession, keys: Sequence[UUID]) -> Mapping[UUID, Any]:
            statement: Any = select(table.id, access.role(table, self._viewer)).where(among(table.id, keys))
            return {row_id: role for row_id, role in await session.exec(statement)}  # noqa: C416  rows are no pairs

        role: Role | None = await self.batched(("role", table), row_id, batch)
        return role

    async def children(self, table: Any, column: str, parent_id: UUID, *order: str) -> Sequence[Any]:
        """The rows of a table that name this parent, in order."""

        async def batch(session: AsyncSession, keys: Sequence[UUID]) -> Mapping[UUID, Any]:
            owner = getattr(table, column)
            statement: Any = select(table).where(among(owner, keys))
            found: dict[UUID, list[Any]] = {}
            ordered: Any = statement.order_by(*(getattr(table, each) for each in order))
            for row in (await session.exec(ordered)).scalars():
                found.setdefault(getattr(row, column), []).append(row)
            return found

        return await self.batched(("children", table, column), parent_id, batch) or ()

    async def specification(self, artifact_id: UUID) -> Specification:
        """The stored specification of an artifact."""
        spec: Specification = await self.batched("specification", artifact_id, reads.specifications)
        return spec

    async def live_workloads(self, column: Any, owner_id: UUID) -> lifecycle.Things:
        """The workloads of an owner that are not TERMINATED."""
        viewer = self._viewer
        things: lifecycle.Things | None = await self.batched(
            ("live_workloads", str(column)),
            owner_id,
            lambda session, keys: reads.live_workloads(session, column, keys, viewer),
        )
        return things or lifecycle.NOTHING

    async def locked_artifacts(self, repository_id: UUID) -> lifecycle.Things:
        """The locked artifacts of a repository."""
        viewer = self._viewer
        things: lifecycle.Things | None = await self.batched(
            "locked_artifacts",
            repository_id,
            lambda session, keys: reads.locked_artifacts(session, keys, viewer),
        )
        return things or lifecycle.NOTHING

    async def credential_users(self, credential_id: UUID) -> lifecycle.Things:
        """What points at a credential."""
        viewer = self._viewer
        things: lifecycle.Things | None = await self.batched(
            "credential_users",
            credential_id,
            lambda session, keys: reads.credential_users(session, keys, viewer),
        )
        return things or lifecycle.NOTHING

    async def replaced(self, workload_id: UUID) -> tuple[bool, bool]:
        """Whether a replacement of a workload is under way, and whether there is an earlier artifact to go back to."""
        found: tuple[bool, bool] | None = await self.batched("replaced", workload_id, reads.replaced)
        return found or (False, False)

    async def runtime_available(self) -> bool:
        """Whether a runtime can be reached, going by what is recorded: one statement for the whole operation."""

        async def batch(session: AsyncSession, keys: Sequence[UUID]) -> Mapping[UUID, Any]:
            return dict.fromkeys(keys, await reads.runtime_available(session, self._now))

        return bool(await self.batched("runtime_available", UUID(int=0), batch))

    async def listing(self, listing: lists.Listing, order: lists.Order, window: lists.Window) -> lists.Page:
        """A page of a list of the root."""
        async with self._database.read() as session:
            return await lists.page(session, listing, order, window)

    async def count(self, listing: lists.Listing) -> int:
        """The length of a list of the root."""
        async with self._database.read() as session:
            return await lists.count(session, listing)


async def _rows(session: AsyncSession, table: Any, keys: Sequence[UUID], *conditions: Any) -> Mapping[UUID, Any]:
    statement: Any = select(table).where(among(table.id, keys), *conditions)
    return {row.id: row for row in (await session.exec(statement)).scalars()}
