"""An upstream whose keys and limits can change while it is called: calls under way end with the one they began with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cache_service.upstream.base import Call, PoolUse, Reply, Upstream


class ReplaceableUpstream:
    """An `Upstream` that is another one from the next call on. What the old one had learnt of its limits is learnt anew."""

    def __init__(self, upstream: Upstream) -> None:
        self._now = upstream
        self._calls: Counter[Upstream] = Counter()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def group(self) -> str:
        """The present one's; all have the same."""
        return self._now.group

    @property
    def simulated(self) -> bool:
        """The present one's."""
        return self._now.simulated

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Reply]:
        """By the present one."""
        upstream = self._now
        self._calls[upstream] += 1
        try:
            async with upstream.send(call) as reply:
                yield reply
        finally:
            self._calls[upstream] -= 1
            self._close_if_done(upstream)

    def pools(self) -> list[PoolUse]:
        """The present one's."""
        return self._now.pools()

    def replace(self, upstream: Upstream) -> None:
        """From now on `upstream` is called; the one before is closed when its last call has ended."""
        before, self._now = self._now, upstream
        self._close_if_done(before)

    async def aclose(self) -> None:
        """Closes the present one, and waits for those that are closing."""
        await self._now.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _close_if_done(self, upstream: Upstream) -> None:
        if upstream is self._now or self._calls[upstream] > 0:
            return
        del self._calls[upstream]
        task = asyncio.create_task(upstream.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
