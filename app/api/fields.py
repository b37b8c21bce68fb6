"""How a field says where its value comes from: said once, and read by the executor and by whatever compiles queries.

Each helper makes a strawberry field whose metadata holds the declaration under `DECLARATION`. A field without one that
has no resolver is the column of its name. In a declaration a `row` is a table, or an alias of one, or a subquery.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import strawberry

from app.api.context import Context, Info
from app.db.tables import external_ids
from app.domain import ids
from app.domain.people import Viewer

DECLARATION = "slipway"


@dataclasses.dataclass(frozen=True, slots=True)
class Id:
    """The id of the row, with the prefix of its kind."""

    kind: ids.Kind


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column of the row, as it is."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """The one row of another table that a column names.

    `open_to_all`: it leads to what everybody may see, or upwards to what is at least a frame. Otherwise the viewer may
    see it or gets null.
    """

    column: str
    table: Any
    open_to_all: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Pointer:
    """The node that two columns name: the prefix of its kind, one of these, and its id.

    Null where it is gone, or the viewer may not see it.
    """

    kind_column: str
    id_column: str
    kinds: Sequence[ids.Kind]


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """Who asks, when, and where: all of it parameters of a statement that is prepared for everybody."""

    viewer: Viewer
    now: Any
    public_url: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Expression:
    """A value that SQL can tell of a row; `sql` gets the row, the scope and the arguments of the field."""

    sql: Callable[[Any, Scope, Mapping[str, Any]], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Related:
    """Rows of another table that hang on the row: a list in order, or the first of them, or null.

    `on` gets the row, the other row and the scope, and gives conditions. `framed`: none where the row is a frame.
    `listed`: the viewer has a role on what is found. `column`: not rows are listed, but this column of them.
    """

    table: Any
    on: Callable[[Any, Any, Scope], Sequence[Any]]
    order: Callable[[Any], Sequence[Any]] = lambda _: ()
    framed: bool = False
    listed: bool = False
    column: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a select, a list in its order; `select` gets the row, the scope and the arguments of the field.

    `framed`: none where the row is a frame.
    """

    select: Callable[[Any, Scope, Mapping[str, Any]], Any]
    framed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """Whom a grant is for: the user that the row names, else the group, else everyone."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What Python tells, once SQL has given the facts.

    `facts` gets the row and the scope and gives JSON; `tell` gets that JSON, read, the context and the arguments of the
    field, and gives what the graph speaks, or an awaitable of it. `framed`: a row that is a frame has null for facts.
    """

    facts: Callable[[Any, Scope], Any]
    tell: Callable[[Any, Context, Mapping[str, Any]], Any]
    framed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ById:
    """The node whose id is the argument `id`, as far as the viewer may see it; None: of any kind."""

    kind: ids.Kind | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ByIds:
    """The nodes whose ids are the argument `ids`, in that order, null for each that the viewer may not see."""


def external_id(row: Any) -> Any:
    """The id of a row as clients see it, as SQL."""
    return getattr(row, external_ids.COLUMN)


def says(declaration: Any) -> dict[object, Any]:
    """The metadata of a field that has a resolver of its own, and a declaration that says the same."""
    return {DECLARATION: declaration}


# The type of the graph that speaks each table; filled by `speaks`.
NODE_TYPES: dict[Any, Any] = {}


def speaks(table: Any) -> Any:
    """Mark the type that speaks the rows of a table."""

    def register(node_type: Any) -> Any:
        NODE_TYPES[table] = node_type
        return node_type

    return register


def node(row: Any, *, listed: bool = False) -> Any:
    """A row as the graph speaks it. `listed`: it comes from a list, so the viewer has a role on it."""
    return None if row is None else NODE_TYPES[type(row)](row=row, listed=listed)


def id_field(kind: ids.Kind) -> Any:
    """The id of a node."""

    def resolve(root: Any) -> Any:
        return ids.encode(kind, root.row.id)

    del resolve.__annotations__["return"]
    description = f"Opaque to clients; ids sort by creation. It begins with {kind.value}_."
    return strawberry.field(resolver=resolve, description=description, metadata={DECLARATION: Id(kind)})


def column(attribute: Any, description: str) -> Any:
    """A field that is a column of the row."""
    name: str = attribute.key

    def resolve(root: Any) -> Any:
        return getattr(root.row, name)

    del resolve.__annotations__["return"]
    return strawberry.field(resolver=resolve, description=description, metadata={DECLARATION: Column(name)})


def edge(attribute: Any, table: Any, description: str, *, open_to_all: bool = True, name: str | None = None) -> Any:
    """A field that is the row which a column names; null where the column is. `name`: where Python reserves it."""
    column_name: str = attribute.key

    async def resolve(root: Any, info: Info) -> Any:
        key = getattr(root.row, column_name)
        if key is None:
            return None
        loaders = info.context.loaders
        row = await (loaders.row(table, key) if open_to_all else loaders.reachable(table, key))
        return node(row)

    del resolve.__annotations__["return"]
    declaration = Edge(column_name, table, open_to_all)
    return strawberry.field(resolver=resolve, name=name, description=description, metadata={DECLARATION: declaration})


def children(
    table: Any,
    parent: str,
    *order: str,
    description: str,
    speak: Callable[[Any], Any] | None = None,
    column: str = "",
) -> Any:
    """A field that lists the rows of a table which name this one in their column `parent`, sorted by `order`.

    They are spoken by `speak`, or only their `column` is.
    """

    async def resolve(root: Any, info: Info) -> Any:
        rows = await info.context.loaders.children(table, parent, root.row.id, *order)
        return [getattr(row, column) for row in rows] if speak is None else [speak(row) for row in rows]

    del resolve.__annotations__["return"]
    declaration = Related(
        table,
        on=lambda row, target, _: (getattr(target, parent) == row.id,),
        order=lambda target: [getattr(target, each) for each in order],
        column=column or None,
    )
    return strawberry.field(resolver=resolve, description=description, metadata=says(declaration))
