"""Money over HTTP: budgets refuse, and the accounts tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cache_service.answer import Failed, Report, Result
from cache_service.errors import BudgetExceeded
from cache_service.store.entry import Daily, Feedback, Kind, Payment, ServedHit, Sum
from tests.fakes.service import ADMIN_TOKEN, Asked, Bench, make_bench

KIND = Kind("images", "web", "gpt-image-2", "1024x1024", "low", "fake")
HIT = ServedHit("web", "images", "r", "a", "da", "b", "db", 0.95, 900.0)


@pytest.fixture
async def bench() -> Bench:
    """Three generations and a hit, of today (day 0)."""
    made = make_bench()
    for number in range(3):
        await made.ledger.pay([Payment(f"p{number}", 500.0, KIND, "paid", 0.05, False, 1, 10, 196)])
    await made.ledger.pay([Payment("lost", 500.0, KIND, "maybe-paid", 0.05, True)])
    await made.ledger.add({Daily(0, KIND, "miss"): Sum(3), Daily(0, KIND, "semantic-hit"): Sum(2, 2, 20, 392, 0.1)})
    made.store.feedback[1] = Feedback(1, HIT, "wrong", "web", 950.0)
    made.store.feedback[2] = Feedback(2, replace(HIT, stored_digest="x"), "right", "web", 950.0)
    made.store.feedback[3] = Feedback(3, replace(HIT, stored_digest="y", shadow=True), "wrong", "web", 950.0)
    return made


async def test_what_the_cache_is_worth_is_told_with_its_ranges(bench: Bench) -> None:
    async with bench.client(ADMIN_TOKEN) as client:
        roi = (await client.get("/admin/roi", params={"wrong_answer_usd": 1, "compare": "true"})).json()
    assert roi["traffic"]["semantic_hits"] == 2
    assert roi["traffic"]["spent"] == pytest.approx(0.15)
    assert roi["hit_rate"]["expected"] == 0.4
    assert roi["wrong_share"]["expected"] == pytest.approx((50 * 0.02 + 1) / 52)
    assert roi["saved_usd"]["low"] <= roi["saved_usd"]["expected"] <= roi["saved_usd"]["high"]
    assert roi["compared"] == [{"model": "painter", "operation": "images", "uncached_usd": 2.5, "cached_usd": 1.5}]
    assert roi["compared_providers"] == [
        {"provider": "primary", "operation": "images", "uncached_usd": 2.5, "cached_usd": 1.5, "unpriced": 0},
        {"provider": "chatter", "operation": "images", "uncached_usd": 0.0, "cached_usd": 0.0, "unpriced": 5},
    ]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("days=0", "days"), ("days=x", "days"), ("days=99999", "days"), ("operation=video", "operation"),
        ("wrong_share=1.5", "wrong_share"), ("running_usd_per_month=nan", "running_usd_per_month"),
        ("one_off_usd=-1", "one_off_usd"), ("wrong_shar=0.5", "wrong_shar"), ("compare=null", "compare"),
        ("compare=true&compare=false", "compare"), ("days=", "days"), ("labour_rate=", "labour_rate"),
        ("labour_rate=1e13", "labour_rate"), ("labour_rate=1_0", "labour_rate"), ("labour_rate=1e999", "labour_rate"),
    ],
)  # fmt: skip
async def test_a_query_that_makes_no_sense_is_refused(bench: Bench, query: str, param: str) -> None:
    async with bench.client(ADMIN_TOKEN) as client:
        refused = await client.get(f"/admin/roi?{query}")
    assert (refused.status_code, refused.json()["param"]) == (400, param)


async def test_who_spent_what_on_what_is_told_with_the_budgets(bench: Bench) -> None:
    async with bench.client(ADMIN_TOKEN) as client:
        spending = (await client.get("/admin/spending", params={"days": "2"})).json()
    one = {
        "requests": 5,
        "hits": 2,
        "generations": 3,
        "spent_usd": pytest.approx(0.15),
        "maybe_spent_usd": 0.05,
        "saved_usd": 0.1,
    }
    assert spending == {
        "by_day": [{"day": "1970-01-01", **one}],
        "by_client": [{"client": "web", **one}],
        "by_model": [{"operation": "images", "model": "gpt-image-2", **one}],
        "budgets": [],
    }


async def spent(asked: Asked) -> Result:
    return Failed(BudgetExceeded("the budget is spent (5 USD)", retry_after=3600.2), Report("miss", forwarded="miss"))


async def test_a_spent_budget_is_said_in_openai_s_words_and_its_clients_do_not_try_again() -> None:
    """429 `insufficient_quota`, until the day ends."""
    bench = make_bench()
    bench.cache.answer = spent
    async with bench.client() as client:
        refused = await client.post("/v1/images/generations", json={"prompt": "a fox"})
        problem = await client.post("/v1/generate", json={"operation": "images", "request": {"prompt": "a fox"}})
    assert refused.status_code == problem.status_code == 429
    assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("3601", "false")
    assert refused.json()["error"] == {
        "message": "the budget is spent (5 USD)", "type": "insufficient_quota", "param": None, "code": "insufficient_quota",
    }  # fmt: skip
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["code"] == "insufficient_quota"
