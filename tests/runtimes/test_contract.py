"""What every runtime must do. A driver joins by its fixture of a `Subject`.

Those that heal by themselves need not do as they are told about single runs: for them the first part stands.
"""

import asyncio
import uuid
from datetime import timedelta

import pytest

from app.domain.enums import ContainerState
from app.domain.logs import LogQuery, LogStream
from app.runtimes.base import RuntimeUnavailable, WantedContainer, WantedWorkload
from tests.runtimes.subject import Subject
from tests.runtimes.world import container, ended, launched, lines, observed, until, waiting, wanted

pytestmark = pytest.mark.slow


@pytest.fixture(params=["process_subject", pytest.param("docker_subject", marks=pytest.mark.docker)])
def subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.getfixturevalue(request.param)
    return found


PATIENCE_SECONDS = 60.0  # a cluster may have to pull an image


@pytest.fixture(
    params=[
        "process_subject",
        pytest.param("docker_subject", marks=pytest.mark.docker),
        "kubernetes_subject",
        pytest.param("cluster_subject", marks=pytest.mark.kubernetes),
    ]
)
def any_subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.getfixturevalue(request.param)
    return found


async def comes_to(subject: Subject, workload: WantedWorkload, **running: int) -> None:
    """Ask for a workload until so many containers of each launch run (`launch_1=2`), and of no other."""

    async def is_so() -> bool:
        await subject.runtime.apply(workload)
        found = await observed(subject.runtime, workload.id)
        counts = {
            f"launch_{number}": sum(each.state is ContainerState.RUNNING for each in seen)
            for number, seen in (found.launches if found is not None else {}).items()
        }
        return {name: count for name, count in counts.items() if count} == running

    await until(is_so, f"there run {running}", PATIENCE_SECONDS)


class TestEveryRuntime:
    async def test_apply_is_idempotent(self, any_subject: Subject) -> None:
        workload = wanted(any_subject.shell(waiting()), any_subject.shell(waiting(), "side", port=None), replicas=2)
        await comes_to(any_subject, workload, launch_1=4)
        await any_subject.runs(workload.id, 4)
        before = await observed(any_subject.runtime, workload.id)
        await any_subject.runtime.apply(workload)
        await any_subject.runtime.apply(workload)
        after = await observed(any_subject.runtime, workload.id)
        assert before is not None
        assert after is not None
        assert after.launches == before.launches

    @pytest.mark.parametrize("milliseconds", [0, 5, 20, 60, 200])
    async def test_what_was_cut_short_is_finished_by_the_next(self, any_subject: Subject, milliseconds: int) -> None:
        """As when the answer to it was lost."""
        workload = wanted(any_subject.shell(waiting()), replicas=2)
        cut_short = asyncio.ensure_future(any_subject.runtime.apply(workload))
        await asyncio.wait([cut_short], timeout=milliseconds / 1000)
        cut_short.cancel()
        await asyncio.gather(cut_short, return_exceptions=True)
        await comes_to(any_subject, workload, launch_1=2)
        await any_subject.runs(workload.id, 2)
        found = await observed(any_subject.runtime, workload.id)
        assert found is not None
        assert {each.run for each in found.launches[1]} == {0}

    async def test_replicas_come_and_go(self, any_subject: Subject) -> None:
        container = any_subject.shell(waiting())
        workload_id = uuid.uuid4()
        for replicas in (1, 3, 2):
            await comes_to(
                any_subject, wanted(container, workload_id=workload_id, replicas=replicas), launch_1=replicas
            )
            await any_subject.runs(workload_id, replicas)

    async def test_a_later_launch_takes_over(self, any_subject: Subject) -> None:
        workload_id = uuid.uuid4()
        old, new = (launched(any_subject.shell(waiting()), number=number) for number in (3, 4))
        await comes_to(any_subject, WantedWorkload(workload_id, (old,)), launch_3=1)
        await any_subject.runtime.apply(WantedWorkload(workload_id, (old, new)))
        await comes_to(any_subject, WantedWorkload(workload_id, (new,)), launch_4=1)
        await any_subject.runs(workload_id, 1)

    async def test_one_that_cannot_start_keeps_no_other(self, any_subject: Subject) -> None:
        """Neither beside it, nor in another workload."""
        broken = WantedContainer("side", any_subject.image, ("/nonexistent/command",), {})
        workload, other = wanted(any_subject.shell(waiting()), broken), wanted(any_subject.shell(waiting()))
        await comes_to(any_subject, workload, launch_1=1)
        await comes_to(any_subject, other, launch_1=1)

        async def is_told() -> bool:
            found = await observed(any_subject.runtime, workload.id)
            assert found is not None
            return {each.container: each.reason for each in found.launches[1]} == {"main": None, "side": "START_ERROR"}

        await until(is_told, "the one that can't start says so", PATIENCE_SECONDS)

    async def test_remove_leaves_nothing(self, any_subject: Subject) -> None:
        workload = wanted(any_subject.shell(waiting()), replicas=2)
        await comes_to(any_subject, workload, launch_1=2)
        assert set(await any_subject.runtime.owned()) == {workload.id}
        any_subject.changes.clear()
        runtime = any_subject.runtime
        await asyncio.gather(runtime.remove(workload.id), runtime.remove(workload.id))

        async def is_gone() -> bool:
            return await observed(runtime, workload.id) is None

        await until(is_gone, "nothing is left of it", PATIENCE_SECONDS)
        assert workload.id in any_subject.changes
        assert set(await runtime.owned()) == set()
        await any_subject.runs(workload.id, 0)

        async def is_silent() -> bool:
            return not await runtime.logs(workload.id, LogQuery(10))

        await until(is_silent, "its logs are gone")
        await runtime.remove(workload.id)
        await runtime.remove(uuid.uuid4())

    async def test_what_there_is_nothing_of_is_left_out(self, any_subject: Subject) -> None:
        workload = wanted(any_subject.shell(waiting()))
        await any_subject.runtime.apply(workload)
        assert set(await any_subject.runtime.observe([workload.id, uuid.uuid4()])) == {workload.id}

    async def test_unknown_is_not_absent(self, any_subject: Subject) -> None:
        workload = wanted(any_subject.shell(waiting()))
        runtime = any_subject.runtime
        await runtime.apply(workload)
        await runtime.close(at_once=True)
        for question in (
            runtime.observe([workload.id]),
            runtime.apply(workload),
            runtime.remove(workload.id),
            runtime.owned(),
            runtime.logs(workload.id, LogQuery(1)),
        ):
            with pytest.raises(RuntimeUnavailable, match="is not open"):
                await question
        health = await runtime.check()
        assert not health.available
        assert health.message.startswith(f"The {runtime.name} runtime is not open")
        await runtime.close()


class TestApply:
    async def test_it_runs_every_container_of_every_replica(self, subject: Subject) -> None:
        workload = wanted(subject.shell(waiting()), subject.shell(waiting(), "side", port=None), replicas=2)
        await subject.runtime.apply(workload)
        found = await observed(subject.runtime, workload.id)
        assert found is not None
        assert list(found.launches) == [1]
        assert {(each.replica, each.container, each.state, each.run) for each in found.launches[1]} == {
            (replica, name, ContainerState.RUNNING, 0) for replica in "01" for name in ("main", "side")
        }
        assert all(each.started_at is not None and each.finished_at is None for each in found.launches[1])
        addresses = {each.address for each in found.launches[1] if each.container == "main"}
        assert len(addresses) == 2
        assert None not in addresses
        assert {each.address for each in found.launches[1] if each.container == "side"} == {None}

    async def test_it_is_idempotent(self, subject: Subject) -> None:
        workload = wanted(subject.shell(waiting("echo started")), replicas=2)
        await subject.runtime.apply(workload)
        before = await observed(subject.runtime, workload.id)
        await subject.runtime.apply(workload)
        await subject.runtime.apply(workload)
        assert await observed(subject.runtime, workload.id) == before
        assert len(await lines(subject.runtime, workload.id, 2)) == 2

    async def test_one_that_cannot_start_does_not_keep_the_others(self, subject: Subject) -> None:
        broken = WantedContainer("side", subject.image, ("/nonexistent/command",), {})
        workload = wanted(subject.shell(waiting()), broken)
        await subject.runtime.apply(workload)
        assert (await container(subject.runtime, workload.id)).state is ContainerState.RUNNING
        seen = await container(subject.runtime, workload.id, "side")
        assert (seen.state, seen.reason, seen.exit_code) == (ContainerState.TERMINATED, "START_ERROR", 127)
        assert seen.message is not None
        assert "/nonexistent/command" in seen.message

    async def test_a_replica_that_is_left_out_goes(self, subject: Subject) -> None:
        workload = wanted(subject.shell(waiting()), replicas=3)
        await subject.runtime.apply(workload)
        fewer = wanted(*workload.launches[0].containers, workload_id=workload.id, replicas=1)

        async def is_alone() -> bool:
            await subject.runtime.apply(fewer)
            found = await observed(subject.runtime, workload.id)
            return found is not None and [each.replica for each in found.launches[1]] == ["0"]

        await until(is_alone, "one replica is left")
        assert (await container(subject.runtime, workload.id)).state is ContainerState.RUNNING
        await subject.runs(workload.id, 1)


class TestRuns:
    async def test_an_end_is_seen_and_told(self, subject: Subject) -> None:
        workload = wanted(subject.shell("exit 3"))
        await subject.runtime.apply(workload)
        seen = await ended(subject.runtime, workload.id)
        assert workload.id in subject.changes
        assert (seen.state, seen.run, seen.exit_code, seen.reason) == (ContainerState.TERMINATED, 0, 3, "EXITED")
        assert seen.message == "exited with code 3"
        assert seen.started_at is not None
        assert seen.finished_at is not None
        assert seen.finished_at >= seen.started_at
        await subject.runtime.apply(workload)
        assert await container(subject.runtime, workload.id) == seen, "the same run is not started twice"

    async def test_a_signal_counts_as_in_a_shell(self, subject: Subject) -> None:
        # As process 1 of a container the shell can't kill itself, but what it runs can.
        workload = wanted(subject.shell("kill -11 $$; sh -c 'kill -11 $$'; exit $?"))
        await subject.runtime.apply(workload)
        seen = await ended(subject.runtime, workload.id)
        assert (seen.exit_code, seen.reason, seen.message) == (139, "KILLED", "ended by SIGSEGV")

    async def test_the_next_run_is_a_new_one(self, subject: Subject) -> None:
        workload = wanted(subject.shell("exit 3"))
        await subject.runtime.apply(workload)
        await ended(subject.runtime, workload.id)
        again = wanted(subject.shell(waiting()), workload_id=workload.id, runs={"0": {"main": 1}})
        await subject.runtime.apply(again)
        seen = await container(subject.runtime, workload.id)
        assert (seen.state, seen.run, seen.reason, seen.finished_at) == (ContainerState.RUNNING, 1, None, None)

    async def test_a_container_that_is_left_out_is_stopped_and_remembered(self, subject: Subject) -> None:
        workload = wanted(subject.shell(waiting("echo ready")))
        await subject.runtime.apply(workload)
        await lines(subject.runtime, workload.id, 1)
        await subject.runtime.apply(wanted(workload_id=workload.id, runs={"0": {}}))
        seen = await ended(subject.runtime, workload.id)
        assert (seen.state, seen.exit_code, seen.run) == (ContainerState.TERMINATED, 143, 0)


class TestLaunches:
    async def test_two_run_side_by_side_until_one_is_left_out(self, subject: Subject) -> None:
        workload_id = uuid.uuid4()
        old, new = launched(subject.shell(waiting()), number=3), launched(subject.shell(waiting()), number=4)
        await subject.runtime.apply(WantedWorkload(workload_id, (old,)))
        before = await container(subject.runtime, workload_id, launch=3)
        await subject.runtime.apply(WantedWorkload(workload_id, (old, new)))
        found = await observed(subject.runtime, workload_id)
        assert found is not None
        assert {number: [each.state for each in seen] for number, seen in found.launches.items()} == {
            3: [ContainerState.RUNNING],
            4: [ContainerState.RUNNING],
        }
        assert found.launches[3] == (before,), "the old one is left in peace"
        assert found.launches[4][0].address != before.address

        async def is_alone() -> bool:
            await subject.runtime.apply(WantedWorkload(workload_id, (new,)))
            seen = await observed(subject.runtime, workload_id)
            return seen is not None and list(seen.launches) == [4]

        await until(is_alone, "the old launch has gone")
        assert (await container(subject.runtime, workload_id)).state is ContainerState.RUNNING
        await subject.runs(workload_id, 1)

    async def test_one_that_only_drains_needs_no_containers(self, subject: Subject) -> None:
        workload = wanted(subject.shell(waiting()))
        await subject.runtime.apply(workload)
        before = await observed(subject.runtime, workload.id)
        await subject.runtime.apply(wanted(workload_id=workload.id, runs={"0": {"main": 0}}))
        assert await observed(subject.runtime, workload.id) == before


class TestLogs:
    async def test_both_streams_of_all_containers_in_the_order_of_time(self, subject: Subject) -> None:
        workload = wanted(
            subject.shell(waiting("echo one; sleep 0.2; echo two >&2; sleep 0.4; printf 'three\\nfour'")),
            subject.shell(waiting("sleep 0.4; echo side"), "side", port=None),
        )
        await subject.runtime.apply(workload)
        found = await lines(subject.runtime, workload.id, 4)
        texts = {each.text: (each.container, each.replica, each.stream) for each in found}
        assert texts["one"] == ("main", "0", LogStream.STDOUT)
        assert texts["two"] == ("main", "0", LogStream.STDERR)
        assert texts["side"] == ("side", "0", LogStream.STDOUT)
        assert texts["three"] == ("main", "0", LogStream.STDOUT)
        assert [each.at for each in found] == sorted(each.at for each in found)

    async def test_the_newest_that_match(self, subject: Subject) -> None:
        script = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; sleep 0.2; echo last"
        workload = wanted(subject.shell(waiting(script)), subject.shell(waiting("echo other"), "side", port=None))
        await subject.runtime.apply(workload)
        everything = await lines(subject.runtime, workload.id, 32)

        async def texts(query: LogQuery) -> list[str]:
            return [each.text for each in await subject.runtime.logs(workload.id, query)]

        last = next(each for each in everything if each.text == "last")
        assert await texts(LogQuery(3, container="main")) == ["line 29", "line 30", "last"]
        assert await texts(LogQuery(100, container="side")) == ["other"]
        assert await texts(LogQuery(2, contains="line 1")) == ["line 18", "line 19"]
        assert await texts(LogQuery(100, contains="LINE")) == []
        assert await texts(LogQuery(100, container="main", since=last.at)) == ["last"]
        assert await texts(LogQuery(100, since=last.at + timedelta(seconds=60))) == []

    async def test_the_run_before_is_there_as_well(self, subject: Subject) -> None:
        workload = wanted(subject.shell("echo why; exit 1"))
        await subject.runtime.apply(workload)
        await ended(subject.runtime, workload.id)
        again = wanted(subject.shell(waiting("echo again")), workload_id=workload.id, runs={"0": {"main": 1}})
        await subject.runtime.apply(again)
        assert [each.text for each in await lines(subject.runtime, workload.id, 2)] == ["why", "again"]

    async def test_a_long_line_is_cut(self, subject: Subject) -> None:
        script = "printf 'a\\377b\\n'; head -c 50000 /dev/zero | tr '\\0' x; echo; echo end"
        workload = wanted(subject.shell(waiting(script)))
        await subject.runtime.apply(workload)
        found = await lines(subject.runtime, workload.id, 3)
        assert [each.text for each in found] == ["a\ufffdb", "x" * 16_384, "end"]
        assert [each.text for each in await subject.runtime.logs(workload.id, LogQuery(2))] == ["x" * 16_384, "end"]
