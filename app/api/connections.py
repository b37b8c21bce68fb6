"""Relay connections over keyset cursors: https://relay.dev/graphql/connections.htm."""

import base64
import binascii
import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import strawberry
from graphql import GraphQLError
from sqlalchemy import ColumnElement

from app.api import fields
from app.api.context import Info
from app.db import access, filters, lists
from app.domain import ids, validation
from app.domain.people import Viewer

PAGE_DEFAULT = 20
PAGE_MAXIMUM = 100
CURSOR_MAXIMUM_LENGTH = 2_048

Node = TypeVar("Node")


def bad_input(path: str, message: str) -> GraphQLError:
    """An error for an argument of a query that can't be used; it names the argument."""
    return GraphQLError(f"{path}: {message}", extensions={"code": "BAD_INPUT", "argument": path})


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    """Relay's page info."""

    has_next_page: bool = strawberry.field(description="Whether there is more behind this page.")
    has_previous_page: bool = strawberry.field(description="Whether there is more before this page.")
    start_cursor: str | None = strawberry.field(description="The first row's; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="The last row's: ask for what comes `after` it.")


@strawberry.type(description="A row of a list, and its place.")
class Edge(Generic[Node]):
    """Relay's edge."""

    cursor: str = strawberry.field(description="The place of the row; stable under inserts and deletes.")
    node: Node = strawberry.field(description="The row.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[Node]):
    """Relay's connection; `count` is only run where `totalCount` is asked for."""

    edges: list[Edge[Node]] = strawberry.field(description="The rows with their places.")
    nodes: list[Node] = strawberry.field(description="The rows.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")
    count: strawberry.Private[Callable[[], Any]]

    @strawberry.field(description="How long the whole list is. Costs a statement of its own: ask only where needed.")
    async def total_count(self) -> int:
        """The length of the whole list."""
        return int(await self.count())


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A list of the graph, declared once: its table, what narrows it and what sorts it.

    `narrow` turns what the filter asks for into conditions on the table or an alias of it; `filter_type` and
    `order_type` are the inputs of the two arguments, None where the list does not have them; `has_search`: it has the
    argument `search` in the place of a filter. `shared`: rows are shown by role; otherwise everybody sees them all.
    `unordered`: how it is sorted where nothing is asked for.
    """

    name: str
    table: Any
    filter_type: Any = None
    order_type: Any = None
    orders: Mapping[str, lists.Order] = dataclasses.field(default_factory=dict)
    narrow: Callable[[Any, filters.Filter, Viewer], tuple[ColumnElement[bool], ...]] = lambda *_: ()
    has_search: bool = False
    shared: bool = True
    unordered: lists.Order = filters.NEWEST_FIRST


@dataclasses.dataclass(frozen=True, slots=True)
class Nested:
    """A list that hangs on a parent; `under` gives the condition for a row and the parent's id.

    `inherits`: a role on the parent is one on all that is listed.
    """

    source: Source
    under: Callable[[Any, Any], ColumnElement[bool]]
    inherits: bool = False


def connection(
    source: Source,
    description: str,
    under: Callable[[Any, Any], ColumnElement[bool]] | None = None,
    *,
    inherits: bool = False,
) -> Any:
    """A field that is a connection: at the root, or under the row of its parent; see `Source` and `Nested`."""

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        order = read_order(source, given.get("order_by"))
        window = read_window(source, order, given)
        parent_id = None if under is None else root.row.id
        wanted = read_wanted(given)
        return await connect(info, source, wanted, order, window, parent_id=parent_id, under=under)

    resolve.__signature__ = _signature(source)  # type: ignore[attr-defined]
    resolve.__annotations__ = {each.name: each.annotation for each in _signature(source).parameters.values()}
    return strawberry.field(
        resolver=resolve,
        description=description,
        metadata={fields.DECLARATION: source if under is None else Nested(source, under, inherits)},
    )


async def connect(
    info: Info,
    source: Source,
    wanted: filters.Filter,
    order: lists.Order,
    window: lists.Window,
    *,
    parent_id: UUID | None = None,
    under: Callable[[Any, Any], ColumnElement[bool]] | None = None,
) -> Connection[Any]:
    """Read a page; nested ones are read for all parents at once."""
    loaders = info.context.loaders
    viewer = info.context.viewer

    def listed(rule: Callable[[Any, Viewer], ColumnElement[bool]]) -> lists.Listing:
        seen = (rule(source.table, viewer),) if source.shared else ()
        return lists.Listing(source.table, (*seen, *source.narrow(source.table, wanted, viewer)), under)

    listing = listed(access.listed if under is None else access.visible)
    if parent_id is None:
        page = await loaders.listing(listing, order, window)

        async def count() -> int:
            return await loaders.count(listing if wanted.narrows else listed(access.of_all))
    else:
        # The function that hangs the list on its parent tells two lists of one source apart.
        name = ("page", under, wanted, order, window)
        page = await loaders.batched(
            name, parent_id, lambda session, keys: lists.pages(session, listing, order, window, keys)
        )

        async def count() -> int:
            number: int = await loaders.batched(
                ("count", under, wanted), parent_id, lambda session, keys: lists.counts(session, listing, keys)
            )
            return number

    return _connection(source, order, window, page, count)


def _connection(
    source: Source, order: lists.Order, window: lists.Window, page: lists.Page, count: Callable[[], Any]
) -> Connection[Any]:
    edges = [
        Edge(cursor=_write_cursor(source, order, key, row.id), node=fields.node(row, listed=True))
        for row, key in page.rows
    ]
    beyond_end = page.more if not window.backward else window.before is not None
    beyond_start = page.more if window.backward else window.after is not None
    return Connection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=PageInfo(
            has_next_page=beyond_end,
            has_previous_page=beyond_start,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        count=count,
    )


def read_wanted(given: Mapping[str, Any]) -> filters.Filter:
    """What a list is to be narrowed to.

    Raises:
        GraphQLError: one of the values can't be used.
    """
    if given.get("search") is not None:
        text = read_text("search", given["search"], validation.SEARCH_MAXIMUM_LENGTH)
        return filters.Filter(search=filters.search(ids.Kind.USER, text))
    narrowed = given.get("filter")
    wanted: filters.Filter = filters.Filter() if narrowed is None else narrowed.read()
    return wanted


def read_text(path: str, text: str, maximum: int) -> str:
    """A text to look for, from an argument of a query.

    Raises:
        GraphQLError: it is too long, or can't be in any text.
    """
    if "\0" in text:
        raise bad_input(path, "A text can't hold the NUL character.")
    if len(text) > maximum:
        raise bad_input(path, f"It has {len(text)} characters; at most {maximum} are allowed.")
    return text


def read_order(source: Source, order_by: Any) -> lists.Order:
    """How a list is to be sorted."""
    if order_by is None:
        return source.unordered
    return dataclasses.replace(source.orders[order_by.field.value], descending=order_by.direction.value == "DESC")


def read_window(source: Source, order: lists.Order, given: Mapping[str, Any]) -> lists.Window:
    """Which part of a list is asked for.

    Raises:
        GraphQLError: no such part can be.
    """
    first, last = given.get("first"), given.get("last")
    if first is not None and last is not None:
        raise bad_input("first", "Give first or last, not both.")
    for name, value in (("first", first), ("last", last)):
        if value is not None and not 1 <= value <= PAGE_MAXIMUM:
            raise bad_input(name, f"{value} is not between 1 and {PAGE_MAXIMUM}.")
    places = {
        name: None if given.get(name) is None else _read_cursor(source, order, name, given[name])
        for name in ("after", "before")
    }
    return lists.Window(limit=first or last or PAGE_DEFAULT, backward=last is not None, **places)


def _write_cursor(source: Source, order: lists.Order, key: Any, row_id: UUID) -> str:
    direction = "DESC" if order.descending else "ASC"
    place = [source.name, order.name, direction, lists.key_to_json(key), row_id.hex]
    return base64.urlsafe_b64encode(json.dumps(place, ensure_ascii=False, separators=(",", ":")).encode()).decode()


def _read_cursor(source: Source, order: lists.Order, argument: str, cursor: str) -> lists.Position:
    """The position that a cursor of this very list and order holds."""
    try:
        if len(cursor) > CURSOR_MAXIMUM_LENGTH:
            raise bad_input(argument, "This is no cursor: it is too long.")
        name, ordered_by, direction, key, row_id = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        if (name, ordered_by, direction) != (source.name, order.name, "DESC" if order.descending else "ASC"):
            raise bad_input(argument, "This cursor comes from another list, or from the same list in another order.")
        return lists.Position(order.read(key), UUID(hex=lists.read_text(row_id)))
    except (binascii.Error, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        message = "This is no cursor: hand back one that this list gave, or leave it out."
        raise bad_input(argument, message) from None


def _signature(source: Source) -> inspect.Signature:
    """The arguments that the list has, typed and described: strawberry reads the graph's from it."""
    arguments: dict[str, Any] = {}
    if source.filter_type is not None:
        arguments["filter"] = _argument(source.filter_type, "What the list is narrowed to.")
    if source.has_search:
        description = "Part of the username or display name, regardless of case, or the beginning of the id."
        arguments["search"] = _argument(str, description)
    if source.order_type is not None:
        arguments["order_by"] = _argument(source.order_type, "How the list is sorted; left out: newest first.")
    arguments |= {
        "first": _argument(int, f"So many from the beginning: 1 to {PAGE_MAXIMUM}; {PAGE_DEFAULT} if left out."),
        "after": _argument(str, "Only what comes behind this cursor."),
        "last": _argument(int, f"So many from the end: 1 to {PAGE_MAXIMUM}. Not together with `first`."),
        "before": _argument(str, "Only what comes before this cursor."),
    }
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given = [inspect.Parameter(name, kind, annotation=each, default=None) for name, each in arguments.items()]
    context = [inspect.Parameter("root", kind, annotation=Any), inspect.Parameter("info", kind, annotation=Info)]
    return inspect.Signature([*context, *given])


def _argument(argument_type: Any, description: str) -> Any:
    return Annotated[argument_type | None, strawberry.argument(description=description)]
