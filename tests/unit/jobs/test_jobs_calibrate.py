"""`calibrate` serves from a score only where the pairs prove it, says on what evidence, and leaves no pair out silently."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from cache_service.calibration import NEVER
from cache_service.errors import ConfigurationError
from cache_service.jobs.calibrate import Aim, Outcome, Report, choose, decide_all, write
from cache_service.jobs.pairs import Decided, How, Pair
from cache_service.jobs.report import calibration
from cache_service.operations.images import Images
from cache_service.verification.base import Same, Scored, Unsure
from cache_service.verification.rules import RulesVerifier
from tests.fakes.embedder import FakeEmbedder

AIM = Aim(floor=0.85, prior=0.5, allowed={"images": 0.02, "chat": 0.05})
KINDS = ("caption", "edit")
IN_FORCE = {"images": {"caption": 0.7, "edit": 0.6}, "chat": {"caption": 0.7, "edit": 0.6}}


def decided(
    same: bool | None, score: float, *, kind: str = "caption", similarity: float = 0.9, number: int = 0, **more: str
) -> Decided:
    """A pair over the floor with a score."""
    pair = Pair(f"{kind} {number}", f"{same} {score} {similarity}", same, more.get("category", ""))
    verdict = Same("x") if score >= 0.99 else Unsure("x")
    return Decided(pair, more.get("operation", "images"), How.COMPARED, similarity, Scored(verdict, score, kind))


def many(count: int, same: bool, score: float, **more: str) -> list[Decided]:
    """Pairs that differ in nothing but their texts."""
    return [decided(same, score, number=number, **more) for number in range(count)]


def report(*groups: Sequence[Decided], keep: bool = False, kinds: Sequence[str] = KINDS) -> Report:
    """What the pairs of all groups come to."""
    return choose([one for group in groups for one in group], AIM, kinds=kinds, in_force=IN_FORCE, keep=keep)


def test_each_route_has_a_threshold_of_its_own() -> None:
    found = report(
        many(200, True, 0.95),
        many(300, False, 0.1),
        many(200, True, 0.6, kind="edit"),
        many(300, False, 0.2, kind="edit"),
    ).routes["images"]
    assert {kind: route.outcome for kind, route in found.items()} == dict.fromkeys(KINDS, Outcome.PROVED)
    assert 0.1 < found["edit"].threshold <= 0.6
    assert found["caption"].found.bound <= 0.02


def test_operations_are_calibrated_apart_by_what_each_is_allowed() -> None:
    pairs = [*many(200, True, 0.95), *many(500, False, 0.1), *many(5, False, 0.97)]
    chat = [
        decided(one.pair.same, one.scored.score, number=n, operation="chat")
        for n, one in enumerate(pairs)
        if one.scored
    ]
    found = report(pairs, chat).routes
    assert found["images"]["caption"].outcome is Outcome.NOT_WITHIN
    assert found["chat"]["caption"].outcome is Outcome.PROVED
    assert found["chat"]["caption"].found.served_different == 5


def test_what_is_not_proved_is_left_to_the_rules_with_their_own_figures() -> None:
    found = report(many(50, True, 1.0), many(50, True, 0.9), many(300, False, 0.9), many(2, False, 1.0)).routes[
        "images"
    ]
    route = found["caption"]
    assert (route.outcome, route.threshold) == (Outcome.NOT_WITHIN, NEVER)
    assert (route.found.served_same, route.found.served_different) == (50, 2)


def test_too_few_pairs_keep_the_threshold_in_force_only_if_asked() -> None:
    pairs = [*many(20, True, 0.95), *many(20, False, 0.1)]
    assert report(pairs).routes["images"]["caption"].threshold == NEVER
    kept = report(pairs, keep=True).routes["images"]
    assert [(route.outcome, route.threshold, route.kept) for route in kept.values()] == [
        (Outcome.TOO_FEW, 0.7, True),
        (Outcome.TOO_FEW, 0.6, True),
    ]
    assert kept["caption"].found.served_same == 20


def test_what_fails_is_not_kept() -> None:
    pairs = [*many(200, True, 0.95), *many(300, False, 0.95)]
    assert report(pairs, keep=True).routes["images"]["caption"].threshold == NEVER


def test_rows_that_repeat_another_are_no_evidence() -> None:
    once = many(100, True, 0.95) + many(60, False, 0.1)
    found = report(*[once] * 10)
    assert found.routes["images"]["caption"].outcome is Outcome.TOO_FEW
    assert found.how["images"] == {"compared": 160, "repeated": 1440}


def test_no_pair_is_left_out_silently() -> None:
    pair = Pair("a", "b", True)
    others = [Decided(Pair("a", str(how), True), "images", how, 1.0) for how in How if how is not How.COMPARED]
    found = report(
        [decided(None, 0.9), decided(True, 0.9, similarity=0.5), Decided(pair, "images", How.REFUSED), *others]
    )
    assert found.how["images"] == {
        "not judged": 1, "below the floor": 1, "refused": 2, "equal key": 1, "other partition": 1, "exact-only": 1,
        "not embedded": 1, "repeated": 0,
    }  # fmt: skip
    assert found.routes["images"]["caption"].found.same == 0


def test_gates_are_shown_with_the_chosen_thresholds() -> None:
    near = [decided(True, 0.95, similarity=0.97, number=n) for n in range(100)]
    found = report(near, many(100, True, 0.95), many(300, False, 0.1))
    gates = dict(found.gates["images"])
    assert (gates[0.96].same, gates[0.96].served_same, gates[0.96].different) == (100, 100, 0)
    assert (gates[0.85].same, gates[0.85].served_same, gates[0.85].different) == (200, 200, 300)


async def test_with_rules_alone_there_is_nothing_to_calibrate_and_it_says_what_was_measured() -> None:
    rows = [
        Pair("a red cube on a blue sphere", "a red cube on top of a blue sphere", True),
        Pair("two dogs", "three dogs", False),
    ]
    embedder = FakeEmbedder()
    for row in rows:
        embedder.vectors[row.b] = embedder._embed(row.a).vector
    found = await decide_all(
        rows, Images(lambda *_: 1), others={}, embedder=embedder, verifier=RulesVerifier(), floor=AIM.floor
    )
    measured = report(found, kinds=())
    assert measured.routes == {}
    step = dict(measured.gates["images"])[0.92]
    assert (step.same, step.served_same, step.different, step.served_different) == (1, 1, 1, 0)
    assert "nothing was calibrated" in "\n".join(calibration(measured, verifier="rules"))


def test_people_read_both_figures_and_why_a_route_has_no_threshold() -> None:
    found = report(many(200, True, 0.95), many(300, False, 0.1), many(3, False, 1.0, kind="edit"))
    text = "\n".join(calibration(found, verifier="learned"))
    assert "wrong/hits" in text
    assert "at 50% same" in text
    assert "too few pairs: it takes 146 different ones" in text


GOLDEN = {
    "outcome": "proved", "threshold": 0.930862, "same": 200, "different": 300, "served_same": 200, "served_different": 0,
    "wrong_of_hits": 0.0, "bound": 0.009838, "hits": 200, "wrong": 0, "raw_wrong_of_hits": 0.0, "raw_bound": 0.014867,
    "groups_of_different": 300, "kept_from_before": False,
}  # fmt: skip


def test_the_file_says_what_it_rests_on(tmp_path: Path) -> None:
    pairs = [*many(200, True, 0.94), *many(300, False, 0.93)]
    path = tmp_path / "thresholds.json"
    write(report(pairs), path, model="abc", files={"p.jsonl": "123"}, about={"verifier": "learned-1"})
    found: Mapping[str, object] = json.loads(path.read_text())
    assert found["evidence"]["images"]["caption"] == GOLDEN  # type: ignore[index]
    assert {name: found[name] for name in ("format", "model", "floor", "prior", "confidence", "allowed", "data_sha256")} == {
        "format": 1, "model": "abc", "floor": 0.85, "prior": 0.5, "confidence": 0.95, "allowed": {"images": 0.02, "chat": 0.05},
        "data_sha256": {"p.jsonl": "123"},
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["thresholds.json"]


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such"):
        write(report(many(1, True, 0.9)), tmp_path / "no-such" / "t.json", model="", files={}, about={})
