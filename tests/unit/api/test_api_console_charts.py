"""The console's charts: what they show, and that nothing in them runs or loads."""

from __future__ import annotations

import asyncio
import re
from xml.etree import ElementTree as ET

import pytest

from cache_service.api.access import Access
from cache_service.api.console import charts
from cache_service.api.console.chart_routes import FRESH, ChartRoutes
from cache_service.api.session import Sessions
from cache_service.errors import StoreError
from cache_service.jobs.timeline import SPAN, Span
from tests.fakes.service import ADMIN_TOKEN, make_bench


def spans(count: int) -> list[Span]:
    """One hit and one miss in each."""
    return [Span(900.0 + n * SPAN, {("images", "exact"): 1, ("chat", "miss"): 2}, 0.5, 0.25, 3.0) for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 7, 288])
def test_a_chart_of_any_length_is_a_picture(count: int) -> None:
    """A day of spans has no more bars than one can see."""
    for drawn in (charts.traffic(spans(count)), charts.money(spans(count))):
        ET.fromstring(drawn)  # noqa: S314  our own
        assert b"<script" not in drawn
        assert len(drawn) < 300_000
    assert len(charts._grouped(spans(count))) <= charts.MOST_BARS


def test_spans_without_requests_are_seen() -> None:
    """A quiet hour is a gap, not a jump in time."""
    groups = charts._grouped([*spans(1), Span(900.0 + 5 * SPAN)])
    assert [len(group) for group in groups] == [1, 0, 0, 0, 0, 1]


def test_money_is_added_up() -> None:
    text = charts.money(spans(4)).decode()
    assert re.search(r"\b2\.0*\b|\b2<", text)


async def test_charts_are_served_as_pictures_that_can_do_nothing() -> None:
    async with make_bench().client(ADMIN_TOKEN) as client:
        for name in ("traffic", "money", "similarities"):
            response = await client.get(f"/admin/charts/{name}")
            assert response.headers["content-type"].startswith("image/svg+xml")
            assert "sandbox" in response.headers["content-security-policy"]
        assert (await client.get("/admin/charts/nothing")).status_code == 404
        assert (await client.get("/admin/charts/traffic?x=1")).status_code == 400


async def test_a_chart_is_drawn_once_for_all_who_look_and_anew_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that could not be drawn is tried again at once."""
    bench, now, drawn = make_bench(), [0.0], [0]

    def draw(*_: object) -> bytes:
        drawn[0] += 1
        if drawn[0] == 3:
            raise StoreError("no")
        return str(drawn[0]).encode()

    monkeypatch.setattr(charts, "similarities", draw)
    routes = ChartRoutes(bench.service, Access(bench.service, Sessions()), monotonic=lambda: now[0])
    assert await asyncio.gather(*(routes._fresh("similarities") for _ in range(3))) == [b"1"] * 3
    now[0] = FRESH
    assert await routes._fresh("similarities") == b"1"
    now[0] += 0.1
    assert await routes._fresh("similarities") == b"2"
    now[0] += FRESH + 0.1
    with pytest.raises(StoreError):
        await routes._fresh("similarities")
    assert await routes._fresh("similarities") == b"4"
