"""Image references: what the grammar of distribution/reference builds gets in, and what spoils it does not."""

import pytest
from hypothesis import assume, given, settings, strategies as st

from app.domain import references
from app.domain.references import Reference

HEX64 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"

PATH_COMPONENTS = st.lists(
    st.tuples(st.text(LOWER, min_size=1, max_size=6), st.sampled_from([".", "_", "__", "-", "--", "---"])),
    min_size=1,
    max_size=3,
).map(lambda parts: "".join(word + separator for word, separator in parts)[: -len(parts[-1][1])])
PATHS = st.lists(PATH_COMPONENTS, min_size=1, max_size=4).map("/".join)
HOST_COMPONENTS = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,5}[a-zA-Z0-9])?", fullmatch=True)
DOMAINS = st.lists(HOST_COMPONENTS, min_size=2, max_size=4).map(".".join)
PORTS = st.integers(1, 65_535).map(lambda port: f":{port}")
HOSTS = st.one_of(
    DOMAINS,
    st.builds(str.__add__, DOMAINS, PORTS),
    st.builds(str.__add__, HOST_COMPONENTS, PORTS),
    st.sampled_from(["localhost", "localhost:5000", "[::1]", "[fe80::1]:5000", "127.0.0.1:5000"]),
)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGESTS = st.one_of(
    st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda text: f"sha256:{text}"),
    st.text("0123456789abcdef", min_size=128, max_size=128).map(lambda text: f"sha512:{text}"),
)
REFERENCES = st.builds(Reference, st.none() | HOSTS, PATHS, st.none() | TAGS, st.none() | DIGESTS)


def written(reference: Reference) -> str:
    tag = "" if reference.tag is None else f":{reference.tag}"
    digest = "" if reference.digest is None else f"@{reference.digest}"
    return f"{reference.name}{tag}{digest}"


def means_a_host(reference: Reference) -> bool:
    """Docker takes the first component of `a.b/c` or `localhost/c` for a host."""
    first, slash, _ = reference.path.partition("/")
    return reference.host is None and bool(slash) and ("." in first or first == "localhost")


@given(REFERENCES)
def test_what_the_grammar_builds_is_read_back(reference: Reference) -> None:
    assume(not means_a_host(reference))
    assert references.parse(written(reference)) == reference
    assert references.name_of(written(reference)) == reference.name


@settings(max_examples=300)
@given(REFERENCES, st.data())
def test_what_spoils_a_reference_is_refused_with_a_sentence(reference: Reference, data: st.DataObject) -> None:
    text = written(reference)
    spoiled = data.draw(
        st.sampled_from(
            [
                f"https://{text}",
                f"docker://{text}",
                f" {text}",
                f"{text} ",
                f"{text}\n",
                f"{text}\0",
                f"/{text}",
                f"{text}/",
                f"{reference.name}//x",
                f"{reference.name}/UPPER",
                f"{reference.name}-",
                f"{reference.name}/_x",
                f"{reference.name}/a___b",
                f"{reference.name}/a..b",
                f"{reference.name}/ä",
                f"{reference.name}:",
                f"{reference.name}:-tag",
                f"{reference.name}:.tag",
                f"{reference.name}:{'a' * 129}",
                f"{reference.name}:a:b",
                f"{reference.name}:täg",
                f"{reference.name}@",
                f"{reference.name}@sha256:{HEX64[1:]}",
                f"{reference.name}@sha256:{HEX64}0",
                f"{reference.name}@sha256:{HEX64.upper()}",
                f"{reference.name}@sha256:{'g' * 64}",
                f"{reference.name}@{HEX64}",
                f"{reference.name}@sha256:{HEX64}:tag",
                f"{reference.name}@sha256:{HEX64}@sha256:{HEX64}",
                f"host:0/{reference.path}",
                f"host:65536/{reference.path}",
                f"host:port/{reference.path}",
                f"-a.b/{reference.path}",
                f"a..b/{reference.path}",
                f"a_b.c/{reference.path}",
                f"user@host.test/{reference.path}",
            ]
        )
    )
    refusal = references.parse(spoiled)
    assert isinstance(refusal, str), spoiled
    assert refusal.endswith(".")
    assert len(refusal) < 250


@pytest.mark.parametrize(
    ("text", "host", "path", "tag", "digest"),
    [
        ("python", None, "python", None, None),
        ("python:3.13-slim", None, "python", "3.13-slim", None),
        ("library/python", None, "library/python", None, None),
        ("docker.io/library/python:3.13", "docker.io", "library/python", "3.13", None),
        ("ghcr.io/org/team/app:v1.2.3_beta", "ghcr.io", "org/team/app", "v1.2.3_beta", None),
        ("registry:5000/app", "registry:5000", "app", None, None),
        ("registry:5000/app:1", "registry:5000", "app", "1", None),
        ("registry:5000", None, "registry", "5000", None),
        ("localhost/app", "localhost", "app", None, None),
        ("Registry.Test/app", "Registry.Test", "app", None, None),
        ("[2001:db8::1]:5000/app", "[2001:db8::1]:5000", "app", None, None),
        ("nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.3", "nvcr.io", "nim/meta/llama-3.1-8b-instruct", "1.8.3", None),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b__c:_x",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "a/b__c",
            "_x",
            None,
        ),
        ("gcr.io/p/app@sha256:" + HEX64, "gcr.io", "p/app", None, "sha256:" + HEX64),
        ("quay.io/o/app:1.0@sha256:" + HEX64, "quay.io", "o/app", "1.0", "sha256:" + HEX64),
        ("a" * 255, None, "a" * 255, None, None),
        ("host.test/" + "a" * 255, "host.test", "a" * 255, None, None),
        ("app:" + "t" * 128, None, "app", "t" * 128, None),
    ],
)
def test_references_of_the_real_world(
    text: str, host: str | None, path: str, tag: str | None, digest: str | None
) -> None:
    assert references.parse(text) == Reference(host, path, tag, digest)


NO_SCHEME = "An image reference has no scheme: leave out what stands before '//' and the slashes."
NO_SPACES = "An image reference is not empty and has no spaces."
SHA256 = "A sha256 digest has exactly 64 lowercase hexadecimal digits."
DIGEST = "Behind '@' stands a digest: an algorithm, ':' and at least 32 hexadecimal digits."
PATH = "The path of an image is lowercase letters and digits, with single '.', '_', '__' or '-' between them."
TAG = "A tag is 1 to 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("https://docker.io/library/python", NO_SCHEME),
        ("", NO_SPACES),
        ("py thon", NO_SPACES),
        ("python\t", NO_SPACES),
        ("Python", PATH),
        ("Org/app", PATH),
        ("docker.io/Library/python", PATH),
        ("docker.io/", PATH),
        ("app/", PATH),
        ("🐍", PATH),
        ("app:", TAG),
        ("app:" + "t" * 129, TAG),
        ("app@sha256:" + HEX64[:-1], SHA256),
        ("app@sha256:abc", DIGEST),
        ("app@", DIGEST),
        ("a" * 256, "The path of an image has at most 255 characters."),
        ("host.test:99999/app", "'host.test:99999' is not a host with an optional port."),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, sentence: str) -> None:
    assert references.parse(text) == sentence


@pytest.mark.parametrize(
    ("text", "allowed", "denied", "sentence"),
    [
        ("docker.io/library/python:3", [], [], None),
        ("docker.io/library/python:3", ["docker.io/*"], [], None),
        ("docker.io/library/python:3", ["docker.io/library/python"], [], None),
        ("ghcr.io/a:1", ["docker.io/*", "quay.io/*"], [], "Only images like 'docker.io/*', 'quay.io/*' are allowed"),
        ("docker.io/library/python:3", [], ["docker.io/*"], "Images like 'docker.io/*' are denied"),
        ("docker.io/library/python:3", ["docker.io/*"], ["*:3"], "Images like '*:3' are denied"),
        ("docker.io/library/python:4", ["docker.io/*"], ["*:3"], None),
        ("docker.io/library/python:latest", [], ["*/python"], "Images like '*/python' are denied"),
        (f"app@sha256:{HEX64}", [], ["app"], "Images like 'app' are denied"),
    ],
)
def test_denied_patterns_win_over_allowed_ones(
    text: str, allowed: list[str], denied: list[str], sentence: str | None
) -> None:
    assert references.refused_by(text, allowed, denied) == (None if sentence is None else f"{sentence} on this server.")


@pytest.mark.parametrize(
    ("text", "registry", "repository"),
    [
        ("python", "docker.io", "library/python"),
        ("python:3.13", "docker.io", "library/python"),
        ("team/app", "docker.io", "team/app"),
        ("docker.io/python", "docker.io", "library/python"),
        ("index.docker.io/team/app", "docker.io", "team/app"),
        ("registry-1.docker.io/python", "docker.io", "library/python"),
        ("registry.example/app", "registry.example", "app"),
        ("Registry.Example:5000/team/app:1", "registry.example:5000", "team/app"),
        ("registry.example:443/app", "registry.example", "app"),
        ("localhost/app", "localhost", "app"),
        (f"[::1]:5000/app@sha256:{HEX64}", "[::1]:5000", "app"),
    ],
)
def test_each_image_has_a_registry_and_a_name_there(text: str, registry: str, repository: str) -> None:
    reference = references.parse(text)
    assert isinstance(reference, Reference)
    assert (reference.registry, reference.repository) == (registry, repository)
