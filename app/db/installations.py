"""Who we are, for runtimes that several installations of Slipway share: what bears another id is none of our business.

Only main asks: whoever starts makes the id where there is none yet.
"""

import uuid

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import select

from app.db import tables
from app.db.database import Database


async def identity(database: Database) -> uuid.UUID:
    """The id of the installation that this database is of: the same for all its servers, for ever."""
    row = tables.InstallationRow
    made = insert(row).values(number=1, id=uuid.uuid4()).on_conflict_do_nothing()
    async with database.transaction() as session:
        await session.exec(made)  # of several servers that start at once, one makes it, and all see that one
        return (await session.exec(select(row.id))).one()
