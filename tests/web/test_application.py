"""Which path leads where, what every answer carries, and what the log says of it."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from app.web import application as module
from app.web.application import application
from app.web.refusals import Refusal
from tests.web import stub
from tests.web.conftest import AUTHORIZATION
from tests.web.test_graphql import only_error

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def endpoints(scope: Scope, receive: Receive, send: Send) -> None:
    """A deployed service, and two things that can go wrong with it."""
    request = Request(scope, receive)
    path = request.url.path
    if path == "/endpoints/refuses":
        raise Refusal(404, "NO_SUCH_ENDPOINT", "No workload answers here.")
    if path == "/endpoints/raises":
        raise ValueError("password=hunter2")
    response = HTMLResponse(path, headers={"Content-Security-Policy": "default-src https:", "X-Own": "yes"})
    await response(scope, receive, send)
    if path == "/endpoints/raises-late":
        raise ValueError("password=hunter2")


def make_client(
    *,
    check_health: Callable[[], Any] = stub.healthy,
    static_directory: Path = Path("/nonexistent"),
    raise_app_exceptions: bool = True,
) -> httpx.AsyncClient:
    app = application(
        graphql=stub.graphql_app(stub.Calls()),
        check_health=check_health,
        endpoints=endpoints,
        static_directory=static_directory,
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=raise_app_exceptions)
    return httpx.AsyncClient(transport=transport, base_url="http://slipway")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """What a build of GraphiQL leaves."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<title>GraphiQL</title>")
    (tmp_path / "assets" / "index-abc123.js").write_text("1")
    return tmp_path


# Paths


async def test_the_root_leads_to_graphql() -> None:
    async with make_client() as client:
        response = await client.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/graphql")


@pytest.mark.parametrize("path", ["/unknown", "/graphiql", "/graphiql/assets/unknown.js", "/graphiql/assets/%2e%2e/x"])
async def test_an_unknown_path_is_404(path: str, build: Path) -> None:
    async with make_client(static_directory=build) as client:
        response = await client.get(path)
    assert response.status_code == 404
    error = only_error(response)
    assert error["message"].startswith("There is nothing at /")
    assert error["message"].endswith(". GraphQL is served at /graphql.")
    assert error["extensions"] == {"code": "NOT_FOUND"}


@pytest.mark.parametrize(("path", "allowed"), [("/", "GET, HEAD"), ("/health", "GET, HEAD")])
async def test_another_method_is_405(path: str, allowed: str) -> None:
    async with make_client() as client:
        response = await client.post(path)
    assert (response.status_code, set(response.headers["allow"].split(", "))) == (405, set(allowed.split(", ")))
    assert only_error(response)["extensions"] == {"code": "METHOD_NOT_ALLOWED"}


async def test_endpoints_get_their_path() -> None:
    async with make_client() as client:
        assert (await client.get("/endpoints/wkl_1/page")).text == "/endpoints/wkl_1/page"
        refused = await client.get("/endpoints/refuses")
    assert (refused.status_code, only_error(refused)["message"]) == (404, "No workload answers here.")


@pytest.mark.parametrize("path", ["/graphql", "/unknown"])
async def test_a_websocket_is_closed_before_it_opens(path: str) -> None:
    scope = {"type": "websocket", "path": path, "headers": [], "subprotocols": ["graphql-transport-ws"]}
    for app in (stub.stub_application(), stub.graphql_app(stub.Calls())):
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        await app(dict(scope), receive, send)
        assert sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]


# GraphiQL


async def test_a_browser_gets_graphiql_without_a_token(build: Path) -> None:
    async with make_client(static_directory=build) as client:
        response = await client.get("/graphql", headers={"Accept": BROWSER})
    assert (response.status_code, response.text) == (200, "<title>GraphiQL</title>")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert (response.headers["cache-control"], response.headers["vary"]) == ("no-cache", "Accept")


async def test_where_graphiql_is_not_built_the_page_says_how_to() -> None:
    async with make_client() as client:
        response = await client.get("/graphql?query=a", headers={"Accept": BROWSER})
    assert response.status_code == 200
    assert "<code>make graphiql</code>" in response.text
    assert "<pre>curl http://slipway/graphql \\\n" in response.text


@pytest.mark.parametrize("host", ["<b>", '"', "a&b"])
async def test_what_a_browser_sends_does_not_become_markup(host: str) -> None:
    async with make_client() as client:
        response = await client.get("/graphql?<b>", headers={"Accept": BROWSER, "Host": host})
    assert response.status_code == 200
    assert f"curl http://{host}" not in response.text
    assert "<b>" not in response.text


async def test_a_program_gets_graphql_where_a_browser_gets_graphiql(build: Path) -> None:
    async with make_client(static_directory=build) as client:
        response = await client.get("/graphql", params={"query": "{ viewer }"}, headers=AUTHORIZATION)
        assert response.json() == {"data": {"viewer": "ada"}}
        response = await client.post("/graphql", headers={"Accept": "text/html"})
        assert response.status_code == 401


async def test_files_with_a_hash_in_their_name_are_kept_for_ever(build: Path) -> None:
    async with make_client(static_directory=build) as client:
        response = await client.get("/graphiql/assets/index-abc123.js")
        again = await client.get(
            "/graphiql/assets/index-abc123.js", headers={"If-None-Match": response.headers["etag"]}
        )
    assert (response.status_code, response.text) == (200, "1")
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (again.status_code, again.headers["cache-control"]) == (304, "public, max-age=31536000, immutable")


@pytest.mark.parametrize("path", ["/graphql", "/graphiql/assets/index-abc123.js"])
async def test_graphiql_may_load_nothing_from_elsewhere(build: Path, path: str) -> None:
    async with make_client(static_directory=build) as client:
        response = await client.get(path, headers={"Accept": BROWSER})
    directives = dict(
        directive.strip().split(" ", 1) for directive in response.headers["content-security-policy"].split(";")
    )
    assert directives["default-src"] == directives["frame-ancestors"] == "'none'"
    sources = {source for value in directives.values() for source in value.split()}
    assert sources == {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert directives["script-src"] == "'self'"


# Headers


@pytest.mark.parametrize("path", ["/", "/graphql", "/health", "/unknown"])
async def test_every_answer_of_our_own_has_security_headers(path: str) -> None:
    async with make_client() as client:
        headers = (await client.get(path)).headers
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"


async def test_no_other_origin_may_read_an_answer() -> None:
    async with make_client() as client:
        response = await client.post("/graphql", headers={"Origin": "https://elsewhere.example", **AUTHORIZATION})
        preflight = await client.options(
            "/graphql", headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
        )
    assert preflight.status_code == 405
    assert not [name for name in (*response.headers, *preflight.headers) if name.startswith("access-control")]


async def test_a_deployed_page_is_kept_from_the_token_of_graphiql() -> None:
    async with make_client() as client:
        response = await client.get("/endpoints/wkl_1/")
    policies = response.headers.get_list("content-security-policy")
    assert policies == [
        "default-src https:",
        "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts",
    ]
    assert response.headers["x-own"] == "yes"
    assert "x-content-type-options" not in response.headers


# Health


async def test_health_is_ok_and_tells_what_the_check_tells() -> None:
    async def check() -> Mapping[str, Any]:
        return {"database": "ok"}

    async with make_client(check_health=check) as client:
        response = await client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "database": "ok"})
    assert response.headers["cache-control"] == "no-store"


async def fails() -> Mapping[str, Any]:
    raise ConnectionError("password=hunter2")


async def hangs() -> Mapping[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("check", [fails, hangs])
async def test_health_is_503_when_the_check_fails_or_hangs(
    check: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEALTH_TIMEOUT_SECONDS", 0.01)
    async with make_client(check_health=check) as client:
        with capture_logs() as logs:
            response = await client.get("/health")
    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable",
        "errors": [
            {
                "message": "The server can't do its work at the moment. Its log says why.",
                "extensions": {"code": "UNAVAILABLE"},
            }
        ],
    }
    assert [log["event"] for log in logs] == ["unhealthy", "request"]


# The log


async def test_each_request_is_one_line_without_its_query_string() -> None:
    async with make_client() as client:
        with capture_logs() as logs:
            await client.get("/graphql", params={"query": "{ viewer }", "token": "slp_secret"}, headers=AUTHORIZATION)
            await client.get("/unknown", params={"token": "slp_secret"})
    for log in logs:
        assert log.pop("duration_milliseconds") > 0
    assert logs == [
        {"event": "request", "log_level": "info", "method": "GET", "path": "/graphql", "status": 200},
        {"event": "request", "log_level": "info", "method": "GET", "path": "/unknown", "status": 404},
    ]


async def test_an_exception_that_nobody_caught_is_a_masked_500() -> None:
    async with make_client() as client:
        with capture_logs() as logs:
            response = await client.get("/endpoints/raises")
    assert response.status_code == 500
    assert only_error(response) == {
        "message": "Internal error",
        "extensions": {"code": "INTERNAL_ERROR", "errorId": logs[0]["error_id"]},
    }
    assert [(log["event"], log.get("status")) for log in logs] == [("internal_error", None), ("request", 500)]


async def test_an_exception_after_the_answer_has_begun_is_left_to_the_server() -> None:
    async with make_client() as client:
        with pytest.raises(ValueError, match="hunter2"):
            await client.get("/endpoints/raises-late")
