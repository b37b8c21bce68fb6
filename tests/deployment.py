"""What stands in deploy/, as Kubernetes would get it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DIRECTORIES = ("base", "ingress")

Manifest = dict[str, Any]


def kustomizations(directory: Path) -> Iterator[tuple[Path, Manifest]]:
    """The kustomization of a directory, after those that it builds on."""
    found = yaml.safe_load((directory / "kustomization.yaml").read_text())
    for resource in found["resources"]:
        if (directory / resource).is_dir():
            yield from kustomizations((directory / resource).resolve())
    yield directory, found


def manifests(name: str = "base") -> list[Manifest]:
    """All objects of a directory, but for the ConfigMap that kustomize makes."""
    return [
        manifest
        for directory, kustomization in kustomizations(DEPLOY / name)
        for resource in kustomization["resources"]
        if (directory / resource).is_file()
        for manifest in yaml.safe_load_all((directory / resource).read_text())
    ]


def config_map(name: str = "base") -> dict[str, str]:
    """What stands in the ConfigMap that kustomize makes."""
    literals = [
        literal
        for _, kustomization in kustomizations(DEPLOY / name)
        for generator in kustomization["configMapGenerator"]
        for literal in generator["literals"]
    ]
    return dict(literal.split("=", 1) for literal in literals)


def one(kind: str, name: str = "base") -> Manifest:
    [found] = [manifest for manifest in manifests(name) if manifest["kind"] == kind]
    return found


def pod() -> Manifest:
    template: Manifest = one("Deployment")["spec"]["template"]
    return template


def container() -> Manifest:
    [found] = pod()["spec"]["containers"]
    only: Manifest = found
    return only
