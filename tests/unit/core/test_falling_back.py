"""When the upstream fails: what is answered instead, under which key it is filed, and what the client is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from cache_service.api.cache_status import render_cache_status
from cache_service.errors import UpstreamRefused, UpstreamUnreachable
from cache_service.fallback import Chain, Step
from cache_service.instrumentation.events import FellBack, RequestServed
from cache_service.providers import Alternative, Provider
from cache_service.upstream.base import Call
from tests.fakes.upstream import FakeUpstream, Planned, planned
from tests.unit.core.conftest import Switchable, World, build, close, generate, pictures_of

CUBE = "a red cube on a blue sphere"
CUBE_AGAIN = "a red cube on top of a blue sphere"
SWAPPED = "a blue cube on a red sphere"
HIGH = {"prompt": CUBE, "model": "m", "quality": "high", "size": "1024x1024"}
LADDER = ("low", "medium", "high")
SIZES = ("1024x1024", "1536x1024")
DOWN = Planned(unreachable=True)
BUSY = planned({"error": {"message": "overloaded", "code": "server_is_overloaded"}}, 503)
BLOCKED = planned({"error": {"message": "no", "code": "moderation_blocked"}}, 400)

Opened: TypeAlias = Callable[..., Awaitable[World]]


def lesser(operation: str, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    quality = body.get("quality")
    return [{"quality": name} for name in reversed(LADDER[: LADDER.index(quality)])] if quality in LADDER else []


def similar(operation: str, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    asked = (body.get("quality"), body.get("size"))
    return [
        {"quality": quality, "size": size}
        for size in (*SIZES, None)
        for quality in (*LADDER, None)
        if (quality, size) != asked
    ]


class Moody(FakeUpstream):
    """Well-behaved, until a test says by which quality (None for any) it fails and how."""

    def __init__(self, group: str = "fake") -> None:
        super().__init__(self.answer, group=group)
        self.mood: dict[str | None, Planned] = {}

    def answer(self, call: Call) -> Planned:
        asked = json.loads(call.body or b"{}")
        return self.mood.get(asked.get("quality")) or self.mood.get(None) or generate(call)

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(call.body or b"{}") for call in self.calls]


@pytest_asyncio.fixture
async def opened(tmp_path: Path, verifier: Switchable) -> AsyncIterator[Opened]:
    worlds: list[World] = []

    async def open_world(*steps: Step, **options: Any) -> World:
        clock = {"now": 1_800_000_000.0}
        world = await build(
            tmp_path, verifier=verifier, now=lambda: clock["now"], upstream=Moody(), chain=Chain(steps), lesser=lesser,
            similar=similar, **options,
        )  # fmt: skip
        world.clock = clock
        worlds.append(world)
        return world

    yield open_world
    for world in worlds:
        await close(world)


def mood(world: World) -> dict[str | None, Planned]:
    assert isinstance(world.upstream, Moody)
    return world.upstream.mood


async def test_by_default_the_primarys_error_is_the_answer(opened: Opened) -> None:
    world = await opened()
    await world.served({**HIGH, "quality": "low"})
    mood(world)["high"] = BUSY
    failed = await world.failed(HIGH)
    assert isinstance(failed.error, UpstreamRefused)
    assert "fallback" not in render_cache_status(failed.report)
    assert not [event for event in world.events if isinstance(event, FellBack)]


async def test_a_lesser_picture_is_filed_under_what_it_is_and_the_asked_key_gets_nothing(opened: Opened) -> None:
    world = await opened(Step.REDUCED_QUALITY)
    mood(world)["high"] = BUSY
    served = await world.served(HIGH)
    assert served.report.fallback == "reduced-quality"
    assert served.report.stored
    shown = render_cache_status(served.report)
    assert shown.startswith("cache_service; fwd=miss; stored; key=")
    assert shown.endswith('detail="fallback=reduced-quality"')
    explicit = await world.served({**HIGH, "quality": "medium"})
    assert (explicit.report.decision, explicit.report.kind, explicit.report.key) == ("hit", "exact", served.report.key)
    del mood(world)["high"]
    again = await world.served(HIGH)
    assert (again.report.decision, again.report.fallback) == ("miss", "")
    assert again.report.key != served.report.key


async def test_a_lesser_picture_that_is_stored_costs_nothing(opened: Opened) -> None:
    world = await opened(Step.REDUCED_QUALITY)
    stored = await world.served({**HIGH, "quality": "medium"})
    mood(world)["high"] = BUSY
    served = await world.served(HIGH)
    assert (served.report.decision, served.report.fallback) == ("hit", "reduced-quality")
    assert pictures_of(served) == pictures_of(stored)
    assert len(world.upstream.calls) == 2


async def test_the_ladder_is_gone_down_rung_by_rung(opened: Opened) -> None:
    world = await opened(Step.REDUCED_QUALITY)
    mood(world).update(high=BUSY, medium=BUSY)
    served = await world.served(HIGH)
    assert isinstance(world.upstream, Moody)
    assert [asked["quality"] for asked in world.upstream.asked] == ["high", "medium", "low"]
    assert served.report.fallback == "reduced-quality"
    outcomes = [event.outcome for event in world.events if isinstance(event, FellBack)]
    assert outcomes == ["failed", "answered"]


async def test_many_at_once_pay_for_one_lesser_picture(opened: Opened) -> None:
    world = await opened(Step.REDUCED_QUALITY)
    mood(world)["high"] = BUSY
    served = await asyncio.gather(*(world.served(HIGH) for _ in range(20)))
    assert len(world.upstream.calls) == 2
    assert {tuple(pictures_of(one)) for one in served} == {tuple(pictures_of(served[0]))}
    assert all(one.report.fallback == "reduced-quality" for one in served)


@pytest.mark.parametrize("step", Step)
async def test_what_is_wrong_with_the_prompt_never_falls_back(opened: Opened, step: Step) -> None:
    """A refusal for the prompt or a parameter is the answer, and nobody else is asked for what one refused to make."""
    other = Moody("other")
    world = await opened(step, alternatives=[Alternative(Provider("b", other))])
    await world.served({**HIGH, "quality": "low"})
    mood(world)["high"] = BLOCKED
    failed = await world.failed(HIGH, similar_if_error=True, stale_if_error=1000.0)
    assert isinstance(failed.error, UpstreamRefused)
    assert failed.error.status == 400
    assert not other.calls


async def test_a_client_may_ask_for_a_picture_of_another_quality_or_size(opened: Opened) -> None:
    world = await opened()
    world.close_together(CUBE, CUBE_AGAIN, SWAPPED)
    stored = await world.served({**HIGH, "quality": "low", "size": "1536x1024"})
    mood(world)["high"] = BUSY
    await world.failed(HIGH)
    for prompt, kind in ((CUBE, "semantic"), (CUBE_AGAIN, "semantic")):
        served = await world.served({**HIGH, "prompt": prompt}, similar_if_error=True)
        assert (served.report.decision, served.report.kind, served.report.key) == ("hit", kind, stored.report.key)
        assert served.report.fallback == "cached-similar"
        assert 'detail="fallback=cached-similar semantic similarity=1.000"' in render_cache_status(served.report)
        assert pictures_of(served) == pictures_of(stored)


async def test_something_similar_is_never_an_unverified_prompt(opened: Opened) -> None:
    world = await opened(Step.CACHED_SIMILAR)
    world.close_together(CUBE, SWAPPED)
    await world.served({**HIGH, "quality": "low"})
    mood(world)["high"] = BUSY
    failed = await world.failed({**HIGH, "prompt": SWAPPED}, similar_if_error=True)
    assert 'detail="no fallback: cached-similar failed"' in render_cache_status(failed.report)


@pytest.mark.parametrize(
    "change",
    [{"background": "transparent"}, {"model": "other"}, {"a_parameter_of_next_year": 1}, {"n": 2}],
    ids=str,
)
async def test_something_similar_differs_in_nothing_but_quality_and_size(
    opened: Opened, change: dict[str, Any]
) -> None:
    world = await opened(Step.CACHED_SIMILAR)
    await world.served({**HIGH, "quality": "low"})
    mood(world)["high"] = BUSY
    await world.failed({**HIGH, **change}, similar_if_error=True)
    await world.failed(HIGH, namespace="other", similar_if_error=True)


async def test_exact_only_means_the_same_words_also_in_another_quality(opened: Opened) -> None:
    world = await opened()
    world.close_together(CUBE, CUBE_AGAIN)
    await world.served({**HIGH, "quality": "low"})
    mood(world)["high"] = BUSY
    served = await world.served(HIGH, similar_if_error=True, exact_only=True)
    assert (served.report.kind, served.report.fallback) == ("exact", "cached-similar")
    await world.failed({**HIGH, "prompt": CUBE_AGAIN}, similar_if_error=True, exact_only=True)


async def test_what_has_expired_is_served_only_within_what_is_allowed(opened: Opened) -> None:
    world = await opened()
    chat = {"model": "m", "messages": [{"role": "user", "content": "why is the sky blue"}]}
    first = await world.served(chat, "chat")
    world.clock["now"] += 150  # 50 s beyond its lifetime
    mood(world)[None] = DOWN
    await world.failed(chat, "chat", stale_if_error=49.0)
    served = await world.served(chat, "chat", stale_if_error=51.0)
    assert (served.report.decision, served.report.ttl, served.report.fallback) == ("stale-hit", -50.0, "cached-similar")
    assert json.loads(served.body) == json.loads(first.body)
    await world.failed(chat, "chat", similar_if_error=True)


async def test_an_operators_chain_serves_what_has_expired_unless_the_client_declines(opened: Opened) -> None:
    world = await opened(Step.CACHED_SIMILAR)
    chat = {"model": "m", "messages": [{"role": "user", "content": "why is the sky blue"}]}
    await world.served(chat, "chat")
    world.clock["now"] += 150
    mood(world)[None] = DOWN
    assert (await world.served(chat, "chat")).report.fallback == "cached-similar"
    for declined in ({"no_fallback": True}, {"no_cache": True}, {"stale_if_error": 1.0}, {"max_age": 10.0}):
        failed = await world.failed(chat, "chat", **declined)
        assert isinstance(failed.error, UpstreamUnreachable)


async def test_another_provider_answers_in_its_own_words_and_partition(opened: Opened) -> None:
    other = Moody("other")
    there = Alternative(Provider("b", other), models={"m": "b-model"}, drop=frozenset({"quality"}))
    world = await opened(Step.ALTERNATIVE_PROVIDER, alternatives=[there])
    mood(world)[None] = DOWN
    served = await world.served(HIGH)
    assert other.asked == [{"prompt": CUBE, "model": "b-model", "size": "1024x1024"}]
    assert (served.report.fallback, served.report.provider) == ("alternative-provider", "b")
    assert 'detail="fallback=alternative-provider"' in render_cache_status(served.report)
    entry = await world.store.find(served.report.key, embedding_model=world.embedder.model_id)
    assert entry is not None
    assert (entry.model, entry.made["provider"]) == ("b-model", "b")
    again = await world.served(HIGH)
    assert (again.report.decision, again.report.fallback, len(other.calls)) == ("hit", "alternative-provider", 1)
    mood(world).clear()
    back = await world.served(HIGH)
    assert (back.report.decision, back.report.provider) == ("miss", "primary")
    assert pictures_of(back) != pictures_of(served)


async def test_a_call_says_that_another_answer_stands_ready_only_where_one_does(opened: Opened) -> None:
    """A call that says so isn't kept waiting for a failing upstream; one that has nothing else to hope for is."""
    other = Moody("other")
    there = Alternative(Provider("b", other), operations=frozenset({"images"}))
    world = await opened(Step.CACHED_SIMILAR, Step.ALTERNATIVE_PROVIDER, alternatives=[there])
    chat = {"model": "m", "messages": [{"role": "user", "content": CUBE}]}
    await world.served(chat, "chat")
    await world.served(HIGH)
    await world.served({**HIGH, "prompt": "declined"}, no_fallback=True)
    world.clock["now"] += 150
    await world.served(chat, "chat")  # there is one that has expired
    mood(world)[None] = DOWN
    await world.served({**HIGH, "prompt": "elsewhere"})
    assert isinstance(world.upstream, Moody)
    assert [call.impatient for call in world.upstream.calls] == [False, True, False, True, True]
    assert [call.impatient for call in other.calls] == [False]  # the last of the chain


async def test_alternatives_are_tried_in_order_and_the_primarys_error_is_told_if_none_helps(opened: Opened) -> None:
    b, c, d = Moody("b"), Moody("c"), Moody("d")
    b.mood[None] = planned({"data": []})  # a success that holds nothing
    c.mood[None] = BUSY
    world = await opened(
        Step.REDUCED_QUALITY, Step.ALTERNATIVE_PROVIDER,
        alternatives=[
            Alternative(Provider("chat", d), operations=frozenset({"chat"})),
            Alternative(Provider("others", d), models={"another": "x"}),
            Alternative(Provider("b", b)),
            Alternative(Provider("c", c)),
        ],
    )  # fmt: skip
    mood(world)[None] = DOWN
    failed = await world.failed(HIGH)
    assert isinstance(failed.error, UpstreamUnreachable)
    assert (len(world.upstream.calls), len(b.calls), len(c.calls), len(d.calls)) == (1, 1, 1, 0)
    assert 'detail="no fallback: alternative-provider failed"' in render_cache_status(failed.report)
    served = [event for event in world.events if isinstance(event, RequestServed)]
    assert [event.decision for event in served] == ["error"]


async def test_an_alternative_that_refuses_the_prompt_ends_the_chain(opened: Opened) -> None:
    b, c = Moody("b"), Moody("c")
    b.mood[None] = BLOCKED
    world = await opened(
        Step.ALTERNATIVE_PROVIDER, alternatives=[Alternative(Provider("b", b)), Alternative(Provider("c", c))]
    )
    mood(world)[None] = DOWN
    failed = await world.failed(HIGH)
    assert isinstance(failed.error, UpstreamUnreachable)
    assert not c.calls


async def test_a_stream_falls_back_before_its_first_piece(opened: Opened) -> None:
    other = Moody("other")
    world = await opened(
        Step.REDUCED_QUALITY,
        Step.CACHED_SIMILAR,
        Step.ALTERNATIVE_PROVIDER,
        alternatives=[Alternative(Provider("b", other))],
    )
    await world.served({**HIGH, "quality": "low"})
    mood(world)[None] = DOWN
    served = await world.served({**HIGH, "stream": True})
    assert served.pieces is not None
    assert b"".join([piece async for piece in served.pieces])
    assert (served.report.fallback, served.report.provider) == ("alternative-provider", "b")
    assert len(other.calls) == 1
    other.mood[None] = DOWN
    assert isinstance((await world.failed({**HIGH, "stream": True})).error, UpstreamUnreachable)


async def test_what_is_wanted_in_number_is_kept_going_down(opened: Opened) -> None:
    """Two pictures are asked for and one is stored: the lesser ones are two."""
    world = await opened(Step.REDUCED_QUALITY)
    await world.served(HIGH)
    mood(world)["high"] = BUSY
    served = await world.served({**HIGH, "n": 2})
    assert len(pictures_of(served)) == 2
    assert served.report.fallback == "reduced-quality"
    assert isinstance(world.upstream, Moody)
    assert world.upstream.asked[-1]["n"] == 2


async def test_the_primarys_map_of_models_changes_what_is_sent_and_not_the_key(opened: Opened) -> None:
    world = await opened()
    first = await world.served(HIGH)
    mapped = Provider("primary", world.upstream, {"m": "our-deployment"})
    object.__setattr__(world.cache._providers, "primary", mapped)
    assert (await world.served(HIGH)).report.key == first.report.key
    await world.served({**HIGH, "prompt": SWAPPED})
    assert isinstance(world.upstream, Moody)
    assert world.upstream.asked[-1]["model"] == "our-deployment"
    assert world.upstream.calls[-1].model == "our-deployment"


async def test_another_providers_answer_to_the_very_same_words_is_never_served_as_the_primarys(opened: Opened) -> None:
    """Not even where both call the model by one name."""
    world = await opened(Step.ALTERNATIVE_PROVIDER, alternatives=[Alternative(Provider("b", Moody("other")))])
    mood(world)[None] = DOWN
    theirs = await world.served(HIGH)
    mood(world).clear()
    ours = await world.served(HIGH)
    assert (ours.report.decision, ours.report.fallback, ours.report.provider) == ("miss", "", "primary")
    assert ours.report.key != theirs.report.key
    assert pictures_of(ours) != pictures_of(theirs)
