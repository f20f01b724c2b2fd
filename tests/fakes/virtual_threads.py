"""Virtual time for code that also works in threads: the clock jumps only while no thread has anything to do.

What runs in an executor is counted by the loop; a driver with threads of its own (SQLite's) by `working`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

REAL_WAIT = 0.2  # seconds; a thread that is done wakes the loop at once


class _JumpingWhenIdle(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.busy = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.busy or timeout is None:
            return super().select(REAL_WAIT)
        self.now += timeout
        return ready


class ThreadedVirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time, which begins at 0 and stands still while threads work."""

    def __init__(self) -> None:
        self._jumping = _JumpingWhenIdle()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return self.working(super().run_in_executor(executor, func, *args))

    def working(self, future: asyncio.Future[Result]) -> asyncio.Future[Result]:
        """The same future; time stands still until it is done."""
        self._jumping.busy += 1
        future.add_done_callback(self._rest)
        return future

    def _rest(self, future: asyncio.Future[Any]) -> None:
        self._jumping.busy -= 1


def run_virtual_with_threads(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs the coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=ThreadedVirtualLoop) as runner:
        return runner.run(main)
