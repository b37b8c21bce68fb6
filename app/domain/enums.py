"""The closed vocabularies of the domain. Stored, spoken and compared by these names.

Members are strings, so that a row, a JSON document and the graph hold the same word. Where an order matters
(roles, importance, the order of life), it is the order in which the members are written; see `rank`.
"""

from enum import StrEnum


class ArtifactType(StrEnum):
    """What kind of service an artifact is; all artifacts of a repository share it."""

    SERVICE = "SERVICE"
    AGENT = "AGENT"
    MCP = "MCP"
    NIM = "NIM"


class ArtifactStatus(StrEnum):
    """A draft can change; a locked artifact never does."""

    DRAFT = "DRAFT"
    LOCKED = "LOCKED"


class WorkloadPurpose(StrEnum):
    """A TEST runs a draft and ends by itself; a SERVICE runs a locked artifact until it is stopped."""

    TEST = "TEST"
    SERVICE = "SERVICE"


class WorkloadStatus(StrEnum):
    """Where a workload stands, in the order of life."""

    SUBMITTED = "SUBMITTED"
    PROVISIONING = "PROVISIONING"
    LAUNCHING = "LAUNCHING"
    RUNNING = "RUNNING"
    INTERRUPTED = "INTERRUPTED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    ERRORED = "ERRORED"
    TERMINATED = "TERMINATED"


class Wanted(StrEnum):
    """What someone asked of a workload: what the reconciler works towards."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"


class ReplacementStatus(StrEnum):
    """How a replacement is going, or how it ended."""

    ROLLING = "ROLLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Importance(StrEnum):
    """How much a workload matters, from the least to the most."""

    LOW = "LOW"
    MODERATE = "MODERATE"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class EnvironmentVariableType(StrEnum):
    """A STRING holds its value; a CREDENTIAL points at a key of a credential."""

    STRING = "STRING"
    CREDENTIAL = "CREDENTIAL"


class VariableOrigin(StrEnum):
    """Who gave a variable its value; of several the one written last here wins."""

    ARTIFACT = "ARTIFACT"
    WORKLOAD = "WORKLOAD"
    PLATFORM = "PLATFORM"


class ProbeKind(StrEnum):
    """Kubernetes' three probes, in the order in which they are listed."""

    STARTUP = "STARTUP"
    READINESS = "READINESS"
    LIVENESS = "LIVENESS"


class ProbeScheme(StrEnum):
    """How a probe speaks to the container. HTTPS does not verify the certificate, as in Kubernetes."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


class Role(StrEnum):
    """What someone may do with a thing, from the weakest to the strongest."""

    VIEWER = "VIEWER"
    EDITOR = "EDITOR"
    OWNER = "OWNER"


class ArtifactAction(StrEnum):
    """What can be done to an artifact."""

    EDIT = "EDIT"
    TAG = "TAG"
    TEST = "TEST"
    STOP = "STOP"
    LOCK = "LOCK"
    DEPLOY = "DEPLOY"
    SHARE = "SHARE"
    DELETE = "DELETE"
    CLONE = "CLONE"


class RepositoryAction(StrEnum):
    """What can be done to a repository."""

    EDIT = "EDIT"
    SHARE = "SHARE"
    DELETE = "DELETE"


class CredentialAction(StrEnum):
    """What can be done to a credential."""

    ROTATE = "ROTATE"
    SHARE = "SHARE"
    DELETE = "DELETE"


class WorkloadAction(StrEnum):
    """What can be done to a workload."""

    EDIT = "EDIT"
    CONFIGURE = "CONFIGURE"
    START = "START"
    STOP = "STOP"
    RESTART = "RESTART"
    PROMOTE = "PROMOTE"
    REPLACE = "REPLACE"
    ROLLBACK = "ROLLBACK"
    EXTEND = "EXTEND"
    SHARE = "SHARE"
    DELETE = "DELETE"


class BlockerCode(StrEnum):
    """Why an action is not available."""

    ROLE_TOO_LOW = "ROLE_TOO_LOW"
    ARTIFACT_LOCKED = "ARTIFACT_LOCKED"
    ARTIFACT_DRAFT = "ARTIFACT_DRAFT"
    IN_USE = "IN_USE"
    HAS_LOCKED_ARTIFACTS = "HAS_LOCKED_ARTIFACTS"
    TEST_ACTIVE = "TEST_ACTIVE"
    NO_ACTIVE_TEST = "NO_ACTIVE_TEST"
    WORKLOAD_ACTIVE = "WORKLOAD_ACTIVE"
    WORKLOAD_NOT_ACTIVE = "WORKLOAD_NOT_ACTIVE"
    WORKLOAD_TERMINATED = "WORKLOAD_TERMINATED"
    NOT_A_TEST = "NOT_A_TEST"
    STATUS_MISMATCH = "STATUS_MISMATCH"
    SAME_ARTIFACT = "SAME_ARTIFACT"
    NO_EARLIER_ARTIFACT = "NO_EARLIER_ARTIFACT"
    REPLACEMENT_ACTIVE = "REPLACEMENT_ACTIVE"
    ARTIFACT_CHANGED = "ARTIFACT_CHANGED"
    IMAGE_UNRESOLVED = "IMAGE_UNRESOLVED"
    RUNTIME_UNAVAILABLE = "RUNTIME_UNAVAILABLE"


class ContainerState(StrEnum):
    """What a container does, as Kubernetes names it."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    TERMINATED = "TERMINATED"
    UNKNOWN = "UNKNOWN"


class EventKind(StrEnum):
    """What happened, one line of the history each."""

    ARTIFACT_CREATED = "ARTIFACT_CREATED"
    ARTIFACT_CHANGED = "ARTIFACT_CHANGED"
    ARTIFACT_LOCKED = "ARTIFACT_LOCKED"
    ARTIFACT_CLONED = "ARTIFACT_CLONED"
    ARTIFACT_SHARED = "ARTIFACT_SHARED"
    ARTIFACT_DELETED = "ARTIFACT_DELETED"
    REPOSITORY_CREATED = "REPOSITORY_CREATED"
    REPOSITORY_CHANGED = "REPOSITORY_CHANGED"
    REPOSITORY_SHARED = "REPOSITORY_SHARED"
    REPOSITORY_DELETED = "REPOSITORY_DELETED"
    WORKLOAD_CREATED = "WORKLOAD_CREATED"
    WORKLOAD_CHANGED = "WORKLOAD_CHANGED"
    WORKLOAD_STATUS = "WORKLOAD_STATUS"
    WORKLOAD_REPLACED = "WORKLOAD_REPLACED"
    WORKLOAD_SHARED = "WORKLOAD_SHARED"
    WORKLOAD_DELETED = "WORKLOAD_DELETED"
    CREDENTIAL_CREATED = "CREDENTIAL_CREATED"
    CREDENTIAL_ROTATED = "CREDENTIAL_ROTATED"
    CREDENTIAL_SHARED = "CREDENTIAL_SHARED"
    CREDENTIAL_DELETED = "CREDENTIAL_DELETED"
    TOKEN_CREATED = "TOKEN_CREATED"  # noqa: S105  a kind of event, not a secret
    TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105  the same


def rank(member: StrEnum) -> int:
    """The place of a member in the order in which its enum is written, from 0."""
    return list(type(member)).index(member)
