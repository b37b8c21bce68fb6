"""What gets in: every row of the table, just inside its bounds and just outside, with paths and codes."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.domain import validation
from app.domain.enums import EnvironmentVariableType, ProbeKind
from app.domain.errors import InvalidInput
from app.domain.specification import (
    Container,
    ContainerGroup,
    EnvironmentVariable,
    Probe,
    ProbeHeader,
    Specification,
)
from app.domain.validation import Issues, Limits, Resources, Tag

Found = list[tuple[str, str]]
MAIN = Container("main", "python:3.13", port=8080, primary=True)
KIB = 1024


def found(check: Callable[[Issues], Any]) -> Found:
    """The issues of a check: (path, code). Each has a message that ends as a sentence does."""
    issues = Issues()
    check(issues)
    assert all(issue.message.endswith(".") and len(issue.message) < 200 for issue in issues.found)
    return [(issue.path, issue.code) for issue in issues.found]


def in_spec(*containers: Container, limits: Limits | None = None) -> Found:
    """What is wrong with these containers, with paths from the container list on."""
    spec = Specification((ContainerGroup(containers),))
    seen = found(lambda issues: validation.specification(issues, "spec", spec, limits or Limits()))
    return [(path.removeprefix("spec.containerGroups[0].containers"), code) for path, code in seen]


def in_main(**changes: Any) -> Found:
    """What is wrong with a lone container that has these fields, with paths inside of it."""
    return [(path.removeprefix("[0]."), code) for path, code in in_spec(dataclasses.replace(MAIN, **changes))]


# Names, descriptions, tags


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("a", []),
        ("a" * 200, []),
        ("🚢" * 200, []),
        ("مرحبا بالعالم", []),
        ("  trimmed  ", []),
        (" " * 300 + "a" * 200 + "\n", []),
        ("", ["TOO_SHORT"]),
        (" \t\n", ["TOO_SHORT"]),
        ("a" * 201, ["TOO_LONG"]),
        ("a\nb", ["CONTROL_CHARACTER"]),
        ("a\x7fb", ["CONTROL_CHARACTER"]),
        ("a\x85b", ["CONTROL_CHARACTER"]),
        ("a\ud800b", ["CONTROL_CHARACTER"]),
        ("a\0b", ["NUL_CHARACTER"]),
        ("a\0" + "b" * 200, ["TOO_LONG", "NUL_CHARACTER"]),
    ],
)
def test_a_name(name: str, codes: list[str]) -> None:
    issues = Issues()
    assert issues.name("name", name) == name.strip()
    assert [(issue.path, issue.code) for issue in issues.found] == [("name", code) for code in codes]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", []),
        ("several\nlines\twith tabs", []),
        ("ü" * 5_000, []),
        ("a" * 5_001, ["TOO_LONG"]),
        ("a\0", ["NUL_CHARACTER"]),
    ],
)
def test_a_description(text: str, codes: list[str]) -> None:
    assert found(lambda issues: issues.description("description", text)) == [("description", code) for code in codes]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], []),
        ([Tag("a" * 128, "b" * 512), Tag("A")], []),
        ([Tag(f"t{number}") for number in range(50)], []),
        ([Tag(f"t{number}") for number in range(51)], [("tags", "WRONG_COUNT")]),
        ([Tag("\0")] * 10_000, [("tags", "WRONG_COUNT")]),
        ([Tag("a"), Tag("")], [("tags[1].name", "TOO_SHORT")]),
        ([Tag("a" * 129)], [("tags[0].name", "TOO_LONG")]),
        ([Tag("a\n")], [("tags[0].name", "CONTROL_CHARACTER")]),
        ([Tag("a", "b" * 513)], [("tags[0].value", "TOO_LONG")]),
        ([Tag("a", "\0")], [("tags[0].value", "NUL_CHARACTER")]),
        ([Tag("a"), Tag("b"), Tag("a", "x"), Tag("a")], [("tags[2].name", "DUPLICATE"), ("tags[3].name", "DUPLICATE")]),
    ],
)
def test_tags(tags: list[Tag], expected: Found) -> None:
    assert found(lambda issues: validation.tags(issues, "tags", tags)) == expected


# Containers


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--b", "a" * 63, "0" * 63])
def test_a_container_name_that_gets_in(name: str) -> None:
    assert in_main(name=name) == []


@pytest.mark.parametrize("name", [" ", "a" * 64, "-a", "a-", "A", "a_b", "a.b", "ä", "a\n", "a b", "a\0"])
def test_a_container_name_that_does_not(name: str) -> None:
    assert in_main(name=name) == [("name", "NOT_A_LABEL")]


@pytest.mark.parametrize("name", ["", "Default", "x" * 64])
def test_the_name_of_a_group_is_a_label_too(name: str) -> None:
    spec = Specification((ContainerGroup((MAIN,), name),))
    assert found(lambda issues: validation.specification(issues, "spec", spec, Limits())) == [
        ("spec.containerGroups[0].name", "NOT_A_LABEL")
    ]


@pytest.mark.parametrize("number", [0, 2, 10_000])
def test_there_is_one_group(number: int) -> None:
    issues = Issues()
    spec = Specification((ContainerGroup((MAIN,)),) * number)
    validation.specification(issues, "spec", spec, Limits())
    (issue,) = issues.found
    assert (issue.path, issue.code) == ("spec.containerGroups", "WRONG_COUNT")
    assert issue.message == f"Exactly one container group is accepted today; there are {number}."


def sides(number: int) -> list[Container]:
    return [Container("", "python:3.13") for _ in range(number)]


def test_a_group_has_1_to_20_containers() -> None:
    assert in_spec() == [("", "WRONG_COUNT")]
    assert in_spec(MAIN) == []
    assert in_spec(MAIN, *sides(19)) == []
    assert in_spec(MAIN, *sides(20)) == [("", "WRONG_COUNT")]
    assert in_spec(*[Container("\0", "\0")] * 10_000) == [("", "WRONG_COUNT")]


def test_names_that_are_left_out_are_filled_in() -> None:
    containers = (Container("", "a"), Container("", "b", port=1, primary=True), Container("named", "c"), *sides(1))
    spec = validation.specification(Issues(), "spec", Specification((ContainerGroup(containers),)), Limits())
    assert [each.name for each in spec.containers] == ["container-1", "main", "named", "container-4"]


def test_a_lone_container_is_the_primary_whatever_it_says() -> None:
    spec = Specification((ContainerGroup((Container("", "python", port=1),)),))
    (container,) = validation.specification(Issues(), "spec", spec, Limits()).containers
    assert (container.name, container.primary) == ("main", True)


def test_exactly_one_of_several_is_primary() -> None:
    side = Container("side", "python")
    assert in_spec(side, dataclasses.replace(side, name="other")) == [("", "ONE_PRIMARY")]
    second = dataclasses.replace(MAIN, name="second", port=1)
    assert in_spec(MAIN, second) == [("", "ONE_PRIMARY")]


def test_the_primary_needs_a_port_and_others_may_have_one() -> None:
    side = Container("side", "python", port=9000)
    assert in_main(port=None) == [("port", "REQUIRED")]
    assert in_spec(side, dataclasses.replace(MAIN, port=None)) == [("[1].port", "REQUIRED")]
    assert in_spec(side, MAIN) == []


def test_names_and_ports_are_unique_in_the_group() -> None:
    same = dataclasses.replace(MAIN, primary=False)
    assert in_spec(MAIN, same) == [("[1].name", "DUPLICATE"), ("[1].port", "DUPLICATE")]
    assert in_spec(MAIN, Container("", "a"), Container("container-2", "a")) == [("[2].name", "DUPLICATE")]


@pytest.mark.parametrize(
    ("port", "codes"),
    [(1, []), (65_535, []), (0, ["OUT_OF_RANGE"]), (-1, ["OUT_OF_RANGE"]), (65_536, ["OUT_OF_RANGE"])],
)
def test_a_port(port: int, codes: list[str]) -> None:
    assert in_main(port=port) == [("port", code) for code in codes]


@pytest.mark.parametrize(
    ("image", "codes"),
    [
        ("h" * 60 + ".test:5000/" + "a" * 255 + ":" + "t" * 128 + "@sha256:" + "0" * 64, []),
        ("", ["NOT_AN_IMAGE"]),
        ("https://python", ["NOT_AN_IMAGE"]),
        ("a" * 256, ["NOT_AN_IMAGE"]),
        ("a" * 1_025, ["TOO_LONG"]),
        ("a\0", ["NOT_AN_IMAGE"]),
        ("a" * 4_000_000, ["TOO_LONG"]),
    ],
)
def test_an_image(image: str, codes: list[str]) -> None:
    assert in_main(image_uri=image) == [("imageUri", code) for code in codes]


def test_a_configured_list_of_images() -> None:
    limits = Limits(images_allowed=("docker.io/*",), images_denied=("*:latest",))
    assert in_spec(dataclasses.replace(MAIN, image_uri="docker.io/a:1"), limits=limits) == []
    for image in ("docker.io/a:latest", "ghcr.io/a:1"):
        seen = in_spec(dataclasses.replace(MAIN, image_uri=image), limits=limits)
        assert seen == [("[0].imageUri", "IMAGE_NOT_ALLOWED")]


@pytest.mark.parametrize(
    ("entrypoint", "expected"),
    [
        (None, []),
        ((), []),
        (("a\nb", ""), []),
        (("a",) * 100, []),
        (("a",) * 101, [("entrypoint", "WRONG_COUNT")]),
        (("ü" * (8 * KIB), "a" * (16 * KIB)), []),
        (("ü" * (8 * KIB), "a" * (16 * KIB + 1)), [("entrypoint", "TOO_LONG")]),
        (("a", "b\0"), [("entrypoint[1]", "NUL_CHARACTER")]),
    ],
)
def test_an_entrypoint(entrypoint: tuple[str, ...] | None, expected: Found) -> None:
    assert in_main(entrypoint=entrypoint) == expected


# Variables

POINTER = EnvironmentVariable("A", EnvironmentVariableType.CREDENTIAL, credential_id=UUID(int=1), field="key")


def in_variables(*variables: EnvironmentVariable) -> Found:
    return [(path.removeprefix("environmentVars"), code) for path, code in in_main(environment_vars=variables)]


@pytest.mark.parametrize("name", ["A", "a.b", "1A", " ", "~!#", "_" * 300, "SLIPWAY", "slipway_x"])
def test_a_variable_name_that_gets_in(name: str) -> None:
    assert in_variables(EnvironmentVariable(name, value="")) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "NOT_A_VARIABLE_NAME"),
        ("A=B", "NOT_A_VARIABLE_NAME"),
        ("Ä", "NOT_A_VARIABLE_NAME"),
        ("A\n", "NOT_A_VARIABLE_NAME"),
        ("A\x7f", "NOT_A_VARIABLE_NAME"),
        ("A\0", "NOT_A_VARIABLE_NAME"),
        ("A" * (32 * KIB + 1), "NOT_A_VARIABLE_NAME"),
        ("SLIPWAY_", "RESERVED"),
        ("SLIPWAY_WORKLOAD_ID", "RESERVED"),
    ],
)
def test_a_variable_name_that_does_not(name: str, code: str) -> None:
    assert in_variables(EnvironmentVariable(name, value="")) == [("[0].name", code)]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (EnvironmentVariable("A", value="x" * (32 * KIB)), []),
        (EnvironmentVariable("A", value="ü" * (16 * KIB)), []),
        (EnvironmentVariable("A", value="ü" * (16 * KIB) + "x"), [("value", "TOO_LONG")]),
        (EnvironmentVariable("A", value="\0"), [("value", "NUL_CHARACTER")]),
        (EnvironmentVariable("A"), [("value", "REQUIRED")]),
        (
            dataclasses.replace(POINTER, type=EnvironmentVariableType.STRING, value=""),
            [("credentialId", "NOT_ALLOWED"), ("field", "NOT_ALLOWED")],
        ),
        (POINTER, []),
        (dataclasses.replace(POINTER, value=""), [("value", "NOT_ALLOWED")]),
        (dataclasses.replace(POINTER, credential_id=None), [("credentialId", "REQUIRED")]),
        (dataclasses.replace(POINTER, field=None), [("field", "REQUIRED")]),
        (
            EnvironmentVariable("A", EnvironmentVariableType.CREDENTIAL),
            [("credentialId", "REQUIRED"), ("field", "REQUIRED")],
        ),
    ],
)
def test_the_value_of_a_variable(variable: EnvironmentVariable, expected: Found) -> None:
    assert in_variables(variable) == [(f"[0].{path}", code) for path, code in expected]


def test_a_container_has_at_most_200_variables_with_names_of_their_own() -> None:
    many = [EnvironmentVariable(f"V{number}", value="") for number in range(201)]
    assert in_variables(*many[:200]) == []
    assert in_variables(*many) == [("", "WRONG_COUNT")]
    assert in_variables(many[0], many[1], many[0]) == [("[2].name", "DUPLICATE")]


def test_the_overrides_of_a_workload() -> None:
    def overrides(*given: tuple[str, EnvironmentVariable]) -> Found:
        names = frozenset({"main", "side"})
        return found(lambda issues: validation.workload_variables(issues, "environment", given, names))

    many = [EnvironmentVariable(f"V{number}", value="") for number in range(201)]
    assert overrides(*[("main", each) for each in many[:200]], *[("side", each) for each in many[:200]]) == []
    assert overrides(*[("main", each) for each in many]) == [("environment", "WRONG_COUNT")]
    assert overrides(*[("main", POINTER)] * 4_001) == [("environment", "WRONG_COUNT")]
    assert overrides(("main", many[0]), ("side", many[0]), ("main", many[0])) == [("environment[2].name", "DUPLICATE")]
    assert overrides(("other", EnvironmentVariable("SLIPWAY_X"))) == [
        ("environment[0].container", "NO_SUCH_CONTAINER"),
        ("environment[0].name", "RESERVED"),
        ("environment[0].value", "REQUIRED"),
    ]


# Credentials, resources, durations


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([("a", "")], []),
        ([("-._aZ9" + "x" * 122, "ü" * (16 * KIB))], []),
        ([(f"k{number}", "v") for number in range(50)], []),
        ([], [("values", "WRONG_COUNT")]),
        ([("", "\0")] * 51, [("values", "WRONG_COUNT")]),
        ([("", "v")], [("values[0].key", "NOT_A_KEY")]),
        ([("a" * 129, "v")], [("values[0].key", "NOT_A_KEY")]),
        ([("a b", "v")], [("values[0].key", "NOT_A_KEY")]),
        ([("ä", "v")], [("values[0].key", "NOT_A_KEY")]),
        ([("a\n", "v")], [("values[0].key", "NOT_A_KEY")]),
        ([("a", "v" * (32 * KIB + 1))], [("values[0].value", "TOO_LONG")]),
        ([("a", "\0")], [("values[0].value", "NUL_CHARACTER")]),
        ([("a", "v"), ("a", "w")], [("values[1].key", "DUPLICATE")]),
    ],
)
def test_the_values_of_a_credential(values: list[tuple[str, str]], expected: Found) -> None:
    assert found(lambda issues: validation.credential_values(issues, "values", values)) == expected


def test_no_message_holds_a_secret() -> None:
    issues = Issues()
    validation.credential_values(issues, "values", [("hunter2!", "hunter2\0"), ("a", "hunter2" * 5_000)])
    variable = EnvironmentVariable("A", EnvironmentVariableType.CREDENTIAL, value="hunter2")
    validation.variables(issues, "v", [variable, EnvironmentVariable("B", value="hunter2\0" * 5_000)])
    assert len(issues.found) == 8
    assert not any("hunter2" in issue.message for issue in issues.found)


@pytest.mark.parametrize(
    ("cpu", "memory_bytes", "expected"),
    [
        (None, None, []),
        (0.001, 4 * KIB**2, []),
        (256.0, 4 * KIB**4, []),
        (0.0, None, ["cpu"]),
        (-1.0, None, ["cpu"]),
        (256.001, None, ["cpu"]),
        (float("inf"), float("inf"), ["cpu", "memoryBytes"]),
        (float("nan"), float("nan"), ["cpu", "memoryBytes"]),
        (None, 4 * KIB**2 - 1, ["memoryBytes"]),
        (None, 4 * KIB**4 + 1, ["memoryBytes"]),
        (None, 4 * KIB**2 + 0.5, ["memoryBytes"]),
    ],
)
def test_resources(cpu: float | None, memory_bytes: float | None, expected: list[str]) -> None:
    given = [Resources("main", cpu, memory_bytes)]
    assert found(lambda issues: validation.resources(issues, "resources", given, frozenset({"main"}))) == [
        (f"resources[0].{path}", "OUT_OF_RANGE") for path in expected
    ]


def test_resources_are_for_containers_that_exist_once_each() -> None:
    def resources(*names: str) -> Found:
        given = [Resources(name) for name in names]
        return found(lambda issues: validation.resources(issues, "resources", given, frozenset({"main", "side"})))

    assert resources("main", "side") == []
    assert resources("main", "other") == [("resources[1].container", "NO_SUCH_CONTAINER")]
    assert resources("main", "main") == [("resources[1].container", "DUPLICATE")]
    assert resources(*["\0"] * 21) == [("resources", "WRONG_COUNT")]


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        (timedelta(microseconds=1), []),
        (timedelta(hours=8), []),
        (timedelta(0), ["OUT_OF_RANGE"]),
        (timedelta(seconds=-1), ["OUT_OF_RANGE"]),
        (timedelta(hours=8, microseconds=1), ["OUT_OF_RANGE"]),
        (timedelta.max, ["OUT_OF_RANGE"]),
        (timedelta.min, ["OUT_OF_RANGE"]),
    ],
)
def test_a_duration(given: timedelta, codes: list[str]) -> None:
    seen = found(lambda issues: validation.duration(issues, "expiresIn", given, validation.TEST_MAXIMUM))
    assert seen == [("expiresIn", code) for code in codes]


# All at once


def test_all_issues_are_told_at_once_each_with_its_path() -> None:
    bad_probe = Probe("up", 0, headers=(ProbeHeader("", "x"),), period_seconds=0)
    containers = (
        Container("Bad", "https://x", port=0, primary=True, description="d" * 5_001),
        Container(
            "side",
            "python",
            environment_vars=(EnvironmentVariable("A", value="1"), EnvironmentVariable("A")),
            entrypoint=("\0",),
            probes={ProbeKind.STARTUP: bad_probe, ProbeKind.LIVENESS: Probe("/", 1, success_threshold=2)},
        ),
    )
    assert in_spec(*containers) == [
        ("[0].name", "NOT_A_LABEL"),
        ("[0].description", "TOO_LONG"),
        ("[0].imageUri", "NOT_AN_IMAGE"),
        ("[0].port", "OUT_OF_RANGE"),
        ("[1].entrypoint[0]", "NUL_CHARACTER"),
        ("[1].environmentVars[1].value", "REQUIRED"),
        ("[1].environmentVars[1].name", "DUPLICATE"),
        ("[1].startupProbe.path", "NOT_A_PATH"),
        ("[1].startupProbe.port", "REQUIRED"),
        ("[1].startupProbe.periodSeconds", "OUT_OF_RANGE"),
        ("[1].startupProbe.headers[0].name", "NOT_A_HEADER"),
        ("[1].livenessProbe.successThreshold", "OUT_OF_RANGE"),
    ]


def test_all_of_them_are_raised_together() -> None:
    issues = Issues()
    issues.raise_if_any()
    for number in range(5):
        issues.add(f"path[{number}]", "CODE", "Wrong.")
    with pytest.raises(InvalidInput) as raised:
        issues.raise_if_any()
    assert raised.value.issues == tuple(issues.found)
    assert raised.value.message == "path[0]: Wrong.; path[1]: Wrong.; path[2]: Wrong."
