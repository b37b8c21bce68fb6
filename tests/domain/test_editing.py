"""Small changes of a specification: what they change, and what they leave."""

import dataclasses
from typing import Any
from uuid import UUID

from app.domain import editing
from app.domain.enums import EnvironmentVariableType, ProbeKind
from app.domain.specification import Container, ContainerGroup, EnvironmentVariable, Probe, Specification
from app.domain.validation import Issues

MAIN_ID, SIDE_ID, CREDENTIAL_ID = UUID(int=1), UUID(int=2), UUID(int=3)
TOKEN = EnvironmentVariable("TOKEN", EnvironmentVariableType.CREDENTIAL, credential_id=CREDENTIAL_ID, field="token")
MAIN = Container(
    "main",
    "python:3.13",
    id=MAIN_ID,
    port=8080,
    primary=True,
    environment_vars=(EnvironmentVariable("A", value="1"), TOKEN, EnvironmentVariable("B", value="2")),
    probes={ProbeKind.READINESS: Probe("/ready", 8080), ProbeKind.LIVENESS: Probe("/live", 9090)},
)
SIDE = Container("side", "busybox", id=SIDE_ID, port=7000)
SPEC = Specification((ContainerGroup((MAIN, SIDE)),))


def containers(spec: Specification) -> tuple[Container, ...]:
    return tuple(spec.containers)


def main_with(**changes: Any) -> tuple[Container, ...]:
    return (dataclasses.replace(MAIN, **changes), SIDE)


def test_a_container_is_added_at_the_end() -> None:
    added = Container("new", "alpine")
    assert containers(editing.add_container(SPEC, added)) == (MAIN, SIDE, added)


def test_a_primary_that_is_added_takes_that_over() -> None:
    added = Container("new", "alpine", port=1, primary=True)
    assert containers(editing.add_container(SPEC, added)) == (*main_with(primary=False), added)


def test_an_update_changes_the_fields_that_it_names() -> None:
    assert editing.update_container(SPEC, MAIN_ID, {}) == SPEC
    updated = editing.update_container(SPEC, MAIN_ID, {"name": "web", "entrypoint": ("a",)})
    assert containers(updated) == main_with(name="web", entrypoint=("a",))


def test_probes_that_asked_the_old_port_follow_to_the_new_one() -> None:
    updated = editing.update_container(SPEC, MAIN_ID, {"port": 8081})
    probes = {ProbeKind.READINESS: Probe("/ready", 8081), ProbeKind.LIVENESS: Probe("/live", 9090)}
    assert containers(updated) == main_with(port=8081, probes=probes)


def test_no_probe_follows_to_a_port_that_there_is_not() -> None:
    for port in (0, -1, 65_536):
        assert containers(editing.update_container(SPEC, MAIN_ID, {"port": port})) == main_with(port=port)


def test_probes_of_a_container_that_loses_its_port_stay_where_they_are() -> None:
    assert containers(editing.update_container(SPEC, MAIN_ID, {"port": None})) == main_with(port=None)


def test_the_primary_moves() -> None:
    moved = editing.update_container(SPEC, SIDE_ID, {"primary": True})
    assert [each.primary for each in containers(moved)] == [False, True]
    none = editing.update_container(SPEC, MAIN_ID, {"primary": False})
    assert [each.primary for each in containers(none)] == [False, False]


def test_a_container_is_removed() -> None:
    issues = Issues()
    assert containers(editing.remove_container(issues, SPEC, SIDE_ID)) == (MAIN,)
    assert issues.found == []


def test_the_primary_and_the_last_container_stay() -> None:
    for spec, container_id, code in (
        (SPEC, MAIN_ID, "PRIMARY_CONTAINER"),
        (Specification((ContainerGroup((MAIN,)),)), MAIN_ID, "LAST_CONTAINER"),
    ):
        issues = Issues()
        assert editing.remove_container(issues, spec, container_id) == spec
        assert [(issue.path, issue.code) for issue in issues.found] == [("containerId", code)]


def test_variables_are_replaced_by_name_in_their_place_and_new_ones_come_last() -> None:
    issues = Issues()
    given = [EnvironmentVariable(name, value="new") for name in ("C", "B", "D")]
    changed = editing.set_variables(issues, SPEC, MAIN_ID, given)
    assert issues.found == []
    expected = (MAIN.environment_vars[0], TOKEN, given[1], given[0], given[2])
    assert containers(changed) == main_with(environment_vars=expected)


def test_a_pointer_without_a_credential_keeps_the_one_of_that_name() -> None:
    kept = EnvironmentVariable("TOKEN", EnvironmentVariableType.CREDENTIAL, field="other")
    unknown = EnvironmentVariable("A", EnvironmentVariableType.CREDENTIAL, field="token")
    changed = editing.set_variables(Issues(), SPEC, MAIN_ID, [kept, unknown])
    after = {each.name: each.credential_id for each in containers(changed)[0].environment_vars}
    assert after == {"A": None, "TOKEN": CREDENTIAL_ID, "B": None}


def test_a_variable_is_set_once() -> None:
    issues = Issues()
    editing.set_variables(issues, SPEC, MAIN_ID, [EnvironmentVariable("A", value=each) for each in "123"])
    assert [(issue.path, issue.code) for issue in issues.found] == [
        ("variables[1].name", "DUPLICATE"),
        ("variables[2].name", "DUPLICATE"),
    ]


def test_variables_are_removed_by_name() -> None:
    issues = Issues()
    changed = editing.remove_variables(issues, SPEC, MAIN_ID, ["B", "A", "A"])
    assert issues.found == []
    assert containers(changed) == main_with(environment_vars=(TOKEN,))


def test_variables_that_are_removed_must_be_there() -> None:
    issues = Issues()
    editing.remove_variables(issues, SPEC, MAIN_ID, ["A", "x" * 10_000, "a"])
    assert [(issue.path, issue.code) for issue in issues.found] == [
        ("names[1]", "NO_SUCH_VARIABLE"),
        ("names[2]", "NO_SUCH_VARIABLE"),
    ]
    assert max(len(issue.message) for issue in issues.found) < 150


def test_no_list_that_is_too_long_is_looked_through() -> None:
    issues = Issues()
    assert editing.remove_variables(issues, SPEC, MAIN_ID, ["x"] * 201) == SPEC
    assert editing.set_variables(issues, SPEC, MAIN_ID, [EnvironmentVariable("\0")] * 201) == SPEC
    assert [(issue.path, issue.code) for issue in issues.found] == [
        ("names", "WRONG_COUNT"),
        ("variables", "WRONG_COUNT"),
    ]


def test_a_probe_is_set_or_replaced_and_a_port_left_out_is_the_containers() -> None:
    started, ready = Probe("/up", 1), Probe("/new", 0)
    changed = editing.set_probe(SPEC, MAIN_ID, ProbeKind.STARTUP, started, port_left_out=False)
    changed = editing.set_probe(changed, MAIN_ID, ProbeKind.READINESS, ready, port_left_out=True)
    probes = {**MAIN.probes, ProbeKind.STARTUP: started, ProbeKind.READINESS: Probe("/new", 8080)}
    assert containers(changed) == main_with(probes=probes)


def test_a_probe_is_removed_if_it_is_there() -> None:
    issues = Issues()
    changed = editing.remove_probe(issues, SPEC, MAIN_ID, ProbeKind.LIVENESS)
    assert containers(changed) == main_with(probes={ProbeKind.READINESS: Probe("/ready", 8080)})
    assert issues.found == []
    editing.remove_probe(issues, SPEC, MAIN_ID, ProbeKind.STARTUP)
    assert [(issue.path, issue.code) for issue in issues.found] == [("kind", "NO_SUCH_PROBE")]


def test_containers_of_a_whole_new_specification_keep_their_rows_by_name() -> None:
    pointer = dataclasses.replace(TOKEN, credential_id=None)
    given = Specification(
        (
            ContainerGroup(
                (
                    Container("side", "alpine", environment_vars=(pointer,)),
                    Container("new", "alpine"),
                    Container("", "python:4", port=1, primary=True, environment_vars=(pointer,)),
                )
            ),
        )
    )
    taken = containers(editing.take_over(given, SPEC))
    assert [(each.name, each.id) for each in taken] == [("side", SIDE_ID), ("new", None), ("main", MAIN_ID)]
    assert [each.environment_vars[0].credential_id for each in taken if each.environment_vars] == [None, CREDENTIAL_ID]


def test_a_row_goes_to_one_container_of_its_name() -> None:
    given = Specification((ContainerGroup((Container("main", "a"), Container("main", "b"))), ContainerGroup(())))
    assert [each.id for each in editing.take_over(given, SPEC).containers] == [MAIN_ID, None]
