"""What gets in: every rule about the values of an input, all issues at once, each with its path.

The checks take what the border has converted (a `Specification` whose values are as the user wrote them) and answer
the same thing normalized: names trimmed, the primary container marked, names filled in. Numbers that the rules give
as "up to" are constants here.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import timedelta

from app.domain import references
from app.domain.enums import EnvironmentVariableType, ProbeKind
from app.domain.errors import InvalidInput, Issue
from app.domain.specification import (
    PRIMARY_CONTAINER_NAME,
    Container,
    ContainerGroup,
    EnvironmentVariable,
    Probe,
    Specification,
)

NAME_MAXIMUM_LENGTH = 200
DESCRIPTION_MAXIMUM_LENGTH = 5_000
TAG_NAME_MAXIMUM_LENGTH = 128
TAG_VALUE_MAXIMUM_LENGTH = 512
TAGS_MAXIMUM = 50
GROUPS_MAXIMUM = 1
CONTAINERS_MAXIMUM = 20
PORT_MAXIMUM = 65_535
ARGUMENTS_MAXIMUM = 100
ARGUMENTS_MAXIMUM_BYTES = 32 * 1024
VARIABLES_MAXIMUM = 200
VALUE_MAXIMUM_BYTES = 32 * 1024
PROBE_PATH_MAXIMUM_LENGTH = 1_024
PROBE_DELAY_MAXIMUM_SECONDS = 3_600
PROBE_PERIOD_MAXIMUM_SECONDS = 3_600
PROBE_THRESHOLD_MAXIMUM = 1_000
PROBE_HEADERS_MAXIMUM = 20
HEADER_VALUE_MAXIMUM_BYTES = 4 * 1024
CREDENTIAL_KEYS_MAXIMUM = 50
GRANTS_MAXIMUM = 100
SEARCH_MAXIMUM_LENGTH = 100
IMAGE_URI_MAXIMUM_LENGTH = 1_024
REPLICAS_MAXIMUM = 100
TEST_MAXIMUM = timedelta(hours=8)
TOKEN_LIFETIME_MAXIMUM = timedelta(days=3_650)
CPU_MAXIMUM = 256.0
MEMORY_MINIMUM_BYTES = 4 * 1024**2
MEMORY_MAXIMUM_BYTES = 4 * 1024**4
RESERVED_VARIABLE_PREFIX = "SLIPWAY_"

_CONTAINER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_VARIABLE_NAME = re.compile(r"[ -<>-~]+", re.ASCII)  # printable ASCII without "="
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # a token of RFC 9110, 5.6.2
_CREDENTIAL_KEY = re.compile(r"[-._a-zA-Z0-9]{1,128}", re.ASCII)
# Control characters, and halves of surrogate pairs: bytes of a command line that are no UTF-8 become these.
_CONTROL = frozenset({"Cc", "Cs"})


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What the server's configuration adds to the rules."""

    images_allowed: tuple[str, ...] = ()
    images_denied: tuple[str, ...] = ()
    replicas_maximum: int = REPLICAS_MAXIMUM


@dataclasses.dataclass(frozen=True, slots=True)
class Tag:
    """A tag as it was written."""

    name: str
    value: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Resources:
    """Limits of one container: `cpu` in cores, `memory_bytes` in bytes; null: none."""

    container: str
    cpu: float | None = None
    memory_bytes: float | None = None


class Issues:
    """Collects what is wrong, so that all of it can be said at once."""

    def __init__(self) -> None:
        self.found: list[Issue] = []

    def add(self, path: str, code: str, message: str) -> None:
        """Note one issue."""
        self.found.append(Issue(path, code, message))

    def raise_if_any(self) -> None:
        """Say all of them.

        Raises:
            InvalidInput: at least one issue was noted.
        """
        if self.found:
            raise InvalidInput(self.found)

    def name(self, path: str, value: str) -> str:
        """A name: 1 to 200 characters after trimming, no control characters. Answers it trimmed."""
        return self.text(path, value.strip(), 1, NAME_MAXIMUM_LENGTH, single_line=True)

    def description(self, path: str, value: str) -> str:
        """A description: up to 5,000 characters, several lines."""
        return self.text(path, value, 0, DESCRIPTION_MAXIMUM_LENGTH)

    def text(self, path: str, value: str, minimum: int, maximum: int, *, single_line: bool = False) -> str:
        """Any text: its length in characters, no NUL, on a single line no control characters either."""
        if len(value) < minimum:
            self.add(path, "TOO_SHORT", "It is empty: at least one character is needed, blanks do not count.")
        elif len(value) > maximum:
            self.add(path, "TOO_LONG", f"It has {len(value)} characters; at most {maximum} are allowed.")
        if "\0" in value:
            self.add(path, "NUL_CHARACTER", "A text can't hold the NUL character.")
        elif single_line and any(unicodedata.category(each) in _CONTROL for each in value[:maximum]):
            self.add(path, "CONTROL_CHARACTER", "Control characters, such as line breaks, can't stand here.")
        return value

    def number(self, path: str, value: float, minimum: float, maximum: float) -> None:
        """A number between two bounds, both included."""
        if not minimum <= value <= maximum:
            self.add(path, "OUT_OF_RANGE", f"{value} is not between {minimum} and {maximum}.")

    def size(self, path: str, value: str, maximum_bytes: int) -> None:
        """A text without NUL of at most so many bytes in UTF-8."""
        if "\0" in value:
            self.add(path, "NUL_CHARACTER", "A text can't hold the NUL character.")
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > maximum_bytes:
            self.add(path, "TOO_LONG", f"It has {size} bytes; at most {maximum_bytes} are allowed.")

    def count(self, path: str, things: Sequence[object], minimum: int, maximum: int) -> bool:
        """The length of a list. False where it is wrong, so that a list of 10,000 is not looked through."""
        if minimum <= len(things) <= maximum:
            return True
        self.add(path, "WRONG_COUNT", f"There are {len(things)}; {minimum} to {maximum} are allowed.")
        return False

    def unique(self, paths: Iterable[tuple[str, str]], what: str) -> None:
        """Each (path, name) pair has a name of its own."""
        seen: set[str] = set()
        for path, name in paths:
            if name in seen:
                self.add(path, "DUPLICATE", f"{what} {name[:100]!r} stands here twice.")
            seen.add(name)


def tags(issues: Issues, path: str, given: Sequence[Tag]) -> list[Tag]:
    """At most 50 tags with names of their own."""
    if not issues.count(path, given, 0, TAGS_MAXIMUM):
        return []
    for position, tag in enumerate(given):
        issues.text(f"{path}[{position}].name", tag.name, 1, TAG_NAME_MAXIMUM_LENGTH, single_line=True)
        issues.text(f"{path}[{position}].value", tag.value, 0, TAG_VALUE_MAXIMUM_LENGTH)
    issues.unique(((f"{path}[{position}].name", tag.name) for position, tag in enumerate(given)), "The tag")
    return list(given)


def specification(issues: Issues, path: str, given: Specification, limits: Limits) -> Specification:
    """A whole specification. Answers it normalized, and without lists that are too long to be looked through.

    Where issues were noted, the answer is good for noting more of them, and for nothing else.
    """
    groups_path = f"{path}.containerGroups"
    if len(given.container_groups) != GROUPS_MAXIMUM:
        issues.add(
            groups_path,
            "WRONG_COUNT",
            f"Exactly one container group is accepted today; there are {len(given.container_groups)}.",
        )
        return Specification(())
    return Specification(
        tuple(
            _group(issues, f"{groups_path}[{position}]", group, limits)
            for position, group in enumerate(given.container_groups)
        )
    )


def _group(issues: Issues, path: str, given: ContainerGroup, limits: Limits) -> ContainerGroup:
    _container_name(issues, f"{path}.name", given.name)
    containers_path = f"{path}.containers"
    if not issues.count(containers_path, given.containers, 1, CONTAINERS_MAXIMUM):
        return dataclasses.replace(given, containers=())
    containers = group_containers(given.containers)
    primaries = [position for position, container in enumerate(containers) if container.primary]
    if len(primaries) != 1:
        issues.add(containers_path, "ONE_PRIMARY", f"Exactly one container is primary; {len(primaries)} are marked so.")
    for position in primaries:
        if containers[position].port is None:
            issues.add(f"{containers_path}[{position}].port", "REQUIRED", "The primary container needs a port.")
    checked = tuple(
        container(issues, f"{containers_path}[{position}]", each, limits) for position, each in enumerate(containers)
    )
    issues.unique(
        ((f"{containers_path}[{position}].name", each.name) for position, each in enumerate(checked)),
        "The container name",
    )
    issues.unique(
        (
            (f"{containers_path}[{position}].port", str(each.port))
            for position, each in enumerate(checked)
            if each.port is not None
        ),
        "The port",
    )
    return dataclasses.replace(given, containers=checked)


def group_containers(given: Sequence[Container]) -> list[Container]:
    """The containers with what may be left out filled in: a lone one is primary; names by position from 1."""
    containers = [dataclasses.replace(each, primary=True) for each in given] if len(given) == 1 else list(given)
    return [
        each
        if each.name
        else dataclasses.replace(each, name=PRIMARY_CONTAINER_NAME if each.primary else f"container-{position}")
        for position, each in enumerate(containers, start=1)
    ]


def container(issues: Issues, path: str, given: Container, limits: Limits) -> Container:
    """One container."""
    _container_name(issues, f"{path}.name", given.name)
    issues.description(f"{path}.description", given.description)
    image_uri(issues, f"{path}.imageUri", given.image_uri, limits)
    if given.port is not None:
        issues.number(f"{path}.port", given.port, 1, PORT_MAXIMUM)
    if given.entrypoint is not None:
        _entrypoint(issues, f"{path}.entrypoint", given.entrypoint)
    checked = variables(issues, f"{path}.environmentVars", given.environment_vars)
    for kind, each in given.probes.items():
        probe(issues, f"{path}.{kind.value.lower()}Probe", kind, each)
    return dataclasses.replace(given, environment_vars=tuple(checked))


def is_container_name(name: str) -> bool:
    """Whether a container can have this name: a DNS label, as RFC 1123 has them."""
    return _CONTAINER_NAME.fullmatch(name) is not None


def _container_name(issues: Issues, path: str, name: str) -> None:
    if not is_container_name(name):
        issues.add(
            path,
            "NOT_A_LABEL",
            "It is 1 to 63 lowercase letters, digits and '-', and begins and ends with a letter or digit.",
        )


def image_uri(issues: Issues, path: str, given: str, limits: Limits) -> None:
    """An image reference that the configuration lets in."""
    if len(given) > IMAGE_URI_MAXIMUM_LENGTH:
        issues.add(path, "TOO_LONG", f"An image reference has at most {IMAGE_URI_MAXIMUM_LENGTH} characters.")
        return
    parsed = references.parse(given)
    if isinstance(parsed, str):
        issues.add(path, "NOT_AN_IMAGE", parsed)
        return
    refusal = references.refused_by(given, limits.images_allowed, limits.images_denied)
    if refusal is not None:
        issues.add(path, "IMAGE_NOT_ALLOWED", refusal)


def _entrypoint(issues: Issues, path: str, given: Sequence[str]) -> None:
    if not issues.count(path, given, 0, ARGUMENTS_MAXIMUM):
        return
    for position, argument in enumerate(given):
        if "\0" in argument:
            issues.add(f"{path}[{position}]", "NUL_CHARACTER", "An argument can't hold the NUL character.")
    size = sum(len(argument.encode("utf-8", "surrogatepass")) for argument in given)
    if size > ARGUMENTS_MAXIMUM_BYTES:
        issues.add(path, "TOO_LONG", f"The arguments have {size} bytes; at most {ARGUMENTS_MAXIMUM_BYTES} are allowed.")


def variables(issues: Issues, path: str, given: Sequence[EnvironmentVariable]) -> Sequence[EnvironmentVariable]:
    """The variables of one container; none where they are too many to be looked through."""
    if not issues.count(path, given, 0, VARIABLES_MAXIMUM):
        return ()
    for position, each in enumerate(given):
        variable(issues, f"{path}[{position}]", each)
    issues.unique(((f"{path}[{position}].name", each.name) for position, each in enumerate(given)), "The variable")
    return given


def variable(issues: Issues, path: str, given: EnvironmentVariable) -> None:
    """One variable. That its credential exists and has the key is asked elsewhere: that needs the database."""
    if not _VARIABLE_NAME.fullmatch(given.name) or len(given.name) > VALUE_MAXIMUM_BYTES:
        issues.add(f"{path}.name", "NOT_A_VARIABLE_NAME", "A name is printable ASCII without '=', and not empty.")
    elif given.name.startswith(RESERVED_VARIABLE_PREFIX):
        issues.add(
            f"{path}.name", "RESERVED", f"Names that start with {RESERVED_VARIABLE_PREFIX!r} belong to the platform."
        )
    if given.type is EnvironmentVariableType.STRING:
        if given.value is None:
            issues.add(f"{path}.value", "REQUIRED", "A STRING variable needs a value; it may be empty.")
        else:
            issues.size(f"{path}.value", given.value, VALUE_MAXIMUM_BYTES)
        for key, present in (("credentialId", given.credential_id), ("field", given.field)):
            if present is not None:
                issues.add(f"{path}.{key}", "NOT_ALLOWED", "A STRING variable points at no credential.")
        return
    if given.value is not None:
        issues.add(f"{path}.value", "NOT_ALLOWED", "A CREDENTIAL variable has no value of its own.")
    if given.credential_id is None:
        issues.add(f"{path}.credentialId", "REQUIRED", "A CREDENTIAL variable needs the credential that it points at.")
    if given.field is None:
        issues.add(f"{path}.field", "REQUIRED", "A CREDENTIAL variable needs the key of its credential.")


def probe(issues: Issues, path: str, kind: ProbeKind, given: Probe) -> None:
    """One probe. A port of 0 stands for one that neither the probe nor its container has."""
    if not given.path.startswith("/"):
        issues.add(f"{path}.path", "NOT_A_PATH", "The path of a probe starts with '/'.")
    issues.text(f"{path}.path", given.path, 1, PROBE_PATH_MAXIMUM_LENGTH, single_line=True)
    if given.port == 0:
        issues.add(f"{path}.port", "REQUIRED", "A port from 1 to 65535 is needed: the container has none to take over.")
    else:
        issues.number(f"{path}.port", given.port, 1, PORT_MAXIMUM)
    issues.number(f"{path}.initialDelaySeconds", given.initial_delay_seconds, 0, PROBE_DELAY_MAXIMUM_SECONDS)
    issues.number(f"{path}.periodSeconds", given.period_seconds, 1, PROBE_PERIOD_MAXIMUM_SECONDS)
    issues.number(f"{path}.timeoutSeconds", given.timeout_seconds, 1, PROBE_PERIOD_MAXIMUM_SECONDS)
    issues.number(f"{path}.failureThreshold", given.failure_threshold, 1, PROBE_THRESHOLD_MAXIMUM)
    if kind is ProbeKind.READINESS:
        issues.number(f"{path}.successThreshold", given.success_threshold, 1, PROBE_THRESHOLD_MAXIMUM)
    elif given.success_threshold != 1:
        issues.add(f"{path}.successThreshold", "OUT_OF_RANGE", "It is 1 for startup and liveness probes.")
    if not issues.count(f"{path}.headers", given.headers, 0, PROBE_HEADERS_MAXIMUM):
        return
    for position, header in enumerate(given.headers):
        if not _HEADER_NAME.fullmatch(header.name):
            issues.add(f"{path}.headers[{position}].name", "NOT_A_HEADER", "A header name is a token of RFC 9110.")
        if "\r" in header.value or "\n" in header.value:
            issues.add(f"{path}.headers[{position}].value", "NOT_A_HEADER", "A header value has no line breaks.")
        issues.size(f"{path}.headers[{position}].name", header.name, HEADER_VALUE_MAXIMUM_BYTES)
        issues.size(f"{path}.headers[{position}].value", header.value, HEADER_VALUE_MAXIMUM_BYTES)


def credential_values(issues: Issues, path: str, given: Sequence[tuple[str, str]]) -> None:
    """The (key, value) pairs of a credential. Messages never hold a value."""
    if not issues.count(path, given, 1, CREDENTIAL_KEYS_MAXIMUM):
        return
    for position, (key, value) in enumerate(given):
        if not _CREDENTIAL_KEY.fullmatch(key):
            issues.add(f"{path}[{position}].key", "NOT_A_KEY", "A key is 1 to 128 letters, digits, '-', '.' and '_'.")
        issues.size(f"{path}[{position}].value", value, VALUE_MAXIMUM_BYTES)
    issues.unique(((f"{path}[{position}].key", key) for position, (key, _) in enumerate(given)), "The key")


def resources(issues: Issues, path: str, given: Sequence[Resources], containers: frozenset[str]) -> None:
    """Limits for containers that exist, each named once."""
    if not issues.count(path, given, 0, CONTAINERS_MAXIMUM):
        return
    for position, each in enumerate(given):
        if each.container not in containers:
            issues.add(f"{path}[{position}].container", "NO_SUCH_CONTAINER", "The artifact has no container so named.")
        if each.cpu is not None and not 0 < each.cpu <= CPU_MAXIMUM:
            issues.add(f"{path}[{position}].cpu", "OUT_OF_RANGE", f"It is above 0 and at most {CPU_MAXIMUM:g} cores.")
        if each.memory_bytes is not None and not (
            MEMORY_MINIMUM_BYTES <= each.memory_bytes <= MEMORY_MAXIMUM_BYTES and each.memory_bytes % 1 == 0
        ):
            issues.add(f"{path}[{position}].memoryBytes", "OUT_OF_RANGE", "It is whole bytes, from 4 MiB to 4 TiB.")
    issues.unique(
        ((f"{path}[{position}].container", each.container) for position, each in enumerate(given)), "The container"
    )


def workload_variables(
    issues: Issues, path: str, given: Sequence[tuple[str, EnvironmentVariable]], containers: frozenset[str]
) -> Sequence[tuple[str, EnvironmentVariable]]:
    """Overrides as (container, variable) pairs: at most 200 a container, each name once in it.

    Answers them; none where they are too many to be looked through.
    """
    if not issues.count(path, given, 0, VARIABLES_MAXIMUM * CONTAINERS_MAXIMUM):
        return ()
    counts: dict[str, int] = {}
    for position, (container_name, each) in enumerate(given):
        counts[container_name] = counts.get(container_name, 0) + 1
        if container_name not in containers:
            issues.add(f"{path}[{position}].container", "NO_SUCH_CONTAINER", "The artifact has no container so named.")
        variable(issues, f"{path}[{position}]", each)
    for container_name, count in counts.items():
        if count > VARIABLES_MAXIMUM:
            issues.add(
                path, "WRONG_COUNT", f"{container_name[:63]!r} has {count} variables; {VARIABLES_MAXIMUM} are allowed."
            )
    issues.unique(
        (
            (f"{path}[{position}].name", f"{container_name}/{each.name}")
            for position, (container_name, each) in enumerate(given)
        ),
        "The variable",
    )
    return given


def duration(issues: Issues, path: str, given: timedelta, maximum: timedelta) -> None:
    """A duration above zero."""
    if not timedelta(0) < given <= maximum:
        hours = maximum.total_seconds() / 3600
        issues.add(path, "OUT_OF_RANGE", f"It is above zero and at most {hours:g} hours.")
