import uuid

import pytest

from app.domain import enums, environment, ids
from app.domain.enums import VariableOrigin
from app.domain.specification import Container, ContainerGroup, EnvironmentVariable, Specification

CREDENTIAL_ID = uuid.UUID("0199a1b2-0000-7000-8000-000000000001")
SECRET = EnvironmentVariable(
    "TOKEN", enums.EnvironmentVariableType.CREDENTIAL, credential_id=CREDENTIAL_ID, field="token"
)


def specification_of(*containers: Container) -> Specification:
    return Specification((ContainerGroup(containers),))


def as_tuples(variables: list[environment.EffectiveVariable]) -> list[tuple[str, str, str | None, str, bool]]:
    return [(each.container, each.name, each.value, each.origin.value, each.masked) for each in variables]


def test_the_platform_wins_over_the_workload_and_the_workload_over_the_artifact() -> None:
    spec = specification_of(
        Container(
            "main",
            "image",
            port=8080,
            primary=True,
            environment_vars=(
                EnvironmentVariable("B", value="artifact"),
                EnvironmentVariable("A", value="artifact"),
                EnvironmentVariable("PORT", value="1"),
                SECRET,
            ),
        ),
        Container("side", "image", environment_vars=(EnvironmentVariable("B", value=""),)),
    )
    overrides = [
        ("main", EnvironmentVariable("A", value="workload")),
        ("main", EnvironmentVariable("PORT", value="2")),
        ("gone", EnvironmentVariable("A", value="nowhere")),
    ]
    assert as_tuples(environment.effective(spec, overrides, {"SLIPWAY_X": "x"})) == [
        ("main", "PORT", "8080", "PLATFORM", False),
        ("main", "SLIPWAY_X", "x", "PLATFORM", False),
        ("main", "A", "workload", "WORKLOAD", False),
        ("main", "B", "artifact", "ARTIFACT", False),
        ("main", "TOKEN", None, "ARTIFACT", True),
        ("side", "SLIPWAY_X", "x", "PLATFORM", False),
        ("side", "B", "", "ARTIFACT", False),
    ]


def test_a_credential_is_masked_and_tells_where_its_value_is() -> None:
    spec = specification_of(Container("main", "image"))
    [variable] = environment.effective(spec, [("main", SECRET)], {})
    assert variable == environment.EffectiveVariable(
        "TOKEN", "main", None, VariableOrigin.WORKLOAD, masked=True, credential_id=CREDENTIAL_ID, field="token"
    )


def test_an_override_with_a_value_replaces_a_credential() -> None:
    spec = specification_of(Container("main", "image", environment_vars=(SECRET,)))
    [variable] = environment.effective(spec, [("main", EnvironmentVariable("TOKEN", value="plain"))], {})
    assert (variable.value, variable.masked, variable.credential_id) == ("plain", False, None)


@pytest.mark.parametrize(("version", "text"), [(None, ""), (7, "7")])
def test_the_platform_names_workload_artifact_and_version(version: int | None, text: str) -> None:
    workload_id, artifact_id = uuid.uuid4(), uuid.uuid4()
    assert environment.platform(workload_id, artifact_id, version) == {
        "SLIPWAY_WORKLOAD_ID": ids.encode(ids.Kind.WORKLOAD, workload_id),
        "SLIPWAY_ARTIFACT_ID": ids.encode(ids.Kind.ARTIFACT, artifact_id),
        "SLIPWAY_ARTIFACT_VERSION": text,
    }


@pytest.mark.parametrize(
    ("argument", "expanded"),
    [
        # Kubernetes' own cases, third_party/forked/golang/expansion/expand_test.go
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("$(VAR_A)_$(VAR_B)", "A_B"),
        ("$$(VAR_A)_$(VAR_B)", "$(VAR_A)_B"),
        ("$$$(VAR_A)", "$A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("$(VAR_EMPTY)", ""),
        ("f000-$(VAR_A", "f000-$(VAR_A"),
        ("$(VAR_DNE)", "$(VAR_DNE)"),
        ("$VAR_A", "$VAR_A"),
        ("$()", "$()"),
        ("$$", "$"),
        ("foo$", "foo$"),
        ("$(VAR_REF)", "$(VAR_A)"),
        ("--port=$PORT", "--port=80"),
        ("0.0.0.0:${PORT}", "0.0.0.0:80"),
        ("$PORTS", "$PORTS"),
        ("$$PORT", "$PORT"),
        ("exec server $PORT", "exec server $PORT"),
        ("exec server $(PORT)", "exec server 80"),
    ],
)
def test_arguments(argument: str, expanded: str) -> None:
    values = {"VAR_A": "A", "VAR_B": "B", "VAR_EMPTY": "", "VAR_REF": "$(VAR_A)", "PORT": "80"}
    assert environment.expand_arguments(["server", argument], values) == ["server", expanded]


def test_without_a_port_nothing_is_filled_in() -> None:
    assert environment.expand_arguments(["$PORT", "${PORT}", "$(PORT)"], {}) == ["$PORT", "${PORT}", "$(PORT)"]
