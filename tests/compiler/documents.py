"""Documents for both ways of answering: hypothesis-graphql makes them, and here they get what lets them find something.

Hypothesis knows the schema, and no id, no cursor and no tag that is there. So arguments are replaced by such that are,
and some of the document is said in another way that the language has: variables, fragments, aliases, directives.
"""

import copy
import dataclasses
import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import graphql
from graphql import (
    ArgumentNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    NamedTypeNode,
    NameNode,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
)
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies
from hypothesis_graphql import nodes, queries

from tests.api import walk

ROOTS = tuple(walk.fields("Query"))
_SDL = graphql.print_schema(walk.SCHEMA)
_TYPE_NAME = FieldNode(name=NameNode(value="__typename"), alias=None, arguments=(), directives=(), selection_set=None)
_MOMENTS = strategies.sampled_from(["2000-01-01T00:00:00Z", "2026-11-26T00:00:00.5+01:00", "2100-01-01T00:00:00Z"])


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    document: str
    variables: dict[str, Any]
    operation: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What there is to ask for. `cursors` by the list, the order and the direction that they come from."""

    ids: Mapping[str, Sequence[str]]
    values: Mapping[str, Sequence[Any]]
    cursors: Mapping[tuple[str, str, str], Sequence[str]]


@functools.cache
def _of(roots: tuple[str, ...]) -> strategies.SearchStrategy[str]:
    custom_scalars = {"DateTime": _MOMENTS.map(nodes.String)}
    return queries(_SDL, fields=roots, custom_scalars=custom_scalars, allow_x00=False)


def generate(count: int, number: int) -> list[str]:
    """So many documents as hypothesis-graphql makes them: each from one or two fields of the root."""
    made: list[str] = []
    several = strategies.lists(strategies.sampled_from(ROOTS), min_size=1, max_size=2, unique=True)
    texts = several.flatmap(lambda roots: _of(tuple(sorted(roots))))

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(texts)
    def collect(document: str) -> None:
        made.append(document)

    collect()
    return made


def sensible(text: str, known: Known, some: random.Random) -> Request:
    """The document with arguments that find something, in other words."""
    document = graphql.parse(text)
    arguments = _Arguments(known, some)
    type_info = TypeInfo(walk.SCHEMA)
    arguments.type_info = type_info
    document = graphql.visit(document, TypeInfoVisitor(type_info, arguments))
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    rewording = _Rewording(some, arguments.variables)
    operation = dataclasses.replace(
        operation,
        selection_set=rewording.reworded(operation.selection_set, walk.SCHEMA.query_type),
        variable_definitions=tuple(
            _definition(f"${name}: {type_}{default}") for name, (type_, default, _) in rewording.variables.items()
        ),
    )
    name = None
    definitions: list[Any] = [operation, *rewording.fragments]
    if some.random() < 0.1:
        definitions[0] = dataclasses.replace(operation, name=NameNode(value="Asked"))
        definitions.append(graphql.parse("query Another { viewer { id } }").definitions[0])
        name = "Asked"
    variables = {
        name: value for name, (_, default, value) in rewording.variables.items() if not default or some.random() < 0.5
    }
    return Request(graphql.print_ast(DocumentNode(definitions=tuple(definitions))), variables, name)


def _definition(text: str) -> VariableDefinitionNode:
    [operation] = graphql.parse(f"query({text}) {{ __typename }}").definitions
    assert isinstance(operation, OperationDefinitionNode)
    [found] = operation.variable_definitions or ()
    return found


class _Arguments(Visitor):
    """Replaces the arguments of every field; some values go into variables."""

    type_info: TypeInfo

    def __init__(self, known: Known, some: random.Random) -> None:
        super().__init__()
        self._known = known
        self._some = some
        self.variables: dict[str, tuple[str, str, Any]] = {}

    def leave_field(self, node: FieldNode, *_: Any) -> FieldNode:
        """With other arguments."""
        field = self.type_info.get_field_def()
        if field is None or not field.args:
            return node
        given_arguments = self._of(node.name.value, field)
        found = []
        for name, value in given_arguments.items():
            argument = field.args[name]
            if self._some.random() < 0.25 and name != "last":
                found.append(_argument(name, self._variable(argument.type, value)))
            else:
                found.append(_argument(name, graphql.parse_value(walk.literal(value))))
        return dataclasses.replace(node, arguments=tuple(found))

    def _variable(self, type_: Any, value: Any) -> VariableNode:
        name = f"v{len(self.variables)}"
        default = ""
        if self._some.random() < 0.3 and value is not None:
            default = f" = {walk.literal(value)}"
        self.variables[name] = (str(type_), default, _plain(value))
        return VariableNode(name=NameNode(value=name))

    def _of(self, name: str, field: graphql.GraphQLField) -> dict[str, Any]:
        some, found = self._some, {}
        for each, argument in field.args.items():
            if each in walk.PAGING or (not graphql.is_required_argument(argument) and some.random() < 0.5):
                continue
            found[each] = self._value(each, argument.type)
        if "first" in field.args:
            found |= self._page(name, found.get("orderBy"))
        return found

    def _page(self, name: str, order: Any) -> dict[str, Any]:
        some = self._some
        size: dict[str, Any] = some.choice(
            [{}, {"first": some.randint(1, 5)}, {"last": some.randint(1, 4)}, {"first": None}]
        )
        key = (name, "NEWEST", "DESC")
        if isinstance(order, dict):
            key = (name, order["field"].text, order["direction"].text)
        cursors = self._known.cursors.get(key)
        place = some.choice(["after", "before", "", ""])
        return size | ({place: some.choice(cursors)} if cursors and place else {})

    def _value(self, name: str, type_: Any, *, nullable: bool = True) -> Any:
        some = self._some
        if isinstance(type_, graphql.GraphQLNonNull):
            return self._value(name, type_.of_type, nullable=False)
        if nullable and some.random() < 0.07:
            return None
        named = graphql.get_named_type(type_)
        if isinstance(named, graphql.GraphQLEnumType):
            members = [walk.Literal(each) for each in named.values]
            is_list = isinstance(type_, graphql.GraphQLList)
            return some.sample(members, some.randint(0, len(members))) if is_list else some.choice(members)
        match named.name:
            case "Boolean":
                return some.random() < 0.5
            case "DateTime":
                return some.choice(self._known.values["moment"])
            case "TimeRange":
                return {
                    each: self._value(each, named.fields[each].type) for each in ("from", "to") if some.random() < 0.7
                }
            case "Int":
                return some.randint(1, 50)
        if isinstance(named, graphql.GraphQLInputObjectType) and name in {"orderBy", "filter"}:
            return {
                each: value
                for each, input_field in named.fields.items()
                if name == "orderBy" or some.random() < 0.25
                for value in [self._value(each, input_field.type)]
            }
        return copy.deepcopy(some.choice(self._known.values[name]))


class _Rewording:
    """Says the same selections in other ways."""

    def __init__(self, some: random.Random, variables: dict[str, tuple[str, str, Any]]) -> None:
        self._some = some
        self.variables = variables
        self.fragments: list[FragmentDefinitionNode] = []

    def reworded(self, selections: SelectionSetNode, type_: Any) -> SelectionSetNode:
        """The selections, in other words."""
        some = self._some
        found: list[Any] = []
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                found += self._field(selection, type_)
            elif isinstance(selection, InlineFragmentNode):
                inner = walk.SCHEMA.type_map[selection.type_condition.name.value] if selection.type_condition else type_
                found.append(
                    dataclasses.replace(selection, selection_set=self.reworded(selection.selection_set, inner))
                )
        if some.random() < 0.15:
            found.insert(
                0,
                FieldNode(
                    name=NameNode(value="__typename"), alias=None, arguments=(), directives=(), selection_set=None
                ),
            )
        if some.random() < 0.12 and type_ is not walk.SCHEMA.query_type and len(self.fragments) < 5:
            name = f"F{len(self.fragments)}"
            condition = NamedTypeNode(name=NameNode(value=type_.name))
            self.fragments.append(
                FragmentDefinitionNode(
                    name=NameNode(value=name),
                    type_condition=condition,
                    directives=(),
                    variable_definitions=(),
                    selection_set=SelectionSetNode(selections=tuple(found)),
                )
            )
            spread = FragmentSpreadNode(name=NameNode(value=name), directives=self._directives())
            found = [
                FieldNode(
                    name=NameNode(value="__typename"),
                    alias=NameNode(value="kind"),
                    arguments=(),
                    directives=(),
                    selection_set=None,
                ),
                spread,
            ]
            found += [spread] if some.random() < 0.2 else []
        return SelectionSetNode(selections=tuple(found))

    def _field(self, node: FieldNode, type_: Any) -> Iterator[FieldNode]:
        some = self._some
        changed = node
        field = getattr(type_, "fields", {}).get(node.name.value)
        if node.selection_set is not None and field is not None:
            inner = self.reworded(node.selection_set, graphql.get_named_type(field.type))
            changed = dataclasses.replace(changed, selection_set=inner)
        if some.random() < 0.08 and node.alias is None:
            changed = dataclasses.replace(changed, alias=NameNode(value=f"{node.name.value}Again"))
        changed = dataclasses.replace(changed, directives=self._directives())
        yield changed
        if some.random() < 0.05:
            yield changed  # merged with the one before

    def _directives(self) -> tuple[DirectiveNode, ...]:
        some = self._some
        if some.random() > 0.06:
            return ()
        name, value = some.choice(["skip", "include"]), some.random() < 0.5
        condition: Any = graphql.parse_value(walk.literal(value))
        if some.random() < 0.5:
            variable = f"v{len(self.variables)}"
            self.variables[variable] = ("Boolean!", "", value)
            condition = VariableNode(name=NameNode(value=variable))
        return (DirectiveNode(name=NameNode(value=name), arguments=(_argument("if", condition),)),)


def _argument(name: str, value: Any) -> ArgumentNode:
    return ArgumentNode(name=NameNode(value=name), value=value)


def _plain(value: Any) -> Any:
    match value:
        case walk.Literal(text):
            return text
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
    return value


def smaller(text: str) -> Iterator[str]:
    """The document with one selection less, for each that can be left out."""
    document = graphql.parse(text)

    class Without(Visitor):
        """Removes one of the selections that do not stand alone."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.left = number

        def enter_selection_set(self, node: SelectionSetNode, *_: Any) -> SelectionSetNode | None:
            count = len(node.selections) if len(node.selections) > 1 else 0
            self.left -= count
            if not -count <= self.left < 0:
                return None
            position = self.left + count
            self.left = -1_000_000
            return dataclasses.replace(node, selections=(*node.selections[:position], *node.selections[position + 1 :]))

    number = 0
    while True:
        without = Without(number)
        found = graphql.visit(document, without)
        if without.left >= 0:
            return
        yield graphql.print_ast(found)
        number += 1
