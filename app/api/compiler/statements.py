"""How a selection becomes a statement: each object is a text that SQL puts together, each list an aggregate of those.

Every table that is read has an alias of its own, so that a rule can name the same table inside without ambiguity, and
every select names only its own alias in FROM (`correlate_except`), however deep it stands.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_named_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues
from sqlalchemy import (
    DateTime,
    Text,
    case,
    cast,
    column as sql_column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from strawberry.types.field import StrawberryField

from app.api import fields, judged
from app.api.compiler import holes, text
from app.api.compiler.arguments import CanNotCompileError, Given, Paging
from app.api.compiler.pages import COMMA, Page, Row
from app.api.compiler.text import Parts, constant, joined, or_null
from app.api.connections import Nested, Source
from app.api.fields import (
    DECLARATION,
    NODE_TYPES,
    ById,
    ByIds,
    Column,
    Edge,
    Expression,
    Id,
    Pointer,
    Related,
    Rows,
    Scope,
    Subject,
    Told,
)
from app.api.finding import TABLES
from app.api.people import EVERYONE
from app.db import access, filters, lists, tables
from app.db.aliases import Alias
from app.domain import ids, lifecycle
from app.domain.people import Viewer


class Writer:
    """Writes the statement of one operation, for arguments of one shape.

    `looks_up`: it asks for one thing by its id, and `rows`: for so many below it, if all pages are full.
    `begins_with_grants`: a list begins with all that the viewer sees.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        given: Callable[[GraphQLField, FieldNode], Given],
        scope: Scope,
    ) -> None:
        self.schema = schema
        self.operation = operation
        self.fragments = {name: FragmentDetails(fragment) for name, fragment in fragments.items()}
        self.variables = variables
        self.given = given
        self.scope = scope
        self.holes: list[holes.Hole] = []
        self.pages = 0
        self.rows = 0
        self._rows_around = 1
        self.begins_with_grants = False
        self.looks_up = False
        self._write: Mapping[type, Callable[..., Parts]] = {
            Id: self._id,
            Column: self._column,
            Edge: self._edge,
            Pointer: self._pointer,
            Related: self._related,
            Rows: self._rows,
            Expression: self._expression,
            Subject: self._subject,
            Source: self._list_of_all,
            Nested: self._list_under,
            ById: self._by_id,
            ByIds: self._by_ids,
            judged.Judged: self._judged,
            Told: self._told,
        }

    def statement(self) -> Any:
        """The whole statement: one row with one value, the body of the answer as JSON text in UTF-8."""
        query = self.schema.query_type
        assert query is not None  # noqa: S101  the schema has one
        collected = collect_fields(self.schema, self.fragments, self.variables, query, self.operation)
        asked = [query.fields.get(details[0].node.name.value) for details in collected.grouped_field_set.values()]
        self.looks_up = [isinstance(_declaration(each), ById) for each in asked] == [True]
        parts = self._members(query, collected.grouped_field_set, None)
        return select(func.convert_to(joined(['{"data":', *parts, "}"]), constant("UTF8")))

    def _object(self, type_: Any, details: Sequence[FieldDetails], row: Any) -> Parts:
        return self._members(type_, self._selected(type_, details), row)

    def _selected(self, type_: Any, details: Sequence[FieldDetails]) -> Mapping[str, list[FieldDetails]]:
        collected = collect_subfields(self.schema, self.fragments, self.variables, self.operation, type_, list(details))
        return collected.grouped_field_set

    def _members(self, type_: Any, grouped: Mapping[str, list[FieldDetails]], row: Row | None) -> Parts:
        return text.members(type_.name, grouped, lambda _, details: self._field(type_, details, row))

    def _field(self, type_: GraphQLObjectType, details: Sequence[FieldDetails], row: Any) -> Parts:
        node = details[0].node
        field = type_.fields.get(node.name.value)
        if field is None:
            raise CanNotCompileError(node.name.value)  # introspection
        definition: StrawberryField = field.extensions["strawberry-definition"]
        declaration = _declaration(field)
        if declaration is None:
            if definition.base_resolver is not None or row is None:
                message = f"{type_.name}.{node.name.value}"
                raise CanNotCompileError(message)
            declaration = Column(definition.python_name)
        write = self._write.get(type(declaration))
        if write is None:
            raise CanNotCompileError(repr(declaration))
        return write(declaration, field, details, row)

    def _id(self, _: Id, __: GraphQLField, ___: Sequence[FieldDetails], row: Any) -> Parts:
        return ['"', fields.external_id(row.source), '"']

    def _expression(
        self, declaration: Expression, field: GraphQLField, details: Sequence[FieldDetails], row: Any
    ) -> Parts:
        value = declaration.sql(row.source, self.scope, self.given(field, details[0].node).read)
        return text.scalar(value, nullable=not is_non_null_type(field.type))

    def _told(self, declaration: Told, field: GraphQLField, details: Sequence[FieldDetails], row: Any) -> Parts:
        given = self.given(field, details[0].node).read
        hole = holes.Told(declaration.tell, holes.speaker(field.type, details, self._selected), given)
        facts = declaration.facts(None if row is None else row.source, self.scope)
        return self._hole(hole, self._unless_frame(facts, row) if declaration.framed else facts)

    # Values of the row

    def _column(self, declaration: Column, field: GraphQLField, details: Sequence[FieldDetails], row: Any) -> Parts:
        name = declaration.name
        value = row.column(name)
        item_type = get_named_type(field.type)
        if isinstance(value.type, JSONB) and isinstance(item_type, GraphQLObjectType):
            return self._elements(value, item_type, details)
        nullable = row.nullable(name)
        if nullable and is_non_null_type(field.type):
            message = f"{name} may be NULL"
            raise CanNotCompileError(message)
        return text.scalar(value, nullable=nullable)

    def _elements(self, value: Any, item_type: GraphQLObjectType, details: Sequence[FieldDetails]) -> Parts:
        """A list of JSON objects, whose keys are the names of the fields."""
        items: Any = (
            func.jsonb_array_elements(value)
            .table_valued(sql_column("value", JSONB), with_ordinality="number", joins_implicitly=True)
            .render_derived()
        )

        def write(name: str, _: Sequence[FieldDetails]) -> Parts:
            element = items.c.value[name]
            if get_named_type(item_type.fields[name].type).name == "DateTime":
                return text.scalar(cast(element.astext, DateTime(timezone=True)), nullable=True)
            return [or_null(cast(element, Text))]

        parts = text.members(item_type.name, self._selected(item_type, details), write)
        listed = select(func.string_agg(joined(parts), aggregate_order_by(COMMA, items.c.number)))
        return text.listed(listed.select_from(items).correlate_except(items).scalar_subquery())

    # Rows of other tables

    def _edge(self, declaration: Edge, field: GraphQLField, details: Sequence[FieldDetails], row: Any) -> Parts:
        target = Alias(declaration.table)
        conditions = [target.id == row.column(declaration.column)]
        if not declaration.open_to_all:
            conditions.append(access.reachable(target, self.scope.viewer))
        target_row = Row(target, alone=row.alone)
        found = self._one(target, conditions, self._object(get_named_type(field.type), details, target_row))
        return [found] if is_non_null_type(field.type) else [or_null(found)]

    def _one(self, target: Any, conditions: Sequence[Any], parts: Parts, *order: Any) -> Any:
        found = select(joined(parts)).where(*conditions).correlate_except(target)
        if order:
            found = found.order_by(*order).limit(literal_column("1"))
        return found.scalar_subquery()

    def _related(self, declaration: Related, field: GraphQLField, details: Sequence[FieldDetails], row: Any) -> Parts:
        target = Alias(declaration.table)
        conditions = declaration.on(None if row is None else row.source, target, self.scope)
        order = declaration.order(target)
        target_row = Row(target, declaration.listed)
        if declaration.column is not None:
            parts = text.scalar(target_row.column(declaration.column), nullable=False)
        else:
            parts = self._object(get_named_type(field.type), details, target_row)
        if not _is_list(field):
            found = self._one(target, conditions, parts, *order)
            return [found] if is_non_null_type(field.type) else [or_null(found)]
        listed = select(func.string_agg(joined(parts), aggregate_order_by(COMMA, *order)))
        found = listed.where(*conditions).correlate_except(target).scalar_subquery()
        return self._list(found, row, framed=declaration.framed)

    def _rows(self, declaration: Rows, field: GraphQLField, details: Sequence[FieldDetails], row: Any) -> Parts:
        given = self.given(field, details[0].node).read
        rows = declaration.select(None if row is None else row.source, self.scope, given).subquery()
        parts = self._object(get_named_type(field.type), details, Row(rows))
        found = select(func.string_agg(joined(parts), COMMA)).select_from(rows).correlate_except(rows)
        return self._list(found.scalar_subquery(), row, framed=declaration.framed)

    def _list(self, found: Any, row: Row | None, *, framed: bool) -> Parts:
        return text.listed(self._unless_frame(found, row) if framed and row is not None else found)

    def _unless_frame(self, value: Any, row: Row) -> Any:
        """The value; NULL where the viewer has no role on the row."""
        return value if row.listed else case((self._seen(row), value))

    def _seen(self, row: Row) -> Any:
        """Whether the viewer has a role on the row."""
        return access.visible(row.source, self._viewer(row)) if row.seen is None else row.seen

    def _viewer(self, row: Row) -> Viewer:
        """Who asks, for a rule about this row."""
        return access.looking_up(self.scope.viewer) if row.alone else self.scope.viewer

    def _subject(self, _: Subject, field: GraphQLField, details: Sequence[FieldDetails], row: Any) -> Parts:
        types = {each.name: each for each in self.schema.get_possible_types(get_named_type(field.type))}  # type: ignore[arg-type]
        user = Alias(tables.UserRow)
        of_user = self._one(user, [user.id == row.column("user_id")], self._object(types["User"], details, Row(user)))
        group = row.column("group_name")
        of_group = self._constants(types["Group"], details, {"name": func.to_json(group)})
        everyone = self._constants(types["Everyone"], details, {"label": constant(f'"{EVERYONE}"')})
        return [
            case(
                (row.column("user_id").is_not(None), of_user),
                (group.is_not(None), joined(of_group)),
                else_=joined(everyone),
            )
        ]

    def _constants(self, type_: Any, details: Sequence[FieldDetails], values: Mapping[str, Any]) -> Parts:
        return text.members(type_.name, self._selected(type_, details), lambda name, _: [values[name]])

    # Nodes by their ids

    def _node(self, kind: ids.Kind, value: Any, details: Sequence[FieldDetails], *, alone: bool) -> Any:
        """A node by its id; NULL where it is absent or the viewer may not see it."""
        table = TABLES[kind]
        viewer = self.scope.viewer
        row = Row(Alias(table), listed=viewer.admin, alone=alone)
        target = row.source
        read: list[Any] = [target]
        conditions = [target.id == value]
        match kind:
            case ids.Kind.API_TOKEN:
                conditions.append(target.user_id == viewer.user_id)
            case ids.Kind.REPLACEMENT:
                workload = Alias(tables.WorkloadRow)
                of: Any = select(true()).where(workload.id == target.workload_id, access.reachable(workload, viewer))
                conditions.append(of.correlate_except(workload).exists())
            case ids.Kind.CONTAINER:
                artifact = Alias(tables.ArtifactRow)
                role = select(access.role(artifact, viewer)).where(artifact.id == target.artifact_id)
                conditions.append(role.correlate_except(artifact).scalar_subquery().is_not(None))
            case ids.Kind.USER:
                pass
            case _ if alone and not viewer.admin:
                # Worked out once. OFFSET keeps PostgreSQL from doing it wherever it is asked for.
                seen: Any = select(self._seen(row).label("seen")).offset(literal_column("0"))
                once: Any = seen.correlate(target).lateral()
                read.append(once)
                row = dataclasses.replace(row, seen=once.c.seen)
                conditions.append(access.reachable(target, viewer, once.c.seen))
            case _:
                conditions.append(access.reachable(target, viewer))
        # In this order: what is worked out once reads the row.
        found: Any = select(joined(self._object(self._type_of(table), details, row))).select_from(*read)
        return found.where(*conditions).correlate_except(*read).scalar_subquery()

    def _type_of(self, table: Any) -> Any:
        """The type of the graph that speaks a table."""
        return self.schema.type_map[NODE_TYPES[table].__strawberry_definition__.name]

    def _by_id(self, _: ById, field: GraphQLField, details: Sequence[FieldDetails], __: Any) -> Parts:
        kind, value = self.given(field, details[0].node).read
        return [or_null(self._node(kind, value, details, alone=True))]

    def _by_ids(self, _: ByIds, field: GraphQLField, details: Sequence[FieldDetails], __: Any) -> Parts:
        kinds, names, values = self.given(field, details[0].node).read
        asked: Any = (
            func.unnest(values, names)
            .table_valued(sql_column("id"), sql_column("kind", Text), with_ordinality="number", joins_implicitly=True)
            .render_derived(name="asked")
        )
        found = self._node_of(kinds, asked.c.kind, asked.c.id, details)
        listed = select(func.string_agg(found, aggregate_order_by(COMMA, asked.c.number))).select_from(asked)
        return text.listed(listed.correlate_except(asked).scalar_subquery())

    def _pointer(self, declaration: Pointer, _: GraphQLField, details: Sequence[FieldDetails], row: Any) -> Parts:
        kind, value = row.column(declaration.kind_column), row.column(declaration.id_column)
        return [self._node_of(declaration.kinds, kind, value, details)]

    def _node_of(self, kinds: Sequence[ids.Kind], kind: Any, value: Any, details: Sequence[FieldDetails]) -> Any:
        """A node of any of these kinds, by the prefix of its kind and its id; null where it is none of them."""
        choices = [(kind == each.value, self._node(each, value, details, alone=False)) for each in kinds]
        return or_null(case(*choices)) if choices else constant("null")

    # Pages

    def _list_of_all(self, source: Source, field: GraphQLField, details: Sequence[FieldDetails], _: Any) -> Parts:
        viewer = self.scope.viewer

        def conditions(each: Any) -> tuple[Any, ...]:
            return (access.listed(each, viewer),) if source.shared else ()

        # A list that begins with what the viewer sees goes through no index.
        begins_with_grants = source.shared and viewer.sees_little
        self.begins_with_grants |= begins_with_grants

        def of_all(each: Any) -> tuple[Any, ...]:
            return (access.of_all(each, viewer),) if source.shared else ()

        return self._page(source, conditions, field, details, of_all, walks=not begins_with_grants)

    def _list_under(self, declaration: Nested, field: GraphQLField, details: Sequence[FieldDetails], row: Any) -> Parts:
        def conditions(each: Any) -> tuple[Any, ...]:
            under = declaration.under(each, row.source.id)
            if not declaration.inherits:
                return (under, *self._shared(declaration.source, each))
            return (under,) if row.listed else (under, access.inherited(self._seen(row), each, self._viewer(row)))

        return self._page(declaration.source, conditions, field, details)

    def _shared(self, source: Source, row: Any) -> tuple[Any, ...]:
        return (access.visible(row, self.scope.viewer),) if source.shared else ()

    def _page(
        self,
        source: Source,
        base: Callable[[Any], tuple[Any, ...]],
        field: GraphQLField,
        details: Sequence[FieldDetails],
        of_all: Callable[[Any], tuple[Any, ...]] | None = None,
        *,
        walks: bool = True,
    ) -> Parts:
        """A connection: an inner select reads the rows of the page, and an outer one lists them.

        `base` gives what holds for a row whatever is asked for; `of_all` the same, where all rows are counted.
        """
        paging: Paging = self.given(field, details[0].node).read
        order, window = paging.order, paging.window
        counted_by = base if of_all is None or paging.wanted.narrows else of_all
        target = Alias(source.table)
        viewer = self.scope.viewer

        def conditions(row: Any, wanted: filters.Filter) -> list[Any]:
            return [*base(row), *source.narrow(row, wanted, viewer)]

        type_: Any = get_named_type(field.type)
        asked = self._selected(type_, details)
        self.pages += 1
        more = self._asks_for_more(type_, asked, window)
        page = Page(f"page_{self.pages}", source, order, window, Row(target, listed=True), more)

        def write(name: str, nodes: Sequence[FieldDetails]) -> Parts:
            inner_type: Any = get_named_type(type_.fields[name].type)
            match name:
                case "totalCount":
                    counted = Alias(source.table)
                    narrowed = source.narrow(counted, paging.wanted, viewer)
                    count = select(func.count()).select_from(counted).where(*counted_by(counted), *narrowed)
                    return [count.correlate_except(counted).scalar_subquery()]
                case "nodes":
                    return page.listed(self._object(inner_type, nodes, page.row))
                case "edges":
                    return page.listed(self._page_edge(page, inner_type, nodes))
                case _:
                    selected = self._selected(inner_type, nodes)
                    return text.members(inner_type.name, selected, lambda each, _: page.info(each))

        rows_around = self._rows_around
        self._rows_around *= window.limit
        self.rows += self._rows_around
        parts = text.members(type_.name, asked, write)
        self._rows_around = rows_around
        if not page.columns:
            return parts
        wanted = dataclasses.replace(paging.wanted, walk=lists.walk(order, window) if walks else None)
        inner = page.select([*conditions(target, wanted), *lists.within(target, order, window)])

        def read(some: Parts) -> Any:
            return select(joined(some)).select_from(inner).correlate_except(inner).scalar_subquery()

        made = [number for number, part in enumerate(parts) if not isinstance(part, str)]
        if len(made) > 1:
            return [read(parts)]
        # What is constant goes into the text around it, without being written twice.
        [only] = made
        return [*parts[:only], read([parts[only]]), *parts[only + 1 :]]

    def _asks_for_more(self, type_: Any, asked: Mapping[str, Sequence[FieldDetails]], window: lists.Window) -> bool:
        """Whether it matters that there is a row behind the page."""
        infos = [each for nodes in asked.values() if nodes[0].node.name.value == "pageInfo" for each in nodes]
        if not infos:
            return False
        wanted = "hasPreviousPage" if window.backward else "hasNextPage"
        info_type = get_named_type(type_.fields["pageInfo"].type)
        return any(nodes[0].node.name.value == wanted for nodes in self._selected(info_type, infos).values())

    def _page_edge(self, page: Page, type_: Any, details: Sequence[FieldDetails]) -> Parts:
        def write(name: str, nodes: Sequence[FieldDetails]) -> Parts:
            if name == "cursor":
                return ['"', page.row_cursor(), '"']
            return self._object(get_named_type(type_.fields["node"].type), nodes, page.row)

        return text.members(type_.name, self._selected(type_, details), write)

    # What Python tells

    def _judged(
        self, declaration: judged.Judged, field: GraphQLField, details: Sequence[FieldDetails], row: Any
    ) -> Parts:
        type_: Any = get_named_type(field.type)
        blockers: list[FieldDetails] = []
        for nodes in self._selected(type_, details).values():
            blockers += nodes if nodes[0].node.name.value == "blockers" else []
        blocker_type: Any = get_named_type(type_.fields["blockers"].type)
        asked = self._selected(blocker_type, blockers) if blockers else {}
        named = {key: nodes for key, nodes in asked.items() if nodes[0].node.name.value == "nodes"}
        facts: list[Any] = []
        for name, value in declaration.told(row.source, self.scope).items():
            facts += [constant(name), value]
        for name, blockings in declaration.things.items():
            things = [self._blocking(each, row, list(named.values())) for each in blockings]
            facts += [constant(name), func.json_build_array(*things)]
        speak = holes.speaker(field.type, details, self._selected)
        return self._hole(holes.Judged(declaration, speak, tuple(named)), func.json_build_object(*facts))

    def _blocking(self, blocking: judged.Blocking, row: Row, selections: Sequence[Sequence[FieldDetails]]) -> Any:
        """Things that may block, as `holes.Judged` reads them: the newest, and how many the viewer may not see."""
        table = TABLES[blocking.kind]
        target = Alias(table)
        seen = access.visible(target, self.scope.viewer)
        counted = select(func.count()).select_from(target).where(*blocking.on(row.source, target), ~seen)
        hidden = constant("0") if self.scope.viewer.admin else counted.correlate_except(target).scalar_subquery()
        newest = Alias(table)
        texts = [joined(self._object(self._type_of(table), each, Row(newest))) for each in selections]
        found = (
            select(func.json_build_array(newest.id, *texts).label("thing"), newest.id.label("id"))
            .where(*blocking.on(row.source, newest), access.visible(newest, self.scope.viewer))
            .order_by(newest.id.desc())
            .limit(literal_column(str(lifecycle.NAMED_THINGS_MAXIMUM)))
            .correlate_except(newest)
            .subquery()
        )
        listed = select(func.json_agg(aggregate_order_by(found.c.thing, found.c.id.desc()))).select_from(found)
        things = func.coalesce(listed.correlate_except(found).scalar_subquery(), literal_column("'[]'::json"))
        return func.json_build_array(things, cast(hidden, Text))

    def _hole(self, hole: holes.Hole, facts: Any) -> Parts:
        self.holes.append(hole)
        return [f"{holes.BEGIN}{len(self.holes) - 1}{holes.FACTS}", or_null(cast(facts, Text)), holes.END]


def _is_list(field: GraphQLField) -> bool:
    type_ = field.type.of_type if is_non_null_type(field.type) else field.type
    return is_list_type(type_)


def _declaration(field: GraphQLField | None) -> Any:
    """Where the value of a field comes from."""
    return field and field.extensions["strawberry-definition"].metadata.get(DECLARATION)
