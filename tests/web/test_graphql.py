"""GraphQL over HTTP: what the specification asks of a server, audit by audit, and what we add to it."""

import json
from typing import Any

import httpx
import pytest
from graphql import GraphQLError
from structlog.testing import capture_logs

from app.web.graphql import should_mask_error
from tests.web import stub

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"


async def post(client: httpx.AsyncClient, body: Any, accept: str | None = None) -> httpx.Response:
    headers = {"Content-Type": "application/json"} | ({"Accept": accept} if accept else {})
    return await client.post("/graphql", content=json.dumps(body), headers=headers)


def only_error(response: httpx.Response) -> dict[str, Any]:
    """The one error of an answer that says no more than it."""
    body = response.json()
    assert list(body) == ["errors"]
    (error,) = body["errors"]
    assert isinstance(error, dict)
    return error


def code(response: httpx.Response) -> str:
    answer = only_error(response)["extensions"]["code"]
    assert isinstance(answer, str)
    return answer


# Media types


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (GRAPHQL_RESPONSE, GRAPHQL_RESPONSE),
        (JSON, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (f"{GRAPHQL_RESPONSE}, {JSON};q=0.9", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE};q=0.1, {JSON}", JSON),
        (f"{JSON}, text/plain, */*", JSON),
        ("", JSON),
    ],
)
async def test_the_answer_has_the_media_type_that_was_asked_for(
    client: httpx.AsyncClient, accept: str, expected: str
) -> None:
    response = await client.post("/graphql", json={"query": "{ __typename }"}, headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, f"{expected}; charset=utf-8")
    assert response.content == b'{"data":{"__typename":"Query"}}'


async def test_without_an_accept_header_the_answer_is_json(client: httpx.AsyncClient) -> None:
    del client.headers["accept"]
    response = await client.post("/graphql", json={"query": "{ __typename }"})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json; charset=utf-8")


@pytest.mark.parametrize("accept", ["text/plain", "image/*", f"{JSON};q=0", "nonsense"])
async def test_an_accept_header_that_takes_no_answer_is_406(client: httpx.AsyncClient, accept: str) -> None:
    response = await client.post("/graphql", json={"query": "{ __typename }"}, headers={"Accept": accept})
    assert response.status_code == 406
    assert only_error(response) == {
        "message": "The Accept header takes no media type that is served: "
        "ask for application/json or application/graphql-response+json.",
        "extensions": {"code": "NOT_ACCEPTABLE"},
    }


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'application/JSON;charset="UTF-8"'])
async def test_utf_8_goes_in_and_out(client: httpx.AsyncClient, content_type: str) -> None:
    body = json.dumps({"query": '{ echo(text: "Run🏃Swim🏊") }'}, ensure_ascii=False).encode()
    response = await client.post("/graphql", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 200
    assert response.content == '{"data":{"echo":"Run🏃Swim🏊"}}'.encode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/graphql"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json-seq"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_a_body_that_is_not_plain_json_in_utf_8_is_415(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    response = await client.post("/graphql", content=b'{"query": "{ __typename }"}', headers=headers)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


# Methods


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
async def test_other_methods_are_405(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/graphql")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


async def test_a_query_by_get_is_answered(client: httpx.AsyncClient) -> None:
    parameters = {
        "query": "query A($text: String!) { echo(text: $text) } query B { __typename }",
        "variables": '{"text": "hello"}',
        "operationName": "A",
        "extensions": '{"some": "value"}',
    }
    response = await client.get("/graphql", params=parameters, headers={"Accept": GRAPHQL_RESPONSE})
    assert (response.status_code, response.json()) == (200, {"data": {"echo": "hello"}})


async def test_empty_parameters_of_a_get_count_as_left_out(client: httpx.AsyncClient) -> None:
    response = await client.get(
        "/graphql", params={"query": "{ __typename }", "variables": "", "operationName": "", "extensions": ""}
    )
    assert (response.status_code, response.json()) == (200, {"data": {"__typename": "Query"}})


async def test_a_get_with_broken_variables_is_400(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql", params={"query": "{ __typename }", "variables": "{"})
    assert response.status_code == 400
    assert only_error(response) == {
        "message": "`variables` in the address is not valid JSON: unexpected end of data: line 1 column 2 (char 1).",
        "extensions": {"code": "MALFORMED_JSON"},
    }


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
async def test_a_mutation_by_get_is_405_and_changes_nothing(
    client: httpx.AsyncClient, calls: stub.Calls, accept: str
) -> None:
    response = await client.get("/graphql", params={"query": "mutation { change }"}, headers={"Accept": accept})
    assert (response.status_code, response.headers["allow"], code(response)) == (405, "POST", "METHOD_NOT_ALLOWED")
    assert calls.changes == 0


async def test_a_mutation_by_post_is_answered(client: httpx.AsyncClient, calls: stub.Calls) -> None:
    response = await post(client, {"query": "mutation { change }"})
    assert (response.json(), calls.changes) == ({"data": {"change": 1}}, 1)


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
async def test_a_subscription_is_refused(client: httpx.AsyncClient, accept: str) -> None:
    response = await post(client, {"query": "subscription { ticks }"}, accept)
    assert (response.status_code, code(response)) == (400, "SUBSCRIPTION_NOT_SUPPORTED")


# Parameters


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "The request has no `query`. Send the GraphQL document in it."),
        ({"qeury": "{ __typename }"}, "The request has no `query`. Send the GraphQL document in it."),
        ({"query": None}, "The request has no `query`. Send the GraphQL document in it."),
        ({"query": ""}, "The request has no `query`. Send the GraphQL document in it."),
        ({"query": {"obj": "ect"}}, "`query` is an object. It must be a string."),
        ({"query": 0}, "`query` is a number. It must be a string."),
        ({"query": False}, "`query` is a boolean. It must be a string."),
        ({"query": ["array"]}, "`query` is a list. It must be a string."),
        *(
            ({"query": "{ __typename }", name: value}, f"`{name}` is {kind}. It must be {wanted}.")
            for name, wanted, invalid in (
                ("operationName", "a string or null", {"an object": {"a": 1}, "a number": 0}),
                ("operationName", "a string or null", {"a boolean": False, "a list": ["array"]}),
                ("variables", "an object or null", {"a string": "string", "a number": 0}),
                ("variables", "an object or null", {"a boolean": False, "a list": ["array"]}),
                ("extensions", "an object or null", {"a string": "string", "a number": 0.5}),
                ("extensions", "an object or null", {"a boolean": False, "a list": ["array"]}),
            )
            for kind, value in invalid.items()
        ),
    ],
)
@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
async def test_a_request_with_wrong_parameters_is_400(
    client: httpx.AsyncClient, body: Any, message: str, accept: str
) -> None:
    response = await post(client, body, accept)
    assert response.status_code == 400
    assert only_error(response) == {"message": message, "extensions": {"code": "INVALID_REQUEST"}}


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
@pytest.mark.parametrize("name", ["variables", "operationName", "extensions"])
async def test_null_parameters_count_as_left_out(client: httpx.AsyncClient, name: str, accept: str) -> None:
    response = await post(client, {"query": "{ __typename }", name: None}, accept)
    assert (response.status_code, response.json()) == (200, {"data": {"__typename": "Query"}})


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
async def test_parameters_reach_the_operation(client: httpx.AsyncClient, accept: str) -> None:
    body = {
        "query": "query One($text: String!) { echo(text: $text) } query Two { __typename }",
        "variables": {"text": "hello"},
        "operationName": "One",
        "extensions": {"some": "value"},
    }
    response = await post(client, body, accept)
    assert (response.status_code, response.json()) == (200, {"data": {"echo": "hello"}})


async def test_batches_are_refused(client: httpx.AsyncClient, calls: stub.Calls) -> None:
    response = await post(client, [{"query": "mutation { change }"}, {"query": "mutation { change }"}])
    assert (response.status_code, code(response)) == (400, "BATCHING_NOT_SUPPORTED")
    assert calls.changes == 0


# Errors in the document, by media type


@pytest.mark.parametrize(("accept", "status"), [(JSON, 200), (GRAPHQL_RESPONSE, 400)])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"query": "{"}, "Syntax Error: Expected Name, found <EOF>."),
        ({"query": "{ echo\x01 }"}, "Syntax Error: Unexpected character: U+0001."),
        ({"query": "{ unknown }"}, "Cannot query field 'unknown' on type 'Query'."),
        (
            {"query": "query ($number: Float!) { double(number: $number) }", "variables": {"number": None}},
            "Variable '$number' has invalid value: Expected value of non-null type 'Float!' not to be None.",
        ),
        (
            {"query": "query A { __typename }", "operationName": "B"},
            "The document has no operation named 'B'. Name one of its own in `operationName`.",
        ),
        (
            {"query": "fragment F on Query { __typename }"},
            "The document has no operation to run. Write a query or a mutation.",
        ),
    ],
)
async def test_a_request_that_cannot_be_executed_has_errors_and_no_data(
    client: httpx.AsyncClient, body: Any, message: str, accept: str, status: int
) -> None:
    response = await post(client, body, accept)
    assert (response.status_code, only_error(response)["message"]) == (status, message)


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
@pytest.mark.parametrize(("field", "data"), [("refused", {"refused": None}), ("unexpected", None)])
async def test_an_error_of_a_field_is_200_with_data(
    client: httpx.AsyncClient, field: str, data: Any, accept: str
) -> None:
    response = await post(client, {"query": f"{{ {field} }}"}, accept)
    assert (response.status_code, response.json()["data"]) == (200, data)


@pytest.mark.parametrize(
    "document",
    ["{ node " * 5_000 + "{ name }" + "}" * 5_000, "{ echo(text: " + "[" * 100_000 + ") }"],
    ids=["selections", "lists"],
)
async def test_a_document_of_thousands_of_levels_is_refused(client: httpx.AsyncClient, document: str) -> None:
    response = await post(client, {"query": document}, GRAPHQL_RESPONSE)
    assert response.status_code == 400
    assert only_error(response)["message"] == "Syntax Error: Document is nested too deeply. Parsing aborted."


# Masking


@pytest.mark.parametrize("field", ["unexpected", "nullableUnexpected"])
async def test_an_unexpected_exception_is_masked_and_found_in_the_log_by_its_id(
    client: httpx.AsyncClient, field: str
) -> None:
    with capture_logs() as logs:
        response = await post(client, {"query": f"{{ __typename {field} }}"})
    (error,) = response.json()["errors"]
    (logged,) = [log for log in logs if log["event"] == "internal_error"]
    assert error == {
        "message": "Internal error",
        "locations": [{"line": 1, "column": 14}],
        "path": [field],
        "extensions": {"code": "INTERNAL_ERROR", "errorId": logged["error_id"]},
    }
    assert "hunter2" not in response.text
    assert str(logged["exc_info"]) == "password=hunter2"


async def test_an_error_of_our_own_passes_as_it_is(client: httpx.AsyncClient) -> None:
    response = await post(client, {"query": "{ refused }"})
    assert response.json() == {
        "data": {"refused": None},
        "errors": [
            {
                "message": "Not like this.",
                "locations": [{"line": 1, "column": 3}],
                "path": ["refused"],
                "extensions": {"code": "REFUSED"},
            }
        ],
    }


def test_an_exception_outside_of_fields_and_documents_is_masked() -> None:
    assert should_mask_error(GraphQLError("boom", original_error=ValueError("boom")))
    assert not should_mask_error(GraphQLError("Syntax Error"))


@pytest.mark.parametrize(
    "value",
    [
        {"key": "k", "value": "hunter2", "bogus": 1},
        {"key": "k", "value": {"secret": "hunter2"}},
        {"key": "k", "value": ["hunter2"]},
        {"key": "k", "valeu": "hunter2"},
        ["hunter2", {"key": "hunter2"}, 5],
    ],
)
async def test_wrong_input_is_not_repeated_in_the_message(client: httpx.AsyncClient, value: Any) -> None:
    query = "query ($secret: Secret!) { length(secret: $secret) }"
    by_variable = await post(client, {"query": query, "variables": {"secret": value}})
    literal = json.dumps(value)
    for key in ("key", "value", "valeu", "bogus", "secret"):
        literal = literal.replace(f'"{key}":', f"{key}:")
    by_literal = await post(client, {"query": f"{{ length(secret: {literal}) }}"})
    for response in (by_variable, by_literal):
        assert "data" not in response.json()
        assert "hunter2" not in response.text


async def test_what_is_wrong_with_an_input_stays_readable(client: httpx.AsyncClient) -> None:
    query = "query ($secret: Secret!) { length(secret: $secret) }"
    response = await post(client, {"query": query, "variables": {"secret": {"key": "k", "valeu": "hunter2"}}})
    assert [error["message"] for error in response.json()["errors"]] == [
        "Variable '$secret' has invalid value: Expected value of type 'Secret' to include required field 'value'",
        (
            "Variable '$secret' has invalid value: Expected value of type 'Secret' not to include unknown field "
            "'valeu'. Did you mean 'value'?"
        ),
    ]


# Tokens


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("authorization", "challenge", "message"),
    [
        ([], "Bearer", "The request has no token. Send the header `Authorization: Bearer TOKEN`."),
        (
            ["Bearer slp_revoked"],
            'Bearer error="invalid_token"',
            "The token is unknown, was revoked or has expired. Ask for a new one.",
        ),
        *(
            (
                headers,
                'Bearer error="invalid_request"',
                "The Authorization header can't be read. Send one, in the form `Authorization: Bearer TOKEN`.",
            )
            for headers in (
                [""],
                ["Bearer"],
                ["Bearer "],
                [stub.TOKEN],
                [f"Basic {stub.TOKEN}"],
                [f"Bearer {stub.TOKEN} more"],
                [f"Bearer {stub.TOKEN},"],
                [f"Bearer {'x' * 5_000}"],
                [f"Bearer {stub.TOKEN}", f"Bearer {stub.TOKEN}"],
            )
        ),
    ],
)
async def test_nobody_gets_in_without_a_token(
    client: httpx.AsyncClient, method: str, authorization: list[str], challenge: str, message: str
) -> None:
    del client.headers["authorization"]
    with capture_logs() as logs:
        response = await client.request(
            method,
            "/graphql",
            headers=[("Authorization", each) for each in authorization],
            content=b"this would be malformed, if anybody looked",
        )
    assert (response.status_code, response.headers["www-authenticate"]) == (401, challenge)
    assert only_error(response) == {"message": message, "extensions": {"code": "UNAUTHENTICATED"}}
    assert "slp_" not in response.text + repr(logs)


async def test_introspection_needs_a_token_too(client: httpx.AsyncClient) -> None:
    del client.headers["authorization"]
    response = await post(client, {"query": "{ __schema { queryType { name } } }"})
    assert response.status_code == 401


@pytest.mark.parametrize("authorization", [f"bearer {stub.TOKEN}", f"BEARER   {stub.TOKEN}"])
async def test_the_scheme_is_read_in_any_case(client: httpx.AsyncClient, authorization: str) -> None:
    response = await client.post("/graphql", json={"query": "{ viewer }"}, headers={"Authorization": authorization})
    assert response.json() == {"data": {"viewer": "ada"}}


async def test_an_answer_is_kept_by_no_cache(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql", params={"query": "{ viewer }"})
    assert response.headers["cache-control"] == "no-store"
