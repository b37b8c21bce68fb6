"""Inputs as the domain knows them. Nothing is judged here: what can't be right becomes what the rules will refuse."""

from collections.abc import Sequence
from uuid import UUID

from app.actions.rolling import Configuration
from app.actions.workloads import Deployment
from app.api import inputs
from app.domain import errors, ids, people, specification, validation
from app.domain.enums import ProbeKind

# An id that nothing has: the rules find out that there is no such thing, and say so in their order.
NOTHING = UUID(int=0)


def existing(kind: ids.Kind, text: str) -> UUID:
    """The id of the thing that a mutation is about.

    Raises:
        errors.NotFound: no thing of this kind can have it.
    """
    decoded = ids.decode_as(kind, text)
    if decoded is None:
        raise errors.NotFound(text)
    return decoded


def pointer(kind: ids.Kind, text: str | None) -> UUID | None:
    """The id of a thing that an input points at."""
    return None if text is None else ids.decode_as(kind, text) or NOTHING


def tags(given: Sequence[inputs.TagInput]) -> list[validation.Tag]:
    """Tags."""
    return [validation.Tag(each.name, each.value) for each in given]


def optional_tags(given: Sequence[inputs.TagInput] | None) -> list[validation.Tag] | None:
    """Tags; None: as they are."""
    return None if given is None else tags(given)


def spec(given: inputs.ArtifactSpecInput) -> specification.Specification:
    """A specification."""
    return specification.Specification(
        tuple(
            specification.ContainerGroup(tuple(container(each) for each in group.containers), group.name)
            for group in given.container_groups
        )
    )


def container(given: inputs.ContainerInput) -> specification.Container:
    """A container."""
    probes = {
        ProbeKind.STARTUP: given.startup_probe,
        ProbeKind.READINESS: given.readiness_probe,
        ProbeKind.LIVENESS: given.liveness_probe,
    }
    return specification.Container(
        name=container_name(given.name),
        image_uri=given.image_uri,
        description=given.description,
        port=given.port,
        primary=given.primary,
        entrypoint=None if given.entrypoint is None else tuple(given.entrypoint),
        environment_vars=variables(given.environment_vars),
        probes={kind: probe(each, given.port) for kind, each in probes.items() if each is not None},
    )


def container_name(given: str | None) -> str:
    """The name of a container. An empty one stands for one that was left out; one that was written so is no name."""
    return "" if given is None else given or " "


def variables(given: Sequence[inputs.EnvironmentVariableInput]) -> tuple[specification.EnvironmentVariable, ...]:
    """Variables of a container."""
    return tuple(variable(each) for each in given)


def variable(
    given: inputs.EnvironmentVariableInput | inputs.WorkloadVariableInput,
) -> specification.EnvironmentVariable:
    """A variable."""
    return specification.EnvironmentVariable(
        name=given.name,
        type=given.type,
        value=given.value,
        credential_id=pointer(ids.Kind.CREDENTIAL, given.credential_id),
        field=given.field,
    )


def probe(given: inputs.ProbeInput, container_port: int | None) -> specification.Probe:
    """A probe. Port 0 stands for one that neither it nor its container has."""
    return specification.Probe(
        path=given.path,
        port=(container_port or 0) if given.port is None else given.port,
        scheme=given.scheme,
        headers=tuple(specification.ProbeHeader(each.name, each.value) for each in given.headers),
        initial_delay_seconds=given.initial_delay_seconds,
        period_seconds=given.period_seconds,
        timeout_seconds=given.timeout_seconds,
        success_threshold=given.success_threshold,
        failure_threshold=given.failure_threshold,
    )


def grants(given: Sequence[inputs.GrantInput]) -> list[people.GrantChange]:
    """Changes of grants. A subject of None: not exactly one was named."""
    found = []
    for each in given:
        user_id = pointer(ids.Kind.USER, each.user)
        named = (user_id is not None) + (each.group is not None) + (each.everyone is True)
        subject = people.Subject(user_id, each.group) if named == 1 and each.everyone is not False else None
        found.append(people.GrantChange(subject, each.role))
    return found


def deployment(given: inputs.DeployArtifactInput) -> Deployment:
    """How a service is to run."""
    return Deployment(
        name=given.name,
        importance=given.importance,
        replicas=given.replicas,
        resources=[validation.Resources(each.container, each.cpu, each.memory_bytes) for each in given.resources],
        environment=[(each.container, variable(each)) for each in given.environment],
        tags=tags(given.tags),
    )


def configuration(given: inputs.ConfigureWorkloadInput) -> Configuration:
    """A new configuration of a workload."""
    resources, environment = given.resources, given.environment
    return Configuration(
        replicas=given.replicas,
        resources=None
        if resources is None
        else [validation.Resources(each.container, each.cpu, each.memory_bytes) for each in resources],
        environment=None if environment is None else [(each.container, variable(each)) for each in environment],
    )


def credential_values(given: Sequence[inputs.CredentialValueInput]) -> list[tuple[str, str]]:
    """Keys with their values."""
    return [(each.key, each.value) for each in given]
