"""Budgets: nothing is paid that they can't hold, whatever runs side by side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.budget import DAY, Budgets, Limits, Refused, Reserved, seconds_left
from cache_service.store.entry import Spent

NOON = 20_000 * DAY + DAY / 2


def test_without_a_budget_everything_may_be_paid() -> None:
    budgets = Budgets(Limits())
    assert isinstance(budgets.reserve("web", 1e9, NOON), Reserved)
    assert isinstance(budgets.reserve("web", None, NOON), Reserved)
    assert budgets.use(NOON) == []


def test_a_client_is_refused_until_its_day_ends_and_the_others_are_not() -> None:
    """A client with a budget of its own has that one instead."""
    budgets = Budgets(Limits(client=1.0, clients={"big": 5.0}))
    assert isinstance(budgets.reserve("web", 0.75, NOON), Reserved)
    assert budgets.reserve("web", 0.5, NOON) == Refused("client", 1.0, DAY / 2)
    assert isinstance(budgets.reserve("web", 0.25, NOON), Reserved)
    assert isinstance(budgets.reserve("big", 4.0, NOON), Reserved)
    assert isinstance(budgets.reserve("bob", 1.0, NOON), Reserved)


def test_the_next_day_is_a_new_one_and_the_total_is_not() -> None:
    budgets = Budgets(Limits(day=1.0, total=3.0))
    for day in range(3):
        held = budgets.reserve("web", 1.0, NOON + day * DAY)
        assert isinstance(held, Reserved)
        budgets.settle(held, 1.0, NOON + day * DAY)
    assert budgets.reserve("web", 0.5, NOON + 3 * DAY) == Refused("total", 3.0, None)
    assert budgets.reserve("web", 0.5, NOON + 2 * DAY) == Refused("day", 1.0, DAY / 2)


def test_a_call_that_cost_less_leaves_the_rest_to_others() -> None:
    budgets = Budgets(Limits(day=1.0))
    held = budgets.reserve("web", 1.0, NOON)
    assert isinstance(held, Reserved)
    assert isinstance(budgets.reserve("bob", 0.1, NOON), Refused)
    budgets.settle(held, 0.25, NOON)
    assert isinstance(budgets.reserve("bob", 0.75, NOON), Reserved)


def test_a_call_that_failed_for_nothing_costs_nothing() -> None:
    budgets = Budgets(Limits(client=1.0))
    held = budgets.reserve("web", 1.0, NOON)
    assert isinstance(held, Reserved)
    budgets.settle(held, 0.0, NOON)
    assert isinstance(budgets.reserve("web", 1.0, NOON), Reserved)


@pytest.mark.parametrize(("unpriced", "passes"), [(False, False), (True, True)])
def test_what_has_no_price_passes_a_budget_only_where_the_operator_says_so(unpriced: bool, passes: bool) -> None:
    budgets = Budgets(Limits(day=1.0, unpriced=unpriced))
    assert isinstance(budgets.reserve("web", None, NOON), Reserved) == passes
    held = budgets.reserve("web", 1.0, NOON)
    assert isinstance(held, Reserved)
    budgets.settle(held, 1.0, NOON)
    assert isinstance(budgets.reserve("web", None, NOON), Refused)


def test_the_ledger_is_believed_and_what_it_may_not_know_yet_is_counted_on_top() -> None:
    """A payment settled while the ledger was asked counts twice for a moment rather than not at all."""
    budgets = Budgets(Limits(client=10.0, day=20.0))
    day = int(NOON // DAY)
    before = budgets.reserve("web", 1.0, NOON)
    assert isinstance(before, Reserved)
    budgets.settle(before, 1.0, NOON)
    mark = budgets.mark()
    during = budgets.reserve("web", 2.0, NOON)
    assert isinstance(during, Reserved)
    budgets.settle(during, 2.0, NOON)
    budgets.observe(day, Spent({"web": 3.0, "bob": 4.0}, 7.0, 9.0), mark)
    assert [(use.scope, use.client, use.spent) for use in budgets.use(NOON)] == [
        ("day", "", 9.0), ("client", "bob", 4.0), ("client", "web", 5.0),
    ]  # fmt: skip
    budgets.observe(day, Spent({"web": 3.0, "bob": 4.0}, 7.0, 9.0), budgets.mark())
    assert [use.spent for use in budgets.use(NOON)] == [7.0, 4.0, 3.0]
    assert [use.spent for use in budgets.use(NOON + DAY)] == [0.0, 0.0, 0.0]


@given(
    calls=st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 2), st.floats(0, 1), st.booleans()), min_size=1, max_size=60
    )
)
def test_nothing_side_by_side_spends_more_than_the_budget(calls: list[tuple[str, float, float, bool]]) -> None:
    """Whatever is reserved, and in whatever order it ends: as long as no call costs more than was thought possible."""
    budgets = Budgets(Limits(client=3.0, day=5.0))
    spent: dict[str, float] = {}
    flying: list[tuple[Reserved, float]] = []
    for client, estimate, share, lands in calls:
        held = budgets.reserve(client, estimate, NOON)
        if isinstance(held, Reserved):
            flying.append((held, estimate * share))
        if lands and flying:
            reserved, paid = flying.pop(0)
            budgets.settle(reserved, paid, NOON)
            spent[reserved.client] = spent.get(reserved.client, 0.0) + paid
    for reserved, paid in flying:
        budgets.settle(reserved, paid, NOON)
        spent[reserved.client] = spent.get(reserved.client, 0.0) + paid
    assert sum(spent.values()) <= 5.0 + 1e-6
    assert max(spent.values(), default=0.0) <= 3.0 + 1e-6
    used = {use.client or use.scope: use for use in budgets.use(NOON)}
    assert used["day"].spent == pytest.approx(sum(spent.values()))
    assert used["day"].reserved == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("now", "left"), [(NOON, DAY / 2), (NOON + DAY / 2 - 0.5, 1.0), (0.0, DAY)])
def test_a_refusal_lasts_until_midnight_utc(now: float, left: float) -> None:
    assert seconds_left(now) == left
