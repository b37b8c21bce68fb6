"""Image references: `[host[:port]/]path[:tag][@algorithm:hex]`.

The grammar is that of https://github.com/distribution/reference. As with Docker, the first component is a host
only where it has a dot or a port, or is `localhost`: `team/app` is a path, `registry.example/app` has a host.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Sequence

PATH_MAXIMUM_LENGTH = 255
DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"
_DOCKER_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})
_HOST_COMPONENT = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(
    rf"(?:{_HOST_COMPONENT}(?:\.{_HOST_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII
)
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}", re.ASCII)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference. `name` is what stands before tag and digest, as written."""

    host: str | None
    path: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """Host and path, without tag and digest."""
        return self.path if self.host is None else f"{self.host}/{self.path}"

    @property
    def registry(self) -> str:
        """The registry that holds it, with its port where one is written: without a host that is Docker Hub."""
        return DOCKER_HUB if self.host is None else registry_at(self.host)

    @property
    def repository(self) -> str:
        """What its registry calls it: Docker Hub keeps names of one part under `library/`."""
        return f"library/{self.path}" if self.registry == DOCKER_HUB and "/" not in self.path else self.path


def parse(text: str) -> Reference | str:
    """The reference, or a sentence that says what is wrong with it."""
    if "://" in text:
        return "An image reference has no scheme: leave out what stands before '//' and the slashes."
    if not text or any(character.isspace() for character in text):
        return "An image reference is not empty and has no spaces."
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        return "Behind '@' stands a digest: an algorithm, ':' and at least 32 hexadecimal digits."
    if digest.startswith("sha256:") and not _SHA256.fullmatch(digest):
        return "A sha256 digest has exactly 64 lowercase hexadecimal digits."
    first, slash, remainder = rest.partition("/")
    host = first if slash and ("." in first or ":" in first or first == "localhost") else None
    name, colon, tag = (remainder if host is not None else rest).partition(":")
    if host is not None:
        matched = _HOST.fullmatch(host)
        if matched is None or (matched["port"] and not 0 < int(matched["port"]) < 2**16):
            return f"{host[:100]!r} is not a host with an optional port."
    if colon and not _TAG.fullmatch(tag):
        return "A tag is 1 to 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'."
    if len(name) > PATH_MAXIMUM_LENGTH:
        return f"The path of an image has at most {PATH_MAXIMUM_LENGTH} characters."
    if not _PATH.fullmatch(name):
        return "The path of an image is lowercase letters and digits, with single '.', '_', '__' or '-' between them."
    return Reference(host, name, tag or None, digest or None)


def registry_at(host: str) -> str:
    """What `Reference.registry` calls the registry that answers under this host and port."""
    host = host.lower().removesuffix(":443")
    return DOCKER_HUB if host in _DOCKER_HUB_ALIASES else host


def name_of(text: str) -> str:
    """The name of a reference that `parse` accepts, without tag and digest."""
    reference = parse(text)
    return text if isinstance(reference, str) else reference.name


def pinned(text: str, digest: str | None) -> str:
    """A reference by the digest that it was resolved to, where there is one: `registry/name:tag@sha256:…`."""
    return text if digest is None or "@" in text else f"{text}@{digest}"


def is_digest(text: str) -> bool:
    """Whether this is what may stand behind the '@' of a reference."""
    return _DIGEST.fullmatch(text) is not None


def refused_by(text: str, allowed: Sequence[str], denied: Sequence[str]) -> str | None:
    """Why the configured patterns refuse this image; None where they let it in.

    Patterns are shell patterns (`registry.example/*`), held against the whole reference and against its name. A denied
    one wins; an empty allow list lets everything in.
    """
    names = (text, name_of(text))
    for pattern in denied:
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return f"Images like {pattern!r} are denied on this server."
    if allowed and not any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in allowed):
        return f"Only images like {', '.join(map(repr, allowed))} are allowed on this server."
    return None
