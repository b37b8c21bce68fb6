"""Who asks."""

import dataclasses
from uuid import UUID

from app.domain.enums import Role


@dataclasses.dataclass(frozen=True, slots=True)
class Viewer:
    """The user behind a token, and what the token adds. Administrators own everything.

    `sees_much`: so much is shared with the user that it is better looked up than listed; `sees_little`: so little that
    a list begins with it. See `app.db.access`.
    """

    user_id: UUID
    username: str
    admin: bool = False
    groups: tuple[str, ...] = ()
    read_only: bool = False
    token_id: UUID | None = None
    sees_much: bool = False
    sees_little: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """Whom a grant is for: a user, a group or, where both are None, everyone."""

    user_id: UUID | None = None
    group_name: str | None = None

    @property
    def is_everyone(self) -> bool:
        """Whether it names nobody in particular."""
        return self.user_id is None and self.group_name is None


@dataclasses.dataclass(frozen=True, slots=True)
class GrantChange:
    """A role to give to a subject; None takes it away. A subject of None: not exactly one was named."""

    subject: Subject | None
    role: Role | None
