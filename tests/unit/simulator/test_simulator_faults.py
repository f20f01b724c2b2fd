"""A fault strikes whom, when and as often as it says."""

from __future__ import annotations

import random

import pytest

from cache_service.simulator.faults import CallFacts, Fault, FaultKind, FaultPlan, fault_from, refusal_of

CALL = CallFacts("images", "gpt-image-2", "sk-1", "a cat")


def kinds(plan: FaultPlan, count: int, call: CallFacts = CALL, elapsed: float = 0.0) -> list[str | None]:
    """What strikes the next calls."""
    draw = random.Random(1).random  # noqa: S311  # no secret
    struck = [plan.choose(call, elapsed, draw) for _ in range(count)]
    return [fault.kind if fault else None for fault in struck]


def test_a_fault_strikes_as_many_calls_as_it_says() -> None:
    """The newest first; then the next."""
    plan = FaultPlan([Fault(FaultKind.SLOW_DOWN, times=2)])
    plan.add(Fault(FaultKind.OVERLOADED, times=1))
    assert kinds(plan, 4) == ["overloaded", "slow_down", "slow_down", None]


def test_a_spell_begins_and_ends() -> None:
    """From `start` up to `end`, in seconds since the simulator's start."""
    plan = FaultPlan([Fault(FaultKind.OVERLOADED, start=60, end=120)])
    assert [kinds(plan, 1, elapsed=at)[0] for at in (59.9, 60, 119.9, 120)] == [None, "overloaded", "overloaded", None]


def test_a_probability_is_met_and_repeats_with_its_seed() -> None:
    """One in ten, the same ones each time."""
    first = kinds(FaultPlan([Fault(FaultKind.SERVER_ERROR, probability=0.1)]), 5000)
    assert 400 <= sum(kind is not None for kind in first) <= 600
    assert first == kinds(FaultPlan([Fault(FaultKind.SERVER_ERROR, probability=0.1)]), 5000)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.UNAUTHORIZED, key="sk-2"),
        Fault(FaultKind.MODEL_NOT_FOUND, model="gpt-image-1"),
        Fault(FaultKind.MODERATION_BLOCKED, marker="forbidden"),
        Fault(FaultKind.HUNG, operation="chat"),
    ],
)
def test_a_fault_spares_whom_it_does_not_name(fault: Fault) -> None:
    """By key, model, word in the prompt, operation."""
    assert kinds(FaultPlan([fault]), 1) == [None]
    named = CallFacts("chat", "gpt-image-1", "sk-2", "a forbidden cat")
    assert kinds(FaultPlan([fault]), 1, named) == [fault.kind]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FaultKind.SLOW_DOWN, 429, "slow_down"),
        (FaultKind.OVERLOADED, 503, "server_is_overloaded"),
        (FaultKind.INSUFFICIENT_QUOTA, 429, "credit_balance_exhausted"),
        (FaultKind.UNAUTHORIZED, 401, "invalid_api_key"),
        (FaultKind.MODEL_NOT_FOUND, 404, "model_not_found"),
        (FaultKind.MODERATION_BLOCKED, 400, "moderation_blocked"),
    ],
)
def test_refusals_have_the_upstream_s_status_and_code(kind: FaultKind, status: int, code: str) -> None:
    """Status, code and retry headers can be replaced."""
    call = CallFacts("images", "m", "sk-0123456789abcdef", "")
    refusal = refusal_of(Fault(kind), call)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (status, code)
    assert "0123456789" not in refusal.message
    replaced = refusal_of(Fault(kind, status=418, code="tea", headers={"retry-after": "soon"}), call)
    assert replaced is not None
    assert (replaced.status, replaced.code, replaced.headers["retry-after"]) == (418, "tea", "soon")


def test_a_control_call_describes_a_fault() -> None:
    """By the same names; a wrong one is told with those that exist."""
    wanted = {"kind": "rate_limited", "times": 3, "headers": {"retry-after": 7}}
    assert fault_from(wanted) == Fault(FaultKind.RATE_LIMITED, times=3, headers={"retry-after": "7"})
    with pytest.raises(ValueError, match=r"unknown members: kin; known: .*kind"):
        fault_from({"kin": "hung"})
    for wrong in ({"kind": "explosion"}, {}, {"kind": "hung", "headers": 3}, {"kind": "hung", "times": []}):
        with pytest.raises(ValueError, match=r"."):
            fault_from(wrong)
