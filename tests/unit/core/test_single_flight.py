"""One generation for equal requests: its log is read from the beginning, its outcome by everyone, and it outlives its readers."""

from __future__ import annotations

import asyncio

from cache_service.single_flight import Generation, SingleFlight
from cache_service.store.entry import PurgePredicate
from tests.fakes.entries import new_entry


def generation(name: str = "cat") -> Generation[str]:
    return Generation(new_entry(name, outputs=()), n=1, analysis=None)


async def test_a_late_reader_reads_from_the_beginning() -> None:
    flight = generation()
    flight.append(b"a")
    early = asyncio.create_task(_all(flight))
    await asyncio.sleep(0)
    flight.append(b"b")
    late = asyncio.create_task(_all(flight))
    await asyncio.sleep(0)
    flight.append(b"c")
    flight.finish("done")
    assert await early == await late == [b"a", b"b", b"c"]
    assert await flight.outcome() == "done"
    assert flight.body == b"abc"


async def _all(flight: Generation[str]) -> list[bytes]:
    return [piece async for piece in flight.read()]


async def test_a_waiter_that_goes_away_ends_nothing() -> None:
    flights: SingleFlight[str] = SingleFlight()
    flight, go = generation(), asyncio.Event()

    async def run(_: Generation[str]) -> str:
        await go.wait()
        return "made"

    flights.launch(flight, run, failed=str, shared=True)
    waiter = asyncio.create_task(flight.outcome())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    go.set()
    assert await flight.outcome() == "made"
    assert flights.find(flight.draft.exact_key) is None


async def test_nobody_waits_for_what_is_left_to_do_but_the_end_of_the_service() -> None:
    flights: SingleFlight[str] = SingleFlight()
    flight, go, done = generation(), asyncio.Event(), asyncio.Event()

    async def tidy() -> None:
        await go.wait()
        done.set()

    async def run(running: Generation[str]) -> str:
        running.afterwards.append(tidy)
        return "made"

    flights.launch(flight, run, failed=str, shared=True)
    assert await flight.outcome() == "made"
    assert not done.is_set()
    assert len(flights) == 1
    go.set()
    assert await flights.drain(60.0) == 0
    assert done.is_set()


async def test_whatever_goes_wrong_nobody_waits_for_ever() -> None:
    flights: SingleFlight[str] = SingleFlight()

    async def broken(_: Generation[str]) -> str:
        raise RuntimeError("unforeseen")

    async def endless(_: Generation[str]) -> str:
        await asyncio.Event().wait()
        return ""

    one, other = generation("a"), generation("b")
    flights.launch(one, broken, failed=lambda error: f"failed: {error}", shared=True)
    assert await one.outcome() == "failed: unforeseen"
    flights.launch(other, endless, failed=lambda error: f"failed: {error}", shared=True)
    await asyncio.sleep(0)
    assert await flights.drain(0.0) == 1
    assert (await other.outcome()).startswith("failed")
    assert len(flights) == 0


async def test_a_purge_makes_what_it_covers_unjoinable_and_nothing_else() -> None:
    flights: SingleFlight[str] = SingleFlight()
    go = asyncio.Event()

    async def run(_: Generation[str]) -> str:
        await go.wait()
        return "made"

    cat, dog = generation("cat"), generation("dog")
    for flight in (cat, dog):
        flights.launch(flight, run, failed=str, shared=True)
    flights.forget(PurgePredicate(key=cat.draft.exact_key))
    assert flights.find(cat.draft.exact_key) is None
    assert flights.find(dog.draft.exact_key) is dog
    assert flights.beside(dog.draft.partition) == [dog]
    again = generation("cat")
    flights.launch(again, run, failed=str, shared=True)
    go.set()
    await asyncio.gather(cat.outcome(), dog.outcome(), again.outcome())
    assert flights.find(again.draft.exact_key) is None
