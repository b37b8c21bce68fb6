"""The logs of workloads: the lines as the graph speaks them, and how much may be asked for at once."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from graphql import GraphQLError
from sqlalchemy import func

from app.api.connections import bad_input, read_text
from app.api.context import Context, ReadLogs
from app.api.fields import Scope
from app.domain import errors, logs, validation

LAST_DEFAULT = 100
CONTAINS_MAXIMUM_LENGTH = 1_000
# A runtime may hold a hundred megabytes for each while it looks for what is asked for.
READS_AT_ONCE = 4
TIMEOUT_SECONDS = 10.0


@strawberry.type(description="One line that a container wrote.")
class LogLine:
    """A line of a log."""

    at: datetime = strawberry.field(description="When it was written.")
    container: str = strawberry.field(description="The name of the container.")
    replica: str = strawberry.field(description="The name of the replica.")
    stream: logs.LogStream = strawberry.field(
        description="Where it was written. Kubernetes does not tell the two apart: there every line is STDOUT."
    )
    text: str = strawberry.field(
        description=f"The line without its end; cut after {logs.LINE_MAXIMUM_CHARACTERS:,} characters."
    )


class Reader:
    """Reads logs for all operations of this process: so many at a time, each for so long."""

    def __init__(
        self, read: ReadLogs, *, at_once: int = READS_AT_ONCE, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._read = read
        self._slots = asyncio.Semaphore(at_once)
        self._timeout_seconds = timeout_seconds

    async def __call__(self, workload_id: UUID, query: logs.LogQuery) -> Sequence[logs.LogLine]:
        """The lines; the time runs from now on, also while others have their turn.

        Raises:
            errors.RuntimeUnavailable: the runtime can't be asked, or takes too long.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds) as time, self._slots:
                return await self._read(workload_id, query)
        except TimeoutError:
            if not time.expired():
                raise
            message = f"The logs could not be read within {self._timeout_seconds:g} s: ask for fewer lines, or later."
            raise errors.RuntimeUnavailable(message) from None


def log_query(container: str | None, since: datetime | None, last: int | None, contains: str | None) -> logs.LogQuery:
    """The arguments of the field, checked.

    Raises:
        GraphQLError: one of them can't be used.
    """
    last = LAST_DEFAULT if last is None else last
    if not 1 <= last <= logs.LINES_MAXIMUM:
        raise bad_input("last", f"{last} is not between 1 and {logs.LINES_MAXIMUM}.")
    if container is not None and not validation.is_container_name(container):
        raise bad_input("container", f"{container[:64]!r} is the name of no container: those are DNS labels.")
    if contains is not None:
        contains = read_text("contains", contains, CONTAINS_MAXIMUM_LENGTH) or None
    return logs.LogQuery(last=last, container=container, since=since, contains=contains)


async def read_logs(context: Context, workload_id: UUID, created_at: datetime, wanted: logs.LogQuery) -> list[LogLine]:
    """The lines of a workload.

    Raises:
        GraphQLError: the runtime can't be asked.
    """
    if wanted.since is not None and wanted.since <= created_at:
        # It lets in everything, and may be a moment that a runtime can't write.
        wanted = dataclasses.replace(wanted, since=None)
    try:
        found = await context.read_logs(workload_id, wanted)
    except errors.RuntimeUnavailable as error:
        raise GraphQLError(error.message, extensions={"code": "RUNTIME_UNAVAILABLE"}) from None
    return [
        LogLine(at=each.at, container=each.container, replica=each.replica, stream=each.stream, text=each.text)
        for each in found
    ]


def facts_of_logs(row: Any, _: Scope) -> Any:
    """What `logs_of_facts` wants to know of a workload, as SQL."""
    return func.json_build_array(row.id, row.created_at)


async def logs_of_facts(facts: Any, context: Context, given: Mapping[str, Any]) -> list[LogLine]:
    """The lines of a workload, going by `facts_of_logs`.

    Raises:
        GraphQLError: an argument can't be used, or the runtime can't be asked.
    """
    asked = (given.get("container"), given.get("since"), given.get("last", LAST_DEFAULT), given.get("contains"))
    return await read_logs(context, UUID(facts[0]), datetime.fromisoformat(facts[1]), log_query(*asked))
