"""What mutations are given, and how it becomes what the domain knows. The rules about values are the domain's."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import strawberry

from app.domain import enums, specification, validation

IF_REVISION = "Change only what is still at this revision."


@strawberry.input(description="A tag.")
class TagInput:
    """A tag."""

    name: str = strawberry.field(description="1 to 128 characters, unique on the thing.")
    value: str = strawberry.field(default="", description="Up to 512 characters.")


@strawberry.input(description="A header that a probe sends.")
class ProbeHeaderInput:
    """A header."""

    name: str = strawberry.field(description="A token of RFC 9110.")
    value: str = strawberry.field(description="What it says, on one line.")


@strawberry.input(description="An HTTP probe, with the defaults of Kubernetes.")
class ProbeInput:
    """A probe."""

    path: str = strawberry.field(description="Starts with '/'.")
    port: int | None = strawberry.field(default=None, description="Left out: the container's port.")
    scheme: enums.ProbeScheme = strawberry.field(default=enums.ProbeScheme.HTTP, description="HTTP or HTTPS.")
    headers: list[ProbeHeaderInput] = strawberry.field(default_factory=list, description="Up to 20.")
    initial_delay_seconds: int = strawberry.field(default=0, description="0 to 3,600.")
    period_seconds: int = strawberry.field(default=10, description="1 to 3,600.")
    timeout_seconds: int = strawberry.field(default=1, description="1 to 3,600.")
    success_threshold: int = strawberry.field(default=1, description="1 to 1,000; 1 on startup and liveness.")
    failure_threshold: int = strawberry.field(default=3, description="1 to 1,000.")


@strawberry.input(description="A variable: a STRING with a value, or a CREDENTIAL with a credential and its key.")
class EnvironmentVariableInput:
    """A variable."""

    name: str = strawberry.field(description="Printable ASCII without '='; not SLIPWAY_…, which is the platform's.")
    type: enums.EnvironmentVariableType = strawberry.field(
        default=enums.EnvironmentVariableType.STRING, description="Where the value comes from."
    )
    value: str | None = strawberry.field(default=None, description="Of a STRING: up to 32 KiB.")
    credential_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="Of a CREDENTIAL; left out it keeps the one that the container's variable of that name has.",
    )
    field: str | None = strawberry.field(default=None, description="Of a CREDENTIAL: which of its keys.")


@strawberry.input(description="A container.")
class ContainerInput:
    """A container."""

    name: str | None = strawberry.field(
        default=None, description='A DNS label; left out: "main" for the primary, else "container-N" by position.'
    )
    description: str = strawberry.field(default="", description="Up to 5,000 characters.")
    image_uri: str = strawberry.field(description="[host[:port]/]path[:tag][@algorithm:hex]")
    port: int | None = strawberry.field(default=None, description="1 to 65535; the primary container needs one.")
    primary: bool = strawberry.field(
        default=False, description="Whether it gets the traffic. A lone container is primary whatever this says."
    )
    entrypoint: list[str] | None = strawberry.field(
        default=None, description="What is started, without a shell; null: what the image says."
    )
    environment_vars: list[EnvironmentVariableInput] = strawberry.field(
        default_factory=list, description="Up to 200, with names of their own."
    )
    startup_probe: ProbeInput | None = strawberry.field(default=None, description="Has it started?")
    readiness_probe: ProbeInput | None = strawberry.field(default=None, description="May it get traffic?")
    liveness_probe: ProbeInput | None = strawberry.field(default=None, description="Is it still well?")


@strawberry.input(description="Containers that share a network: a pod.")
class ContainerGroupInput:
    """A group."""

    name: str = strawberry.field(default=specification.DEFAULT_GROUP_NAME, description="A DNS label.")
    containers: list[ContainerInput] = strawberry.field(description="1 to 20; exactly one is primary.")


@strawberry.input(description="What an artifact runs.")
class ArtifactSpecInput:
    """A specification."""

    container_groups: list[ContainerGroupInput] = strawberry.field(description="Exactly one today.")


@strawberry.input(description="Limits of a container.")
class ContainerResourcesInput:
    """Limits."""

    container: str = strawberry.field(description="The name of the container.")
    cpu: float | None = strawberry.field(default=None, description="Above 0, up to 256 cores; null: no limit.")
    memory_bytes: float | None = strawberry.field(default=None, description="4 MiB to 4 TiB; null: no limit.")


@strawberry.input(description="A variable that a workload sets over what its artifact says.")
class WorkloadVariableInput:
    """An override."""

    container: str | None = strawberry.field(default=None, description="Left out: the primary container.")
    name: str = strawberry.field(description="Printable ASCII without '='; not SLIPWAY_…, which is the platform's.")
    type: enums.EnvironmentVariableType = strawberry.field(
        default=enums.EnvironmentVariableType.STRING, description="Where the value comes from."
    )
    value: str | None = strawberry.field(default=None, description="Of a STRING: up to 32 KiB.")
    credential_id: strawberry.ID | None = strawberry.field(default=None, description="Of a CREDENTIAL.")
    field: str | None = strawberry.field(default=None, description="Of a CREDENTIAL: which of its keys.")


@strawberry.input(description="A role to give to exactly one subject, or to take away.")
class GrantInput:
    """A change of a grant."""

    user: strawberry.ID | None = strawberry.field(default=None, description="This user.")
    group: str | None = strawberry.field(default=None, description="This group.")
    everyone: bool | None = strawberry.field(default=None, description="True: everybody who has a token.")
    role: enums.Role | None = strawberry.field(default=None, description="Null takes the grant away.")


@strawberry.input(description="Who is to have which role on a thing; grants that are not named stay.")
class ShareInput:
    """Changes of grants."""

    id: strawberry.ID = strawberry.field(description="The thing.")
    grants: list[GrantInput] = strawberry.field(description="1 to 100 changes.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A new draft.")
class CreateArtifactInput:
    """A draft to make."""

    repository_id: strawberry.ID | None = strawberry.field(
        default=None, description="In this repository; left out: it opens one and lends it name and type."
    )
    name: str = strawberry.field(description="1 to 200 characters.")
    description: str = strawberry.field(default="", description="Up to 5,000 characters.")
    type: enums.ArtifactType = strawberry.field(
        default=enums.ArtifactType.SERVICE, description="That of the repository."
    )
    tags: list[TagInput] = strawberry.field(default_factory=list, description="Up to 50.")
    spec: ArtifactSpecInput = strawberry.field(description="What it runs.")


@strawberry.input(description="A change of an artifact; what is left out stays.")
class UpdateArtifactInput:
    """A change."""

    artifact_id: strawberry.ID = strawberry.field(description="The artifact.")
    name: str | None = strawberry.field(default=None, description="A new name; of a draft.")
    description: str | None = strawberry.field(default=None, description="A new description; of a draft.")
    tags: list[TagInput] | None = strawberry.field(default=None, description="All its tags; also of a locked one.")
    spec: ArtifactSpecInput | None = strawberry.field(
        default=None, description="A whole new specification; of a draft. Containers keep their ids by name."
    )
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A container to add to a draft.")
class AddContainerInput:
    """A container to add."""

    artifact_id: strawberry.ID = strawberry.field(description="The draft.")
    container: ContainerInput = strawberry.field(description="The container.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A change of a container: what is left out stays, null clears.")
class UpdateContainerInput:
    """A change of a container."""

    container_id: strawberry.ID = strawberry.field(description="The container.")
    name: str | None = strawberry.field(default=strawberry.UNSET, description="A DNS label; null: as if left out.")
    description: str | None = strawberry.field(default=strawberry.UNSET, description="Up to 5,000 characters.")
    image_uri: str | None = strawberry.field(default=strawberry.UNSET, description="A new image; it can't be cleared.")
    port: int | None = strawberry.field(
        default=strawberry.UNSET, description="1 to 65535. Probes that asked the old port follow."
    )
    primary: bool | None = strawberry.field(default=strawberry.UNSET, description="True moves it here.")
    entrypoint: list[str] | None = strawberry.field(default=strawberry.UNSET, description="What is started.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A container to remove from a draft. The primary can't go while others stay.")
class RemoveContainerInput:
    """A container to remove."""

    container_id: strawberry.ID = strawberry.field(description="The container.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="Variables to add, or to replace by name; others stay.")
class SetEnvironmentVariablesInput:
    """Variables to set."""

    container_id: strawberry.ID = strawberry.field(description="The container.")
    variables: list[EnvironmentVariableInput] = strawberry.field(description="The variables.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="Variables to remove.")
class RemoveEnvironmentVariablesInput:
    """Variables to remove."""

    container_id: strawberry.ID = strawberry.field(description="The container.")
    names: list[str] = strawberry.field(description="Their names, all of which must be there.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A probe to set or replace.")
class SetProbeInput:
    """A probe to set."""

    container_id: strawberry.ID = strawberry.field(description="The container.")
    kind: enums.ProbeKind = strawberry.field(description="Which of the three.")
    probe: ProbeInput = strawberry.field(description="The probe.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A probe to remove.")
class RemoveProbeInput:
    """A probe to remove."""

    container_id: strawberry.ID = strawberry.field(description="The container.")
    kind: enums.ProbeKind = strawberry.field(description="Which of the three.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="An artifact.")
class ArtifactInput:
    """An artifact."""

    artifact_id: strawberry.ID = strawberry.field(description="The artifact.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A repository.")
class RepositoryInput:
    """A repository."""

    repository_id: strawberry.ID = strawberry.field(description="The repository.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A workload.")
class WorkloadInput:
    """A workload."""

    workload_id: strawberry.ID = strawberry.field(description="The workload.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A credential.")
class CredentialInput:
    """A credential."""

    credential_id: strawberry.ID = strawberry.field(description="The credential.")


@strawberry.input(description="A token of the viewer's own.")
class ApiTokenInput:
    """A token."""

    token_id: strawberry.ID = strawberry.field(description="The token.")


@strawberry.input(description="A draft to run for a while.")
class TestArtifactInput:
    """A test to start."""

    artifact_id: strawberry.ID = strawberry.field(description="The draft.")
    expires_in: timedelta = strawberry.field(
        default=validation.TEST_MAXIMUM, description="How long it runs; 8 hours at most."
    )
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="An artifact to run as a service; a draft is locked first.")
class DeployArtifactInput:
    """A service to start."""

    artifact_id: strawberry.ID = strawberry.field(description="The artifact.")
    name: str | None = strawberry.field(default=None, description="Left out: that of the artifact.")
    importance: enums.Importance = strawberry.field(default=enums.Importance.LOW, description="How much it matters.")
    replicas: int = strawberry.field(default=1, description="0 to 100.")
    resources: list[ContainerResourcesInput] = strawberry.field(
        default_factory=list, description="Limits of its containers."
    )
    environment: list[WorkloadVariableInput] = strawberry.field(
        default_factory=list, description="Variables over those of the artifact."
    )
    tags: list[TagInput] = strawberry.field(default_factory=list, description="Up to 50.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A locked artifact to make a new draft of, in the same repository.")
class CloneArtifactInput:
    """An artifact to clone."""

    artifact_id: strawberry.ID = strawberry.field(description="The locked artifact.")
    name: str | None = strawberry.field(default=None, description='Left out: "NAME (copy)".')
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A change of a repository; what is left out stays.")
class UpdateRepositoryInput:
    """A change of a repository."""

    repository_id: strawberry.ID = strawberry.field(description="The repository.")
    name: str | None = strawberry.field(default=None, description="A new name.")
    description: str | None = strawberry.field(default=None, description="A new description.")
    tags: list[TagInput] | None = strawberry.field(default=None, description="All its tags.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A change of what describes a workload; what is left out stays. Nothing of it rolls.")
class UpdateWorkloadInput:
    """A change of a workload."""

    workload_id: strawberry.ID = strawberry.field(description="The workload.")
    name: str | None = strawberry.field(default=None, description="A new name.")
    description: str | None = strawberry.field(default=None, description="A new description.")
    importance: enums.Importance | None = strawberry.field(default=None, description="How much it matters.")
    tags: list[TagInput] | None = strawberry.field(default=None, description="All its tags.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(
    description="A change of how a workload runs; what is left out stays. Resources or environment: it rolls."
)
class ConfigureWorkloadInput:
    """A new configuration of a workload."""

    workload_id: strawberry.ID = strawberry.field(description="The workload.")
    replicas: int | None = strawberry.field(default=None, description="0 to 100.")
    resources: list[ContainerResourcesInput] | None = strawberry.field(
        default=None, description="All limits of its containers."
    )
    environment: list[WorkloadVariableInput] | None = strawberry.field(
        default=None,
        description="All variables over those of the artifact. A CREDENTIAL without credentialId keeps the one that "
        "the workload's variable of that name has.",
    )
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A workload to roll to another locked artifact.")
class ReplaceArtifactInput:
    """A replacement to begin."""

    workload_id: strawberry.ID = strawberry.field(description="The workload, a SERVICE.")
    artifact_id: strawberry.ID = strawberry.field(description="The locked artifact, of the same type.")
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A test whose end is to be moved.")
class ExtendTestInput:
    """A test to extend."""

    workload_id: strawberry.ID = strawberry.field(description="The workload, an active TEST.")
    by: timedelta = strawberry.field(
        description="How much later it ends: up to 8 hours, and to at most 8 hours from now."
    )
    if_revision: int | None = strawberry.field(default=None, description=IF_REVISION)


@strawberry.input(description="A secret value under its key.")
class CredentialValueInput:
    """A value of a credential."""

    key: str = strawberry.field(description="1 to 128 letters, digits, '-', '.' and '_'.")
    value: str = strawberry.field(description="Up to 32 KiB. It is sealed and never answered.")


@strawberry.input(description="A new credential.")
class CreateCredentialInput:
    """A credential to make."""

    name: str = strawberry.field(description="1 to 200 characters.")
    values: list[CredentialValueInput] = strawberry.field(description="1 to 50.")


@strawberry.input(description="All new values of a credential. A key that a variable points at can't be dropped.")
class RotateCredentialInput:
    """Values to replace."""

    credential_id: strawberry.ID = strawberry.field(description="The credential.")
    values: list[CredentialValueInput] = strawberry.field(description="1 to 50.")


@strawberry.input(description="A new token of the viewer's own.")
class CreateApiTokenInput:
    """A token to make."""

    label: str = strawberry.field(description="What it is for: 1 to 200 characters.")
    expires_in: timedelta | None = strawberry.field(default=None, description="Left out: it does not expire.")
    read_only: bool = strawberry.field(default=False, description="Whether it can query only.")


def given(source: Any, names: Sequence[str]) -> dict[str, Any]:
    """Those of the fields that were not left out."""
    found = {name: getattr(source, name) for name in names}
    return {name: value for name, value in found.items() if value is not strawberry.UNSET}
