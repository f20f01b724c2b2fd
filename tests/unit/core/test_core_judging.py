"""Which candidates the dear stages look at, and that one candidate's failure is that candidate's alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from cache_service.embedding.base import Embedding
from cache_service.semantic_tier import READ_AT_MOST, Judging
from cache_service.verification.base import Analysis, Different, Open, Same, Unsure, Verdict

SAME, DIFFERENT = Same("read"), Different("read")


class Staged:
    """A verifier whose stages say what was told for each prompt; notes whom the dear one was asked about."""

    version = "staged-1"

    def __init__(self, cheap: Mapping[str, Any], dear: Mapping[str, Any]) -> None:
        self.cheap, self.dear = cheap, dear
        self.read: list[str] = []

    def analyse(self, prompt: str, embedding: Embedding) -> Analysis:
        return analysis(prompt)

    def screen(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict | Open:
        return said(self.cheap[stored.prompt])

    def verify(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict:
        self.read.append(stored.prompt)
        return said(self.dear[stored.prompt])


def said(found: Any) -> Any:
    if isinstance(found, Exception):
        raise found
    return found


def analysis(prompt: str) -> Analysis:
    return Analysis("staged-1", prompt, {})


def judge(verifier: Staged) -> list[Verdict]:
    seconds = itertools.count()
    judging = Judging(verifier, analysis("asked"), "images", lambda: float(next(seconds)))
    return [verdict for verdict, _ in judging.all([analysis(prompt) for prompt in verifier.cheap])]


def test_the_dear_stages_read_the_likeliest_few() -> None:
    """Five candidates are open: two are read, the likeliest first, and the others are unsure."""
    likely = {"a": 1.0, "b": 5.0, "c": 3.0, "d": 4.0, "e": 2.0}
    verifier = Staged({name: Open(value, "open") for name, value in likely.items()}, dict.fromkeys(likely, DIFFERENT))
    verdicts = judge(verifier)
    assert verifier.read == ["b", "d"]
    assert len(verifier.read) == READ_AT_MOST
    assert [type(verdict) for verdict in verdicts] == [Unsure, Different, Unsure, Different, Unsure]


def test_reading_ends_at_the_first_that_is_the_same() -> None:
    verifier = Staged({"a": Open(1.0, "open"), "b": Open(2.0, "open")}, {"a": SAME, "b": SAME})
    assert [type(verdict) for verdict in judge(verifier)] == [Unsure, Same]
    assert verifier.read == ["b"]


def test_what_is_plainly_the_same_needs_no_reading() -> None:
    """Also where a closer candidate is open; what comes after it isn't judged at all."""
    verifier = Staged({"a": Open(9.0, "open"), "b": SAME, "c": DIFFERENT}, {})
    assert [type(verdict) for verdict in judge(verifier)] == [Unsure, Same]
    assert verifier.read == []


def test_a_candidate_whose_verification_fails_is_unsure_and_the_others_go_on() -> None:
    """In either stage; each failure is counted, for the metric."""
    broken = RuntimeError("broken")
    verifier = Staged({"a": broken, "b": Open(2.0, "open"), "c": Open(1.0, "open")}, {"b": broken, "c": SAME})
    judging = Judging(verifier, analysis("asked"), "images", lambda: 0.0)
    verdicts = [verdict for verdict, _ in judging.all([analysis(prompt) for prompt in "abc"])]
    assert verdicts == [Unsure("the verifier failed"), Unsure("the verifier failed"), SAME]
    assert judging.failures == 2


def test_a_stage_that_says_something_else_has_failed() -> None:
    """Also a dear stage that leaves the question open."""
    verifier = Staged({"a": None, "b": Open(1.0, "open")}, {"b": Open(1.0, "open")})
    assert [type(verdict) for verdict in judge(verifier)] == [Unsure, Unsure]


def test_a_stored_prompt_without_an_analysis_is_unsure() -> None:
    judging = Judging(Staged({}, {}), analysis("asked"), "images", lambda: 0.0)
    assert judging.all([None]) == [(Unsure("the stored prompt can't be analysed"), 0.0)]
