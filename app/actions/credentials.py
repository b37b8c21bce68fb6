"""The verbs of credentials, and the check that a variable points at something."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.actions import context as acting
from app.actions.context import Context
from app.actions.sealing import Sealer
from app.db import access, reads, tables, writes
from app.db.database import Database
from app.domain import ids, lifecycle, validation
from app.domain.enums import CredentialAction, EnvironmentVariableType, EventKind, Role
from app.domain.people import Viewer
from app.domain.specification import EnvironmentVariable, Specification

CredentialValues = Sequence[tuple[str, str]]

CHECK_ID = UUID(int=0)
CHECK_TEXT = "slipway"


async def check_key(database: Database, sealer: Sealer) -> None:
    """Make sure that this is the key that the credentials of this database are sealed with; the first one given is.

    Raises:
        ValueError: it is another.
    """
    row = tables.EncryptionCheckRow
    new = insert(row).values(id=1, sealed_text=sealer.seal(CHECK_ID, CHECK_TEXT, CHECK_TEXT))
    async with database.transaction() as session:
        await session.exec(new.on_conflict_do_nothing())
        sealed = (await session.exec(select(row.sealed_text))).one()
    sealer.open(CHECK_ID, CHECK_TEXT, sealed)


async def create(context: Context, name: str, values: CredentialValues) -> UUID:
    """A credential with its values, owned by the viewer. Answers its id."""
    acting.authorize(context.viewer, Role.OWNER, Role.OWNER)
    issues = validation.Issues()
    name = issues.name("name", name)
    validation.credential_values(issues, "values", values)
    issues.raise_if_any()
    async with context.database.transaction() as session:
        credential = tables.CredentialRow(
            id=writes.new_id(),
            name=name,
            created_by_id=context.viewer.user_id,
            created_at=context.now,
            updated_at=context.now,
        )
        session.add(credential)
        await session.flush()
        session.add(
            tables.CredentialGrantRow(
                id=writes.new_id(), credential_id=credential.id, user_id=context.viewer.user_id, role=Role.OWNER
            )
        )
        _seal(context, session, credential.id, values)
        _record(context, session, EventKind.CREDENTIAL_CREATED, credential, values)
        return credential.id


async def rotate(context: Context, credential_id: UUID, values: CredentialValues) -> UUID:
    """Replace all values. A key that a variable points at can't be dropped."""
    async with context.database.transaction() as session:
        credential, held = await acting.lock_row(session, tables.CredentialRow, credential_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(CredentialAction.ROTATE))
        issues = validation.Issues()
        validation.credential_values(issues, "values", values)
        dropped = await _used_keys(session, credential_id) - {key for key, _ in values}
        for key in sorted(dropped):
            issues.add("values", "KEY_IN_USE", f"The key {key!r} is missing, and variables point at it.")
        issues.raise_if_any()
        row = tables.CredentialValueRow
        await session.exec(delete(row).where(col(row.credential_id) == credential_id))
        _seal(context, session, credential_id, values)
        credential.updated_at = context.now
        _record(context, session, EventKind.CREDENTIAL_ROTATED, credential, values)
        return credential_id


async def delete_credential(context: Context, credential_id: UUID) -> list[tuple[ids.Kind, UUID]]:
    """Delete a credential that nothing points at."""
    async with context.database.transaction() as session:
        credential, held = await acting.lock_row(session, tables.CredentialRow, credential_id, context.viewer)
        acting.authorize(context.viewer, held, acting.needed_role(CredentialAction.DELETE))
        users = (await reads.credential_users(session, [credential_id], context.viewer))[credential_id]
        acting.require_available(CredentialAction.DELETE, lifecycle.CredentialFacts(held, users))
        _record(context, session, EventKind.CREDENTIAL_DELETED, credential, ())
        await session.delete(credential)
        return [(ids.Kind.CREDENTIAL, credential_id)]


async def check_references(
    session: AsyncSession,
    viewer: Viewer,
    issues: validation.Issues,
    *,
    spec: Specification,
    before: Specification,
) -> None:
    """Every variable that points at a credential points at a key that is there, and that the viewer may use.

    Pointers that stood in the specification before stay allowed: an editor keeps what someone else has wired.
    """
    known = {
        (variable.credential_id, variable.field)
        for container in before.containers
        for variable in container.environment_vars
    }
    pointing = [
        (f"spec.containerGroups[{g}].containers[{c}].environmentVars[{v}]", variable)
        for g, group in enumerate(spec.container_groups)
        for c, container in enumerate(group.containers)
        for v, variable in enumerate(container.environment_vars)
        if (variable.credential_id, variable.field) not in known
    ]
    await check_pointers(session, viewer, issues, pointing)


async def check_pointers(
    session: AsyncSession,
    viewer: Viewer,
    issues: validation.Issues,
    pointing: Sequence[tuple[str, EnvironmentVariable]],
) -> None:
    """The same for (path, variable) pairs. The rows are held, so that no credential goes while we point at it."""
    asked = {each.credential_id for _, each in pointing if each.type is EnvironmentVariableType.CREDENTIAL}
    wanted = sorted(each for each in asked if each is not None)
    if not wanted:
        return
    row, value = tables.CredentialRow, tables.CredentialValueRow
    visible = select(row.id).where(col(row.id).in_(wanted), access.visible(row, viewer)).order_by(col(row.id))
    found = set((await session.exec(visible.with_for_update(read=True))).all())
    keys = set(await session.exec(select(value.credential_id, value.key).where(col(value.credential_id).in_(found))))
    for path, each in pointing:
        if each.credential_id is None:
            continue
        if each.credential_id not in found:
            issues.add(
                f"{path}.credentialId", "NO_SUCH_CREDENTIAL", "There is no such credential, or you may not see it."
            )
        elif each.field is not None and (each.credential_id, each.field) not in keys:
            issues.add(f"{path}.field", "NO_SUCH_KEY", f"The credential has no key {each.field[:128]!r}.")


async def _used_keys(session: AsyncSession, credential_id: UUID) -> set[str]:
    variable, use = tables.EnvironmentVariableRow, tables.WorkloadCredentialUseRow
    drafted = await session.exec(select(variable.field).where(col(variable.credential_id) == credential_id))
    running = await session.exec(select(use.field).where(col(use.credential_id) == credential_id))
    return {field for field in (*drafted, *running) if field is not None}


def _seal(context: Context, session: AsyncSession, credential_id: UUID, values: CredentialValues) -> None:
    session.add_all(
        tables.CredentialValueRow(
            credential_id=credential_id,
            key=key,
            position=position,
            sealed_value=context.sealer.seal(credential_id, key, value),
        )
        for position, (key, value) in enumerate(values)
    )


def _record(
    context: Context,
    session: AsyncSession,
    kind: EventKind,
    credential: tables.CredentialRow,
    values: CredentialValues,
) -> None:
    writes.record_event(
        session,
        kind,
        (ids.Kind.CREDENTIAL, credential.id),
        at=context.now,
        actor_id=context.viewer.user_id,
        changes={"name": credential.name, "keys": [key for key, _ in values]},
    )
