"""Whether a cluster lets Slipway do what it has to: its version, the namespace, the rights.

deploy/base/rights.yaml has a Role with these rights.
"""

import asyncio
from http import HTTPStatus

from app.runtimes.kubernetes_client import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICES,
    ApiError,
    Client,
    Resource,
)

_MIRRORED = ("list", "watch")
# A server-side apply of what is not there yet is a creation as well.
_APPLIED = (*_MIRRORED, "create", "patch", "delete")


async def version(client: Client) -> str:
    """The version of the server, such as "v1.34.9"; errors as for `Client.get`."""
    return str((await client.get("/version"))["gitVersion"])


async def find_namespace(client: Client, namespace: str) -> None:
    """Make sure that the namespace is there and stays. One that may not be looked at counts as there.

    Raises:
        ApiError: as the server would say it to whoever wants to make something in it.
        RuntimeUnavailable: the server can't be asked.
    """
    try:
        found = await client.get(f"/api/v1/namespaces/{namespace}")
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        return
    if found["status"].get("phase") == "Terminating":
        causes = [{"reason": "NamespaceTerminating"}]
        raise ApiError(HTTPStatus.FORBIDDEN, {"reason": "Forbidden", "details": {"causes": causes}})


def needed(routes: Resource | None) -> list[tuple[Resource, str, str]]:
    """All that the runtime does: the kind of object, the part of it if it is one, and the verb."""
    return [
        *((DEPLOYMENTS, "", verb) for verb in ("get", *_APPLIED)),
        *((resource, "", verb) for resource in (SERVICES, SECRETS) for verb in _APPLIED),
        *((routes, "", verb) for verb in _APPLIED if routes is not None),
        *((PODS, "", verb) for verb in (*_MIRRORED, "deletecollection")),
        (PODS, "log", "get"),
        (REPLICA_SETS, "", "deletecollection"),
    ]


async def missing_rights(client: Client, namespace: str, routes: Resource | None) -> list[str]:
    """What Slipway may not do of what it has to, such as "patch deployments.apps"; errors as for `Client.get`."""
    answers = await asyncio.gather(*(_may(client, namespace, *each) for each in needed(routes)))
    return [right for right in answers if right is not None]


async def _may(client: Client, namespace: str, resource: Resource, subresource: str, verb: str) -> str | None:
    """The right in words, where it is missing."""
    group, slash, _ = resource.group_version.rpartition("/")
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": resource.plural,
        "subresource": subresource,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await client.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    if answer["status"]["allowed"]:
        return None
    named = f"{resource.plural}{'.' if slash else ''}{group}"
    return f"{verb} {named}" + (f"/{subresource}" if subresource else "")
