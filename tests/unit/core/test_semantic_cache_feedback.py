"""Feedback and shadow mode in the eight steps: what is denied isn't served, joined or forgotten; what is shadowed is only reported."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cache_service.answer import Caller
from cache_service.errors import NotFound, UpstreamUnreachable
from cache_service.feedback import Policy, Standing
from cache_service.instrumentation.events import FeedbackGiven, ShadowHit
from cache_service.jobs.feedback import FeedbackKeeper
from cache_service.jobs.purge import PurgeRequest
from tests.fakes.upstream import Planned
from tests.unit.core.conftest import World, pictures_of

CUBE = "a red cube on a blue sphere"
AGAIN = "a red cube on top of a blue sphere"
THIRD = "a red cube atop a blue sphere"
ALICE = Caller("default", "tester")


def follows(world: World) -> asyncio.Event:
    """Set as soon as the next request waits for a generation."""
    waits, outcome = asyncio.Event(), world.cache._joining.outcome

    async def watched(*args: Any) -> Any:
        waits.set()
        return await outcome(*args)

    world.cache._joining.outcome = watched  # type: ignore[method-assign]
    return waits


async def paired(world: World) -> None:
    """CUBE is stored, AGAIN was answered with it, as request "r"."""
    world.close_together(CUBE, AGAIN, THIRD)
    await world.served(CUBE)
    assert (await world.served(AGAIN, request_id="r")).report.kind == "semantic"


@pytest.mark.parametrize("by", ["request_id", "key", "key of the asked"])
async def test_a_hit_that_was_wrong_is_not_served_again(world: World, by: str) -> None:
    """At once, though it isn't written to the record yet; the entry stays right for its own prompt."""
    await paired(world)
    hit = world.hits._waiting[-1]
    named = {
        "request_id": {"request_id": "r"},
        "key": {"key": hit.stored_key},
        "key of the asked": {"key": hit.asked_key},
    }[by]
    effect = await world.keeper.give(ALICE, "wrong", **named)
    assert (effect.denied, effect.exact_only) == (True, False)
    again = await world.served(AGAIN)
    assert (again.report.decision, again.report.detail) == ("miss", "different: a client said so")
    own = await world.served(CUBE)
    assert (own.report.kind, own.report.decision) == ("exact", "hit")
    assert FeedbackGiven("images", "wrong", "on") in world.events


async def test_a_pair_is_denied_in_both_directions_and_for_other_parameters(world: World) -> None:
    """What the client knows of two prompts is true of another size too."""
    await paired(world)
    await world.keeper.give(ALICE, "wrong", request_id="r")
    await world.served({"prompt": AGAIN, "model": "m", "size": "512x512"})
    other = await world.served({"prompt": CUBE, "model": "m", "size": "512x512"})
    assert other.report.decision == "miss"


async def test_feedback_outlives_a_purge_a_restart_and_reaches_another_node(world: World) -> None:
    await paired(world)
    await world.keeper.give(ALICE, "wrong", request_id="r")
    await world.purger.purge(PurgeRequest(namespace="default"))
    elsewhere = Standing(Policy({"images": 0.01}))
    node = FeedbackKeeper(world.store, world.hits, elsewhere, hook=world.events.append, threshold=0.92)
    await node.refresh()
    world.cache._steering.standing = elsewhere
    await world.served(CUBE)
    assert (await world.served(AGAIN)).report.decision == "miss"
    (listed,) = await world.keeper.newest(namespace="default", before=None, limit=9)
    assert {listed.asked_prompt, listed.stored_prompt} == {AGAIN, CUBE}


async def test_another_namespace_can_neither_judge_nor_find_out(world: World) -> None:
    """The error is the same as for a request that never was."""
    await paired(world)
    key = world.hits._waiting[-1].stored_key
    await world.hits.flush()
    errors = []
    for caller, named in (
        (Caller("other", "tester"), {"key": key}),
        (Caller("other", "tester"), {"request_id": "r"}),
        (ALICE, {"request_id": "never"}),
    ):
        with pytest.raises(NotFound) as caught:
            await world.keeper.give(caller, "wrong", **named)
        errors.append((caught.value.message, caught.value.param, caught.value.code))
    assert len(set(errors)) == 1
    assert (await world.served(AGAIN)).report.kind == "semantic"


async def test_an_exact_hit_is_no_pairing(world: World) -> None:
    """There is nothing to judge: `no-cache` makes another answer."""
    await world.served(CUBE)
    key = (await world.served(CUBE, request_id="exact")).report.key
    for named in ({"key": key}, {"request_id": "exact"}):
        with pytest.raises(NotFound):
            await world.keeper.give(ALICE, "wrong", **named)


async def test_the_second_strike_makes_the_entry_exact_only(world: World) -> None:
    await paired(world)
    await world.served(THIRD, request_id="s")
    await world.keeper.give(ALICE, "wrong", request_id="r")
    effect = await world.keeper.give(ALICE, "wrong", request_id="s")
    assert effect.exact_only
    fourth = "a red cube on a blue sphere, please"
    world.close_together(CUBE, fourth)
    assert (await world.served(fourth)).report.decision == "miss"
    assert (await world.served(CUBE)).report.decision == "hit"


async def test_undone_feedback_is_as_if_never_given_and_stays_on_record(world: World) -> None:
    await paired(world)
    given = await world.keeper.give(ALICE, "wrong", request_id="r")
    undone = await world.keeper.undo(given.feedback.number, by="admin")
    assert not undone.denied
    assert (await world.served(AGAIN)).report.kind == "semantic"
    (listed,) = await world.keeper.newest(namespace=None, before=None, limit=9)
    assert listed.undone is not None
    with pytest.raises(NotFound):
        await world.keeper.undo(9999, by="admin")


async def test_the_same_verdict_again_is_the_first_one(world: World) -> None:
    """A client that repeats itself fills nothing."""
    await paired(world)
    first = await world.keeper.give(ALICE, "wrong", request_id="r")
    assert await world.keeper.give(ALICE, "wrong", request_id="r") == first
    corrected = await world.keeper.give(ALICE, "right", request_id="r")
    assert not corrected.denied
    assert (await world.served(AGAIN)).report.kind == "semantic"


async def test_wrong_hits_raise_the_cosine_that_a_hit_needs(world: World) -> None:
    """From the second wrong pair on, for this namespace."""
    pairs = [(CUBE, AGAIN), ("a green ball on a grey box", "a green ball on top of a grey box")]
    for n, (stored, asked) in enumerate(pairs):
        world.close_together(stored, asked)
        await world.served(stored)
        assert (await world.served(asked, request_id=str(n))).report.kind == "semantic"
    effects = [await world.keeper.give(ALICE, "wrong", request_id=str(n)) for n in range(2)]
    assert [effect.threshold > 0.92 for effect in effects] == [False, True]
    floors: list[float] = []
    search = world.cache._semantic.search

    async def watched(partition: str, meaning: object, floor: float) -> object:
        floors.append(floor)
        return await search(partition, meaning, floor)  # type: ignore[arg-type]

    world.cache._semantic.search = watched  # type: ignore[assignment, method-assign]
    await world.served("a yellow bus")
    await world.served("a yellow bus", namespace="other")
    assert floors == [effects[1].threshold, 0.92]


async def test_a_denied_pair_does_not_join_in_flight(world: World) -> None:
    await paired(world)
    await world.keeper.give(ALICE, "wrong", request_id="r")
    await world.purger.purge(PurgeRequest(namespace="default"))
    calls = len(world.upstream.calls)
    world.upstream.gate.clear()
    first = asyncio.create_task(world.served(CUBE))
    await world.sent(calls + 1)
    second = asyncio.create_task(world.served(AGAIN))
    await world.sent(calls + 2)
    world.upstream.gate.set()
    one, two = await asyncio.gather(first, second)
    assert pictures_of(one) != pictures_of(two)


async def test_who_waits_for_a_denied_generation_gets_one_of_its_own(world: World) -> None:
    """The verdict comes while the request already waits for the other's generation."""
    await paired(world)
    await world.hits.flush()
    await world.purger.purge(PurgeRequest(namespace="default"))
    calls = len(world.upstream.calls)
    world.upstream.gate.clear()
    leader = asyncio.create_task(world.served(CUBE))
    await world.sent(calls + 1)
    waits = follows(world)
    follower = asyncio.create_task(world.served(AGAIN, request_id="waits"))
    await waits.wait()
    assert len(world.upstream.calls) == calls + 1
    await world.keeper.give(ALICE, "wrong", request_id="r")
    world.upstream.gate.set()
    one, two = await asyncio.gather(leader, follower)
    assert pictures_of(one) != pictures_of(two)
    assert two.report.key != one.report.key


async def test_a_join_by_meaning_can_be_judged_as_a_hit_can(world: World) -> None:
    world.close_together(CUBE, AGAIN)
    world.upstream.gate.clear()
    leader = asyncio.create_task(world.served(CUBE))
    await world.sent(1)
    waits = follows(world)
    follower = asyncio.create_task(world.served(AGAIN, request_id="joined"))
    await waits.wait()
    world.upstream.gate.set()
    await leader
    joined = await follower
    assert (joined.report.decision, joined.report.matched_prompt) == ("collapsed", CUBE)
    assert joined.report.similarity == pytest.approx(1.0)
    assert (await world.keeper.give(ALICE, "wrong", request_id="joined")).denied


async def test_pictures_that_a_wrong_partial_hit_added_stay_because_they_are_of_the_stored_prompt(world: World) -> None:
    """What was wrong is the pairing: nothing that was generated answers the asked prompt, so nothing is taken out."""
    world.close_together(CUBE, AGAIN)
    await world.served(CUBE)
    partial = await world.served({"prompt": AGAIN, "model": "m", "n": 2}, request_id="p")
    assert (partial.report.decision, partial.report.matched_prompt) == ("partial", CUBE)
    assert b'"' + CUBE.encode() + b'"' in (world.upstream.calls[-1].body or b"")
    await world.keeper.give(ALICE, "wrong", request_id="p")
    both = await world.served({"prompt": CUBE, "model": "m", "n": 2})
    assert (both.report.decision, pictures_of(both)) == ("hit", pictures_of(partial))
    fresh = await world.served({"prompt": AGAIN, "model": "m", "n": 2})
    assert fresh.report.decision == "miss"


async def test_shadow_mode_generates_and_says_what_would_have_been_served(world: World) -> None:
    world.close_together(CUBE, AGAIN)
    world.modes["images"] = "shadow"
    first = await world.served(CUBE)
    second = await world.served(AGAIN, request_id="s")
    assert (second.report.decision, second.report.reason, second.report.stored) == ("miss", "shadow", True)
    assert second.report.detail == f"shadow hit {first.report.key}"
    assert (second.report.matched_prompt, second.report.similarity) == (CUBE, pytest.approx(1.0))
    assert pictures_of(second) != pictures_of(first)
    assert [event.operation for event in world.events if isinstance(event, ShadowHit)] == ["images"]
    assert (await world.served(AGAIN)).report.kind == "exact"


async def test_a_shadow_hit_can_be_judged(world: World) -> None:
    """So the share of wrong ones is known before any is served."""
    world.close_together(CUBE, AGAIN)
    world.modes["images"] = "shadow"
    await world.served(CUBE)
    await world.served(AGAIN, request_id="s")
    effect = await world.keeper.give(ALICE, "wrong", request_id="s")
    assert effect.feedback.hit.shadow
    assert FeedbackGiven("images", "wrong", "shadow") in world.events


async def test_shadow_mode_joins_nobody_by_meaning_and_serves_nothing_stale_by_meaning(world: World) -> None:
    world.close_together(CUBE, AGAIN)
    world.modes["images"] = "shadow"
    world.upstream.gate.clear()
    both = [asyncio.create_task(world.served(prompt)) for prompt in (CUBE, AGAIN)]
    await world.sent(2)
    world.upstream.gate.set()
    await asyncio.gather(*both)
    world.upstream._plan = lambda call: Planned(unreachable=True)
    world.close_together(CUBE, THIRD)
    failed = await world.failed(THIRD, stale_if_error=float("inf"))
    assert isinstance(failed.error, UpstreamUnreachable)


async def test_an_expired_answer_is_replaced_in_shadow_mode_too(world: World) -> None:
    one = {"model": "m", "messages": [{"role": "user", "content": CUBE}]}
    two = {"model": "m", "messages": [{"role": "user", "content": AGAIN}]}
    world.close_together(CUBE, AGAIN)
    await world.served(one, "chat")
    world.clock["now"] += 90
    world.modes["chat"] = "shadow"
    await world.served(two, "chat")
    world.clock["now"] += 20
    renewed = await world.served(one, "chat")
    assert renewed.report.reason == "expired"
    assert (await world.served(one, "chat")).report.decision == "hit"


async def test_switched_off_only_exact_hits_are_served_and_switching_on_finds_what_was_stored(world: World) -> None:
    world.close_together(CUBE, AGAIN)
    world.modes["images"] = "off"
    await world.served(CUBE)
    assert (await world.served(AGAIN, no_store=True)).report.decision == "miss"
    assert (await world.served(CUBE)).report.kind == "exact"
    world.modes["images"] = "on"
    assert (await world.served(AGAIN)).report.kind == "semantic"


@pytest.mark.parametrize("turn", ["What's the weather today?", "Cancel my subscription", "Where is my order?"])
async def test_a_volatile_turn_is_served_exactly_only_and_for_a_minute(world: World, turn: str) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": turn}]}
    world.close_together(turn, turn.upper())
    await world.served(asked, "chat")
    assert (await world.served(asked, "chat")).report.decision == "hit"
    shouted = {"model": "m", "messages": [{"role": "user", "content": turn.upper()}]}
    assert (await world.served(shouted, "chat")).report.reason == "exact only"
    world.clock["now"] += 61
    assert (await world.served(asked, "chat")).report.reason == "expired"


async def test_a_join_that_finds_the_answer_already_stored_can_be_judged_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node stored it between the leader's look and its generation; the follower asked with other words."""
    one = {"model": "m", "messages": [{"role": "user", "content": CUBE}]}
    two = {"model": "m", "messages": [{"role": "user", "content": AGAIN}]}
    world.close_together(CUBE, AGAIN)
    key = (await world.served(one, "chat")).report.key
    entry = await world.store.find(key, embedding_model=world.embedder.model_id)
    await world.purger.purge(PurgeRequest(namespace="default"))
    looks = asyncio.Event()

    async def stored_meanwhile(exact_key: str, *, embedding_model: str) -> Any:
        await looks.wait()
        return entry, 0

    monkeypatch.setattr(world.store, "find_or_begin", stored_meanwhile)
    waits = follows(world)
    leader = asyncio.create_task(world.served(one, "chat"))
    await waits.wait()
    waits = follows(world)
    follower = asyncio.create_task(world.served(two, "chat", request_id="joined"))
    await waits.wait()
    looks.set()
    await leader
    served = await follower
    assert (served.report.decision, served.report.kind, served.report.matched_prompt) == ("hit", "semantic", CUBE)
    assert (await world.keeper.give(ALICE, "wrong", request_id="joined")).denied
    assert len(world.upstream.calls) == 1
