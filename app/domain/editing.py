"""Small changes of a specification, as pure functions: one container, its variables, its probes.

Each answers the whole new specification, which is then checked as a whole; containers are named by the id of their row.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from app.domain.enums import EnvironmentVariableType, ProbeKind
from app.domain.specification import Container, EnvironmentVariable, Probe, Specification
from app.domain.validation import PORT_MAXIMUM, VARIABLES_MAXIMUM, Issues, group_containers

_MOVES_PRIMARY = "primary"


def add_container(spec: Specification, added: Container) -> Specification:
    """The container at the end of the first group. A primary one takes that over."""
    group = spec.container_groups[0]
    others = group.containers
    if added.primary:
        others = tuple(dataclasses.replace(each, primary=False) for each in others)
    return _with_containers(spec, 0, (*others, added))


def update_container(spec: Specification, container_id: UUID, changes: Mapping[str, Any]) -> Specification:
    """The container with these fields changed; `primary: True` moves it here.

    A probe that asked the container's port follows it to the new one.
    """

    def change(container: Container) -> Container:
        changed = dataclasses.replace(container, **changes)
        old, new = container.port, changed.port
        # Nothing follows to a port that there is not: it is told once, as the container's.
        if old == new or new is None or not 1 <= new <= PORT_MAXIMUM:
            return changed
        probes = {
            kind: dataclasses.replace(probe, port=new) if probe.port == old else probe
            for kind, probe in changed.probes.items()
        }
        return dataclasses.replace(changed, probes=probes)

    spec = _map_container(spec, container_id, change)
    if changes.get(_MOVES_PRIMARY):
        spec = _map_containers(
            spec, lambda each: each if each.id == container_id else dataclasses.replace(each, primary=False)
        )
    return spec


def remove_container(issues: Issues, spec: Specification, container_id: UUID) -> Specification:
    """The specification without the container. The primary can't go while others stay; nor can the last one."""
    for position, group in enumerate(spec.container_groups):
        gone = next((each for each in group.containers if each.id == container_id), None)
        if gone is None:
            continue
        if len(group.containers) == 1:
            issues.add("containerId", "LAST_CONTAINER", "An artifact keeps at least one container.")
            return spec
        if gone.primary:
            issues.add(
                "containerId", "PRIMARY_CONTAINER", "Make another container primary first, then remove this one."
            )
            return spec
        return _with_containers(spec, position, tuple(each for each in group.containers if each is not gone))
    return spec


def set_variables(
    issues: Issues, spec: Specification, container_id: UUID, variables: Sequence[EnvironmentVariable]
) -> Specification:
    """The variables added, or put in the place of those with their names; the others stay."""
    if not issues.count("variables", variables, 0, VARIABLES_MAXIMUM):
        return spec
    names = ((f"variables[{position}].name", each.name) for position, each in enumerate(variables))
    issues.unique(names, "The variable")

    def change(container: Container) -> Container:
        given = {each.name: each for each in keep_credentials(variables, container.environment_vars)}
        kept = [given.pop(each.name, each) for each in container.environment_vars]
        return dataclasses.replace(container, environment_vars=(*kept, *given.values()))

    return _map_container(spec, container_id, change)


def remove_variables(issues: Issues, spec: Specification, container_id: UUID, names: Sequence[str]) -> Specification:
    """The container without the variables of these names, all of which must be there."""
    if not issues.count("names", names, 0, VARIABLES_MAXIMUM):
        return spec

    def change(container: Container) -> Container:
        there = {each.name for each in container.environment_vars}
        for position, name in enumerate(names):
            if name not in there:
                issues.add(f"names[{position}]", "NO_SUCH_VARIABLE", f"The container has no variable {name[:100]!r}.")
        return dataclasses.replace(
            container, environment_vars=tuple(each for each in container.environment_vars if each.name not in names)
        )

    return _map_container(spec, container_id, change)


def set_probe(
    spec: Specification, container_id: UUID, kind: ProbeKind, probe: Probe, *, port_left_out: bool
) -> Specification:
    """The probe, set or replaced. A port that was left out is the container's."""

    def change(container: Container) -> Container:
        placed = dataclasses.replace(probe, port=container.port or 0) if port_left_out else probe
        return dataclasses.replace(container, probes={**container.probes, kind: placed})

    return _map_container(spec, container_id, change)


def remove_probe(issues: Issues, spec: Specification, container_id: UUID, kind: ProbeKind) -> Specification:
    """The container without the probe, which must be there."""

    def change(container: Container) -> Container:
        if kind not in container.probes:
            issues.add("kind", "NO_SUCH_PROBE", f"The container has no {kind.value.lower()} probe.")
        return dataclasses.replace(
            container, probes={each: probe for each, probe in container.probes.items() if each is not kind}
        )

    return _map_container(spec, container_id, change)


def take_over(given: Specification, before: Specification) -> Specification:
    """A specification that replaces another: containers of the same name keep their rows.

    A CREDENTIAL variable without a credential keeps the one that the container's variable of that name has.
    """
    stored = {container.name: container for container in before.containers}

    def change(container: Container) -> Container:
        old = stored.pop(container.name, None)
        if old is None:
            return container
        return dataclasses.replace(
            container,
            id=old.id,
            environment_vars=keep_credentials(container.environment_vars, old.environment_vars),
        )

    named = Specification(
        tuple(
            dataclasses.replace(group, containers=tuple(group_containers(group.containers)))
            for group in given.container_groups
        )
    )
    return _map_containers(named, change)


def keep_credentials(
    given: Sequence[EnvironmentVariable], before: Sequence[EnvironmentVariable]
) -> tuple[EnvironmentVariable, ...]:
    """A CREDENTIAL variable without a credential keeps the one that the variable of that name has."""
    held = {each.name: each.credential_id for each in before}
    return tuple(
        dataclasses.replace(each, credential_id=held.get(each.name))
        if each.type is EnvironmentVariableType.CREDENTIAL and each.credential_id is None
        else each
        for each in given
    )


def _map_container(spec: Specification, container_id: UUID, change: Callable[[Container], Container]) -> Specification:
    return _map_containers(spec, lambda each: change(each) if each.id == container_id else each)


def _map_containers(spec: Specification, change: Callable[[Container], Container]) -> Specification:
    return Specification(
        tuple(
            dataclasses.replace(group, containers=tuple(change(each) for each in group.containers))
            for group in spec.container_groups
        )
    )


def _with_containers(spec: Specification, position: int, containers: tuple[Container, ...]) -> Specification:
    groups = list(spec.container_groups)
    groups[position] = dataclasses.replace(groups[position], containers=containers)
    return Specification(tuple(groups))
