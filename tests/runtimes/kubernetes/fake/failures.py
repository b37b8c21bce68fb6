"""The server's ways to say no, with the words of the recordings (12-errors)."""

from collections.abc import Mapping, Sequence
from typing import Any

REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 422: "Invalid"}


class Failure(Exception):
    """An answer of kind Status."""

    def __init__(
        self,
        status: int,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
        }
        if known := reason or REASONS.get(status):
            self.body["reason"] = known
        if details is not None:
            self.body["details"] = dict(details)
        self.body["code"] = status


def named(resource: "Any", name: str | None) -> dict[str, Any]:
    """The details of most answers: name, group and plural."""
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in details.items() if value}


def not_found(resource: Any, name: str) -> Failure:
    return Failure(404, f'{resource.qualified} "{name}" not found', named(resource, name))


def modified(resource: Any, name: str) -> Failure:
    words = "the object has been modified; please apply your changes to the latest version and try again"
    return Failure(
        409, f'Operation cannot be fulfilled on {resource.qualified} "{name}": {words}', named(resource, name)
    )


def precondition(resource: Any, name: str, field: str, given: str, present: str) -> Failure:
    ending = "deleted and then recreated" if field == "UID" else "modified"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    words = f"the {field} in the precondition ({given}) does not match the {field} in record ({present})"
    details = {"name": name, "group": resource.group, "kind": resource.kind}
    return Failure(
        409,
        f'Operation cannot be fulfilled on {kind} "{name}": {words}. The object might have been {ending}',
        {key: value for key, value in details.items() if value},
    )


def invalid(resource: Any, name: str, causes: Sequence[tuple[str, str, str]]) -> Failure:
    """`causes` are reason, message and field."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    told = [f"{field}: {message}" for _, message, field in causes]
    words = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    details = {"name": name, "group": resource.group, "kind": resource.kind}
    listed = [{"reason": reason, "message": message, "field": field} for reason, message, field in causes]
    return Failure(
        422,
        f'{kind} "{name}" is invalid: {words}',
        {**{key: value for key, value in details.items() if value}, "causes": listed},
    )


def forbidden(resource: Any, name: str | None, verb: str, namespace: str, user: str) -> Failure:
    what = f'{resource.qualified} "{name}"' if name else resource.qualified
    where = f'cannot {verb} resource "{resource.plural}" in API group "{resource.group}" in the namespace "{namespace}"'
    return Failure(403, f'{what} is forbidden: User "{user}" {where}', named(resource, name))


def terminating(resource: Any, name: str, namespace: str) -> Failure:
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    words = f"unable to create new content in namespace {namespace} because it is being terminated"
    return Failure(
        403, f'{resource.qualified} "{name}" is forbidden: {words}', {**named(resource, name), "causes": [cause]}
    )


def expired(version: int, oldest: int) -> Failure:
    return Failure(410, f"too old resource version: {version} ({oldest})", reason="Expired")
