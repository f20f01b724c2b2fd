"""Group commit: what is handed in while a transaction is being written goes together into the next one.

A lone one never waits for others: it is written at once. Each hears how it ended once its own transaction is durable, or has failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from cache_service.store.storing import OneByOne

W = TypeVar("W")
R = TypeVar("R")

GROUP = 64
"""The most in one transaction: some 10 ms, in which nobody else can write."""


class GroupCommit(Generic[W, R]):
    """Writes in order of arrival, several in one transaction.

    write: one durable transaction for all it is given, outcomes in order. Where it raises OneByOne nothing was done, and each is written
    alone, so that one that can't be stored takes no other with it.
    """

    def __init__(self, write: Callable[[Sequence[W]], Awaitable[Sequence[R]]]) -> None:
        self._write = write
        self._waiting: deque[tuple[W, asyncio.Future[R]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def add(self, one: W) -> R:
        """Returns when it is durable, or raises what `write` raised. It is written even if the caller goes away."""
        ended: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, ended))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await ended

    async def aclose(self) -> None:
        """Waits until all that was added is written."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                await self._write_group(group)
        finally:
            self._writing = None

    async def _write_group(self, group: Sequence[tuple[W, asyncio.Future[R]]]) -> None:
        try:
            outcomes = await self._write([one for one, _ in group])
        except OneByOne:
            for alone in group:
                await self._write_group([alone])
        except BaseException as error:
            for _, ended in group:
                if not ended.done():
                    ended.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, ended), outcome in zip(group, outcomes, strict=True):
                if not ended.done():
                    ended.set_result(outcome)
