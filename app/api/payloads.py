"""What mutations answer: a payload, or one of the problems that can happen."""

from typing import Annotated

import strawberry

from app.api.nodes import Artifact, Credential, Repository, Workload
from app.api.people import ApiToken
from app.api.problems import (
    ActionUnavailable,
    IdempotencyConflict,
    InvalidInput,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    StaleRevision,
)

AFTER = "As it is after the change."


@strawberry.type(description="The artifact that was made or changed.")
class ArtifactPayload:
    """An artifact."""

    artifact: Artifact = strawberry.field(description=AFTER)


@strawberry.type(description="The draft, and the workload that tests it.")
class TestArtifactPayload:
    """An artifact and its test."""

    artifact: Artifact = strawberry.field(description=AFTER)
    workload: Workload = strawberry.field(description="The test.")


@strawberry.type(description="The artifact, and the service that runs it.")
class DeployArtifactPayload:
    """An artifact and a service."""

    artifact: Artifact = strawberry.field(description=AFTER)
    workload: Workload = strawberry.field(description="The service.")


@strawberry.type(description="The repository that was changed.")
class RepositoryPayload:
    """A repository."""

    repository: Repository = strawberry.field(description=AFTER)


@strawberry.type(description="The workload that was changed.")
class WorkloadPayload:
    """A workload."""

    workload: Workload = strawberry.field(description=AFTER)


@strawberry.type(description="The credential that was made or changed.")
class CredentialPayload:
    """A credential."""

    credential: Credential = strawberry.field(description=AFTER)


@strawberry.type(description="A new token, and its secret, which is told this once.")
class CreateApiTokenPayload:
    """A token and its secret."""

    token: ApiToken = strawberry.field(description="The token.")
    secret: str = strawberry.field(description="What goes behind `Authorization: Bearer`. It is not stored.")


@strawberry.type(description="What is gone.")
class DeletePayload:
    """Ids of what was deleted."""

    deleted_ids: list[strawberry.ID] = strawberry.field(
        description="Everything that was deleted, that which was asked for first. A workload stays readable."
    )


_RESULT = "The payload, or why nothing was changed."

CreateArtifactResult = Annotated[
    ArtifactPayload | InvalidInput | NotFound | PermissionDenied | LimitExceeded | IdempotencyConflict,
    strawberry.union("CreateArtifactResult", description=_RESULT),
]
UpdateArtifactResult = Annotated[
    ArtifactPayload
    | InvalidInput
    | NotFound
    | PermissionDenied
    | ActionUnavailable
    | StaleRevision
    | LimitExceeded
    | IdempotencyConflict,
    strawberry.union("UpdateArtifactResult", description=_RESULT),
]
TestArtifactResult = Annotated[
    TestArtifactPayload
    | InvalidInput
    | NotFound
    | PermissionDenied
    | ActionUnavailable
    | StaleRevision
    | LimitExceeded
    | IdempotencyConflict,
    strawberry.union("TestArtifactResult", description=_RESULT),
]
StopArtifactResult = Annotated[
    TestArtifactPayload | NotFound | PermissionDenied | ActionUnavailable | StaleRevision | IdempotencyConflict,
    strawberry.union("StopArtifactResult", description=_RESULT),
]
LockArtifactResult = Annotated[
    ArtifactPayload
    | InvalidInput
    | NotFound
    | PermissionDenied
    | ActionUnavailable
    | StaleRevision
    | IdempotencyConflict,
    strawberry.union("LockArtifactResult", description=_RESULT),
]
DeployArtifactResult = Annotated[
    DeployArtifactPayload
    | InvalidInput
    | NotFound
    | PermissionDenied
    | ActionUnavailable
    | StaleRevision
    | LimitExceeded
    | IdempotencyConflict,
    strawberry.union("DeployArtifactResult", description=_RESULT),
]
CloneArtifactResult = Annotated[
    ArtifactPayload
    | InvalidInput
    | NotFound
    | PermissionDenied
    | ActionUnavailable
    | LimitExceeded
    | StaleRevision
    | IdempotencyConflict,
    strawberry.union("CloneArtifactResult", description=_RESULT),
]
ShareArtifactResult = Annotated[
    ArtifactPayload | InvalidInput | NotFound | PermissionDenied | StaleRevision | IdempotencyConflict,
    strawberry.union("ShareArtifactResult", description=_RESULT),
]
ShareRepositoryResult = Annotated[
    RepositoryPayload | InvalidInput | NotFound | PermissionDenied | StaleRevision | IdempotencyConflict,
    strawberry.union("ShareRepositoryResult", description=_RESULT),
]
UpdateRepositoryResult = Annotated[
    RepositoryPayload | InvalidInput | NotFound | PermissionDenied | StaleRevision | IdempotencyConflict,
    strawberry.union("UpdateRepositoryResult", description=_RESULT),
]
WorkloadResult = Annotated[
    WorkloadPayload
    | InvalidInput
    | NotFound
    | PermissionDenied
    | ActionUnavailable
    | StaleRevision
    | LimitExceeded
    | IdempotencyConflict,
    strawberry.union("WorkloadResult", description=_RESULT),
]
CredentialResult = Annotated[
    CredentialPayload | InvalidInput | NotFound | PermissionDenied | IdempotencyConflict,
    strawberry.union("CredentialResult", description=_RESULT),
]
CreateApiTokenResult = Annotated[
    CreateApiTokenPayload | InvalidInput | PermissionDenied | IdempotencyConflict,
    strawberry.union("CreateApiTokenResult", description=_RESULT),
]
DeleteResult = Annotated[
    DeletePayload | NotFound | PermissionDenied | ActionUnavailable | StaleRevision | IdempotencyConflict,
    strawberry.union("DeleteResult", description=_RESULT),
]
