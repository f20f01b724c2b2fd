"""What is served counts as used, and what doesn't fit is answered all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from cache_service.instrumentation.events import NotStored
from cache_service.store.tables import worth
from tests.unit.core.conftest import World


async def test_every_hit_counts_for_the_entry_that_answered_and_a_generation_says_what_it_cost(world: World) -> None:
    """Exact or by meaning; the count is written behind the requests."""
    world.close_together("a red fox in the snow", "in the snow, a red fox")
    await world.served("a red fox in the snow")
    for prompt in ("a red fox in the snow", "a red fox in the snow", "in the snow, a red fox"):
        assert (await world.served(prompt)).report.decision == "hit"
    await world.uses.flush()
    row = (await world.store._database.read(lambda c: c.execute(sa.select(worth)))).one()
    assert (row.hits, row.last_used, row.namespace) == (3, world.clock["now"], "default")
    assert row.usd == 0.11
    assert row.blob_bytes > 0


async def test_an_answer_that_is_larger_than_a_bound_is_served_and_not_stored(world: World) -> None:
    """Nothing else goes for it, and the answer says that it isn't stored."""

    @asynccontextmanager
    async def none(_namespace: str, _blob_bytes: int) -> AsyncIterator[bool]:
        yield False

    world.generator._room = none
    served = await world.served("a red fox in the snow")
    assert (served.status, served.report.stored) == (200, False)
    assert NotStored("images", "too large") in world.events
    assert await world.blobs.all() == []
