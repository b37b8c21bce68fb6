"""Anything in the graph, by its id."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.api import fields
from app.api.context import Info
from app.db import tables
from app.domain import ids

# What each kind is stored as.
TABLES: Mapping[ids.Kind, Any] = {
    ids.Kind.REPOSITORY: tables.RepositoryRow,
    ids.Kind.ARTIFACT: tables.ArtifactRow,
    ids.Kind.WORKLOAD: tables.WorkloadRow,
    ids.Kind.CREDENTIAL: tables.CredentialRow,
    ids.Kind.EVENT: tables.EventRow,
    ids.Kind.USER: tables.UserRow,
    ids.Kind.API_TOKEN: tables.ApiTokenRow,
    ids.Kind.REPLACEMENT: tables.ReplacementRow,
    ids.Kind.CONTAINER: tables.ContainerRow,
}
# Of these a role tells whether the viewer may see one.
SHARED = frozenset({ids.Kind.REPOSITORY, ids.Kind.ARTIFACT, ids.Kind.WORKLOAD, ids.Kind.CREDENTIAL, ids.Kind.EVENT})


async def find(info: Info, kind: ids.Kind, thing_id: UUID) -> Any:
    """A node by its id; None where it is absent or the viewer may not see it."""
    loaders = info.context.loaders
    viewer = info.context.viewer
    if kind in SHARED:
        return fields.node(await loaders.reachable(TABLES[kind], thing_id))
    if kind is ids.Kind.USER:
        return fields.node(await loaders.row(tables.UserRow, thing_id))
    if kind is ids.Kind.API_TOKEN:
        token = await loaders.row(tables.ApiTokenRow, thing_id)
        return fields.node(token) if token is not None and token.user_id == viewer.user_id else None
    if kind is ids.Kind.REPLACEMENT:
        replacement = await loaders.row(tables.ReplacementRow, thing_id)
        if replacement is None or await loaders.reachable(tables.WorkloadRow, replacement.workload_id) is None:
            return None
        return fields.node(replacement)
    if kind is ids.Kind.CONTAINER:
        container = await loaders.row(tables.ContainerRow, thing_id)
        if container is None or await loaders.role(tables.ArtifactRow, container.artifact_id) is None:
            return None
        return fields.node(container)
    return None
