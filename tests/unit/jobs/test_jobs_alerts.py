"""Watching: what fires is shown, and a webhook hears of every change, once, without anybody's prompt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from cache_service.instrumentation.alerts import Counts, Thresholds
from cache_service.instrumentation.events import RequestServed
from cache_service.jobs.alerts import RETRIES, AlertKeeper, to_message, webhook
from cache_service.upstream.base import PoolUse
from tests.fakes.http_server import answer, scripted_server


class Watched:
    """A keeper with clocks that tests move."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.counts = Counts()
        self.pools: list[PoolUse] = []
        self.slept: list[float] = []
        self.keeper = AlertKeeper(
            self.counts, Thresholds(), pools=lambda: self.pools, budgets=list,
            clock=lambda: self.time, now=lambda: 1_800_000_000.0 + self.time, sleep=self.sleep,
        )  # fmt: skip

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def fail(self, requests: int = 100) -> None:
        for _ in range(requests):
            self.counts(RequestServed("images", "error", "", "", 0, 1.0, error="upstream"))

    def after(self, seconds: float) -> list[str]:
        self.time += seconds
        return [firing.alert.name for firing in self.keeper.look()]


def test_an_alert_fires_as_long_as_it_is_true_and_says_since_when() -> None:
    watched = Watched()
    assert watched.after(30) == []
    watched.fail()
    assert watched.after(30) == ["ErrorRate"]
    since = watched.keeper.look()[0].since
    assert watched.after(60) == ["ErrorRate"]
    assert watched.keeper.look()[0].since == since == 1_800_001_060.0
    assert watched.after(600) == []


def test_however_often_somebody_looks_the_history_stays_small() -> None:
    watched = Watched()
    for _ in range(2000):
        watched.after(0.01)
    assert len(watched.keeper._history) < 10
    watched.fail()
    assert watched.after(0.01) == ["ErrorRate"]


async def test_a_webhook_hears_what_fires_and_what_is_over() -> None:
    """In Alertmanager's words."""
    watched, heard = Watched(), []

    async def post(message: Mapping[str, Any]) -> None:
        heard.append(message)

    watched.fail()
    watched.pools = [PoolUse("art", ("art/key-1",), {}, healthy=False, detail="art/key-1 out: invalid_api_key")]
    watched.after(30)
    assert await watched.keeper.tell(post)
    watched.pools = []
    watched.after(30)
    assert await watched.keeper.tell(post)
    watched.after(700)
    assert await watched.keeper.tell(post)
    assert [(message["status"], [(a["labels"]["alertname"], a["status"]) for a in message["alerts"]]) for message in heard] == [
        ("firing", [("CacheServiceErrorRate", "firing"), ("CacheServicePoolOut", "firing")]),
        ("firing", [("CacheServiceErrorRate", "firing"), ("CacheServicePoolOut", "resolved")]),
        ("resolved", [("CacheServiceErrorRate", "resolved")]),
    ]  # fmt: skip
    first = heard[0]["alerts"][1]
    assert first["labels"] == {"alertname": "CacheServicePoolOut", "severity": "critical", "pool": "art"}
    assert (first["startsAt"], first["endsAt"]) == ("2027-01-15T08:17:10Z", "0001-01-01T00:00:00Z")
    json.dumps(heard)


async def test_a_webhook_that_fails_is_tried_a_few_times_and_hears_it_with_the_next_change() -> None:
    watched, heard, broken = Watched(), [], True

    async def post(message: Mapping[str, Any]) -> None:
        heard.append(message)
        if broken:
            raise httpx.ConnectError("no route")

    watched.fail()
    watched.after(30)
    assert not await watched.keeper.tell(post)
    assert len(heard) == len(RETRIES) + 1
    assert watched.slept == list(RETRIES)
    broken = False
    watched.pools = [PoolUse("art", ("k",), {}, healthy=False)]
    watched.after(30)
    assert await watched.keeper.tell(post)
    assert [alert["status"] for alert in heard[-1]["alerts"]] == ["firing", "firing"]


async def test_changes_are_told_without_being_asked_and_nothing_is_told_twice() -> None:
    watched, told = Watched(), asyncio.Queue[Mapping[str, Any]]()

    async def step(seconds: float) -> None:
        watched.time += seconds
        await asyncio.sleep(0)

    watched.keeper._sleep = step
    watched.keeper._post = told.put
    running = asyncio.create_task(watched.keeper.run(every=30.0))
    watched.fail()
    assert (await told.get())["status"] == "firing"
    assert (await told.get())["status"] == "resolved"
    for _ in range(50):
        await asyncio.sleep(0)
    assert told.empty()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_real_webhook_posts_json_and_follows_no_redirect() -> None:
    """Over a socket; an answer outside of 2xx hasn't arrived."""
    moved = answer(b"", 302, location="http://127.0.0.1:1/")
    async with scripted_server(answer(b""), moved) as server:
        post = webhook(f"{server.url}/hook?token=secret")
        await post(to_message([], [], 0.0))
        with pytest.raises(httpx.HTTPStatusError):
            await post(to_message([], [], 0.0))
    first, second = server.received
    assert (first.method, first.path.rpartition("/")[2]) == ("POST", "hook?token=secret")
    assert json.loads(first.body)["status"] == "resolved"
    assert second.path == first.path
