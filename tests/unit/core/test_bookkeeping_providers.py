"""What each configured provider calls a model, where the same traffic is priced by all of them."""

from __future__ import annotations

from cache_service.bootstrap.bookkeeping import _names_of_models
from cache_service.config import Settings
from cache_service.config_upstreams import Alternative


def test_a_provider_is_priced_by_its_own_names_and_only_for_what_it_offers() -> None:
    mapped = Alternative(name="mapped", base_url="https://a.test/v1", models={"a": "b"}, operations=("images",))
    same = Alternative(name="same", base_url="https://b.test/v1")
    names = _names_of_models(Settings(upstream_models={"a": "here"}, upstream_alternatives=(mapped, same)))
    assert list(names) == ["primary", "mapped", "same"]
    assert (names["primary"]("images", "a"), names["primary"]("images", "x")) == ("here", "x")
    assert (names["mapped"]("images", "a"), names["mapped"]("images", "x")) == ("b", None)
    assert names["mapped"]("chat", "a") is None
    assert names["same"]("chat", "x") == "x"
