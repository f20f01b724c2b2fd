"""What the upstream lists is read with care: it is only a hint."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.upstream.listings import LimitsPage, read_ends, read_limits
from cache_service.upstream.rate_limit import Limits


def body(**members: object) -> bytes:
    return json.dumps({"object": "list", **members}).encode()


def test_limits_are_told_by_model_and_page() -> None:
    rows = [
        {"model": "gpt-image-2", "max_requests_per_1_minute": 0, "max_tokens_per_1_minute": 250_000,
         "max_images_per_1_minute": 20, "max_requests_per_1_day": -1},
        {"model": "gpt-6-luna", "max_requests_per_1_minute": 500, "max_requests_per_1_day": 10_000},
        {"model": "no-limits"}, {"max_images_per_1_minute": 5}, "no row", {"model": "odd", "max_images_per_1_minute": True},
    ]  # fmt: skip
    assert read_limits(body(data=rows, has_more=True, last_id="rl-9")) == LimitsPage(
        {"gpt-image-2": Limits(images=20, tokens=250_000), "gpt-6-luna": Limits(requests=500, requests_per_day=10_000)},
        after="rl-9",
    )
    assert read_limits(body(data=rows[:1], has_more=False, last_id="rl-9")).after == ""


def test_the_days_on_which_models_end() -> None:
    rows = [
        {"id": "gpt-image-1-mini", "shutdown_date": "2026-12-01"}, {"id": "gpt-image-2", "shutdown_date": None},
        {"id": "odd", "shutdown_date": "soon"}, {"shutdown_date": "2026-12-01"},
    ]  # fmt: skip
    assert read_ends(body(data=rows)) == {"gpt-image-1-mini": date(2026, 12, 1)}


@pytest.mark.parametrize("odd", [b"", b"[]", b"null", b"<html>", b'{"data": {}}', b'{"data": [1, null]}'])
def test_what_is_no_list_tells_nothing(odd: bytes) -> None:
    assert read_limits(odd) == LimitsPage({})
    assert read_ends(odd) == {}


@given(
    st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_nothing_that_is_json_is_an_error(value: object) -> None:
    read_limits(body(data=[value, {"model": value}], has_more=value, last_id=value))
    read_ends(body(data=[value, {"id": "m", "shutdown_date": value}]))
