"""Watches: takes the counts every half minute, says which alerts fire, and tells a webhook when that changes.

The webhook gets the words of Prometheus's Alertmanager (version 4), so that what receives those receives ours. Its address comes from
the configuration alone. A call is repeated a few times, and what changes meanwhile is told by the next one; nothing queues up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import httpx

from cache_service.budget import Use
from cache_service.instrumentation.alerts import Alert, Counts, Snapshot, Thresholds, evaluate, thinned
from cache_service.upstream.base import PoolUse

log = logging.getLogger(__name__)

Post: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Sends one message; raises OSError or httpx.HTTPError if it didn't arrive."""

RETRIES: Final = (1.0, 5.0, 25.0)  # seconds before each repeat
LEAST_STEP: Final = 5.0  # seconds between two snapshots that are kept
TIMEOUT: Final = 10.0  # seconds of one call
_EVER: Final = "0001-01-01T00:00:00Z"  # Alertmanager's word for "not ended"


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert, and since when it fires (Unix seconds)."""

    alert: Alert
    since: float


class AlertKeeper:
    """Which alerts fire, as of the last look. post: tells the webhook, None where there is none."""

    def __init__(
        self,
        counts: Counts,
        thresholds: Thresholds,
        *,
        pools: Callable[[], Sequence[PoolUse]],
        budgets: Callable[[], Sequence[Use]],
        post: Post | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.thresholds = thresholds
        self._counts = counts
        self._pools = pools
        self._budgets = budgets
        self._post = post
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._history: list[Snapshot] = [counts.snapshot(clock())]
        self._firing: dict[object, Firing] = {}
        self._told: dict[object, Firing] = {}
        self._changed = asyncio.Event()

    def look(self) -> list[Firing]:
        """Takes the counts, and says what fires now."""
        if len(self._history) > 1 and self._history[-1].at - self._history[-2].at < LEAST_STEP:
            self._history.pop()  # however often somebody asks, the history stays small
        self._history.append(self._counts.snapshot(self._clock()))
        self._history = thinned(self._history)
        found = evaluate(self._history, self.thresholds, self._pools(), self._budgets())
        before, self._firing = self._firing, {}
        for alert in found:
            known = before.get(alert.identity)
            self._firing[alert.identity] = Firing(alert, known.since if known else self._now())
        for identity in self._firing.keys() ^ before.keys():
            change = self._firing.get(identity) or before[identity]
            log.warning("alert %s: %s", "fires" if identity in self._firing else "is over", change.alert.text)
        if self._firing.keys() != self._told.keys():
            self._changed.set()
        return list(self._firing.values())

    async def run(self, *, every: float) -> None:
        """Looks every `every` seconds and tells the webhook of changes, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_for_ever(every))
            if self._post is not None:
                tasks.create_task(self._tell_for_ever(self._post))

    async def _look_for_ever(self, every: float) -> None:
        while True:
            await self._sleep(every)
            self.look()

    async def _tell_for_ever(self, post: Post) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.tell(post)

    async def tell(self, post: Post) -> bool:
        """Tells what fires and what is over since the last time; True if it arrived. What didn't is told with the next change."""
        firing = dict(self._firing)
        over = [self._told[identity] for identity in self._told.keys() - firing.keys()]
        message = to_message(list(firing.values()), over, self._now())
        for wait in (*RETRIES, None):
            try:
                await post(message)
            except (OSError, httpx.HTTPError) as error:
                if wait is None:
                    log.warning("the alert webhook can't be reached: %s", type(error).__name__)
                    return False
                await self._sleep(wait)
            else:
                self._told = firing
                return True
        raise AssertionError("the last attempt returns")


def to_message(firing: Sequence[Firing], over: Sequence[Firing], now: float) -> dict[str, Any]:
    """What the webhook gets: Alertmanager's members, without those that speak of itself."""

    def one(entry: Firing, ended: float | None) -> dict[str, Any]:
        alert = entry.alert
        return {
            "status": "firing" if ended is None else "resolved",
            "labels": {"alertname": f"CacheService{alert.name}", "severity": alert.severity, **alert.labels},
            "annotations": {
                "summary": alert.text,
                "value": f"{alert.value:.6g}",
                "threshold": f"{alert.threshold:.6g}",
            },
            "startsAt": _time(entry.since),
            "endsAt": _EVER if ended is None else _time(ended),
        }

    return {
        "version": "4",
        "status": "firing" if firing else "resolved",
        "receiver": "cache_service",
        "alerts": [*(one(entry, None) for entry in firing), *(one(entry, now) for entry in over)],
    }


def webhook(url: str) -> Post:
    """Posts JSON there; redirects are not followed, proxies of the environment not used."""

    async def post(message: Mapping[str, Any]) -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            (await client.post(url, json=message)).raise_for_status()

    return post


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
