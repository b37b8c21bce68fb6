"""What only Python can tell of a row, in an answer that SQL writes.

SQL leaves a hole, with the facts in it as JSON, between characters that no JSON text holds; Python fills it. So the
rules stay in one place, and the operation is one statement.
"""

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Protocol
from uuid import UUID

import orjson
from graphql import GraphQLInterfaceType, GraphQLObjectType, get_named_type, is_list_type, is_non_null_type
from graphql.execution.collect_fields import FieldDetails
from strawberry.types.field import StrawberryField

from app.api import judged
from app.api.context import Context
from app.api.scalars import write_time
from app.domain import lifecycle

BEGIN, FACTS, END = "\x01", "\x02", "\x03"

Texts = Mapping[UUID, Mapping[str, orjson.Fragment]]
"""Of things by their ids: what SQL wrote of them, by the keys under which it is asked for."""
Fill = Callable[[bytes], Awaitable[bytes]]
Speak = Callable[[Any, Texts], Any]
"""Writes a value as the selection asks for it."""


class Hole(Protocol):
    """Tells what a hole is filled with, as orjson takes it."""

    async def __call__(self, facts: Any, context: Context, fill: Fill) -> Any:
        """`fill` fills the holes in a text that is among the facts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A field that says by itself what it tells of the facts."""

    tell: Callable[[Any, Context, Mapping[str, Any]], Any]
    speak: Speak
    given: Mapping[str, Any]

    async def __call__(self, facts: Any, context: Context, fill: Fill) -> Any:  # noqa: ARG002  as all holes
        """See `Hole`."""
        told = self.tell(facts, context, self.given)
        return self.speak(await told if inspect.isawaitable(told) else told, {})


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """The actions on a thing. `keys`: under which names the nodes that block are asked for."""

    declaration: judged.Judged
    speak: Speak
    keys: Sequence[str]

    async def __call__(self, facts: Any, context: Context, fill: Fill) -> Any:
        """See `Hole`."""
        texts: dict[UUID, dict[str, orjson.Fragment]] = {}
        things: dict[str, lifecycle.Things] = {}
        for name, blockings in self.declaration.things.items():
            found: list[Any] = []
            hidden_count = 0
            for blocking, (named, hidden) in zip(blockings, facts[name], strict=True):
                hidden_count += int(hidden)
                for thing_id, *written in named:
                    thing = UUID(thing_id)
                    found.append((blocking.kind, thing))
                    texts[thing] = {
                        key: orjson.Fragment(await fill(each.encode()))
                        for key, each in zip(self.keys, written, strict=True)
                    }
            things[name] = lifecycle.Things(tuple(found), hidden_count)
        judgement = self.declaration.facts(facts, things)
        states = judged.states(self.declaration, judgement, read_only=context.viewer.read_only)
        return self.speak(states, texts)


def leaf(value: Any, _: Texts) -> Any:
    """A scalar or an enum."""
    if isinstance(value, datetime):
        return write_time(value)
    return value.value if isinstance(value, Enum) else value


def listed(speak: Speak) -> Speak:
    """What writes a list of what `speak` writes."""
    return lambda value, texts: [speak(each, texts) for each in value]


def constant(text: str) -> Speak:
    """What writes this, whatever there is."""
    return lambda _, __: text


def nodes(key: str) -> Speak:
    """What writes the things of a blocker, as SQL wrote them under this key."""
    return lambda things, texts: [texts[thing_id][key] for _, thing_id in things]


def members(found: Sequence[tuple[str, str, Speak]]) -> Speak:
    """What writes an object: its keys, each with the attribute that it stands for and what writes that."""

    def speak(value: Any, texts: Texts) -> Any:
        return {key: how(getattr(value, name, None), texts) for key, name, how in found}

    return speak


Selected = Callable[[Any, Sequence[FieldDetails]], Mapping[str, Sequence[FieldDetails]]]
"""What is selected of a type, by keys."""


def speaker(type_: Any, details: Sequence[FieldDetails], selected: Selected) -> Speak:
    """What writes a value of this type that Python told, as the selection asks for it."""
    if is_non_null_type(type_):
        return speaker(type_.of_type, details, selected)
    if is_list_type(type_):
        return listed(speaker(type_.of_type, details, selected))
    if not isinstance(type_, GraphQLObjectType):
        return leaf
    found: list[tuple[str, str, Speak]] = []
    for key, chosen in selected(type_, details).items():
        name = chosen[0].node.name.value
        if name == "__typename":
            found.append((key, "", constant(type_.name)))
        elif isinstance(get_named_type(type_.fields[name].type), GraphQLInterfaceType):
            found.append((key, "things", nodes(key)))
        else:
            definition: StrawberryField = type_.fields[name].extensions["strawberry-definition"]
            found.append((key, definition.python_name, speaker(type_.fields[name].type, chosen, selected)))
    return members(found)


async def fill(data: bytes, holes: Sequence[Hole], context: Context) -> bytes:
    """Fill the holes in an answer.

    Raises:
        GraphQLError: a field can't tell, and says why; where it stands in the answer is not known here.
    """
    if not holes:
        return data

    async def fill_inner(inner: bytes) -> bytes:
        return await fill(inner, holes, context)

    first, *pieces = data.split(BEGIN.encode())
    filled = [first]
    for piece in pieces:
        hole, _, rest = piece.partition(END.encode())
        number, _, facts = hole.partition(FACTS.encode())
        told = await holes[int(number)](orjson.loads(facts), context, fill_inner)
        filled += (orjson.dumps(told), rest)
    return b"".join(filled)
