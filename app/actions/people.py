"""Users and their tokens."""

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.actions import context as acting, sealing
from app.actions.context import Context
from app.db import access, tables, writes
from app.db.database import Database
from app.domain import errors, ids, validation
from app.domain.enums import EventKind, Role
from app.domain.people import Viewer

LAST_USED_PRECISION = timedelta(minutes=1)
GROUPS_MAXIMUM = 100
TOKENS_OF_ONE_USER_MAXIMUM = 200
REACH_REMEMBERED_SECONDS = 60.0
REACHES_REMEMBERED_MAXIMUM = 10_000
START_LINK_LABEL = "start-up link"
FIXED_TOKEN_LABEL = "SLIPWAY_ADMIN_TOKEN"  # noqa: S105  the name of a setting, not a secret


@dataclasses.dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be made. `expires_in` None: it does not expire."""

    label: str
    expires_in: timedelta | None = None
    read_only: bool = False


async def authenticate(database: Database, secret: str, now: datetime) -> Viewer | None:
    """Whose token this is; None for one that is unknown, revoked or expired. One statement."""
    token, user, member = tables.ApiTokenRow, tables.UserRow, tables.GroupMemberRow
    groups = select(func.array_agg(member.group_name)).where(col(member.user_id) == col(user.id)).scalar_subquery()
    statement: Any = (
        select(  # type: ignore[call-overload]
            *(token.id, token.read_only, token.last_used_at, user.id, user.username, user.admin, groups)
        )
        .join(user, col(user.id) == col(token.user_id))
        .where(
            col(token.secret_sha256) == sealing.token_digest(secret),
            or_(col(token.expires_at).is_(None), col(token.expires_at) > now),
        )
    )
    async with database.read() as session:
        found = (await session.exec(statement)).one_or_none()
        if found is None:
            return None
        token_id, read_only, last_used_at, user_id, username, admin, group_names = found
    if last_used_at is None or now - last_used_at >= LAST_USED_PRECISION:
        async with database.transaction() as session:
            await session.exec(update(token).where(col(token.id) == token_id).values(last_used_at=now))
    return Viewer(
        user_id=user_id,
        username=username,
        admin=admin,
        groups=tuple(sorted(group_names or ())),
        read_only=read_only,
        token_id=token_id,
    )


class Reaches:
    """Tells how much a viewer sees: asked of the database once a minute, for it decides how lists are read and no more.

    `clock` gives seconds.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[tuple[UUID, tuple[str, ...]], tuple[float, bool, bool]] = {}

    async def __call__(self, viewer: Viewer) -> Viewer:
        """The viewer, with that."""
        if viewer.admin:
            return viewer
        key, now = (viewer.user_id, viewer.groups), self._clock()
        asked_at, much, little = self._known.get(key, (-REACH_REMEMBERED_SECONDS, False, False))
        if asked_at <= now - REACH_REMEMBERED_SECONDS:
            async with self._database.read() as session:
                statement: Any = select(access.sees_much(viewer), access.sees_little(viewer))
                much, little = (await session.exec(statement)).one()
            if len(self._known) >= REACHES_REMEMBERED_MAXIMUM:
                self._known.clear()
            self._known[key] = (now, much, little)
        return dataclasses.replace(viewer, sees_much=much, sees_little=little and not much)


async def create_token(context: Context, new: NewToken) -> tuple[UUID, str]:
    """A token of the viewer's own. Answers its id and its secret, which is told this once."""
    acting.authorize(context.viewer, Role.OWNER, Role.OWNER)
    issues = validation.Issues()
    label = issues.name("label", new.label)
    if new.expires_in is not None:
        validation.duration(issues, "expiresIn", new.expires_in, validation.TOKEN_LIFETIME_MAXIMUM)
    async with context.database.transaction() as session:
        row = tables.ApiTokenRow
        held = select(func.count()).select_from(row).where(col(row.user_id) == context.viewer.user_id)
        if (await session.exec(held)).one() >= TOKENS_OF_ONE_USER_MAXIMUM:
            message = f"A user has at most {TOKENS_OF_ONE_USER_MAXIMUM} tokens: revoke one that is not needed."
            issues.add("label", "TOO_MANY_TOKENS", message)
        issues.raise_if_any()
        token = dataclasses.replace(new, label=label)
        return _add_token(session, context.viewer.user_id, token, context.now, actor_id=context.viewer.user_id)


async def revoke_token(context: Context, token_id: UUID) -> list[tuple[ids.Kind, UUID]]:
    """Make one of the viewer's own tokens useless, at once."""
    async with context.database.transaction() as session:
        row = tables.ApiTokenRow
        statement = select(row).where(col(row.id) == token_id, col(row.user_id) == context.viewer.user_id)
        token = (await session.exec(statement.with_for_update())).one_or_none()
        if token is None:
            raise errors.NotFound(ids.encode(ids.Kind.API_TOKEN, token_id))
        acting.authorize(context.viewer, Role.OWNER, Role.OWNER)
        await session.delete(token)
        writes.record_event(
            session,
            EventKind.TOKEN_REVOKED,
            (ids.Kind.API_TOKEN, token_id),
            at=context.now,
            actor_id=context.viewer.user_id,
            changes={"label": token.label},
        )
        return [(ids.Kind.API_TOKEN, token_id)]


async def issue_token(
    database: Database, username: str, new: NewToken, now: datetime, *, admin: bool = False, groups: Sequence[str] = ()
) -> str:
    """An operator's way in: makes the user, and the groups, where there are none. Answers the secret.

    Groups and administration are added, never taken away.

    Raises:
        errors.InvalidInput: a name, label or duration is wrong.
    """
    issues = validation.Issues()
    username = issues.name("--user", username)
    label = issues.name("--label", new.label)
    issues.count("--group", groups, 0, GROUPS_MAXIMUM)
    group_names = [issues.name(f"--group[{position}]", group) for position, group in enumerate(groups)]
    if new.expires_in is not None:
        validation.duration(issues, "--expires-in", new.expires_in, validation.TOKEN_LIFETIME_MAXIMUM)
    issues.raise_if_any()
    async with database.transaction() as session:
        user_id = await _ensure_user(session, username, now, admin=admin)
        for name in group_names:
            await session.exec(insert(tables.GroupRow).values(name=name).on_conflict_do_nothing())
            membership = insert(tables.GroupMemberRow).values(user_id=user_id, group_name=name)
            await session.exec(membership.on_conflict_do_nothing())
        return _add_token(session, user_id, dataclasses.replace(new, label=label), now, actor_id=None)[1]


async def ensure_administrator(database: Database, secret: str, now: datetime, *, configured: bool) -> None:
    """Make this secret a token of the user `admin`.

    One that is `configured` takes the place of that of an earlier start; one that a server has made for itself stands
    beside those of other servers on the same database.

    Raises:
        errors.SlipwayError: it is the token of someone else, or one that can't do what an administrator's can.
    """
    async with database.transaction() as session:
        user_id = await _ensure_user(session, "admin", now, admin=True)
        row = tables.ApiTokenRow
        digest = sealing.token_digest(secret)
        known = (await session.exec(select(row).where(col(row.secret_sha256) == digest))).one_or_none()
        if known is not None:
            if known.user_id != user_id or known.read_only or known.expires_at is not None:
                raise errors.SlipwayError(
                    f"{FIXED_TOKEN_LABEL}: this is a token of another user, or a limited one: choose another secret."
                )
            return
        label = FIXED_TOKEN_LABEL if configured else START_LINK_LABEL
        if configured:
            await session.exec(delete(row).where(col(row.user_id) == user_id, col(row.label) == label))
        session.add(row(id=writes.new_id(), user_id=user_id, label=label, secret_sha256=digest, created_at=now))


async def _ensure_user(session: AsyncSession, username: str, now: datetime, *, admin: bool) -> UUID:
    row = tables.UserRow
    new = insert(row).values(id=writes.new_id(), username=username, display_name=username, admin=admin, created_at=now)
    # A user who is there keeps what they have; the update, even of nothing, answers and locks the row.
    stored = new.on_conflict_do_update(
        index_elements=["username"], set_={"admin": or_(col(row.admin), new.excluded.admin)}
    ).returning(col(row.id))
    user_id: UUID = (await session.exec(stored)).scalar_one()
    return user_id


def _add_token(
    session: AsyncSession, user_id: UUID, new: NewToken, now: datetime, *, actor_id: UUID | None
) -> tuple[UUID, str]:
    secret = sealing.new_token()
    token = tables.ApiTokenRow(
        id=writes.new_id(),
        user_id=user_id,
        label=new.label,
        secret_sha256=sealing.token_digest(secret),
        read_only=new.read_only,
        created_at=now,
        expires_at=None if new.expires_in is None else now + new.expires_in,
    )
    session.add(token)
    writes.record_event(
        session,
        EventKind.TOKEN_CREATED,
        (ids.Kind.API_TOKEN, token.id),
        at=now,
        actor_id=actor_id,
        changes={"label": new.label, "readOnly": new.read_only},
    )
    return token.id, secret
