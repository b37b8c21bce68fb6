"""What the tests of planning share: a workload, what is seen of it, and a decision."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain import planning, slots
from app.domain.enums import ContainerState, ProbeKind, Wanted, WorkloadStatus as Status
from app.domain.observations import Address, ContainerObservation, Observation
from app.domain.specification import Container, ContainerGroup, Probe, Specification

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLICY = slots.Policy()
PROBED = Container("main", "image", port=80, primary=True, probes={ProbeKind.READINESS: Probe("/", 80)})
BARE = Container("main", "image", port=80, primary=True)
SIDE = Container("side", "image")
LIVE = (Status.SUBMITTED, Status.PROVISIONING, Status.LAUNCHING, Status.RUNNING, Status.INTERRUPTED)


def workload(status: Status = Status.SUBMITTED, *containers: Container, **values: Any) -> planning.Workload:
    defaults: dict[str, Any] = {
        "reason": None,
        "message": None,
        "wanted": Wanted.RUNNING,
        "specification": Specification((ContainerGroup(containers or (PROBED,)),)),
        "replicas": 1,
        "launch": 1,
        "launched_at": NOW,
        "was_ready": status in {Status.RUNNING, Status.INTERRUPTED},
    }
    return planning.Workload(status=status, **{**defaults, **values})


def running(container: str = "main", replica: str = "0", run: int = 0, **values: Any) -> ContainerObservation:
    defaults: dict[str, Any] = {
        "state": ContainerState.RUNNING,
        "started_at": NOW - timedelta(seconds=30),
        "address": Address("127.0.0.1", 4000 + int(replica)),
    }
    return ContainerObservation(replica, container, run, **{**defaults, **values})


def ended(run: int = 0, *, seconds_ago: float = 0.0, **values: Any) -> ContainerObservation:
    defaults: dict[str, Any] = {
        "state": ContainerState.TERMINATED,
        "exit_code": 1,
        "reason": "EXITED",
        "finished_at": NOW - timedelta(seconds=seconds_ago),
    }
    return running(run=run, **{**defaults, **values})


def verdict(*, ready: bool = True, run: int = 0, **values: Any) -> Mapping[slots.Key, slots.Verdict]:
    return {(1, "0", "main"): slots.Verdict(run, ready, **values)}


def decide(
    given_workload: planning.Workload,
    *containers: ContainerObservation,
    verdicts: Mapping[slots.Key, slots.Verdict] | None = None,
    launch: int = 1,
    now: datetime = NOW,
    **values: Any,
) -> planning.Plan:
    observation = Observation({launch: containers}) if containers else None
    circumstances = planning.Circumstances(now, POLICY, verdicts or {}, **values)
    return planning.plan(given_workload, observation, circumstances)
