"""GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/), on top of strawberry's ASGI view.

The view is strict about what it takes (one JSON request of bounded size, from somebody with a token) and stops the
operation when the client goes away. WebSockets are closed: subscriptions have no transport yet.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar, cast

from cross_web import AsyncHTTPRequestAdapter, StarletteRequestAdapter
from graphql import GraphQLError
from graphql.validation.validate import ValidationAbortedError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.schema import BaseSchema
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType
from typing_extensions import override

from app.web import bodies, negotiation
from app.web.bodies import header
from app.web.refusals import GRAPHQL_RESPONSE, JSON, Refusal, Written, internal_error, json_response

BODY_LIMIT_BYTES = 4 * 1024 * 1024
BODY_TIMEOUT_SECONDS = 30.0
MESSAGE_MAXIMUM_LENGTH = 1_000
WATCHED_AFTER_SECONDS = 0.1
MEDIA_TYPES = (JSON, GRAPHQL_RESPONSE)

# RFC 6750, 2.1
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,4096}=*) *", re.IGNORECASE)

# graphql-core repeats wrong input at the end of a message: `…, found: {'key': 'a', 'value': 'a secret'}.`
# Numbers and enums may be repeated; objects, lists and strings may hold secrets.
_ECHO = re.compile(
    r"(?:[,;]? found|(?<=value)): [\[{].*|(?<=non string value): .*|(?<=to be an object), found: .*",
    re.IGNORECASE | re.DOTALL,
)

Viewer = TypeVar("Viewer")
Result = TypeVar("Result")


class Compiler(Protocol):
    """Answers some requests in a faster way, with the same answer."""

    async def answer(self, request_data: GraphQLRequestData, context: Any) -> bytes | None:
        """The body, as JSON text; None: this request is to be executed.

        Raises:
            TimeoutError: it took too long.
        """


class GraphQLApp(GraphQL[Any, None], Generic[Viewer]):
    """The ASGI application that answers GraphQL requests.

    `authenticate` gets the bearer token (None: none was sent) and returns the viewer, or None for HTTP 401.
    `make_context` gets the request and the viewer and returns what resolvers see as `info.context`.
    """

    def __init__(
        self,
        schema: BaseSchema,
        make_context: Callable[[Request, Viewer], Any],
        authenticate: Callable[[str | None], Awaitable[Viewer | None]],
        compiler: Compiler | None = None,
        *,
        body_limit_bytes: int = BODY_LIMIT_BYTES,
        body_timeout_seconds: float = BODY_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(schema, graphql_ide=None, subscription_protocols=())
        self.make_context = make_context
        self.authenticate = authenticate
        self.compiler = compiler
        self.body_limit_bytes = body_limit_bytes
        self.body_timeout_seconds = body_timeout_seconds

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Refusal as refusal:
            response = refusal.response(_media_type(scope) or JSON)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "POST"}:
            raise Refusal(
                405,
                "METHOD_NOT_ALLOWED",
                f"GraphQL is served by POST, and queries by GET as well, not by {request.method[:20]}.",
                {"Allow": "GET, POST"},
            )
        viewer = await self._viewer(request.scope)
        media_type = _media_type(request.scope)
        if media_type is None:
            raise Refusal(
                406,
                "NOT_ACCEPTABLE",
                f"The Accept header takes no media type that is served: ask for {' or '.join(MEDIA_TYPES)}.",
            )
        context = self.make_context(request, viewer)
        if self.compiler is not None:
            answer = await self._compiled(self.compiler, request, context, media_type)
            if answer is not None:
                return answer
        return await self.run(request, context=context, root_value=None)

    async def _compiled(self, compiler: Compiler, request: Request, context: Any, media_type: str) -> Response | None:
        """The answer of the compiler; None where the request is to be executed, of which the body has been read.

        This goes past strawberry's view, which would take longer than the rest.
        """
        request_data = await self._read(request)
        try:
            answer = await unless_gone(request.receive, compiler.answer(request_data, context))
        except TimeoutError as error:
            result: dict[str, Any] = {"data": None, "errors": [internal_error(error, path=request.url.path)]}
            return json_response(result, media_type=media_type)
        if answer is None:
            request.state.request_data = request_data
            return None
        return Written(answer, media_type)

    async def _viewer(self, scope: Scope) -> Viewer:
        match header(scope, b"authorization"):
            case []:
                token = None
                problem = "The request has no token. Send the header `Authorization: Bearer TOKEN`."
                challenge = "Bearer"
            case [value] if bearer := _BEARER.fullmatch(value):
                token = bearer[1]
                problem = "The token is unknown, was revoked or has expired. Ask for a new one."
                challenge = 'Bearer error="invalid_token"'
            case _:
                raise _unauthenticated(
                    "The Authorization header can't be read. Send one, in the form `Authorization: Bearer TOKEN`.",
                    'Bearer error="invalid_request"',
                )
        viewer = await self.authenticate(token)
        if viewer is None:
            raise _unauthenticated(problem, challenge)
        return viewer

    # What follows replaces steps of strawberry's `run`, in the order in which it takes them.

    @override
    async def get_sub_response(self, request: Request) -> Response:  # type: ignore[override]  # WebSockets never get here
        """Carry the media type that was agreed on to `create_response`."""
        return Response(media_type=_media_type(request.scope))

    @override
    def should_render_graphql_ide(self, request: Any) -> bool:
        """GraphiQL has a route of its own."""
        return False

    @override
    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        """The request's parameters, checked."""
        http_request = cast("StarletteRequestAdapter", request)._request  # noqa: SLF001  # the adapter has no other door
        found: GraphQLRequestData | None = getattr(http_request.state, "request_data", None)
        return found or await self._read(http_request)

    async def _read(self, http_request: Request) -> GraphQLRequestData:
        if http_request.method == "GET":
            parameters: Any = dict(http_request.query_params)
            for name in ("variables", "extensions"):
                text = parameters.get(name)
                parameters[name] = bodies.parse_json(text, f"`{name}` in the address") if text else None
            parameters["operationName"] = parameters.get("operationName") or None
        else:
            scope = http_request.scope
            content_type, content_encoding = header(scope, b"content-type"), header(scope, b"content-encoding")
            negotiation.require_json((content_type or [""])[0], ", ".join(content_encoding))
            body = await bodies.read(
                scope,
                http_request.receive,
                limit_bytes=self.body_limit_bytes,
                timeout_seconds=self.body_timeout_seconds,
            )
            parameters = bodies.parse_json(body, "The body")
        return _request_data(parameters)

    @override
    async def execute_single(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        sub_response: Response,
        context: Any,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        """Run one operation, for as long as its client waits for it."""
        allowed = {OperationType.QUERY} if request.method == "GET" else {OperationType.QUERY, OperationType.MUTATION}
        operation = self.schema.execute(
            request_data.query,
            root_value=root_value,
            variable_values=request_data.variables,
            context_value=context,
            operation_name=request_data.operation_name,
            allowed_operation_types=allowed,
            operation_extensions=request_data.extensions,
        )
        try:
            return await _while_connected(request.receive, operation)
        except CannotGetOperationTypeError as error:
            return ExecutionResult(data=None, errors=[_no_such_operation(error.operation_name)])
        except InvalidOperationTypeError as error:
            raise _wrong_operation_type(error.operation_type) from None

    @override
    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        """What the client gets to see of a result. Without `data` where nothing was executed."""
        answer: GraphQLHTTPResponse = {}
        errors = result.errors or []
        if result.data is not None or any(error.path is not None for error in errors):
            answer["data"] = result.data
        if errors:
            answer["errors"] = [_presentable(error, request) for error in errors]
        if result.extensions:
            answer["extensions"] = result.extensions
        return answer

    @override
    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        """400 for a request that could not be executed, where the client knows the GraphQL media type; else 200."""
        media_type = sub_response.media_type or JSON
        failed = media_type == GRAPHQL_RESPONSE and "data" not in response_data
        return json_response(response_data, status=400 if failed else 200, media_type=media_type)


def should_mask_error(error: GraphQLError) -> bool:
    """Whether an error tells of an exception that nobody expected, and not of the request.

    Errors in the document or its variables stay, whatever their cause, and so do GraphQLErrors that resolvers raise.
    """
    cause = _cause(error)
    if cause is None:
        return False
    # What goes wrong with a document or a variable has a place in the document, and no place in the answer.
    return error.path is not None or not error.nodes


def _cause(error: GraphQLError) -> Exception | None:
    """The exception behind an error that is no GraphQLError itself."""
    cause: Exception | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _presentable(error: GraphQLError, request: Request) -> dict[str, Any]:
    formatted = dict(error.formatted)
    if should_mask_error(error):
        masked = internal_error(_cause(error) or error, path=request.url.path, field=error.path)
        return {**formatted, **masked}
    if isinstance(error, ValidationAbortedError):
        message = "The document is too large, or nested too deeply, to be checked to its end. Ask for less at a time."
        return {"message": message, "extensions": {"code": "DOCUMENT_TOO_LARGE"}}
    message = _ECHO.sub("", error.message)
    if len(message) > MESSAGE_MAXIMUM_LENGTH:
        # The beginning says which input it was, the end what is expected of it.
        half = MESSAGE_MAXIMUM_LENGTH // 2
        message = f"{message[:half]}…{message[-half:]}"
    return {**formatted, "message": message, "extensions": {"code": "INVALID_REQUEST", **(error.extensions or {})}}


def _request_data(parameters: Any) -> GraphQLRequestData:
    if isinstance(parameters, list):
        raise Refusal(
            400, "BATCHING_NOT_SUPPORTED", "The body is a list. Send one GraphQL request, a JSON object, at a time."
        )
    if not isinstance(parameters, dict):
        raise Refusal(
            400, "INVALID_REQUEST", f'The body is {_kind(parameters)}. Send a JSON object, as {{"query": "…"}}.'
        )
    query = parameters.get("query")
    if query is None or query == "":
        raise Refusal(400, "INVALID_REQUEST", "The request has no `query`. Send the GraphQL document in it.")
    for name, expected, wanted in (
        ("query", str, "a string"),
        ("operationName", str, "a string or null"),
        ("variables", dict, "an object or null"),
        ("extensions", dict, "an object or null"),
    ):
        value = parameters.get(name)
        if value is not None and not isinstance(value, expected):
            raise Refusal(400, "INVALID_REQUEST", f"`{name}` is {_kind(value)}. It must be {wanted}.")
    return GraphQLRequestData(
        query=query,
        variables=parameters.get("variables"),
        operation_name=parameters.get("operationName"),
        extensions=parameters.get("extensions"),
    )


def _kind(value: Any) -> str:
    """What JSON calls a parsed value."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names[type(value)]


def accepted(scope: Scope) -> str:
    """The Accept header."""
    return ", ".join(header(scope, b"accept"))


def _media_type(scope: Scope) -> str | None:
    return negotiation.preferred(accepted(scope), MEDIA_TYPES)


def _unauthenticated(message: str, challenge: str) -> Refusal:
    return Refusal(401, "UNAUTHENTICATED", message, {"WWW-Authenticate": challenge})


def _no_such_operation(name: str | None) -> GraphQLError:
    if name is None:
        return GraphQLError("The document has no operation to run. Write a query or a mutation.")
    return GraphQLError(f"The document has no operation named {name[:100]!r}. Name one of its own in `operationName`.")


def _wrong_operation_type(operation_type: OperationType) -> Refusal:
    if operation_type is OperationType.MUTATION:
        return Refusal(
            405, "METHOD_NOT_ALLOWED", "Mutations are not served by GET. Send it by POST.", {"Allow": "POST"}
        )
    return Refusal(400, "SUBSCRIPTION_NOT_SUPPORTED", "Subscriptions are not served over HTTP. Ask again with a query.")


async def _while_connected(receive: Receive, operation: Coroutine[Any, Any, Result]) -> Result:
    """Run the operation; cancel it, and raise ClientDisconnect, when the client goes away first."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    running, watching = asyncio.create_task(operation), asyncio.create_task(disconnected())
    try:
        await asyncio.wait((running, watching), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        raise ClientDisconnect
    finally:
        running.cancel()
        watching.cancel()
        await asyncio.gather(running, watching, return_exceptions=True)


async def unless_gone(receive: Receive, operation: Coroutine[Any, Any, Result]) -> Result:
    """Run the operation, which is short; cancel it, and raise ClientDisconnect, when the client goes away meanwhile.

    To look for that costs more than most of these operations, so it begins when one takes longer than they do.
    """
    interruption = bodies.Interruption()
    watch: asyncio.Task[None] | None = None

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        interruption()

    def begin() -> None:
        nonlocal watch
        watch = asyncio.create_task(disconnected())

    timer = asyncio.get_running_loop().call_later(WATCHED_AFTER_SECONDS, begin)
    try:
        return await operation
    except asyncio.CancelledError:
        if interruption.settled():
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
