"""Fills a migrated database by COPY with as much as is asked for, the same from the same seed.

Past all triggers and foreign keys, which would take most of the time: what is written here keeps their rules by itself.
"""

import asyncio
import dataclasses
import itertools
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import typer

from app import main
from app.actions import people
from app.db import migrate
from app.db.database import Database

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = f"sha256:{'0' * 64}"
WORDS = [
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet"),
    *("jetty", "knoll", "ledge", "maple", "north", "ocean", "pearl", "quartz"),
]
# Of ten repositories so many are shared with the group.
SHARED_OF_TEN = 8
TEAMS = [f"team-{number}" for number in range(50)]
# Repositories, the oldest, that are shared with a newcomer.
SHARED_WITH_NEWCOMER = 3
# At rest: a server that is measured is not to work on them.
STATUSES = ["STOPPED"] * 8 + ["TERMINATED"] * 2


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much of everything. `artifacts` stand in repositories of `artifacts_each`; the rest is per artifact."""

    artifacts: int
    artifacts_each: int = 20
    containers: int = 2
    variables: int = 4
    probes: int = 3
    workloads: float = 1.5
    users: int = 50
    images: int = 500


COMPARISON = Size(artifacts=4_000)
"""200 repositories, 4,000 artifacts, 8,000 containers, 24,000 probes, 32,000 variables, 6,000 workloads."""


def scale(artifacts: int) -> Size:
    """A registry of so many artifacts, with less in each."""
    return Size(artifacts, containers=1, variables=2, probes=1, workloads=0.5, users=500, images=5_000)


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """Secrets of two users: one who sees nine tenths of it, by a group and by name, and an administrator."""

    reader: str
    administrator: str


class _Ids:
    """UUIDs of version 7 that grow, a second apart."""

    def __init__(self, some: random.Random) -> None:
        self._some = some
        self._numbers = itertools.count()

    def __call__(self) -> tuple[UUID, datetime]:
        moment = BEGIN + timedelta(seconds=next(self._numbers))
        milliseconds = int(moment.timestamp() * 1000)
        value = milliseconds << 80 | 7 << 76 | self._some.getrandbits(12) << 64 | 2 << 62 | self._some.getrandbits(62)
        return UUID(int=value), moment


async def fill(dsn: str, size: Size, say: Callable[[str], None] = lambda _: None, *, seed: int = 1) -> Tokens:
    """Fill an empty, migrated database."""
    database = Database(dsn)
    now = main.now()
    reader = await people.issue_token(database, "reader", people.NewToken("benchmark"), now, groups=["staff"])
    await people.issue_token(database, "newcomer", people.NewToken("benchmark"), now)
    root = await people.issue_token(database, "root", people.NewToken("benchmark"), now, admin=True)
    await database.close()
    connection = await asyncpg.connect(dsn, server_settings={"session_replication_role": "replica"}, timeout=600)
    try:
        await connection.execute("SET statement_timeout = 0; SET maintenance_work_mem = '512MB'")
        rows = await connection.fetch("SELECT username, id FROM users")
        world = _World(size, random.Random(seed), {row["username"]: row["id"] for row in rows})  # noqa: S311  nothing secret
        indexes = await _drop_indexes(connection)
        for table, columns, rows in world.tables():
            begun = time.monotonic()
            await connection.copy_records_to_table(table, columns=columns, records=rows, timeout=3600)
            say(f"{table}: {time.monotonic() - begun:.1f} s")
        begun = time.monotonic()
        for statement in indexes:
            await connection.execute(statement, timeout=3600)
        await connection.execute("VACUUM ANALYZE", timeout=3600)
        say(f"{len(indexes)} indexes, statistics: {time.monotonic() - begun:.1f} s")
    finally:
        await connection.close()
    return Tokens(reader, root)


async def _drop_indexes(connection: asyncpg.Connection) -> Sequence[str]:
    """Leave out what only makes loading slower; answers what makes it again."""
    rows = await connection.fetch(
        """SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
        WHERE indrelid::regclass::text = ANY ($1) AND NOT indisunique""",
        [
            *("artifacts", "artifact_tags", "containers", "workloads", "workload_tags", "repositories"),
            *("repository_tags", "events"),
        ],
    )
    for row in rows:
        await connection.execute(f"DROP INDEX {row['name']}")
    return [row["definition"] for row in rows]


class _World:
    """Rows of every table, one after the other: what later ones point at is worked out again, not kept."""

    def __init__(self, size: Size, some: random.Random, who: Mapping[str, UUID]) -> None:
        self.size = size
        self.some = some
        self.who = who
        new = _Ids(some)
        self.users = [new() for _ in range(size.users)]
        self.repositories = [new() for _ in range(max(1, size.artifacts // size.artifacts_each))]
        self.artifacts = [new() for _ in range(size.artifacts)]
        self.containers = [new()[0] for _ in range(size.artifacts * size.containers)]
        self.workloads = [new() for _ in range(int(size.artifacts * size.workloads))]

    def tables(self) -> Iterator[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]:
        """Each table with its columns and rows."""
        made = ("id", "created_by_id", "created_at", "updated_at")
        yield "users", ("id", "username", "display_name", "email", "admin", "created_at"), self._users()
        yield (
            "repositories",
            (*made, "name", "description", "type", "revision", "last_version"),
            self._repositories(),
        )
        yield "repository_tags", ("repository_id", "name", "value", "position"), self._tags(self.repositories)
        yield "repository_grants", ("repository_id", "id", "user_id", "group_name", "role"), self._repository_grants()
        yield (
            "artifacts",
            (
                *(*made, "repository_id", "name", "description", "type", "status", "version", "revision", "digest"),
                *("locked_by_id", "locked_at", "cloned_from_id"),
            ),
            self._artifacts(),
        )
        yield "artifact_tags", ("artifact_id", "name", "value", "position"), self._tags(self.artifacts)
        yield "artifact_grants", ("artifact_id", "id", "user_id", "group_name", "role"), self._artifact_grants()
        yield (
            "containers",
            (
                *("id", "artifact_id", "group_position", "group_name", "position", "name", "description"),
                *("image_uri", "image_name", "image_digest", "port", "primary", "entrypoint"),
            ),
            self._containers(),
        )
        yield (
            "environment_variables",
            ("container_id", "name", "position", "type", "value", "credential_id", "field"),
            self._variables(),
        )
        yield (
            "probes",
            (
                *("container_id", "kind", "path", "port", "scheme", "headers", "initial_delay_seconds"),
                *("period_seconds", "timeout_seconds", "success_threshold", "failure_threshold"),
            ),
            self._probes(),
        )
        yield (
            "workloads",
            (
                *(*made, "artifact_id", "repository_id", "purpose", "name", "description", "importance", "status"),
                *("digest", "specification", "replicas", "ready_replicas", "resources", "revision", "wanted"),
                *("generation", "launch", "last_launch", "launched_at", "was_ready", "container_statuses"),
                *("addresses", "draining"),
            ),
            self._workloads(),
        )
        yield "workload_tags", ("workload_id", "name", "value", "position"), self._tags(self.workloads)
        yield (
            "events",
            (
                *("id", "at", "actor_id", "kind", "subject_kind", "subject_id"),
                *("repository_id", "artifact_id", "workload_id"),
            ),
            self._events(),
        )

    def _creator(self) -> UUID:
        """Few made most of it."""
        return self.users[min(int(self.some.expovariate(0.1)), len(self.users) - 1)][0]

    def _repository(self, artifact: int) -> UUID:
        """Where the artifact of this number stands."""
        return self.repositories[min(artifact // self.size.artifacts_each, len(self.repositories) - 1)][0]

    def _name(self, number: int) -> str:
        some = self.some
        return f"{some.choice(WORDS)}-{some.choice(WORDS)}-{number}"

    def _users(self) -> Iterator[Sequence[Any]]:
        for number, (user_id, moment) in enumerate(self.users):
            yield user_id, f"user-{number}", f"User {number}", f"user-{number}@example.test", False, moment

    def _repositories(self) -> Iterator[Sequence[Any]]:
        for number, (thing_id, moment) in enumerate(self.repositories):
            name, versions = self._name(number), self.size.artifacts_each // 2
            yield thing_id, self._creator(), moment, moment, name, f"About {name}.", "SERVICE", 1, versions

    def _repository_grants(self) -> Iterator[Sequence[Any]]:
        for number, (thing_id, _) in enumerate(self.repositories):
            yield thing_id, UUID(int=number * 2 + 1), self.users[number % len(self.users)][0], None, "OWNER"
            if number % 10 < SHARED_OF_TEN:
                yield thing_id, UUID(int=number * 2 + 2), None, "staff", "VIEWER"
            if number < SHARED_WITH_NEWCOMER:
                yield thing_id, UUID(int=len(self.repositories) * 2 + number + 1), self.who["newcomer"], None, "VIEWER"

    def _artifact_grants(self) -> Iterator[Sequence[Any]]:
        """The reader sees half of what stands in the repositories that the group does not see."""
        each = self.size.artifacts_each
        for number, (thing_id, _) in enumerate(self.artifacts):
            repository = min(number // each, len(self.repositories) - 1)
            if repository % 10 >= SHARED_OF_TEN and number % 2:
                yield thing_id, UUID(int=number + 1), self.who["reader"], None, "EDITOR"

    def _artifacts(self) -> Iterator[Sequence[Any]]:
        each = self.size.artifacts_each
        for number, (thing_id, moment) in enumerate(self.artifacts):
            repository = self._repository(number)
            name = self._name(number)
            locked = number % 2 == 0
            creator = self._creator()
            yield (
                *(thing_id, creator, moment, moment + timedelta(days=self.some.randint(0, 300)), repository, name),
                *(f"The {name} service.", "SERVICE", "LOCKED" if locked else "DRAFT"),
                *(number % each // 2 + 1 if locked else None, 1, DIGEST),
                *(creator if locked else None, moment if locked else None, None),
            )

    def _tags(self, things: Sequence[tuple[UUID, datetime]]) -> Iterator[Sequence[Any]]:
        for number, (thing_id, _) in enumerate(things):
            team = TEAMS[min(int(self.some.expovariate(0.15)), len(TEAMS) - 1)]
            yield thing_id, "team", team, 0
            yield thing_id, "stage", "production" if number % 3 else "test", 1

    def _image(self) -> str:
        number = min(int(self.some.expovariate(20 / self.size.images)), self.size.images - 1)
        return f"registry.test/{WORDS[number % len(WORDS)]}/service-{number}"

    def _containers(self) -> Iterator[Sequence[Any]]:
        each = self.size.containers
        for number, container_id in enumerate(self.containers):
            image, position = self._image(), number % each
            yield (
                *(container_id, self.artifacts[number // each][0], 0, "default", position),
                *("main" if position == 0 else f"sidecar-{position}", "", f"{image}:1.{number % 7}", image, None),
                *(8080 + position, position == 0, None),
            )

    def _variables(self) -> Iterator[Sequence[Any]]:
        for container_id in self.containers:
            for number in range(self.size.variables):
                yield container_id, f"VARIABLE_{number}", number, "STRING", f"value {number}", None, None

    def _probes(self) -> Iterator[Sequence[Any]]:
        for container_id in self.containers:
            for kind in ("READINESS", "STARTUP", "LIVENESS")[: self.size.probes]:
                yield container_id, kind, "/ready", 8080, "HTTP", "[]", 0, 10, 1, 1, 3

    def _workloads(self) -> Iterator[Sequence[Any]]:
        locked = (len(self.artifacts) + 1) // 2
        specification = json.dumps({"containerGroups": []})
        for number, (thing_id, moment) in enumerate(self.workloads):
            position = number % locked * 2
            repository = self._repository(position)
            status = self.some.choice(STATUSES)
            yield (
                *(thing_id, self._creator(), moment, moment, self.artifacts[position][0], repository, "SERVICE"),
                *(self._name(number), "", ("LOW", "MODERATE", "HIGH", "CRITICAL")[number % 4], status, DIGEST),
                *(specification, 1, 0, "[]", 1, status, 1, 1, 1, moment, False, "[]", "[]", "[]"),
            )

    def _events(self) -> Iterator[Sequence[Any]]:
        """Two of each artifact, or three, and one of each workload."""
        locked = (len(self.artifacts) + 1) // 2
        new = _Ids(self.some)
        for number, (thing_id, _) in enumerate(self.artifacts):
            repository = self._repository(number)
            for kind in ("ARTIFACT_CREATED", "ARTIFACT_CHANGED", "ARTIFACT_LOCKED")[: 3 - number % 2]:
                event_id, moment = new()
                yield event_id, moment, self._creator(), kind, "art", thing_id, repository, thing_id, None
        for number, (thing_id, _) in enumerate(self.workloads):
            position = number % locked * 2
            repository = self._repository(position)
            event_id, moment = new()
            above = (repository, self.artifacts[position][0], thing_id)
            yield event_id, moment, self._creator(), "WORKLOAD_CREATED", "wkl", thing_id, *above


def command(dsn: str, artifacts: int = COMPARISON.artifacts) -> None:
    """Migrate an empty database and fill it; prints the tokens."""

    async def run() -> Tokens:
        await migrate.upgrade(dsn)
        size = COMPARISON if artifacts == COMPARISON.artifacts else scale(artifacts)
        return await fill(dsn, size, typer.echo)

    typer.echo(asyncio.run(run()))


if __name__ == "__main__":
    typer.run(command)
