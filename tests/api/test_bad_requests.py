"""Requests that can't be served, through the whole server: each is told what is wrong with it, and changes nothing."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings, strategies as st

from tests import harness
from tests.api import history
from tests.harness import Client, Slipway

pytestmark = pytest.mark.slow

MEBIBYTE = 2**20
LABEL = "mutation ($input: CreateApiTokenInput!) { createApiToken(input: $input) { __typename } }"


async def refused(client: Client, document: str, **variables: Any) -> list[tuple[str, str]]:
    """The (code, message) pairs of an answer whose data, if it has any, is null."""
    answer = await client.answer(document, **variables)
    assert not any((answer.get("data") or {}).values())
    return [(error["extensions"]["code"], error["message"]) for error in answer["errors"]]


# The body, over a real connection


@pytest.fixture
async def wire(slipway: Slipway, ada: Client) -> AsyncIterator[httpx.AsyncClient]:
    """Ada's connection to a real server on loopback."""
    transport: Any = ada.http._transport
    config = uvicorn.Config(transport.app, host="127.0.0.1", port=0, access_log=False, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"Authorization": f"Bearer {ada.token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
        yield client
    server.should_exit = True
    await task


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"", 400, "MALFORMED_JSON", "The body is not valid JSON: "),
        (b"{", 400, "MALFORMED_JSON", "The body is not valid JSON: "),
        (b'{"query": "{viewer{id}}"', 400, "MALFORMED_JSON", "The body is not valid JSON: "),
        (b'{"query": NaN}', 400, "MALFORMED_JSON", "The body is not valid JSON: "),
        (b'{"query": Infinity}', 400, "MALFORMED_JSON", "The body is not valid JSON: "),
        (b'{"query": "\\ud800"}', 400, "MALFORMED_JSON", "The body is not valid JSON: "),
        (b'{"query": "\xff"}', 400, "MALFORMED_JSON", "The body is not valid JSON: "),
        (b'{"query": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", 400, "MALFORMED_JSON", "The body is not valid JSON: "),
        (
            b'{"query": "{viewer{id}}", "variables": {"a": ["b", "c\\u0000"]}}',
            400,
            "MALFORMED_JSON",
            "The body has the character U+0000 (NUL) at variables.a[1]. Take it out.",
        ),
        (b"5", 400, "INVALID_REQUEST", 'The body is a number. Send a JSON object, as {"query": "…"}.'),
        (b"null", 400, "INVALID_REQUEST", 'The body is null. Send a JSON object, as {"query": "…"}.'),
        (b'"text"', 400, "INVALID_REQUEST", 'The body is a string. Send a JSON object, as {"query": "…"}.'),
        (b"[]", 400, "BATCHING_NOT_SUPPORTED", "The body is a list."),
        (b"{}", 400, "INVALID_REQUEST", "The request has no `query`."),
        (b'{"query": 5}', 400, "INVALID_REQUEST", "`query` is a number. It must be a string."),
        (b'{"query": "{a}", "variables": []}', 400, "INVALID_REQUEST", "`variables` is a list."),
        (b'{"query": "{a}", "operationName": 5}', 400, "INVALID_REQUEST", "`operationName` is a number."),
        (b" " * 30 * MEBIBYTE, 413, "BODY_TOO_LARGE", "The body is larger than 4,194,304 bytes."),
        (
            json.dumps({"query": LABEL, "variables": {"input": {"label": "x" * 10 * MEBIBYTE}}}).encode(),
            413,
            "BODY_TOO_LARGE",
            "The body is larger than 4,194,304 bytes.",
        ),
    ],
)
async def test_a_body_that_is_no_request(
    wire: httpx.AsyncClient, slipway: Slipway, body: bytes, status: int, code: str, message: str
) -> None:
    async with history.unchanged(slipway):
        response = await wire.post("/graphql", content=body)
    (error,) = response.json()["errors"]
    assert (response.status_code, error["extensions"]["code"]) == (status, code)
    assert error["message"].startswith(message)
    assert len(response.content) < 500


async def test_a_large_body_in_chunks_is_cut_off(wire: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * MEBIBYTE

    # The server answers and hangs up while the client still sends: one of the two is what the client sees.
    with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        response = await wire.post("/graphql", content=chunks())
        assert response.status_code == 413
    assert (await wire.post("/graphql", json={"query": "{ viewer { username } }"})).json() == {
        "data": {"viewer": {"username": "ada"}}
    }


# The document


@pytest.mark.parametrize(
    ("document", "code", "message"),
    [
        ("   ", "INVALID_REQUEST", "Syntax Error: Unexpected <EOF>."),
        ("{ nothing }", "INVALID_REQUEST", "Cannot query field 'nothing' on type 'Query'."),
        ("{ viewer { id(a: 1) } }", "INVALID_REQUEST", "Unknown argument 'a' on field 'User.id'."),
        ("{ viewer }", "INVALID_REQUEST", "Field 'viewer' of type 'User!' must have a selection of subfields."),
        ("query ($a: Bogus) { viewer { id } }", "INVALID_REQUEST", "Unknown type 'Bogus'."),
        ("{ node(id: 1.5) { id } }", "INVALID_REQUEST", "ID cannot represent a non-string and non-integer value: 1.5"),
        (r'{ node(id: "\ud800") { id } }', "INVALID_REQUEST", "Syntax Error: Invalid Unicode escape sequence:"),
        ("query A { viewer { id } } query B { viewer { id } }", "INVALID_REQUEST", "The document holds several op"),
        ("{ a { b " * 3_000 + "} }" * 3_000, "INVALID_REQUEST", "Syntax Error: Document is nested too deeply."),
        ("{ node(id: " + "[" * 4_000 + "]" * 4_000 + ") }", "INVALID_REQUEST", "Syntax Error: Document is nested too"),
        ("{ " + "viewer { id } " * 5_000 + "}", "INVALID_REQUEST", "Syntax Error: Document contains more than 10000"),
        (
            "{ artifacts { nodes " + "{ repository { artifacts { nodes " * 7 + "{ id }" + "} } }" * 7 + " } }",
            "DOCUMENT_TOO_LARGE",
            "The document asks for ",
        ),
        (
            "{ " + " ".join(f"a{number}: viewer {{ id }}" for number in range(101)) + " }",
            "DOCUMENT_TOO_LARGE",
            "The document asks for 101 aliases at 'viewer'; 100 are allowed.",
        ),
        (
            (
                "{ artifacts(first: 100) { nodes { workloads(first: 100) { nodes { id artifact { workloads(first: 100) "
                "{ nodes { id } } } } } } } }"
            ),
            "DOCUMENT_TOO_LARGE",
            "The document asks for 10",
        ),
        (
            "{ viewer { ...F0 } } "
            + " ".join(f"fragment F{at} on User {{ ...F{at + 1} ...F{at + 1} }}" for at in range(30))
            + " fragment F30 on User { id }",
            "DOCUMENT_TOO_LARGE",
            "The document asks for ",
        ),
        (
            "{ viewer { " + "id " * 1_900 + "} }",
            "DOCUMENT_TOO_LARGE",
            "The document is too large, or nested too deeply, to be checked to its end.",
        ),
        (
            "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
            "INVALID_REQUEST",
            "Cannot spread fragment 'A' within itself via 'B'.",
        ),
    ],
)
async def test_a_document_that_is_not_run(
    slipway: Slipway, ada: Client, document: str, code: str, message: str
) -> None:
    with slipway.statements() as statements:
        answers = await refused(ada, document)
    assert (code, message) in [(each, said[: len(message)]) for each, said in answers]
    assert statements == []


async def test_several_operations_with_a_name_run(ada: Client) -> None:
    body = {"query": "query A { viewer { username } } query B { viewer { id } }", "operationName": "A"}
    answer = await ada.http.post("/graphql", json=body, headers={"Authorization": f"Bearer {ada.token}"})
    assert answer.json() == {"data": {"viewer": {"username": "ada"}}}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "Variable '$input' has invalid value: Expected a value of non-null type"),
        ({"input": None}, "Variable '$input' has invalid value: Expected"),
        ({"input": []}, "Variable '$input' has invalid value"),
        ({"input": {}}, "Variable '$input' has invalid value: Expected value of type 'CreateApiTokenInput' to include"),
        ({"input": {"label": "a", "labell": "b"}}, "Variable '$input' has invalid value: Expected value of type 'Crea"),
        (
            {"input": {"label": 5}},
            "Variable '$input' has invalid value at .label: String cannot represent a non string",
        ),
        ({"input": {"label": "a", "readOnly": "yes"}}, "Variable '$input' has invalid value at .readOnly: Boolean can"),
        (
            {"input": {"label": "a", "expiresIn": 5}},
            "Variable '$input' has invalid value at .expiresIn: 5 is not a Dur",
        ),
        (
            {"input": {"label": "a", "expiresIn": "x" * 10**6}},
            "Variable '$input' has invalid value at .expiresIn: 'xxx",
        ),
        ({"input": {"label": "a", "x" * 10**6: 5}}, "Variable '$input' has invalid value: Expected value of type"),
    ],
)
async def test_variables_of_a_wrong_type(
    slipway: Slipway, ada: Client, variables: dict[str, Any], message: str
) -> None:
    async with history.unchanged(slipway):
        for code, said in await refused(ada, LABEL, **variables):
            assert (code, said[: len(message)]) == ("INVALID_REQUEST", message)
            assert len(said) <= 1_001


# Ids, pages and cursors

ABSENT = "0000000000000000000000000a"


@pytest.mark.parametrize("text", ["", "x", f"art-{ABSENT}", f"foo_{ABSENT}", "x" * 10**6, "🚢"])
async def test_a_text_that_is_no_id(ada: Client, text: str) -> None:
    for document in ("query ($id: ID!) { node(id: $id) { id } }", "query ($id: ID!) { artifact(id: $id) { id } }"):
        ((code, message),) = await refused(ada, document, id=text)
        assert code == "BAD_INPUT"
        assert message.startswith(f"id: {text[:64]!r} is no id")
        assert len(message) < 250
    assert await ada.run("query ($id: ID!) { nodes(ids: [$id]) { id } }", id=text) == {"nodes": [None]}
    result = await ada.mutate("lockArtifact", artifactId=text)
    assert (result["__typename"], result["id"]) == ("NotFound", text[:64])
    assert result["message"] == f"There is no {text[:64]!r}, or you may not see it."


async def test_ids_of_nothing_and_of_another_type(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    workload = await harness.start_test(ada, artifact["id"])
    assert await ada.run(f'{{ node(id: "art_{ABSENT}") {{ id }} artifact(id: "art_{ABSENT}") {{ id }} }}') == {
        "node": None,
        "artifact": None,
    }
    ((code, message),) = await refused(ada, f'{{ artifact(id: "{workload["id"]}") {{ id }} }}')
    assert (code, message) == ("BAD_INPUT", f"id: '{workload['id']}' is no id of this kind: they begin with art_.")
    async with history.unchanged(slipway):
        for name, key in (("lockArtifact", "artifactId"), ("deleteArtifact", "artifactId"), ("shareArtifact", "id")):
            for wrong in (workload["id"], f"art_{ABSENT}"):
                given = {key: wrong} | ({"grants": []} if name == "shareArtifact" else {})
                result = await ada.mutate(name, **given)
                assert (result["__typename"], result["id"]) == ("NotFound", wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: 0", "first: 0 is not between 1 and 100."),
        ("first: -1", "first: -1 is not between 1 and 100."),
        ("first: 101", "first: 101 is not between 1 and 100."),
        ("first: 1000", "first: 1000 is not between 1 and 100."),
        ("last: 0", "last: 0 is not between 1 and 100."),
        ("last: 101", "last: 101 is not between 1 and 100."),
        ("first: 1, last: 1", "first: Give first or last, not both."),
        ('after: ""', "after: This is no cursor: hand back one that this list gave, or leave it out."),
        ('before: "made up"', "before: This is no cursor: hand back one that this list gave, or leave it out."),
        (f'after: "{"A" * 3_000}"', "after: This is no cursor: it is too long."),
        ('filter: {search: "' + "x" * 101 + '"}', "filter.search: It has 101 characters; at most 100 are allowed."),
        (r'filter: {search: "\u0000"}', "filter.search: A text can't hold the NUL character."),
        (r'filter: {tags: [{name: "\u0000"}]}', "filter.tags[0].name: A text can't hold the NUL character."),
        (r'filter: {tags: [{name: "a", values: ["", "\u0000"]}]}', "filter.tags[0].values[1]: A text can't hold"),
        (r'filter: {image: "\u0000"}', "filter.image: A text can't hold the NUL character."),
        (
            'filter: {createdBy: ["nobody"]}',
            "filter.createdBy[0]: 'nobody' is no id of this kind: they begin with usr_",
        ),
        (
            'filter: {repositoryId: "art_x"}',
            "filter.repositoryId: 'art_x' is no id of this kind: they begin with rep_.",
        ),
    ],
)
async def test_a_page_that_there_is_not(ada: Client, arguments: str, message: str) -> None:
    ((code, said),) = await refused(ada, f"{{ artifacts({arguments}) {{ nodes {{ id }} }} }}")
    assert (code, said[: len(message)]) == ("BAD_INPUT", message)


async def test_lists_in_a_filter_are_bounded(ada: Client) -> None:
    document = "query ($filter: ArtifactFilter) { artifacts(filter: $filter) { nodes { id } } }"
    for name, one in (("createdBy", f"usr_{ABSENT}"), ("tags", {"name": "a"}), ("status", "DRAFT"), ("type", "NIM")):
        ((code, message),) = await refused(ada, document, filter={name: [one] * 10_000})
        assert (code, message) == ("BAD_INPUT", f"filter.{name}: There are 10000; at most 100 are allowed.")
    ((_, message),) = await refused(ada, "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["x"] * 101)
    assert message == "ids: There are 101; at most 100 are allowed."


def cursor(*place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


NAMED = "query ($at: String) { artifacts(orderBy: {field: NAME}, after: $at) { nodes { id } } }"
HEX = "0" * 32


@pytest.mark.parametrize(
    "made_up",
    [
        cursor("artifacts", "NAME", "ASC", "a"),
        cursor("artifacts", "NAME", "ASC", "a", HEX, 1),
        cursor("artifacts", "NAME", "ASC", "a", "no id"),
        cursor("artifacts", "NAME", "ASC", "a", None),
        cursor("artifacts", "NAME", "ASC", "\0", HEX),
        cursor("artifacts", "NAME", "ASC", "\ud800", HEX),
        cursor("artifacts", "NAME", "ASC", None, HEX),
        cursor("artifacts", "NAME", "ASC", 5, HEX),
        cursor("artifacts", "NAME", "ASC", {}, HEX),
        base64.urlsafe_b64encode(b"[" * 1_500).decode(),
        base64.urlsafe_b64encode(b"5").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        "ä" * 8,
        "====",
    ],
)
async def test_a_cursor_that_is_made_up(ada: Client, made_up: str) -> None:
    assert await refused(ada, NAMED, at=made_up) == [
        ("BAD_INPUT", "after: This is no cursor: hand back one that this list gave, or leave it out.")
    ]


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("CREATED_AT", "0001-01-01T00:00:00+14:00"),
        ("CREATED_AT", "9999-12-31T23:59:59-14:00"),
        ("CREATED_AT", "2026-01-01T00:00:00"),
        ("CREATED_AT", 5),
        ("VERSION", 2**31),
        ("VERSION", 10**30),
        ("VERSION", True),
        ("VERSION", 1.5),
        ("STATUS", "NOPE"),
        ("STATUS", ["DRAFT"]),
    ],
)
async def test_a_cursor_with_a_key_that_no_row_has(ada: Client, field: str, key: Any) -> None:
    document = f"query ($at: String) {{ artifacts(orderBy: {{field: {field}}}, before: $at) {{ nodes {{ id }} }} }}"
    assert await refused(ada, document, at=cursor("artifacts", field, "ASC", key, HEX)) == [
        ("BAD_INPUT", "before: This is no cursor: hand back one that this list gave, or leave it out.")
    ]


async def test_a_cursor_of_another_list_or_order(ada: Client) -> None:
    await harness.new_artifact(ada)
    page = "{ pageInfo { endCursor } }"
    seen = await ada.run(
        f"{{ repositories {page} artifacts {page} byName: artifacts(orderBy: {{field: NAME}}) {page} }}"
    )
    answers = [seen[name]["pageInfo"]["endCursor"] for name in ("repositories", "artifacts")]
    message = "after: This cursor comes from another list, or from the same list in another order."
    for other in answers:
        assert await refused(ada, NAMED, at=other) == [("BAD_INPUT", message)]
    assert await ada.run(NAMED, at=seen["byName"]["pageInfo"]["endCursor"]) == {"artifacts": {"nodes": []}}


# Sizes


def issues(result: dict[str, Any]) -> list[tuple[str, str]]:
    assert result["__typename"] == "InvalidInput", result
    assert len(json.dumps(result)) < 20_000
    return [(issue["path"], issue["code"]) for issue in result["issues"]]


async def test_lists_and_texts_that_are_too_long(slipway: Slipway, ada: Client) -> None:
    artifact = await harness.new_artifact(ada)
    part = {"containerId": artifact["containers"][0]["id"]}
    pointers = [
        {"name": "A", "type": "CREDENTIAL", "field": "f", "credentialId": f"crd_{number:026d}"}
        for number in range(4_001)
    ]
    tags = [{"name": str(number)} for number in range(10_000)]
    many = harness.spec(*[harness.container()] * 10_000)
    wired = harness.spec(harness.container(environmentVars=pointers))
    whose = [{"user": f"usr_{number:026d}", "role": "VIEWER"} for number in range(10_000)]
    containers, group = "spec.containerGroups[0].containers", {"containers": [harness.container()]}
    async with history.unchanged(slipway):
        for name, given_, expected in (
            ("createArtifact", {"name": "a", "tags": tags, "spec": many}, ["tags", containers]),
            ("createArtifact", {"name": "a", "spec": wired}, [f"{containers}[0].environmentVars"]),
            ("createArtifact", {"name": "a", "spec": {"containerGroups": [group] * 1_000}}, ["spec.containerGroups"]),
            (
                "updateArtifact",
                {"artifactId": artifact["id"], "spec": harness.spec(*[{"imageUri": ""}] * 21)},
                [containers],
            ),
            ("setEnvironmentVariables", {**part, "variables": pointers}, ["variables"]),
            ("removeEnvironmentVariables", {**part, "names": ["A"] * 10_000}, ["names"]),
            ("updateContainer", {**part, "entrypoint": ["a"] * 10_000}, ["entrypoint"]),
            ("deployArtifact", {"artifactId": artifact["id"], "environment": pointers}, ["environment"]),
            (
                "deployArtifact",
                {"artifactId": artifact["id"], "resources": [{"container": "main"}] * 10_000},
                ["resources"],
            ),
            ("createCredential", {"name": "a", "values": [{"key": "a", "value": "b"}] * 10_000}, ["values"]),
        ):
            assert issues(await ada.mutate(name, **given_)) == [(path, "WRONG_COUNT") for path in expected], name
        found = issues(await ada.mutate("shareArtifact", id=artifact["id"], grants=whose))
        assert found == [("grants", "WRONG_COUNT")]


async def test_a_text_of_a_megabyte_is_refused_in_few_words(slipway: Slipway, ada: Client) -> None:
    long = "x" * 1_500_000
    async with history.unchanged(slipway):
        result = await ada.mutate("createApiToken", label=long)
        assert result["issues"] == [
            {"path": "label", "code": "TOO_LONG", "message": "It has 1500000 characters; at most 200 are allowed."}
        ]
        spec = harness.spec(harness.container(imageUri=long))
        found = issues(await ada.mutate("createArtifact", name="a", description=long, spec=spec))
        assert found == [
            ("description", "TOO_LONG"),
            ("spec.containerGroups[0].containers[0].imageUri", "TOO_LONG"),
        ]


# Whatever text


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=250)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=TEXTS, description=TEXTS, tag=TEXTS, value=TEXTS)
async def test_any_text_is_kept_as_it_is_or_refused(
    ada: Client, name: str, description: str, tag: str, value: str
) -> None:
    selection = "... on ArtifactPayload { artifact { name description tags { name value } } }"
    given_ = {"name": name, "description": description, "tags": [{"name": tag, "value": value}]}
    result = await ada.mutate("createArtifact", selection, **given_, spec=harness.spec())
    if result["__typename"] == "InvalidInput":
        assert {path for path, _ in issues(result)} <= {"name", "tags[0].name"}
    else:
        assert result["artifact"] == {**given_, "name": name.strip()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(search=TEXTS, tag=TEXTS, cursor_=TEXTS)
async def test_any_text_can_be_looked_for(ada: Client, search: str, tag: str, cursor_: str) -> None:
    document = "query ($by: WorkloadFilter, $at: String) { workloads(filter: $by, after: $at) { totalCount } }"
    for filter_ in ({"search": search[:100]}, {"tags": [{"name": tag[:128]}]}, {"image": tag}):
        assert await ada.run(document, by=filter_) == {"workloads": {"totalCount": 0}}
    assert [code for code, _ in await refused(ada, document, at=cursor_)] == ["BAD_INPUT"]
