"""What an API server's no means: that the cluster can't be used now, or that it does not want one workload."""

import re
from http import HTTPStatus

from app.domain.observations import CONFIGURATION_ERROR, QUOTA_EXCEEDED, Refusal
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.kubernetes_client import ApiError

# User "system:serviceaccount:a:b" cannot patch resource "deployments" in API group "apps" in the namespace "a"
_MISSING_RIGHT = re.compile(r"cannot \w+ resource")
# pods "a" is forbidden: exceeded quota: b, requested: …, used: …, limited: …
_QUOTA = "exceeded quota"
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_ABOUT_THE_OBJECT = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)


def refusal(error: ApiError) -> Refusal | None:
    """Why the cluster does not want an object, if it is about that object and not about Slipway or the cluster."""
    if error.status in _ABOUT_THE_OBJECT:
        return Refusal(CONFIGURATION_ERROR, f"The cluster refuses it: {error.message}")
    if error.status == HTTPStatus.FORBIDDEN and not _is_terminating(error) and not _MISSING_RIGHT.search(error.message):
        # A quota for objects, or an admission controller with rules of its own.
        reason = QUOTA_EXCEEDED if _QUOTA in error.message else CONFIGURATION_ERROR
        return Refusal(reason, f"The cluster refuses it: {error.message}")
    return None


def is_own_fault(error: ApiError) -> bool:
    """Whether the server could make nothing of what Slipway sent, which no repetition changes.

    It answers a malformed apply with 500, and gives no reason, as it does for each failure of its own.
    """
    odd = {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
    return error.status in odd or (error.status == HTTPStatus.INTERNAL_SERVER_ERROR and not error.reason)


def explain(error: ApiError, namespace: str) -> RuntimeUnavailable:
    """What to tell those who operate Slipway."""
    return RuntimeUnavailable(_explanation(error, namespace))


def _explanation(error: ApiError, namespace: str) -> str:
    if error.status == HTTPStatus.UNAUTHORIZED:
        return "The Kubernetes API server does not accept Slipway's credentials: they may have expired."
    if _is_terminating(error):
        return (
            f"The namespace {namespace} is being deleted: make it anew when it is gone, or set "
            "SLIPWAY_KUBERNETES_NAMESPACE to another."
        )
    if error.status == HTTPStatus.FORBIDDEN:
        return f"Slipway lacks a right in the cluster: {error.message}."
    if error.status == HTTPStatus.NOT_FOUND and error.kind == "namespaces":
        return (
            f"There is no namespace {namespace}: make it with `kubectl create namespace {namespace}`, or set "
            "SLIPWAY_KUBERNETES_NAMESPACE to another."
        )
    if error.status == HTTPStatus.NOT_FOUND and not error.kind:
        return (
            "The cluster does not know a kind of object that Slipway needs. SLIPWAY_KUBERNETES_GATEWAY takes a cluster "
            "with the Gateway API."
        )
    if error.status in _BUSY:
        later = "" if error.retry_after is None else f", and is to be asked again in {error.retry_after:g} s"
        return f"The Kubernetes API server is busy ({error.status}){later}."
    return f"The Kubernetes API server failed ({error.status}): {error.message}."


def _is_terminating(error: ApiError) -> bool:
    return any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes)
