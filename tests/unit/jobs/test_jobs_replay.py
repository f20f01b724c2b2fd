"""A replayed log is answered as the service would have, and every pair it would serve is there to be judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cache_service.errors import ConfigurationError
from cache_service.jobs.evaluate import evaluate, read_pairs
from cache_service.jobs.replay import Replay, Replayed, judgements, read_log, write
from cache_service.jobs.report import replayed
from cache_service.operations.base import Operation
from cache_service.operations.chat import Chat
from cache_service.operations.images import Images
from cache_service.verification.rules import RulesVerifier
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.index import BruteForceIndex

FOX, SAME_FOX, BLUE_FOX = "a red fox on a rock", "a red fox on top of a rock", "a blue fox on a rock"
KINDS: dict[str, Operation] = {"images": Images(lambda *_: 1), "chat": Chat()}


def embedder() -> FakeEmbedder:
    """All foxes are close."""
    made = FakeEmbedder()
    for text in (SAME_FOX, BLUE_FOX):
        made.vectors[text] = made._embed(FOX).vector
    return made


async def replay(tmp_path: Path, *rows: Any, model: FakeEmbedder | None = None) -> Replayed:
    """What becomes of these rows."""
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    made = Replay(
        KINDS,
        embedder=model or embedder(),
        verifier=RulesVerifier(),
        index=BruteForceIndex(384),
        threshold=0.92,
        candidates=5,
    )
    return await made.run(read_log(path, operation="images"))


async def test_hits_by_kind_and_misses_by_reason(tmp_path: Path) -> None:
    broken = embedder()
    broken.broken.add("unreadable")
    found = await replay(
        tmp_path, FOX, FOX, SAME_FOX, SAME_FOX, BLUE_FOX, "a green whale", "unreadable", "unreadable", "", model=broken
    )
    assert (found.exact, found.semantic) == (2, 2)
    assert found.misses == {"no candidate": 2, "different": 1, "not embedded": 1, "refused": 1}
    assert found.as_json()["hit_rate"] == 0.5
    assert "2 exact hits, 2 semantic hits (50.0% in all)" in "\n".join(replayed(found))


async def test_a_prompt_that_was_served_is_not_stored(tmp_path: Path) -> None:
    """Its answer is the other prompt's: as in the service, a repeat is the same semantic hit again."""
    found = await replay(tmp_path, FOX, SAME_FOX, SAME_FOX)
    (pair,) = found.pairs(refused=False)
    assert (pair.stored, pair.asked, pair.times, found.semantic) == (FOX, SAME_FOX, 2, 2)


async def test_the_order_counts(tmp_path: Path) -> None:
    (pair,) = (await replay(tmp_path, SAME_FOX, FOX)).pairs(refused=False)
    assert (pair.stored, pair.asked) == (SAME_FOX, FOX)


async def test_other_parameters_are_another_partition(tmp_path: Path) -> None:
    found = await replay(tmp_path, {"prompt": FOX, "size": "1024x1024"}, {"prompt": SAME_FOX, "size": "1536x1024"}, FOX)
    assert (found.exact, found.semantic, len(found.partitions)) == (0, 0, 3)


async def test_every_form_of_a_request_is_read(tmp_path: Path) -> None:
    turn = {"role": "user", "content": "How do I grow tomatoes?"}
    found = await replay(
        tmp_path,
        {"prompt": FOX, "operation": "images"},
        {"operation": "images", "request": {"prompt": FOX}},
        {"prompt": "How do I grow tomatoes?", "operation": "chat"},
        {"messages": [turn], "operation": "chat"},
        {"operation": "chat", "request": {"messages": [turn]}},
    )
    assert (found.exact, found.misses["no candidate"]) == (3, 2)


async def test_an_unknown_operation_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="line 2: unknown operation 'video'"):
        await replay(tmp_path, FOX, {"prompt": FOX, "operation": "video"})


async def test_exact_only_turns_are_stored_for_themselves(tmp_path: Path) -> None:
    now = {"prompt": "What is the weather today?", "operation": "chat"}
    found = await replay(tmp_path, now, now)
    assert (found.exact, found.misses) == (1, {"exact-only": 1})


async def test_pairs_are_judged_by_a_person_and_read_back(tmp_path: Path) -> None:
    """Also those that were refused, if asked for; what was judged once is kept when the log is replayed again."""
    found = await replay(tmp_path, FOX, SAME_FOX, BLUE_FOX)
    path = tmp_path / "pairs.jsonl"
    write(found.pairs(refused=True), path, judgements(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["a"], row["b"], row["same"], row["category"]) for row in rows] == [
        (FOX, SAME_FOX, None, "served"),
        (FOX, BLUE_FOX, None, "refused"),
    ]
    assert rows[0]["similarity"] == pytest.approx(1.0)
    assert rows[0]["reason"]
    unjudged = await evaluate(
        read_pairs(path), KINDS["images"], embedder=embedder(), verifier=RulesVerifier(), threshold=0.92, others=KINDS
    )
    assert (unjudged.unjudged, unjudged.total.pairs) == (2, 0)
    path.write_text(path.read_text().replace("null", "true", 1))
    write(found.pairs(refused=True), path, judgements(path))
    judged = await evaluate(
        read_pairs(path), KINDS["images"], embedder=embedder(), verifier=RulesVerifier(), threshold=0.92, others=KINDS
    )
    assert (judged.unjudged, judged.total.true_hits, judged.total.pairs) == (1, 1, 1)


async def test_a_chats_pair_keeps_its_whole_context(tmp_path: Path) -> None:
    def talk(question: str) -> dict[str, Any]:
        return {
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": question}],
            "operation": "chat",
        }

    one, other = "How do I grow tomatoes?", "how do I grow tomatoes"
    close = embedder()
    close.vectors[other] = close._embed(one).vector
    found = await replay(tmp_path, talk(one), talk(other), model=close)
    (pair,) = found.pairs(refused=False)
    assert pair.as_json(None)["a"] == talk(one)["messages"]
    path = tmp_path / "pairs.jsonl"
    write([pair], path, {})
    path.write_text(path.read_text().replace("null", "true"))
    again = await evaluate(
        read_pairs(path), KINDS["images"], embedder=close, verifier=RulesVerifier(), threshold=0.92, others=KINDS
    )
    assert (again.total.hits, again.total.true_hits) == (1, 1)


async def test_what_was_judged_is_never_lost(tmp_path: Path) -> None:
    """Neither when fewer pairs are asked for, nor when another log doesn't meet them."""
    found = await replay(tmp_path, FOX, SAME_FOX, BLUE_FOX)
    path = tmp_path / "pairs.jsonl"
    write(found.pairs(refused=True), path, {})
    path.write_text(path.read_text().replace("null", "false"))
    write(found.pairs(refused=False), path, judgements(path))
    write([], path, judgements(path))
    kept = [(pair.a, pair.b, pair.same, pair.category) for pair in read_pairs(path)]
    assert kept == [(FOX, SAME_FOX, False, "served"), (FOX, BLUE_FOX, False, "refused")]


def test_a_file_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes")
    with pytest.raises(ConfigurationError, match=r"notes\.txt, line 1"):
        judgements(path)
