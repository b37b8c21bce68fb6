"""How a statement is written for asyncpg: parameters stay parameters, all other values become part of the text.

What is the same for every request (a status in a rule, say) is better for PostgreSQL's planner as a constant: only so
does it see that a partial index serves.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Select, bindparam as parameter, func, select
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.elements import BindParameter

from app.api.compiler.arguments import OF_ALL, OF_VIEWER, PREFIX
from app.db.gathering import Together


class _Compiler(asyncpg.PGCompiler_asyncpg):
    def visit_bindparam(self, bindparam: BindParameter[Any], *options: Any, **named: Any) -> Any:
        """Write a parameter, or the value in its place."""
        if not bindparam.key.startswith(PREFIX):
            named["literal_binds"] = True
        return super().visit_bindparam(bindparam, *options, **named)  # type: ignore[no-untyped-call]


class _CompilerOfMany(_Compiler):
    def visit_bindparam(self, bindparam: BindParameter[Any], *options: Any, **named: Any) -> Any:
        """Write a parameter that is another one for each as what stands in the row of `given`."""
        if bindparam.key.startswith(PREFIX) and not bindparam.key.startswith((OF_VIEWER, OF_ALL)):
            return f"given.{bindparam.key}"
        return super().visit_bindparam(bindparam, *options, **named)


_DIALECT = asyncpg.PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # SQLAlchemy has no type for it
_DIALECT.statement_compiler = _Compiler
_DIALECT_OF_MANY = asyncpg.PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # the same
_DIALECT_OF_MANY.statement_compiler = _CompilerOfMany


def written(statement: Select[Any]) -> tuple[str, Sequence[str]]:
    """The text, and the names of the parameters $1, $2, … of it."""
    compiled: Any = statement.compile(dialect=_DIALECT)
    return compiled.string, compiled.positiontup or ()


def written_together(statement: Select[Any]) -> Together | None:
    """The same for many of one viewer, if each of its other parameters is one value."""
    alone: Any = statement.compile(dialect=_DIALECT)
    places = {name: place for place, name in enumerate(alone.positiontup)}
    various = [alone.binds[name] for name in places if not name.startswith(OF_VIEWER)]
    if not various or any(isinstance(each.type, ARRAY) for each in various):
        return None
    given: Any = (
        func.unnest(*(parameter(f"{OF_ALL}{each.key}", type_=ARRAY(each.type)) for each in various))
        .table_valued(*(each.key for each in various), with_ordinality="number")
        .render_derived(name="given")
    )
    compiled: Any = select(given.c.number, statement.scalar_subquery()).compile(dialect=_DIALECT_OF_MANY)
    arguments = [(places[name.removeprefix(OF_ALL)], name.startswith(OF_ALL)) for name in compiled.positiontup]
    return Together(compiled.string, arguments)
