"""The rows, as PostgreSQL stores them. Importing this package makes all of them known to `metadata`."""

from sqlmodel import SQLModel

from app.db.tables.artifacts import (
    ArtifactGrantRow as ArtifactGrantRow,
    ArtifactRow as ArtifactRow,
    ArtifactTagRow as ArtifactTagRow,
    ContainerRow as ContainerRow,
    EnvironmentVariableRow as EnvironmentVariableRow,
    ProbeRow as ProbeRow,
    RepositoryGrantRow as RepositoryGrantRow,
    RepositoryRow as RepositoryRow,
    RepositoryTagRow as RepositoryTagRow,
    written_digest as written_digest,
)
from app.db.tables.history import EventRow as EventRow
from app.db.tables.people import (
    ApiTokenRow as ApiTokenRow,
    CredentialGrantRow as CredentialGrantRow,
    CredentialRow as CredentialRow,
    CredentialValueRow as CredentialValueRow,
    EncryptionCheckRow as EncryptionCheckRow,
    GroupMemberRow as GroupMemberRow,
    GroupRow as GroupRow,
    UserRow as UserRow,
)
from app.db.tables.workloads import (
    InstallationRow as InstallationRow,
    ReplacementRow as ReplacementRow,
    RuntimeRow as RuntimeRow,
    WorkloadCredentialUseRow as WorkloadCredentialUseRow,
    WorkloadGrantRow as WorkloadGrantRow,
    WorkloadRow as WorkloadRow,
    WorkloadTagRow as WorkloadTagRow,
    WorkloadVariableRow as WorkloadVariableRow,
)

metadata = SQLModel.metadata
