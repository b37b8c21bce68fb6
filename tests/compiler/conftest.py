"""Two servers over one database at rest: one with the compiler, one without."""

import asyncio
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.api.compiler import Compiler
from tests import conftest, harness
from tests.compiler import world as worlds
from tests.harness import Slipway

_numbers = itertools.count(1)


@dataclasses.dataclass(slots=True)
class Both:
    """What is there, and the two servers; how many documents had an answer without errors, and from the compiler."""

    world: worlds.World
    on: Slipway
    off: Slipway
    compiled: int = 0
    answered: int = 0
    last_compiled: bool = False

    async def ask(
        self,
        slipway: Slipway,
        token: str,
        document: str,
        variables: dict[str, Any] | None = None,
        operation: str | None = None,
    ) -> tuple[int, str, Any]:
        """Status, media type and body of one of them."""
        response = await slipway.anonymous(token).http.post(
            "/graphql",
            json={"query": document, "variables": variables, "operationName": operation},
            headers={"Authorization": f"Bearer {token}"},
        )
        return _comparable(response.status_code, response.headers["content-type"], response.text)

    async def answers(
        self, viewer: str, document: str, variables: dict[str, Any] | None = None, operation: str | None = None
    ) -> tuple[Any, Any]:
        """Status, media type and body by both ways; one that differs, where what was asked at once does."""
        self.last_compiled = False
        token = self.world.viewers[viewer].token
        slow = await self.ask(self.off, token, document, variables, operation)
        # One by itself, and two that may be answered together.
        asking = (self.ask(self.on, token, document, variables, operation) for _ in range(3))
        found = await asyncio.gather(*asking)
        fast = next((each for each in found if each != slow), slow)
        if all(key != "errors" for key, _ in slow[2]):
            self.answered += 1
            self.compiled += self.last_compiled
        return fast, slow

    async def same(
        self, viewer: str, document: str, variables: dict[str, Any] | None = None, operation: str | None = None
    ) -> Any:
        """Both ways give the same; that is what is answered."""
        fast, slow = await self.answers(viewer, document, variables, operation)
        if fast != slow:
            where = difference(fast[2], slow[2])
            message = f"{where}\n{viewer}: {document}\n{json.dumps(variables)}"
            raise AssertionError(message)
        return fast[2]


def _comparable(status: int, media_type: str, body: str) -> tuple[int, str, Any]:
    """Objects as lists of pairs: their order counts. The id of an error is new each time."""

    def pairs(found: list[tuple[str, Any]]) -> Any:
        return [(key, "…" if key == "errorId" else value) for key, value in found]

    return status, media_type, json.loads(body, object_pairs_hook=pairs)


def difference(one: Any, other: Any, path: str = "") -> str:
    """Where two answers differ first."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            if left != right:
                return difference(left, right, f"{path}/{left[0] if isinstance(left, tuple) else number}")
    return f"{path}: {str(one)[:1500]} is not {str(other)[:1500]}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both(postgresql_dsn: str, template_database: str) -> AsyncIterator[Both]:
    """Built once for a module: nothing changes it."""
    name = f"compiler_{next(_numbers)}"
    await conftest.execute(postgresql_dsn, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY FILE_COPY")
    dsn = conftest.database_dsn(postgresql_dsn, name)
    async with harness.serving(dsn) as on, harness.serving(dsn, compiler=False) as off:
        made = await worlds.build(off)
        on.runtime.written = off.runtime.written
        found = Both(made, on, off)
        answer = Compiler.answer

        async def counted(*given: Any) -> bytes | None:
            data = await answer(*given)
            found.last_compiled = data is not None
            return data

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Compiler, "answer", counted)
            yield found
    await conftest.execute(postgresql_dsn, f"DROP DATABASE {name} WITH (FORCE)")
