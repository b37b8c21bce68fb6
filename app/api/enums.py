"""The enums of the graph: those of the domain, described for a reader in GraphiQL, and those of the graph alone."""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any

import strawberry

from app.domain import enums, logs


class Taggable(StrEnum):
    """What can be tagged, and listed."""

    REPOSITORY = "REPOSITORY"
    ARTIFACT = "ARTIFACT"
    WORKLOAD = "WORKLOAD"


class Direction(StrEnum):
    """Which way a list is sorted."""

    ASC = "ASC"
    DESC = "DESC"


class RepositoryOrderField(StrEnum):
    """What repositories can be sorted by."""

    NAME = "NAME"
    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"


class ArtifactOrderField(StrEnum):
    """What artifacts can be sorted by."""

    NAME = "NAME"
    STATUS = "STATUS"
    VERSION = "VERSION"
    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"


class WorkloadOrderField(StrEnum):
    """What workloads can be sorted by."""

    NAME = "NAME"
    STATUS = "STATUS"
    IMPORTANCE = "IMPORTANCE"
    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"


class ExampleLanguage(StrEnum):
    """What an example is written for."""

    CURL = "CURL"
    PYTHON = "PYTHON"
    TYPESCRIPT = "TYPESCRIPT"


class ManifestFormat(StrEnum):
    """What a manifest is written for."""

    KUBERNETES = "KUBERNETES"
    COMPOSE = "COMPOSE"


_ORDERS = {
    "NAME": "By name, regardless of case.",
    "STATUS": "By status, in the order of life.",
    "VERSION": "By version; drafts, which have none, come first.",
    "IMPORTANCE": "By importance, from LOW to CRITICAL.",
    "CREATED_AT": "By the moment of creation.",
    "UPDATED_AT": "By the moment of the newest change.",
}
_EDIT = "Change what describes it."
_SHARE = "Give roles, and take them away."

VALUES: Mapping[type[Enum], Mapping[str, str]] = {
    enums.ArtifactType: {
        "SERVICE": "A plain API or any other service.",
        "AGENT": "An AI agent.",
        "MCP": "A server of the Model Context Protocol.",
        "NIM": "A model server.",
    },
    enums.ArtifactStatus: {"DRAFT": "It can change.", "LOCKED": "It never changes again and has a version."},
    enums.WorkloadPurpose: {
        "TEST": "Runs a draft and ends by itself.",
        "SERVICE": "Runs a locked artifact until it is stopped.",
    },
    enums.WorkloadStatus: {
        "SUBMITTED": "Accepted; no runtime has touched it.",
        "PROVISIONING": "The runtime is making its resources and pulling images.",
        "LAUNCHING": "Containers run; startup or readiness has not passed yet.",
        "RUNNING": "As many replicas as wanted are ready.",
        "INTERRUPTED": "It was RUNNING; now fewer replicas are ready, or the runtime can't be asked.",
        "STOPPING": "Being taken down.",
        "STOPPED": "Nothing is left in the runtime; it can be started again.",
        "ERRORED": "It gave up, and stays so until it is restarted or stopped. Logs stay readable.",
        "TERMINATED": "Final: nothing is left in the runtime; it is kept for its history.",
    },
    enums.ReplacementStatus: {
        "ROLLING": "The new one is brought up beside the old, which serves.",
        "COMPLETED": "The new one has taken over.",
        "FAILED": "The new one did not get ready and is gone; the old one serves on.",
        "CANCELLED": "Something else was asked for meanwhile.",
    },
    enums.EventKind: {
        "ARTIFACT_CREATED": "A draft was made.",
        "ARTIFACT_CHANGED": "It was edited, or its tags were.",
        "ARTIFACT_LOCKED": "It got its version, and its images were pinned.",
        "ARTIFACT_CLONED": "A draft was made of a locked one.",
        "ARTIFACT_SHARED": "Roles on it were given or taken away.",
        "ARTIFACT_DELETED": "The draft is gone.",
        "REPOSITORY_CREATED": "It was opened by its first artifact.",
        "REPOSITORY_CHANGED": "Its name, description or tags were.",
        "REPOSITORY_SHARED": "Roles on it were given or taken away.",
        "REPOSITORY_DELETED": "It is gone, with its drafts.",
        "WORKLOAD_CREATED": "A test or a deployment was asked for.",
        "WORKLOAD_CHANGED": "It was asked to be otherwise.",
        "WORKLOAD_STATUS": "It got into another status.",
        "WORKLOAD_REPLACED": "A replacement began or ended.",
        "WORKLOAD_SHARED": "Roles on it were given or taken away.",
        "WORKLOAD_DELETED": "It is gone.",
        "CREDENTIAL_CREATED": "It was stored.",
        "CREDENTIAL_ROTATED": "It got new values.",
        "CREDENTIAL_SHARED": "Roles on it were given or taken away.",
        "CREDENTIAL_DELETED": "It is gone.",
        "TOKEN_CREATED": "A token was made.",
        "TOKEN_REVOKED": "A token is good no more.",
    },
    enums.Importance: {
        "LOW": "The least.",
        "MODERATE": "More than the least.",
        "HIGH": "Much.",
        "CRITICAL": "The most.",
    },
    enums.EnvironmentVariableType: {
        "STRING": "It has a value of its own.",
        "CREDENTIAL": "It takes its value from a key of a credential.",
    },
    enums.VariableOrigin: {
        "PLATFORM": "Slipway sets it; nobody else can.",
        "WORKLOAD": "The workload overrides what the artifact says.",
        "ARTIFACT": "The artifact says so.",
    },
    enums.ProbeKind: {
        "STARTUP": "Has it started? Holds the other two back until it has passed.",
        "READINESS": "May it get traffic? A failure takes the replica out of it.",
        "LIVENESS": "Is it still well? A failure restarts the container.",
    },
    enums.ProbeScheme: {"HTTP": "Plain HTTP.", "HTTPS": "TLS; the certificate is not verified, as in Kubernetes."},
    enums.Role: {
        "VIEWER": "May see it, and what is under it.",
        "EDITOR": "May also change and run it.",
        "OWNER": "May also share and delete it.",
    },
    enums.ArtifactAction: {
        "EDIT": "Change anything in it.",
        "TAG": "Change its tags.",
        "TEST": "Run the draft for a while.",
        "STOP": "Stop its active test.",
        "LOCK": "Freeze it into the next version of its repository.",
        "DEPLOY": "Run it as a service; a draft is locked first.",
        "SHARE": _SHARE,
        "DELETE": "Delete the draft and its ended tests.",
        "CLONE": "Make a new draft of a locked artifact.",
    },
    enums.RepositoryAction: {"EDIT": _EDIT, "SHARE": _SHARE, "DELETE": "Delete it with its drafts."},
    enums.CredentialAction: {"ROTATE": "Replace its values.", "SHARE": _SHARE, "DELETE": "Delete it."},
    enums.WorkloadAction: {
        "EDIT": _EDIT,
        "CONFIGURE": "Change replicas, resources and environment.",
        "START": "Start it again.",
        "STOP": "Take it down; a test ends for good.",
        "RESTART": "Launch it anew.",
        "PROMOTE": "Turn a test into a service, in place.",
        "REPLACE": "Roll it to another artifact.",
        "ROLLBACK": "Roll it back to the artifact before the newest replacement.",
        "EXTEND": "Move the end of a test.",
        "SHARE": _SHARE,
        "DELETE": "Stop it for good; it stays readable.",
    },
    enums.BlockerCode: {
        "ROLE_TOO_LOW": "The viewer's role does not allow it.",
        "ARTIFACT_LOCKED": "The artifact is locked.",
        "ARTIFACT_DRAFT": "The artifact is a draft.",
        "IN_USE": "Something that is not terminated uses it.",
        "HAS_LOCKED_ARTIFACTS": "The repository holds locked artifacts.",
        "TEST_ACTIVE": "A test of the draft is active.",
        "NO_ACTIVE_TEST": "No test of the artifact is active.",
        "WORKLOAD_ACTIVE": "The workload is still stopping.",
        "WORKLOAD_NOT_ACTIVE": "The workload does not run.",
        "WORKLOAD_TERMINATED": "The workload has ended for good.",
        "NOT_A_TEST": "The workload is a service.",
        "STATUS_MISMATCH": "Only a service can be replaced, and only by a locked artifact.",
        "SAME_ARTIFACT": "The workload runs this artifact already.",
        "NO_EARLIER_ARTIFACT": "The workload was never replaced.",
        "REPLACEMENT_ACTIVE": "A replacement is under way.",
        "ARTIFACT_CHANGED": "The draft was edited since the test was started.",
        "IMAGE_UNRESOLVED": "An image can't be resolved to a digest.",
        "RUNTIME_UNAVAILABLE": "No runtime can be reached.",
    },
    enums.ContainerState: {
        "WAITING": "It does not run yet, or not now.",
        "RUNNING": "It runs.",
        "TERMINATED": "It has ended.",
        "UNKNOWN": "The runtime can't be asked.",
    },
    logs.LogStream: {"STDOUT": "To its standard output.", "STDERR": "To its standard error."},
    Taggable: {"REPOSITORY": "Repositories.", "ARTIFACT": "Artifacts.", "WORKLOAD": "Workloads."},
    Direction: {"ASC": "From the least to the most.", "DESC": "From the most to the least."},
    RepositoryOrderField: _ORDERS,
    ArtifactOrderField: _ORDERS,
    WorkloadOrderField: _ORDERS,
    ManifestFormat: {
        "KUBERNETES": "Objects for `kubectl apply`: the same that the `kubernetes` runtime applies.",
        "COMPOSE": "A file for `docker compose up`, which runs one replica.",
    },
    ExampleLanguage: {
        "CURL": "A shell command.",
        "PYTHON": "Python with httpx.",
        "TYPESCRIPT": "TypeScript with fetch.",
    },
}


def register() -> None:
    """Make every enum known to strawberry, with the descriptions of its values."""
    for members, descriptions in VALUES.items():
        definition: Any = strawberry.enum(members, description=_first_paragraph(members)).__strawberry_definition__  # type: ignore[attr-defined]
        for value in definition.values:
            value.description = descriptions[value.name]


def _first_paragraph(members: type[Enum]) -> str:
    return (members.__doc__ or "").partition("\n\n")[0].replace("\n    ", " ")


register()
