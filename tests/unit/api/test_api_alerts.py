"""Alerts over HTTP."""

from __future__ import annotations

from cache_service.instrumentation.events import RequestServed
from tests.fakes.service import ADMIN_TOKEN, make_bench


async def test_what_fires_is_shown_to_the_bearer_of_the_token_with_its_thresholds() -> None:
    """And to nobody else."""
    bench = make_bench()
    for _ in range(30):
        bench.service.hook(RequestServed("images", "error", "", "", 0, 1.0, error="upstream"))
    async with bench.client(ADMIN_TOKEN) as client:
        answer = (await client.get("/admin/alerts")).json()
        assert (await client.get("/admin/alerts", headers={"authorization": "Bearer x"})).status_code == 401
    [alert] = answer["alerts"]
    assert (alert["name"], alert["value"], alert["threshold"], alert["since"]) == ("ErrorRate", 1.0, 0.05, 1000.0)
    assert answer["thresholds"] == {
        "error_rate": 0.05, "refused_rate": 0.01, "p95": None, "p95_factor": 1.5, "budget": 0.9,
    }  # fmt: skip
