"""What the runtime says while what a real cluster told is played to it, event by event."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from app.domain.enums import ContainerState
from app.domain.observations import ContainerObservation, Observation
from tests.runtimes.kubernetes import recordings

SCENARIOS = sorted(path.stem for path in recordings.DIRECTORY.glob("[0-9]*.jsonl"))
STORIES = {
    title.removeprefix("# "): lines
    for title, *lines in map(str.splitlines, (recordings.DIRECTORY.parent / "stories.txt").read_text().split("\n\n"))
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_story_of_a_scenario(scenario: str) -> None:
    """The lines of stories.txt, which `recordings.tell` explains. Two workloads in a scenario have a story each."""
    first, *others = recordings.workloads(scenario)
    assert recordings.story(scenario, first) == STORIES[scenario]
    for number, workload_id in enumerate(others, start=2):
        assert recordings.story(scenario, workload_id) == STORIES[f"{scenario} {number}"]


def test_each_scenario_has_its_story() -> None:
    assert {title.partition(" ")[0] for title in STORIES} == set(SCENARIOS)
    assert len(SCENARIOS) == 27


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_complete_is_never_said_too_early(scenario: str) -> None:
    """Neither before as many replicas as asked for are ready, nor of what the controller has not seen yet."""
    for workload_id in recordings.workloads(scenario):
        for seen in recordings.play(scenario, workload_id):
            rollout = seen.rollout if seen is not None else None
            if seen is not None and rollout is not None and rollout.complete:
                containers = seen.launches[rollout.launch]
                unready = {each.replica for each in containers if not each.ready}
                assert len({each.replica for each in containers} - unready) == rollout.replicas
                assert (rollout.failed, rollout.reason, rollout.message) == (False, None, None)


def told(scenario: str) -> Iterator[ContainerObservation]:
    [workload_id] = recordings.workloads(scenario)
    for seen in recordings.play(scenario, workload_id):
        for containers in seen.launches.values() if seen is not None else ():
            yield from containers


WORDS = {
    "02-bad-image": [
        (
            'IMAGE_NOT_FOUND: failed to pull and unpack image "registry.test:5000/demo/web:9.9.9": failed to resolve '
            'reference "registry.test:5000/demo/web:9.9.9": registry.test:5000/demo/web:9.9.9: not found'
        ),
    ],
    "02b-registry-unreachable": [
        (
            'IMAGE_PULL_FAILED: failed to pull and unpack image "registry.test:5001/demo/web:1.0.0": failed to resolve '
            'reference "registry.test:5001/demo/web:1.0.0": failed to do request: Head '
            '"http://registry.test:5001/v2/demo/web/manifests/1.0.0": dial tcp registry.test:5001: connect: connection '
            "refused"
        ),
    ],
    "03b-start-error": [
        (
            "START_ERROR: failed to create containerd task: failed to create shim task: OCI runtime create failed: "
            'runc create failed: unable to start container process: exec: "/bin/does-not-exist": stat '
            "/bin/does-not-exist: no such file or directory: unknown"
        ),
    ],
    "03-crash-loop": ["CRASH_LOOP: exited with code 1", "EXITED: exited with code 1"],
    "03d-exit-zero": ["CRASH_LOOP: exited with code 0", "EXITED: exited with code 0"],
    "10-oom-killed": ["OOM_KILLED: killed for using more memory than its limit"],
    "09-delete-foreground": [],
    "09b-delete-background": [],
}


@pytest.mark.parametrize("scenario", WORDS)
def test_the_words_for_a_reason(scenario: str) -> None:
    """They do not change between an attempt and the pause before the next."""
    assert sorted({f"{each.reason}: {each.message}" for each in told(scenario) if each.reason}) == WORDS[scenario]


def test_the_words_for_what_keeps_pods_from_being_there() -> None:
    first, second = recordings.workloads("13-quota-exceeded")
    assert hindrances("13-quota-exceeded", first) == {
        "QUOTA_EXCEEDED: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1",
        "PROGRESS_DEADLINE: No replica became ready within 20 s of the one before.",
    }
    assert hindrances("13-quota-exceeded", second) == {
        "CONFIGURATION_ERROR: failed quota: small: must specify limits.memory for: app"
    }
    [workload_id] = recordings.workloads("14-node-not-ready")
    assert "NODE_LOST: The node of this replica does not answer." in hindrances("14-node-not-ready", workload_id)


def hindrances(scenario: str, workload_id: UUID) -> set[str]:
    rollouts = [seen.rollout for seen in recordings.play(scenario, workload_id) if seen is not None]
    return {f"{each.reason}: {each.message}" for each in rollouts if each is not None and each.reason is not None}


def test_restarts_exit_codes_and_times_are_those_of_the_kubelet() -> None:
    seen = list(told("03-crash-loop"))
    assert [each.run for each in seen] == sorted(each.run for each in seen)
    assert seen[-1].run == 4
    assert {each.exit_code for each in seen if each.run or each.state is ContainerState.TERMINATED} == {1}
    for each in seen:
        assert (each.started_at is None) == (each.run == 0 and each.state is ContainerState.WAITING)
        assert (each.finished_at is not None) == (
            each.exit_code is not None and each.state is not ContainerState.RUNNING
        )
    oom = [each for each in told("10-oom-killed") if each.reason is not None]
    assert {each.exit_code for each in oom} == {137}


def test_what_never_started_has_no_time_of_start() -> None:
    """The API has the beginning of 1970 there."""
    seen = [each for each in told("03b-start-error") if each.reason is not None]
    assert {each.started_at for each in seen} == {None}
    assert {each.exit_code for each in seen} == {128}


def test_everything_is_gone_only_when_the_last_pod_is() -> None:
    """A Deployment deleted in the background is gone at once, its pods some seconds later."""
    for scenario in ("09-delete-foreground", "09b-delete-background"):
        [workload_id] = recordings.workloads(scenario)
        runtime = recordings.offline()
        alive = set()
        seen: Observation | None = None
        for event in recordings.read(scenario):
            kind, name = event["object"]["kind"], event["object"]["metadata"].get("name")
            if kind in runtime._mirrors and event["type"] != "BOOKMARK":
                runtime._mirrors[kind].take(event)
                alive.discard((kind, name)) if event["type"] == "DELETED" else alive.add((kind, name))
                seen = runtime._read(workload_id)
                assert (seen is None) == (not alive)
        assert seen is None
