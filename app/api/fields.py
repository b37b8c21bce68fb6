"""How a field says where its value comes from: said once, and read by the executor and by whatever compiles queries.

Each helper makes a strawberry field whose metadata holds the declaration under `DECLARATION`.
"""

import dataclasses
from typing import Any

import strawberry

from app.api.context import Info
from app.domain import ids

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
