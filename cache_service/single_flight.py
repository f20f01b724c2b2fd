"""One generation for equal requests; the others follow it.

A generation runs in a task of its own: it lasts as long as it takes and survives every client that waits for it. It keeps an
append-only log of the pieces received, so that whoever joins late reads from the beginning, and ends in one outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Generic, TypeVar

from cache_service.store.entry import NewEntry, PurgePredicate
from cache_service.upstream.base import Urgency
from cache_service.verification.base import Analysis

Outcome = TypeVar("Outcome")


class Generation(Generic[Outcome]):
    """One generation in flight.

    draft: the entry it is meant to become, without outputs. analysis: the verifier's facts of its prompt, None if exact only.
    n: how many outputs it will make. attempt: how many generations for the same request failed before it.
    steps: seconds that its own steps took, by name. afterwards: what is left to do once it has ended, while nobody waits any more.
    """

    def __init__(
        self, draft: NewEntry, *, n: int, analysis: Analysis | None, attempt: int = 0, priority: int = 0
    ) -> None:
        self.draft = draft
        self.n = n
        self.analysis = analysis
        self.attempt = attempt
        self.urgency = Urgency(priority)  # the most urgent of those who wait
        self.tags = set(draft.tags)  # also of those who join
        self.steps: dict[str, float] = {}
        self.afterwards: list[Callable[[], Awaitable[None]]] = []
        self._pieces: list[bytes] = []
        self._grown = asyncio.Event()
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def append(self, piece: bytes) -> None:
        """Adds a received piece; readers see it at once."""
        self._pieces.append(piece)
        self._wake()

    @property
    def body(self) -> bytes:
        """Everything received so far."""
        return b"".join(self._pieces)

    async def read(self) -> AsyncIterator[bytes]:
        """Every piece from the first to the last, as they arrive; ends with the generation."""
        position = 0
        while True:
            grown = self._grown
            while position < len(self._pieces):
                yield self._pieces[position]
                position += 1
            if self._outcome.done():
                return
            await grown.wait()

    async def outcome(self) -> Outcome:
        """How it ended. A waiter that is cancelled doesn't end the generation."""
        return await asyncio.shield(self._outcome)

    def finish(self, outcome: Outcome) -> None:
        """Ends the generation; once."""
        self._outcome.set_result(outcome)
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()


class SingleFlight(Generic[Outcome]):
    """The generations in flight on this node, by exact key and by partition."""

    def __init__(self) -> None:
        self._by_key: dict[str, Generation[Outcome]] = {}
        self._by_partition: dict[str, list[Generation[Outcome]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many generations are running, joinable or not."""
        return len(self._tasks)

    def find(self, exact_key: str) -> Generation[Outcome] | None:
        """The generation with that key, if one may be joined."""
        return self._by_key.get(exact_key)

    def beside(self, partition: str) -> list[Generation[Outcome]]:
        """Generations of that partition that may be joined by a verified-equal prompt."""
        return list(self._by_partition.get(partition, ()))

    def launch(
        self,
        generation: Generation[Outcome],
        run: Callable[[Generation[Outcome]], Coroutine[None, None, Outcome]],
        *,
        failed: Callable[[Exception], Outcome],
        shared: bool,
    ) -> None:
        """Starts the generation. shared: others may join it. failed: makes the outcome of an exception that `run` didn't foresee."""
        if shared:
            self._by_key[generation.draft.exact_key] = generation
            self._by_partition.setdefault(generation.draft.partition, []).append(generation)

        async def to_the_end() -> None:
            outcome: Outcome | None = None
            try:
                outcome = await run(generation)
            except Exception as error:
                outcome = failed(error)
            finally:
                # also when the task is cancelled at shutdown: nobody may wait for ever
                self._leave(generation)
                generation.finish(outcome if outcome is not None else failed(RuntimeError("the service is stopping")))
            for work in generation.afterwards:
                await work()

        task = asyncio.create_task(to_the_end())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, predicate: PurgePredicate) -> None:
        """Makes generations that a purge covers unjoinable: they go on, and are answered to those who wait already."""
        for generation in list(self._by_key.values()):
            if predicate.matches(generation.draft):
                self._leave(generation)

    async def drain(self, grace: float) -> int:
        """Waits until all have ended, at most `grace` seconds, then cancels the rest; returns how many were cut off."""
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(set(self._tasks), timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)

    def _leave(self, generation: Generation[Outcome]) -> None:
        draft = generation.draft
        if self._by_key.get(draft.exact_key) is generation:
            del self._by_key[draft.exact_key]
        beside = self._by_partition.get(draft.partition)
        if beside is not None and generation in beside:
            beside.remove(generation)
            if not beside:
                del self._by_partition[draft.partition]
