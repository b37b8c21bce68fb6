"""Every shape of a page by both ways: from both ends, between cursors, with every selection of what tells its place."""

import itertools

import pytest

from tests.compiler.conftest import Both

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.equality]

SELECTIONS = ("nodes { name }", "edges { cursor node { id } }", "totalCount")
INFOS = ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")
ORDERS = ("", "orderBy: {field: STATUS}", "orderBy: {field: UPDATED_AT, direction: DESC}")


@pytest.mark.parametrize("order", ORDERS)
async def test_a_page_of_every_shape(both: Both, order: str) -> None:
    owner = both.world.viewers["owner"]
    listed = (await owner.run(f"{{ artifacts(first: 100, {order}) {{ edges {{ cursor }} }} }}"))["artifacts"]["edges"]
    cursors = [each["cursor"] for each in listed]
    sizes = ("first: 3", "last: 3", f"first: {len(cursors)}", f"last: {len(cursors)}", "first: 100", "last: 100")
    places = ("", f'after: "{cursors[4]}"', f'before: "{cursors[7]}"', f'after: "{cursors[-1]}"')
    asked = [*itertools.combinations(SELECTIONS, 1), SELECTIONS]
    for size, place, selection in itertools.product(sizes, places, asked):
        arguments = ", ".join(filter(None, (size, place, order)))
        for infos in itertools.chain.from_iterable(itertools.combinations(INFOS, count) for count in (0, 1, 4)):
            info = f"pageInfo {{ {' '.join(infos)} }}" if infos else ""
            document = f"{{ artifacts({arguments}) {{ {' '.join(selection)} {info} }} }}"
            await both.same("owner", document)
            assert both.last_compiled, document
