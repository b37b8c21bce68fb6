"""What the objects of a workload in a cluster say of it. Pure: objects in, an observation out.

What the fields mean, and when they may not be believed yet, was learnt from recordings of a real cluster, which the
tests replay (tests/runtimes/kubernetes/recordings). The rules that surprise have their reason beside them.
"""

import dataclasses
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from app.domain.enums import ContainerState
from app.domain.manifests import LAUNCH_LABEL
from app.domain.observations import (
    CONFIGURATION_ERROR,
    CRASH_LOOP,
    EXITED,
    HOPELESS,
    IMAGE_NOT_FOUND,
    IMAGE_PULL_DENIED,
    IMAGE_PULL_FAILED,
    INVALID_IMAGE_NAME,
    KILLED,
    NODE_LOST,
    OOM_KILLED,
    PROGRESS_DEADLINE,
    QUOTA_EXCEEDED,
    START_ERROR,
    UNSCHEDULABLE,
    ContainerObservation,
    Observation,
    Rollout,
)

Object = Mapping[str, Any]

# Of several hindrances the first is told: what will not go away by itself, then what keeps pods from being there.
_TOLD_FIRST = (
    *sorted(HOPELESS),
    CONFIGURATION_ERROR,
    QUOTA_EXCEEDED,
    UNSCHEDULABLE,
    NODE_LOST,
    IMAGE_PULL_FAILED,
    OOM_KILLED,
    CRASH_LOOP,
)

# https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/images/types.go, and beside it
# pkg/kubelet/kuberuntime/kuberuntime_container.go
_IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "SignatureValidationFailed"})
_WAITING_REASONS = {
    "InvalidImageName": INVALID_IMAGE_NAME,
    "ErrImageNeverPull": IMAGE_NOT_FOUND,
    "CreateContainerConfigError": CONFIGURATION_ERROR,
    "CreateContainerError": CONFIGURATION_ERROR,
    "RunContainerError": START_ERROR,
}
_START_ERRORS = frozenset({"StartError", "ContainerCannotRun"})
# Registries answer "denied" for what may as well not be there: Docker Hub's words are "pull access denied, repository
# does not exist or may require authorization".
_DENIED = (
    "access denied",
    "denied: ",
    "unauthorized",
    "authentication required",
    "authorization failed",
    "no basic auth credentials",
    "403 forbidden",
)
_NOT_FOUND = ("not found", "manifest unknown", "name unknown", "code = notfound")
_LOST: Mapping[str, Any] = {
    "state": ContainerState.UNKNOWN,
    "ready": False,
    "reason": NODE_LOST,
    "message": "The node of this replica does not answer.",
}
# After an end comes the next run, always: pods of a Deployment are restarted.
_ENDS = frozenset({EXITED, KILLED})
_SIGNALS = {128 + each.value: each.name for each in signal.Signals}


def launch_of(found: Object) -> int | None:
    """The launch that an object, or a template for one, belongs to; None for one that tells none."""
    label = str(((found.get("metadata") or {}).get("labels") or {}).get(LAUNCH_LABEL, ""))
    return int(label) if label.isdecimal() else None


def is_going(found: Object) -> bool:
    """Whether an object is on its way out: it was deleted, and something still has to happen."""
    return "deletionTimestamp" in found["metadata"]


def observe(deployment: Object | None, pods: Collection[Object], remains: Collection[Object]) -> Observation:
    """What there is of a workload, of which there is something. `remains` is all else that has a launch.

    A pod that is going, or has come to its end, is none of the replicas; it is there nevertheless.
    """
    launches: dict[int, list[ContainerObservation]] = {}
    templates = [] if deployment is None else [deployment["spec"]["template"]]
    for each in (*templates, *pods, *remains):
        launch = launch_of(each)
        if launch is not None:
            launches.setdefault(launch, [])
    for pod in sorted(pods, key=lambda each: str(each["metadata"]["name"])):
        launch = launch_of(pod)
        if launch is not None and _counts(pod):
            launches[launch] += _containers(pod)
    return Observation(
        launches={launch: tuple(containers) for launch, containers in launches.items()},
        rollout=None if deployment is None else _rollout(deployment, launches),
    )


def _counts(pod: Object) -> bool:
    """As the ReplicaSet counts its pods: the others are replaced."""
    return not is_going(pod) and (pod.get("status") or {}).get("phase") not in {"Failed", "Succeeded"}


def _rollout(deployment: Object, launches: Mapping[int, Sequence[ContainerObservation]]) -> Rollout | None:
    launch = launch_of(deployment["spec"]["template"])
    if is_going(deployment) or launch is None:  # what is asked of it now is lost
        return None
    status = deployment.get("status") or {}
    replicas = deployment["spec"].get("replicas", 1)
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    # Until the controller has seen this generation, counters and conditions are those of the last one.
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    # All three: mid-rollout two of them may be right while an old pod is one of those that are available.
    counted = [status.get(each, 0) for each in ("replicas", "updatedReplicas", "availableReplicas")]
    containers = launches.get(launch, ())
    # What the pods say of themselves may be newer than what the Deployment says of them.
    ready = {each.replica for each in containers} - {each.replica for each in containers if not each.ready}
    complete = seen and counted == [replicas] * 3 and len(ready) >= replicas
    if complete or not seen:
        return Rollout(launch, replicas, complete=complete)
    failed = _is(conditions, "Progressing", "False", "ProgressDeadlineExceeded")
    reason, message = _hindrance(containers, conditions)
    if failed and reason is None:
        seconds = deployment["spec"].get("progressDeadlineSeconds")
        reason, message = PROGRESS_DEADLINE, f"No replica became ready within {seconds} s of the one before."
    return Rollout(launch, replicas, complete=False, failed=failed, reason=reason, message=message)


def _is(conditions: Mapping[str, Object], kind: str, status: str, reason: str) -> bool:
    found = conditions.get(kind) or {}
    return bool(found.get("status") == status and found.get("reason") == reason)


def _hindrance(
    containers: Sequence[ContainerObservation], conditions: Mapping[str, Object]
) -> tuple[str | None, str | None]:
    """Why it does not get on, if one can tell."""
    found = {
        CRASH_LOOP if each.reason in _ENDS else each.reason: each.message
        for each in reversed(containers)
        if each.reason is not None
    }
    if _is(conditions, "ReplicaFailure", "True", "FailedCreate"):
        message = str(conditions["ReplicaFailure"].get("message") or "")
        # What stands before names a pod, another one each time.
        told = message.rpartition(" is forbidden: ")[2]
        found[QUOTA_EXCEEDED if "exceeded quota" in message else CONFIGURATION_ERROR] = told
    return next(((reason, found[reason]) for reason in _TOLD_FIRST if reason in found), (None, None))


def _containers(pod: Object) -> Iterator[ContainerObservation]:
    status = pod.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    known = {each["name"]: each for each in status.get("containerStatuses") or ()}
    lost = _is_lost(conditions)
    for container in pod["spec"]["containers"]:
        name, replica = container["name"], pod["metadata"]["name"]
        if name in known:
            found = _container(replica, known[name])
        else:
            reason, message = None, None
            if _is(conditions, "PodScheduled", "False", "Unschedulable"):
                reason, message = UNSCHEDULABLE, conditions["PodScheduled"].get("message")
            found = ContainerObservation(
                replica, name, 0, ContainerState.WAITING, ready=False, reason=reason, message=message
            )
        yield dataclasses.replace(found, **_LOST) if lost else found


def _is_lost(conditions: Mapping[str, Object]) -> bool:
    """The node's controller takes the pod's readiness, gives no reason, and leaves alone what the kubelet said last."""
    ready, containers_ready = conditions.get("Ready") or {}, conditions.get("ContainersReady") or {}
    return ready.get("status") != "True" and not ready.get("reason") and containers_ready.get("status") == "True"


def _container(replica: str, status: Object) -> ContainerObservation:
    state = status.get("state") or {}
    last = (status.get("lastState") or {}).get("terminated")
    ended = state.get("terminated") or last
    shown: Object
    if running := state.get("running"):
        kind, shown = ContainerState.RUNNING, running
        # Until it is ready, what ended the last run is what there is to say of it.
        reason, message = (None, None) if status["ready"] or last is None else _between_runs(last)
    elif terminated := state.get("terminated"):
        kind, shown = ContainerState.TERMINATED, terminated
        reason, message = _end(terminated)
    else:
        kind, shown = ContainerState.WAITING, last or {}
        reason, message = _wait(state.get("waiting") or {}, last)
    return ContainerObservation(
        replica=replica,
        container=status["name"],
        run=status["restartCount"],
        state=kind,
        ready=status["ready"],
        exit_code=None if ended is None else ended["exitCode"],
        reason=reason,
        message=message,
        started_at=_time(shown.get("startedAt")),
        finished_at=_time(shown.get("finishedAt")),
    )


def _wait(waiting: Object, last: Object | None) -> tuple[str | None, str | None]:
    """Why a container waits; nothing where that is in the ordinary."""
    reason, message = str(waiting.get("reason") or ""), waiting.get("message")
    if reason == "CrashLoopBackOff" and last is not None:
        return _between_runs(last)
    if reason in _IMAGE_REASONS:
        return _pull(str(message or ""))
    return _WAITING_REASONS.get(reason), message if reason in _WAITING_REASONS else None


def _pull(message: str) -> tuple[str, str]:
    """Why an image can't be pulled, the same whether the kubelet has just failed or waits for the next attempt.

    `Back-off pulling image "a": ErrImagePull: rpc error: code = NotFound desc = …`, where that begins with ErrImagePull
    only in newer versions.
    """
    words = message.rpartition("ErrImagePull: ")[2]
    lower = words.lower()
    _, separator, description = words.partition(" desc = ")
    told = description if separator else words
    if any(each in lower for each in _DENIED):
        return IMAGE_PULL_DENIED, told
    if any(each in lower for each in _NOT_FOUND):
        return IMAGE_NOT_FOUND, told
    return IMAGE_PULL_FAILED, told


def _between_runs(last: Object) -> tuple[str, str]:
    reason, message = _end(last)
    return (CRASH_LOOP if reason in _ENDS else reason), message


def _end(terminated: Object) -> tuple[str, str]:
    """How a run ended."""
    reason, code = terminated.get("reason"), terminated["exitCode"]
    if reason == "OOMKilled":
        return OOM_KILLED, "killed for using more memory than its limit"
    if reason in _START_ERRORS:
        return START_ERROR, str(terminated.get("message") or "it can't be started")
    if code in _SIGNALS:
        return KILLED, f"ended by {_SIGNALS[code]}"
    return EXITED, f"exited with code {code}"


def _time(text: str | None) -> datetime | None:
    """A time of the API; None also for the beginning of 1970, which stands where nothing was started."""
    found = None if text is None else datetime.fromisoformat(text)
    return found if found is not None and found.timestamp() > 0 else None
