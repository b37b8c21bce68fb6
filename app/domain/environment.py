"""The environment of a container: what the platform, the workload and the artifact give it, and how arguments use it.

Of several values of one name the platform's wins over the workload's, and the workload's over the artifact's.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from app.domain import enums, ids
from app.domain.specification import Container, EnvironmentVariable, Specification

Override = tuple[str, EnvironmentVariable]
"""A variable that a workload gives a container, by the container's name."""

PORT_VARIABLE = "PORT"

# "$$" is an escaped dollar sign, "$(NAME)" a reference.
_REFERENCE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")
# Beside these "$PORT" and "${PORT}", but not "$PORTS".
_REFERENCE_OR_PORT = re.compile(_REFERENCE.pattern + r"|\$(PORT)(?![A-Za-z0-9_])|\$\{(PORT)\}")
_WHITE_SPACE = re.compile(r"\s")


@dataclasses.dataclass(frozen=True, slots=True)
class EffectiveVariable:
    """A variable as a container gets it.

    Of a credential only the place is known here, `credential_id` and `field`: `value` is None and `masked` is set.
    """

    name: str
    container: str
    value: str | None
    origin: enums.VariableOrigin
    masked: bool = False
    credential_id: UUID | None = None
    field: str | None = None


def platform(workload_id: UUID | None, artifact_id: UUID, artifact_version: int | None) -> dict[str, str]:
    """What the platform tells every container. The version is empty for a draft. None: there is no workload to name."""
    workload = {} if workload_id is None else {"SLIPWAY_WORKLOAD_ID": ids.encode(ids.Kind.WORKLOAD, workload_id)}
    return {
        **workload,
        "SLIPWAY_ARTIFACT_ID": ids.encode(ids.Kind.ARTIFACT, artifact_id),
        "SLIPWAY_ARTIFACT_VERSION": "" if artifact_version is None else str(artifact_version),
    }


def overrides_to_json(overrides: Iterable[Override]) -> list[dict[str, Any]]:
    """Overrides as plain JSON values. `overrides_from_json` reads them back."""
    return [
        {
            "container": container,
            "name": variable.name,
            "type": variable.type.value,
            "value": variable.value,
            "credentialId": None if variable.credential_id is None else str(variable.credential_id),
            "field": variable.field,
        }
        for container, variable in overrides
    ]


def overrides_from_json(stored: Iterable[dict[str, Any]]) -> list[Override]:
    """Read what `overrides_to_json` wrote."""
    return [
        (
            each["container"],
            EnvironmentVariable(
                name=each["name"],
                type=enums.EnvironmentVariableType(each["type"]),
                value=each["value"],
                credential_id=None if each["credentialId"] is None else UUID(each["credentialId"]),
                field=each["field"],
            ),
        )
        for each in stored
    ]


def effective(
    specification: Specification,
    overrides: Sequence[Override],
    platform_values: Mapping[str, str],
) -> list[EffectiveVariable]:
    """The variables of every container: containers in order, in each the platform's first, then by name.

    `overrides` are the workload's own, as pairs of a container's name and a variable; one of a container that is not
    there has no effect. `PORT` is the container's port. A runtime that can't give a container the port that was asked
    for, such as `process`, sets the one that it found instead.
    """
    return [
        variable
        for container in specification.containers
        for variable in sorted(_of_container(container, overrides, platform_values), key=_display_order)
    ]


def _of_container(
    container: Container, overrides: Sequence[tuple[str, EnvironmentVariable]], platform_values: Mapping[str, str]
) -> Iterator[EffectiveVariable]:
    variables = {
        each.name: _declared(container, each, enums.VariableOrigin.ARTIFACT) for each in container.environment_vars
    }
    for name, override in overrides:
        if name == container.name:
            variables[override.name] = _declared(container, override, enums.VariableOrigin.WORKLOAD)
    given = dict(platform_values)
    if container.port is not None:
        given[PORT_VARIABLE] = str(container.port)
    for name, value in given.items():
        variables[name] = EffectiveVariable(name, container.name, value, enums.VariableOrigin.PLATFORM)
    return iter(variables.values())


def _declared(container: Container, variable: EnvironmentVariable, origin: enums.VariableOrigin) -> EffectiveVariable:
    if variable.type is enums.EnvironmentVariableType.STRING:
        return EffectiveVariable(variable.name, container.name, variable.value or "", origin)
    return EffectiveVariable(
        variable.name,
        container.name,
        value=None,
        origin=origin,
        masked=True,
        credential_id=variable.credential_id,
        field=variable.field,
    )


def _display_order(variable: EffectiveVariable) -> tuple[int, str]:
    return -enums.rank(variable.origin), variable.name


def expand_arguments(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Fill variables into an entrypoint, for which no shell is started.

    `$(NAME)` as Kubernetes does it in `command` and `args`: an unknown name stays as it is written, and `$$` stands
    for one dollar sign. Also `$PORT` and `${PORT}`, which nearly every entrypoint needs, but only in an argument
    without white space: what has some is likely a script, and its shell does the rest.

    https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/
    """

    def replace(match: re.Match[str]) -> str:
        escaped, *names = match.groups()
        name = next((each for each in names if each is not None), "")
        return escaped or environment.get(name, match[0])

    return [
        (_REFERENCE if _WHITE_SPACE.search(argument) else _REFERENCE_OR_PORT).sub(replace, argument)
        for argument in arguments
    ]


def fill_port(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Fill in `$PORT` and `${PORT}` alone, as `expand_arguments` does, and leave `$(NAME)` and `$$` as they are.

    For runtimes that do the rest themselves.
    """

    def replace(match: re.Match[str]) -> str:
        _, _, *ports = match.groups()
        return environment.get(PORT_VARIABLE, match[0]) if any(ports) else match[0]

    return [
        argument if _WHITE_SPACE.search(argument) else _REFERENCE_OR_PORT.sub(replace, argument)
        for argument in arguments
    ]
