"""Each warning, where it is and where it is not."""

from typing import Any

import pytest

from app.domain import linting
from app.domain.enums import ArtifactStatus, ProbeKind
from app.domain.specification import Container, ContainerGroup, EnvironmentVariable, Probe, Specification

DIGEST = "sha256:" + "0" * 64
DRAFT, LOCKED = ArtifactStatus.DRAFT, ArtifactStatus.LOCKED


def warned(status: ArtifactStatus = DRAFT, **given: Any) -> list[linting.SpecWarning]:
    """The warnings about a lone container that has nothing to be warned of but what is given."""
    ready = {ProbeKind.READINESS: probe()}
    values = {"image_uri": f"python@{DIGEST}", "port": 80, "primary": True, "probes": ready, **given}
    spec = Specification((ContainerGroup((Container(name="main", **values),)),))
    return list(linting.warnings(spec, status))


def codes(*given: Any, **values: Any) -> list[str]:
    return [each.code for each in warned(*given, **values)]


def probe(**given: Any) -> Probe:
    return Probe("/", 80, **given)


def test_nothing_to_warn_of() -> None:
    assert warned(DRAFT) == warned(LOCKED) == []


@pytest.mark.parametrize(("image", "tag"), [("python", "latest"), ("python:3.13", "3.13"), ("a.example/b:1", "1")])
def test_the_tag_of_a_draft_can_be_moved(image: str, tag: str) -> None:
    message = (
        f"The tag '{tag}' can be moved to another image at any time. A lock pins the digest that it has then, as far "
        "as its registry tells it; one that is written behind '@' holds from now on."
    )
    path = "spec.containerGroups[0].containers[0].imageUri"
    assert warned(image_uri=image) == [linting.SpecWarning(path, "MUTABLE_TAG", message)]


def test_a_locked_image_without_digest() -> None:
    message = (
        "The tag '3.13' had no digest that could be found out when this was locked: what runs changes when it is "
        "moved. Clone this and lock the clone when its registry answers, or write the digest behind '@'."
    )
    path = "spec.containerGroups[0].containers[0].imageUri"
    assert warned(LOCKED, image_uri="python:3.13") == [linting.SpecWarning(path, "IMAGE_NOT_PINNED", message)]
    assert warned(LOCKED, image_uri="python:3.13", image_digest=DIGEST) == []


def test_what_gets_traffic_has_a_readiness_probe() -> None:
    path = "spec.containerGroups[0].containers[0].readinessProbe"
    message = "It gets traffic as soon as it runs, whether it can serve or not: add a readiness probe."
    assert warned(probes={}) == [linting.SpecWarning(path, "NO_READINESS_PROBE", message)]
    assert warned(probes={}, primary=False) == []
    assert codes(probes={ProbeKind.STARTUP: probe()}) == ["NO_READINESS_PROBE"]


@pytest.mark.parametrize(
    ("liveness", "readiness", "restarted", "ready"),
    [
        # The third failure comes 20 s after the start.
        ({}, {"initial_delay_seconds": 20}, 20, 20),
        ({}, {"initial_delay_seconds": 19}, 20, 19),
        ({}, {"initial_delay_seconds": 10, "success_threshold": 2}, 20, 20),
        ({"initial_delay_seconds": 1}, {"initial_delay_seconds": 20}, 21, 20),
        ({"failure_threshold": 1}, {}, 0, 0),
        ({"failure_threshold": 2, "period_seconds": 1}, {}, 1, 0),
        ({"timeout_seconds": 30}, {"initial_delay_seconds": 60}, 20, 60),
    ],
)
def test_liveness_does_not_restart_what_can_not_be_ready(
    liveness: dict[str, int], readiness: dict[str, int], restarted: int, ready: int
) -> None:
    probes = {ProbeKind.LIVENESS: probe(**liveness), ProbeKind.READINESS: probe(**readiness)}
    message = (
        f"It is restarted where it does not answer within {restarted} s of its start, and can't be ready before "
        f"{ready} s: add a startup probe, or give the liveness probe a longer initialDelaySeconds."
    )
    path = "spec.containerGroups[0].containers[0].livenessProbe"
    expected = [linting.SpecWarning(path, "LIVENESS_BEFORE_STARTUP", message)] if restarted <= ready else []
    assert warned(probes=probes) == expected
    assert warned(probes={**probes, ProbeKind.STARTUP: probe()}) == []


def test_without_readiness_it_may_be_ready_at_once() -> None:
    assert codes(probes={ProbeKind.LIVENESS: probe()}, primary=False) == []
    at_once = {ProbeKind.LIVENESS: probe(failure_threshold=1)}
    assert codes(probes=at_once, primary=False) == ["LIVENESS_BEFORE_STARTUP"]


@pytest.mark.parametrize("name", ["a.b", "a-b", "1A", "A B"])
def test_a_name_that_no_shell_can_read(name: str) -> None:
    variables = (EnvironmentVariable("USUAL_1", value=""), EnvironmentVariable(name, value=""))
    message = "Shells can't read a variable of this name: use letters, digits and '_', and no digit first."
    path = "spec.containerGroups[0].containers[0].environmentVars[1].name"
    assert warned(environment_vars=variables) == [linting.SpecWarning(path, "UNUSUAL_VARIABLE_NAME", message)]


def test_each_container_has_its_own() -> None:
    main = Container(name="main", image_uri="python", primary=True, port=80)
    side = Container(name="side", image_uri="redis")
    found = linting.warnings(Specification((ContainerGroup((main, side)),)), DRAFT)
    assert [(each.path.removeprefix("spec.containerGroups[0]."), each.code) for each in found] == [
        ("containers[0].imageUri", "MUTABLE_TAG"),
        ("containers[0].readinessProbe", "NO_READINESS_PROBE"),
        ("containers[1].imageUri", "MUTABLE_TAG"),
    ]
