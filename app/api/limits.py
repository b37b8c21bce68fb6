"""What a document may ask for at most.

The rule is one class for all requests: a class of its own for each would keep the cache of validated documents from
ever hitting.
"""

from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
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


class Bounded(ValidationRule):
    """Depth, number of fields, number of aliases, and how many rows the nested pages can come to.

    Fragments are followed where they are spread. A page whose size is a variable counts as the largest one.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._fields = 0
        self._aliases = 0
        self._exceeded = False

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Walk the operation from its top."""
        self._walk(node.selection_set, depth=1, rows=1, within=frozenset(), operation=node)

    def _walk(
        self,
        selections: SelectionSetNode,
        *,
        depth: int,
        rows: int,
        within: frozenset[str],
        operation: OperationDefinitionNode,
    ) -> None:
        for selection in selections.selections:
            if self._exceeded:
                return
            match selection:
                case FieldNode():
                    self._field(selection, depth=depth, rows=rows, within=within, operation=operation)
                case InlineFragmentNode():
                    self._walk(selection.selection_set, depth=depth, rows=rows, within=within, operation=operation)
                case FragmentSpreadNode(name=name) if name.value not in within:
                    self._fields += 1  # fragments that hold nothing but fragments count as well
                    fragment: FragmentDefinitionNode | None = self.context.get_fragment(name.value)
                    if fragment is not None:
                        inner = within | {name.value}
                        body = fragment.selection_set
                        self._walk(body, depth=depth, rows=rows, within=inner, operation=operation)

    def _field(
        self,
        field: FieldNode,
        *,
        depth: int,
        rows: int,
        within: frozenset[str],
        operation: OperationDefinitionNode,
    ) -> None:
        self._fields += 1
        self._aliases += field.alias is not None
        rows *= _page_size(field)
        for name, value, maximum in (
            ("levels deep", depth, DEPTH_MAXIMUM),
            ("fields", self._fields, FIELDS_MAXIMUM),
            ("aliases", self._aliases, ALIASES_MAXIMUM),
            ("rows, counting full pages,", rows, ROWS_MAXIMUM),
        ):
            if value > maximum:
                message = f"The document asks for {value} {name} at {field.name.value!r}; {maximum} are allowed."
                extensions = {"code": "DOCUMENT_TOO_LARGE"}
                self.report_error(GraphQLError(message, [field], extensions=extensions))
                self._exceeded = True
                return
        if field.selection_set is not None:
            body = field.selection_set
            self._walk(body, depth=depth + 1, rows=rows, within=within, operation=operation)


def _page_size(field: FieldNode) -> int:
    """How many rows a connection can answer; 1 for any other field."""
    inner = field.selection_set
    if inner is None or not any(
        isinstance(each, FieldNode) and each.name.value in {"edges", "nodes"} for each in inner.selections
    ):
        return 1
    for argument in field.arguments or ():
        if argument.name.value in {"first", "last"}:
            return _size(argument.value)
    return PAGE_DEFAULT


def _size(value: ValueNode) -> int:
    """A size as it is written; one that no page can have counts as the largest: running it refuses it by name."""
    if not isinstance(value, IntValueNode) or len(value.value) > len(str(PAGE_MAXIMUM)):
        return PAGE_MAXIMUM
    return min(max(int(value.value), 1), PAGE_MAXIMUM)
