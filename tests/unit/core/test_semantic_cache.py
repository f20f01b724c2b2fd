"""The eight steps: what hits, what misses, what is paid, what is stored."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import time
from typing import Any

import pytest
from PIL import Image

from cache_service.answer import Caller, Served
from cache_service.decision import Directives
from cache_service.errors import InvalidRequest, NotCached, StoreError, UpstreamRefused, UpstreamUnreachable
from cache_service.jobs.purge import PurgeRequest
from cache_service.store import ahead
from cache_service.verification.base import Analysis
from tests.fakes.upstream import Planned, planned
from tests.unit.core.conftest import Switchable, World, build, close, generate, picture, pictures_of

CUBE = "a red cube on a blue sphere"
CUBE_AGAIN = "a red cube on top of a blue sphere"
SWAPPED = "a blue cube on a red sphere"


async def test_first_generated_then_an_exact_hit_with_the_same_bytes(world: World) -> None:
    first = await world.served(CUBE)
    second = await world.served("  a red   cube on a blue sphere\n")
    assert (first.report.decision, first.report.stored, first.report.forwarded) == ("miss", True, "miss")
    assert (second.report.decision, second.report.kind, second.report.key) == ("hit", "exact", first.report.key)
    assert json.loads(first.body) == json.loads(second.body)
    assert len(world.upstream.calls) == 1


async def test_a_paraphrase_is_a_semantic_hit(world: World) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    first = await world.served(CUBE)
    second = await world.served(CUBE_AGAIN)
    assert (second.report.decision, second.report.kind, second.report.matched_prompt) == ("hit", "semantic", CUBE)
    assert pictures_of(second) == pictures_of(first)


async def test_a_close_prompt_that_asks_for_something_else_is_never_served(world: World) -> None:
    world.close_together(CUBE, SWAPPED)
    first = await world.served(CUBE)
    second = await world.served(SWAPPED)
    assert second.report.decision == "miss"
    assert second.report.reason == "different"
    assert pictures_of(second) != pictures_of(first)


@pytest.mark.parametrize("what", ["raises", "hangs", "lies"])
async def test_a_verifier_that_fails_means_miss_never_hit(world: World, verifier: Switchable, what: str) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    await world.served(CUBE)
    done = asyncio.Event()

    class Broken(Switchable):
        def screen(self, asked: Analysis, stored: Analysis, operation: str) -> Any:
            if what == "raises":
                raise RuntimeError("broken")
            if what == "hangs":
                world.cache._semantic._verify_timeout = 0.0
            return None if what == "lies" else super().screen(asked, stored, operation)

    if what == "hangs":
        world.cache._semantic._verify_timeout = 0.0
    verifier.inner = Broken()
    assert (await world.served(CUBE_AGAIN)).report.decision == "miss"
    done.set()


@pytest.mark.parametrize(
    "change",
    [
        {"size": "512x512"},
        {"quality": "low"},
        {"model": "other"},
        {"background": "transparent"},
        {"a_parameter_of_next_year": 1},
    ],
)
async def test_changing_any_member_of_the_partition_misses_also_by_meaning(
    world: World, change: dict[str, Any]
) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    await world.served(CUBE)
    assert (await world.served({"prompt": CUBE_AGAIN, "model": "m", **change})).report.decision == "miss"
    assert (await world.served({"prompt": CUBE, "model": "m", **change, "user": "u"})).report.decision in (
        "miss",
        "hit",
    )
    assert (await world.served(CUBE_AGAIN)).report.decision == "hit"


async def test_another_namespace_shares_nothing(world: World) -> None:
    await world.served(CUBE, namespace="a")
    assert (await world.served(CUBE, namespace="b")).report.decision == "miss"


async def test_two_hundred_at_once_pay_once(world: World) -> None:
    world.upstream.gate.clear()
    waiting = [asyncio.create_task(world.served(CUBE)) for _ in range(200)]
    await world.sent(1)
    world.upstream.gate.set()
    served = await asyncio.gather(*waiting)
    assert len(world.upstream.calls) == 1
    assert {tuple(pictures_of(one)) for one in served} == {tuple(pictures_of(served[0]))}
    assert sum(one.report.collapsed for one in served) == 199
    assert all(one.report.stored for one in served)


async def test_a_verified_equal_prompt_joins_a_generation_in_flight(world: World) -> None:
    world.close_together(CUBE, CUBE_AGAIN, SWAPPED)
    world.upstream.gate.clear()
    leader = asyncio.create_task(world.served(CUBE))
    await world.sent(1)
    follower = asyncio.create_task(world.served(CUBE_AGAIN))
    other = asyncio.create_task(world.served(SWAPPED))
    await world.sent(2)
    world.upstream.gate.set()
    a, b, c = await asyncio.gather(leader, follower, other)
    assert b.report.collapsed
    assert pictures_of(a) == pictures_of(b) != pictures_of(c)
    assert len(world.upstream.calls) == 2


async def test_a_paid_generation_survives_its_client(world: World) -> None:
    world.upstream.gate.clear()
    gone = asyncio.create_task(world.served(CUBE))
    await world.sent(1)
    follower = asyncio.create_task(world.served(CUBE))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    world.upstream.gate.set()
    assert pictures_of(await follower)
    assert (await world.served(CUBE)).report.decision == "hit"
    assert len(world.upstream.calls) == 1


async def test_more_pictures_generate_only_what_is_missing(world: World) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    one = await world.served({"prompt": CUBE, "model": "m"})
    three = await world.served({"prompt": CUBE_AGAIN, "model": "m", "n": 3})
    sent = json.loads(world.upstream.calls[-1].body or b"")
    assert (three.report.decision, three.report.forwarded) == ("partial", "partial")
    assert (sent["n"], sent["prompt"]) == (2, CUBE), "only the missing ones, with the stored prompt"
    assert pictures_of(three)[0] == pictures_of(one)[0]
    assert len(pictures_of(three)) == 3
    two = await world.served({"prompt": CUBE, "model": "m", "n": 2})
    assert (two.report.decision, pictures_of(two)) == ("hit", pictures_of(three)[:2])
    assert json.loads(two.body)["usage"]["output_tokens"] == 200


async def test_asking_for_more_while_fewer_are_made_waits_and_adds_the_rest(world: World) -> None:
    world.upstream.gate.clear()
    few = asyncio.create_task(world.served(CUBE))
    await world.sent(1)
    many = asyncio.create_task(world.served({"prompt": CUBE, "model": "m", "n": 3}))
    await asyncio.sleep(0)
    world.upstream.gate.set()
    first, second = await asyncio.gather(few, many)
    assert pictures_of(second)[0] == pictures_of(first)[0]
    assert [json.loads(call.body or b"").get("n", 1) for call in world.upstream.calls] == [1, 2]


async def test_directives_steer(world: World) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    assert isinstance((await world.failed(CUBE, only_if_cached=True)).error, NotCached)
    assert not world.upstream.calls
    kept = await world.served(CUBE, no_store=True)
    assert not kept.report.stored
    first = await world.served(CUBE)
    assert first.report.decision == "miss"
    assert (await world.served(CUBE_AGAIN, exact_only=True, only_if_cached=False)).report.decision == "miss"
    renewed = await world.served(CUBE, no_cache=True)
    assert renewed.report.forwarded == "request"
    assert pictures_of(await world.served(CUBE)) == pictures_of(renewed)
    world.clock["now"] += 50
    assert (await world.served(CUBE)).report.age == 50
    assert (await world.served(CUBE, max_age=60)).report.decision == "hit"
    assert (await world.served(CUBE, max_age=40)).report.decision == "miss"


async def test_a_client_may_tighten_the_threshold_never_loosen_it(world: World) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    await world.served(CUBE)
    assert (await world.served(CUBE_AGAIN, similarity=0.1)).report.decision == "hit"
    world.embedder.vectors.clear()
    assert (
        await world.failed("something else entirely", similarity=0.0, only_if_cached=True)
    ).report.decision == "miss"


CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


async def test_what_has_expired_is_generated_anew_or_served_when_the_client_says_so(world: World) -> None:
    first = await world.served(CHAT, "chat")
    world.clock["now"] += 150
    stale = await world.served(CHAT, "chat", max_stale=60)
    assert (stale.report.decision, stale.report.ttl) == ("stale-hit", -50)
    world.upstream._plan = lambda call: planned({"error": {"message": "busy"}}, 503)
    rescued = await world.served(CHAT, "chat", stale_if_error=60)
    assert (rescued.report.decision, rescued.report.detail) == ("stale-hit", "stale-if-error")
    assert json.loads(rescued.body) == json.loads(first.body)
    assert (await world.failed(CHAT, "chat")).report.forward_status == 503
    world.upstream._plan = generate
    fresh = await world.served(CHAT, "chat")
    assert fresh.report.forwarded == "stale"
    assert json.loads(fresh.body) != json.loads(first.body)
    assert (await world.served(CHAT, "chat")).report.decision == "hit"


@pytest.mark.parametrize(
    "answer",
    [
        planned({"created": 1, "data": []}),
        planned(b"<html>"),
        planned(b""),
        planned({"error": {"message": "in a 200"}}),
        planned({"created": 1, "data": [{"b64_json": "aGk="}]}),
        Planned((b'{"created": 1, "data": []}',), 202),
    ],
)
async def test_a_success_without_a_result_passes_through_and_is_never_stored(world: World, answer: Planned) -> None:
    world.upstream._plan = lambda call: answer
    result = await world.served(CUBE)
    assert (result.status, result.body, result.report.stored) == (answer.status, b"".join(answer.pieces), False)
    assert (await world.store.totals())["entries"] == 0


async def test_a_permanent_error_is_shared_by_equals_and_not_stored(world: World) -> None:
    world.upstream._plan = lambda call: planned({"error": {"code": "moderation_blocked"}}, 400)
    world.upstream.gate.clear()
    waiting = [asyncio.create_task(world.failed(CUBE)) for _ in range(10)]
    await world.sent(1)
    world.upstream.gate.set()
    failures = await asyncio.gather(*waiting)
    assert len(world.upstream.calls) == 1
    assert all(isinstance(f.error, UpstreamRefused) and f.report.forward_status == 400 for f in failures)
    assert (await world.store.totals())["entries"] == 0


async def test_a_permanent_error_is_not_shared_with_an_equal_meaning(world: World) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    answers = iter([planned({"error": {}}, 400)])
    world.upstream._plan = lambda call: next(answers, None) or generate(call)
    world.upstream.gate.clear()
    leader = asyncio.create_task(world.failed(CUBE))
    await world.sent(1)
    follower = asyncio.create_task(world.served(CUBE_AGAIN))
    await asyncio.sleep(0)
    world.upstream.gate.set()
    await leader
    assert pictures_of(await follower)


async def test_after_a_transient_failure_one_successor_at_a_time_tries_again(world: World) -> None:
    world.upstream._plan = lambda call: planned({"error": {}}, 503) if len(world.upstream.calls) < 2 else generate(call)
    world.upstream.gate.clear()
    waiting = [asyncio.create_task(world.ask(CUBE)) for _ in range(10)]
    await world.sent(1)
    world.upstream.gate.set()
    results = await asyncio.gather(*waiting)
    assert len(world.upstream.calls) == 2
    assert sum(isinstance(result, Served) for result in results) == 9


async def test_a_dead_upstream_is_not_asked_once_for_each_waiter(world: World) -> None:
    world.upstream._plan = lambda call: Planned(unreachable=True)
    world.upstream.gate.clear()
    waiting = [asyncio.create_task(world.failed(CUBE)) for _ in range(50)]
    await world.sent(1)
    world.upstream.gate.set()
    failures = await asyncio.gather(*waiting)
    assert len(world.upstream.calls) < 10  # who comes late on a busy machine finds no generation to follow
    assert all(isinstance(failure.error, UpstreamUnreachable) for failure in failures)


async def test_an_answer_that_contradicts_what_was_asked_is_filed_as_what_it_is(world: World) -> None:
    def lower(call: Any) -> Planned:
        made = json.loads(generate(call).pieces[0])
        return planned({**made, "quality": "low"})

    world.upstream._plan = lower
    asked = {"prompt": CUBE, "model": "m", "quality": "high"}
    first = await world.served(asked)
    assert not first.report.stored
    assert (await world.served({**asked, "quality": "low"})).report.decision == "hit"
    assert (await world.served(asked)).report.decision == "miss"


async def test_a_damaged_picture_is_never_served_but_generated_anew(world: World) -> None:
    await world.served(CUBE)
    for file in (world.directory / "blobs").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-1] + b"x")
    again = await world.served(CUBE)
    assert again.report.decision == "miss"
    hit = await world.served(CUBE)
    assert (hit.report.decision, pictures_of(hit)) == ("hit", pictures_of(again))


async def test_a_store_that_fails_still_serves_what_was_paid_and_the_spool_keeps_it(
    world: World, monkeypatch: pytest.MonkeyPatch, verifier: Switchable
) -> None:
    async def full(*_: Any) -> Any:
        raise StoreError("disk full")

    monkeypatch.setattr(world.store, "put", full)
    served = await world.served(CUBE)
    assert pictures_of(served)
    assert not served.report.stored
    monkeypatch.undo()
    for left in await _as_a_new_process_would(world):
        assert left == "stored"
    assert pictures_of(await world.served(CUBE, only_if_cached=True)) == pictures_of(served)


async def test_what_was_stored_before_the_kill_is_not_stored_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the commit and the removal of the spooled file: the picture stays one."""
    from cache_service.store.spool import FileSpoolFile

    async def killed(_: FileSpoolFile) -> None:
        raise StoreError("killed here")

    monkeypatch.setattr(FileSpoolFile, "discard", killed)
    await world.served(CUBE)
    monkeypatch.undo()
    assert await _as_a_new_process_would(world) == ["stored"]
    assert (await world.store.totals())["outputs"] == 1
    assert await _as_a_new_process_would(world) == []


async def _as_a_new_process_would(world: World) -> list[str]:
    """Gives up the locks on spooled files as a dead process does, then recovers."""
    for descriptor in _locked_spool_files(world):
        descriptor.close()
    before = len(world.events)
    await world.generator.recover(world.cache.operations)
    return [event.outcome for event in world.events[before:] if hasattr(event, "outcome")]


def _locked_spool_files(world: World) -> list[Any]:
    import gc

    from cache_service.store.spool import FileSpoolFile

    class _Closer:
        def __init__(self, file: FileSpoolFile) -> None:
            self._file = file

        def close(self) -> None:
            import os

            if self._file._descriptor is not None:
                os.close(self._file._descriptor)
                self._file._descriptor = None

    return [
        _Closer(o) for o in gc.get_objects() if type(o) is FileSpoolFile and o._path.is_relative_to(world.directory)
    ]


async def test_an_embedder_that_fails_leaves_the_exact_tier(world: World) -> None:
    world.embedder.broken.add(CUBE)
    assert (await world.served(CUBE)).report.stored
    assert (await world.served(CUBE)).report.kind == "exact"


async def test_a_purge_forbids_storing_what_began_before_it_and_joining_it(world: World) -> None:
    world.upstream.gate.clear()
    before = asyncio.create_task(world.served(CUBE))
    await world.sent(1)
    await world.purger.purge(PurgeRequest(prompt=CUBE))
    after = asyncio.create_task(world.served(CUBE))
    await world.sent(2)
    world.upstream.gate.set()
    old, new = await asyncio.gather(before, after)
    assert (old.report.stored, old.report.detail) == (False, "not stored: purged")
    assert new.report.stored
    assert pictures_of(await world.served(CUBE)) == pictures_of(new) != pictures_of(old)


async def test_after_a_purge_nobody_gets_it_and_its_pictures_are_gone(world: World) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    await world.served(CUBE)
    assert (await world.purger.purge(PurgeRequest(similar_to=CUBE_AGAIN, dry_run=True))).count == 1
    assert (await world.purger.purge(PurgeRequest(similar_to=CUBE_AGAIN))).count == 1
    assert await world.blobs.all() == []
    for prompt in (CUBE, CUBE_AGAIN):
        assert isinstance((await world.failed(prompt, only_if_cached=True)).error, NotCached)


@pytest.mark.parametrize(
    ("whole", "asked_with", "written"), [(True, {}, 1), (False, {}, 1), (True, {"no_store": True}, 0)]
)
async def test_a_large_picture_is_written_once_and_kept_only_if_it_is_whole(
    world: World, monkeypatch: pytest.MonkeyPatch, whole: bool, asked_with: dict[str, bool], written: int
) -> None:
    """While it is looked at; and not at all where it mustn't be stored."""
    sizes: list[int] = []
    write_all = ahead.write_all

    def counting(descriptor: int, data: bytes) -> None:
        sizes.append(len(data))
        write_all(descriptor, data)

    monkeypatch.setattr(ahead, "write_all", counting)
    large = io.BytesIO()
    Image.frombytes("RGB", (100, 100), os.urandom(30_000)).save(large, "PNG")
    made = large.getvalue() if whole else large.getvalue()[:-1000]
    answer = {"created": 1_700_000_000, "data": [{"b64_json": base64.b64encode(made).decode()}]}
    world.upstream._plan = lambda call: planned(answer)
    served = await world.served(CUBE, **asked_with)
    await world.flights.drain(60)
    assert sizes == [len(made)] * written
    assert pictures_of(served) == [made]
    assert len([path for path in (world.directory / "blobs").rglob("*") if path.stat().st_size == len(made)]) == (
        whole and bool(written)
    )


@pytest.mark.parametrize("request_", [PurgeRequest(), PurgeRequest(everything=True), PurgeRequest(similarity=0.5)])
async def test_a_purge_that_names_nothing_is_refused(world: World, request_: PurgeRequest) -> None:
    await world.served(CUBE)
    with pytest.raises(InvalidRequest):
        await world.purger.purge(request_)
    assert (await world.served(CUBE)).report.decision == "hit"


async def test_replaced_pictures_leave_nothing_behind(world: World) -> None:
    await world.served({"prompt": CUBE, "model": "m", "n": 4})
    await world.served(CUBE, no_cache=True)
    assert len(await world.blobs.all()) == 1


async def test_a_purge_while_more_are_made_costs_the_waiting_client_nothing(world: World) -> None:
    one = await world.served(CUBE)
    world.upstream.gate.clear()
    waiting = asyncio.create_task(world.served({"prompt": CUBE, "model": "m", "n": 3}))
    await world.sent(2)
    await world.purger.purge(PurgeRequest(everything=True, confirm="purge all"))
    world.upstream.gate.set()
    three = await waiting
    assert pictures_of(three)[0] == pictures_of(one)[0]
    assert len(pictures_of(three)) == 3
    assert (await world.store.totals())["entries"] == 0


async def test_a_fragment_is_never_passed_off_as_the_answer(world: World) -> None:
    await world.served(CUBE)
    world.upstream._plan = lambda call: planned({"created": 1, "data": []})
    failed = await world.failed({"prompt": CUBE, "model": "m", "n": 3})
    assert isinstance(failed.error, UpstreamUnreachable)
    assert (await world.served(CUBE)).report.decision == "hit"


@pytest.mark.parametrize("created", [2**63, -1, 2**53])
async def test_an_answer_with_an_impossible_time_is_passed_on_and_not_stored(world: World, created: int) -> None:
    world.upstream._plan = lambda call: planned({**json.loads(generate(call).pieces[0]), "created": created})
    assert not (await world.served(CUBE)).report.stored


async def test_whatever_the_store_raises_the_client_gets_what_was_paid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise OverflowError("unforeseen")

    monkeypatch.setattr(world.store, "put", broken)
    assert pictures_of(await world.served(CUBE))


async def test_a_spooled_file_that_cant_be_stored_doesnt_stop_the_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise OverflowError("unforeseen")

    monkeypatch.setattr(world.store, "put", broken)
    await world.served(CUBE)
    assert await _as_a_new_process_would(world) == ["unreadable"]
    monkeypatch.undo()
    assert (await world.served(CUBE)).report.stored


async def test_the_tags_of_those_who_join_are_stored_too(world: World) -> None:
    world.upstream.gate.clear()

    async def tagged(tag: str) -> None:
        await world.cache.get_or_generate(
            "images",
            {"prompt": CUBE, "model": "m"},
            caller=Caller("default", "t"),
            directives=Directives(),
            tags=frozenset({tag}),
        )

    both = [asyncio.create_task(tagged(tag)) for tag in "xy"]
    await world.sent(1)
    for _ in range(50):
        await asyncio.sleep(0)
    while not all(len(flight.tags) == 2 for flight in world.flights._by_key.values()):  # noqa: ASYNC110  no event for it
        await asyncio.sleep(0)
    world.upstream.gate.set()
    await asyncio.gather(*both)
    for tag in "xy":
        assert (await world.purger.purge(PurgeRequest(tag=tag, dry_run=True))).count == 1


async def test_a_very_long_last_turn_is_exact_only(world: World) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "word " * 20_000}]}
    assert (await world.served(body, "chat")).report.reason == "exact only"
    assert (await world.served(body, "chat")).report.kind == "exact"
    assert not world.embedder.asked


async def test_a_stream_is_passed_through_and_neither_looked_up_nor_stored(world: World) -> None:
    pieces = (b"data: 1\n\n", b"data: [DONE]\n\n")
    world.upstream._plan = lambda call: Planned(pieces, headers={"content-type": "text/event-stream"})
    result = await world.served({**CHAT, "stream": True}, "chat")
    assert result.pieces is not None
    assert [piece async for piece in result.pieces] == list(pieces)
    assert (result.report.forwarded, world.upstream.in_flight) == ("bypass", 0)
    assert json.loads(world.upstream.calls[0].body or b"")["stream"] is True
    assert (await world.store.totals())["entries"] == 0


async def test_what_was_stored_is_found_by_meaning_after_a_restart(world: World, verifier: Switchable) -> None:
    world.close_together(CUBE, CUBE_AGAIN)
    first = await world.served(CUBE)
    await close(world)
    again = await build(world.directory, verifier=verifier, now=time.time)
    again.close_together(CUBE, CUBE_AGAIN)
    found = await again.served(CUBE_AGAIN, only_if_cached=True)
    assert pictures_of(found) == pictures_of(first)
    await close(again)


async def test_another_nodes_entries_are_found_once_its_changes_are_followed(
    world: World, verifier: Switchable
) -> None:
    other = await build(world.directory, verifier=verifier, now=time.time)
    world.close_together(CUBE, CUBE_AGAIN)
    first = await world.served(CUBE)
    other.close_together(CUBE, CUBE_AGAIN)
    await other.follower.catch_up()
    assert pictures_of(await other.served(CUBE_AGAIN, only_if_cached=True)) == pictures_of(first)
    await world.purger.purge(PurgeRequest(everything=True, confirm="purge all"))
    assert isinstance((await other.failed(CUBE_AGAIN, only_if_cached=True)).error, NotCached), (
        "the row is read before it is served"
    )
    await close(other)


async def test_an_unknown_operation_is_refused_naming_the_known_ones(world: World) -> None:
    with pytest.raises(InvalidRequest, match="images, chat"):
        await world.ask(CUBE, "video")


def test_pictures_differ() -> None:
    assert picture() != picture()


async def test_a_priority_reaches_the_queue_of_the_upstream(world: World) -> None:
    """Bulk work waits behind what people wait for."""
    await world.served("a fox", priority=-10)
    await world.served("a whale")
    assert [call.priority for call in world.upstream.calls] == [-10, 0]


async def test_who_joins_a_generation_that_waits_behind_others_gives_it_his_own_turn(world: World) -> None:
    """A batch began it; a person asks for the same."""
    world.upstream.gate.clear()
    batch = asyncio.create_task(world.served("a fox", priority=-10))
    await world.sent(1)
    (call,) = world.upstream.calls
    assert call.urgency is not None
    assert call.urgency.priority == -10
    raised = asyncio.Event()
    with call.urgency.heard_by(raised.set):
        person = asyncio.create_task(world.served("a fox"))
        await raised.wait()
    assert call.urgency.priority == 0
    world.upstream.gate.set()
    assert (await person).report.decision == "collapsed"
    assert (await batch).report.decision == "miss"


async def test_a_preset_is_the_same_request_as_its_parameters_and_is_never_forwarded(world: World) -> None:
    """What it stands for is explicit before the key is formed."""
    meaning = {"speed": {"model": "m", "quality": "low"}}

    def prepare(operation: str, body: Any) -> Any:
        preset = body.get("preset")
        rest = {name: value for name, value in body.items() if name != "preset"}
        return {**meaning.get(preset, {}), **rest}

    world.cache._keying._prepare = prepare
    first = await world.served({"prompt": CUBE, "preset": "speed"})
    assert json.loads(world.upstream.calls[0].body or b"") == {"prompt": CUBE, "model": "m", "quality": "low"}
    explicit = await world.served({"prompt": CUBE, "model": "m", "quality": "low"})
    assert (explicit.report.decision, explicit.report.key) == ("hit", first.report.key)
    other = await world.served({"prompt": CUBE, "preset": "speed", "quality": "high"})
    assert other.report.decision == "miss"
