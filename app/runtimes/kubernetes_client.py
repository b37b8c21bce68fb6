"""The connection to a Kubernetes API server: requests, lists and watches, and what goes wrong with them.

kubernetes_asyncio finds the server and the credentials (docs/decisions/009-kubernetes-asyncio.md says why). Of the
rest of it only the call that sends one request is used: objects are plain values here, and what its helpers for lists
and watches swallow (410, bookmarks, errors in a stream) has to be seen.
"""

import asyncio
import contextlib
import dataclasses
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson
import structlog
from kubernetes_asyncio import client as library, config

from app.runtimes import kubernetes_account
from app.runtimes.base import RuntimeUnavailable

Object = dict[str, Any]

PAGE_ITEMS = 500
PAGES_MAXIMUM = 1_000
# What a server that is busy may ask for is waited for here; a longer time is left to the one who asks again.
RETRY_AFTER_MAXIMUM_SECONDS = 3.0
ATTEMPTS = 3
# Longer than an answer may take, so that nothing waits for one any more when a former connection is closed.
RENEW_AFTER_SECONDS = 15.0
CREDENTIALS_SECONDS = 30.0

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_ONLY_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
FIELD_MANAGER = "slipway"

_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_log = structlog.get_logger(__name__)


class ApiError(Exception):
    """The server's no. `reason` is the one for machines, such as "NotFound", and as `causes` may be empty."""

    def __init__(self, status: int, document: Any, retry_after: float | None = None) -> None:
        known: Mapping[str, Any] = document if isinstance(document, dict) else {}
        self.status = status
        self.reason = str(known.get("reason") or "")
        self.message = str(known.get("message") or f"the server answered {status}")
        details = known.get("details") or {}
        self.causes: tuple[Mapping[str, Any], ...] = tuple(details.get("causes") or ())
        self.kind = str(details.get("kind") or "")
        self.retry_after = retry_after
        super().__init__(f"{status} {self.reason}: {self.message}")


class Unreachable(RuntimeUnavailable):
    """No answer from the server, or not in time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects, as its paths name it. `metadata_only`: of its objects, only that is ever fetched."""

    group_version: str
    plural: str
    kind: str
    metadata_only: bool = False

    def path(self, namespace: str, name: str | None = None) -> str:
        """The path of all objects of a namespace, or of one. Example: `/apis/apps/v1/namespaces/a/deployments/b`."""
        root = "apis" if "/" in self.group_version else "api"
        path = f"/{root}/{self.group_version}/namespaces/{namespace}/{self.plural}"
        return path if name is None else f"{path}/{name}"


DEPLOYMENTS = Resource("apps/v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps/v1", "replicasets", "ReplicaSet")
PODS = Resource("v1", "pods", "Pod")
SERVICES = Resource("v1", "services", "Service", metadata_only=True)
SECRETS = Resource("v1", "secrets", "Secret", metadata_only=True)
INGRESSES = Resource("networking.k8s.io/v1", "ingresses", "Ingress", metadata_only=True)
HTTP_ROUTES = Resource("gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute", metadata_only=True)

RESOURCES = {each.kind: each for each in (DEPLOYMENTS, REPLICA_SETS, PODS, SERVICES, SECRETS, INGRESSES, HTTP_ROUTES)}


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """How long to wait for the server, in seconds."""

    connect_seconds: float = 5.0
    answer_seconds: float = 10.0
    # The server ends a watch after this, and sends a bookmark shortly before.
    watch_seconds: int = 30
    # One that it does not end is given up.
    watch_grace_seconds: float = 10.0
    # How long to wait at the start until everything has been listed.
    first_list_seconds: float = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """All that a list found, and the version from which a watch goes on."""

    items: list[Object]
    version: str


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request. A stream may be silent for `silence_seconds`; anything else has to be answered as a whole."""

    method: str
    path: str
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Object | None = dataclasses.field(default=None, repr=False)
    content_type: str = "application/json"
    accept: str = "application/json"
    silence_seconds: float | None = None


class Client:
    """Talks to the API server that KUBECONFIG names, else to that of the cluster in which it runs."""

    def __init__(self, environ: Mapping[str, str], timing: Timing) -> None:
        self.timing = timing
        self._environ = environ
        self._api: library.ApiClient | None = None
        self._former: library.ApiClient | None = None
        self._renewing = asyncio.Lock()
        self._renewed_at = -math.inf

    async def open(self) -> None:
        """Find the server and the credentials.

        Raises:
            RuntimeUnavailable: they can't be found.
        """
        self._api = await self._connect()

    async def close(self) -> None:
        """Close all connections."""
        open_ones = [api for api in (self._api, self._former) if api is not None]
        self._api = self._former = None
        for api in open_ones:
            await api.close()

    async def _connect(self) -> library.ApiClient:
        try:
            async with asyncio.timeout(CREDENTIALS_SECONDS):
                api = library.ApiClient(await self._configuration())
        except RuntimeUnavailable:
            raise
        except Exception as error:  # it reads files and runs programs that others wrote
            # Only what the library says of the form is shown: other errors quote the file, which has secrets in it.
            said = str(error) if isinstance(error, config.ConfigException) else type(error).__name__
            _log.error("kubernetes_credentials_unusable", error=said)
            named = "KUBECONFIG" if self._environ.get("KUBECONFIG") else "the service account of this pod"
            raise RuntimeUnavailable(
                f"The Kubernetes cluster can't be used: {named} can't be read, or gives no credentials. "
                "The log of the server says more."
            ) from error
        api.user_agent = FIELD_MANAGER
        return api

    async def _configuration(self) -> library.Configuration:
        found = library.Configuration()
        path = self._environ.get("KUBECONFIG")
        if path:
            await config.load_kube_config(path, client_configuration=found, persist_config=False)
        elif kubernetes_account.in_cluster(self._environ):
            load: Callable[..., None] = config.load_incluster_config
            account = kubernetes_account.SERVICE_ACCOUNT
            files = {"token_filename": account / "token", "cert_filename": account / "ca.crt"}
            load(found, environ=dict(self._environ), **{name: str(path) for name, path in files.items()})
        else:
            raise RuntimeUnavailable(
                "No Kubernetes cluster is configured: set KUBECONFIG, or run Slipway in a pod with a service account."
            )
        return found

    async def _renew(self, refused: library.ApiClient) -> bool:
        """Find the credentials anew, as they may have been replaced; not more often than every few seconds.

        Answers whether there are others than those that were refused.
        """
        async with self._renewing:
            if self._api is not refused:
                return True
            if time.monotonic() - self._renewed_at < RENEW_AFTER_SECONDS:
                return False
            api = await self._connect()
            if self._former is not None:
                await self._former.close()
            # What is under way ends in its own time.
            self._former, self._api = self._api, api
            self._renewed_at = time.monotonic()
        return True

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """What stands at a path: a JSON value.

        Raises:
            ApiError: the server says no.
            RuntimeUnavailable: it can't be asked.
        """
        return await self._ask(Request("GET", path, query or {}))

    async def read(self, path: str, query: Mapping[str, str]) -> bytes:
        """What stands at a path that does not answer with JSON; errors as for `get`."""
        return await self._request(Request("GET", path, query))

    async def create(self, path: str, body: Object) -> Any:
        """Create an object, and answer it; errors as for `get`."""
        return await self._ask(Request("POST", path, body=body))

    async def apply(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Make an object what is given, and keep what others added to it; errors as for `get`.

        With a `resourceVersion` in it, it has to be that version, or the answer is 409.
        """
        path = resource.path(namespace, body["metadata"]["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        applied: Object = await self._ask(Request("PATCH", path, query, body, APPLY))
        return applied

    async def merge(self, resource: Resource, namespace: str, name: str, changes: Object) -> Object:
        """Change some fields of an object; as `apply`."""
        query = {"fieldManager": FIELD_MANAGER}
        request = Request("PATCH", resource.path(namespace, name), query, changes, MERGE)
        changed: Object = await self._ask(request)
        return changed

    async def delete(
        self, path: str, query: Mapping[str, str] | None = None, *, propagation: str, uid: str | None = None
    ) -> Object | None:
        """Delete one object, or all that a selector finds. Answers what the server says; None where nothing is.

        With `uid`, only if it is still that one. Errors as for `get`.
        """
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            deleted: Object = await self._ask(Request("DELETE", path, query or {}, options))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return deleted

    async def list(self, resource: Resource, namespace: str, selector: str) -> Page:
        """All objects that a label selector finds, as they are now; errors as for `get`."""
        query = {"labelSelector": selector, "limit": str(PAGE_ITEMS)}
        accept = METADATA_ONLY_LIST if resource.metadata_only else "application/json"
        items: list[Object] = []
        for _ in range(PAGES_MAXIMUM):
            found = await self._ask(Request("GET", resource.path(namespace), query, accept=accept))
            items += found.get("items") or []
            following = found["metadata"].get("continue")
            if not following:
                return Page(items, found["metadata"]["resourceVersion"])
            query["continue"] = following
        raise Unreachable(f"The Kubernetes API server has no end of {resource.plural}.")

    @contextlib.asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str, selector: str, version: str
    ) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
        """What happens to objects after a version, bookmarks included, until the server ends the stream.

        Raises:
            ApiError: the server says no, also in the middle: 410 where it does not know that version any more.
            RuntimeUnavailable: it can't be asked, or the stream broke or fell silent.
        """
        query = {
            "labelSelector": selector,
            "resourceVersion": version,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self.timing.watch_seconds),
        }
        request = Request(
            "GET",
            resource.path(namespace),
            query,
            accept=METADATA_ONLY if resource.metadata_only else "application/json",
            silence_seconds=self.timing.watch_seconds + self.timing.watch_grace_seconds,
        )
        async with self._send(request, self._open_api()) as response:
            yield _events(response)

    async def _ask(self, request: Request) -> Any:
        content = await self._request(request)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise Unreachable(
                "What answers at the address of the Kubernetes API server is none; a proxy may be in between."
            ) from error

    async def _request(self, request: Request) -> bytes:
        """Send a request; again where the server is busy and asks for it, or where credentials have been replaced."""
        attempts = 0
        while True:
            attempts += 1
            api = self._open_api()
            try:
                async with self._send(request, api) as response:
                    return await response.read()
            except ApiError as error:
                if attempts == ATTEMPTS or not await self._may_try_again(error, api):
                    raise

    async def _may_try_again(self, error: ApiError, api: library.ApiClient) -> bool:
        if error.status == HTTPStatus.UNAUTHORIZED:
            return await self._renew(api)
        if error.status not in _BUSY or error.retry_after is None or error.retry_after > RETRY_AFTER_MAXIMUM_SECONDS:
            return False
        await asyncio.sleep(error.retry_after)
        return True

    def _open_api(self) -> library.ApiClient:
        if self._api is None:
            raise RuntimeUnavailable("The kubernetes runtime is not open.")
        return self._api

    @contextlib.asynccontextmanager
    async def _send(self, request: Request, api: library.ApiClient) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request and its answer, if it is a good one."""
        streams = request.silence_seconds is not None
        timeout = aiohttp.ClientTimeout(
            total=None if streams else self.timing.answer_seconds,
            connect=self.timing.connect_seconds,
            sock_read=request.silence_seconds,
        )
        try:
            # Until the head of the answer is there a stream has no longer than anything else.
            async with asyncio.timeout(self.timing.answer_seconds):
                response: aiohttp.ClientResponse = await api.call_api(
                    request.path,
                    request.method,
                    query_params=list(request.query.items()),
                    header_params={"Accept": request.accept, "Content-Type": request.content_type},
                    body=request.body,
                    auth_settings=["BearerToken"],
                    _preload_content=False,
                    _request_timeout=timeout,
                )
            try:
                if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                    raise ApiError(response.status, await _document(response), _retry_after(response))
                yield response
            finally:
                # A stream that is left early can't be used for the next request.
                response.close() if streams else response.release()
        except TimeoutError as error:
            raise Unreachable("The Kubernetes API server does not answer in time.") from error
        except aiohttp.ClientError as error:
            raise Unreachable(f"The Kubernetes API server can't be reached: {_words(error)}.") from error


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Mapping[str, Any]]:
    async for line in response.content:
        if not line.endswith(b"\n"):
            raise Unreachable("The Kubernetes API server cut a watch in the middle of a line.")
        event = orjson.loads(line)
        if event["type"] == "ERROR":
            raise ApiError(int(event["object"].get("code") or 0), event["object"])
        yield event


async def _document(response: aiohttp.ClientResponse) -> Any:
    content = await response.read()
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:  # a proxy's page, or "404 page not found"
        return None


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds, as the API server writes them; never a date."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _words(error: aiohttp.ClientError) -> str:
    cause = error.__cause__ or error
    return getattr(cause, "strerror", None) or str(error) or type(error).__name__
