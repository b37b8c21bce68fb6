"""A real browser, driven over the Chrome DevTools Protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

EXECUTABLE = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1400,900",
)


class Page:
    """One tab, with what it requested and complained about since it was opened."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self.connection = connection
        self.session = session
        self.ids = itertools.count(1)
        self.answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        async for text in self.connection:
            message = json.loads(text)
            parameters = message.get("params", {})
            if "id" in message:
                self.answers.pop(message["id"]).set_result(message)
            elif message["method"] == "Target.attachedToTarget":
                # A worker: it waits until its requests are watched too.
                worker = parameters["sessionId"]
                asyncio.create_task(self.watch(worker))  # noqa: RUF006  # it ends with the answers of the browser
            elif message["method"] == "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            elif message["method"] == "Log.entryAdded":
                self.complaints.append(parameters["entry"]["text"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))

    async def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self.ids)
        self.answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        if session or self.session:  # else it is for the browser itself
            message["sessionId"] = session or self.session
        await self.connection.send(json.dumps(message))
        async with asyncio.timeout(20):
            answer = await self.answers[number]
        assert "error" not in answer, answer
        result = answer["result"]
        assert isinstance(result, dict)
        return result

    async def watch(self, session: str) -> None:
        for method in ("Network.enable", "Log.enable", "Runtime.enable"):
            await self.send(method, session)
        await self.send("Target.setAutoAttach", session, autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        await self.send("Runtime.runIfWaitingForDebugger", session)

    async def evaluate(self, expression: str) -> Any:
        answer = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str, holds: Callable[[Any], bool] = bool) -> Any:
        """Wait until an expression of the page holds, for up to 20 seconds; the answer is its value."""
        value = None
        try:
            async with asyncio.timeout(20):
                while not holds(value := await self.evaluate(expression)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{expression} stayed {value!r}") from None
        return value

    async def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode((await self.send("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def browse(address: str, profile: Path) -> AsyncIterator[Page]:
    """Open an address in a fresh browser."""
    assert EXECUTABLE
    process = await asyncio.create_subprocess_exec(
        EXECUTABLE,
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            devtools = await _devtools_address(process)
        async with connect(devtools, max_size=None) as connection:
            page = Page(connection, "")
            listening = asyncio.create_task(page.listen())
            try:
                await _open(page, address)
                yield page
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        process.terminate()
        await process.communicate()


async def _devtools_address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr
    async for line in process.stderr:
        # DevTools listening on ws://127.0.0.1:36775/devtools/browser/…
        if line.startswith(b"DevTools listening on "):
            return line.decode().split()[-1]
    raise AssertionError("the browser did not start")


async def _open(page: Page, address: str) -> None:
    target = await page.send("Target.createTarget", url="about:blank")
    attached = await page.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page.session = attached["sessionId"]
    await page.watch(page.session)
    await page.send("Page.enable")
    await page.send("Page.navigate", url=address)
