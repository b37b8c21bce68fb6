"""What a cluster has of one kind of objects, kept up to date: a list, then a watch from where the list ends.

A watch goes on from the newest version that it has seen, bookmarks included. Where the server does not know that one
any more (410), or said nothing at all on a stream, as it does for a version from the future after etcd was restored,
everything is listed anew. https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog

from app.domain.manifests import WORKLOAD_LABEL
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.kubernetes_client import DEPLOYMENTS, PODS, ApiError, Client, Object, Resource

SECRETS_READ = "secretsRead"
"""Where the names of Secrets stand that the pods of a Deployment read: no field of the API's, it is put there here."""

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class Mirror:
    """The objects of one resource that a selector finds, by name and by workload, without what nobody here asks for.

    `changed` is called with each object that came, changed or went, and with all of them after a failure.
    """

    def __init__(
        self, client: Client, resource: Resource, namespace: str, selector: str, changed: Callable[[Object], None]
    ) -> None:
        self.resource = resource
        self.listed = asyncio.Event()
        """Whether everything has been listed once."""
        self.failure: Exception | None = None
        """Why it is not up to date, since `failing_since` on the monotonic clock; None while it is."""
        self.failing_since = 0.0
        self._client = client
        self._namespace = namespace
        self._selector = selector
        self._changed = changed
        self._objects: dict[str, Object] = {}
        self._names: dict[str, set[str]] = {}
        self._version: str | None = None
        self._failures = 0
        # What was deleted here and may still be told of, by its uid.
        self._deleted: set[str] = set()
        # What was written here while a list is under way, which may know nothing of it.
        self._meanwhile: list[Object] | None = None

    def of(self, workload: str) -> list[Object]:
        """The objects that are labelled with a workload."""
        return [self._objects[name] for name in self._names.get(workload, ())]

    def get(self, name: str) -> Object | None:
        """The object of this name."""
        return self._objects.get(name)

    @property
    def workloads(self) -> Collection[str]:
        """The labels of all workloads that have any of these objects."""
        return self._names.keys()

    async def run(self) -> None:
        """Keep it up to date, for ever."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
                self._failures = 0
            except Exception as error:  # noqa: BLE001  # whatever it is, the next attempt may fare better
                if isinstance(error, ApiError):
                    self._version = None
                await asyncio.sleep(self._fails(error))

    def _works(self) -> None:
        if self.failure is not None:
            self.failure = None
            for each in self._objects.values():
                self._changed(each)

    def _fails(self, error: Exception) -> float:
        """Note a failure. Answers how long to wait before the next attempt, in seconds."""
        pause = min(FIRST_PAUSE_SECONDS * (1 << min(self._failures, 10)), LONGEST_PAUSE_SECONDS)
        self._failures += 1
        if isinstance(error, ApiError) and error.status == HTTPStatus.GONE:
            return 0.0 if self._failures == 1 else pause
        if self.failure is None:
            self.failing_since = time.monotonic()
        self.failure = error
        if not isinstance(error, ApiError | RuntimeUnavailable):
            _log.error("kubernetes_watch_failed", resource=self.resource.plural, exc_info=error)
        asked_for = error.retry_after if isinstance(error, ApiError) else None
        return max(pause, min(asked_for or 0.0, LONGEST_PAUSE_SECONDS))

    async def _list(self) -> None:
        meanwhile: list[Object] = []
        self._meanwhile = meanwhile
        try:
            page = await self._client.list(self.resource, self._namespace, self._selector)
        finally:
            self._meanwhile = None
        newer = [each for each in meanwhile if _version(each) > int(page.version)]
        self.replace([*page.items, *newer])
        self._version = page.version
        self._works()

    async def _watch(self) -> None:
        """Follow what happens until the stream ends."""
        assert self._version is not None  # noqa: S101  it has just been listed
        silent = True
        async with self._client.watch(self.resource, self._namespace, self._selector, self._version) as events:
            self._works()
            async for event in events:
                silent = False
                self.take(event)
                self._version = event["object"]["metadata"]["resourceVersion"]
        if silent:
            self._version = None

    def replace(self, items: Sequence[Object]) -> None:
        """Have these objects and no others. Of two of one name the later one counts."""
        former = self._objects
        unheard_of = self._deleted & {item["metadata"]["uid"] for item in items}
        self._objects, self._names, self._deleted = {}, {}, unheard_of
        for item in items:
            if item["metadata"]["uid"] not in unheard_of:
                self._keep(item)
        for name in former.keys() | self._objects.keys():
            before, after = former.get(name), self._objects.get(name)
            if after is None and before is not None:
                self._changed(before)
            elif after is not None and (before is None or _version(before) != _version(after)):
                self._changed(after)
        self.listed.set()

    def take(self, event: Mapping[str, Any]) -> None:
        """Take in an event of a watch."""
        if event["type"] == "DELETED":
            self._drop(event["object"])
        elif event["type"] != "BOOKMARK":
            self._put(event["object"])

    def wrote(self, written: Object) -> None:
        """Take in what the server answered to a change made here, ahead of the watch that will tell of it."""
        if self._meanwhile is not None:
            self._meanwhile.append(written)
        self._put(written)

    def deleted(self, name: str, uid: str) -> None:
        """An object was deleted here, and is gone: the watch may still tell of changes before that."""
        self._deleted.add(uid)
        found = self._objects.get(name)
        if found is not None and found["metadata"]["uid"] == uid:
            self._forget(found)
            self._changed(found)

    def _put(self, found: Object) -> None:
        known = self._objects.get(found["metadata"]["name"])
        # A change made here is known before the watch tells of those that led to it.
        if found["metadata"]["uid"] in self._deleted or (known is not None and _version(known) >= _version(found)):
            return
        self._keep(found)
        self._changed(found)

    def _drop(self, found: Object) -> None:
        self._deleted.discard(found["metadata"]["uid"])
        known = self._objects.get(found["metadata"]["name"])
        if known is not None and known["metadata"]["uid"] == found["metadata"]["uid"]:
            self._forget(known)
            self._changed(known)

    def _keep(self, found: Object) -> None:
        name = found["metadata"]["name"]
        known = self._objects.get(name)
        if known is not None:
            self._forget(known)
        self._objects[name] = slim(self.resource, found)
        self._names.setdefault(workload_of(found), set()).add(name)

    def _forget(self, known: Object) -> None:
        name, workload = known["metadata"]["name"], workload_of(known)
        del self._objects[name]
        self._names[workload].discard(name)
        if not self._names[workload]:
            del self._names[workload]


def slim(resource: Resource, found: Object) -> Object:
    """An object without what nobody here asks for: of thousands of pods each variable would be kept."""
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    if resource.metadata_only:  # a server that does not know how to leave the rest out sends it
        return {"metadata": metadata}
    kept = {**found, "metadata": metadata}
    if resource is PODS:
        kept["spec"] = {"containers": [{"name": each["name"]} for each in found["spec"]["containers"]]}
    elif resource is DEPLOYMENTS:
        template = found["spec"]["template"]
        kept["spec"] = {**found["spec"], "template": {"metadata": template.get("metadata")}}
        kept[SECRETS_READ] = _secrets_read(template.get("spec") or {})
    return kept


def _secrets_read(pod: Mapping[str, Any]) -> set[str]:
    """The names of the Secrets without which a pod does not start."""
    pull = {each["name"] for each in pod.get("imagePullSecrets") or ()}
    variables = [each for container in pod.get("containers") or () for each in container.get("env") or ()]
    references = [(each.get("valueFrom") or {}).get("secretKeyRef") for each in variables]
    return pull | {each["name"] for each in references if each is not None}


def workload_of(found: Object) -> str:
    """The label of the workload that an object belongs to."""
    return str(found["metadata"].get("labels", {}).get(WORKLOAD_LABEL, ""))


def _version(found: Object) -> int:
    """Versions of one kind of objects are numbers that grow, of whatever name.

    https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/5504-comparable-resource-version
    """
    return int(found["metadata"]["resourceVersion"])
