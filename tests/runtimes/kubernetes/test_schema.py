"""Manifests have the fields that the API has: a server answers an unknown one with 500."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from kubernetes_asyncio.client import models

from app.domain import manifests
from app.domain.enums import ProbeKind
from app.domain.specification import Probe, ProbeHeader
from tests.runtimes.kubernetes.fixtures import CLUSTER
from tests.runtimes.kubernetes.world import SECRET, launch

WORKLOAD_ID = UUID("0199a1b2-0000-7000-8000-000000000001")
EVERYTHING = dataclasses.replace(
    SECRET,
    entrypoint=("serve", "$PORT"),
    probes={kind: Probe("/", 8080, headers=(ProbeHeader("A", "b"),)) for kind in ProbeKind},
    cpu=1.0,
    memory_bytes=2.0**26,
)


def misfits(value: Any, kind: str, path: str) -> Iterator[str]:
    """The fields of a value that its type, as the library writes it, does not have, or has with another type."""
    if matched := re.fullmatch(r"list\[(.*)\]", kind):
        for index, each in enumerate(value):
            yield from misfits(each, matched[1], f"{path}[{index}]")
    elif matched := re.fullmatch(r"dict\(str, (.*)\)", kind):
        for key, each in value.items():
            yield from misfits(each, matched[1], f"{path}.{key}")
    elif kind in {"str", "int", "bool", "float"}:
        if type(value).__name__ != kind:
            yield f"{path} is a {type(value).__name__}, not a {kind}"
    elif kind != "object":
        model = getattr(models, kind)
        known = {written: model.openapi_types[name] for name, written in model.attribute_map.items()}
        for key, each in value.items():
            if key in known:
                yield from misfits(each, known[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is not a field of {kind}"


def test_a_misfit_is_found() -> None:
    wrong = {"spec": {"replicas": "1", "bogus": 1, "selector": {"matchLabels": {"a": 1}}}}
    assert list(misfits(wrong, "V1Deployment", "")) == [
        ".spec.replicas is a str, not a int",
        ".spec.bogus is not a field of V1DeploymentSpec",
        ".spec.selector.matchLabels.a is a int, not a str",
    ]


@pytest.mark.parametrize("kind", ["Service", "Ingress", "Secret", "Deployment"])
def test_the_fields_are_those_of_the_api(kind: str) -> None:
    cluster = dataclasses.replace(CLUSTER, domain="apps.example.com", ingress_class="nginx")
    objects = manifests.kubernetes(
        cluster, manifests.of_workload(cluster, WORKLOAD_ID), launch(1, EVERYTHING), {"docker.io": ("ada", "secret")}
    )
    found = [each for each in objects if each["kind"] == kind]
    assert found
    for each in found:
        assert list(misfits(each, f"V1{kind}", "")) == []
