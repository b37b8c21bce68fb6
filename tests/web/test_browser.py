"""GraphiQL in a real browser, as `make graphiql` builds it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.types import ASGIApp

from app.web.graphiql import STATIC_DIRECTORY
from tests.web import chromium, stub

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium.EXECUTABLE is None, reason="there is no chromium"),
    pytest.mark.skipif(not (STATIC_DIRECTORY / "index.html").is_file(), reason="GraphiQL is not built: make graphiql"),
]

EDITOR = "document.querySelector('.graphiql-query-editor .view-lines')?.innerText.replaceAll('\\u00a0', ' ') ?? ''"
RESPONSE = "document.querySelector('.graphiql-response')?.innerText.replaceAll('\\u00a0', ' ') ?? ''"
TAB = "document.querySelector('.graphiql-tab-active')?.innerText.trim() || 'none yet'"
REFUSAL = "document.querySelector('.token output')?.innerText ?? ''"
# The book answers only once the schema is there.
SCHEMA = "document.querySelector('.graphiql-doc-explorer-content')?.innerText ?? ''"
OPEN_THE_BOOK = "document.querySelector('.graphiql-sidebar button[aria-label*=\"Documentation\"]').click()"


@pytest.fixture
async def address(serve: Callable[[ASGIApp], Awaitable[int]]) -> str:
    return f"http://127.0.0.1:{await serve(stub.stub_application())}/graphql"


async def run(page: chromium.Page, document: str) -> None:
    """Paste a document over what is in the editor (typing would close its brackets twice), and press the button."""
    await page.evaluate("document.querySelector('.graphiql-query-editor .inputarea').focus()")
    for kind in ("rawKeyDown", "keyUp"):
        await page.send(
            "Input.dispatchKeyEvent", type=kind, key="a", code="KeyA", windowsVirtualKeyCode=65, modifiers=2
        )
    await page.evaluate(
        f"""
        const clipboardData = new DataTransfer();
        clipboardData.setData("text/plain", {json.dumps(document)});
        document.activeElement.dispatchEvent(new ClipboardEvent("paste", {{ clipboardData, bubbles: true }}));
        """
    )
    await page.until(EDITOR, lambda text: text.strip() == document)
    await page.until(TAB, lambda name: name in document)  # GraphiQL has read the document
    await page.evaluate("document.querySelector('.graphiql-execute-button').click()")


async def test_the_link_lets_in_and_a_query_is_answered(address: str, tmp_path: Path) -> None:
    async with chromium.browse(f"{address}#token={stub.TOKEN}", tmp_path) as page:
        await page.until(EDITOR, lambda text: "query FirstLook {" in text)
        assert await page.evaluate("location.href") == address
        assert await page.evaluate("sessionStorage['slipway.token']") == stub.TOKEN
        assert stub.TOKEN not in await page.evaluate(
            "document.documentElement.outerHTML + JSON.stringify(localStorage)"
        )

        # The worker that knows GraphQL underlines what the stub does not have.
        await page.until("document.querySelector('.graphiql-query-editor .squiggly-error') !== null")
        await run(page, "query Mine { viewer }")
        await page.until(RESPONSE, lambda text: '"viewer": "ada"' in text)
        await page.evaluate(OPEN_THE_BOOK)
        await page.until(SCHEMA, lambda text: "Mutation" in text)
        assert await page.evaluate(REFUSAL) == ""

    hosts = {urlsplit(url).netloc for url in page.requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}
    assert [url for url in page.requests if stub.TOKEN in url] == []
    # Monaco's editor, GraphQL and JSON each work in a worker of their own, under the page's policy.
    workers = {url.rsplit("/", 1)[1].split(".")[0] for url in page.requests if ".worker-" in url}
    assert workers == {"editor", "graphql", "json"}
    assert page.complaints == []


async def test_without_a_token_the_page_says_so_and_takes_one(address: str, tmp_path: Path) -> None:
    async with chromium.browse(address, tmp_path) as page:
        await page.until(REFUSAL, lambda text: text.startswith("No token yet (401). Open the link"))
        for token, refusal in (
            ("slp_wrong", "Not let in (401). The token is unknown, was revoked or has expired. Ask for a new one."),
            (stub.TOKEN, ""),
        ):
            await page.evaluate("document.querySelector('.token input').focus()")
            await page.send("Input.insertText", text=token)
            await page.evaluate("document.querySelector('.token button').click()")
            await page.until(f"({REFUSAL}) === {json.dumps(refusal)}")
        await page.until(EDITOR, lambda text: "query FirstLook {" in text)
        await run(page, "query Mine { viewer }")
        await page.until(RESPONSE, lambda text: '"viewer": "ada"' in text)
