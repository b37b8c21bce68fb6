"""How an action says no. Each class is one problem of the graph; `app.api.problems` turns one into the other.

Of several problems the first of these is answered: NotFound, PermissionDenied, StaleRevision, InvalidInput,
ActionUnavailable.
"""

import dataclasses
from collections.abc import Sequence
from uuid import UUID

from app.domain import enums, ids


@dataclasses.dataclass(frozen=True, slots=True)
class Issue:
    """One thing wrong with an input: where (`spec.containerGroups[0].containers[1].port`), what, what to do."""

    path: str
    code: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Blocker:
    """One reason why an action is not available.

    `nodes` are the things that block and that the viewer may see; `hidden_count` counts those that block unseen.
    """

    code: enums.BlockerCode
    message: str
    nodes: tuple[tuple[ids.Kind, UUID], ...] = ()
    hidden_count: int = 0


class SlipwayError(Exception):
    """A refusal that is part of the product: its message is for the one who asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(SlipwayError):
    """It does not exist, or not for this viewer: the two look the same."""

    def __init__(self, id_text: str) -> None:
        super().__init__(f"There is no {id_text[:64]!r}, or you may not see it.")
        self.id_text = id_text[:64]


class PermissionDenied(SlipwayError):
    """The viewer's role is too low; `needed` is None where no role would help."""

    def __init__(self, message: str, needed: enums.Role | None) -> None:
        super().__init__(message)
        self.needed = needed


class StaleRevision(SlipwayError):
    """Somebody changed the thing since the revision that `ifRevision` names."""

    def __init__(self, current_revision: int) -> None:
        super().__init__(
            f"It was changed meanwhile and is at revision {current_revision} now: read it again, then repeat."
        )
        self.current_revision = current_revision


class InvalidInput(SlipwayError):
    """The input has these issues: all of them, not the first."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__("; ".join(f"{issue.path}: {issue.message}" for issue in issues[:3]))
        self.issues = tuple(issues)


class ActionUnavailable(SlipwayError):
    """The state of the thing does not allow the action."""

    def __init__(self, action: str, blockers: Sequence[Blocker]) -> None:
        super().__init__(" ".join(blocker.message for blocker in blockers))
        self.action = action
        self.blockers = tuple(blockers)


class LimitExceeded(SlipwayError):
    """A configured limit would be passed."""

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class RuntimeUnavailable(SlipwayError):
    """What runs the workloads can't be asked now, so that what it would say is unknown."""
