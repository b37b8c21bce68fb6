"""The lists of the graph, each declared once: what they hold, what narrows and what sorts them."""

from typing import Any

from sqlmodel import col, select

from app.api import filters as inputs
from app.api.connections import Source
from app.db import filters, tables

REPOSITORIES = Source(
    "repositories",
    tables.RepositoryRow,
    inputs.RepositoryFilter,
    inputs.RepositoryOrder,
    filters.REPOSITORY_ORDERS,
    filters.repositories,
)
ARTIFACTS = Source(
    "artifacts",
    tables.ArtifactRow,
    inputs.ArtifactFilter,
    inputs.ArtifactOrder,
    filters.ARTIFACT_ORDERS,
    filters.artifacts,
)
WORKLOADS = Source(
    "workloads",
    tables.WorkloadRow,
    inputs.WorkloadFilter,
    inputs.WorkloadOrder,
    filters.WORKLOAD_ORDERS,
    filters.workloads,
)
# Whoever may see a workload may see how it was replaced.
REPLACEMENTS = Source("replacements", tables.ReplacementRow, shared=False)
CREDENTIALS = Source("credentials", tables.CredentialRow)

EVENTS = Source("events", tables.EventRow, inputs.EventFilter, narrow=filters.events, unordered=filters.OLDEST_FIRST)
# What hangs on a thing is read as a whole.
EVENTS_UNDER = Source("events_under", tables.EventRow, unordered=filters.OLDEST_FIRST)

USERS = Source("users", tables.UserRow, narrow=filters.users, shared=False, has_search=True)


def named_by(column: str) -> Any:
    """How a nested list hangs on its parent: by a column that names it."""
    return lambda row, parent_id: getattr(row, column) == parent_id


CREDENTIAL_USERS = Source("credential_users", tables.ArtifactRow)


def points_at_credential(row: Any, credential_id: Any) -> Any:
    """How the users of a credential hang on it: through a variable of one of their containers."""
    variable, container = tables.EnvironmentVariableRow, tables.ContainerRow
    pointing = (
        select(container.artifact_id)
        .join(variable, col(variable.container_id) == col(container.id))
        .where(col(variable.credential_id) == credential_id)
        .correlate_except(variable, container)  # the parent stands two selects further out
    )
    return row.id.in_(pointing)
