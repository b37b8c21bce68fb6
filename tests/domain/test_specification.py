"""Specifications: written as JSON and read back, and named by a digest of what runs and nothing else."""

import copy
import dataclasses
import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from app.domain import specification
from app.domain.enums import EnvironmentVariableType, ProbeKind, ProbeScheme
from app.domain.specification import (
    Container,
    ContainerGroup,
    EnvironmentVariable,
    Probe,
    ProbeHeader,
    Specification,
)

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(1, 3_600)
PROBES = st.builds(
    Probe,
    path=TEXTS,
    port=NUMBERS,
    scheme=st.sampled_from(ProbeScheme),
    headers=st.lists(st.builds(ProbeHeader, TEXTS, TEXTS), max_size=2).map(tuple),
    initial_delay_seconds=NUMBERS,
    period_seconds=NUMBERS,
    timeout_seconds=NUMBERS,
    success_threshold=NUMBERS,
    failure_threshold=NUMBERS,
)
VARIABLES = st.builds(
    EnvironmentVariable,
    name=TEXTS,
    type=st.sampled_from(EnvironmentVariableType),
    value=st.none() | TEXTS,
    credential_id=st.none() | st.uuids(),
    field=st.none() | TEXTS,
)
CONTAINERS = st.builds(
    Container,
    name=TEXTS,
    image_uri=TEXTS,
    description=TEXTS,
    image_digest=st.none() | TEXTS,
    port=st.none() | NUMBERS,
    primary=st.booleans(),
    entrypoint=st.none() | st.lists(TEXTS, max_size=2).map(tuple),
    environment_vars=st.lists(VARIABLES, max_size=2).map(tuple),
    probes=st.dictionaries(st.sampled_from(ProbeKind), PROBES, max_size=3),
    id=st.none() | st.uuids(),
)
SPECIFICATIONS = st.lists(
    st.builds(ContainerGroup, st.lists(CONTAINERS, max_size=2).map(tuple), TEXTS), max_size=2
).map(lambda groups: Specification(tuple(groups)))

MAIN = Container(
    "main",
    "docker.io/library/python:3.13",
    description="Answers",
    port=8080,
    primary=True,
    entrypoint=("python3", "-m", "http.server", "$PORT"),
    environment_vars=(
        EnvironmentVariable("MODE", value="ünïcödé 🚢"),
        EnvironmentVariable("TOKEN", EnvironmentVariableType.CREDENTIAL, credential_id=uuid.UUID(int=7), field="token"),
    ),
    probes={
        ProbeKind.STARTUP: Probe("/up", 8080),
        ProbeKind.READINESS: Probe("/ready", 8080, headers=(ProbeHeader("A", "b"),)),
    },
)
SPEC = Specification((ContainerGroup((MAIN, Container("side", "busybox"))),))


def shuffled(document: Any) -> Any:
    """The same JSON, its keys written the other way round."""
    if isinstance(document, dict):
        return {key: shuffled(document[key]) for key in reversed(document)}
    return [shuffled(each) for each in document] if isinstance(document, list) else document


@settings(max_examples=60)
@given(SPECIFICATIONS)
def test_what_is_written_as_json_is_read_back(spec: Specification) -> None:
    document = json.loads(json.dumps(specification.to_json(spec)))
    assert specification.from_json(document) == spec
    assert specification.to_json(specification.from_json(document)) == document


@settings(max_examples=60)
@given(SPECIFICATIONS)
def test_the_digest_does_not_depend_on_the_order_of_keys_nor_on_rows(spec: Specification) -> None:
    again = specification.from_json(shuffled(specification.to_json(spec)))
    assert specification.digest(again) == specification.digest(spec)


def test_the_digest_is_a_sha256_and_the_same_for_ever() -> None:
    assert specification.digest(SPEC) == "sha256:0238ba02450413c3eaf306c12f2f7ca13ba826ac4644ea236ada4ca2e3d97781"


def test_defaults_are_filled_in() -> None:
    spec = Specification((ContainerGroup((Container("main", "python", probes={ProbeKind.LIVENESS: Probe("/", 80)}),)),))
    assert specification.to_json(spec) == {
        "containerGroups": [
            {
                "name": "default",
                "containers": [
                    {
                        "name": "main",
                        "description": "",
                        "imageUri": "python",
                        "imageDigest": None,
                        "port": None,
                        "primary": False,
                        "entrypoint": None,
                        "environmentVars": [],
                        "probes": {
                            "LIVENESS": {
                                "path": "/",
                                "port": 80,
                                "scheme": "HTTP",
                                "headers": [],
                                "initialDelaySeconds": 0,
                                "periodSeconds": 10,
                                "timeoutSeconds": 1,
                                "successThreshold": 1,
                                "failureThreshold": 3,
                            }
                        },
                    }
                ],
            }
        ]
    }


def leaves(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    if isinstance(document, dict):
        return [leaf for key, each in document.items() for leaf in leaves(each, (*path, key))]
    if isinstance(document, list) and document:
        return [leaf for place, each in enumerate(document) for leaf in leaves(each, (*path, place))]
    return [path]


OTHER = {
    "type": "STRING",
    "scheme": "HTTPS",
    "credentialId": str(uuid.UUID(int=8)),
    "environmentVars": [{"name": "A", "type": "STRING", "value": "b", "credentialId": None, "field": None}],
    "entrypoint": [],
    "headers": [{"name": "A", "value": "b"}],
    "probes": {},
}
CHANGEABLE = [path for path in leaves(specification.to_json(SPEC)) if path[-1] != "imageDigest"]


@pytest.mark.parametrize("path", CHANGEABLE, ids=lambda path: ".".join(map(str, path)))
def test_any_change_of_what_runs_is_another_digest(path: tuple[Any, ...]) -> None:
    document = copy.deepcopy(specification.to_json(SPEC))
    place = document
    for step in path[:-1]:
        place = place[step]
    before = place[path[-1]]
    if path[-1] == "type":
        place[path[-1]] = "CREDENTIAL" if before == "STRING" else "STRING"
    elif path[-1] in OTHER:
        place[path[-1]] = OTHER[path[-1]]
    elif isinstance(before, bool):
        place[path[-1]] = not before
    elif isinstance(before, int):
        place[path[-1]] = before + 1
    else:
        place[path[-1]] = f"{before or ''}x"
    changed = specification.from_json(document)
    assert changed != SPEC
    assert specification.digest(changed) != specification.digest(SPEC)


def replaced(**changes: Any) -> Specification:
    return Specification((ContainerGroup((dataclasses.replace(MAIN, **changes), Container("side", "busybox"))),))


@pytest.mark.parametrize(
    "spec",
    [
        replaced(environment_vars=MAIN.environment_vars[::-1]),
        replaced(environment_vars=MAIN.environment_vars[:1]),
        replaced(entrypoint=("python3 -m http.server $PORT",)),
        replaced(probes={}),
        replaced(
            probes={ProbeKind.LIVENESS: Probe("/up", 8080), ProbeKind.READINESS: MAIN.probes[ProbeKind.READINESS]}
        ),
        replaced(description="Answers\u0301"),
        Specification((ContainerGroup((Container("side", "busybox"), MAIN)),)),
        Specification((ContainerGroup((MAIN,)),)),
        Specification((ContainerGroup((MAIN, Container("side", "busybox")), "other"),)),
        Specification(()),
    ],
)
def test_order_and_number_are_part_of_what_runs(spec: Specification) -> None:
    assert specification.digest(spec) != specification.digest(SPEC)


def test_what_is_no_part_of_what_runs_leaves_the_digest() -> None:
    pinned = replaced(image_digest="sha256:" + "0" * 64, id=uuid.uuid4())
    reordered = replaced(probes=dict(reversed(list(MAIN.probes.items()))))
    assert specification.digest(pinned) == specification.digest(reordered) == specification.digest(SPEC)
    assert reordered == SPEC
    assert replaced(id=uuid.uuid4()) == SPEC


def test_texts_that_look_alike_are_not_alike() -> None:
    composed, decomposed = replaced(description="é"), replaced(description="e\u0301")
    assert specification.digest(composed) != specification.digest(decomposed)
