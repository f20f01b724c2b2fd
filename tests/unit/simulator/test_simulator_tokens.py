"""Usage and latency are those of the real models."""

from __future__ import annotations

import statistics
from statistics import NormalDist

import pytest

from cache_service.simulator.catalog import load_catalog
from cache_service.simulator.latency import chat_seconds, image_seconds
from cache_service.simulator.tokens import image_tokens, text_tokens


@pytest.mark.parametrize(
    ("model", "size", "figures"),
    [
        ("gpt-image-2", (1024, 1024), {"low": 196, "medium": 1756, "high": 7024}),
        (
            "gpt-image-2.5-flare",
            (1024, 1024),
            {"low": 196, "medium": 439, "high": 1756, "xhigh": 3122, "max": 7024},
        ),
        (
            "gpt-image-2.5-sunburst",
            (1536, 1024),
            {"low": 158, "medium": 343, "high": 1372, "xhigh": 2459, "max": 5488},
        ),
        ("gpt-image-1", (1024, 1024), {"low": 272, "medium": 1056, "high": 4160}),
        ("gpt-image-1.5", (1024, 1536), {"low": 408, "medium": 1584, "high": 6240}),
        ("gpt-image-1.5", (1536, 1024), {"low": 400, "medium": 1568, "high": 6208}),
    ],
)
def test_a_picture_costs_the_published_tokens(model: str, size: tuple[int, int], figures: dict[str, int]) -> None:
    """By model, size and quality."""
    ladder = load_catalog().ladder(model)
    assert {quality: image_tokens(ladder, quality, *size) for quality in figures} == figures


@pytest.mark.parametrize("quality", ["low", "medium"])
def test_a_2_6_model_costs_three_to_four_times_as_much_at_low_and_medium(quality: str) -> None:
    """As measured by third parties."""
    catalog = load_catalog()
    ratio = image_tokens(catalog.ladder("gpt-image-2.6-flare"), quality, 1024, 1024) / image_tokens(
        catalog.ladder("gpt-image-2.5-flare"), quality, 1024, 1024
    )
    assert 3 <= ratio <= 4


def test_text_is_about_four_characters_a_token() -> None:
    """Rounded up."""
    assert [text_tokens("x" * count) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_pictures_take_6_to_120_seconds_with_a_median_of_22() -> None:
    """By default: an unknown model, medium quality, 1024x1024."""
    latency = load_catalog().latency("unknown")
    drawn = [
        image_seconds("real", latency, "medium", 1024**2, NormalDist().inv_cdf((index + 0.5) / 2000))
        for index in range(2000)
    ]
    assert statistics.median(drawn) == pytest.approx(22, rel=0.01)
    assert min(drawn) == 6
    assert max(drawn) <= 120
    assert image_seconds("real", latency, "max", 3840 * 2160, 3) == 120


def test_a_fixed_latency_is_kept() -> None:
    """Zero means at once."""
    latency = load_catalog().latency("gpt-image-2")
    assert image_seconds(2.5, latency, "high", 1, 3.0) == 2.5
    assert sum(chat_seconds(0.0, 1000, 3.0)) == 0
    assert sum(chat_seconds(2.0, 1000, 3.0)) == 2
    assert sum(chat_seconds("real", 10**6, 0.0)) <= 60
