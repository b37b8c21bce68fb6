"""What the server does not take, as far as the recordings say (12-errors). Malformed is 500, wrong is 422."""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.runtimes.kubernetes.fake import failures
from tests.runtimes.kubernetes.fake.fields import Object
from tests.runtimes.kubernetes.fake.store import Kind

_DEPLOYMENT_SPEC = frozenset(
    {
        "replicas",
        "selector",
        "template",
        "strategy",
        "minReadySeconds",
        "revisionHistoryLimit",
        "paused",
        "progressDeadlineSeconds",
    }
)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_VARIABLE_WORDS = "a valid environment variable name must consist only of printable ASCII characters other than '='"

Cause = tuple[str, str, str]


def check_form(kind: Kind, body: Object) -> None:
    """Raise the 500 of an apply body that does not fit the schema."""
    subject = f"(/{body['metadata'].get('name')}; {kind.api_version}, Kind={kind.kind})"
    typed = f"failed to create typed patch object {subject}: "
    spec = body.get("spec") or {}
    if kind.kind == "Deployment":
        for key in spec.keys() - _DEPLOYMENT_SPEC:
            raise failures.Failure(500, f"{typed}.spec.{key}: field not declared in schema")
        if not isinstance(spec.get("replicas", 0), int):
            raise failures.Failure(500, f"{typed}.spec.replicas: expected numeric (int or float), got string")
        containers = (spec.get("template") or {}).get("spec", {}).get("containers", [])
        _unique(typed, ".spec.template.spec.containers", containers)
        for container in containers:
            where = f'.spec.template.spec.containers[name="{container.get("name")}"].env'
            _unique(typed, where, container.get("env", []))
    if kind.kind == "Secret":
        for value in (body.get("data") or {}).values():
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                subject = subject.replace("; v1", "; /v1")
                raise failures.Failure(
                    500,
                    f"failed to convert new object {subject} to proper version: unable to convert unstructured "
                    "object to /v1, Kind=Secret: error decoding from json: illegal base64 data at input byte 0",
                ) from None


def _unique(typed: str, where: str, items: list[Object]) -> None:
    names = [item.get("name") for item in items]
    for name in names:
        if names.count(name) > 1:
            raise failures.Failure(500, f'{typed}{where}: duplicate entries for key [name="{name}"]')


def check(kind: Kind, before: Object | None, after: Object) -> None:
    """Raise the 422 of an object that means nothing."""
    causes = list(_causes(kind, before, after))
    if causes:
        raise failures.invalid(kind, after["metadata"]["name"], causes)


def _causes(kind: Kind, before: Object | None, after: Object) -> Iterator[Cause]:
    spec = after.get("spec") or {}
    if kind.kind == "Deployment":
        yield from _deployment(before, spec)
    if kind.kind == "Service":
        for index, port in enumerate(spec.get("ports", ())):
            if not 0 < port["port"] < 65536:
                yield _invalid(f"spec.ports[{index}].port", str(port["port"]), "must be between 1 and 65535, inclusive")
    if kind.kind == "Secret":
        for key in {**(after.get("data") or {}), **(after.get("stringData") or {})}:
            if not re.fullmatch(r"[-._a-zA-Z0-9]+", key):
                words = (
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
                    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                )
                yield _invalid(f"data[{key}]", json.dumps(key), words)


def _deployment(before: Object | None, spec: Any) -> Iterator[Cause]:
    if spec.get("replicas", 1) < 0:
        yield _invalid("spec.replicas", str(spec["replicas"]), "must be greater than or equal to 0")
    labels = spec["template"].get("metadata", {}).get("labels", {})
    if not spec["selector"]["matchLabels"].items() <= labels.items():
        shown = json.dumps(labels, separators=(",", ":"), sort_keys=True)
        yield _invalid("spec.template.metadata.labels", shown, "`selector` does not match template `labels`")
    containers = spec["template"].get("spec", {}).get("containers") or []
    if not containers:
        yield "FieldValueRequired", "Required value", "spec.template.spec.containers"
    for index, container in enumerate(containers):
        yield from _container(f"spec.template.spec.containers[{index}]", container)
    if before is not None and before["spec"]["selector"] != spec["selector"]:
        shown = json.dumps(spec["selector"], separators=(",", ":"))
        yield _invalid("spec.selector", shown, "field is immutable")


def _container(where: str, container: Object) -> Iterator[Cause]:
    if not _LABEL.fullmatch(container["name"]):
        yield _invalid(f"{where}.name", json.dumps(container["name"]), _LABEL_WORDS)
    if not container.get("image"):
        yield "FieldValueRequired", "Required value", f"{where}.image"
    for number, port in enumerate(container.get("ports", ())):
        if not port.get("containerPort"):
            yield "FieldValueRequired", "Required value", f"{where}.ports[{number}].containerPort"
    for number, variable in enumerate(container.get("env", ())):
        if "=" in variable["name"] or not variable["name"].isascii():
            yield _invalid(f"{where}.env[{number}].name", json.dumps(variable["name"]), _VARIABLE_WORDS)
    probe = container.get("readinessProbe", {})
    if probe.get("periodSeconds", 1) < 0:
        told = "must be greater than or equal to 0"
        yield _invalid(f"{where}.readinessProbe.periodSeconds", str(probe["periodSeconds"]), told)
    port = probe.get("httpGet", {}).get("port", 1)
    if isinstance(port, int) and not 0 < port < 65536:
        told = "must be between 1 and 65535, inclusive"
        yield _invalid(f"{where}.readinessProbe.httpGet.port", str(port), told)


def _invalid(field: str, value: str, words: str) -> Cause:
    return "FieldValueInvalid", f"Invalid value: {value}: {words}", field
