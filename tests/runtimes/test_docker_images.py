"""Images that an engine fetches from a real registry, and how it is told when they do not come."""

import asyncio
import contextlib
import dataclasses
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.domain.enums import ContainerState
from app.domain.observations import ContainerObservation
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.docker import DockerRuntime
from app.runtimes.docker_engine import Refused
from app.runtimes.docker_images import _Progress, _reason
from tests import engine, registry
from tests.runtimes import world
from tests.runtimes.wire import Wire
from tests.runtimes.world import container, lines, observed, until, waiting, wanted

pytestmark = pytest.mark.slow

docker_only = pytest.mark.docker


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def images(directory: Path, docker: engine.Docker, tiny_image: str) -> Iterator["Images"]:
    """A registry that asks for no password."""
    with registry.running(directory) as running:
        yield Images(docker, tiny_image, running.host)


@pytest.fixture
def repository() -> str:
    """A name in the registry that no other test uses."""
    return engine.unique("team/app")


@pytest.fixture
def guarded(tmp_path: Path, directory: Path, images: "Images") -> Iterator[str]:
    """The host of a registry with the same images, that asks for one."""
    (tmp_path / "htpasswd").write_text(registry.HTPASSWD)
    (tmp_path / "images").symlink_to(directory / "images")
    guard = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    with registry.running(tmp_path, guard=guard) as running:
        yield running.host


@dataclasses.dataclass(frozen=True)
class Images:
    """Images in a registry, pushed by the engine."""

    docker: engine.Docker
    tiny: str
    host: str

    def push(self, repository: str, tag: str = "1", *, keep: bool = False, page: str = "") -> tuple[str, str]:
        """Store an image, with a page of its own where one is given. The engine forgets it, unless it is to `keep` it.

        Answers the reference and the digest.
        """
        reference = f"{self.host}/{repository}:{tag}"
        if page:
            self.docker.import_tiny(reference, files={"www/index.html": page})
        else:
            self.docker.run("tag", self.tiny, reference)
        self.docker.run("push", "--quiet", reference)
        digests = json.loads(self.docker.run("image", "inspect", "--format", "{{json .RepoDigests}}", reference))
        if not keep:
            self.docker.run("image", "rm", "--force", reference)
        return reference, next(each for each in digests if each.startswith(self.host)).partition("@")[2]


@contextlib.asynccontextmanager
async def driver(
    wire: Wire,
    installation: UUID,
    changes: list[UUID],
    credentials: Callable[[str], tuple[str, str] | None] = lambda _: None,
) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(wire.host, installation, credentials, grace_seconds=1.0)
    await runtime.open(changes.append)
    yield runtime
    await runtime.close()


@contextlib.asynccontextmanager
async def slow_lane(host: str) -> AsyncIterator[str]:
    """Another host for a registry, over which its answers come at 2 MB a second."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, _, port = host.partition(":")
        registry_reader, registry_writer = await asyncio.open_connection(name, int(port))

        async def ask() -> None:
            while chunk := await reader.read(2**16):
                registry_writer.write(chunk)

        async def answer() -> None:
            while chunk := await registry_reader.read(2**16):
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(len(chunk) / 2_000_000)

        passing = [asyncio.ensure_future(ask()), asyncio.ensure_future(answer())]
        connections.update(passing)
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        registry_writer.close()

    connections: set[asyncio.Future[None]] = set()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for each in connections:
            each.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def settled(runtime: DockerRuntime, workload_id: UUID, reason: str) -> ContainerObservation:
    """The container once it waits for this reason."""

    async def has_reason() -> bool:
        return (await container(runtime, workload_id)).reason == reason

    await until(has_reason, reason)
    return await container(runtime, workload_id)


async def runs(runtime: DockerRuntime, workload: Any) -> ContainerObservation:
    """The container once it runs: what waits is applied again when it has gone from sight, as planning does."""

    async def is_running() -> bool:
        found = await observed(runtime, workload.id)
        shown = [] if found is None else [each for launch in found.launches.values() for each in launch]
        if not any(each.replica == "0" for each in shown):
            await runtime.apply(workload)
            return False
        return (await container(runtime, workload.id)).state is ContainerState.RUNNING

    await until(is_running, "it runs")
    return await container(runtime, workload.id)


@docker_only
class TestPull:
    async def test_an_image_that_is_not_there_is_fetched_and_told_of(
        self, docker_runtime: DockerRuntime, images: Images, repository: str, changes: list[UUID]
    ) -> None:
        reference, _ = images.push(repository)
        workload = wanted(world.shell(waiting("echo $0"), image=reference), replicas=2)
        await docker_runtime.apply(workload)
        seen = await container(docker_runtime, workload.id)
        assert (seen.state, seen.reason, seen.run) == (ContainerState.WAITING, "PULLING", 0)
        assert seen.message is not None
        assert seen.message.startswith(f"pulling {reference}")
        assert set(await docker_runtime.owned()) == {workload.id}
        await until(lambda: workload.id in changes, "it is told that it is there")
        assert (await runs(docker_runtime, workload)).exit_code is None

    async def test_all_who_wait_for_one_share_it(
        self, docker_runtime: DockerRuntime, images: Images, repository: str, wire: Wire
    ) -> None:
        reference, _ = images.push(repository)
        workloads = [wanted(world.shell(waiting(), image=reference), replicas=2) for _ in range(2)]
        for each in workloads:
            await docker_runtime.apply(each)
        for each in workloads:
            await runs(docker_runtime, each)
        assert len([each for each in wire.requests if each.startswith("POST /v1.41/images/create")]) == 1

    async def test_a_digest_is_what_it_was_whatever_its_tag_means_today(
        self, docker_runtime: DockerRuntime, images: Images, repository: str
    ) -> None:
        reference, digest = images.push(repository, page="old\n")
        images.push(repository, page="new\n")
        workload = wanted(world.shell(waiting("cat /www/index.html"), image=f"{reference}@{digest}"))
        await docker_runtime.apply(workload)
        await runs(docker_runtime, workload)
        assert [each.text for each in await lines(docker_runtime, workload.id, 1)] == ["old"]

    @pytest.mark.parametrize(("tag", "expected"), [("latest", "new"), ("1", "old")])
    async def test_latest_is_asked_for_each_time_and_another_tag_is_not(
        self, docker_runtime: DockerRuntime, images: Images, repository: str, tag: str, expected: str
    ) -> None:
        reference, old = images.push(repository, tag, page="old\n", keep=True)
        images.push(repository, tag, page="new\n")
        images.docker.run("pull", "--quiet", f"{images.host}/{repository}@{old}")
        images.docker.run("tag", f"{images.host}/{repository}@{old}", reference)
        workload = wanted(world.shell(waiting("cat /www/index.html"), image=reference))
        await docker_runtime.apply(workload)
        await runs(docker_runtime, workload)
        assert [each.text for each in await lines(docker_runtime, workload.id, 1)] == [expected]

    async def test_an_image_that_was_built_here_needs_no_registry(
        self, docker_runtime: DockerRuntime, docker: engine.Docker
    ) -> None:
        reference = f"slipway.test/{engine.unique('built')}"
        docker.import_tiny(f"{reference}:latest")
        workload = wanted(world.shell(waiting(), image=reference))
        await docker_runtime.apply(workload)
        assert (await container(docker_runtime, workload.id)).state is ContainerState.RUNNING
        docker.run("image", "rm", "--force", reference)

    async def test_latest_is_what_is_here_when_its_registry_is_gone(
        self, docker_runtime: DockerRuntime, docker: engine.Docker, images: Images, repository: str, tmp_path: Path
    ) -> None:
        with registry.running(tmp_path) as gone:
            reference, _ = dataclasses.replace(images, host=gone.host).push(repository, "latest", keep=True)
        workload = wanted(world.shell(waiting(), image=reference))
        await docker_runtime.apply(workload)
        assert (await runs(docker_runtime, workload)).run == 0
        docker.run("image", "rm", "--force", reference)

    async def test_it_is_told_how_far_it_is_once_a_second(
        self, docker_runtime: DockerRuntime, images: Images, repository: str, changes: list[UUID]
    ) -> None:
        page = os.urandom(2_000_000).hex()
        reference, _ = images.push(repository, page=page)
        async with slow_lane(images.host) as host:
            reference = reference.replace(images.host, host)
            workload = wanted(world.shell(waiting(), image=reference))
            await docker_runtime.apply(workload)
            messages: set[str | None] = set()

            async def has_come() -> bool:
                found = await observed(docker_runtime, workload.id)
                if found is not None:
                    messages.update(each.message for each in found.launches[1])
                return found is None

            await until(has_come, "it has come")
        told = [each for each in messages if each != f"pulling {reference}"]
        assert told
        assert all(re.fullmatch(rf"pulling {reference}: [0-3] of [3-4] MB", str(each)) for each in told)
        assert len(changes) <= 5

    async def test_a_pull_that_nobody_waits_for_any_more_is_ended(
        self, docker_runtime: DockerRuntime, images: Images, repository: str, wire: Wire
    ) -> None:
        reference, _ = images.push(repository, page=os.urandom(2_000_000).hex())
        async with slow_lane(images.host) as host:
            workload = wanted(world.shell(waiting(), image=reference.replace(images.host, host)))
            await docker_runtime.apply(workload)
            await until(lambda: any("/images/create" in each for each in wire.requests), "it is being pulled")
            await docker_runtime.remove(workload.id)
            assert await observed(docker_runtime, workload.id) is None
            assert docker_runtime._pulls._pulls == {}
            await asyncio.sleep(0)
        assert len([each for each in wire.requests if "/images/create" in each]) == 1


@docker_only
class TestFailure:
    async def test_one_that_is_not_there(self, docker_runtime: DockerRuntime, images: Images) -> None:
        reference = f"{images.host}/team/nothing:1"
        workload = wanted(world.shell(waiting(), image=reference))
        await docker_runtime.apply(workload)
        seen = await settled(docker_runtime, workload.id, "IMAGE_NOT_FOUND")
        assert seen.state is ContainerState.WAITING
        assert seen.message == (
            f"{reference} can't be pulled: manifest for {reference} not found: manifest unknown: manifest unknown"
        )

    async def test_one_that_is_not_for_everybody(
        self, wire: Wire, installation: UUID, changes: list[UUID], images: Images, repository: str, guarded: str
    ) -> None:
        reference = images.push(repository)[0].replace(images.host, guarded)
        workload = wanted(world.shell(waiting(), image=reference))
        async with driver(wire, installation, changes) as runtime:
            await runtime.apply(workload)
            seen = await settled(runtime, workload.id, "IMAGE_PULL_DENIED")
            assert seen.message is not None
            assert seen.message.endswith("no basic auth credentials")
        wrong = {guarded: (registry.USERNAME, "s3cr3t-value")}
        async with driver(wire, installation, changes, wrong.get) as runtime:
            await runtime.apply(workload)
            seen = await settled(runtime, workload.id, "IMAGE_PULL_DENIED")
            assert seen.message == f"{reference} can't be pulled: unauthorized: authentication required"
        right = {guarded: (registry.USERNAME, registry.PASSWORD)}
        async with driver(wire, installation, changes, right.get) as runtime:
            await runtime.apply(workload)
            await runs(runtime, workload)

    async def test_it_is_tried_again_until_the_registry_is_back(
        self, docker_runtime: DockerRuntime, images: Images, repository: str, tmp_path: Path, changes: list[UUID]
    ) -> None:
        with registry.running(tmp_path) as gone:
            reference, _ = dataclasses.replace(images, host=gone.host).push(repository)
        workload = wanted(world.shell(waiting(), image=reference))
        await docker_runtime.apply(workload)
        seen = await settled(docker_runtime, workload.id, "IMAGE_PULL_FAILED")
        assert seen.message is not None
        assert seen.message.endswith("connection refused")
        assert workload.id in changes
        with registry.running(tmp_path, host=gone.host):
            await runs(docker_runtime, workload)

    async def test_nobody_fetches_what_nobody_waits_for(self, docker_runtime: DockerRuntime, images: Images) -> None:
        workload = wanted(world.shell(waiting(), image=f"{images.host}/team/nothing:1"))
        await docker_runtime.apply(workload)
        await settled(docker_runtime, workload.id, "IMAGE_NOT_FOUND")
        await docker_runtime.apply(wanted(workload_id=workload.id, runs={"0": {}}))
        assert await observed(docker_runtime, workload.id) is None
        assert set(await docker_runtime.owned()) == set()
        assert docker_runtime._pulls._pulls == {}

    async def test_a_name_that_no_image_has(self, docker_runtime: DockerRuntime) -> None:
        workload = wanted(world.shell(waiting(), image="Not:A:Name"))
        await docker_runtime.apply(workload)
        seen = await container(docker_runtime, workload.id)
        assert (seen.state, seen.reason) == (ContainerState.TERMINATED, "INVALID_IMAGE_NAME")

    async def test_an_image_that_was_removed_under_a_running_container_is_fetched_for_the_next(
        self, docker_runtime: DockerRuntime, images: Images, repository: str
    ) -> None:
        reference, _ = images.push(repository, page="unlike any other\n")
        workload = wanted(world.shell("exit 1", image=reference))
        await docker_runtime.apply(workload)
        await until(lambda: _ended(docker_runtime, workload), "it has ended")
        images.docker.run("image", "rm", "--force", reference)
        again = wanted(world.shell(waiting(), image=reference), workload_id=workload.id, runs={"0": {"main": 1}})
        await docker_runtime.apply(again)

        async def is_running() -> bool:
            await docker_runtime.apply(again)
            return (await container(docker_runtime, workload.id)).state is ContainerState.RUNNING

        await until(is_running, "its second run has begun")
        assert (await container(docker_runtime, workload.id)).run == 1


async def _ended(runtime: DockerRuntime, workload: Any) -> bool:
    found = await observed(runtime, workload.id)
    if found is None or not found.launches[1]:
        await runtime.apply(workload)
        return False
    return found.launches[1][0].state is ContainerState.TERMINATED


NOT_FOUND = "manifest for a/b:1 not found: manifest unknown: manifest unknown"
DENIED = (
    "pull access denied for a, repository does not exist or may require 'docker login': denied: requested access to it"
)
# Docker that keeps images in containerd has words of its own.
NOT_RESOLVED = 'failed to resolve reference "x/a:1": x/a:1: not found'
NO_SCOPE = (
    "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope"
)


@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [
        (404, NOT_FOUND, "IMAGE_NOT_FOUND"),
        (404, NOT_RESOLVED, "IMAGE_NOT_FOUND"),
        (404, DENIED, "IMAGE_PULL_DENIED"),
        (500, NO_SCOPE, "IMAGE_PULL_DENIED"),
        (500, 'Head "https://x/v2/a/manifests/1": no basic auth credentials', "IMAGE_PULL_DENIED"),
        (500, 'Head "https://x/v2/a/manifests/1": unauthorized: authentication required', "IMAGE_PULL_DENIED"),
        (500, "error pulling image: unexpected status 403 Forbidden", "IMAGE_PULL_DENIED"),
        (400, "invalid reference format", "INVALID_IMAGE_NAME"),
        (0, "write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "IMAGE_PULL_FAILED"),
        (0, "failed to register layer: mkdir /x: permission denied", "IMAGE_PULL_FAILED"),
        (500, 'Get "https://nowhere.invalid/v2/": dial tcp: lookup nowhere.invalid: no such host', "IMAGE_PULL_FAILED"),
        (500, "toomanyrequests: You have reached your pull rate limit", "IMAGE_PULL_FAILED"),
    ],
)
def test_the_engines_words_have_a_reason(status: int, words: str, reason: str) -> None:
    assert _reason(Refused(status, words)) == reason
    assert _reason(RuntimeUnavailable("The container engine can't be reached.")) == "IMAGE_PULL_FAILED"


def test_progress_is_the_sum_of_what_is_known_of_the_layers() -> None:
    progress = _Progress()
    assert (progress.known, str(progress)) == (False, "")
    progress.note({"status": "Pulling from library/python", "id": "3.13"})
    progress.note({"status": "Pulling fs layer", "progressDetail": {}, "id": "a"})
    assert not progress.known
    progress.note({"status": "Downloading", "progressDetail": {"current": 5_000_000, "total": 20_000_000}, "id": "a"})
    assert (progress.known, str(progress)) == (True, ": 5 of 20 MB")
    progress.note({"status": "Downloading", "progressDetail": {"current": 1_000_000, "total": 10_000_000}, "id": "b"})
    progress.note({"status": "Download complete", "progressDetail": {}, "id": "a"})
    assert str(progress) == ": 21 of 30 MB"
    progress.note({"status": "Already exists", "progressDetail": {}, "id": "c"})
    progress.note({"status": "Extracting", "progressDetail": {"current": 1, "total": 2}, "id": "b"})
    assert str(progress) == ": 30 of 30 MB"
