"""One launch of a workload in a runtime that restarts, probes and replaces by itself: how far it is, what hinders it.

`planning` decides by it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app.domain.enums import ContainerState
from app.domain.observations import (
    CRASH_LOOP,
    HOPELESS,
    OOM_KILLED,
    PROGRESS_DEADLINE,
    TROUBLE,
    ContainerObservation,
    Observation,
    Rollout,
)
from app.domain.slots import LAUNCH_DEADLINE, NOT_READY, REPLICAS_MISSING, Policy, Trouble


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """One launch that is wanted, and what is seen of it. `rollout` is the runtime's word, if it is about this one."""

    launch: int
    replicas: int
    containers: Sequence[ContainerObservation]
    rollout: Rollout | None
    policy: Policy

    @property
    def asked(self) -> bool:
        """Whether the runtime has been asked for just this."""
        return self.rollout is not None and self.rollout.replicas == self.replicas

    @property
    def begun(self) -> bool:
        """Whether the runtime has been asked for this launch, with however many replicas."""
        return self.rollout is not None or bool(self.containers)

    @property
    def started(self) -> bool:
        """Whether containers run: all that there are, and one at least."""
        return bool(self.containers) and all(each.started_at is not None for each in self.containers)

    @property
    def complete(self) -> bool:
        """Whether it is what was asked for, and ready."""
        return self.asked and self.rollout is not None and self.rollout.complete

    def failure(self, begun_at: datetime, now: datetime) -> tuple[str, str] | None:
        """Why this launch, if it was never ready, will not become it."""
        if self.complete:
            return None
        for each in self.containers:
            if each.state is ContainerState.RUNNING:
                continue
            if each.reason in HOPELESS:
                return each.reason, _describe(each)
            if each.run >= self.policy.restarts_before_giving_up:
                return _crash(each), f"{_describe(each)}, after {each.run} restarts. Its logs may say why."
        if self.rollout is not None and self.rollout.failed:
            reason, message = self.trouble(was_ready=False)
            return reason or PROGRESS_DEADLINE, message or "The cluster has given up: it made no progress in time."
        if begun_at + self.policy.launch_deadline <= now:
            reason, message = self.trouble(was_ready=False)
            seconds = int(self.policy.launch_deadline.total_seconds())
            allowed = f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
            details = f" {message}" if message else ""
            told = reason if reason in TROUBLE else LAUNCH_DEADLINE
            return told, f"Not ready within the launch deadline of {allowed}.{details}"
        return None

    def trouble(self, *, was_ready: bool) -> Trouble:
        """Why it is not ready; nothing where it is only on its way up."""
        for each in self.containers:
            if each.state is ContainerState.WAITING and each.reason in TROUBLE:
                return each.reason, _describe(each)
        for each in self.containers:
            if each.state is ContainerState.TERMINATED or each.reason in {CRASH_LOOP, OOM_KILLED}:
                return _crash(each), f"{_describe(each)}. It is tried again, with growing pauses."
        if self.rollout is not None and self.rollout.reason is not None:
            return self.rollout.reason, self.rollout.message
        unready = next((each for each in self.containers if each.started_at and not each.ready), None)
        if unready is not None and was_ready:
            return NOT_READY, f"Container {unready.container} of replica {unready.replica} is not ready."
        if was_ready:
            return REPLICAS_MISSING, "Fewer replicas are ready than wanted; the others are started."
        return None, None


def look(launch: int, replicas: int, observation: Observation | None, policy: Policy) -> Progress:
    """One launch as it is wanted, held against what is seen of it."""
    rollout = observation.rollout if observation is not None else None
    return Progress(
        launch=launch,
        replicas=replicas,
        containers=observation.launches.get(launch, ()) if observation is not None else (),
        rollout=rollout if rollout is not None and rollout.launch == launch else None,
        policy=policy,
    )


def ready_replicas(observation: Observation | None) -> frozenset[tuple[int, str]]:
    """Replicas, of whatever launch, all of whose containers are ready."""
    containers = [
        ((launch, each.replica), bool(each.ready))
        for launch, seen in (observation.launches if observation is not None else {}).items()
        for each in seen
    ]
    return frozenset(replica for replica, _ in containers) - {replica for replica, ready in containers if not ready}


def statuses(observation: Observation | None) -> list[Mapping[str, Any]]:
    """The JSON that is stored, with the names of the graph's ContainerStatus."""
    return [
        {
            "launch": launch,
            "container": each.container,
            "replica": each.replica,
            "state": each.state.value,
            "ready": bool(each.ready),
            "restartCount": each.run,
            "reason": each.reason,
            "message": each.message,
            "startedAt": each.started_at.isoformat() if each.started_at else None,
            "lastExitCode": each.exit_code,
        }
        for launch, containers in sorted((observation.launches if observation is not None else {}).items())
        for each in sorted(containers, key=lambda each: (each.replica, each.container))
    ]


def _crash(each: ContainerObservation) -> str:
    return OOM_KILLED if each.reason == OOM_KILLED else CRASH_LOOP


def _describe(each: ContainerObservation) -> str:
    name = f"Container {each.container} of replica {each.replica}"
    if each.message:
        return f"{name}: {each.message}"
    if each.exit_code is not None:
        return f"{name} exited with code {each.exit_code}"
    return f"{name}: {each.reason or 'it does not run'}"
