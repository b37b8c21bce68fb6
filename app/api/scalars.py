"""The scalars of the graph."""

from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import strawberry
from graphql import GraphQLError
from pydantic import TypeAdapter, ValidationError
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

_DURATION = TypeAdapter(timedelta)
DURATION_TEXT_MAXIMUM_LENGTH = 64


def write_time(moment: datetime) -> str:
    """RFC 3339, UTC, always six digits of a second: what PostgreSQL's `to_char` can write just so."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_time(value: Any) -> datetime:
    """A moment with its offset from UTC.

    Raises:
        GraphQLError: it is no such thing.
    """
    try:
        moment = datetime.fromisoformat(value)
        # Without an offset nobody knows which moment is meant.
        return moment.astimezone(UTC) if moment.tzinfo else _refuse_time(value)
    except (TypeError, ValueError, OverflowError):
        return _refuse_time(value)


def _refuse_time(value: Any) -> NoReturn:
    message = f"{_shown(value)} is not a DateTime: write RFC 3339 with an offset, like 2026-11-23T15:04:05Z."
    raise GraphQLError(message)


def write_duration(value: timedelta) -> str:
    """ISO 8601: PT8H."""
    return str(_DURATION.dump_python(value, mode="json"))


def read_duration(value: Any) -> timedelta:
    """A duration in ISO 8601.

    Raises:
        GraphQLError: it is no such thing.
    """
    message = f"{_shown(value)} is not a Duration: write ISO 8601, like PT8H or PT30M."
    if not isinstance(value, str) or not value.startswith(("P", "-P")) or len(value) > DURATION_TEXT_MAXIMUM_LENGTH:
        raise GraphQLError(message)
    try:
        return _DURATION.validate_python(value)
    except ValidationError:
        raise GraphQLError(message) from None


def _shown(value: Any) -> str:
    return repr(value)[:DURATION_TEXT_MAXIMUM_LENGTH]


DATE_TIME = strawberry.scalar(
    name="DateTime",
    description='A moment: RFC 3339, in UTC, with microseconds: "2026-11-23T15:04:05.123456Z".',
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
    serialize=write_time,
    parse_value=read_time,
)
DURATION = strawberry.scalar(
    name="Duration",
    description='A length of time in ISO 8601: "PT8H".',
    specified_by_url="https://en.wikipedia.org/wiki/ISO_8601#Durations",
    serialize=write_duration,
    parse_value=read_duration,
)

JSON_VALUE = strawberry.scalar(
    name="JSON",
    description="Any JSON: objects, lists, texts, numbers, true, false and null.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
    serialize=lambda value: value,
)

SCALARS: dict[object, ScalarDefinition] = {datetime: DATE_TIME, timedelta: DURATION, JSON: JSON_VALUE}
