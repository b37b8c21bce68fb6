"""The `kubernetes` runtime: a workload is a Deployment and a Service in a namespace of a cluster.

All objects of a workload are named after its id and labelled with it and with the installation; each launch is a
ReplicaSet of the Deployment, so that the cluster brings the new one up beside the old, restarts and probes it.
`app.domain.manifests` writes them. What there is of them is mirrored from watches, and `kubernetes_status` reads it.
Nothing is remembered here that the cluster does not tell, except what it refused, since it keeps no record of that.

A launch is applied once: what its pods are made from stays as it was, whatever is asked for later under its number, so
that a rotated credential or a newer Slipway restarts nothing. Only the replicas follow.
"""

import asyncio
import base64
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from uuid import UUID

import structlog

from app.domain import ids, manifests, references
from app.domain.logs import LogLine, LogQuery
from app.domain.observations import Observation, Refusal, Rollout
from app.domain.specification import Specification
from app.domain.wanted import WantedLaunch, WantedWorkload
from app.runtimes import kubernetes_access as access, kubernetes_errors as errors, kubernetes_logs, kubernetes_status
from app.runtimes.base import Health, RuntimeUnavailable
from app.runtimes.kubernetes_client import (
    DEPLOYMENTS,
    HTTP_ROUTES,
    INGRESSES,
    PODS,
    REPLICA_SETS,
    RESOURCES,
    SECRETS,
    SERVICES,
    ApiError,
    Client,
    Object,
    Resource,
    Timing,
)
from app.runtimes.kubernetes_mirror import SECRETS_READ, Mirror, workload_of

RegistryCredentials = Callable[[str], tuple[str, str] | None]
"""Username and password for a registry, as image references name it ("docker.io", "registry.example:5000"), if any."""

# So long after a watch broke what was seen by it still counts.
PATIENCE_SECONDS = 10.0
RIGHTS_SECONDS = 60.0

_log = structlog.get_logger(__name__)


def no_credentials(_: str) -> None:
    """For images that anybody may pull."""


class KubernetesRuntime:
    """Runs workloads in one namespace of a cluster."""

    name = "kubernetes"
    exclusive = False
    self_healing = True
    notice: str | None = None

    def __init__(
        self,
        cluster: manifests.Cluster,
        *,
        credentials: RegistryCredentials = no_credentials,
        environ: Mapping[str, str] = os.environ,
        timing: Timing | None = None,
    ) -> None:
        self.cluster = cluster
        self._credentials = credentials
        self._timing = timing or Timing()
        self._client = Client(environ, self._timing)
        self._changed: Callable[[UUID], None] = lambda _: None
        self._mirrors: Mapping[str, Mirror] = {}
        self._tasks: list[asyncio.Task[None]] = []
        # What the cluster refused last, by workload.
        self._refused: dict[UUID, Rollout] = {}
        self._rights_at = -RIGHTS_SECONDS
        self._missing: Sequence[str] = ()

    async def open(self, changed: Callable[[UUID], None]) -> None:
        """Begin: connect, and mirror what there is."""
        await self._client.open()
        self._changed = changed
        resources = [DEPLOYMENTS, PODS, SERVICES, SECRETS, *([self._routes] if self._routes else [])]
        self._mirrors = {each.kind: self._mirror(each) for each in resources}
        self._tasks = [asyncio.create_task(each.run()) for each in self._mirrors.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.first_list_seconds):
                await asyncio.gather(*(each.listed.wait() for each in self._mirrors.values()))

    async def close(self, *, at_once: bool = False) -> None:  # noqa: ARG002  nothing here ends with the server
        """End. What runs goes on."""
        tasks, self._tasks, self._mirrors = self._tasks, [], {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def check(self) -> Health:
        """Whether the cluster can be used now."""
        try:
            self._fresh()
            found = await access.version(self._client)
            await access.find_namespace(self._client, self.cluster.namespace)
            if time.monotonic() - self._rights_at >= RIGHTS_SECONDS:
                self._missing = await access.missing_rights(self._client, self.cluster.namespace, self._routes)
                self._rights_at = time.monotonic()
        except ApiError as error:
            return Health(available=False, message=str(errors.explain(error, self.cluster.namespace)))
        except RuntimeUnavailable as error:
            return Health(available=False, message=str(error))
        except Exception as error:  # noqa: BLE001  # an answer that makes no sense
            _log.error("kubernetes_check_failed", exc_info=error)
            return Health(available=False, message="The Kubernetes API server gives answers that make no sense.")
        where = f"Kubernetes {found}, namespace {self.cluster.namespace}"
        if self._missing:
            return Health(available=False, message=f"{where}: Slipway lacks the rights to {', '.join(self._missing)}.")
        return Health(available=True, message=f"{where}.")

    def refusal(self, specification: Specification) -> Refusal | None:  # noqa: ARG002  the cluster itself says no
        """Nothing is refused here: what a cluster does not want it refuses when it is asked."""
        return None

    def endpoint(self, workload_id: UUID) -> str:
        """The address of a workload for as long as it lives."""
        return self.cluster.endpoint(workload_id)

    async def observe(self, workload_ids: Collection[UUID]) -> Mapping[UUID, Observation]:
        """What there is of these workloads.

        Also removes Secrets that a rollout left behind: whoever asks about a workload has it for themselves.
        """
        self._fresh()
        found = {each: seen for each in workload_ids if (seen := self._look(each)) is not None}
        await asyncio.gather(*(self._tidy(workload_id, seen) for workload_id, seen in found.items()))
        return found

    async def apply(self, workload: WantedWorkload) -> None:
        """Ask the cluster for the last of the launches. One that it refuses is told by `observe`."""
        wanted = workload.launches[-1]
        try:
            await self._apply(workload, wanted)
        except ApiError as error:
            if error.status == HTTPStatus.CONFLICT:
                return  # someone changed it meanwhile, and the watch will tell
            refused = errors.refusal(error)
            if refused is None:
                raise self._failed(error) from error
            self._refused[workload.id] = Rollout(
                wanted.number,
                wanted.replicas,
                complete=False,
                failed=True,
                reason=refused.reason,
                message=refused.message,
            )
            self._changed(workload.id)
        else:
            self._refused.pop(workload.id, None)

    async def remove(self, workload_id: UUID) -> None:
        """Have the cluster delete all that it has of a workload. It is gone when the last of its pods has ended."""
        self._fresh()
        self._refused.pop(workload_id, None)
        label = manifests.label_of(workload_id)
        try:
            for kind, mirror in self._mirrors.items():
                for found in mirror.of(label) if kind != PODS.kind else ():
                    if not kubernetes_status.is_going(found):
                        await self._delete(mirror, found)
            if not self._mirrors[DEPLOYMENTS.kind].of(label):
                await self._delete_orphans(label)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:  # it is another one by now, of which the watch will tell
                raise self._failed(error) from error

    async def owned(self) -> Collection[UUID]:
        """All workloads of this installation of which there is anything."""
        self._fresh()
        labels = {label for mirror in self._mirrors.values() for label in mirror.workloads}
        return {found for label in labels if (found := ids.decode_as(ids.Kind.WORKLOAD, label)) is not None}

    async def logs(self, workload_id: UUID, query: LogQuery) -> Sequence[LogLine]:
        """The newest lines of all pods of a workload that match, also of the run before, where there was one."""
        self._fresh()
        pods = self._mirrors[PODS.kind].of(manifests.label_of(workload_id))
        try:
            return await kubernetes_logs.read(self._client, self.cluster.namespace, pods, query)
        except ApiError as error:
            raise self._failed(error) from error

    @property
    def _routes(self) -> Resource | None:
        """The kind of what leads to workloads from outside."""
        if self.cluster.domain is None:
            return None
        return INGRESSES if self.cluster.gateway is None else HTTP_ROUTES

    def _mirror(self, resource: Resource) -> Mirror:
        return Mirror(self._client, resource, self.cluster.namespace, manifests.selector(self.cluster), self._tell)

    def _tell(self, found: Object) -> None:
        workload_id = ids.decode_as(ids.Kind.WORKLOAD, workload_of(found))
        if workload_id is not None:
            self._changed(workload_id)

    def _failed(self, error: ApiError) -> Exception:
        return error if errors.is_own_fault(error) else errors.explain(error, self.cluster.namespace)

    def _fresh(self) -> None:
        """Make sure that what is mirrored is what there is."""
        if not self._mirrors:
            raise RuntimeUnavailable("The kubernetes runtime is not open.")
        for mirror in self._mirrors.values():
            failure = mirror.failure
            if mirror.listed.is_set() and (
                failure is None or time.monotonic() - mirror.failing_since < PATIENCE_SECONDS
            ):
                continue
            if isinstance(failure, RuntimeUnavailable):
                raise RuntimeUnavailable(str(failure))
            if isinstance(failure, ApiError):
                raise errors.explain(failure, self.cluster.namespace)
            raise RuntimeUnavailable("The Kubernetes API server has not told yet what there is.")

    def _look(self, workload_id: UUID) -> Observation | None:
        seen = self._read(workload_id)
        if workload_id in self._refused:
            seen = dataclasses.replace(seen or Observation({}), rollout=self._refused[workload_id])
        elif seen is not None and seen.rollout is not None and self._lacks_something(workload_id):
            # As if it had not been asked for, so that it is.
            seen = dataclasses.replace(seen, rollout=None)
        return seen

    def _read(self, workload_id: UUID) -> Observation | None:
        """What is mirrored of a workload."""
        label = manifests.label_of(workload_id)
        found = {kind: mirror.of(label) for kind, mirror in self._mirrors.items()}
        if not any(found.values()):
            return None
        deployment = self._mirrors[DEPLOYMENTS.kind].get(manifests.name_of(workload_id))
        return kubernetes_status.observe(deployment, found[PODS.kind], found[SECRETS.kind])

    def _lacks_something(self, workload_id: UUID) -> bool:
        """Whether someone deleted what belongs beside the Deployment: the way to it, or Secrets that its pods read."""
        name = manifests.name_of(workload_id)
        deployment = self._mirrors[DEPLOYMENTS.kind].get(name) or {}
        ways = [SERVICES, *([self._routes] if self._routes else [])]
        secrets: Collection[str] = deployment.get(SECRETS_READ, ())
        return any(self._mirrors[each.kind].get(name) is None for each in ways) or any(
            self._mirrors[SECRETS.kind].get(each) is None for each in secrets
        )

    async def _apply(self, workload: WantedWorkload, wanted: WantedLaunch) -> None:
        owner = manifests.of_workload(self.cluster, workload.id)
        present = await self._find(owner.name)
        if present is not None and kubernetes_status.is_going(present):
            return  # what is asked of it now would go with it
        credentials = self._credentials_for(workload)
        for manifest in manifests.surroundings(self.cluster, owner, wanted, credentials):
            await self._put(manifest)
        version = {} if present is None else {"resourceVersion": present["metadata"]["resourceVersion"]}
        is_there = present is not None and kubernetes_status.launch_of(present["spec"]["template"]) == wanted.number
        if wanted.containers:
            *secrets, deployment = manifests.rollout(self.cluster, owner, wanted, credentials)
            for secret in secrets:
                if not is_there or self._mirrors[SECRETS.kind].get(secret["metadata"]["name"]) is None:
                    await self._put(secret)
            if not is_there:
                deployment["metadata"] |= version
                await self._put(deployment)
        if present is not None and is_there and present["spec"].get("replicas") != wanted.replicas:
            changes = {"metadata": version, "spec": {"replicas": wanted.replicas}}
            self._wrote(await self._client.merge(DEPLOYMENTS, self.cluster.namespace, owner.name, changes))

    def _credentials_for(self, workload: WantedWorkload) -> manifests.Credentials:
        images = {each.image for launch in workload.launches for each in launch.containers}
        parsed = [references.parse(image) for image in images]
        registries = sorted({each.registry for each in parsed if not isinstance(each, str)})
        return {each: known for each in registries if (known := self._credentials(each)) is not None}

    async def _find(self, name: str) -> Object | None:
        """The Deployment as it is now: what is mirrored may be behind."""
        try:
            found: Object = await self._client.get(DEPLOYMENTS.path(self.cluster.namespace, name))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found

    async def _put(self, manifest: Object) -> None:
        resource = RESOURCES[manifest["kind"]]
        self._wrote(await self._client.apply(resource, self.cluster.namespace, _encoded(manifest)))

    def _wrote(self, written: Object) -> None:
        self._mirrors[written["kind"]].wrote(written)

    async def _delete(self, mirror: Mirror, found: Object) -> None:
        """Delete one object; a Deployment so that it is there until its pods have gone."""
        name, uid = found["metadata"]["name"], found["metadata"]["uid"]
        propagation = "Foreground" if mirror.resource is DEPLOYMENTS else "Background"
        path = mirror.resource.path(self.cluster.namespace, name)
        answer = await self._client.delete(path, propagation=propagation, uid=uid)
        # Some kinds answer with the object as it was before it went, some with a word.
        if answer is not None and "deletionTimestamp" in answer.get("metadata", {}):
            mirror.wrote(answer)
        else:
            mirror.deleted(name, uid)

    async def _delete_orphans(self, label: str) -> None:
        """Delete pods whose Deployment went without them, as `kubectl delete --cascade=orphan` does it."""
        if all(kubernetes_status.is_going(pod) for pod in self._mirrors[PODS.kind].of(label)):
            return
        selector = {"labelSelector": f"{manifests.selector(self.cluster)},{manifests.WORKLOAD_LABEL}={label}"}
        for resource in (REPLICA_SETS, PODS):
            path = resource.path(self.cluster.namespace)
            await self._client.delete(path, selector, propagation="Background")

    async def _tidy(self, workload_id: UUID, seen: Observation) -> None:
        """Delete the Secrets of launches that are over, once nothing uses them."""
        rollout = seen.rollout
        if rollout is None or not rollout.complete:
            return
        label = manifests.label_of(workload_id)
        used = {rollout.launch, *map(kubernetes_status.launch_of, self._mirrors[PODS.kind].of(label))}
        mirror = self._mirrors[SECRETS.kind]
        over = [each for each in mirror.of(label) if kubernetes_status.launch_of(each) not in {None, *used}]
        if not over:
            return
        try:
            # What is mirrored of the Deployment may be older than the Secret of its next launch.
            present = await self._find(manifests.name_of(workload_id))
            if present is not None and kubernetes_status.launch_of(present["spec"]["template"]) == rollout.launch:
                for secret in over:
                    await self._delete(mirror, secret)
        except (ApiError, RuntimeUnavailable) as error:  # there is time for that
            _log.warning("kubernetes_secrets_not_deleted", workload_id=str(workload_id), error=str(error))


def _encoded(manifest: Object) -> Object:
    """A manifest as it is applied: `stringData` loses track of keys when it is applied by the server.

    https://kubernetes.io/docs/concepts/configuration/secret/#restriction-names-data
    """
    if "stringData" not in manifest:
        return manifest
    rest = {key: value for key, value in manifest.items() if key != "stringData"}
    values: Mapping[str, str] = manifest["stringData"]
    return {**rest, "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}}
