"""Finding a cluster, and proving to it who one is."""

import ipaddress
import json
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.runtimes import kubernetes_account
from app.runtimes.base import RuntimeUnavailable
from app.runtimes.kubernetes_account import configured
from app.runtimes.kubernetes_client import DEPLOYMENTS, PODS, Client
from tests.runtimes.kubernetes.fake.server import FakeCluster
from tests.runtimes.kubernetes.fixtures import TIMING, kubeconfig_for, served


def written(path: Path, content: Any) -> dict[str, str]:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return {"KUBECONFIG": str(path)}


async def version(environ: dict[str, str]) -> str:
    client = Client(environ, TIMING)
    await client.open()
    try:
        return str((await client.get("/version"))["gitVersion"])
    finally:
        await client.close()


def test_a_path_is_that_of_its_kind() -> None:
    assert DEPLOYMENTS.path("a") == "/apis/apps/v1/namespaces/a/deployments"
    assert PODS.path("a", "b") == "/api/v1/namespaces/a/pods/b"


def test_a_cluster_is_configured_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig in a home directory, or a variable that every pod has, is nobody's decision."""
    monkeypatch.setattr(kubernetes_account, "SERVICE_ACCOUNT", tmp_path)
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert not configured({"HOME": str(Path.home())})
    assert not configured({"KUBECONFIG": ""})
    assert configured({"KUBECONFIG": "/any"}) == "KUBECONFIG is set"
    assert not configured(inside)
    (tmp_path / "token").write_text("good")
    assert configured(inside) == "the server runs in a pod with a service account"
    assert not configured({})


async def test_a_token(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    environ = written(tmp_path / "config", kubeconfig_for(fake_cluster.url, {"token": fake_cluster.token}))
    assert await version(environ) == "v1.34.9"


async def test_a_token_in_a_file(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(fake_cluster.token)
    user = {"tokenFile": str(tmp_path / "token")}
    assert await version(written(tmp_path / "config", kubeconfig_for(fake_cluster.url, user))) == "v1.34.9"


@pytest.mark.parametrize("api_version", ["v1", "v1beta1"])
async def test_a_program_that_gives_credentials(api_version: str, fake_cluster: FakeCluster, tmp_path: Path) -> None:
    group = f"client.authentication.k8s.io/{api_version}"
    credential = {"apiVersion": group, "kind": "ExecCredential", "status": {"token": fake_cluster.token}}
    program = tmp_path / "give"
    program.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(credential))})\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": group, "command": str(program), "interactiveMode": "Never"}}
    assert await version(written(tmp_path / "config", kubeconfig_for(fake_cluster.url, user))) == "v1.34.9"


async def test_several_files_are_one_configuration(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    whole = kubeconfig_for(fake_cluster.url, {"token": fake_cluster.token})
    users = {"apiVersion": "v1", "kind": "Config", "users": whole.pop("users")}
    written(tmp_path / "one", whole)
    written(tmp_path / "two", users)
    assert await version({"KUBECONFIG": f"{tmp_path}/one:{tmp_path}/two"}) == "v1.34.9"


@pytest.mark.parametrize(
    "content",
    ["token: s3cret: {", "[]", "", {"current-context": "missing"}, kubeconfig_for("http://127.0.0.1", {"exec": {}})],
)
async def test_a_file_that_cannot_be_used(content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in it is shown to nobody."""
    with pytest.raises(
        RuntimeUnavailable, match=r"can't be used: KUBECONFIG can't be read, or gives no creden"
    ) as caught:
        await version(written(tmp_path / "config", content))
    assert "s3cret" not in str(caught.value) + capsys.readouterr().out


async def test_a_program_that_fails(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}
    with pytest.raises(RuntimeUnavailable, match="gives no credentials"):
        await version(written(tmp_path / "config", kubeconfig_for(fake_cluster.url, user)))


async def test_no_file_and_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_account, "SERVICE_ACCOUNT", tmp_path)
    with pytest.raises(RuntimeUnavailable, match="KUBECONFIG can't be read"):
        await version({"KUBECONFIG": str(tmp_path / "missing")})
    with pytest.raises(RuntimeUnavailable, match="No Kubernetes cluster is configured"):
        await version({})


async def test_an_answer_of_a_proxy(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    environ = written(tmp_path / "config", kubeconfig_for(fake_cluster.url, {"token": fake_cluster.token}))
    fake_cluster.fail(200, path="/version", body="<html>log in</html>")
    with pytest.raises(RuntimeUnavailable, match="is none; a proxy may be in between"):
        await version(environ)


def certificates(directory: Path) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(private)
    (directory / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return directory / "key.pem", directory / "ca.crt"


async def test_the_service_account_of_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS, with the token as it stands in the file: it is replaced every hour."""
    key, certificate = certificates(tmp_path)
    monkeypatch.setattr(kubernetes_account, "SERVICE_ACCOUNT", tmp_path)
    async with served(FakeCluster(), ssl_keyfile=key, ssl_certfile=certificate) as cluster:
        (tmp_path / "token").write_text(cluster.token)
        port = cluster.url.rpartition(":")[2]
        client = Client({"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port}, TIMING)
        await client.open()
        assert (await client.get("/version"))["gitVersion"] == "v1.34.9"
        cluster.token = "newer"  # noqa: S105  the fake's own
        (tmp_path / "token").write_text(cluster.token)
        assert (await client.get("/version"))["gitVersion"] == "v1.34.9"
        await client.close()
        (tmp_path / "ca.crt").write_text("no certificate")
        with pytest.raises(RuntimeUnavailable, match="the service account of this pod can't be read"):
            await client.open()
