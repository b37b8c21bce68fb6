"""Locks pin images: what a tag stood for then, whatever becomes of it, in each way that a server can be set up."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest
from sqlmodel import col

from app import images, main
from app.db import tables
from tests import harness, registry
from tests.api import racing
from tests.harness import Client, Slipway
from tests.registry import PASSWORD, USERNAME, Request, response

pytestmark = pytest.mark.slow

UNREACHABLE = "127.0.0.1:1"
REFUSED = f"http://{UNREACHABLE} can't be reached: Connection refused. Check the reference and the network."
DIGEST = registry.digest(b"anything")
WARNINGS = "warnings { code path }"
LOCKED = f"... on ArtifactPayload {{ artifact {{ id status version digest {WARNINGS} containers {{ imageDigest }} }} }}"


@pytest.fixture
async def slipway(database_url: str) -> AsyncIterator[Slipway]:
    """A server that pins what it can: the default."""
    async with harness.serving(database_url, image_pinning="prefer") as server:
        yield server


@contextlib.asynccontextmanager
async def requiring(database_url: str, **changed: Any) -> AsyncIterator[Client]:
    """A user of a server that locks only what it can pin."""
    async with harness.serving(database_url, image_pinning="require", **changed) as server:
        yield await server.user("ada")


async def draft(client: Client, *uris: str) -> str:
    """A draft with a container for each image; answers its id."""
    containers = [
        harness.container(name=f"c{position}", imageUri=uri, port=8080 + position, primary=position == 0)
        for position, uri in enumerate(uris)
    ]
    artifact = await harness.new_artifact(client, spec=harness.spec(*containers))
    artifact_id: str = artifact["id"]
    return artifact_id


async def lock(client: Client, artifact_id: str) -> dict[str, Any]:
    result = await client.mutate("lockArtifact", LOCKED, artifactId=artifact_id)
    assert result["__typename"] == "ArtifactPayload", result
    artifact: dict[str, Any] = result["artifact"]
    return artifact


def pins(artifact: dict[str, Any]) -> list[str | None]:
    return [each["imageDigest"] for each in artifact["containers"]]


async def runs(slipway: Slipway, workload_id: str) -> list[str | None]:
    """The digests that a workload is told to run."""
    row = tables.WorkloadRow
    [workload] = await racing.rows(slipway, row, col(row.id) == racing.uuid(workload_id))
    return [each["imageDigest"] for each in workload.specification["containerGroups"][0]["containers"]]


class TestPins:
    async def test_a_moved_tag_moves_no_locked_version(
        self, slipway: Slipway, ada: Client, image_registry: registry.Registry
    ) -> None:
        before = image_registry.push("moving/app", content="before")
        first = await lock(ada, await draft(ada, image_registry.image("moving/app")))
        assert pins(first) == [before]

        after = image_registry.push("moving/app", content="after")
        read = "query ($id: ID!) { artifact(id: $id) { containers { imageDigest } } }"
        assert pins((await ada.run(read, id=first["id"]))["artifact"]) == [before]
        workload = await harness.deploy(ada, first["id"])
        assert await runs(slipway, workload["id"]) == [before]

        clone = await ada.mutate("cloneArtifact", LOCKED, artifactId=first["id"])
        assert pins(clone["artifact"]) == [None]
        second = await lock(ada, clone["artifact"]["id"])
        assert (second["version"], pins(second)) == (2, [after])
        assert second["digest"] == first["digest"]  # it is that of what was written

    async def test_the_deployment_of_a_draft_pins_as_well(
        self, slipway: Slipway, ada: Client, image_registry: registry.Registry
    ) -> None:
        pushed = [image_registry.push_index("deployed/app", "1"), image_registry.push("deployed/side")]
        artifact_id = await draft(ada, image_registry.image("deployed/app"), image_registry.image("deployed/side"))
        workload = await harness.deploy(ada, artifact_id)
        assert await runs(slipway, workload["id"]) == pushed

    async def test_a_promotion_pins_as_well(
        self, slipway: Slipway, ada: Client, image_registry: registry.Registry
    ) -> None:
        pushed = image_registry.push("promoted/app")
        trial = await harness.start_test(ada, await draft(ada, image_registry.image("promoted/app")))
        selection = "... on WorkloadPayload { workload { artifact { version containers { imageDigest } } } }"
        promoted = (await ada.mutate("promoteWorkload", selection, workloadId=trial["id"]))["workload"]["artifact"]
        assert (promoted["version"], pins(promoted)) == (1, [pushed])
        assert await runs(slipway, trial["id"]) == [pushed]

    async def test_a_test_runs_what_the_tag_stands_for(self, slipway: Slipway, ada: Client) -> None:
        workload = await harness.start_test(ada, await draft(ada, f"{UNREACHABLE}/app:1"))
        assert await runs(slipway, workload["id"]) == [None]

    async def test_a_digest_in_the_reference_is_the_pin(self, ada: Client) -> None:
        locked = await lock(ada, await draft(ada, f"{UNREACHABLE}/app:1@{DIGEST}"))
        assert pins(locked) == [DIGEST]

    async def test_with_the_certificate_and_the_password_of_the_configuration(
        self, database_url: str, tmp_path: Path
    ) -> None:
        (tmp_path / "htpasswd").write_text(registry.HTPASSWD)
        certificate = registry.certify(tmp_path)
        guard = {"htpasswd": {"realm": "tests", "path": str(tmp_path / "htpasswd")}}
        trusted = ssl.create_default_context(cafile=certificate.authority)
        login = (USERNAME, PASSWORD)
        with registry.running(tmp_path, tls=certificate, guard=guard, verify=trusted, auth=login) as running:
            pushed = running.push("team/app")
            config = f'{{"auths": {{"{running.host}": {{"username": "{USERNAME}", "password": "{PASSWORD}"}}}}}}'
            async with requiring(
                database_url, registry_credentials=pydantic.SecretStr(config), registry_ca=certificate.authority
            ) as ada:
                assert pins(await lock(ada, await draft(ada, running.image("team/app")))) == [pushed]


class TestModes:
    async def test_off_asks_no_registry(self, database_url: str) -> None:
        async with (
            registry.stub(lambda _: response(200, Docker_Content_Digest=DIGEST)) as stub,
            harness.serving(database_url) as server,
        ):
            ada = await server.user("ada")
            locked = await lock(ada, await draft(ada, f"{stub.host}/app:1", f"{stub.host}/app@{DIGEST}"))
            assert pins(locked) == [None, DIGEST]
            assert stub.requests == []

    async def test_prefer_locks_without_a_digest_and_leaves_a_warning(self, slipway: Slipway, ada: Client) -> None:
        pinned, unpinned = f"{UNREACHABLE}/app@{DIGEST}", f"{UNREACHABLE}/app:1"
        locked = await lock(ada, await draft(ada, pinned, unpinned))
        assert (locked["status"], pins(locked)) == ("LOCKED", [DIGEST, None])
        assert locked["warnings"] == [
            {"code": "NO_READINESS_PROBE", "path": "spec.containerGroups[0].containers[0].readinessProbe"},
            {"code": "IMAGE_NOT_PINNED", "path": "spec.containerGroups[0].containers[1].imageUri"},
        ]
        event = tables.EventRow
        [recorded] = await racing.rows(slipway, event, col(event.kind) == "ARTIFACT_LOCKED")
        assert recorded.changes == {
            "version": {"before": None, "after": 1},
            "digest": locked["digest"],
            "unresolvedImages": {
                unpinned: f"'{unpinned}': {REFUSED}",
            },
        }

    async def test_what_is_pinned_leaves_nothing_else_in_the_history(
        self, slipway: Slipway, ada: Client, image_registry: registry.Registry
    ) -> None:
        image_registry.push("history/app")
        locked = await lock(ada, await draft(ada, image_registry.image("history/app")))
        event = tables.EventRow
        [recorded] = await racing.rows(slipway, event, col(event.kind) == "ARTIFACT_LOCKED")
        assert recorded.changes == {"version": {"before": None, "after": 1}, "digest": locked["digest"]}

    @pytest.mark.parametrize("mutation", ["lockArtifact", "deployArtifact", "promoteWorkload"])
    async def test_require_refuses_and_changes_nothing(self, database_url: str, mutation: str) -> None:
        async with harness.serving(database_url, image_pinning="require") as server:
            ada = await server.user("ada")
            artifact_id = await draft(ada, f"{UNREACHABLE}/a", f"{UNREACHABLE}/b@{DIGEST}", f"{UNREACHABLE}/c:1")
            named = {"artifactId": artifact_id}
            if mutation == "promoteWorkload":
                named = {"workloadId": (await harness.start_test(ada, artifact_id))["id"]}
            before = await harness.dump(server, without=("last_used_at",))
            refused = await ada.mutate(mutation, **named)
            message = "An image can't be resolved to a digest." + "".join(
                f" '{UNREACHABLE}/{image}': {REFUSED}" for image in ("a", "c:1")
            )
            assert refused == {
                "__typename": "ActionUnavailable",
                "message": message,
                "action": mutation.removesuffix("Artifact").removesuffix("Workload").upper(),
                "blockers": [{"code": "IMAGE_UNRESOLVED", "message": message, "hiddenCount": 0, "nodes": []}],
            }
            assert await harness.dump(server, without=("last_used_at",)) == before

    async def test_require_locks_what_has_its_digests(
        self, database_url: str, image_registry: registry.Registry
    ) -> None:
        pushed = image_registry.push("required/app")
        async with requiring(database_url) as ada:
            locked = await lock(ada, await draft(ada, image_registry.image("required/app"), f"app@{DIGEST}"))
            assert pins(locked) == [pushed, DIGEST]

    async def test_what_was_locked_without_a_digest_can_be_deployed_all_the_same(
        self, database_url: str, slipway: Slipway, ada: Client
    ) -> None:
        locked = await lock(ada, await draft(ada, f"{UNREACHABLE}/app:1"))
        async with requiring(database_url) as client:
            workload = await harness.deploy(client, locked["id"])
        assert await runs(slipway, workload["id"]) == [None]

    async def test_actions_never_ask(self, database_url: str) -> None:
        async with (
            registry.stub(lambda _: response(500)) as stub,
            requiring(database_url) as ada,
        ):
            artifact_id = await draft(ada, f"{stub.host}/app")
            query = "query ($id: ID!) { artifact(id: $id) { actions { action available } } }"
            states = (await ada.run(query, id=artifact_id))["artifact"]["actions"]
            assert {"action": "LOCK", "available": True} in states
            assert stub.requests == []


async def test_every_way_in_which_a_registry_fails_is_told_at_once(
    database_url: str, image_registry: registry.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(request: Request) -> bytes:
        return response(200, b'{"schemaVersion": 2}', Docker_Content_Digest=DIGEST if request.method == "GET" else "")

    hasty = images.Timeouts(connect_seconds=0.2, read_seconds=0.2, total_seconds=5)
    monkeypatch.setattr(main, "resolver", lambda _: images.Resolver(images.Credentials(), timeouts=hasty))
    async with contextlib.AsyncExitStack() as stack:

        async def stub(handler: registry.Handler, *, hangs: bool = False) -> str:
            return (await stack.enter_async_context(registry.stub(handler, hangs=hangs))).host

        failing = {
            image_registry.image("missing/app"): 'does not have it ("manifest unknown")',
            f"{UNREACHABLE}/app": "can't be reached: Connection refused",
            f"{await stub(lambda _: response(401, WWW_Authenticate='Basic realm=x'))}/app": "denies it",
            f"{await stub(lambda _: response(429, Retry_After='60'))}/app": "Try again in 60 seconds.",
            f"{await stub(lambda _: b'', hangs=True)}/app": "does not answer",
            f"{await stub(lambda _: response(200, b'x' * 2**23))}/app": "answers with more than 4194304 bytes.",
            f"{await stub(lying)}/app": f"says that its manifest is {DIGEST}, but what it sends is",
            f"{await stub(lambda _: response(200, b'<html>'))}/app": "is it a registry of OCI images?",
        }
        ada = await stack.enter_async_context(requiring(database_url))
        refused = await ada.mutate("lockArtifact", artifactId=await draft(ada, *failing))
    [blocker] = refused["blockers"]
    told = blocker["message"].split(" '")[1:]
    assert [each.partition("'")[0] for each in told] == list(failing)
    for words, sentence in zip(failing.values(), told, strict=True):
        assert words in sentence


async def test_refusals_come_before_registries_are_asked(database_url: str) -> None:
    async with (
        registry.stub(lambda _: response(200, Docker_Content_Digest=DIGEST)) as stub,
        harness.serving(database_url, image_pinning="require") as server,
    ):
        ada, grace = await server.user("ada"), await server.user("grace")
        reader = await server.user("ada", read_only=True)
        artifact_id = await draft(ada, f"{stub.host}/app")
        asked = [
            await grace.mutate("lockArtifact", artifactId=artifact_id),
            await reader.mutate("lockArtifact", artifactId=artifact_id),
            await ada.mutate("lockArtifact", artifactId=artifact_id, ifRevision=7),
            await ada.mutate("deployArtifact", artifactId=artifact_id, ifRevision=7),
            await ada.mutate("deployArtifact", artifactId=artifact_id, name=""),
            await ada.mutate("deployArtifact", artifactId=artifact_id, replicas=51),
        ]
        assert [each["__typename"] for each in asked] == [
            "NotFound",
            "PermissionDenied",
            "StaleRevision",
            "StaleRevision",
            "InvalidInput",
            "LimitExceeded",
        ]
        assert stub.requests == []
        await lock(ada, artifact_id)
        again = await ada.mutate("lockArtifact", artifactId=artifact_id)
        assert [each["code"] for each in again["blockers"]] == ["ARTIFACT_LOCKED"]
        assert len(stub.requests) == 1


class Meanwhile:
    """A registry before whose first answers something else happens. Each tag has a digest of its own."""

    def __init__(self, *happenings: Callable[[], Awaitable[Any]]) -> None:
        self.happenings = list(happenings)
        self.tags: list[str] = []

    async def answer(self, request: Request) -> bytes:
        tag = request.path.rpartition("/")[2]
        self.tags.append(tag)
        if self.happenings:
            await self.happenings.pop(0)()
        return response(200, Docker_Content_Digest=self.digest(tag))

    @staticmethod
    def digest(tag: str) -> str:
        return registry.digest(tag.encode())


@contextlib.asynccontextmanager
async def asking(*happenings: Callable[[], Awaitable[Any]]) -> AsyncIterator[tuple[Meanwhile, str]]:
    """The registry, and how references to it begin."""
    meanwhile = Meanwhile(*happenings)
    async with registry.stub(meanwhile.answer) as stub:
        yield meanwhile, f"{stub.host}/app"


class TestMeanwhile:
    """What others do while registries are asked."""

    async def test_nothing_is_locked_and_no_transaction_is_open(self, slipway: Slipway, ada: Client) -> None:
        open_transactions: list[int] = []

        async def look() -> None:
            async with asyncio.timeout(5):
                await ada.mutate("updateArtifact", artifactId=artifact_id, name="changed meanwhile")
            async with slipway.session() as session:
                connection = await session.connection()
                counted = await connection.exec_driver_sql(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
                )
                open_transactions.append(counted.scalar_one())

        async with asking(look) as (meanwhile, image):
            artifact_id = await draft(ada, f"{image}:1")
            assert pins(await lock(ada, artifact_id)) == [meanwhile.digest("1")]
        assert open_transactions == [0]

    async def test_an_image_that_was_changed_is_asked_for_and_no_other(self, ada: Client) -> None:
        async def change() -> None:
            containers = [
                harness.container(name="c0", imageUri=f"{image}:1", primary=True),
                harness.container(name="c1", imageUri=f"{image}:3", port=8081),
            ]
            result = await ada.mutate("updateArtifact", artifactId=artifact_id, spec=harness.spec(*containers))
            assert result["__typename"] == "ArtifactPayload"

        async with asking(change) as (meanwhile, image):
            artifact_id = await draft(ada, f"{image}:1", f"{image}:2")
            assert pins(await lock(ada, artifact_id)) == [meanwhile.digest("1"), meanwhile.digest("3")]
            assert sorted(meanwhile.tags) == ["1", "2", "3"]

    async def test_a_promotion_goes_by_what_is_there_after_they_were(self, slipway: Slipway, ada: Client) -> None:
        async def edit() -> None:
            container_id = await racing.container_of(slipway, artifact_id)
            await ada.mutate("updateContainer", containerId=container_id, imageUri=f"{image}:2")

        async def stop() -> None:
            await ada.mutate("stopArtifact", artifactId=artifact_id)

        for happening, code in ((edit, "ARTIFACT_CHANGED"), (stop, "WORKLOAD_NOT_ACTIVE")):
            async with asking(happening) as (_, image):
                artifact_id = (await harness.new_artifact(ada, spec=harness.spec(harness.container(imageUri=image))))[
                    "id"
                ]
                trial = await harness.start_test(ada, artifact_id)
                refused = await ada.mutate("promoteWorkload", workloadId=trial["id"])
                assert [each["code"] for each in refused["blockers"]] == [code]
            found = await ada.run("query ($id: ID!) { artifact(id: $id) { status } }", id=artifact_id)
            assert found["artifact"] == {"status": "DRAFT"}

    @pytest.mark.parametrize("mutation", ["lockArtifact", "deployArtifact"])
    async def test_not_without_end(self, slipway: Slipway, ada: Client, mutation: str) -> None:
        async def change() -> None:
            container_id = await racing.container_of(slipway, artifact_id)
            uri = f"{image}:{len(meanwhile.tags) + 1}"
            await ada.mutate("updateContainer", containerId=container_id, imageUri=uri)

        async with asking(change, change, change, change) as (meanwhile, image):
            artifact_id = await draft(ada, f"{image}:1")
            refused = await ada.mutate(mutation, artifactId=artifact_id)
            assert refused["action"] == mutation.removesuffix("Artifact").upper()
            [blocker] = refused["blockers"]
            assert blocker["code"] == "IMAGE_UNRESOLVED"
            assert blocker["message"] == (
                "An image can't be resolved to a digest. The images of the draft keep changing while registries are "
                "asked for them: try again."
            )
            assert meanwhile.tags == ["1", "2", "3"]

    async def test_a_revision_is_that_of_the_moment_of_the_lock(self, ada: Client) -> None:
        async def change() -> None:
            await ada.mutate("updateArtifact", artifactId=artifact_id, name="changed meanwhile")

        async with asking(change) as (_, image):
            artifact_id = await draft(ada, f"{image}:1")
            refused = await ada.mutate("lockArtifact", artifactId=artifact_id, ifRevision=1)
            assert (refused["__typename"], refused["currentRevision"]) == ("StaleRevision", 2)

    async def test_who_may_no_longer_does_not(self, slipway: Slipway, ada: Client) -> None:
        grace = await slipway.user("grace")

        async def withdraw() -> None:
            await harness.share(ada, "Artifact", artifact_id, {"user": await harness.user_id(grace)})

        async with asking(withdraw) as (_, image):
            artifact_id = await draft(ada, f"{image}:1")
            await harness.share(ada, "Artifact", artifact_id, {"user": await harness.user_id(grace), "role": "EDITOR"})
            refused = await grace.mutate("lockArtifact", artifactId=artifact_id)
            assert refused["__typename"] == "NotFound"

    async def test_of_two_locks_one_wins(self, slipway: Slipway, ada: Client) -> None:
        async def lock_as_well() -> None:
            await lock(ada, artifact_id)

        async with asking(lock_as_well) as (_, image):
            artifact_id = await draft(ada, f"{image}:1")
            refused = await ada.mutate("lockArtifact", artifactId=artifact_id)
            assert [each["code"] for each in refused["blockers"]] == ["ARTIFACT_LOCKED"]
        await racing.assert_sound(slipway)

    async def test_a_deleted_draft_is_not_found(self, ada: Client) -> None:
        async def delete() -> None:
            await ada.mutate("deleteArtifact", artifactId=artifact_id)

        async with asking(delete) as (_, image):
            artifact_id = await draft(ada, f"{image}:1")
            assert (await ada.mutate("lockArtifact", artifactId=artifact_id))["__typename"] == "NotFound"

    async def test_time_goes_on(self, slipway: Slipway, ada: Client) -> None:
        async def change() -> None:
            await asyncio.sleep(0.05)
            await ada.mutate("updateArtifact", artifactId=artifact_id, name="changed meanwhile")

        async with asking(change) as (_, image):
            artifact_id = await draft(ada, f"{image}:1")
            await lock(ada, artifact_id)
        changed, locked = (await racing.rows(slipway, tables.EventRow))[-2:]
        assert (changed.kind, locked.kind) == ("ARTIFACT_CHANGED", "ARTIFACT_LOCKED")
        assert changed.at < locked.at
        [artifact] = await racing.rows(slipway, tables.ArtifactRow)
        assert artifact.locked_at == artifact.updated_at == locked.at
