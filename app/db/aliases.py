"""Aliases of tables, for statements that read one table in several places."""

from typing import Any


class Alias:
    """An alias of a table, with its columns as attributes.

    What `sqlalchemy.orm.aliased` makes can be read as objects as well, which makes writing SQL with it slow.
    """

    def __init__(self, entity: Any) -> None:
        self.entity = entity
        self.selectable = entity.__table__.alias()

    def __getattr__(self, name: str) -> Any:
        try:
            return self.selectable.c[name]
        except KeyError:
            raise AttributeError(name) from None

    def __clause_element__(self) -> Any:
        return self.selectable
