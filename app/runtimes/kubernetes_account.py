"""By what a cluster is configured; apart from the driver, whose client library takes a second to import."""

from collections.abc import Mapping
from pathlib import Path

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def configured(environ: Mapping[str, str]) -> str | None:
    """How a cluster is configured by name, in words: by KUBECONFIG, or as the one in which this process runs."""
    if environ.get("KUBECONFIG"):
        return "KUBECONFIG is set"
    if in_cluster(environ):
        return "the server runs in a pod with a service account"
    return None


def in_cluster(environ: Mapping[str, str]) -> bool:
    """Whether this process runs in a pod that has a service account."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").is_file()
