"""Settings change while the service runs: all that can, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cache_service.answer import Caller
from cache_service.config import Settings
from cache_service.errors import ConfigurationError
from cache_service.jobs.client_keys import ClientKeys
from cache_service.reload import Reloaded, Reloader
from tests.fakes.service import ADMIN_TOKEN, make_bench


@dataclass
class Part:
    """Something that holds settings."""

    refuses: bool = False
    taken: list[Settings] = field(default_factory=list)

    def prepare(self, settings: Settings) -> Callable[[], None]:
        if self.refuses:
            raise ConfigurationError("no")
        return lambda: self.taken.append(settings)


async def test_what_can_change_holds_at_once_and_the_rest_is_named() -> None:
    new = Settings(ttl_chat=5.0, port=9000)
    part, reloader = Part(), Reloader(Settings(), lambda: new)
    reloader.subscribe(part.prepare)
    assert await reloader.reload() == Reloaded(("ttl_chat",), ("port",))
    assert [(one.ttl_chat, one.port) for one in part.taken] == [(5.0, 8000)]
    assert await reloader.reload() == Reloaded((), ("port",))
    assert len(part.taken) == 1


async def test_one_part_that_refuses_leaves_every_part_as_it_was() -> None:
    first, second = Part(), Part(refuses=True)
    reloader = Reloader(Settings(), lambda: Settings(ttl_chat=5.0))
    reloader.subscribe(first.prepare)
    reloader.subscribe(second.prepare)
    with pytest.raises(ConfigurationError):
        await reloader.reload()
    assert first.taken == []
    assert reloader.settings == Settings()


async def test_taking_the_last_configured_key_away_does_not_let_everyone_in() -> None:
    keys = ClientKeys(None, [(b"1", Caller("a", "a"))])  # type: ignore[arg-type] # no store is asked
    keys.configure([(b"2", Caller("b", "b"))])
    assert keys.holder(b"1") is None
    assert keys.holder(b"2") is not None
    keys.configure([])
    assert keys.holder(b"2") is None
    assert not keys.anonymous_allowed


async def test_a_reload_over_http_says_what_it_did_or_why_it_did_nothing() -> None:
    bench = make_bench()
    answers = [Settings(ttl_chat=5.0), None]

    def read() -> Settings:
        answer = answers.pop(0)
        if answer is None:
            raise ConfigurationError("configuration file: line 3")
        return answer

    bench.service.reloader = Reloader(Settings(), read)
    async with bench.client(ADMIN_TOKEN) as client:
        done = await client.post("/admin/reload")
        assert (done.status_code, done.json()) == (200, {"changed": ["ttl_chat"], "after_restart": []})
        refused = await client.post("/admin/reload")
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_settings")
        assert "line 3" in refused.json()["detail"]


POOL = {"name": "a", "api_keys": ["one"], "images_per_minute": 5}
OTHER = {"name": "second", "base_url": "https://second.example/v1", "api_keys": ["two"]}


@pytest.mark.parametrize(
    ("before", "after", "restart"),
    [
        ({"upstream_api_keys": ["a"]}, {"upstream_api_keys": ["b", "c"]}, ()),
        ({"upstream_api_keys": ["a"]}, {}, ("upstream_api_keys",)),
        ({}, {"upstream_pools": [POOL]}, ("upstream_pools",)),
        ({"upstream_pools": [POOL]}, {"upstream_pools": [{**POOL, "api_keys": ["b"]}, {**POOL, "name": "new"}]}, ()),
        ({"upstream_pools": [POOL]}, {"upstream_pools": [{**POOL, "images_per_minute": 6}]}, ("upstream_pools",)),
        ({"upstream_alternatives": [OTHER]}, {"upstream_alternatives": [{**OTHER, "api_keys": ["b"]}]}, ()),
        ({"upstream_alternatives": [OTHER]}, {"upstream_alternatives": []}, ("upstream_alternatives",)),
        (
            {"upstream_alternatives": [{**OTHER, "pools": [POOL]}]},
            {"upstream_alternatives": [{**OTHER, "pools": [{**POOL, "max_in_flight": 1}]}]},
            ("upstream_alternatives",),
        ),
    ],
)
async def test_keys_of_the_upstream_change_at_once_and_what_else_stands_beside_them_is_named(
    before: dict[str, object], after: dict[str, object], restart: tuple[str, ...]
) -> None:
    """Limits of a pool that stays, other providers, and the beginning or end of the simulator wait for a restart."""
    part, reloader = Part(), Reloader(Settings.model_validate(before), lambda: Settings.model_validate(after))
    reloader.subscribe(part.prepare)
    done = await reloader.reload()
    assert done.after_restart == restart
    assert len(done.changed) == len(part.taken) == (0 if restart else 1)
