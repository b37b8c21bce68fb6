"""Takes a request, finds or makes the plan for its document, and runs its statement.

Nothing that a document, its variables or its arguments have wrong is reported here: whatever is not in order goes to
the executor, which says so.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

import asyncpg
import orjson
import structlog
from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    TypeInfo,
    TypeInfoVisitor,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    get_operation_ast,
    parse,
    print_ast,
    specified_rules,
    visit,
)
from graphql.execution.values import VariableValues, VariableValueSource, get_variable_values
from sqlalchemy import ARRAY, DateTime, Text, Uuid, bindparam
from strawberry.http import GraphQLRequestData
from strawberry.schema.schema import validate_document

from app.api import limits
from app.api.compiler import arguments, holes
from app.api.compiler.arguments import OF_VIEWER, PREFIX, CanNotCompileError, Given, narrows
from app.api.compiler.dialect import written, written_together
from app.api.compiler.statements import Writer
from app.api.context import Context
from app.api.fields import Scope
from app.api.schema import CACHED_DOCUMENT_MAXIMUM_LENGTH, DOCUMENTS_CACHED_MAXIMUM, Schema
from app.db.database import Plan
from app.db.gathering import Together
from app.domain.people import Viewer

STATEMENTS_CACHED_MAXIMUM = 500
STATEMENT_MAXIMUM_LENGTH = 100_000
REQUESTS_CACHED_MAXIMUM = 1_000
VARIABLES_MAXIMUM_BYTES = 2_048
# What can come to more rows takes long enough by itself, and would hold up those who are answered with it.
GATHERED_ROWS_MAXIMUM = 500

Value = TypeVar("Value")
_log = structlog.get_logger(__name__)


class _Recent(Generic[Value]):
    """The values that were asked for last, so many at most."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made where it is not there."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        if len(self._values) > self._maximum:
            self._values.popitem(last=False)
        return value


class Kind(NamedTuple):
    """What of a viewer decides how a statement is written."""

    admin: bool
    sees_much: bool
    sees_little: bool

    @classmethod
    def of(cls, viewer: Viewer) -> "Kind":
        """What of this viewer does."""
        return cls(viewer.admin, viewer.sees_much, viewer.sees_little)


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """A statement with the names of its parameters in order, and what fills the holes in its answer."""

    sql: str
    parameters: Sequence[str]
    holes: Sequence[holes.Hole]
    plan: Plan
    together: Together | None


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """A statement, and the values of its parameters that the request gives."""

    statement: Statement
    values: Mapping[str, Any]

    def parameters(self, viewer: Viewer, now: datetime, public_url: str) -> list[Any]:
        """The values of all parameters, in order."""
        asked = {
            f"{OF_VIEWER}id": viewer.user_id,
            f"{OF_VIEWER}groups": viewer.groups,
            f"{PREFIX}now": now,
            f"{PREFIX}public_url": public_url,
        }
        return [self.values[name] if name in self.values else asked[name] for name in self.statement.parameters]


@dataclasses.dataclass(eq=False, slots=True)
class Site:
    """A field with arguments. `given`: what they come to, where no variable is among them."""

    field: GraphQLField
    node: FieldNode
    name: str
    given: Given | None = None


@dataclasses.dataclass(eq=False, slots=True)
class Operation:
    """An operation that can be run: a query, valid, and small enough to be kept."""

    definition: OperationDefinitionNode
    fragments: Mapping[str, FragmentDefinitionNode]
    steering: Sequence[str]
    """The names of the variables that `@skip` and `@include` ask."""
    fixed: Sequence[Site]
    variable: Sequence[Site]
    texts: Mapping[str, VariableValueSource]
    """The variables, where each is an ID or a String that has to be given; else none."""


class Compiler:
    """Answers operations by one statement each, as far as they can be."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._operations: _Recent[Operation | None] = _Recent(DOCUMENTS_CACHED_MAXIMUM)
        self._statements: _Recent[Statement | None] = _Recent(STATEMENTS_CACHED_MAXIMUM)
        self._requests: _Recent[Ready | None] = _Recent(REQUESTS_CACHED_MAXIMUM)

    async def answer(self, request_data: GraphQLRequestData, context: Context) -> bytes | None:
        """The body, as JSON text; None: the executor is to answer.

        Raises:
            TimeoutError: the statement took too long, or no connection was free for too long.
        """
        viewer = context.viewer
        ready = self._ready(request_data, Kind.of(viewer))
        if ready is None:
            return None
        statement = ready.statement
        parameters = ready.parameters(viewer, context.acting.now, context.public_url)
        try:
            data = await context.acting.database.fetch_bytes(
                statement.sql, parameters, plan=statement.plan, together=statement.together
            )
            # NULL: something that is never NULL was.
            return None if data is None else await holes.fill(data, statement.holes, context)
        except asyncpg.QueryCanceledError as error:
            raise TimeoutError from error
        except TimeoutError:
            raise
        except GraphQLError:
            return None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError, OSError):
            _log.warning("compiled_statement_failed", exc_info=True)
            return None

    def _ready(self, request_data: GraphQLRequestData, kind: Kind) -> Ready | None:
        """What is run for a request. The same comes to the same: it is remembered, where it is small."""
        query, name, variables = request_data.query, request_data.operation_name, request_data.variables
        if not isinstance(query, str) or len(query) > CACHED_DOCUMENT_MAXIMUM_LENGTH:
            return None
        text = orjson.dumps(variables) if variables else b""
        if len(text) > VARIABLES_MAXIMUM_BYTES:
            return self._make_ready(query, name, variables, kind)
        return self._requests.get((query, name, text, kind), lambda: self._make_ready(query, name, variables, kind))

    def _make_ready(self, query: str, name: str | None, given: Mapping[str, Any] | None, kind: Kind) -> Ready | None:
        operation = self._operations.get((query, name), lambda: self._read(query, name))
        if operation is None:
            return None
        variables = self._variables(operation, given or {})
        arguments_given = None if isinstance(variables, list) else self._given(operation, variables)
        if isinstance(variables, list) or arguments_given is None:
            return None
        key = (
            operation,
            kind,
            *(variables.coerced.get(each) for each in operation.steering),
            *(arguments_given[site.name].shape for site in operation.variable),
        )
        statement = self._statements.get(key, lambda: self._write(operation, variables, kind))
        if statement is None:
            return None
        values = {name: value for each in arguments_given.values() for name, value in each.values.items()}
        return Ready(statement, values)

    def _variables(self, operation: Operation, given: Mapping[str, Any]) -> VariableValues | list[GraphQLError]:
        """What they come to. A text comes to itself: to ask graphql-core for that takes as long as the rest."""
        texts = operation.texts
        if texts and texts.keys() == given.keys() and all(isinstance(each, str) for each in given.values()):
            sources = {name: VariableValueSource(each.signature, given[name]) for name, each in texts.items()}
            return VariableValues(sources, dict(given))
        definitions = operation.definition.variable_definitions or ()
        return get_variable_values(self._schema.graphql, definitions, dict(given))

    def _read(self, query: str, name: str | None) -> Operation | None:
        """The operation, if it can be run by a statement."""
        schema = self._schema.graphql
        try:
            document = parse(query, max_tokens=limits.TOKENS_MAXIMUM)
        except (GraphQLError, RecursionError):
            return None
        if validate_document(schema, document, (*specified_rules, limits.Bounded)):
            return None
        definition = get_operation_ast(document, name)
        if definition is None or definition.operation is not OperationType.QUERY:
            return None
        fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
        return _operation(self._schema, definition, fragments)

    def _given(self, operation: Operation, variables: VariableValues) -> dict[str, Given] | None:
        """What the arguments of all sites come to; None where one of them can't be used."""
        found = {}
        try:
            for site in operation.fixed:
                if site.given is None:
                    site.given = arguments.read(site.field, site.node, variables, site.name, self._schema)
                found[site.name] = site.given
            for site in operation.variable:
                found[site.name] = arguments.read(
                    site.field, site.node, variables, site.name, self._schema, writing=False
                )
        except GraphQLError:
            return None
        return found

    def _write(self, operation: Operation, variables: VariableValues, kind: Kind) -> Statement | None:
        names = {id(site.node): site.name for site in (*operation.fixed, *operation.variable)}
        sites: list[Given] = []

        def read(field: GraphQLField, node: FieldNode) -> Given:
            given = arguments.read(field, node, variables, names.get(id(node), ""), self._schema)
            sites.append(given)
            return given

        scope = Scope(
            viewer=Viewer(
                user_id=bindparam(f"{OF_VIEWER}id", type_=Uuid()),  # type: ignore[arg-type]
                username="",
                admin=kind.admin,
                sees_much=kind.sees_much,
                sees_little=kind.sees_little,
                groups=bindparam(f"{OF_VIEWER}groups", type_=ARRAY(Text())),  # type: ignore[arg-type]
            ),
            now=bindparam(f"{PREFIX}now", type_=DateTime(timezone=True)),
            public_url=bindparam(f"{PREFIX}public_url", type_=Text()),
        )
        writer = Writer(self._schema.graphql, operation.definition, operation.fragments, variables, read, scope)
        try:
            select = writer.statement()
            sql, parameters = written(select)
            plan = Plan.BY_ARGUMENTS if narrows(sites) or writer.begins_with_grants else Plan.ONCE
            gathers = plan is Plan.ONCE and writer.looks_up and writer.rows <= GATHERED_ROWS_MAXIMUM
            together = written_together(select) if gathers else None
        except CanNotCompileError:
            return None
        except Exception:  # noqa: BLE001  whatever it is, there is another way to answer
            _log.exception("operation_not_compiled")
            return None
        if len(sql) > STATEMENT_MAXIMUM_LENGTH:
            return None
        return Statement(sql, parameters, writer.holes, plan, together)


def _operation(
    schema: Schema, definition: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Operation:
    """Find the sites, and the variables that steer."""
    finder = _Finder()
    type_info = TypeInfo(schema.graphql)
    finder.type_info = type_info
    visitor = TypeInfoVisitor(type_info, finder)
    visit(definition, visitor)
    done: set[str] = set()
    while waiting := finder.spread - done:
        done |= waiting
        for name in sorted(waiting):
            visit(fragments[name], visitor)
    texts = _texts(schema, definition.variable_definitions or ())
    return Operation(definition, fragments, sorted(finder.steering), finder.fixed, finder.variable, texts)


def _texts(schema: Schema, definitions: Sequence[VariableDefinitionNode]) -> Mapping[str, VariableValueSource]:
    if any(each.default_value or print_ast(each.type) not in {"ID!", "String!"} for each in definitions):
        return {}
    variables = get_variable_values(schema.graphql, definitions, {each.variable.name.value: "" for each in definitions})
    return {} if isinstance(variables, list) else variables.sources


class _Finder(Visitor):
    """Looks for fields with arguments, and for what steers."""

    type_info: TypeInfo

    def __init__(self) -> None:
        super().__init__()
        self.spread: set[str] = set()
        self.steering: set[str] = set()
        self.fixed: list[Site] = []
        self.variable: list[Site] = []

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        """A site, where there are arguments."""
        field = self.type_info.get_field_def()
        if node.arguments and field is not None and "strawberry-definition" in field.extensions:
            sites = self.variable if any(_has_variable(each.value) for each in node.arguments) else self.fixed
            sites.append(Site(field, node, f"{len(self.fixed) + len(self.variable)}"))

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
        """A fragment that is to be looked into."""
        self.spread.add(node.name.value)

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        """`@skip` or `@include`."""
        for each in node.arguments or ():
            if isinstance(each.value, VariableNode):
                self.steering.add(each.value.name.value)


def _has_variable(value: Any) -> bool:
    match value:
        case VariableNode():
            return True
        case ListValueNode(values=values):
            return any(map(_has_variable, values))
        case ObjectValueNode(fields=fields):
            return any(_has_variable(each.value) for each in fields)
        case _:
            return False
