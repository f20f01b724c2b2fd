"""Presets, lesser pictures, and what a model would refuse: by the dated catalog."""

from __future__ import annotations

import contextlib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.api.schemas import PRESETS, USE_CASES
from cache_service.errors import ConfigurationError, InvalidRequest
from cache_service.upstream.catalog import load_catalog, load_offers, packaged_catalog
from cache_service.upstream.offers import MEMBERS, Offers

TODAY = date(2026, 11, 25)
OFFERS = load_offers(packaged_catalog())
WORDS = [
    (operation, {member: word})
    for member, words in (("preset", OFFERS.presets), ("use_case", OFFERS.use_cases))
    for operation, known in words.items()
    for word in known
]


@pytest.fixture(scope="module")
def offers() -> Offers:
    return OFFERS


def refused(offers: Offers, operation: str = "images", today: date = TODAY, **body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        offers.refuse_impossible(operation, body, today)
    return error.value


def test_a_preset_becomes_explicit_parameters_and_is_gone(offers: Offers) -> None:
    assert offers.expand("images", {"prompt": "p", "preset": "speed"}) == {
        "prompt": "p",
        "model": "gpt-image-2.6-flare",
        "quality": "medium",
        "size": "1024x1024",
        "output_format": "jpeg",
    }


def test_explicit_parameters_win_over_a_use_case_and_that_over_a_preset(offers: Offers) -> None:
    body = {"prompt": "p", "preset": "speed", "use_case": "icon", "size": "1536x1024", "quality": None}
    expanded = offers.expand("images", body)
    assert expanded["size"] == "1536x1024"
    assert (expanded["output_format"], expanded["background"]) == ("png", "transparent")
    assert (expanded["model"], expanded["quality"]) == ("gpt-image-2.6-flare", "medium")


def test_a_request_without_these_words_is_left_alone(offers: Offers) -> None:
    body = {"prompt": "p", "model": "m", "quality": None}
    assert offers.expand("images", body) is body
    assert offers.expand("images", {**body, "preset": None}) == body


@pytest.mark.parametrize("member", MEMBERS)
def test_an_unknown_word_is_refused_saying_which_exist(offers: Offers, member: str) -> None:
    with pytest.raises(InvalidRequest, match="unknown") as error:
        offers.expand("images", {"prompt": "p", member: "best"})
    assert (error.value.param, error.value.code) == (member, f"unknown_{member}")
    known = offers.presets if member == "preset" else offers.use_cases
    assert all(word in error.value.message for word in known["images"])
    with pytest.raises(InvalidRequest, match="string"):
        offers.expand("chat", {member: 7})


@pytest.mark.parametrize(("operation", "words"), WORDS, ids=str)
def test_what_the_catalogs_words_stand_for_is_possible(offers: Offers, operation: str, words: dict[str, str]) -> None:
    """No preset names a model that is gone, or a size that its model doesn't make."""
    expanded = offers.expand(operation, words)
    assert expanded["model"]
    assert not expanded.keys() & set(MEMBERS)
    offers.refuse_impossible(operation, expanded, TODAY)


def test_the_interface_names_the_catalogs_words(offers: Offers) -> None:
    assert {operation: tuple(known) for operation, known in offers.use_cases.items()} == USE_CASES
    assert all(tuple(known) == PRESETS for known in offers.presets.values())


@pytest.mark.parametrize(
    ("body", "lesser"),
    [
        ({"model": "gpt-image-2", "quality": "high"}, [{"quality": "medium"}, {"quality": "low"}]),
        ({"model": "gpt-image-2-2026-05-01", "quality": "medium"}, [{"quality": "low"}]),
        ({"model": "gpt-image-2"}, [{"quality": "medium"}, {"quality": "low"}]),
        ({"model": "gpt-image-2", "quality": "low"}, []),
        ({"model": "gpt-image-2.5-sunburst", "quality": "low"}, [{"model": "gpt-image-2.5-flare"}]),
        ({"model": "never-heard-of", "quality": "high"}, []),
        ({"quality": "high"}, []),
    ],
)
def test_the_ladder_goes_down_one_rung_at_a_time(
    offers: Offers, body: dict[str, str], lesser: list[dict[str, str]]
) -> None:
    assert list(offers.lesser("images", body)) == lesser


def test_a_chat_models_ladder_ends(offers: Offers) -> None:
    """Going down again and again comes to an end, and never to a model that is gone."""
    for model in offers.models:
        seen, operation = [model], offers.models[model].mode
        while rungs := [rung for rung in offers.lesser(operation, {"model": seen[-1]}) if "model" in rung]:
            assert rungs[0]["model"] not in seen
            seen.append(rungs[0]["model"])
            offers.refuse_impossible(operation, rungs[0], TODAY)


def test_similar_pictures_differ_in_quality_or_size_alone_and_the_nearest_come_first(offers: Offers) -> None:
    body = {"model": "gpt-image-2", "quality": "medium", "size": "1536x1024"}
    similar = list(offers.similar("images", body))
    assert similar[0] == {"quality": "high", "size": "1536x1024"}
    assert all(one.keys() == {"quality", "size"} for one in similar)
    assert len({tuple(one.values()) for one in similar}) == len(similar)
    assert {"quality": "medium", "size": "1536x1024"} not in similar
    sizes = list(dict.fromkeys(one["size"] for one in similar))
    assert sizes.index("2048x1152") < sizes.index("1024x1024") < sizes.index("1024x1536")
    assert not list(offers.similar("images", {"model": "never-heard-of"}))
    assert not list(offers.similar("chat", {"model": "gpt-6-luna"}))


@pytest.mark.parametrize(
    ("body", "param", "code", "said"),
    [
        ({"model": "gpt-image-1"}, "model", "model_shut_down", "use gpt-image-2."),
        ({"model": "dall-e-3"}, "model", "model_shut_down", "2026-05-12"),
        ({"model": "gpt-image-9"}, "model", "model_unknown", "gpt-image-2"),
        ({"model": "gpt-6-luna"}, "model", "model_unknown", "gpt-image-2"),
        ({"model": "gpt-image-2", "quality": "hd"}, "quality", "quality_not_supported", "low, medium, high, auto"),
        ({"model": "gpt-image-2", "quality": "max"}, "quality", "quality_not_supported", "low, medium, high, auto"),
        ({"model": "gpt-image-2", "size": "256x256"}, "size", "size_not_supported", "655360"),
        ({"model": "gpt-image-2", "size": "1000x1000"}, "size", "size_not_supported", "multiples of 16"),
        ({"model": "gpt-image-2", "size": "3840x1024"}, "size", "size_not_supported", "3 times"),
        ({"model": "gpt-image-2", "size": "3856x2048"}, "size", "size_not_supported", "3840"),
        ({"model": "gpt-image-2", "size": "big"}, "size", "size_not_supported", "WIDTHxHEIGHT"),
        ({"model": "gpt-image-2", "size": "0x16"}, "size", "size_not_supported", "WIDTHxHEIGHT"),
        ({"model": "gpt-image-1.5", "size": "2048x2048"}, "size", "size_not_supported", "1536x1024"),
        ({"model": "gpt-image-2.5-flare", "complexity": "low"}, "complexity", "parameter_not_supported", "2.6"),
        ({"model": "gpt-image-2", "style": "vivid"}, "style", "parameter_not_supported", "in the prompt"),
        ({"response_format": "url"}, "response_format", "parameter_not_supported", "base64"),
    ],
    ids=str,
)
def test_what_a_model_would_refuse_is_told_with_what_to_use(
    offers: Offers, body: dict[str, str], param: str, code: str, said: str
) -> None:
    error = refused(offers, **body)
    assert (error.status, error.param, error.code) == (400, param, code)
    assert said in error.message


@pytest.mark.parametrize(
    "body",
    [
        {"model": "gpt-image-2", "size": "2048x1152", "quality": "high"},
        {"model": "gpt-image-2", "size": "1040x1024", "quality": "auto"},
        {"model": "gpt-image-2.6-sunburst", "complexity": "high", "quality": "max"},
        {"model": "gpt-image-1.5"},
        {"model": "gpt-image-2", "a_parameter_of_next_year": 1, "quality": None, "style": None},
        {},
    ],
    ids=str,
)
def test_what_is_possible_or_not_known_passes(offers: Offers, body: dict[str, Any]) -> None:
    offers.refuse_impossible("images", body, TODAY)


def test_a_model_is_refused_from_its_last_day_on(offers: Offers) -> None:
    offers.refuse_impossible("images", {"model": "gpt-image-1.5"}, date(2026, 11, 30))
    assert refused(offers, today=date(2026, 12, 1), model="gpt-image-1.5").code == "model_shut_down"


@given(
    st.dictionaries(
        st.sampled_from(("model", "size", "quality", "style", "complexity", "preset")),
        st.one_of(st.none(), st.text(max_size=12), st.integers(), st.sampled_from(list(OFFERS.models))),
    )
)
def test_whatever_a_body_holds_the_catalog_answers_or_refuses_it(body: dict[str, Any]) -> None:
    """Wrong types are for the operation to tell; here they are passed over."""
    with contextlib.suppress(InvalidRequest):
        OFFERS.refuse_impossible("images", OFFERS.expand("images", body), TODAY)
    assert list(OFFERS.similar("images", body)) is not None
    assert OFFERS.lesser("images", body) is not None


def test_an_operators_file_is_laid_over_the_catalog(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[presets.images]\nspeed = { model = "my-model" }\n[models]\nmy-model = { family = "gpt-image-2" }\n'
        "[families.gpt-image-2.prices]\nimage_out = 60\n"
    )
    offers, catalog = load_offers(packaged_catalog(), mine), load_catalog(packaged_catalog(), mine)
    assert offers.expand("images", {"preset": "speed"})["model"] == "my-model"
    assert offers.expand("images", {"preset": "speed"})["quality"] == "medium"
    assert offers.expand("images", {"preset": "quality"})["model"] == "gpt-image-2.6-sunburst"
    assert catalog.usd("my-model", {"output_tokens": 1_000_000}) == 60
    mine.write_text("models = 1")
    with pytest.raises(ConfigurationError):
        load_offers(packaged_catalog(), mine)


def test_the_profiles_are_the_published_tiers_and_the_older_table(offers: Offers) -> None:
    tiers = [offers.profiles[f"tier-{n}"]["gpt-image"] for n in range(1, 6)]
    assert [tier["images_per_minute"] for tier in tiers] == [5, 20, 50, 150, 250]
    assert [tier["tokens_per_minute"] for tier in tiers] == [100_000, 250_000, 800_000, 3_000_000, 8_000_000]
    older = [offers.profiles[f"older-{n}"]["*"] for n in range(1, 5)]
    assert [tuple(tier.values()) for tier in older] == [
        (20, 40_000, 2),
        (50, 150_000, 5),
        (100, 400_000, 10),
        (500, 2_000_000, 20),
    ]
    assert offers.profiles["older-5"] == offers.profiles["custom"] == {}
