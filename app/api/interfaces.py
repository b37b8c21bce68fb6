"""What all nodes share."""

from typing import Any

import strawberry


@strawberry.interface(description="Everything that has an id.")
class Node:
    """A row, spoken. `listed`: it comes from a list, so the viewer has a role on it."""

    id: strawberry.ID = strawberry.field(
        description="Opaque to clients, sortable by creation; its prefix names the type."
    )
    row: strawberry.Private[Any]
    listed: strawberry.Private[bool] = False
