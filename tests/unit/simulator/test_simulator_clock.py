"""Virtual time passes in order, and only when nothing else can happen."""

from __future__ import annotations

import asyncio
import time

import pytest

from cache_service.simulator.clock import RealClock, VirtualClock


async def test_sleepers_wake_in_order_at_their_time() -> None:
    """An hour takes no time."""
    clock = VirtualClock(epoch=1000.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now()))

    await clock.run(asyncio.gather(sleeper("c", 3600), sleeper("a", 1), sleeper("b", 2.5), sleeper("now", 0)))
    assert woken == [("now", 0), ("a", 1), ("b", 2.5), ("c", 3600)]
    assert clock.time() == 4600


async def test_work_in_a_thread_takes_no_virtual_time() -> None:
    """Time waits for it."""
    clock = VirtualClock()
    seen: list[float] = []

    async def work() -> None:
        await clock.in_thread(lambda: time.sleep(0.02))
        seen.append(clock.now())

    async def meanwhile() -> None:
        await clock.sleep(5)

    await clock.run(asyncio.gather(work(), meanwhile()))
    assert seen == [0]


async def test_advance_wakes_those_who_are_due() -> None:
    """And nobody else; time is then exactly that much later."""
    clock = VirtualClock()
    early, late = asyncio.ensure_future(clock.sleep(1)), asyncio.ensure_future(clock.sleep(10))
    await clock.advance(5)
    assert (early.done(), late.done(), clock.now()) == (True, False, 5)
    late.cancel()


async def test_work_that_waits_for_no_time_is_told() -> None:
    """Instead of hanging for ever."""
    clock = VirtualClock()
    with pytest.raises(RuntimeError, match="nothing is waiting"):
        await clock.run(asyncio.Event().wait())


async def test_the_real_clock_tells_the_machine_s_time() -> None:
    """Seconds since 1970, and a monotonic count."""
    clock = RealClock()
    assert abs(clock.time() - time.time()) < 60
    before = clock.now()
    await clock.sleep(0)
    assert clock.now() >= before
    assert await clock.in_thread(lambda: 7) == 7
