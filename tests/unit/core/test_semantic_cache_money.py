"""What a request costs, who pays, and what happens once nobody may."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cache_service.answer import Caller
from cache_service.budget import DAY, Limits
from cache_service.decision import Directives
from cache_service.errors import BudgetExceeded, StoreError, UpstreamTimeout
from cache_service.generation import draft_to_json
from cache_service.instrumentation.events import UsdSpent
from cache_service.lifetime import Lifetimes
from cache_service.store.entry import Charge, Kind, PurgePredicate, SpoolHeader
from cache_service.upstream.base import Call
from cache_service.verification.rules import RulesVerifier
from tests.fakes.upstream import Planned
from tests.unit.core.conftest import World, build, close, generate

KIND = Kind("images", "tester", "m", "", "", "fake")
ONE = 0.11  # USD: 110 tokens at the tests' price


@pytest_asyncio.fixture
async def poor(tmp_path: Path) -> AsyncIterator[World]:
    """Half a dollar a day for each client; a generation is expected to cost 0.25."""
    built = await build(tmp_path, verifier=RulesVerifier(), now=lambda: 1_800_000_000.0, budget=Limits(client=0.5))
    yield built
    await close(built)


async def charges(world: World) -> list[tuple[Charge, float | None, bool]]:
    return sorted((payment.charge, payment.usd, payment.estimated) for payment in await world.store.payments(limit=100))


async def test_a_miss_is_paid_once_and_its_hits_save_what_it_cost(world: World) -> None:
    """The ledger has the client, and what was read and written."""
    made = await world.served("a cat")
    hit = await world.served("a cat")
    assert (made.report.usd, made.report.estimated_usd, hit.report.saved_usd, hit.report.usd) == (ONE, 0.25, ONE, None)
    [payment] = await world.store.payments(limit=9)
    assert (payment.kind, payment.charge, payment.usd, payment.tokens_in, payment.tokens_out) == (
        KIND, "paid", ONE, 10, 100,
    )  # fmt: skip
    await world.ledger.flush()
    day = int(1_800_000_000 // DAY)
    sums = {row.answer: value for row, value in (await world.store.sums(day, day)).items()}
    assert {answer: (value.count, value.usd) for answer, value in sums.items()} == {
        "paid": (1, ONE), "miss": (1, 0.0), "hit": (1, ONE),
    }  # fmt: skip


async def test_a_saving_is_what_it_cost_then_whatever_it_costs_now(world: World) -> None:
    await world.served("a cat")
    world.cache._serving._responses._price = lambda model, usage: 99.0
    assert (await world.served("a cat")).report.saved_usd == ONE


async def test_what_could_not_be_stored_is_paid_all_the_same(world: World) -> None:
    await world.served("a cat", no_store=True)
    assert await charges(world) == [("not-stored", ONE, False)]


async def test_what_a_purge_refuses_is_paid_all_the_same(world: World) -> None:
    world.upstream.gate.clear()
    asking = asyncio.create_task(world.served("a cat"))
    await world.sent(1)
    await world.store.purge(PurgePredicate(everything=True))
    world.upstream.gate.set()
    await asking
    assert await charges(world) == [("not-stored", ONE, False)]


async def test_a_call_that_may_have_been_paid_is_counted_as_what_it_may_have_cost(world: World) -> None:
    """One that was refused costs nothing."""
    send = world.upstream.send

    def lose(call: Call) -> object:
        error = UpstreamTimeout("too late")
        error.maybe_paid = 2
        raise error

    world.upstream.send = lose  # type: ignore[assignment,method-assign]
    await world.failed("a cat")
    assert await charges(world) == [("maybe-paid", 0.25, True), ("maybe-paid", 0.25, True)]
    assert [event.sure for event in world.events if isinstance(event, UsdSpent)] == [False, False]
    world.upstream.send = send  # type: ignore[method-assign]
    world.upstream._plan = lambda call: Planned((b'{"error": {}}',), 400)
    await world.failed("a dog")
    assert len(await charges(world)) == 2


async def test_a_stream_is_paid_by_what_it_said_or_else_by_what_it_may_have_cost(world: World) -> None:
    """Also one whose reader goes away before it has said anything."""
    body = {"prompt": "a cat", "model": "m", "stream": True}
    whole = await world.served(body)
    assert whole.pieces is not None
    assert [piece async for piece in whole.pieces]
    left = await world.served(body)
    assert left.pieces is not None
    await anext(left.pieces)
    world.upstream.usage_known = False
    await left.pieces.aclose()  # type: ignore[attr-defined]
    assert await charges(world) == [("maybe-paid", 0.25, True), ("not-stored", ONE, False)]


async def test_a_stream_is_refused_once_the_budget_is_spent(poor: World) -> None:
    for prompt in ("a dog", "a fox", "a cat"):
        await poor.served(prompt)
    failed = await poor.failed({"prompt": "a cat", "model": "m", "stream": True})
    assert isinstance(failed.error, BudgetExceeded)
    assert len(poor.upstream.calls) == 3


async def test_a_spent_budget_refuses_misses_and_serves_hits(poor: World) -> None:
    """Until the day ends, which the refusal says; the next client has a budget of its own."""
    for prompt in ("a cat", "a dog", "a fox"):
        await poor.served(prompt)
    failed = await poor.failed("a bird")
    assert isinstance(failed.error, BudgetExceeded)
    assert failed.error.retry_after == DAY - 1_800_000_000 % DAY
    assert (await poor.served("a cat")).report.decision == "hit"
    other = await poor.cache.get_or_generate(
        "images", {"prompt": "a bird", "model": "m"}, caller=Caller("default", "other"), directives=Directives()
    )
    assert other.report.usd == ONE


async def test_requests_side_by_side_cannot_overshoot(poor: World) -> None:
    """Of ten at once as many are made as the budget surely holds."""
    results = await asyncio.gather(*[poor.ask(f"picture {n}") for n in range(10)])
    assert sum(isinstance(getattr(result, "error", None), BudgetExceeded) for result in results) == 8
    assert len(poor.upstream.calls) == 2


async def test_a_budget_holds_over_a_restart(tmp_path: Path) -> None:
    def now() -> float:
        return 1_800_000_000.0

    first = await build(tmp_path, verifier=RulesVerifier(), now=now, budget=Limits(total=0.4))
    await first.served("a cat")
    await first.served("a dog")
    await close(first)
    again = await build(tmp_path, verifier=RulesVerifier(), now=now, budget=Limits(total=0.4))
    await again.ledger.refresh()
    assert isinstance((await again.failed("a fox")).error, BudgetExceeded)
    await close(again)


async def test_who_waits_for_anothers_generation_is_not_refused_for_the_others_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rich client that joined a poor one's request begins its own."""
    limits = Limits(clients={"tester": 0.0})
    world = await build(tmp_path, verifier=RulesVerifier(), now=lambda: 1_800_000_000.0, budget=limits)
    rich = Caller("default", "rich")
    body = {"prompt": "a cat", "model": "m"}
    leads, both_wait = asyncio.Event(), asyncio.Event()
    outcome, begin = world.cache._joining.outcome, world.store.find_or_begin

    async def waiting(*args: Any) -> Any:
        (both_wait if leads.is_set() else leads).set()
        return await outcome(*args)

    async def held(*args: Any, **options: Any) -> Any:
        await both_wait.wait()
        return await begin(*args, **options)

    monkeypatch.setattr(world.cache._joining, "outcome", waiting)
    monkeypatch.setattr(world.store, "find_or_begin", held)
    asking = asyncio.create_task(world.ask(body))
    await leads.wait()
    other = await world.cache.get_or_generate("images", body, caller=rich, directives=Directives())
    poor = await asking
    assert isinstance(getattr(poor, "error", None), BudgetExceeded)
    assert other.report.usd == ONE
    await close(world)


async def test_an_expired_answer_is_served_where_a_fresh_one_may_not_be_paid(poor: World) -> None:
    """If the client allows it, as for any other failure."""
    body = {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "model": "m"}
    poor.generator.lifetimes = Lifetimes({"chat": -5.0})
    await poor.served(body, "chat")
    for prompt in ("a dog", "a fox"):
        await poor.served(prompt)
    assert isinstance((await poor.failed(body, "chat")).error, BudgetExceeded)
    stale = await poor.served(body, "chat", stale_if_error=60.0)
    assert stale.report.decision == "stale-hit"


@pytest.mark.parametrize("whole", [True, False])
async def test_what_a_killed_process_had_paid_is_in_the_ledger_once(
    tmp_path: Path, world: World, *, whole: bool
) -> None:
    """A whole answer by its usage when it is stored; a call of which nothing is known as maybe paid."""
    question = await world.cache._ask(
        "images", {"prompt": "a cat", "model": "m"}, Caller("default", "tester"), Directives(), frozenset(), "", 0
    )
    draft = world.cache._joining._prepare(question, await world.cache._exact(question), 0)[1].draft
    entry = draft_to_json(draft) | {"on_conflict": "append"}
    spooled = await world.generator._spool.open(SpoolHeader("bill", draft.began, 0.0, entry))
    body = b"".join(generate(Call("/images/generations", b"{}", 0.0)).pieces)
    await spooled.append(body if whole else body[:20])
    _let_go(spooled)
    for _ in range(2):
        await world.generator.recover(world.cache.operations)
    assert await charges(world) == [("paid", ONE, False) if whole else ("maybe-paid", 0.25, True)]


def _let_go(spooled: object) -> None:
    """As a killed process does: its lock goes with it."""
    descriptor = spooled._descriptor  # type: ignore[attr-defined]
    os.close(descriptor)
    spooled._descriptor = None  # type: ignore[attr-defined]


async def test_a_ledger_that_cannot_be_written_costs_nobody_the_answer(world: World) -> None:
    """The payment counts, waits and is filed as soon as that is possible again."""
    pay: Callable[..., object] = world.store.pay

    async def fail(payments: object) -> None:
        raise StoreError("no disk")

    world.store.pay = fail  # type: ignore[assignment,method-assign]
    await world.served("a cat", no_store=True)
    with pytest.raises(StoreError):
        await world.ledger.flush()
    assert await charges(world) == []
    world.store.pay = pay  # type: ignore[assignment,method-assign]
    await world.ledger.flush()
    await world.ledger.flush()
    assert await charges(world) == [("not-stored", ONE, False)]


async def test_who_joins_a_generation_and_who_finds_some_outputs_there_saves_them(world: World) -> None:
    """Equal requests at once: one pays, the other saves as much; two of three pictures there: they are saved."""
    first, second = await asyncio.gather(world.served("a cat"), world.served("a cat"))
    assert {(first.report.usd, first.report.saved_usd), (second.report.usd, second.report.saved_usd)} == {
        (ONE, None), (None, ONE),
    }  # fmt: skip
    more = await world.served({"prompt": "a cat", "model": "m", "n": 3})
    assert (more.report.decision, more.report.usd, more.report.saved_usd) == ("partial", 0.21, ONE)
