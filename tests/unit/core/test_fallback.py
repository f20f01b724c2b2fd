"""The chain: which steps a request takes, in which order, after which trouble."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.decision import Directives
from cache_service.errors import (
    BudgetExceeded,
    CacheServiceError,
    CapacityExceeded,
    InvalidRequest,
    StoreError,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cache_service.fallback import MOST_RUNGS, Chain, Course, Elsewhere, Lesser, Similar, Step, Trouble, trouble_of

WHOLE = Chain(tuple(Step), stale=100.0)
RUNGS = [{"quality": "medium"}, {"quality": "low"}, {"model": "lesser"}]
CHAINS = st.lists(st.sampled_from(Step), unique=True).map(lambda steps: Chain(tuple(steps)))
DIRECTIVES = st.builds(
    Directives,
    no_cache=st.booleans(),
    no_fallback=st.booleans(),
    similar_if_error=st.booleans(),
    stale_if_error=st.none() | st.floats(0, 1e6),
)


def refused(kind: str = "", status: int = 503, *, transient: bool = True) -> UpstreamRefused:
    return UpstreamRefused("no", status=status, headers={}, body=b"", transient=transient, kind=kind)


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (CapacityExceeded("full"), Trouble.CAPACITY),
        (BudgetExceeded("spent"), Trouble.BUDGET),
        (UpstreamTimeout("late"), Trouble.TIMEOUT),
        (UpstreamUnreachable("gone"), Trouble.UNREACHABLE),
        (refused("overloaded"), Trouble.OVERLOADED),
        (refused("rate_limit", 429), Trouble.OVERLOADED),
        (refused("slow_down", 429), Trouble.OVERLOADED),
        (refused("quota", 429), Trouble.QUOTA),
        (refused("key", 401), Trouble.KEY),
        (refused("model", 404, transient=False), Trouble.MODEL),
        (refused("too_large", 429, transient=False), Trouble.TOO_LARGE),
        (refused("refused", 400, transient=False), Trouble.REQUEST),
        (refused("", 400, transient=False), Trouble.REQUEST),
        (refused("", 503), Trouble.OVERLOADED),
        (UpstreamError("the generation failed"), Trouble.UNREACHABLE),
        (InvalidRequest("wrong"), Trouble.REQUEST),
        (StoreError("disk"), Trouble.REQUEST),
    ],
    ids=str,
)
def test_an_error_says_what_trouble_it_is(error: CacheServiceError, trouble: Trouble) -> None:
    assert trouble_of(error) is trouble


def test_the_default_chain_is_the_primary_alone() -> None:
    assert Chain().ways(Directives(), RUNGS, ["b"]) == ()


def test_a_request_may_ask_for_what_is_stored_and_it_comes_before_other_providers() -> None:
    assert Chain().for_request(Directives(similar_if_error=True)) == (Step.CACHED_SIMILAR,)
    assert Chain().for_request(Directives(stale_if_error=0.0)) == (Step.CACHED_SIMILAR,)
    others = Chain((Step.REDUCED_QUALITY, Step.ALTERNATIVE_PROVIDER))
    assert others.for_request(Directives(similar_if_error=True)) == tuple(Step)


def test_the_operators_order_is_kept() -> None:
    assert Chain((Step.ALTERNATIVE_PROVIDER, Step.CACHED_SIMILAR)).for_request(Directives()) == (
        Step.ALTERNATIVE_PROVIDER,
        Step.CACHED_SIMILAR,
    )


@pytest.mark.parametrize(
    ("chain", "asked", "way"),
    [
        (Chain(), Directives(stale_if_error=5.0), Similar(5.0, otherwise=False)),
        (Chain(), Directives(similar_if_error=True), Similar(0.0, otherwise=True)),
        (WHOLE, Directives(), Similar(100.0, otherwise=True)),
        (WHOLE, Directives(stale_if_error=5.0), Similar(5.0, otherwise=True)),
    ],
)
def test_what_may_be_served_is_what_the_operator_or_the_request_allows(
    chain: Chain, asked: Directives, way: Similar
) -> None:
    ways = chain.ways(chain.directives(asked), [], [])
    assert ways == (way,)


@given(CHAINS, DIRECTIVES)
def test_a_request_that_wants_no_fallback_gets_none(chain: Chain, asked: Directives) -> None:
    steps = chain.for_request(asked)
    assert len(set(steps)) == len(steps)
    if asked.no_fallback:
        assert steps == ()
        assert chain.directives(asked).stale_if_error is None
    if asked.no_cache:
        assert Step.CACHED_SIMILAR not in steps
    assert [step for step in steps if step in chain.steps] == [step for step in chain.steps if step in steps]


@given(CHAINS, DIRECTIVES, st.lists(st.sampled_from(Trouble), min_size=1, max_size=12), st.floats(-10, 600))
def test_a_course_tries_each_way_once_in_order_and_ends(
    chain: Chain, asked: Directives, troubles: list[Trouble], remaining: float
) -> None:
    ways = chain.ways(chain.directives(asked), RUNGS, ["b", "c"])
    course: Course | None = Course(CapacityExceeded("full"), ways)
    taken: list[Any] = []
    for trouble in troubles:
        assert course is not None
        course = course.next(trouble, remaining)
        if course is None:
            break
        taken.append(course.way)
        assert trouble is not Trouble.REQUEST
        assert remaining > 0 or isinstance(course.way, Similar)
    assert [way for way in ways if way in taken] == taken
    assert len(taken) <= MOST_RUNGS + 1 + 2


@pytest.mark.parametrize("trouble", [Trouble.QUOTA, Trouble.KEY, Trouble.UNREACHABLE])
def test_asking_for_less_is_no_help_where_nobody_answers_or_may_pay(trouble: Trouble) -> None:
    course = Course(CapacityExceeded("full"), WHOLE.ways(Directives(), RUNGS, ["b"])).next(trouble, math.inf)
    assert course is not None
    assert isinstance(course.way, Similar)


def test_what_may_be_spent_being_spent_leaves_only_what_is_stored() -> None:
    chain = Chain((Step.REDUCED_QUALITY, Step.ALTERNATIVE_PROVIDER, Step.CACHED_SIMILAR))
    course = Course(BudgetExceeded("spent"), chain.ways(Directives(), RUNGS, ["b"])).next(Trouble.BUDGET, 60.0)
    assert course is not None
    assert isinstance(course.way, Similar)
    assert not course.left


def test_a_model_that_is_gone_leads_to_another_model_not_to_another_quality() -> None:
    ways = (Lesser({"quality": "low"}), Lesser({"model": "lesser"}), Elsewhere("b"))
    course = Course(refused("model", 404), ways).next(Trouble.MODEL, 60.0)
    assert course is not None
    assert course.way == ways[1]
