"""`evaluate` decides as the service would, and counts what it says it counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cache_service.errors import ConfigurationError
from cache_service.jobs.evaluate import Evaluation, Pair, evaluate, read_pairs
from cache_service.operations.chat import Chat
from cache_service.operations.images import Images
from cache_service.verification.rules import RulesVerifier
from tests.fakes.embedder import FakeEmbedder


async def decide(*pairs: Pair, operation: str = "images", embedder: FakeEmbedder | None = None) -> Evaluation:
    kind: Any = Images(lambda *_: 1) if operation == "images" else Chat()
    return await evaluate(pairs, kind, embedder=embedder or close(*pairs), verifier=RulesVerifier(), threshold=0.92)


def close(*pairs: Pair) -> FakeEmbedder:
    """An embedder that finds both prompts of each pair equal."""
    embedder = FakeEmbedder()
    for pair in pairs:
        if isinstance(pair.a, str):
            embedder.vectors[pair.b] = embedder._embed(pair.a).vector
    return embedder


async def test_rates_are_per_same_and_per_different_pair() -> None:
    result = await decide(
        Pair("a red cube on a blue sphere", "a red cube on top of a blue sphere", True, "same"),
        Pair("two dogs", "three dogs", False, "count"),
        Pair("a fox", "a fox", False, "mislabelled"),
    )
    assert result.as_json() == {
        "pairs": 3,
        "same": 1,
        "hits": 2,
        "true_hit_rate": 1.0,
        "false_hit_rate": 0.5,
        "gate": 0.92,
        "by_category": {
            "count": {"pairs": 1, "same": 0, "hits": 0, "true_hit_rate": None, "false_hit_rate": 0.0},
            "mislabelled": {"pairs": 1, "same": 0, "hits": 1, "true_hit_rate": None, "false_hit_rate": 1.0},
            "same": {"pairs": 1, "same": 1, "hits": 1, "true_hit_rate": 1.0, "false_hit_rate": None},
        },
    }
    assert [wrong["a"] for wrong in result.wrong_as_json()] == ["a fox"]


async def test_below_the_gate_nothing_is_served() -> None:
    pair = Pair("a red cube on a blue sphere", "a red cube on top of a blue sphere", True)
    assert (await decide(pair, embedder=FakeEmbedder())).total.hits in (0, 1)
    far = FakeEmbedder()
    far.vectors[pair.b] = -far._embed(pair.a).vector
    assert (await decide(pair, embedder=far)).total.hits == 0


async def test_another_context_is_another_partition() -> None:
    def talk(system: str) -> list[dict[str, str]]:
        return [{"role": "system", "content": system}, {"role": "user", "content": "How do I reset it?"}]

    result = await decide(
        Pair(talk("a"), talk("a"), True),
        Pair(talk("a"), talk("b"), False),
        Pair("Hello there", "Hello there", True),
        operation="chat",
    )
    assert (result.total.hits, result.total.true_hits) == (2, 2)


async def test_what_the_service_would_refuse_or_can_not_embed_is_a_miss() -> None:
    broken = FakeEmbedder()
    broken.broken.add("unreadable")
    result = await decide(
        Pair("", "", True), Pair("unreadable", "unreadable too", True), Pair("a fox", " a  fox", True), embedder=broken
    )
    assert (result.total.pairs, result.total.hits) == (3, 1)


def test_files_may_be_gzipped(tmp_path: Path) -> None:
    row = {"a": "x", "b": "y", "same": 0, "category": "c"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n\n")
    with gzip.open(tmp_path / "p.jsonl.gz", "wt") as file:
        file.write(json.dumps(row))
    assert (
        list(read_pairs(tmp_path / "p.jsonl"))
        == list(read_pairs(tmp_path / "p.jsonl.gz"))
        == [Pair("x", "y", False, "c")]
    )


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"a": "x"}', '{"a": 1, "b": "y", "same": true}', '{"a": "x", "b": "y", "same": "no"}']
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.jsonl").write_text('{"a": "x", "b": "y", "same": true}\n' + line)
    with pytest.raises(ConfigurationError, match="line 2"):
        list(read_pairs(tmp_path / "p.jsonl"))


@pytest.mark.parametrize("damage", ["cut off", "no gzip", "bad block", "bad checksum"])
def test_a_damaged_gzip_is_a_clear_error(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(b'{"a": "x", "b": "y", "same": true}\n' * 1000)
    damaged = {
        "cut off": whole[:-12],
        "no gzip": b"no gzip at all",
        "bad block": whole[:10] + b"\xff" * 20 + whole[30:],
        "bad checksum": whole[:-8] + b"\0" * 8,
    }
    (tmp_path / "p.jsonl.gz").write_bytes(damaged[damage])
    with pytest.raises(ConfigurationError, match=r"p\.jsonl\.gz"):
        list(read_pairs(tmp_path / "p.jsonl.gz"))


@pytest.mark.parametrize("operation", ["images", "chat"])
async def test_half_a_surrogate_pair_is_a_refused_request(tmp_path: Path, operation: str) -> None:
    (tmp_path / "p.jsonl").write_text(r'{"a": "\ud800", "b": "\ud800", "same": true, "category": "\ud800"}')
    (pair,) = read_pairs(tmp_path / "p.jsonl")
    result = await decide(pair, operation=operation, embedder=FakeEmbedder())
    assert (result.total.pairs, result.total.hits) == (1, 0)
    json.dumps(result.as_json(), ensure_ascii=False).encode()


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such"):
        list(read_pairs(tmp_path / "no-such.jsonl.gz"))
