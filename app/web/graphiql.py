"""GraphiQL in the browser: its page, its static files, and what the page may load (nothing from another host)."""

import html
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

STATIC_DIRECTORY = Path(__file__).parent / "static"

# Monaco writes its themes and the widths of its lines into style elements and attributes; the fonts are in the CSS.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self' data:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Slipway</title>
<link rel="icon" href="data:,">
<p>GraphiQL is not built. With npm installed, run <code>make graphiql</code> and reload this page.</p>
<p>GraphQL itself is served here:</p>
<pre>curl {address} \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{{"query": "{{ viewer {{ username }} }}"}}'</pre>
</html>
"""


def page(request: Request, static_directory: Path) -> Response:
    """GraphiQL, or how to get it where it has not been built."""
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Vary": "Accept",
    }
    index = static_directory / "index.html"
    if index.is_file():
        return FileResponse(index, headers=headers)
    address = html.escape(str(request.url.replace(query="", fragment="")))
    return HTMLResponse(_NOT_BUILT.format(address=address), headers=headers)


class Assets(StaticFiles):
    """Files whose names change with their content, so that a browser never asks for them twice."""

    def __init__(self, static_directory: Path) -> None:
        super().__init__(directory=static_directory / "assets", check_dir=False)

    @override
    async def check_config(self) -> None:
        """A build that is not there is a 404 like any other."""

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        # A worker is bound by the policy of its own file, not by that of the page.
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response
