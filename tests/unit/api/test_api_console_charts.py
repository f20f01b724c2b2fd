"""The console's charts: what they show, and that nothing in them runs or loads."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from cache_service.api.console import charts
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
