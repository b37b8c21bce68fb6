"""Mutations of one container of a draft. The paths of their issues are those of their inputs."""

import re
from collections.abc import Callable
from typing import Any

import strawberry

from app.actions import artifacts
from app.actions.artifacts import ArtifactChanges
from app.api import convert, inputs
from app.api.context import Info
from app.api.mutations.common import Given, acting, spoken
from app.api.payloads import ArtifactPayload, UpdateArtifactResult
from app.db import tables
from app.domain import editing, ids
from app.domain.specification import Specification
from app.domain.validation import Issues

# matches: spec.containerGroups[0].containers, to its end
_CONTAINERS_PATH = re.compile(r"spec\.containerGroups\[\d+\]\.containers$")
# matches: spec.containerGroups[0].containers[1].port, up to the last dot
_CONTAINER_PATH = re.compile(r"spec\.containerGroups\[\d+\]\.containers\[\d+\]\.")
# matches: spec.containerGroups[0].containers[1].environmentVars[2] and captures the 2
_VARIABLE_PATH = re.compile(_CONTAINER_PATH.pattern + r"environmentVars\[(\d+)\]")
# matches: spec.containerGroups[0].containers[1].startupProbe, with the dot behind it
_PROBE_PATH = re.compile(_CONTAINER_PATH.pattern + r"\w+Probe\.")


@strawberry.type
class ContainerMutations:
    """Containers, their variables and their probes."""

    @strawberry.mutation(description="Add a container to a draft; a primary one takes that over.")
    async def add_container(self, info: Info, input: Given[inputs.AddContainerInput]) -> UpdateArtifactResult:
        """See `editing.add_container`."""
        artifact_id = convert.existing(ids.Kind.ARTIFACT, input.artifact_id)
        added = convert.container(input.container)
        changes = ArtifactChanges(
            specification=lambda _, before: editing.add_container(before, added),
            relocate=lambda path: _CONTAINER_PATH.sub("container.", _CONTAINERS_PATH.sub("container", path)),
        )
        await artifacts.update(acting(info), artifact_id, input.if_revision, changes)
        return ArtifactPayload(artifact=await spoken(info, tables.ArtifactRow, artifact_id))

    @strawberry.mutation(description="Change a container: what is left out stays, null clears.")
    async def update_container(self, info: Info, input: Given[inputs.UpdateContainerInput]) -> UpdateArtifactResult:
        """See `editing.update_container`."""
        container_id = convert.existing(ids.Kind.CONTAINER, input.container_id)
        given = inputs.given(input, ("name", "description", "image_uri", "port", "primary", "entrypoint"))

        def change(issues: Issues, before: Specification) -> Specification:
            return editing.update_container(before, container_id, _container_changes(issues, given))

        def relocate(path: str) -> str:
            # What can be wrong with the containers as a list is that none of them is primary any more.
            return _CONTAINER_PATH.sub("", _CONTAINERS_PATH.sub("primary", path))

        return await _edit(info, input, change, relocate)

    @strawberry.mutation(description="Remove a container from a draft. The primary can't go while others stay.")
    async def remove_container(self, info: Info, input: Given[inputs.RemoveContainerInput]) -> UpdateArtifactResult:
        """See `editing.remove_container`."""
        container_id = convert.existing(ids.Kind.CONTAINER, input.container_id)
        return await _edit(info, input, lambda issues, before: editing.remove_container(issues, before, container_id))

    @strawberry.mutation(description="Add variables to a container, or replace them by name; others stay.")
    async def set_environment_variables(
        self, info: Info, input: Given[inputs.SetEnvironmentVariablesInput]
    ) -> UpdateArtifactResult:
        """See `editing.set_variables`."""
        container_id = convert.existing(ids.Kind.CONTAINER, input.container_id)
        variables = convert.variables(input.variables)
        positions: dict[int, int] = {}

        def change(issues: Issues, before: Specification) -> Specification:
            after = editing.set_variables(issues, before, container_id, variables)
            asked = {each.name: position for position, each in enumerate(variables)}
            changed = next(each for each in after.containers if each.id == container_id)
            for position, each in enumerate(changed.environment_vars):
                positions[position] = asked.get(each.name, position)
            return after

        def relocate(path: str) -> str:
            path = _VARIABLE_PATH.sub(lambda match: f"variables[{positions[int(match[1])]}]", path)
            return _CONTAINER_PATH.sub("", path).replace("environmentVars", "variables")

        return await _edit(info, input, change, relocate)

    @strawberry.mutation(description="Remove variables from a container.")
    async def remove_environment_variables(
        self, info: Info, input: Given[inputs.RemoveEnvironmentVariablesInput]
    ) -> UpdateArtifactResult:
        """See `editing.remove_variables`."""
        container_id = convert.existing(ids.Kind.CONTAINER, input.container_id)
        names = input.names
        return await _edit(
            info, input, lambda issues, before: editing.remove_variables(issues, before, container_id, names)
        )

    @strawberry.mutation(description="Set a probe of a container, or replace it.")
    async def set_probe(self, info: Info, input: Given[inputs.SetProbeInput]) -> UpdateArtifactResult:
        """See `editing.set_probe`."""
        container_id = convert.existing(ids.Kind.CONTAINER, input.container_id)
        left_out = input.probe.port is None
        probe = convert.probe(input.probe, None)
        return await _edit(
            info,
            input,
            lambda _, before: editing.set_probe(before, container_id, input.kind, probe, port_left_out=left_out),
            lambda path: _PROBE_PATH.sub("probe.", path),
        )

    @strawberry.mutation(description="Remove a probe from a container.")
    async def remove_probe(self, info: Info, input: Given[inputs.RemoveProbeInput]) -> UpdateArtifactResult:
        """See `editing.remove_probe`."""
        container_id = convert.existing(ids.Kind.CONTAINER, input.container_id)
        return await _edit(
            info, input, lambda issues, before: editing.remove_probe(issues, before, container_id, input.kind)
        )


def _container_changes(issues: Issues, given: dict[str, Any]) -> dict[str, Any]:
    """What was given, as fields of a container. Null clears what can be empty."""
    wanted = dict(given)
    if wanted.get("image_uri", "") is None:
        issues.add("imageUri", "REQUIRED", "It can't be cleared: leave it out to keep it.")
        del wanted["image_uri"]
    if "name" in wanted:
        wanted["name"] = convert.container_name(wanted["name"])
    if wanted.get("description", "") is None:
        wanted["description"] = ""
    if wanted.get("primary", False) is None:
        del wanted["primary"]
    if wanted.get("entrypoint") is not None:
        wanted["entrypoint"] = tuple(wanted["entrypoint"])
    return wanted


async def _edit(
    info: Info, input: Any, change: artifacts.SpecificationChange, relocate: Callable[[str], str] = lambda path: path
) -> ArtifactPayload:
    container_id = convert.existing(ids.Kind.CONTAINER, input.container_id)
    changes = ArtifactChanges(specification=change, relocate=relocate)
    artifact_id = await artifacts.edit_container(acting(info), container_id, input.if_revision, changes)
    return ArtifactPayload(artifact=await spoken(info, tables.ArtifactRow, artifact_id))
