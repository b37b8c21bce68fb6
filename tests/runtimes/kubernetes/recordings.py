"""Reads the recordings, and plays them into a runtime that has no cluster."""

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from app.domain import ids, manifests
from app.domain.enums import ContainerState
from app.domain.manifests import WORKLOAD_LABEL
from app.domain.observations import ContainerObservation, Observation
from app.runtimes.kubernetes import KubernetesRuntime
from app.runtimes.kubernetes_client import RESOURCES

DIRECTORY = Path(__file__).parent / "recordings"
INSTALLATION = UUID("00000000-0000-4000-8000-000000000001")
CLUSTER = manifests.Cluster(INSTALLATION, "workloads", timedelta(minutes=10))

_LETTERS = {
    ContainerState.WAITING: "w",
    ContainerState.RUNNING: "r",
    ContainerState.TERMINATED: "t",
    ContainerState.UNKNOWN: "u",
}


def read(name: str) -> list[dict[str, Any]]:
    """The events of all watches of a scenario, in the order in which they came."""
    return [json.loads(line) for line in (DIRECTORY / f"{name}.jsonl").read_text().splitlines()]


def workloads(name: str) -> list[UUID]:
    """The workloads of a recording, in the order in which they came."""
    labels = (event["object"]["metadata"].get("labels", {}).get(WORKLOAD_LABEL) for event in read(name))
    decoded = (ids.decode_as(ids.Kind.WORKLOAD, label) for label in labels if label)
    return list(dict.fromkeys(each for each in decoded if each is not None))


def offline() -> KubernetesRuntime:
    """A runtime whose mirrors are fed by hand."""
    runtime = KubernetesRuntime(CLUSTER)
    kinds = ("Deployment", "Pod", "Service", "Secret")
    runtime._mirrors = {kind: runtime._mirror(RESOURCES[kind]) for kind in kinds}
    for mirror in runtime._mirrors.values():
        mirror.replace([])
    return runtime


def play(name: str, workload_id: UUID) -> Iterator[Observation | None]:
    """What the runtime says of a workload after each event of a recording."""
    runtime = offline()
    for event in read(name):
        mirror = runtime._mirrors.get(event["object"]["kind"])
        if mirror is not None:
            mirror.take(event)
            yield runtime._read(workload_id)


def story(name: str, workload_id: UUID) -> list[str]:
    """What is told of a workload in the course of a recording: each line differs from the one before."""
    return [line for line, _ in itertools.groupby(map(tell, play(name, workload_id)))]


def tell(observation: Observation | None) -> str:
    """One line: how far the rollout is and what hinders it, then the containers of each launch.

    Of a container `w` means that it waits, `r` that it runs, `R` that it is ready, `t` that it has ended, `u` that
    nobody knows; behind it the number of its restarts, if any, and the reason.
    """
    if observation is None:
        return "nothing"
    rollout, said = observation.rollout, "no rollout"
    if rollout is not None:
        word = "failed" if rollout.failed else "complete" if rollout.complete else "going"
        said = f"{rollout.launch}x{rollout.replicas} {word}" + (f" {rollout.reason}" if rollout.reason else "")
    launches = (
        f"{launch}: {' '.join(map(_letter, containers)) or '-'}" for launch, containers in _sorted(observation.launches)
    )
    return " | ".join([said, *launches])


def _sorted(
    launches: Mapping[int, tuple[ContainerObservation, ...]],
) -> list[tuple[int, tuple[ContainerObservation, ...]]]:
    return sorted(launches.items())


def _letter(each: ContainerObservation) -> str:
    letter = "R" if each.ready else _LETTERS[each.state]
    return f"{letter}{each.run or ''}" + (f"({each.reason})" if each.reason else "")
