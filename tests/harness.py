"""A server in the test's own process, over a real database, and clients that speak to it over HTTP."""

import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from sqlalchemy import event
from sqlmodel.ext.asyncio.session import AsyncSession

from app import main, settings
from app.actions import people, sealing
from app.db import tables
from app.db.database import Database
from app.domain import ids
from app.domain.logs import LogLine, LogQuery, newest
from app.domain.traffic import Traffic
from app.runtimes.process import ProcessRuntime

PUBLIC_URL = "http://slipway.test"


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """One user with a token."""

    http: httpx.AsyncClient
    token: str
    username: str

    async def post(self, document: str, **variables: Any) -> httpx.Response:
        """The whole HTTP answer to a document."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.http.post("/graphql", json={"query": document, "variables": variables}, headers=headers)

    async def answer(self, document: str, **variables: Any) -> dict[str, Any]:
        """The whole GraphQL answer: data and errors."""
        answer: dict[str, Any] = (await self.post(document, **variables)).json()
        return answer

    async def run(self, document: str, **variables: Any) -> Any:
        """The data of a document that has no errors."""
        answer = await self.answer(document, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def mutate(self, name: str, selection: str = "__typename", /, **given: Any) -> dict[str, Any]:
        """The result of one mutation. `given` is its input; `selection` is asked of the result beside its problems."""
        input_type = INPUT_TYPES.get(name) or f"{name[0].upper()}{name[1:]}Input"
        document = f"""
            mutation ($input: {input_type}!) {{
              {name}(input: $input) {{
                __typename
                ... on Problem {{ message }}
                ... on InvalidInput {{ issues {{ path code message }} }}
                ... on NotFound {{ id }}
                ... on PermissionDenied {{ needed }}
                ... on ActionUnavailable {{ action blockers {{ code message hiddenCount nodes {{ id }} }} }}
                ... on StaleRevision {{ currentRevision }}
                ... on LimitExceeded {{ limit }}
                {selection if selection != "__typename" else ""}
              }}
            }}"""
        for problem, without in WITHOUT.items():
            if name in without:
                start = document.index(f"... on {problem} {{")
                document = document[:start] + document[document.index("\n", start) :]
        result: dict[str, Any] = (await self.run(document, input=given))[name]
        return result


INPUT_TYPES = {
    "stopArtifact": "ArtifactInput",
    "lockArtifact": "ArtifactInput",
    "deleteArtifact": "ArtifactInput",
    "shareArtifact": "ShareInput",
    "shareRepository": "ShareInput",
    "shareWorkload": "ShareInput",
    "shareCredential": "ShareInput",
    "deleteRepository": "RepositoryInput",
    "startWorkload": "WorkloadInput",
    "stopWorkload": "WorkloadInput",
    "rollbackWorkload": "WorkloadInput",
    "promoteWorkload": "WorkloadInput",
    "restartWorkload": "WorkloadInput",
    "deleteWorkload": "WorkloadInput",
    "deleteCredential": "CredentialInput",
    "revokeApiToken": "ApiTokenInput",
}
# The results that can't be some problem: a document that asks for it all the same is not valid.
DELETES = ("deleteArtifact", "deleteRepository", "deleteWorkload", "deleteCredential", "revokeApiToken")
CREDENTIALS = ("createCredential", "rotateCredential", "shareCredential", "createApiToken")
SHARES = ("shareArtifact", "shareRepository")
WITHOUT: Mapping[str, tuple[str, ...]] = {
    "ActionUnavailable": (*CREDENTIALS, *SHARES, "createArtifact", "updateRepository"),
    "InvalidInput": (*DELETES, "stopArtifact"),
    "NotFound": ("createApiToken",),
    "StaleRevision": (*CREDENTIALS, "createArtifact"),
    "LimitExceeded": (
        *DELETES,
        *CREDENTIALS,
        *SHARES,
        "stopArtifact",
        "lockArtifact",
        "updateRepository",
    ),
}


class Unopened(ProcessRuntime):
    """A runtime that runs nothing. `written` is what the containers of a workload, by its id, have written.

    `failure`: what it says instead. `asked` is what it was asked for last.
    """

    def __init__(self) -> None:
        super().__init__(Path("not-opened"))
        self.written: dict[str, list[LogLine]] = {}
        self.failure: Exception | None = None
        self.asked: LogQuery | None = None

    async def logs(self, workload_id: UUID, query: LogQuery) -> Sequence[LogLine]:
        """Of what was written the lines that the query asks for."""
        self.asked = query
        if self.failure is not None:
            raise self.failure
        return newest(self.written.get(ids.encode(ids.Kind.WORKLOAD, workload_id), ()), query)


class Slipway:
    """The server, its database, its runtime and its users."""

    def __init__(self, database: Database, runtime: Unopened, http: httpx.AsyncClient) -> None:
        self.database = database
        self.runtime = runtime
        self._http = http

    async def user(
        self, username: str, *, admin: bool = False, groups: tuple[str, ...] = (), read_only: bool = False
    ) -> Client:
        """A client with a token of this user, who is made where there is none."""
        new = people.NewToken(label="test", read_only=read_only)
        token = await people.issue_token(self.database, username, new, main.now(), admin=admin, groups=groups)
        return Client(self._http, token, username)

    def anonymous(self, token: str) -> Client:
        """A client with any token at all."""
        return Client(self._http, token, "nobody")

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction on the database, for what no user can do."""
        async with self.database.transaction() as session:
            yield session

    @contextlib.contextmanager
    def statements(self) -> Iterator[list[str]]:
        """The SQL statements of everything that happens inside, without those that tell who asks."""
        seen: list[str] = []

        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            if not any(each in statement for each in WHO_ASKS):
                seen.append(statement)

        engine = self.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)


# Authentication, and how much the viewer sees.
WHO_ASKS = ("api_tokens.secret_sha256 = ", "UPDATE api_tokens SET last_used_at", "reltuples")


@contextlib.asynccontextmanager
async def serving(database_url: str, *, runtime_available: bool = True, **changed: Any) -> AsyncIterator[Slipway]:
    """A server over this database, maybe one of several. No reconciler runs: what is wanted stays SUBMITTED.

    `changed` are settings. Without them no registry is asked.
    """
    database = Database(database_url)
    defaults = {
        "configured_public_url": PUBLIC_URL,
        "images_allowed": (),
        "images_denied": ("denied.test/*",),
        "image_pinning": "off",
        "replicas_max": 50,
    }
    configured = settings.Settings.model_construct(**{**defaults, **changed})
    seals = sealing.Sealer(secrets.token_bytes(sealing.KEY_BYTES))
    runtime = Unopened()
    app = main.web(database, configured, seals, Traffic(), runtime, await main.cluster(configured, database))
    # For as long as a test may take: no reconciler tells that it is still there.
    seen_at = main.now() + timedelta(hours=1)
    async with database.transaction() as session:
        await session.merge(tables.RuntimeRow(name="test", available=runtime_available, seen_at=seen_at))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL, timeout=30) as http:
        yield Slipway(database, runtime, http)
    await database.close()


def container(**given: Any) -> dict[str, Any]:
    """The input of a container that gets in."""
    return {"imageUri": "docker.io/library/python:3.13", "port": 8080, **given}


def spec(*containers: dict[str, Any]) -> dict[str, Any]:
    """The input of a specification that gets in."""
    return {"containerGroups": [{"containers": list(containers) or [container()]}]}


ARTIFACT = (
    "... on ArtifactPayload { artifact { id name revision status version digest"
    " repository { id } containers { id name } } }"
)


async def new_artifact(client: Client, name: str = "hello", /, **given: Any) -> dict[str, Any]:
    """A draft of this client's."""
    result = await client.mutate("createArtifact", ARTIFACT, name=name, **{"spec": spec(), **given})
    assert result["__typename"] == "ArtifactPayload", result
    artifact: dict[str, Any] = result["artifact"]
    return artifact


async def lock(client: Client, artifact_id: str) -> dict[str, Any]:
    """Lock a draft."""
    result = await client.mutate("lockArtifact", ARTIFACT, artifactId=artifact_id)
    assert result["__typename"] == "ArtifactPayload", result
    artifact: dict[str, Any] = result["artifact"]
    return artifact


WORKLOAD = "workload { id name status revision endpoint purpose digest expiresAt replicas }"


async def deploy(client: Client, artifact_id: str, **given: Any) -> dict[str, Any]:
    """Deploy an artifact; answers the workload."""
    selection = f"... on DeployArtifactPayload {{ {WORKLOAD} }}"
    result = await client.mutate("deployArtifact", selection, artifactId=artifact_id, **given)
    assert result["__typename"] == "DeployArtifactPayload", result
    workload: dict[str, Any] = result["workload"]
    return workload


async def start_test(client: Client, artifact_id: str, **given: Any) -> dict[str, Any]:
    """Start a test; answers the workload."""
    selection = f"... on TestArtifactPayload {{ {WORKLOAD} }}"
    result = await client.mutate("testArtifact", selection, artifactId=artifact_id, **given)
    assert result["__typename"] == "TestArtifactPayload", result
    workload: dict[str, Any] = result["workload"]
    return workload


async def configure(client: Client, workload_id: str, **given: Any) -> dict[str, Any]:
    """Configure a workload so that it rolls; answers the replacement."""
    selection = "... on WorkloadPayload { workload { replacement { id status } } }"
    result = await client.mutate("configureWorkload", selection, workloadId=workload_id, **given)
    assert result["__typename"] == "WorkloadPayload", result
    replacement: dict[str, Any] = result["workload"]["replacement"]
    return replacement


async def dump(slipway: Slipway, *, without: tuple[str, ...] = ()) -> str:
    """Every row of every table as text, but for these columns: what is stored, and whether anything changed."""
    connection = await asyncpg.connect(slipway.database.dsn)
    try:
        lines: list[str] = []
        for table in tables.metadata.sorted_tables:
            query = f"SELECT (to_jsonb(each) - $1::text[])::text FROM {table.name} AS each ORDER BY 1"  # noqa: S608
            lines += [f"{table.name} {row}" for (row,) in await connection.fetch(query, list(without))]
        return "\n".join(lines)
    finally:
        await connection.close()


async def credential(client: Client, name: str) -> str:
    """A credential with the key "key"; answers its id."""
    result = await client.mutate(
        "createCredential",
        "... on CredentialPayload { credential { id } }",
        name=name,
        values=[{"key": "key", "value": "secret"}],
    )
    found: str = result["credential"]["id"]
    return found


async def share(client: Client, kind: str, thing_id: str, *grants: dict[str, Any]) -> None:
    """Change who may what."""
    result = await client.mutate(f"share{kind}", id=thing_id, grants=list(grants))
    assert result["__typename"].endswith("Payload"), result


async def user_id(client: Client) -> str:
    """The id of a client's user."""
    found: str = (await client.run("{ viewer { id } }"))["viewer"]["id"]
    return found
