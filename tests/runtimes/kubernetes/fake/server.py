"""The HTTP side: paths, selectors, watches, rights, faults."""

import asyncio
import copy
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.runtimes.kubernetes.fake import controllers, failures, validation
from tests.runtimes.kubernetes.fake.controllers import Controllers
from tests.runtimes.kubernetes.fake.failures import Failure
from tests.runtimes.kubernetes.fake.fields import Object
from tests.runtimes.kubernetes.fake.store import KINDS, PODS, Kind, Store
from tests.runtimes.kubernetes.fake.watches import Watches, selector

VERSION = "v1.34.9"
ANONYMOUS = "system:anonymous"

# /apis/apps/v1/namespaces/a/deployments/b/scale
_PATH = re.compile(r"/(?:api|apis/([^/]+))/v1/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?(?:/([^/]+))?")


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next requests that it concerns: an answer instead of theirs, or none at all."""

    concerns: Callable[[Request], bool]
    times: int
    status: int | None
    body: Any = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    after: bool = False
    """Whether the request is carried out all the same: it is the answer that is lost."""


class FakeCluster:
    """An API server. `app` answers; everything else is for tests."""

    def __init__(self) -> None:
        self.store = Store()
        self.controllers = Controllers(self.store)
        self.store.changed = self.controllers.changed
        self.namespaces: dict[str, str] = {"workloads": "Active"}
        self.token = "good"  # noqa: S105  the fake's own
        self.user = "system:serviceaccount:slipway:slipway"
        self.forbidden: set[tuple[str, str]] = set()
        """Verb and plural of what may not be done."""
        self.requests: list[tuple[str, str]] = []
        self.logs: dict[tuple[str, str, bool], bytes] = {}
        self.faults: list[Fault] = []
        self.watches = Watches(self.store)
        self.page_items = 500
        self.url = ""
        self._ended = asyncio.Event()
        methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    # For tests

    def fail(
        self,
        status: int | None,
        *,
        times: int = 1,
        method: str | None = None,
        path: str = "",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        after: bool = False,
    ) -> None:
        """Have the next requests of a method to a path answered with a status; with None never."""

        def concerns(request: Request) -> bool:
            return method in {None, request.method} and path in str(request.url)

        self.faults.append(Fault(concerns, times, status, body, headers or {}, after))

    def compact(self) -> None:
        """Forget what happened until now: a watch from before is expired."""
        self.store.oldest = self.store.version

    def end(self) -> None:
        """Let go of everything that waits."""
        self._ended.set()
        self.watches.cut()

    def pods(self, **labels: str) -> list[Object]:
        """All pods in "workloads" with labels such as `launch="2"`."""
        wanted = {f"slipway.dev/{key}": value for key, value in labels.items()}
        return [
            each for each in self.store.all(PODS, "workloads") if wanted.items() <= each["metadata"]["labels"].items()
        ]

    def pod_ready(self, *pods: Object) -> None:
        """These pods run and are ready."""
        self._set_pods(pods, controllers.running(), ready=True)

    def pod_unready(self, *pods: Object) -> None:
        """These pods run, and are not ready."""
        self._set_pods(pods, controllers.running())

    def pod_waits(self, *pods: Object, reason: str, message: str | None = None) -> None:
        """The containers of these pods wait for something."""
        self._set_pods(pods, controllers.waiting(reason, message))

    def pod_crashed(self, *pods: Object, code: int, reason: str = "Error") -> None:
        """The containers of these pods have ended."""
        self._set_pods(pods, controllers.terminated(code, reason))

    def pod_gone(self, *pods: Object) -> None:
        """These pods, which were deleted, have ended."""
        for pod in pods:
            self.store.remove(PODS, "workloads", pod["metadata"]["name"])
        self.controllers.settle()

    def _set_pods(self, pods: Sequence[Object], state: Object, *, ready: bool = False) -> None:
        for pod in pods:
            self.controllers.set_pod("workloads", pod["metadata"]["name"], lambda _: state, ready=ready)
        self.controllers.settle()

    def objects(self, kind: str) -> list[Object]:
        """All objects of a kind in "workloads"."""
        found = next(each for each in KINDS.values() if each.kind == kind)
        return self.store.all(found, "workloads")

    # The server

    async def _answer(self, request: Request) -> Response:
        self.requests.append((request.method, request.url.path))
        fault = next((each for each in self.faults if each.concerns(request)), None)
        try:
            if fault is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                if fault.after:
                    await self._serve(request)
                    self.controllers.settle()
                if fault.status is None:
                    await self._ended.wait()
                content = fault.body if fault.body is not None else Failure(fault.status or 500, "a fault").body
                if isinstance(content, str):
                    return PlainTextResponse(content, fault.status or 500, fault.headers)
                return JSONResponse(content, fault.status or 500, fault.headers)
            return await self._serve(request)
        except Failure as failure:
            return JSONResponse(failure.body, failure.status, failure.headers)
        finally:
            self.controllers.settle()

    async def _serve(self, request: Request) -> Response:
        path = request.url.path
        authorization = request.headers.get("Authorization")
        user = self.user if authorization == f"Bearer {self.token}" else ANONYMOUS
        if authorization is not None and user == ANONYMOUS:
            raise Failure(401, "Unauthorized")
        if path == "/version":
            return JSONResponse({"major": "1", "minor": "34", "gitVersion": VERSION})
        if path.endswith("/selfsubjectaccessreviews"):
            return self._review(await request.json())
        if matched := re.fullmatch(r"/api/v1/namespaces/([^/]+)", path):
            return self._namespace(matched[1])
        matched = _PATH.fullmatch(path)
        if matched is None:
            return PlainTextResponse("404 page not found\n", 404)
        group, namespace, plural, name, subresource = matched.groups()
        kind = KINDS.get((group or "", plural))
        if kind is None:
            if not any(known == (group or "") for known, _ in KINDS):
                return PlainTextResponse("404 page not found\n", 404)
            raise Failure(404, "the server could not find the requested resource", {})
        body = await request.body()
        call = _Call(request, kind, namespace, name, subresource, body, user)
        self._authorize(call)
        return await self._dispatch(call)

    def _authorize(self, call: "_Call") -> None:
        plural = call.kind.plural + (f"/{call.subresource}" if call.subresource else "")
        if call.user == ANONYMOUS or (call.verb, plural) in self.forbidden:
            resource = dataclasses.replace(call.kind, plural=plural) if call.subresource else call.kind
            failure = failures.forbidden(resource, call.name, call.verb, call.namespace, call.user)
            failure.body["message"] = failure.body["message"].replace(
                f"{resource.qualified} ", f"{call.kind.qualified} ", 1
            )
            failure.body["details"] = failures.named(call.kind, call.name)
            raise failure

    async def _dispatch(self, call: "_Call") -> Response:
        if call.verb == "watch":
            partial = "as=PartialObjectMetadata" in call.request.headers.get("Accept", "")
            events = self.watches.stream(call.kind, call.namespace, call.query, partial=partial)
            return StreamingResponse(events, media_type="application/json")
        if call.subresource == "log":
            return self._log(call)
        if call.subresource == "scale":
            return self._scale(call)
        actions = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "patch": self._patch,
            "update": self._put,
            "delete": self._delete,
            "deletecollection": self._delete_all,
        }
        action = actions.get(call.verb)
        if action is None or (call.verb == "create" and call.name):
            words = "the server does not allow this method on the requested resource"
            raise Failure(405, words, {}, reason="MethodNotAllowed")
        return action(call)

    def _namespace(self, name: str) -> Response:
        if ("get", "namespaces") in self.forbidden:
            raise failures.forbidden(_NAMESPACES, name, "get", name, self.user)
        if name not in self.namespaces:
            raise failures.not_found(_NAMESPACES, name)
        return JSONResponse(
            {"kind": "Namespace", "metadata": {"name": name}, "status": {"phase": self.namespaces[name]}}
        )

    def _review(self, body: Object) -> Response:
        asked = body["spec"]["resourceAttributes"]
        plural = asked["resource"] + (f"/{asked['subresource']}" if asked.get("subresource") else "")
        return JSONResponse({**body, "status": {"allowed": (asked["verb"], plural) not in self.forbidden}}, 201)

    def _get(self, call: "_Call") -> Response:
        return JSONResponse(self.store.get(call.kind, call.namespace, call.name or ""))

    def _list(self, call: "_Call") -> Response:
        matches = selector(call.query.get("labelSelector"))
        found = [each for each in self.store.all(call.kind, call.namespace) if matches(each)]
        version, begin = self.store.version, 0
        if "continue" in call.query:
            token = json.loads(call.query["continue"])
            version, begin = token["version"], token["begin"]
            if version < self.store.oldest:
                words = "The provided continue parameter is too old to display a consistent list result."
                raise Failure(410, words, reason="Expired")
        limit = min(int(call.query.get("limit", self.page_items)), self.page_items)
        metadata = {"resourceVersion": str(version)}
        if begin + limit < len(found):
            metadata["continue"] = json.dumps({"version": version, "begin": begin + limit})
        items = [
            {key: value for key, value in each.items() if key not in {"kind", "apiVersion"}}
            for each in found[begin : begin + limit]
        ]
        if "PartialObjectMetadataList" in call.request.headers.get("Accept", ""):
            items = [{"metadata": each["metadata"]} for each in items]
        listed = {"kind": f"{call.kind.kind}List", "apiVersion": call.kind.api_version, "metadata": metadata}
        return JSONResponse({**listed, "items": items})

    def _create(self, call: "_Call") -> Response:
        body = call.json()
        self._check_namespace(call, body["metadata"]["name"])
        if self.store.find(call.kind, call.namespace, body["metadata"]["name"]) is not None:
            name = body["metadata"]["name"]
            words = f'{call.kind.qualified} "{name}" already exists'
            raise Failure(409, words, failures.named(call.kind, name), reason="AlreadyExists")
        validation.check(call.kind, None, body)
        return JSONResponse(self.store.create(call.kind, call.namespace, body), 201)

    def _put(self, call: "_Call") -> Response:
        body, name = call.json(), call.name or ""
        before = self.store.get(call.kind, call.namespace, name)
        if body["metadata"].get("resourceVersion") not in {None, before["metadata"]["resourceVersion"]}:
            raise failures.modified(call.kind, name)
        return JSONResponse(self.store.replace(call.kind, call.namespace, body))

    def _patch(self, call: "_Call") -> Response:
        content_type = call.request.headers.get("Content-Type")
        if content_type == "application/apply-patch+yaml":
            return self._apply(call)
        if content_type == "application/merge-patch+json":
            return self._merge(call)
        raise Failure(415, "415: Unsupported Media Type", {}, reason="UnsupportedMediaType")

    def _merge(self, call: "_Call") -> Response:
        changes, name = call.json(), call.name or ""
        before = self.store.get(call.kind, call.namespace, name)
        asked_for = changes.get("metadata", {}).pop("resourceVersion", before["metadata"]["resourceVersion"])
        if asked_for != before["metadata"]["resourceVersion"]:
            raise failures.modified(call.kind, name)
        after = _merged(before, changes)
        validation.check(call.kind, before, after)
        self.store.owners(before).update(before, after, call.query.get("fieldManager", "unknown"))
        return JSONResponse(self.store.replace(call.kind, call.namespace, after))

    def _apply(self, call: "_Call") -> Response:
        kind, name, manager = call.kind, call.name or "", call.query.get("fieldManager")
        body = call.yaml()
        if not manager:
            words = "Required value: is required for apply patch"
            cause = {"reason": "FieldValueRequired", "message": words, "field": "fieldManager"}
            details = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause]}
            raise Failure(422, f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: {words}', details)
        if (body.get("apiVersion"), body.get("kind")) != (kind.api_version, kind.kind):
            shown = body.get("apiVersion", "")
            raise Failure(
                400, f"invalid object type: {shown if '/' in shown else '/' + shown}, Kind={body.get('kind')}"
            )
        if body["metadata"].get("name") != name:
            words = (
                f"the name of the object ({body['metadata'].get('name')}) does not match the name on the URL ({name})"
            )
            raise Failure(400, words)
        validation.check_form(kind, body)
        before = self.store.find(kind, call.namespace, name)
        if before is None:
            self._check_namespace(call, name)
            validation.check(kind, None, body)
            made = self.store.create(kind, call.namespace, _without_version(body))
            self.store.owners(made).apply(made, body, manager)
            return JSONResponse(made, 201)
        if (
            body["metadata"].get("resourceVersion", before["metadata"]["resourceVersion"])
            != before["metadata"]["resourceVersion"]
        ):
            raise failures.modified(kind, name)
        owners = self.store.owners(before)
        conflicts = owners.conflicts(before, body, manager)
        if conflicts and call.query.get("force") != "true":
            raise _conflict(conflicts)
        after = owners.apply(before, _without_version(body), manager)
        validation.check(kind, before, after)
        return JSONResponse(self.store.replace(kind, call.namespace, after))

    def _check_namespace(self, call: "_Call", name: str) -> None:
        if call.namespace not in self.namespaces:
            raise failures.not_found(_NAMESPACES, call.namespace)
        if self.namespaces[call.namespace] == "Terminating":
            raise failures.terminating(call.kind, name, call.namespace)

    def _scale(self, call: "_Call") -> Response:
        before = self.store.get(call.kind, call.namespace, call.name or "")
        after = _merged(before, {"spec": {"replicas": call.json()["spec"]["replicas"]}})
        self.store.owners(before).update(before, after, call.query.get("fieldManager", "unknown"))
        written = self.store.replace(call.kind, call.namespace, after)
        metadata = {"name": call.name, "resourceVersion": written["metadata"]["resourceVersion"]}
        return JSONResponse({"kind": "Scale", "metadata": metadata, "spec": {"replicas": written["spec"]["replicas"]}})

    def _delete(self, call: "_Call") -> Response:
        kind, name = call.kind, call.name or ""
        found = self.store.get(kind, call.namespace, name)
        options = json.loads(call.body) if call.body else {}
        conditions = options.get("preconditions", {})
        for field, key in (("UID", "uid"), ("ResourceVersion", "resourceVersion")):
            if conditions.get(key, found["metadata"][key]) != found["metadata"][key]:
                raise failures.precondition(kind, name, field, conditions[key], found["metadata"][key])
        return JSONResponse(self._delete_one(kind, call.namespace, found, options))

    def _delete_one(self, kind: Kind, namespace: str, found: Object, options: Object) -> Object:
        name = found["metadata"]["name"]
        if kind is PODS:
            self.controllers.delete_pod(namespace, name)
            return self.store.get(kind, namespace, name)
        if options.get("propagationPolicy") == "Foreground":
            return self.controllers.mark(kind, namespace, found)
        if options.get("propagationPolicy") == "Orphan":
            return self.controllers.orphan(kind, namespace, found)
        removed = self.store.remove(kind, namespace, name)
        if kind.kind == "Service":
            return {**removed, "metadata": {**removed["metadata"], "resourceVersion": str(self.store.version)}}
        details = {**failures.named(kind, name), "uid": found["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _delete_all(self, call: "_Call") -> Response:
        options = json.loads(call.body) if call.body else {}
        matches = selector(call.query.get("labelSelector"))
        found = [each for each in self.store.all(call.kind, call.namespace) if matches(each)]
        for each in found:
            self._delete_one(call.kind, call.namespace, each, options)
        listed = {"kind": f"{call.kind.kind}List", "apiVersion": call.kind.api_version, "metadata": {}}
        return JSONResponse({**listed, "items": found})

    def _log(self, call: "_Call") -> Response:
        pod = self.store.get(PODS, call.namespace, call.name or "")
        container = call.query.get("container", "")
        statuses = {each["name"]: each for each in pod["status"].get("containerStatuses", ())}
        previous = call.query.get("previous") == "true"
        words = ""
        if container not in {each["name"] for each in pod["spec"]["containers"]}:
            words = f"container {container} is not valid for pod {call.name}"
        elif previous and not statuses.get(container, {}).get("lastState"):
            words = f'previous terminated container "{container}" in pod "{call.name}" not found'
        elif "waiting" in statuses.get(container, {}).get("state", {"waiting": {}}) and not statuses.get(
            container, {}
        ).get("lastState"):
            words = f'container "{container}" in pod "{call.name}" is waiting to start: ContainerCreating'
        if words:
            raise Failure(400, words)
        # Between two runs the last one is also the one before.
        is_former = previous and "waiting" not in statuses.get(container, {}).get("state", {})
        lines = self.logs.get((call.name or "", container, is_former), b"").splitlines(keepends=True)
        if since := call.query.get("sinceTime"):
            lines = [line for line in lines if line[:19].decode() >= since[:19]]
        if tail := int(call.query.get("tailLines", -1) or 0):
            lines = lines[-tail:] if tail > 0 else lines
        content = b"".join(lines)
        if limit := call.query.get("limitBytes"):
            content = content[: int(limit)]
        return Response(content, media_type="text/plain")


_NAMESPACES = Kind("", "v1", "namespaces", "Namespace")


@dataclasses.dataclass
class _Call:
    """A request to one kind of objects."""

    request: Request
    kind: Kind
    namespace: str
    name: str | None
    subresource: str | None
    body: bytes
    user: str

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def verb(self) -> str:
        if self.request.method == "GET" and self.query.get("watch") == "true":
            return "watch"
        verbs = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
        verb = verbs[self.request.method]
        if self.name is None:
            return {"get": "list", "delete": "deletecollection"}.get(verb, verb)
        return verb

    def json(self) -> Object:
        found: Object = json.loads(self.body)
        return found

    def yaml(self) -> Object:
        try:
            return self.json()
        except ValueError:
            words = "error decoding YAML: error converting YAML to JSON: yaml: line 1: did not find expected ',' or ']'"
            raise Failure(400, words) from None


def _merged(before: Any, changes: Any) -> Any:
    if not isinstance(before, dict) or not isinstance(changes, dict):
        return copy.deepcopy(changes)
    result = dict(before)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(before.get(key), value)
    return result


def _without_version(body: Object) -> Object:
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return {**body, "metadata": metadata}


def _conflict(conflicts: Mapping[str, list[Any]]) -> Failure:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": _shown(path)}
        for manager, paths in conflicts.items()
        for path in sorted(paths, key=_shown)
    ]
    words = f"Apply failed with {len(causes)} conflict{'s' if len(causes) > 1 else ''}: "
    told = "\n".join(
        f'conflicts with "{manager}":\n' + "\n".join(f"- {_shown(path)}" for path in sorted(paths, key=_shown))
        for manager, paths in conflicts.items()
    )
    return Failure(409, words + told, {"causes": causes})


def _shown(path: Any) -> str:
    """`.spec.template.spec.containers[name="app"].image`"""
    return "".join(
        "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in step) + "]"
        if isinstance(step, tuple)
        else f".{step}"
        for step in path
    )
