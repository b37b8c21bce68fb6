"""Rows with ties in everything that lists sort by, and what a list of them is, said in Python."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.db import tables
from app.domain import enums, ids
from tests.harness import Client, Slipway

START = datetime(2026, 1, 1, tzinfo=UTC)
# Regardless of case, with accents, signs, a plane beyond the first, and ties.
NAMES = ("alpha", "Alpha", "ALPHA", "beta", "Élan", "élan", "zeta", "Ωmega", "ωmega", "_x", "10%", "a\\b", "🚀 up", "ß")
ARTIFACTS = 36
WORKLOADS = 40
IMAGES = ("python:3.13", "python:3.14", "registry.test:5000/team/app@sha256:" + "a" * 64, "team/python")
TAGS = (("team", "ml"), ("team", "ops"), ("stage", "test"), ("stage", ""))
DIGEST = "sha256:" + "b" * 64


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """A server, and its rows as Python has them."""

    slipway: Slipway
    ada: Client
    repositories: list[tables.RepositoryRow]
    artifacts: list[tables.ArtifactRow]
    workloads: list[tables.WorkloadRow]
    tags: dict[UUID, dict[str, str]]
    images: dict[UUID, list[tables.ContainerRow]]

    def rows(self, name: str) -> list[Any]:
        """The rows of a root list."""
        found: list[Any] = getattr(self, name)
        return found


KINDS = {"repositories": ids.Kind.REPOSITORY, "artifacts": ids.Kind.ARTIFACT, "workloads": ids.Kind.WORKLOAD}


def spoken(rows: Sequence[Any], name: str) -> list[str]:
    """The ids of rows, as the graph has them."""
    return [ids.encode(KINDS[name], row.id) for row in rows]


def new_id(number: int) -> UUID:
    """A UUIDv7 of a moment of its own."""
    milliseconds = int(START.timestamp() * 1000) + number
    return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number)


def common(number: int, users: Sequence[UUID]) -> dict[str, Any]:
    """What all rows have. Ids are not in the order of names or times, and several rows share each of these."""
    return {
        "id": new_id((number * 7919) % 100_003),
        "created_by_id": users[number % 2],
        "created_at": START + timedelta(hours=number % 5),
        "updated_at": START + timedelta(days=number % 3, microseconds=number % 2),
        "name": NAMES[number % len(NAMES)],
        "description": ("", "100% sure", "snake_case", "back\\slash", "plain TEXT")[number % 5],
    }


def containers_of(number: int, artifact: tables.ArtifactRow) -> list[tables.ContainerRow]:
    """One or two."""
    images = (IMAGES[number % 4], IMAGES[(number // 4) % 4])[: 1 + number % 2]
    return [
        tables.ContainerRow(
            id=new_id(200_000 + 2 * number + position),
            artifact_id=artifact.id,
            group_name="default",
            position=position,
            name=f"c{position}",
            image_uri=image,
            image_name=image.partition("@")[0].removesuffix(":3.13").removesuffix(":3.14"),
            image_digest=DIGEST if number % 3 == 0 else None,
            primary=position == 0,
        )
        for position, image in enumerate(images)
    ]


def workload_of(artifact: tables.ArtifactRow, **given: Any) -> tables.WorkloadRow:
    """A workload of an artifact."""
    return tables.WorkloadRow(
        artifact_id=artifact.id,
        repository_id=artifact.repository_id,
        digest="sha256:00",
        specification={},
        launched_at=START,
        **given,
    )


def tags_of(rows: Sequence[Any]) -> dict[UUID, dict[str, str]]:
    """None, one or two on each."""
    return {row.id: dict([TAGS[number % 4], TAGS[(number // 4) % 4]][: number % 3]) for number, row in enumerate(rows)}


async def build(slipway: Slipway) -> World:
    """Store all of it."""
    ada, grace = await slipway.user("ada", admin=True), await slipway.user("grace")
    users = []
    for client in (ada, grace):
        decoded = ids.decode((await client.run("{ viewer { id } }"))["viewer"]["id"])
        assert decoded is not None
        users.append(decoded[1])
    types, statuses, importances = list(enums.ArtifactType), list(enums.WorkloadStatus), list(enums.Importance)
    repositories = [
        tables.RepositoryRow(type=types[number % 4], last_version=9, **common(number, users)) for number in range(12)
    ]
    homes = [repositories[number % 5] for number in range(ARTIFACTS)]
    artifacts = [
        tables.ArtifactRow(repository_id=home.id, type=home.type, digest="sha256:00", **common(100 + number, users))
        for number, home in enumerate(homes)
    ]
    locked = [artifact for number, artifact in enumerate(artifacts) if number % 3]
    drafts = [artifact for number, artifact in enumerate(artifacts) if not number % 3]
    services = [
        workload_of(
            locked[number % 7],
            purpose=enums.WorkloadPurpose.SERVICE,
            importance=importances[number % 4],
            status=statuses[number % len(statuses)],
            **common(200 + number, users),
        )
        for number in range(WORKLOADS)
    ]
    trials = [
        workload_of(draft, purpose=enums.WorkloadPurpose.TEST, expires_at=START, **common(300 + number, users))
        for number, draft in enumerate(drafts[:4])
    ]
    workloads = [*services, *trials]
    images = {artifact.id: containers_of(number, artifact) for number, artifact in enumerate(artifacts)}
    tags = tags_of(repositories) | tags_of(artifacts) | tags_of(workloads)
    tag_rows = [
        table(**{on: row.id}, name=name, value=value, position=position)
        for table, on, rows in (
            (tables.RepositoryTagRow, "repository_id", repositories),
            (tables.ArtifactTagRow, "artifact_id", artifacts),
            (tables.WorkloadTagRow, "workload_id", workloads),
        )
        for row in rows
        for position, (name, value) in enumerate(tags[row.id].items())
    ]
    # In this order: the database guards what is locked.
    for batch in (repositories, artifacts, [each for many in images.values() for each in many]):
        async with slipway.session() as session:
            session.add_all(batch)
    versions = {home.id: itertools.count(1) for home in repositories}
    async with slipway.session() as session:
        for artifact in locked:
            artifact.status, artifact.version = enums.ArtifactStatus.LOCKED, next(versions[artifact.repository_id])
            artifact.locked_by_id, artifact.locked_at = users[0], START
            session.add(artifact)
    async with slipway.session() as session:
        session.add_all([*workloads, *tag_rows])
    return World(slipway, ada, repositories, artifacts, workloads, tags, images)


# In the order of life.
STATUSES = ["DRAFT", "LOCKED", "SUBMITTED", "PROVISIONING", "LAUNCHING", "RUNNING", "INTERRUPTED", "STOPPING"]
STATUSES += ["STOPPED", "ERRORED", "TERMINATED"]
KEYS: dict[str, Callable[[Any], Any]] = {
    "NAME": lambda row: row.name.lower(),
    "CREATED_AT": lambda row: row.created_at,
    "UPDATED_AT": lambda row: row.updated_at,
    "STATUS": lambda row: STATUSES.index(row.status),
    "VERSION": lambda row: row.version or 0,
    "IMPORTANCE": lambda row: ["LOW", "MODERATE", "HIGH", "CRITICAL"].index(row.importance),
}
ORDERS = {
    "repositories": ("NAME", "CREATED_AT", "UPDATED_AT"),
    "artifacts": ("NAME", "STATUS", "VERSION", "CREATED_AT", "UPDATED_AT"),
    "workloads": ("NAME", "STATUS", "IMPORTANCE", "CREATED_AT", "UPDATED_AT"),
}
SORTED = [
    (name, *order)
    for name, fields in ORDERS.items()
    for order in [(None, "DESC"), *itertools.product(fields, ("ASC", "DESC"))]
]


def ordered(rows: Sequence[Any], field: str | None, direction: str) -> list[Any]:
    """Rows as a list sorts them: ties by id, in the same direction. Without an order: newest first."""
    key = KEYS[field] if field else lambda _: 0
    return sorted(rows, key=lambda row: (key(row), row.id), reverse=direction == "DESC")


def order_of(field: str | None, direction: str) -> str:
    """The argument."""
    return f"orderBy: {{field: {field}, direction: {direction}}}" if field else ""


PAGE = """{ edges { cursor node { id } } nodes { id } totalCount
  pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"""


async def page(client: Client, name: str, *arguments: str, **paging: Any) -> dict[str, Any]:
    """One page of a root list."""
    given = ", ".join([*filter(None, arguments), *(f"{key}: {json.dumps(value)}" for key, value in paging.items())])
    found: dict[str, Any] = (await client.run(f"{{ {name}({given}) {PAGE} }}"))[name]
    assert [each["node"] for each in found["edges"]] == found["nodes"]
    cursors = [each["cursor"] for each in found["edges"]]
    assert found["pageInfo"]["startCursor"] == (cursors[0] if cursors else None)
    assert found["pageInfo"]["endCursor"] == (cursors[-1] if cursors else None)
    return found


def shown(found: dict[str, Any]) -> list[str]:
    """The ids of a page."""
    return [each["id"] for each in found["nodes"]]
