"""What runs, as a file that runs it elsewhere: Kubernetes objects, or a Compose file, written as YAML."""

import asyncio
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import yaml
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import select

from app.api import values
from app.api.context import Context, Info, Surroundings
from app.api.enums import ManifestFormat
from app.api.fields import Scope
from app.db import reads, tables
from app.db.aliases import Alias
from app.domain import environment, manifests, references, specification, wanted
from app.domain.environment import EffectiveVariable
from app.domain.manifests import SECRET_PLACEHOLDER, Owner
from app.domain.wanted import WantedContainer, WantedLaunch

# What no version of YAML takes for anything but text, without quotes. Of the rest "1e3", "0o7" and "y" are text to one
# version, and a number or a truth to another.
_PLAIN = re.compile(r"[A-Za-z/][-\w./:@]+", re.ASCII)


async def variables_of(info: Info, row: tables.WorkloadRow) -> Sequence[EffectiveVariable]:
    """What the containers of a workload get: platform over workload over artifact."""
    loaders = info.context.loaders
    given = await loaders.children(tables.WorkloadVariableRow, "workload_id", row.id, "position")
    artifact = await loaders.row(tables.ArtifactRow, row.artifact_id)
    overrides = [
        (
            each.container,
            specification.EnvironmentVariable(each.name, each.type, each.value, each.credential_id, each.field),
        )
        for each in given
    ]
    platform = environment.platform(row.id, row.artifact_id, artifact.version)
    return environment.effective(specification.from_json(row.specification), overrides, platform)


def facts_of_variables(row: Any, _: Scope) -> Any:
    """What `variables_of_facts` wants to know of a workload, as SQL."""
    given = Alias(tables.WorkloadVariableRow)
    artifact = Alias(tables.ArtifactRow)
    override = func.json_build_object(
        *("container", given.container, "name", given.name, "type", given.type),
        *("value", given.value, "credentialId", given.credential_id, "field", given.field),
    )
    overrides = select(func.json_agg(aggregate_order_by(override, given.position))).where(given.workload_id == row.id)
    version = select(artifact.version).where(artifact.id == row.artifact_id)
    return func.json_build_array(
        row.specification,
        overrides.correlate_except(given).scalar_subquery(),
        row.id,
        row.artifact_id,
        version.correlate_except(artifact).scalar_subquery(),
    )


def variables_of_facts(facts: Any, _: Context, __: Any) -> list[values.EffectiveVariable]:
    """What the containers of a workload get, going by `facts_of_variables`."""
    return spoken_variables(_effective(facts))


def _effective(facts: Any) -> Sequence[EffectiveVariable]:
    spec, overrides, workload_id, artifact_id, version = facts
    given = environment.overrides_from_json(overrides or ())
    platform = environment.platform(UUID(workload_id), UUID(artifact_id), version)
    return environment.effective(specification.from_json(spec), given, platform)


def spoken_variables(variables: Sequence[EffectiveVariable]) -> list[values.EffectiveVariable]:
    """Variables, spoken."""
    return [
        values.EffectiveVariable(
            name=each.name, container=each.container, value=each.value, origin=each.origin, masked=each.masked
        )
        for each in variables
    ]


async def of_workload(info: Info, row: tables.WorkloadRow, written_as: ManifestFormat) -> str:
    """The launch of a workload that serves now."""
    launch = _Launch(specification.from_json(row.specification), row.resources, row.launch, row.replicas)
    return await launch.written(info.context, row.id, await variables_of(info, row), written_as)


def facts_of_workload(row: Any, scope: Scope) -> Any:
    """What `of_workload_facts` wants to know of a workload, as SQL."""
    return func.json_build_array(facts_of_variables(row, scope), row.resources, row.launch, row.replicas)


async def of_workload_facts(facts: Any, context: Context, given: Mapping[str, Any]) -> str:
    """The same as `of_workload`, going by `facts_of_workload`."""
    variables, resources, launch, replicas = facts
    wanted_launch = _Launch(specification.from_json(variables[0]), resources, launch, replicas)
    return await wanted_launch.written(context, UUID(variables[2]), _effective(variables), _format(given))


async def of_artifact(info: Info, row: tables.ArtifactRow, written_as: ManifestFormat) -> str:
    """One replica of an artifact, which no workload of Slipway is."""
    spec = await info.context.loaders.specification(row.id)
    return await _of_specification(info.context, spec, row.id, row.version, written_as)


def facts_of_artifact(row: Any, _: Scope) -> Any:
    """What `of_artifact_facts` wants to know of an artifact, as SQL."""
    return func.json_build_array(reads.specification_document(row), row.id, row.version)


async def of_artifact_facts(facts: Any, context: Context, given: Mapping[str, Any]) -> str:
    """The same as `of_artifact`, going by `facts_of_artifact`; nothing of a frame."""
    if facts is None:
        return ""
    spec, artifact_id, version = facts
    return await _of_specification(context, specification.from_json(spec), UUID(artifact_id), version, _format(given))


def _format(given: Mapping[str, Any]) -> ManifestFormat:
    found: ManifestFormat = given.get("format_", ManifestFormat.KUBERNETES)
    return found


async def _of_specification(
    context: Context,
    spec: specification.Specification,
    artifact_id: UUID,
    version: int | None,
    written_as: ManifestFormat,
) -> str:
    variables = environment.effective(spec, (), environment.platform(None, artifact_id, version))
    launch = WantedLaunch(1, _containers(spec, variables, ()), replicas=1, runs={})
    owner = manifests.of_artifact(artifact_id)
    return await asyncio.to_thread(_write, written_as, context.surroundings, owner, launch)


@dataclasses.dataclass(frozen=True, slots=True)
class _Launch:
    """What a manifest tells of a launch."""

    spec: specification.Specification
    resources: Sequence[Any]
    launch: int
    replicas: int

    async def written(
        self, context: Context, workload_id: UUID, variables: Sequence[EffectiveVariable], written_as: ManifestFormat
    ) -> str:
        """The YAML."""
        launch = WantedLaunch(self.launch, _containers(self.spec, variables, self.resources), self.replicas, runs={})
        owner = manifests.of_workload(context.surroundings.cluster, workload_id)
        return await asyncio.to_thread(_write, written_as, context.surroundings, owner, launch)


def _containers(
    spec: specification.Specification, variables: Sequence[EffectiveVariable], resources: Sequence[Any]
) -> tuple[WantedContainer, ...]:
    values = {each: SECRET_PLACEHOLDER if each.value is None else each.value for each in variables}
    return wanted.containers(spec, values, resources)


def _write(written_as: ManifestFormat, surroundings: Surroundings, owner: Owner, launch: WantedLaunch) -> str:
    if written_as is ManifestFormat.COMPOSE:
        return _with_remarks(_remarks_on_compose(launch), [{"name": owner.name, **manifests.compose(launch)}])
    images = (references.parse(each.image) for each in launch.containers)
    registries = sorted({each.registry for each in images if not isinstance(each, str)} & surroundings.registries)
    credentials = dict.fromkeys(registries, (SECRET_PLACEHOLDER, SECRET_PLACEHOLDER))
    objects = manifests.kubernetes(surroundings.cluster, owner, launch, credentials)
    return _with_remarks(_remarks_on_kubernetes(objects), objects)


def _remarks_on_kubernetes(objects: Sequence[manifests.Manifest]) -> Iterator[str]:
    if any(each["kind"] == "Secret" for each in objects):
        yield f"Put values in the place of {SECRET_PLACEHOLDER}: Slipway does not give them away."


def _remarks_on_compose(launch: WantedLaunch) -> Iterator[str]:
    if launch.replicas != 1:
        yield f"Slipway runs {launch.replicas} replicas; this is one, as the port of a machine is there once."
    if any(each.probes for each in launch.containers):
        yield "Probes are left out: Compose runs a command in the container, and which ones it has is not known here."
    if any(each.secret_names for each in launch.containers):
        yield f"Values of credentials are taken from the environment; put others in the place of {SECRET_PLACEHOLDER}."


def _with_remarks(remarks: Iterator[str], documents: Sequence[manifests.Manifest]) -> str:
    return "".join(f"# {remark}\n" for remark in remarks) + to_yaml(documents)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # the one in C, where there is one
    """Writes plain values. Text that could be taken for something else stands in quotes."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # the base class asks for each value
        """Write everything where it stands: people read it."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None if _PLAIN.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(documents: Sequence[manifests.Manifest]) -> str:
    """Plain values as YAML that every version of it reads the same, one document each."""
    text: str = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31 - 1)
    return text
