from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.logs import LINE_MAXIMUM_CHARACTERS, LogLine, LogQuery, LogStream
from app.domain.wanted import WantedContainer
from app.runtimes import kubernetes_logs
from app.runtimes.base import RuntimeUnavailable
from tests.runtimes.kubernetes.fake.fields import Object
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.kubernetes.fixtures import Open
from tests.runtimes.kubernetes.world import MAIN, launch, until_told, workload

SIDE = WantedContainer("side", "registry.example/side:1", None, {})


def at(second: int, microsecond: int = 0) -> datetime:
    return datetime(2026, 11, 23, 16, 27, second, microsecond, tzinfo=UTC)


def lines(*written: tuple[int, str]) -> bytes:
    return b"".join(f"2026-11-23T16:27:{second:02}.119782396Z {text}\n".encode() for second, text in written)


def log(cluster: FakeCluster, pod: Object, content: bytes, container: str = "main", *, previous: bool = False) -> None:
    cluster.logs[pod["metadata"]["name"], container, previous] = content


async def texts(runtime: Any, wanted: Any, **query: Any) -> list[str]:
    return [each.text for each in await runtime.logs(wanted.id, LogQuery(**{"last": 100, **query}))]


async def test_lines_of_all_pods_and_containers_by_their_time(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    wanted = workload(launch(1, MAIN, SIDE, replicas=2))
    await runtime.apply(wanted)
    first, second = fake_cluster.pods()
    fake_cluster.pod_ready(first, second)
    await until_told(runtime, wanted.id, "1x2 complete | 1: R R R R")
    log(fake_cluster, first, lines((1, "one"), (4, "four")))
    log(fake_cluster, first, lines((2, "two")), "side")
    log(fake_cluster, second, lines((3, "three"), (3, "and")))
    assert await runtime.logs(wanted.id, LogQuery(last=1)) == [
        LogLine(at(4, 119782), "main", first["metadata"]["name"], LogStream.STDOUT, "four")
    ]
    assert await texts(runtime, wanted) == ["one", "two", "three", "and", "four"]
    assert await texts(runtime, wanted, last=2) == ["and", "four"]
    assert await texts(runtime, wanted, container="side") == ["two"]
    assert await texts(runtime, wanted, contains="o") == ["one", "two", "four"]
    assert await texts(runtime, wanted, contains="o", last=1) == ["four"]
    assert await texts(runtime, wanted, since=at(2, 119782)) == ["two", "three", "and", "four"]
    assert await texts(runtime, wanted, since=at(2, 119783)) == ["three", "and", "four"]


async def test_the_run_before_is_read_as_well(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """Once: of a container that waits for its next run both questions are about the same log."""
    runtime = await open_runtime()
    wanted = workload()
    await runtime.apply(wanted)
    [pod] = fake_cluster.pods()
    fake_cluster.pod_unready(pod)
    log(fake_cluster, pod, lines((1, "first run")))
    await until_told(runtime, wanted.id, "1x1 going | 1: r")
    assert await texts(runtime, wanted) == ["first run"]
    fake_cluster.pod_crashed(pod, code=1)
    await until_told(runtime, wanted.id, "1x1 going CRASH_LOOP | 1: t(EXITED)")
    assert await texts(runtime, wanted) == ["first run"]
    fake_cluster.pod_waits(pod, reason="CrashLoopBackOff")
    await until_told(runtime, wanted.id, "1x1 going CRASH_LOOP | 1: w(CRASH_LOOP)")
    assert await texts(runtime, wanted) == ["first run"]
    fake_cluster.pod_unready(pod)
    log(fake_cluster, pod, lines((1, "first run")), previous=True)
    log(fake_cluster, pod, lines((2, "second run")))
    await until_told(runtime, wanted.id, "1x1 going CRASH_LOOP | 1: r1(CRASH_LOOP)")
    assert await texts(runtime, wanted) == ["first run", "second run"]


async def test_what_has_no_log(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    """A workload of which there is nothing, a container that has not started, a pod that has just gone."""
    runtime = await open_runtime()
    wanted = workload()
    assert await texts(runtime, wanted) == []
    await runtime.apply(wanted)
    await until_told(runtime, wanted.id, "1x1 going | 1: w")
    assert await texts(runtime, wanted) == []
    [pod] = fake_cluster.pods()
    fake_cluster.pod_ready(pod)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    fake_cluster.fail(404, path="/log")
    assert await texts(runtime, wanted) == []
    assert await texts(runtime, wanted, container="unknown") == []


async def test_a_server_that_refuses_logs(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    wanted = workload(launch(1, replicas=3))
    await runtime.apply(wanted)
    fake_cluster.pod_ready(*fake_cluster.pods())
    await until_told(runtime, wanted.id, "1x3 complete | 1: R R R")
    fake_cluster.forbidden.add(("get", "pods/log"))
    with pytest.raises(RuntimeUnavailable, match='cannot get resource "pods/log"'):
        await texts(runtime, wanted)


async def test_a_log_that_is_too_long_is_read_from_its_end(
    fake_cluster: FakeCluster, open_runtime: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of bytes cuts the newest away, so fewer lines are asked for until the end is in it."""
    monkeypatch.setattr(kubernetes_logs, "BYTES_MAXIMUM", 1_000)
    runtime = await open_runtime()
    wanted = workload()
    await runtime.apply(wanted)
    [pod] = fake_cluster.pods()
    fake_cluster.pod_ready(pod)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    log(fake_cluster, pod, lines(*((number % 60, f"line {number:05}") for number in range(59))))
    found = await texts(runtime, wanted, last=60)
    assert found[-1] == "line 00058"
    assert found == [f"line {number:05}" for number in range(59 - len(found), 59)]
    assert len(found) == 60 // kubernetes_logs.FEWER
    assert await texts(runtime, wanted, last=60, contains="line 00058") == ["line 00058"]


async def test_lines_are_limited_and_anything_is_text(fake_cluster: FakeCluster, open_runtime: Open) -> None:
    runtime = await open_runtime()
    wanted = workload()
    await runtime.apply(wanted)
    [pod] = fake_cluster.pods()
    fake_cluster.pod_ready(pod)
    await until_told(runtime, wanted.id, "1x1 complete | 1: R")
    content = lines((1, "x" * (LINE_MAXIMUM_CHARACTERS + 1)), (2, "")) + b"2026-11-23T16:27:03Z \xff a  b\r\n2026-11-2"
    log(fake_cluster, pod, content)
    assert await texts(runtime, wanted) == ["x" * LINE_MAXIMUM_CHARACTERS, "", "\ufffd a  b\r"]
