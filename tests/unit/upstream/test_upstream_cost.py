"""Tokens before a call, money after it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.errors import ConfigurationError
from cache_service.upstream.catalog import load_catalog, packaged_catalog
from cache_service.upstream.cost import Catalog, chat_tokens, formula_tokens, text_tokens


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(packaged_catalog())


@pytest.mark.parametrize(
    ("model", "size", "quality", "tokens"),
    [
        ("gpt-image-2", "1024x1024", "low", 196),
        ("gpt-image-2", "1024x1024", "medium", 1_756),
        ("gpt-image-2", "1024x1024", "high", 7_024),
        ("gpt-image-2.5-flare", "1024x1024", "low", 196),
        ("gpt-image-2.5-flare", "1024x1024", "medium", 439),
        ("gpt-image-2.5-flare", "1024x1024", "high", 1_756),
        ("gpt-image-2.5-sunburst", "1024x1024", "xhigh", 3_122),
        ("gpt-image-2.5-sunburst", "1024x1024", "max", 7_024),
        ("gpt-image-2.5-flare", "1536x1024", "low", 158),
        ("gpt-image-2.5-flare", "1536x1024", "medium", 343),
        ("gpt-image-2.5-flare", "1024x1536", "high", 1_372),
        ("gpt-image-2.5-flare", "1536x1024", "xhigh", 2_459),
        ("gpt-image-2.5-flare", "1536x1024", "max", 5_488),
        ("gpt-image-1.5", "1024x1024", "high", 4_160),
        ("gpt-image-1.5", "1024x1536", "low", 408),
        ("gpt-image-1-mini", "1536x1024", "medium", 1_568),
    ],
)
def test_published_figures_of_image_tokens(catalog: Catalog, model: str, size: str, quality: str, tokens: int) -> None:
    assert catalog.image_tokens(model, size, quality) == tokens


@pytest.mark.parametrize(("size", "quality"), [("auto", "auto"), (None, None), ("1024x1024", "auto"), ("big", "best")])
def test_what_cannot_be_known_is_taken_as_the_most(catalog: Catalog, size: str | None, quality: str | None) -> None:
    assert catalog.image_tokens("gpt-image-2", size, quality) == 7_024
    assert catalog.image_tokens("never-heard-of", size, quality) >= 7_024


def test_partial_images_are_counted(catalog: Catalog) -> None:
    assert catalog.image_tokens("gpt-image-2", "1024x1024", "low", partial_images=3) == 196 + 300


@given(st.integers(1, 96), st.integers(16, 3_840), st.integers(16, 3_840))
def test_an_images_tokens_do_not_depend_on_its_orientation(q: int, width: int, height: int) -> None:
    assert formula_tokens(q, width, height) == formula_tokens(q, height, width) >= 0


@pytest.mark.parametrize(
    ("quality", "usd"), [("low", 0.006), ("medium", 0.013), ("high", 0.053), ("xhigh", 0.094), ("max", 0.211)]
)
def test_published_prices_of_one_image(catalog: Catalog, quality: str, usd: float) -> None:
    estimate = catalog.estimate_usd("gpt-image-2.5-flare", "1024x1024", quality, 1)
    assert estimate == pytest.approx(usd, abs=0.0005)
    assert catalog.estimate_usd("gpt-image-2.5-flare", "1024x1024", quality, 4) == pytest.approx(4 * (estimate or 0))


def test_a_price_that_is_not_known_is_none_never_zero(catalog: Catalog) -> None:
    usage = {"input_tokens": 10, "output_tokens": 10}
    for model in ("never-heard-of", "gpt-image-1", "dall-e-3", None):
        assert catalog.estimate_usd(model, "1024x1024", "low", 1) is None
        assert catalog.usd(model, usage) is None
    assert catalog.usd("gpt-image-2", None) is None
    assert catalog.usd("gpt-image-2", {}) is None
    assert catalog.usd("gpt-6-luna", {"input_tokens": 5, "output_tokens": 5}) is None  # no image price for a chat model


def test_an_images_bill_is_text_in_pictures_in_and_pictures_out(catalog: Catalog) -> None:
    usage = {
        "input_tokens": 1_050,
        "input_tokens_details": {"text_tokens": 50, "image_tokens": 1_000},
        "output_tokens": 1_756,
        "total_tokens": 2_806,
    }
    assert catalog.usd("gpt-image-2", usage) == pytest.approx((50 * 5 + 1_000 * 8 + 1_756 * 30) / 1e6)
    assert catalog.usd("gpt-image-2", {"input_tokens": 50, "output_tokens": 196}) == pytest.approx(
        (50 * 5 + 196 * 30) / 1e6
    )


def test_a_chats_bill_has_cached_tokens_at_their_own_price(catalog: Catalog) -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}}
    assert catalog.usd("gpt-6.1-sol", usage) == pytest.approx((600 * 2 + 400 * 0.10 + 100 * 10) / 1e6)
    assert catalog.usd("gpt-6.2-astra", usage) == pytest.approx(
        (1_000 * 8 + 100 * 40) / 1e6
    )  # its cached price isn't known


@pytest.mark.parametrize("odd", [None, "12", -5, 1.5, True, [], {}])
def test_odd_usage_never_fails(catalog: Catalog, odd: object) -> None:
    for usage in ({"prompt_tokens": odd, "completion_tokens": odd, "prompt_tokens_details": odd},
                  {"input_tokens": odd, "output_tokens": odd, "input_tokens_details": odd, "output_tokens_details": odd}):  # fmt: skip
        assert catalog.usd("gpt-image-2", usage) in (0.0, None)


def test_the_end_of_a_model_is_known_ahead(catalog: Catalog) -> None:
    assert catalog.shutdown_date("gpt-image-1-mini") == date(2026, 12, 1)
    assert catalog.shutdown_date("gpt-image-1") == date(2026, 10, 23)
    assert catalog.shutdown_date("gpt-image-2") is None
    assert catalog.shutdown_date("never-heard-of") is None


def test_a_dated_snapshot_is_its_model(catalog: Catalog) -> None:
    assert catalog.image_tokens("gpt-image-2-2026-05-01", "1024x1024", "low") == 196
    assert catalog.find("gpt-image-2-preview") is None


def test_an_estimate_of_text_errs_upwards() -> None:
    assert text_tokens(0) == 0
    assert text_tokens(7) == 2
    assert chat_tokens(3_500, 500) == 1_500


@pytest.mark.parametrize("text", ["", "as_of = 1", "not toml", '[models]\na = {family = "b"}\n[families]\n'])
def test_a_broken_catalog_is_a_configuration_error(text: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(text)
    with pytest.raises(ConfigurationError):
        load_catalog(broken)
    with pytest.raises(ConfigurationError):
        load_catalog(tmp_path / "absent.toml")
