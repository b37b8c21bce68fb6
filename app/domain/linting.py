"""Lint: what a specification may say, and is likely to be sorry for."""

import dataclasses
import re
from collections.abc import Iterator

from app.domain import references
from app.domain.enums import ArtifactStatus, ProbeKind
from app.domain.specification import Container, Probe, Specification

_USUAL_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class SpecWarning:
    """One warning: where (`spec.containerGroups[0].containers[1].imageUri`), what, what to do."""

    path: str
    code: str
    message: str


def warnings(spec: Specification, status: ArtifactStatus) -> tuple[SpecWarning, ...]:
    """Every warning about a checked specification, container by container."""
    return tuple(
        SpecWarning(f"spec.containerGroups[{group_position}].containers[{position}].{field}", code, message)
        for group_position, group in enumerate(spec.container_groups)
        for position, container in enumerate(group.containers)
        for field, code, message in _of_container(container, status)
    )


def _of_container(container: Container, status: ArtifactStatus) -> Iterator[tuple[str, str, str]]:
    yield from _image(container, status)
    for position, variable in enumerate(container.environment_vars):
        if not _USUAL_VARIABLE_NAME.fullmatch(variable.name):
            message = "Shells can't read a variable of this name: use letters, digits and '_', and no digit first."
            yield f"environmentVars[{position}].name", "UNUSUAL_VARIABLE_NAME", message
    yield from _probes(container)


def _image(container: Container, status: ArtifactStatus) -> Iterator[tuple[str, str, str]]:
    reference = references.parse(container.image_uri)
    if isinstance(reference, str) or reference.digest is not None or container.image_digest is not None:
        return
    tag = f"The tag {reference.tag or references.DEFAULT_TAG!r}"
    if status is ArtifactStatus.DRAFT:
        message = (
            f"{tag} can be moved to another image at any time. A lock pins the digest that it has then, as far as its "
            "registry tells it; one that is written behind '@' holds from now on."
        )
        yield "imageUri", "MUTABLE_TAG", message
    else:
        message = (
            f"{tag} had no digest that could be found out when this was locked: what runs changes when it is moved. "
            "Clone this and lock the clone when its registry answers, or write the digest behind '@'."
        )
        yield "imageUri", "IMAGE_NOT_PINNED", message


def _probes(container: Container) -> Iterator[tuple[str, str, str]]:
    readiness = container.probes.get(ProbeKind.READINESS)
    liveness = container.probes.get(ProbeKind.LIVENESS)
    if container.primary and readiness is None:
        message = "It gets traffic as soon as it runs, whether it can serve or not: add a readiness probe."
        yield "readinessProbe", "NO_READINESS_PROBE", message
    # A startup probe holds the others back until it has passed.
    if liveness is None or ProbeKind.STARTUP in container.probes:
        return
    restarted = _earliest_seconds(liveness, liveness.failure_threshold)
    ready = 0 if readiness is None else _earliest_seconds(readiness, readiness.success_threshold)
    if restarted <= ready:
        message = (
            f"It is restarted where it does not answer within {restarted} s of its start, and can't be ready before "
            f"{ready} s: add a startup probe, or give the liveness probe a longer initialDelaySeconds."
        )
        yield "livenessProbe", "LIVENESS_BEFORE_STARTUP", message


def _earliest_seconds(probe: Probe, answers: int) -> int:
    """How long after the container's start a probe can have got so many answers at the earliest."""
    return probe.initial_delay_seconds + (answers - 1) * probe.period_seconds
