"""How a statement is written for asyncpg: parameters stay parameters, all other values become part of the text.

What is the same for every request (a status in a rule, say) is better for PostgreSQL's planner as a constant: only so
does it see that a partial index serves.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.elements import BindParameter

from app.api.compiler.arguments import PREFIX


class _Compiler(asyncpg.PGCompiler_asyncpg):
    def visit_bindparam(self, bindparam: BindParameter[Any], *options: Any, **named: Any) -> Any:
        """Write a parameter, or the value in its place."""
        if not bindparam.key.startswith(PREFIX):
            named["literal_binds"] = True
        return super().visit_bindparam(bindparam, *options, **named)  # type: ignore[no-untyped-call]


_DIALECT = asyncpg.PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # SQLAlchemy has no type for it
_DIALECT.statement_compiler = _Compiler


def written(statement: Select[Any]) -> tuple[str, Sequence[str]]:
    """The text, and the names of the parameters $1, $2, … of it."""
    compiled: Any = statement.compile(dialect=_DIALECT)
    return compiled.string, compiled.positiontup or ()
