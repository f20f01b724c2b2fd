"""From one TOML file to providers: figures and profiles, names, headers; and what a wrong file is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache_service.bootstrap import primary_config
from cache_service.config import Settings, load, masked
from cache_service.errors import ConfigurationError
from cache_service.upstream.base import Cost
from cache_service.upstream.building import group_of, open_caller, pool_configs
from cache_service.upstream.catalog import load_offers, packaged_catalog
from cache_service.upstream.key_pool import KeyPools, PoolConfig, Ticket, Wanted
from cache_service.upstream.rate_limit import Limits

OFFERS = load_offers(packaged_catalog())
SECOND = 'name = "second"\nbase_url = "https://images.example/v1"\n'


def configured(folder: Path, text: str, **environ: str) -> Settings:
    file = folder / "service.toml"
    file.write_text(text)
    variables = {f"CACHE_SERVICE_{name.upper()}": value for name, value in environ.items()}
    return load(variables, config_file=file)[0]


def pools(settings: Settings) -> list[PoolConfig]:
    return pool_configs(primary_config(settings), OFFERS)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        configured(folder, text)
    return str(error.value)


def test_without_a_key_there_is_one_pool_without_authorisation_and_without_limits(tmp_path: Path) -> None:
    (pool,) = pools(configured(tmp_path, 'upstream_base_url = "http://images.example/v1"'))
    assert (pool.name, pool.keys[0].secret, pool.limits, pool.max_in_flight) == ("default", None, Limits(), 64)


def test_the_older_table_is_a_profile_and_every_figure_can_be_set_in_its_place(tmp_path: Path) -> None:
    text = 'upstream_api_keys = ["sk-1"]\nupstream_profile = "older-1"\n'
    (pool,) = pools(configured(tmp_path, text))
    assert (pool.limits, pool.max_in_flight) == (Limits(requests=20, tokens=40_000), 2)
    (pool,) = pools(configured(tmp_path, text + "upstream_requests_per_minute = 7\nupstream_max_in_flight = 3\n"))
    assert (pool.limits, pool.max_in_flight) == (Limits(requests=7, tokens=40_000), 3)
    (pool,) = pools(configured(tmp_path, text, upstream_profile="custom"))
    assert (pool.limits, pool.max_in_flight) == (Limits(), 64)


def test_a_pool_may_be_of_another_tier_than_the_rest(tmp_path: Path) -> None:
    text = (
        'upstream_profile = "older-2"\n[[upstream_pools]]\nname = "a"\napi_keys = ["sk-1", "sk-2"]\n'
        '[[upstream_pools]]\nname = "b"\napi_keys = ["sk-3"]\nprofile = "older-3"\ntokens_per_minute = 5\n'
    )
    a, b = pools(configured(tmp_path, text))
    assert (a.limits.requests, a.max_in_flight, [key.name for key in a.keys]) == (50, 5, ["a/key-1", "a/key-2"])
    assert (b.limits, b.max_in_flight) == (Limits(requests=100, tokens=5), 10)


def test_a_published_tier_holds_for_the_family_of_image_models_together_and_for_no_other(tmp_path: Path) -> None:
    """Five images a minute, whichever of the models makes them; chat has nothing to do with it."""
    (pool,) = pools(configured(tmp_path, 'upstream_api_keys = ["sk-1"]\nupstream_profile = "tier-1"\n'))
    state = KeyPools([pool])
    taken = 0
    for model in ("gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2-2026-05-01") * 4:
        taken += isinstance(state.take(Wanted(Cost(images=1, tokens=10), model), 0.0), Ticket)
    assert 1 <= taken <= 5
    assert not isinstance(state.take(Wanted(Cost(images=1), "gpt-image-2.6-sunburst"), 0.0), Ticket)
    state.take(Wanted(Cost(tokens=50_000), "gpt-6-luna"), 0.0)
    for _ in range(20):  # once slots have been counted anew
        assert isinstance(state.take(Wanted(Cost(tokens=50_000), "gpt-6-luna"), 2.0), Ticket)
    assert isinstance(state.take(Wanted(Cost(images=1), "gpt-image-2"), 60.0), Ticket)


def test_an_unknown_profile_is_refused_naming_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tier-9.*tier-1"):
        pools(configured(tmp_path, 'upstream_profile = "tier-9"'))


def test_an_alternatives_names_say_whose_they_are(tmp_path: Path) -> None:
    text = (
        f'fallback = ["alternative-provider"]\n[[upstream_alternatives]]\n{SECOND}api_keys = ["sk-1"]\nimages_per_minute = 9\n'
        '[[upstream_alternatives.pools]]\nname = "a"\napi_keys = ["sk-2"]\norganization = "acme"\n'
        '[[upstream_alternatives.organizations]]\nname = "acme"\nrequests_per_minute = 1\n'
    )
    from cache_service.bootstrap.providers import alternative_config

    (one,) = configured(tmp_path, text).upstream_alternatives
    own, a = pool_configs(alternative_config(one), OFFERS)
    assert (own.name, own.keys[0].name, own.limits.images) == ("second", "second/key-1", 9)
    assert (a.name, a.keys[0].name, a.organization) == ("second/a", "second/a/key-1", "acme")


async def test_each_base_url_is_a_group_of_its_own(tmp_path: Path) -> None:
    """What one upstream made is never served for another's."""
    config = primary_config(configured(tmp_path, 'upstream_base_url = "https://images.example/v1/"'))
    options: dict[str, Any] = {"max_queued": 1, "max_attempts": 1, "max_answer_bytes": 1, "hook": lambda event: None}
    opened = open_caller(config, OFFERS, simulated=False, **options)
    assert opened.caller.group == group_of("https://Images.example/v1") != group_of("https://images.example/v2")
    await opened.caller.aclose()


def test_secrets_of_headers_are_masked_where_settings_are_shown(tmp_path: Path) -> None:
    text = f'upstream_headers = {{ api-key = "very-secret" }}\n[[upstream_alternatives]]\n{SECOND}headers = {{ x = "secret-too" }}\n'
    assert "secret" not in str(masked(configured(tmp_path, text)))


def test_settings_that_contradict_each_other_are_named_and_nothing_else_is_said(tmp_path: Path) -> None:
    """No empty name of a setting, and no word of the library that checks them."""
    with pytest.raises(ConfigurationError) as raised:
        configured(tmp_path, 'fallback = ["alternative-provider"]')
    assert str(raised.value) == "fallback has alternative-provider, but upstream_alternatives is empty"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('upstream_headers = { Host = "elsewhere" }', "no header that can be set"),
        ('upstream_headers = { "x y" = "v" }', "no header that can be set"),
        ('upstream_headers = { x = "a\\r\\nb: c" }', "printable ASCII"),
        ('upstream_headers = { x = "é" }', "printable ASCII"),
        ('upstream_base_url = "https://user@images.example/v1"', "user name"),
        ('fallback = ["a-miracle"]', "reduced-quality"),
        ('fallback = ["alternative-provider"]', "upstream_alternatives is empty"),
        (f"[[upstream_alternatives]]\n{SECOND}[[upstream_alternatives]]\n{SECOND}", "different names"),
        ('[[upstream_alternatives]]\nname = "primary"\nbase_url = "https://images.example/v1"', "primary"),
        ('[[upstream_alternatives]]\nname = "b"\nbase_url = "ftp://images.example"', "http://"),
        (f'[[upstream_alternatives]]\n{SECOND}operations = ["films"]', "images"),
        (f"[[upstream_alternatives]]\n{SECOND}image_per_minute = 3", "image_per_minute"),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong_and_never_shows_a_secret(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_the_chain_can_be_set_by_a_variable(tmp_path: Path) -> None:
    assert configured(tmp_path, "", fallback="reduced-quality, cached-similar").fallback == (
        "reduced-quality",
        "cached-similar",
    )
