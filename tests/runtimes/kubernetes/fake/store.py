"""The objects, their versions, and the log from which watches are served."""

import asyncio
import copy
import dataclasses
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.runtimes.kubernetes.fake import failures
from tests.runtimes.kubernetes.fake.fields import Object, Owners


@dataclasses.dataclass(frozen=True)
class Kind:
    """A resource as its paths name it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS = {
    (each.group, each.plural): each
    for each in (
        Kind("", "v1", "pods", "Pod"),
        Kind("", "v1", "services", "Service"),
        Kind("", "v1", "secrets", "Secret"),
        Kind("", "v1", "configmaps", "ConfigMap"),
        Kind("apps", "v1", "deployments", "Deployment"),
        Kind("apps", "v1", "replicasets", "ReplicaSet"),
        Kind("networking.k8s.io", "v1", "ingresses", "Ingress"),
        Kind("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute"),
    )
}
PODS = KINDS["", "pods"]
DEPLOYMENTS = KINDS["apps", "deployments"]
REPLICA_SETS = KINDS["apps", "replicasets"]

# Kinds whose metadata counts the generations of what is asked of them.
_COUNTED = frozenset({"deployments", "replicasets", "ingresses", "httproutes"})


@dataclasses.dataclass(frozen=True)
class Change:
    """One entry of the log: an object before and after, None where it was not or is no more."""

    version: int
    kind: Kind
    namespace: str
    before: Object | None
    after: Object | None


def now(later_seconds: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=later_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """All objects of all namespaces. `changed` is called after each change."""

    def __init__(self) -> None:
        self.version = 1_000
        self.oldest = 0
        self.log: list[Change] = []
        self.changed: Callable[[Change], None] = lambda _: None
        self._objects: dict[tuple[str, str, str, str], Object] = {}
        self._owners: dict[str, Owners] = {}
        self._arrived = asyncio.Event()

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object itself, which is not to be changed."""
        return self._objects.get((kind.group, kind.plural, namespace, name))

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self.find(kind, namespace, name)
        if found is None:
            raise failures.not_found(kind, name)
        return found

    def all(self, kind: Kind, namespace: str) -> list[Object]:
        """The objects of a kind in a namespace, by name."""
        return [
            found for key, found in sorted(self._objects.items()) if key[:3] == (kind.group, kind.plural, namespace)
        ]

    def owners(self, found: Object) -> Owners:
        return self._owners.setdefault(found["metadata"]["uid"], Owners())

    def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        metadata = {
            "name": body["metadata"]["name"],
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now(),
            **{key: value for key, value in body["metadata"].items() if key != "resourceVersion"},
        }
        if kind.plural in _COUNTED:
            metadata["generation"] = 1
        made = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        made |= {key: value for key, value in body.items() if key not in made}
        return self._write(kind, namespace, None, made)

    def replace(self, kind: Kind, namespace: str, after: Object) -> Object:
        """Write an object that is there; one that is the same as before is not written."""
        before = self.get(kind, namespace, after["metadata"]["name"])
        after = copy.deepcopy(after)
        after["metadata"] |= {key: before["metadata"][key] for key in ("uid", "creationTimestamp", "resourceVersion")}
        if kind.plural in _COUNTED:
            after["metadata"]["generation"] = before["metadata"]["generation"]
        if after == before:
            return before
        if kind.plural in _COUNTED and _asked(after) != _asked(before):
            after["metadata"]["generation"] += 1
        return self._write(kind, namespace, before, after)

    def remove(self, kind: Kind, namespace: str, name: str) -> Object:
        """Take an object out of the world. Answers it as it was."""
        before = self.get(kind, namespace, name)
        del self._objects[kind.group, kind.plural, namespace, name]
        self._log(kind, namespace, before, None)
        return before

    def _write(self, kind: Kind, namespace: str, before: Object | None, after: Object) -> Object:
        after = copy.deepcopy(after)
        after["metadata"]["resourceVersion"] = str(self.version + 1)
        self._objects[kind.group, kind.plural, namespace, after["metadata"]["name"]] = after
        self._log(kind, namespace, before, after)
        return after

    def _log(self, kind: Kind, namespace: str, before: Object | None, after: Object | None) -> None:
        self.version += 1
        change = Change(self.version, kind, namespace, before, after)
        self.log.append(change)
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
        self.changed(change)

    def arrival(self) -> asyncio.Event:
        """Set when something happens next."""
        return self._arrived

    def since(self, version: int, kind: Kind, namespace: str) -> Iterator[Change]:
        """What happened after a version.

        Raises:
            Failure: the version is older than what is kept.
        """
        if version < self.oldest:
            raise failures.expired(version, self.oldest)
        for change in self.log:
            if change.version > version and (change.kind, change.namespace) == (kind, namespace):
                yield change


def _asked(found: Object) -> Any:
    """What counts as another generation: of a Deployment its annotations as well, but not those of its controller."""
    metadata = found["metadata"]
    annotations = {
        key: value
        for key, value in metadata.get("annotations", {}).items()
        if not key.startswith("deployment.kubernetes.io/")
    }
    return found.get("spec"), annotations if found["kind"] == "Deployment" else None, metadata.get("deletionTimestamp")
