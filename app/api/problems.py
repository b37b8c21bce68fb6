"""How a refusal is spoken: each error of the domain is one type of the graph, a member of the results that have it."""

import strawberry

from app.api import judged
from app.domain import enums, errors


@strawberry.interface(description="Why a mutation changed nothing.")
class Problem:
    """What all problems share."""

    message: str = strawberry.field(description="What was wrong and what to do, for a person.")


@strawberry.type(description="One thing that is wrong with an input.")
class InputIssue:
    """An issue, spoken."""

    path: str = strawberry.field(description="Where: spec.containerGroups[0].containers[1].port")
    code: str = strawberry.field(description="What, for a machine.")
    message: str = strawberry.field(description="What, and what is allowed, for a person.")


@strawberry.type(description="The input breaks rules: all of them are named, not the first.")
class InvalidInput(Problem):
    """Issues with the input."""

    issues: list[InputIssue] = strawberry.field(description="Every issue.")


@strawberry.type(description="It does not exist, or the viewer may not see it.")
class NotFound(Problem):
    """Nothing there."""

    id: strawberry.ID | None = strawberry.field(description="What was looked for.")


@strawberry.type(description="The viewer's role, or token, does not allow it.")
class PermissionDenied(Problem):
    """Not allowed."""

    needed: enums.Role | None = strawberry.field(
        description="The role that would do; null: no role would help, as with a read-only token."
    )


@strawberry.type(description="The state of the thing does not allow it.")
class ActionUnavailable(Problem):
    """Not now."""

    action: str = strawberry.field(description="Which action was refused.")
    blockers: list[judged.Blocker] = strawberry.field(description="Everything that is in the way.")


@strawberry.type(description="Somebody changed it since the revision that ifRevision names.")
class StaleRevision(Problem):
    """Changed meanwhile."""

    current_revision: int = strawberry.field(description="The revision that it is at now.")


@strawberry.type(description="A limit of this server would be passed.")
class LimitExceeded(Problem):
    """Too much."""

    limit: int = strawberry.field(description="The limit.")


@strawberry.type(description="The idempotency key was used before, with other arguments.")
class IdempotencyConflict(Problem):
    """Another use of a key."""


class _InvalidInputs(strawberry.ExceptionHandler[errors.InvalidInput, InvalidInput]):
    def handle(self, exception: errors.InvalidInput, **_: object) -> InvalidInput:
        issues = [InputIssue(path=each.path, code=each.code, message=each.message) for each in exception.issues]
        return InvalidInput(message=exception.message, issues=issues)


class _NotFounds(strawberry.ExceptionHandler[errors.NotFound, NotFound]):
    def handle(self, exception: errors.NotFound, **_: object) -> NotFound:
        return NotFound(message=exception.message, id=strawberry.ID(exception.id_text))


class _PermissionsDenied(strawberry.ExceptionHandler[errors.PermissionDenied, PermissionDenied]):
    def handle(self, exception: errors.PermissionDenied, **_: object) -> PermissionDenied:
        return PermissionDenied(message=exception.message, needed=exception.needed)


class _ActionsUnavailable(strawberry.ExceptionHandler[errors.ActionUnavailable, ActionUnavailable]):
    def handle(self, exception: errors.ActionUnavailable, **_: object) -> ActionUnavailable:
        blockers = [judged.blocker(each) for each in exception.blockers]
        return ActionUnavailable(message=exception.message, action=exception.action, blockers=blockers)


class _StaleRevisions(strawberry.ExceptionHandler[errors.StaleRevision, StaleRevision]):
    def handle(self, exception: errors.StaleRevision, **_: object) -> StaleRevision:
        return StaleRevision(message=exception.message, current_revision=exception.current_revision)


class _LimitsExceeded(strawberry.ExceptionHandler[errors.LimitExceeded, LimitExceeded]):
    def handle(self, exception: errors.LimitExceeded, **_: object) -> LimitExceeded:
        return LimitExceeded(message=exception.message, limit=exception.limit)


EXCEPTION_HANDLERS = (
    _InvalidInputs(),
    _NotFounds(),
    _PermissionsDenied(),
    _ActionsUnavailable(),
    _StaleRevisions(),
    _LimitsExceeded(),
)
