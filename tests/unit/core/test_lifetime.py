"""How long answers stay fresh."""

from __future__ import annotations

import pytest

from cache_service.lifetime import Lifetimes

LIFETIMES = Lifetimes(
    {"chat": 700.0, "images": 0.0}, {"gpt-5*": 60.0, "gpt-5-mini": 5.0, "gpt-5-m*": 7.0, "art": 0.0}, 30.0
)


@pytest.mark.parametrize(
    ("operation", "model", "volatile", "seconds"),
    [
        ("chat", None, False, 700.0),
        ("chat", "other", False, 700.0),
        ("chat", "gpt-5.1", False, 60.0),
        ("chat", "gpt-5-max", False, 7.0),
        ("chat", "gpt-5-mini", False, 5.0),
        ("images", "m", False, 0.0),
        ("images", "art", False, 0.0),
        ("chat", "art", False, 0.0),
        ("chat", "other", True, 30.0),
        ("chat", "gpt-5-mini", True, 5.0),
        ("chat", "art", True, 30.0),
    ],
)
def test_a_model_counts_before_its_operation_and_what_is_volatile_never_stays_long(
    operation: str, model: str | None, volatile: bool, seconds: float
) -> None:
    """The longest name that fits wins; 0 is for ever."""
    assert LIFETIMES.seconds(operation, model, volatile=volatile) == seconds
