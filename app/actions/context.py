"""What every action is given, and the first questions that it asks: does it exist, may they, is it the right one."""

import dataclasses
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import images
from app.actions.sealing import Sealer
from app.db import access, tables
from app.db.database import Database
from app.domain import enums, errors, ids, lifecycle
from app.domain.people import Viewer
from app.domain.validation import Limits

Row = TypeVar("Row", tables.RepositoryRow, tables.ArtifactRow, tables.WorkloadRow, tables.CredentialRow)

KINDS = {
    tables.RepositoryRow: ids.Kind.REPOSITORY,
    tables.ArtifactRow: ids.Kind.ARTIFACT,
    tables.WorkloadRow: ids.Kind.WORKLOAD,
    tables.CredentialRow: ids.Kind.CREDENTIAL,
    tables.ApiTokenRow: ids.Kind.API_TOKEN,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """Who asks, when, and with what at hand.

    `resolver` asks for the digests of images that are locked; None: locks pin only what is written. `requires_pins`:
    without all digests there is no lock.
    `endpoint` gives a new workload the address that its runtime brings; None where the server's gateway leads to it.
    """

    database: Database
    viewer: Viewer
    now: datetime
    limits: Limits
    sealer: Sealer
    resolver: images.Resolver | None = None
    requires_pins: bool = False
    endpoint: Callable[[UUID], str | None] = lambda _: None


async def lock_row(session: AsyncSession, table: type[Row], row_id: UUID, viewer: Viewer) -> tuple[Row, enums.Role]:
    """The row, locked until the transaction ends, and the viewer's role on it (VIEWER on a frame).

    Rows are locked from the top down (repository, artifact, workload), so that two actions never wait for each other.

    Raises:
        errors.NotFound: it does not exist, or not for this viewer.
    """
    statement = select(table).where(col(table.id) == row_id).with_for_update()
    row = (await session.exec(statement)).one_or_none()
    # Asked once the lock is held: a grant that was taken away while we waited no longer counts.
    asked = select(access.role(table, viewer), access.reachable(table, viewer)).where(col(table.id) == row_id)
    role, reachable = (await session.exec(asked)).one_or_none() or (None, False)
    if row is None or not reachable:
        raise errors.NotFound(ids.encode(KINDS[table], row_id))
    return row, role or enums.Role.VIEWER


async def see(session: AsyncSession, table: type[Row], row_id: UUID, viewer: Viewer) -> tuple[Row, enums.Role]:
    """A row that is only looked at, and the viewer's role on it (VIEWER on a frame).

    Raises:
        errors.NotFound: it does not exist, or not for this viewer.
    """
    asked = select(table, access.role(table, viewer)).where(col(table.id) == row_id, access.reachable(table, viewer))
    row, role = (await session.exec(asked)).one_or_none() or (None, None)
    if row is None:
        raise errors.NotFound(ids.encode(KINDS[table], row_id))
    return row, role or enums.Role.VIEWER


async def lock_artifact(
    session: AsyncSession, artifact_id: UUID, viewer: Viewer
) -> tuple[tables.RepositoryRow, tables.ArtifactRow, enums.Role]:
    """An artifact with its repository, both locked, and the viewer's role on the artifact.

    Raises:
        errors.NotFound: it does not exist, or not for this viewer.
    """
    owner = select(tables.ArtifactRow.repository_id).where(col(tables.ArtifactRow.id) == artifact_id)
    statement = (
        select(tables.RepositoryRow)
        .where(col(tables.RepositoryRow.id).in_(owner))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    repository = (await session.exec(statement)).one_or_none()
    artifact, role = await lock_row(session, tables.ArtifactRow, artifact_id, viewer)
    if repository is None:
        raise errors.NotFound(ids.encode(ids.Kind.ARTIFACT, artifact_id))
    return repository, artifact, role


def authorize(viewer: Viewer, held: enums.Role, needed: enums.Role) -> None:
    """Refuse a viewer whose role, or whose token, does not allow a change.

    Raises:
        errors.PermissionDenied: the token is read-only, or the role is too low.
    """
    if viewer.read_only:
        raise errors.PermissionDenied(lifecycle.READ_ONLY, None)
    if enums.rank(held) < enums.rank(needed):
        raise errors.PermissionDenied(f"This needs the role {needed}; yours is {held}.", needed)


def check_revision(current: int, if_revision: int | None) -> None:
    """Refuse a change that was decided on an older state.

    Raises:
        errors.StaleRevision: the thing is at another revision.
    """
    if if_revision is not None and if_revision != current:
        raise errors.StaleRevision(current)


def require_available(action: lifecycle.Action, facts: lifecycle.Facts) -> None:
    """Enforce the table of the rules.

    Raises:
        errors.ActionUnavailable: with every blocker that applies.
    """
    blockers = lifecycle.judge(action, facts)
    if blockers:
        raise errors.ActionUnavailable(action.value, blockers)


def needed_role(action: lifecycle.Action) -> enums.Role:
    """The role that the table asks for."""
    return lifecycle.rule_of(action).needs
