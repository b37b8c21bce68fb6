"""What a document may ask for at most.

The rule is one class for all requests: a class of its own for each would keep the cache of validated documents from
ever hitting.
"""

import dataclasses
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
    ValueNode,
)

from app.api.connections import PAGE_DEFAULT, PAGE_MAXIMUM

TOKENS_MAXIMUM = 10_000
DEPTH_MAXIMUM = 20
FIELDS_MAXIMUM = 2_000
ALIASES_MAXIMUM = 100
ROWS_MAXIMUM = 200_000
# Of fields that ask a runtime, or write what may be megabytes.
COSTLY_MAXIMUM = 20
COSTLY = frozenset({"logs", "manifest"})


class Bounded(ValidationRule):
    """Depth, number of fields, of aliases, and how many rows, logs and manifests all pages together can come to.

    Fragments are followed where they are spread. A page whose size is a variable counts as the largest one.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._fields = 0
        self._aliases = 0
        self._rows = 0
        self._costly = 0
        self._exceeded = False

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Walk the operation from its top."""
        self._walk(node.selection_set, _Place())

    def _walk(self, selections: SelectionSetNode, place: "_Place") -> None:
        for selection in selections.selections:
            if self._exceeded:
                return
            match selection:
                case FieldNode():
                    self._field(selection, place)
                case InlineFragmentNode():
                    self._walk(selection.selection_set, place)
                case FragmentSpreadNode(name=name) if name.value not in place.within:
                    self._fields += 1  # fragments that hold nothing but fragments count as well
                    fragment: FragmentDefinitionNode | None = self.context.get_fragment(name.value)
                    if fragment is not None:
                        inner = dataclasses.replace(place, within=place.within | {name.value})
                        self._walk(fragment.selection_set, inner)

    def _field(self, field: FieldNode, place: "_Place") -> None:
        self._fields += 1
        self._aliases += field.alias is not None
        ids = _argument(field, "ids")
        is_list = ids is not None or field.name.value in {"edges", "nodes"}
        rows = place.rows * (_length(ids) if ids is not None else place.page if is_list else 1)
        self._rows += rows if is_list else 0
        self._costly += place.rows if field.name.value in COSTLY else 0
        for name, value, maximum in (
            ("levels deep", place.depth, DEPTH_MAXIMUM),
            ("fields", self._fields, FIELDS_MAXIMUM),
            ("aliases", self._aliases, ALIASES_MAXIMUM),
            ("rows, counting full pages,", self._rows, ROWS_MAXIMUM),
            ("logs and manifests, counting full pages,", self._costly, COSTLY_MAXIMUM),
        ):
            if value > maximum:
                message = f"The document asks for {value} {name} at {field.name.value!r}; {maximum} are allowed."
                extensions = {"code": "DOCUMENT_TOO_LARGE"}
                self.report_error(GraphQLError(message, [field], extensions=extensions))
                self._exceeded = True
                return
        if field.selection_set is not None:
            inner = _Place(depth=place.depth + 1, rows=rows, page=_page_size(field), within=place.within)
            self._walk(field.selection_set, inner)


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a selection stands: how deep, under how many rows, in a page of which size, in which fragments."""

    depth: int = 1
    rows: int = 1
    page: int = PAGE_DEFAULT
    within: frozenset[str] = frozenset()


def _argument(field: FieldNode, *names: str) -> ValueNode | None:
    return next((each.value for each in field.arguments or () if each.name.value in names), None)


def _page_size(field: FieldNode) -> int:
    """How many rows the field answers if it is a connection."""
    asked = _argument(field, "first", "last")
    return PAGE_DEFAULT if asked is None else _size(asked)


def _size(value: ValueNode) -> int:
    """A size as it is written; one that no page can have counts as the largest: running it refuses it by name."""
    if not isinstance(value, IntValueNode) or len(value.value) > len(str(PAGE_MAXIMUM)):
        return PAGE_MAXIMUM
    return min(max(int(value.value), 1), PAGE_MAXIMUM)


def _length(ids: ValueNode) -> int:
    return min(len(ids.values), PAGE_MAXIMUM) if isinstance(ids, ListValueNode) else PAGE_MAXIMUM
