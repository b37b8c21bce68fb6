"""How much a viewer sees decides how lists are read, and nothing of what they hold."""

import dataclasses
from typing import Any

import pytest

from app.actions import people
from app.domain.people import Viewer
from app.web import authentication
from tests.compiler.conftest import Both
from tests.compiler.test_fields import VIEWERS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.equality]

LISTS = {
    "repositories": ("NAME", "{}", '{search: "a"}'),
    "artifacts": ("NAME", "{}", "{status: [DRAFT]}", "{inUse: true}", '{tags: [{name: "team"}]}', '{image: "redis"}'),
    "workloads": ("NAME", "{}", "{active: true}", "{importance: [LOW, HIGH]}"),
    "credentials": ("",),
}
NESTED = {"repositories": "artifacts { totalCount nodes { id workloads { nodes { id } } } }"}


def documents() -> list[str]:
    """All that is narrowed to what a viewer sees: lists in two orders, by filters, what hangs on them, and offers."""
    found = []
    for name, (order, *filters) in LISTS.items():
        orders = ["", f"orderBy: {{field: {order}, direction: ASC}}"] if order else [""]
        for each in orders:
            for wanted in filters or [""]:
                arguments = ", ".join(["first: 7", *filter(None, (each, wanted and f"filter: {wanted}"))])
                page = f"totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ id {NESTED.get(name, '')} }}"
                found.append(f"{{ {name}({arguments}) {{ {page} }} }}")
    kinds = ("REPOSITORY", "ARTIFACT", "WORKLOAD")
    found += [f"{{ tags(on: {each}) {{ name value count }} }}" for each in kinds]
    return [*found, *(f"{{ creators(of: {each}) {{ user {{ id }} count }} }}" for each in kinds)]


@pytest.mark.parametrize("viewer", VIEWERS)
async def test_a_list_holds_the_same_however_it_is_read(
    both: Both, viewer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "REMEMBERED_SECONDS", -1.0)
    answers: dict[str, list[Any]] = {}
    for much, little in ((False, False), (True, False), (False, True)):

        async def reach(_: Any, who: Viewer, much: bool = much, little: bool = little) -> Viewer:
            return dataclasses.replace(who, sees_much=much, sees_little=little)

        monkeypatch.setattr(people.Reaches, "__call__", reach)
        for document in documents():
            answers.setdefault(document, []).append(await both.same(viewer, document))
            assert both.last_compiled
    assert len(answers) == 27
    for document, (listed, *others) in answers.items():
        assert all(each == listed for each in others), document
