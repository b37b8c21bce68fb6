"""How the wire says no: an HTTP status and a JSON body with a GraphQL `errors` list, whatever the path.

Example: `{"errors":[{"message":"…","extensions":{"code":"BODY_TOO_LARGE"}}]}`.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from starlette.responses import Response

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"

_log = structlog.get_logger(__name__)


class Refusal(Exception):
    """A request that is not served. The message says what was wrong with it and what to do instead."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers

    def response(self, media_type: str = JSON) -> Response:
        """The refusal as an answer."""
        return json_response(
            {"errors": [{"message": self.message, "extensions": {"code": self.code}}]},
            status=self.status,
            media_type=media_type,
            headers=self.headers,
        )


def json_response(
    content: Any, *, status: int = 200, media_type: str = JSON, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON that no cache keeps: what an answer holds depends on who asks, and when."""
    return Response(
        orjson.dumps(content),
        status_code=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type=f"{media_type}; charset=utf-8",
    )


class Written(Response):
    """The same with status 200, for what is JSON text already: starlette encodes each header anew."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.body = content
        self.status_code = 200
        self.background = None
        self.raw_headers = [
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(content)),
            (b"content-type", f"{media_type}; charset=utf-8".encode("latin-1")),
        ]


def internal_error(error: BaseException, **where: Any) -> dict[str, Any]:
    """Log an exception that nobody expected, and return the GraphQL error that tells the client no more than its id."""
    error_id = uuid.uuid4().hex
    _log.error("internal_error", error_id=error_id, **where, exc_info=error)
    return {"message": "Internal error", "extensions": {"code": "INTERNAL_ERROR", "errorId": error_id}}
