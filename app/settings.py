"""The environment, read once into one frozen object. A wrong variable stops the start with one sentence.

An empty variable counts as one that isn't set. A variable that begins with SLIPWAY_ and isn't known is refused, so that
a misspelt one doesn't pass in silence.
"""

import base64
import binascii
import datetime as dt
import difflib
import hashlib
import ipaddress
import os
import re
import urllib.parse
from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
import pydantic_settings

from app import images
from app.db import embedded

LAUNCH_DEADLINE_MINIMUM = dt.timedelta(seconds=1)
LAUNCH_DEADLINE_MAXIMUM = dt.timedelta(hours=24)
REPLICAS_MAXIMUM = 100

_TOKEN = re.compile(r"[-._~+/A-Za-z0-9]{8,200}")  # the alphabet of RFC 6750, section 2.1
_HOST_NAME = re.compile(r"(?!-)[-.A-Za-z0-9]{1,253}(?<!-)")
_IMAGE_PATTERN = re.compile(r"[^\s\x00-\x1f]{1,500}")
_IMAGE_PATTERNS_MAXIMUM = 100
_ENCRYPTION_KEY_BYTES = 32  # AES-256
_REGISTRY_CREDENTIALS_MAXIMUM_BYTES = 2**20
_SHOWN_CHARACTERS = 100
_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"  # RFC 1123

_SECRET = frozenset(
    {
        "DATABASE_URL",
        "SLIPWAY_ADMIN_TOKEN",
        "SLIPWAY_ENCRYPTION_KEY",
        "SLIPWAY_PUBLIC_URL",
        "SLIPWAY_REGISTRY_CREDENTIALS",
    }
)
"""Variables whose value no message repeats: it is a secret, or may have one in it."""

_NOT_FOR_THE_SERVER = frozenset(
    {"SLIPWAY_WORKLOAD_ID", "SLIPWAY_ARTIFACT_ID", "SLIPWAY_ARTIFACT_VERSION", "SLIPWAY_INSTANCE", "SLIPWAY_TOKEN"}
)
"""What Slipway sets for the workloads it runs, as it may be one of them itself, and what its clients keep theirs in."""


class SettingsError(Exception):
    """The environment can't be used; the message is one sentence, without secrets, that names the variable."""


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        # Digits and dots alone are an address that went wrong, not a name.
        if not _HOST_NAME.fullmatch(value) or not value.strip(".0123456789"):
            raise
    return value


def _database_url(value: pydantic.SecretStr) -> pydantic.SecretStr:
    text = value.get_secret_value()
    scheme, _, rest = text.partition("://")
    parts = urllib.parse.urlsplit(text)
    if scheme not in {"postgres", "postgresql"} or not rest or not text.isprintable() or parts.port == 0:
        raise ValueError
    return pydantic.SecretStr(f"postgresql://{rest}")


def _admin_token(value: pydantic.SecretStr) -> pydantic.SecretStr:
    if not _TOKEN.fullmatch(value.get_secret_value()):
        raise ValueError
    return value


def _encryption_key(value: object) -> bytes:
    try:
        key = base64.b64decode(str(value), validate=True)
    except binascii.Error as error:
        raise ValueError from error
    if len(key) != _ENCRYPTION_KEY_BYTES:
        raise ValueError
    return key


def _duration(value: object) -> object:
    if isinstance(value, str) and not value.startswith("P"):  # pydantic would take 600 and 00:10:00 as well
        raise ValueError
    return value


def _written_as(pattern: str) -> pydantic.AfterValidator:
    """A check that the whole of a text is as the pattern says."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError
        return value

    return pydantic.AfterValidator(check)


def _patterns(value: object) -> object:
    if not isinstance(value, str):
        return value
    patterns = tuple(pattern.strip() for pattern in value.split(","))
    if len(patterns) > _IMAGE_PATTERNS_MAXIMUM or not all(map(_IMAGE_PATTERN.fullmatch, patterns)):
        raise ValueError
    return patterns


def _public_url(value: str) -> str:
    parts = urllib.parse.urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError
    if parts.username is not None or parts.query or parts.fragment or parts.port == 0:
        raise ValueError
    return value.rstrip("/")


def _registry_credentials(value: pydantic.SecretStr) -> pydantic.SecretStr:
    """The JSON, also where the path of a file with it is given."""
    text = value.get_secret_value()
    try:
        if not text.lstrip().startswith("{"):
            with Path(text).open("rb") as file:
                text = file.read(_REGISTRY_CREDENTIALS_MAXIMUM_BYTES).decode()
        images.Credentials.from_docker_config(text)
    except OSError as error:
        raise ValueError from error
    return pydantic.SecretStr(text)


def _registry_ca(value: Path) -> Path:
    try:
        images.tls_context(value)
    except OSError as error:
        raise ValueError from error
    return value.resolve()


def _data_directory(value: Path) -> Path:
    directory = value.resolve()
    if directory.exists() and not directory.is_dir():
        raise ValueError
    return directory


def _default_data_directory() -> Path:
    """`.slipway` in the working directory, or a place below /var/lib where root's PostgreSQL can't get to that."""
    working_directory = Path.cwd()
    directory = working_directory / ".slipway"
    if embedded.can_reach(directory, embedded.unprivileged_user(directory)):
        return directory
    key = hashlib.sha256(os.fsencode(working_directory)).hexdigest()[:12]
    return embedded.STATE_DIRECTORY / f"{working_directory.name}-{key}"


class Settings(pydantic_settings.BaseSettings):
    """What the environment asks for. A description completes the sentence "VARIABLE must be …"."""

    model_config = pydantic_settings.SettingsConfigDict(
        frozen=True, case_sensitive=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    host: Annotated[str, pydantic.AfterValidator(_host)] = pydantic.Field(
        default="127.0.0.1",
        validation_alias="SLIPWAY_HOST",
        description="an IP address or a host name to listen on, such as 127.0.0.1",
    )
    port: Annotated[int, pydantic.Field(ge=1, le=65535)] = pydantic.Field(
        default=8000, validation_alias="SLIPWAY_PORT", description="a number from 1 to 65535"
    )
    data_directory: Annotated[Path, pydantic.AfterValidator(_data_directory)] = pydantic.Field(
        default_factory=_default_data_directory,
        validation_alias="SLIPWAY_DATA_DIR",
        description="the path of a directory, which is made where there is none",
    )
    runtime: Literal["auto", "process", "docker", "kubernetes"] = pydantic.Field(
        default="auto", validation_alias="SLIPWAY_RUNTIME", description="auto, process, docker or kubernetes"
    )
    # Docker's own variable: what it holds is the driver's to judge, where that is asked for.
    docker_host: str = pydantic.Field(
        default="unix:///var/run/docker.sock",
        validation_alias="DOCKER_HOST",
        description="where a container engine answers, such as unix:///var/run/docker.sock",
    )
    database_url: Annotated[pydantic.SecretStr, pydantic.AfterValidator(_database_url)] | None = pydantic.Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="a URL such as postgresql://user:password@host:5432/database; "
        "left out, the server brings its own PostgreSQL",
    )
    admin_token: Annotated[pydantic.SecretStr, pydantic.AfterValidator(_admin_token)] | None = pydantic.Field(
        default=None,
        validation_alias="SLIPWAY_ADMIN_TOKEN",
        description="8 to 200 characters out of A-Z, a-z, 0-9 and -._~+/",
    )
    encryption_key: Annotated[pydantic.SecretBytes, pydantic.BeforeValidator(_encryption_key)] | None = pydantic.Field(
        default=None,
        validation_alias="SLIPWAY_ENCRYPTION_KEY",
        description="32 bytes in base64, as `openssl rand -base64 32` prints them",
    )
    launch_deadline: Annotated[
        dt.timedelta,
        pydantic.BeforeValidator(_duration),
        pydantic.Field(ge=LAUNCH_DEADLINE_MINIMUM, le=LAUNCH_DEADLINE_MAXIMUM),
    ] = pydantic.Field(
        default=dt.timedelta(minutes=10),
        validation_alias="SLIPWAY_LAUNCH_DEADLINE",
        description="an ISO 8601 duration from PT1S to PT24H, such as PT10M",
    )
    images_allowed: Annotated[tuple[str, ...], pydantic_settings.NoDecode, pydantic.BeforeValidator(_patterns)] = (
        pydantic.Field(
            default=(),
            validation_alias="SLIPWAY_IMAGES_ALLOWED",
            description="up to 100 patterns separated by commas, such as registry.example/*,python:*",
        )
    )
    images_denied: Annotated[tuple[str, ...], pydantic_settings.NoDecode, pydantic.BeforeValidator(_patterns)] = (
        pydantic.Field(
            default=(),
            validation_alias="SLIPWAY_IMAGES_DENIED",
            description="up to 100 patterns separated by commas, such as registry.example/*,python:*",
        )
    )
    image_pinning: Literal["prefer", "require", "off"] = pydantic.Field(
        default="prefer", validation_alias="SLIPWAY_IMAGE_PINNING", description="prefer, require or off"
    )
    registry_credentials: Annotated[pydantic.SecretStr, pydantic.AfterValidator(_registry_credentials)] | None = (
        pydantic.Field(
            default=None,
            validation_alias="SLIPWAY_REGISTRY_CREDENTIALS",
            description="a Docker config.json, or the path of one, with username and password for each registry that "
            'it names: {"auths": {"registry.example": {"auth": "…"}}}; credential helpers are not run',
        )
    )
    registry_ca: Annotated[Path, pydantic.AfterValidator(_registry_ca)] | None = pydantic.Field(
        default=None,
        validation_alias="SLIPWAY_REGISTRY_CA",
        description="the path of a PEM file with certificates of authorities, trusted beside the system's",
    )
    kubernetes_namespace: Annotated[str, _written_as(_LABEL)] = pydantic.Field(
        default="slipway-workloads",
        validation_alias="SLIPWAY_KUBERNETES_NAMESPACE",
        description="the name of a namespace, up to 63 lowercase letters, digits and '-'",
    )
    kubernetes_domain: Annotated[str, _written_as(rf"(?=.{{1,222}}$){_LABEL}(\.{_LABEL})+")] | None = pydantic.Field(
        default=None,  # 253 characters of a host, less the name of a workload and a dot
        validation_alias="SLIPWAY_KUBERNETES_DOMAIN",
        description="a domain below which every workload gets a host of its own, such as apps.example.com",
    )
    kubernetes_ingress_class: Annotated[str, _written_as(rf"{_LABEL}(\.{_LABEL})*")] | None = pydantic.Field(
        default=None,
        validation_alias="SLIPWAY_KUBERNETES_INGRESS_CLASS",
        description="the name of an IngressClass, such as nginx",
    )
    kubernetes_gateway: Annotated[str, _written_as(rf"{_LABEL}/{_LABEL}(\.{_LABEL})*")] | None = pydantic.Field(
        default=None,
        validation_alias="SLIPWAY_KUBERNETES_GATEWAY",
        description="the namespace and the name of a Gateway, such as infrastructure/public",
    )
    replicas_max: Annotated[int, pydantic.Field(ge=1, le=REPLICAS_MAXIMUM)] = pydantic.Field(
        default=REPLICAS_MAXIMUM,
        validation_alias="SLIPWAY_REPLICAS_MAX",
        description=f"a number from 1 to {REPLICAS_MAXIMUM}",
    )
    configured_public_url: Annotated[str, pydantic.AfterValidator(_public_url)] | None = pydantic.Field(
        default=None,
        validation_alias="SLIPWAY_PUBLIC_URL",
        description="the http:// or https:// address under which clients reach the server, without user and query",
    )
    compiler: bool = pydantic.Field(
        default=True,
        validation_alias="SLIPWAY_COMPILER",
        description="on or off",
    )
    log_level: Literal["info", "warning", "error"] = pydantic.Field(
        default="info", validation_alias="SLIPWAY_LOG_LEVEL", description="info, warning or error"
    )
    log_format: Literal["console", "json"] = pydantic.Field(
        default="console", validation_alias="SLIPWAY_LOG_FORMAT", description="console or json"
    )

    @pydantic.model_validator(mode="after")
    def _one_way_into_the_cluster(self) -> Self:
        ways = {
            "SLIPWAY_KUBERNETES_INGRESS_CLASS": self.kubernetes_ingress_class,
            "SLIPWAY_KUBERNETES_GATEWAY": self.kubernetes_gateway,
        }
        asked_for = [name for name, value in ways.items() if value is not None]
        if len(asked_for) > 1:
            raise ValueError(f"{' and '.join(asked_for)} are two ways to workloads: leave one of them out.")
        if asked_for and self.kubernetes_domain is None:
            raise ValueError(
                f"{asked_for[0]} takes a domain for the hosts of workloads: set SLIPWAY_KUBERNETES_DOMAIN."
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server. Of names, `localhost` alone is known to stay here."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def public_url(self) -> str:
        """The address under which clients reach the server, without a slash at its end."""
        if self.configured_public_url is not None:
            return self.configured_public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def load() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: A variable is unknown, or its value isn't accepted.
    """
    _refuse_unknown()
    try:
        return Settings()
    except pydantic.ValidationError as error:
        raise SettingsError(_sentence(error)) from None


def _variables() -> dict[str, str]:
    """The known variables, and what each of them must be."""
    return {str(field.validation_alias): str(field.description) for field in Settings.model_fields.values()}


def _refuse_unknown() -> None:
    known = _variables()
    for name in sorted(os.environ):
        if name.upper().startswith("SLIPWAY_") and name not in known and name not in _NOT_FOR_THE_SERVER:
            close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
            raise SettingsError(f"{name} is not a setting of Slipway: {hint}")


def _sentence(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if not first["loc"]:
        return str(first["ctx"]["error"])
    name = str(first["loc"][0])
    value = "" if name in _SECRET else f" is {_shown(os.environ.get(name, ''))}, but"
    return f"{name}{value} must be {_variables()[name]}."


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…")
