"""The end-to-end benchmark measures what it says: virtual time that waits for threads, and requests of the share that was asked for."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from cache_service.config import Settings
from tests.fakes.virtual_threads import run_virtual_with_threads

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import end_to_end


def test_virtual_time_stands_still_while_a_thread_works_and_jumps_else() -> None:
    """A timer of an hour ends at once, but not before work that was begun earlier."""

    async def main() -> list[str]:
        ended = []

        async def in_thread() -> None:
            async with asyncio.timeout(1.0):  # virtual: no thread is too slow for it
                await asyncio.to_thread(lambda: sum(range(2_000_000)))
            ended.append("thread")

        async def sleeping() -> None:
            await asyncio.sleep(3600)
            ended.append("sleeper")

        await asyncio.gather(sleeping(), in_thread())
        assert asyncio.get_running_loop().time() == 3600
        return ended

    assert run_virtual_with_threads(main()) == ["thread", "sleeper"]


@pytest.mark.parametrize("repeats", [0.0, 0.3, 0.6])
def test_the_asked_share_of_the_requests_is_for_a_scene_again(repeats: float) -> None:
    """Half of those in other words; a scene's first words are always the first way to say it."""
    wanted = end_to_end.requests(1000, repeats, 7)
    first: dict[int, str] = {}
    again = [one.prompt != first[one.scene] for one in wanted if first.setdefault(one.scene, one.prompt) and one.prompt]
    assert len(first) == round(1000 * (1 - repeats))
    reworded = sum(again)
    assert reworded == pytest.approx(0.5 * 1000 * repeats, abs=40)
    assert len({one.prompt for one in wanted}) >= len(first)


async def _small(configuration: end_to_end.Configuration) -> end_to_end.Outcomes:
    minilm = await end_to_end.embedder(Settings())
    try:
        wanted = end_to_end.requests(30, 0.5, 3)
        return await end_to_end.run(configuration, wanted, minilm, until=1e9, seed=3)
    finally:
        await minilm.aclose()


def test_a_small_run_pays_for_each_scene_once_and_serves_none_for_another() -> None:
    """With the real embedding model, the real verifier, the real store and the simulator."""
    outcomes = run_virtual_with_threads(_small(end_to_end.CONFIGURATIONS[-1]))
    assert (outcomes.requests, outcomes.failed, outcomes.wrong, outcomes.hits) == (30, 0, 0, 15)
    assert outcomes.usd == pytest.approx(15 * 0.0059, abs=0.005)
    assert outcomes.images >= 15
    assert 6.0 * 15 / 10 < outcomes.elapsed < 120.0 * 15
