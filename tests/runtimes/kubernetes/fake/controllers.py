"""The controllers of Deployments and ReplicaSets, the garbage collector, and a kubelet that does what a test tells it.

They act at once, one change after the other, where the real ones are some milliseconds behind; the steps between which
a client can look are the same.
"""

import copy
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from tests.runtimes.kubernetes.fake.fields import Object
from tests.runtimes.kubernetes.fake.store import DEPLOYMENTS, PODS, REPLICA_SETS, Change, Kind, Store, now

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
FOREGROUND = "foregroundDeletion"
_SUFFIXES = "bcdfghjklmnpqrstvwxz2456789"


class Controllers:
    """Makes what runs follow what is asked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ready_at_once = False
        """Whether pods run and are ready as soon as they are there, and end as soon as they are to."""
        self._pods = 0
        self._pending: set[str] = set()

    def changed(self, change: Change) -> None:
        """Remember where there is something to do, until whoever made the change has been answered."""
        self._pending.add(change.namespace)

    def settle(self) -> None:
        """Act until nothing is left to do."""
        while self._pending:
            namespaces, self._pending = self._pending, set()
            for namespace in sorted(namespaces):
                self._act(namespace)

    def _act(self, namespace: str) -> None:
        self._collect(namespace)
        for pod in self.store.all(PODS, namespace) if self.ready_at_once else ():
            self._kubelet(namespace, pod)
        for replica_set in self.store.all(REPLICA_SETS, namespace):
            self._replica_set(namespace, replica_set)
        for deployment in self.store.all(DEPLOYMENTS, namespace):
            self._deployment(namespace, deployment)

    # Deployments

    def _deployment(self, namespace: str, deployment: Object) -> None:
        if "deletionTimestamp" in deployment["metadata"]:
            self._status(namespace, deployment)
            return
        spec = deployment["spec"]
        mine = [*self._owned(REPLICA_SETS, namespace, deployment), *self._adopt(namespace, deployment)]
        hashed = template_hash(spec["template"])
        new = next((each for each in mine if each["metadata"]["labels"][HASH] == hashed), None)
        if new is None:
            self._progress(namespace, deployment, "True", "NewReplicaSetCreated")
            self._make_replica_set(namespace, deployment, mine, hashed)
            return
        old = [each for each in mine if each is not new]
        surge = math.ceil(spec.get("replicas", 1) * 0.25)
        total = sum(each["spec"]["replicas"] for each in mine)
        wanted = spec.get("replicas", 1)
        size = new["spec"]["replicas"]
        if size > wanted or not any(each["spec"]["replicas"] for each in old):
            size = wanted
        else:
            size = min(wanted, size + max(0, wanted + surge - total))
        self._scale(namespace, new, size)
        self._scale_down(namespace, old, wanted, size, self._available(namespace, new))
        for each in old:
            current = self.store.find(REPLICA_SETS, namespace, each["metadata"]["name"])
            if current is not None and current["spec"]["replicas"] == 0 and not self._owned(PODS, namespace, current):
                self._forget_history(namespace, deployment, current)
        current = self.store.find(DEPLOYMENTS, namespace, deployment["metadata"]["name"])
        if current is not None:
            self._status(namespace, current)

    def _adopt(self, namespace: str, deployment: Object) -> list[Object]:
        """Take in ReplicaSets that belong to nobody and that the selector finds."""
        wanted = deployment["spec"]["selector"]["matchLabels"].items()
        found = [
            each
            for each in self.store.all(REPLICA_SETS, namespace)
            if "ownerReferences" not in each["metadata"] and wanted <= each["metadata"]["labels"].items()
        ]
        adopted = [{**each["metadata"], "ownerReferences": [_owner(deployment)]} for each in found]
        return [
            self.store.replace(REPLICA_SETS, namespace, {**each, "metadata": metadata})
            for each, metadata in zip(found, adopted, strict=True)
        ]

    def _scale_down(self, namespace: str, old: list[Object], wanted: int, size: int, new_available: int) -> None:
        """Take old pods away: those that do not serve at once, the others as new ones take over."""
        unavailable_new = size - new_available
        total = size + sum(each["spec"]["replicas"] for each in old)
        budget = total - wanted - unavailable_new
        for each in old:
            here = each["spec"]["replicas"]
            unhealthy = here - self._available(namespace, each)
            drop = min(here, max(0, budget), max(unhealthy, 0)) if unhealthy else 0
            here -= drop
            budget -= drop
            drop = min(here, max(0, budget))
            budget -= drop
            self._scale(namespace, each, here - drop)

    def _forget_history(self, namespace: str, deployment: Object, replica_set: Object) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        empty = [each for each in self._owned(REPLICA_SETS, namespace, deployment) if each["spec"]["replicas"] == 0]
        if len(empty) > limit:
            self.store.remove(REPLICA_SETS, namespace, replica_set["metadata"]["name"])

    def _make_replica_set(self, namespace: str, deployment: Object, mine: list[Object], hashed: str) -> None:
        template = copy.deepcopy(deployment["spec"]["template"])
        template["metadata"]["labels"][HASH] = hashed
        revision = 1 + max((int(each["metadata"]["annotations"][REVISION]) for each in mine), default=0)
        self.store.create(
            REPLICA_SETS,
            namespace,
            {
                "metadata": {
                    "name": f"{deployment['metadata']['name']}-{hashed}",
                    "labels": template["metadata"]["labels"],
                    "annotations": {REVISION: str(revision)},
                    "ownerReferences": [_owner(deployment)],
                },
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": {**deployment["spec"]["selector"]["matchLabels"], HASH: hashed}},
                    "template": template,
                },
                "status": {"replicas": 0},
            },
        )

    def _scale(self, namespace: str, replica_set: Object, replicas: int) -> None:
        if replica_set["spec"]["replicas"] != replicas:
            changed = copy.deepcopy(replica_set)
            changed["spec"]["replicas"] = replicas
            self.store.replace(REPLICA_SETS, namespace, changed)

    def _status(self, namespace: str, deployment: Object) -> None:
        sets = self._owned(REPLICA_SETS, namespace, deployment)
        hashed = template_hash(deployment["spec"]["template"])
        wanted = deployment["spec"].get("replicas", 1)
        counts = {"replicas": 0, "updatedReplicas": 0, "readyReplicas": 0, "availableReplicas": 0}
        for each in sets:
            pods = [pod for pod in self._owned(PODS, namespace, each) if _counts(pod)]
            ready = sum(is_ready(pod) for pod in pods)
            counts["replicas"] += len(pods)
            counts["updatedReplicas"] += len(pods) if each["metadata"]["labels"][HASH] == hashed else 0
            counts["readyReplicas"] += ready
            counts["availableReplicas"] += ready
        missing = max(wanted, counts["replicas"]) - counts["availableReplicas"]
        status: dict[str, Any] = {"observedGeneration": deployment["metadata"]["generation"]}
        status |= {name: count for name, count in counts.items() if count}
        status |= {"unavailableReplicas": missing} if missing else {}
        before = {each["type"]: each for each in deployment.get("status", {}).get("conditions", ())}
        done = counts["replicas"] == counts["updatedReplicas"] == counts["availableReplicas"] == wanted
        enough = counts["availableReplicas"] >= wanted
        available = _condition(
            "Available", reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable", holds=enough
        )
        progressing = before.get("Progressing")
        if done:
            progressing = _condition("Progressing", reason="NewReplicaSetAvailable")
        elif progressing is None or progressing["reason"] == "NewReplicaSetCreated":
            progressing = _condition("Progressing", reason="ReplicaSetUpdated")
        others = [each for kind, each in before.items() if kind not in {"Available", "Progressing"}]
        status["conditions"] = [available, progressing, *others]
        self._set_status(namespace, deployment, status)

    def _progress(self, namespace: str, deployment: Object, status: str, reason: str) -> None:
        """Change the condition alone: the rest stays as it was for the last generation."""
        known = copy.deepcopy(deployment.get("status", {}))
        rest = [each for each in known.get("conditions", ()) if each["type"] != "Progressing"]
        known["conditions"] = [*rest, {"type": "Progressing", "status": status, "reason": reason}]
        self._set_status(namespace, deployment, known)

    def _set_status(self, namespace: str, deployment: Object, status: dict[str, Any]) -> None:
        if deployment.get("status") != status:
            self.store.replace(DEPLOYMENTS, namespace, {**deployment, "status": status})

    # ReplicaSets

    def _replica_set(self, namespace: str, replica_set: Object) -> None:
        if "deletionTimestamp" in replica_set["metadata"]:
            return
        pods = [each for each in self._owned(PODS, namespace, replica_set) if _counts(each)]
        for _ in range(replica_set["spec"]["replicas"] - len(pods)):
            self._make_pod(namespace, replica_set)
        surplus = len(pods) - replica_set["spec"]["replicas"]
        for pod in sorted(pods, key=is_ready)[: max(surplus, 0)]:
            self.delete_pod(namespace, pod["metadata"]["name"])

    def _make_pod(self, namespace: str, replica_set: Object) -> None:
        template = copy.deepcopy(replica_set["spec"]["template"])
        self._pods += 1
        suffix = "".join(_SUFFIXES[self._pods // 27**power % 27] for power in range(5))
        self.store.create(
            PODS,
            namespace,
            {
                "metadata": {
                    "name": f"{replica_set['metadata']['name']}-{suffix}",
                    "labels": template["metadata"]["labels"],
                    "ownerReferences": [_owner(replica_set)],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            },
        )

    def delete_pod(self, namespace: str, name: str) -> None:
        """Mark a pod as one that is to end. It is there until the kubelet says that it has."""
        pod = self.store.get(PODS, namespace, name)
        if "deletionTimestamp" not in pod["metadata"]:
            grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
            metadata = {**pod["metadata"], "deletionTimestamp": now(grace), "deletionGracePeriodSeconds": grace}
            self.store.replace(PODS, namespace, {**pod, "metadata": metadata})

    # The kubelet

    def _kubelet(self, namespace: str, pod: Object) -> None:
        name = pod["metadata"]["name"]
        if "deletionTimestamp" in pod["metadata"]:
            self.store.remove(PODS, namespace, name)
        elif not pod["status"].get("containerStatuses"):
            self.set_pod(namespace, name, _started, ready=True)

    def set_pod(self, namespace: str, name: str, state: Callable[[Object], Object], *, ready: bool = False) -> None:
        """Set the state of each container of a pod. `ready`: those that run are."""
        pod = copy.deepcopy(self.store.get(PODS, namespace, name))
        known = {each["name"]: each for each in pod["status"].get("containerStatuses", ())}
        states = {each["name"]: state(each) for each in pod["spec"]["containers"]}
        statuses = [
            _container_status(name, known.get(name), each, ready=ready and "running" in each)
            for name, each in states.items()
        ]
        flag = "True" if all(each["ready"] for each in statuses) else "False"
        reason = {} if flag == "True" else {"reason": "ContainersNotReady"}
        conditions = [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": flag, **reason},
            {"type": "ContainersReady", "status": flag, **reason},
        ]
        pod["status"] = {"phase": "Running", "conditions": conditions, "containerStatuses": statuses}
        self.store.replace(PODS, namespace, pod)

    # The garbage collector

    def _collect(self, namespace: str) -> None:
        """Delete what has lost its owner, or whose owner waits for it."""
        for kind, owners in ((REPLICA_SETS, DEPLOYMENTS), (PODS, REPLICA_SETS)):
            for found in self.store.all(kind, namespace):
                for reference in found["metadata"].get("ownerReferences", ()):
                    owner = self.store.find(owners, namespace, reference["name"])
                    if owner is None or owner["metadata"]["uid"] != reference["uid"]:
                        self._delete(kind, namespace, found, foreground=False)
                    elif FOREGROUND in owner["metadata"].get("finalizers", ()):
                        self._delete(kind, namespace, found, foreground=True)
        for kind, dependents in ((REPLICA_SETS, PODS), (DEPLOYMENTS, REPLICA_SETS)):
            for found in self.store.all(kind, namespace):
                waits = FOREGROUND in found["metadata"].get("finalizers", ())
                if waits and not self._owned(dependents, namespace, found):
                    self.store.remove(kind, namespace, found["metadata"]["name"])

    def _delete(self, kind: Kind, namespace: str, found: Object, *, foreground: bool) -> None:
        if kind is PODS:
            self.delete_pod(namespace, found["metadata"]["name"])
        elif not foreground:
            self.store.remove(kind, namespace, found["metadata"]["name"])
        elif "deletionTimestamp" not in found["metadata"]:
            self.mark(kind, namespace, found)

    def mark(self, kind: Kind, namespace: str, found: Object, finalizer: str = FOREGROUND) -> Object:
        """Delete in the foreground: it goes when all that it owns has gone."""
        metadata = {**found["metadata"], "deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
        metadata["finalizers"] = [finalizer]
        return self.store.replace(kind, namespace, {**found, "metadata": metadata})

    def orphan(self, kind: Kind, namespace: str, found: Object) -> Object:
        """Delete an object, and leave what it owns to itself."""
        marked = self.mark(kind, namespace, found, "orphan")
        for each in self._owned(REPLICA_SETS, namespace, found):
            metadata = {key: value for key, value in each["metadata"].items() if key != "ownerReferences"}
            self.store.replace(REPLICA_SETS, namespace, {**each, "metadata": metadata})
        self.store.remove(kind, namespace, found["metadata"]["name"])
        return marked

    def _owned(self, kind: Kind, namespace: str, owner: Object) -> list[Object]:
        uid = owner["metadata"]["uid"]
        return [
            each
            for each in self.store.all(kind, namespace)
            if any(reference["uid"] == uid for reference in each["metadata"].get("ownerReferences", ()))
        ]

    def _available(self, namespace: str, replica_set: Object) -> int:
        return sum(is_ready(pod) and _counts(pod) for pod in self._owned(PODS, namespace, replica_set))


def template_hash(template: Object) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def running() -> Object:
    return {"running": {"startedAt": now()}}


def _started(container: Object) -> Object:
    """What becomes of a container that is started: it runs, unless its command is not there."""
    command = (container.get("command") or [""])[0]
    if command.startswith("/nonexistent/"):
        return waiting("RunContainerError", f'exec: "{command}": stat {command}: no such file or directory')
    return running()


def waiting(reason: str, message: str | None = None) -> Object:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def terminated(code: int, reason: str = "Error") -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": now(), "finishedAt": now()}}


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _counts(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] not in {"Failed", "Succeeded"}


def _owner(found: Object) -> Object:
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "name": found["metadata"]["name"],
        "uid": found["metadata"]["uid"],
        "controller": True,
    }


def _condition(kind: str, *, reason: str, holds: bool = True) -> Object:
    return {"type": kind, "status": "True" if holds else "False", "reason": reason}


def _container_status(name: str, known: Object | None, state: Object, *, ready: bool) -> Object:
    """`restartCount` rises when the next run starts, not when the last one ends."""
    before = known or {"state": {}, "lastState": {}, "restartCount": 0}
    ended = before["state"].get("terminated")
    last = {"terminated": ended} if ended and "terminated" not in state else before["lastState"]
    restarts = before["restartCount"] + ("running" in state and bool(last) and "running" not in before["state"])
    return {"name": name, "state": state, "lastState": last, "ready": ready, "restartCount": restarts}
