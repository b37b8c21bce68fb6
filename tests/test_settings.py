import base64
import datetime as dt
import os
from pathlib import Path

import pydantic
import pytest

from app import settings
from app.db import embedded
from tests import registry

DATABASE_URL_ACCEPTED = (
    "a URL such as postgresql://user:password@host:5432/database; left out, the server brings its own PostgreSQL"
)
DOCKER_CONFIG_ACCEPTED = (
    "a Docker config.json, or the path of one, with username and password for each registry that it names: "
    '{"auths": {"registry.example": {"auth": "…"}}}; credential helpers are not run'
)
DOCKER_CONFIG = '{"auths": {"registry.example": {"auth": "YWRhOnBhNTV3b3Jk"}}}'  # ada:pa55word
KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, data_directory: Path) -> Path:
    """Runs in an empty directory that everyone may enter, without any setting; gives that directory."""
    for name in os.environ:
        if name.upper().startswith("SLIPWAY_") or name in {"DATABASE_URL", "DOCKER_HOST"}:
            monkeypatch.delenv(name)
    data_directory.mkdir(mode=0o711)
    monkeypatch.chdir(data_directory)
    return data_directory


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(settings.SettingsError) as refused:
        settings.load()
    return str(refused.value)


def test_the_defaults(bare_environment: Path) -> None:
    assert settings.load().model_dump() == {
        "host": "127.0.0.1",
        "port": 8000,
        "data_directory": bare_environment / ".slipway",
        "runtime": "auto",
        "docker_host": "unix:///var/run/docker.sock",
        "database_url": None,
        "admin_token": None,
        "encryption_key": None,
        "launch_deadline": dt.timedelta(minutes=10),
        "images_allowed": (),
        "images_denied": (),
        "image_pinning": "prefer",
        "registry_credentials": None,
        "registry_ca": None,
        "kubernetes_namespace": "slipway-workloads",
        "kubernetes_domain": None,
        "kubernetes_ingress_class": None,
        "kubernetes_gateway": None,
        "replicas_max": 100,
        "configured_public_url": None,
        "compiler": True,
        "log_level": "info",
        "log_format": "console",
    }


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch, bare_environment: Path) -> None:
    authority = registry.certify(bare_environment).authority
    environment = {
        "SLIPWAY_HOST": "0.0.0.0",  # noqa: S104 - nothing listens here
        "SLIPWAY_PORT": "9000",
        "SLIPWAY_DATA_DIR": "elsewhere",
        "SLIPWAY_RUNTIME": "docker",
        "DOCKER_HOST": "tcp://127.0.0.1:2375",
        "DATABASE_URL": "postgres://ada:secret@db.example:6432/slipway?sslmode=require",
        "SLIPWAY_ADMIN_TOKEN": "0123456789abcdef",
        "SLIPWAY_ENCRYPTION_KEY": KEY,
        "SLIPWAY_LAUNCH_DEADLINE": "PT1M30S",
        "SLIPWAY_IMAGES_ALLOWED": "registry.example/*, python:*",
        "SLIPWAY_IMAGES_DENIED": "*:latest",
        "SLIPWAY_IMAGE_PINNING": "require",
        "SLIPWAY_REGISTRY_CREDENTIALS": DOCKER_CONFIG,
        "SLIPWAY_REGISTRY_CA": authority.name,
        "SLIPWAY_KUBERNETES_NAMESPACE": "tenants",
        "SLIPWAY_KUBERNETES_DOMAIN": "apps.example.com",
        "SLIPWAY_KUBERNETES_GATEWAY": "infrastructure/public.example",
        "SLIPWAY_REPLICAS_MAX": "5",
        "SLIPWAY_PUBLIC_URL": "https://slipway.example/",
        "SLIPWAY_COMPILER": "off",
        "SLIPWAY_LOG_LEVEL": "error",
        "SLIPWAY_LOG_FORMAT": "json",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert settings.load().model_dump() == {
        "host": "0.0.0.0",  # noqa: S104 - nothing listens here
        "port": 9000,
        "data_directory": bare_environment / "elsewhere",
        "runtime": "docker",
        "docker_host": "tcp://127.0.0.1:2375",
        "database_url": pydantic.SecretStr("postgresql://ada:secret@db.example:6432/slipway?sslmode=require"),
        "admin_token": pydantic.SecretStr("0123456789abcdef"),
        "encryption_key": pydantic.SecretBytes(bytes(range(32))),
        "launch_deadline": dt.timedelta(seconds=90),
        "images_allowed": ("registry.example/*", "python:*"),
        "images_denied": ("*:latest",),
        "image_pinning": "require",
        "registry_credentials": pydantic.SecretStr(DOCKER_CONFIG),
        "registry_ca": authority,
        "kubernetes_namespace": "tenants",
        "kubernetes_domain": "apps.example.com",
        "kubernetes_ingress_class": None,
        "kubernetes_gateway": "infrastructure/public.example",
        "replicas_max": 5,
        "configured_public_url": "https://slipway.example",
        "compiler": False,
        "log_level": "error",
        "log_format": "json",
    }


def test_the_object_is_frozen_and_its_text_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_ADMIN_TOKEN", "0123456789abcdef")
    monkeypatch.setenv("SLIPWAY_ENCRYPTION_KEY", KEY)
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:pa55word@db.example/slipway")
    monkeypatch.setenv("SLIPWAY_REGISTRY_CREDENTIALS", DOCKER_CONFIG)
    loaded = settings.load()

    with pytest.raises(pydantic.ValidationError):
        loaded.port = 1  # type: ignore[misc]
    for secret in ("0123456789abcdef", KEY, repr(bytes(range(32))), "pa55word", "YWRhOnBhNTV3b3Jk"):
        assert secret not in f"{loaded!r} {loaded}"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLIPWAY_PORT", "SLIPWAY_ADMIN_TOKEN", "DATABASE_URL", "SLIPWAY_IMAGES_ALLOWED"):
        monkeypatch.setenv(name, "")

    loaded = settings.load()

    assert (loaded.port, loaded.admin_token, loaded.database_url, loaded.images_allowed) == (8000, None, None, ())


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("SLIPWAY_HOST", "https://here", "an IP address or a host name to listen on, such as 127.0.0.1"),
        ("SLIPWAY_HOST", "127.0.0.256", "an IP address or a host name to listen on, such as 127.0.0.1"),
        ("SLIPWAY_HOST", "[::1]", "an IP address or a host name to listen on, such as 127.0.0.1"),
        ("SLIPWAY_PORT", "0", "a number from 1 to 65535"),
        ("SLIPWAY_PORT", "65536", "a number from 1 to 65535"),
        ("SLIPWAY_PORT", "80.5", "a number from 1 to 65535"),
        ("SLIPWAY_PORT", "tcp://10.0.0.1:8000", "a number from 1 to 65535"),
        ("SLIPWAY_DATA_DIR", "/dev/null", "the path of a directory, which is made where there is none"),
        ("SLIPWAY_RUNTIME", "podman", "auto, process, docker or kubernetes"),
        ("SLIPWAY_RUNTIME", "PROCESS", "auto, process, docker or kubernetes"),
        ("SLIPWAY_LAUNCH_DEADLINE", "600", "an ISO 8601 duration from PT1S to PT24H, such as PT10M"),
        ("SLIPWAY_LAUNCH_DEADLINE", "PT0S", "an ISO 8601 duration from PT1S to PT24H, such as PT10M"),
        ("SLIPWAY_LAUNCH_DEADLINE", "P1DT1S", "an ISO 8601 duration from PT1S to PT24H, such as PT10M"),
        ("SLIPWAY_LAUNCH_DEADLINE", "P", "an ISO 8601 duration from PT1S to PT24H, such as PT10M"),
        ("SLIPWAY_REPLICAS_MAX", "0", "a number from 1 to 100"),
        ("SLIPWAY_REPLICAS_MAX", "101", "a number from 1 to 100"),
        ("SLIPWAY_COMPILER", "fast", "on or off"),
        ("SLIPWAY_LOG_LEVEL", "loud", "info, warning or error"),
        ("SLIPWAY_LOG_FORMAT", "xml", "console or json"),
        *(
            (
                "SLIPWAY_KUBERNETES_NAMESPACE",
                value,
                "the name of a namespace, up to 63 lowercase letters, digits and '-'",
            )
            for value in ("Tenants", "a.b", "-a", "a" * 64)
        ),
        *(
            (
                "SLIPWAY_KUBERNETES_DOMAIN",
                value,
                "a domain below which every workload gets a host of its own, such as apps.example.com",
            )
            for value in ("example", "https://apps.example.com", "apps..com", "a.b\n", f"{'a' * 64}.com")
        ),
        ("SLIPWAY_KUBERNETES_INGRESS_CLASS", "NGINX", "the name of an IngressClass, such as nginx"),
        *(
            (
                "SLIPWAY_KUBERNETES_GATEWAY",
                value,
                "the namespace and the name of a Gateway, such as infrastructure/public",
            )
            for value in ("public", "infrastructure/", "a/b/c")
        ),
        ("SLIPWAY_IMAGE_PINNING", "required", "prefer, require or off"),
        *(
            (
                "SLIPWAY_REGISTRY_CA",
                value,
                "the path of a PEM file with certificates of authorities, trusted beside the system's",
            )
            for value in ("none.pem", "/dev/null", ".")
        ),
        (
            "SLIPWAY_IMAGES_ALLOWED",
            "python:*,,node:*",
            "up to 100 patterns separated by commas, such as registry.example/*,python:*",
        ),
        (
            "SLIPWAY_IMAGES_DENIED",
            "python node",
            "up to 100 patterns separated by commas, such as registry.example/*,python:*",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, accepted: str
) -> None:
    assert refusal(monkeypatch, **{name: value}) == f"{name} is {value!r}, but must be {accepted}."


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("SLIPWAY_ADMIN_TOKEN", "too-shr", "8 to 200 characters out of A-Z, a-z, 0-9 and -._~+/"),
        ("SLIPWAY_ADMIN_TOKEN", "hidden with a space", "8 to 200 characters out of A-Z, a-z, 0-9 and -._~+/"),
        ("SLIPWAY_ADMIN_TOKEN", "hidden" * 40, "8 to 200 characters out of A-Z, a-z, 0-9 and -._~+/"),
        ("SLIPWAY_ENCRYPTION_KEY", "hidden", "32 bytes in base64, as `openssl rand -base64 32` prints them"),
        ("SLIPWAY_ENCRYPTION_KEY", "hiddenAA", "32 bytes in base64, as `openssl rand -base64 32` prints them"),
        ("SLIPWAY_ENCRYPTION_KEY", "hidden-ü", "32 bytes in base64, as `openssl rand -base64 32` prints them"),
        (
            "SLIPWAY_PUBLIC_URL",
            "https://ada:hidden@slipway.example",
            "the http:// or https:// address under which clients reach the server, without user and query",
        ),
        (
            "SLIPWAY_PUBLIC_URL",
            "hidden.example",
            "the http:// or https:// address under which clients reach the server, without user and query",
        ),
        *(
            ("SLIPWAY_REGISTRY_CREDENTIALS", value, DOCKER_CONFIG_ACCEPTED)
            for value in (
                '{"auths": {"registry.example": {"auth": "hidden"}}}',
                '{"hidden": {}}',
                "hidden.json",
                "/dev/zero",
                ".",
            )
        ),
        *(
            (
                "DATABASE_URL",
                value,
                DATABASE_URL_ACCEPTED,
            )
            for value in (
                "mysql://ada:hidden@db.example/slipway",
                "postgresql+asyncpg://ada:hidden@db.example/slipway",
                "postgresql://ada:hidden@db.example:port/slipway",
                "postgresql://",
            )
        ),
    ],
)
def test_no_refusal_repeats_a_secret(monkeypatch: pytest.MonkeyPatch, name: str, value: str, accepted: str) -> None:
    assert refusal(monkeypatch, **{name: value}) == f"{name} must be {accepted}."


def test_registry_credentials_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, bare_environment: Path) -> None:
    (bare_environment / "config.json").write_text(DOCKER_CONFIG)
    monkeypatch.setenv("SLIPWAY_REGISTRY_CREDENTIALS", "config.json")

    assert settings.load().registry_credentials == pydantic.SecretStr(DOCKER_CONFIG)


def test_a_long_value_is_cut_in_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, SLIPWAY_PORT="9" * 5000) == (
        f"SLIPWAY_PORT is '{'9' * 100}…', but must be a number from 1 to 65535."
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SLIPWAY_PROT", "SLIPWAY_PROT is not a setting of Slipway: did you mean SLIPWAY_PORT?"),
        ("slipway_port", "slipway_port is not a setting of Slipway: did you mean SLIPWAY_PORT?"),
    ],
)
def test_an_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, sentence: str) -> None:
    assert refusal(monkeypatch, **{name: "9000"}) == sentence


def test_a_variable_like_no_other_is_answered_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, SLIPWAY_XYZZY="9000").startswith(
        "SLIPWAY_XYZZY is not a setting of Slipway: there are SLIPWAY_HOST, SLIPWAY_PORT, SLIPWAY_DATA_DIR, "
    )


def test_there_is_one_way_into_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, SLIPWAY_KUBERNETES_INGRESS_CLASS="nginx") == (
        "SLIPWAY_KUBERNETES_INGRESS_CLASS takes a domain for the hosts of workloads: set SLIPWAY_KUBERNETES_DOMAIN."
    )
    monkeypatch.setenv("SLIPWAY_KUBERNETES_DOMAIN", "apps.example.com")
    assert settings.load().kubernetes_ingress_class == "nginx"
    assert refusal(monkeypatch, SLIPWAY_KUBERNETES_GATEWAY="infrastructure/public") == (
        "SLIPWAY_KUBERNETES_INGRESS_CLASS and SLIPWAY_KUBERNETES_GATEWAY are two ways to workloads: leave one of them "
        "out."
    )


def test_slipway_may_run_as_a_workload_of_slipway(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLIPWAY_WORKLOAD_ID", "SLIPWAY_ARTIFACT_ID", "SLIPWAY_ARTIFACT_VERSION"):
        monkeypatch.setenv(name, "x")

    assert settings.load().port == 8000


@pytest.mark.parametrize(
    ("host", "stays_here"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.0.2.1", "slipway.example")),  # noqa: S104 - not bound
    ],
)
def test_it_is_known_who_can_reach_the_server(monkeypatch: pytest.MonkeyPatch, host: str, stays_here: bool) -> None:
    monkeypatch.setenv("SLIPWAY_HOST", host)

    assert settings.load().is_loopback is stays_here


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - nothing listens here
        ("::", "http://[::1]:8000"),
        ("slipway.example", "http://slipway.example:8000"),
    ],
)
def test_the_public_address_follows_the_host(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("SLIPWAY_HOST", host)

    assert settings.load().public_url == url


def test_a_configured_public_address_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_PUBLIC_URL", "https://example.org/slipway/")

    assert settings.load().public_url == "https://example.org/slipway"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_root_keeps_its_data_where_postgresql_gets_to(bare_environment: Path) -> None:
    bare_environment.chmod(0o700)

    directory = settings.load().data_directory

    assert directory.parent == embedded.STATE_DIRECTORY
    assert directory.name.startswith("data-")
    assert directory == settings.load().data_directory
    assert not directory.exists()
