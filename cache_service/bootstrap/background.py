"""Work beside the requests, which ends when the service closes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


def in_background(stack: contextlib.AsyncExitStack, work: Any) -> None:
    """Runs work until the stack closes, which cancels it and waits."""
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)
