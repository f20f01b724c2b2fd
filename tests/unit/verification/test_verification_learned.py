"""Rules first, models only where the rules leave the question open, and never a hit from a part that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from cache_service.embedding.base import Embedding
from cache_service.verification.base import Analysis, Different, Same, Scored, ScoringVerifier, Unsure, Verdict
from cache_service.verification.difference import FEATURES, ROUTES
from cache_service.verification.learned import OPEN, LearnedVerifier, Models, Thresholds
from cache_service.verification.trees import Trees

WORDS = {word: number for number, word in enumerate(["[UNK]", "a", "red", "blue", "car", "dog", "and"])}


def embedding(*, cut: int | None = None, unknown: tuple[tuple[int, int], ...] = ()) -> Embedding:
    """A unit vector, and what of the text was not seen."""
    vector = np.zeros(384, np.float32)
    vector[0] = 1.0
    return Embedding(vector, (), unknown, cut)


@dataclass
class Rules:
    """Rules that always say the same."""

    verdict: Verdict
    version: str = "fixed-1"

    def analyse(self, prompt: str, embedding: Embedding) -> Analysis:
        """The prompt itself."""
        return Analysis(self.version, prompt, {"own": prompt})

    def screen(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict:
        """As `verify`."""
        return self.verify(asked, stored, operation)

    def verify(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict:
        """The fixed verdict; the analyses must be its own."""
        assert asked.facts == {"own": asked.prompt}
        return self.verdict


@dataclass
class Encoder:
    """A cross-encoder that always says the same, and counts how often it was asked."""

    found: tuple[float, float] | None
    asked: list[tuple[Sequence[int], Sequence[int]]] = field(default_factory=list)

    def logits(self, first: Sequence[int], second: Sequence[int]) -> tuple[float, float] | None:
        """The fixed logits."""
        self.asked.append((first, second))
        return self.found


def leaf(value: float) -> Trees:
    """Trees that always give one logit."""
    zero = np.zeros(1, np.int32)
    return Trees(
        zero, zero - 1, zero.astype(np.float32), zero, zero, zero.astype(bool), zero.astype(np.float32), value, 1
    )


def lower_logit() -> Trees:
    """Trees that give +3 where the lower of the encoder's logits is over 0, else -3."""
    return Trees(
        roots=np.array([0]),
        feature=np.array([FEATURES.index("encoder_low"), -1, -1]),
        threshold=np.zeros(3, np.float32),
        left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]),
        missing_left=np.ones(3, bool),
        value=np.array([0, -3, 3], np.float32),
        baseline=0.0,
        depth=1,
    )


def verifier(
    rules: Verdict, found: tuple[float, float] | None, *, first: float = 1.0, own: dict[str, float] | None = None
) -> tuple[LearnedVerifier, Encoder]:
    """A verifier whose parts give fixed answers. first: the cheap trees' logit."""
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    encoder = Encoder(found)
    thresholds = Thresholds("test", 0.0, dict.fromkeys(ROUTES, 0.9), {"images": own} if own else {})
    models = Models(
        encoder=encoder,
        first=leaf(first),
        last=lower_logit(),
        thresholds=thresholds,
        words=np.eye(len(WORDS), 384, dtype=np.float16),
        tokenizer=tokenizer.to_str().encode(),
    )
    return LearnedVerifier(Rules(rules), models), encoder


def judge(made: LearnedVerifier, a: str = "a red car and a dog", b: str = "a dog and a car", **of_a: object) -> Verdict:
    """The verdict on two prompts. of_a: what of the first was not seen."""
    return made.verify(made.analyse(a, embedding(**of_a)), made.analyse(b, embedding()), "images")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [Same("equal after normalising"), Different("count 3 / 4"), Unsure("script 猫 / 狗"), Unsure("code or a formula")],
)
def test_what_the_rules_decide_stays_decided(said: Verdict) -> None:
    """No model can overrule a veto, and none is run."""
    made, encoder = verifier(said, (9.0, 9.0))
    assert judge(made) == said
    assert encoder.asked == []


@pytest.mark.parametrize("reason", OPEN)
def test_both_orders_must_be_convincing(reason: str) -> None:
    """The lower logit counts."""
    assert isinstance(judge(verifier(Unsure(reason), (2.0, 1.0))[0]), Same)
    assert isinstance(judge(verifier(Unsure(reason), (2.0, -1.0))[0]), Unsure)


def test_pairs_unlikely_by_their_words_cost_no_pass_of_the_model() -> None:
    """The cheap stage says no first."""
    made, encoder = verifier(Unsure(OPEN[0]), (9.0, 9.0), first=-1.0)
    assert isinstance(judge(made), Unsure)
    assert encoder.asked == []


@pytest.mark.parametrize("of_a", [{"cut": 5}, {"unknown": ((0, 1),)}])
def test_what_the_model_cannot_see_is_never_served_by_it(of_a: dict[str, object]) -> None:
    """Text after the window or without word pieces: the rules' doubt stays."""
    made, encoder = verifier(Unsure(OPEN[0]), (9.0, 9.0))
    assert judge(made, **of_a) == Unsure(OPEN[0])
    assert encoder.asked == []


def test_two_terms_that_the_model_does_not_know_are_not_told_apart_by_it() -> None:
    """However sure it is; a known word for an unknown one, or a form of it, is its business."""
    made, _ = verifier(Unsure("unmatched word"), (5.0, 5.0))
    assert isinstance(judge(made, "a warfarin car", "a warfarine car"), Same)
    assert isinstance(judge(made, "a warfarin car", "a warfrain car"), Same)
    assert isinstance(judge(made, "a watercolour car", "a watercolor car"), Same)
    assert isinstance(judge(made, "a warfarin car", "a dog car"), Same)
    assert judge(made, "a warfarin car", "a heparinoid car") == Unsure("unfamiliar term heparinoid / warfarin")
    assert judge(made, "a heparinoid car", "a warfarin car") == Unsure("unfamiliar term heparinoid / warfarin")


def test_a_pair_too_long_to_be_read_is_a_miss() -> None:
    """The cross-encoder gives no answer for a part."""
    assert isinstance(judge(verifier(Unsure(OPEN[0]), None)[0]), Unsure)


def test_symmetric() -> None:
    """Asked and stored may change places."""
    made, _ = verifier(Unsure(OPEN[0]), (2.0, 1.0))
    assert judge(made, "a red car", "a car") == judge(made, "a car", "a red car")


def test_an_analysis_of_another_version_is_unsure() -> None:
    """It is made anew by whoever stored it."""
    made, _ = verifier(Same("equal"), (9.0, 9.0))
    known = made.analyse("a car", embedding())
    assert isinstance(made.verify(known, Analysis("fixed-1", "a car", {}), "images"), Unsure)


def scored(made: LearnedVerifier, operation: str = "images", **of_a: object) -> Scored:
    """How sure it is of two prompts."""
    asked, stored = made.analyse("a red car and a dog", embedding(**of_a)), made.analyse("a dog and a car", embedding())  # type: ignore[arg-type]
    assert made.verify(asked, stored, operation) == made.score(asked, stored, operation).verdict
    return made.score(asked, stored, operation)


@pytest.mark.parametrize(("said", "score"), [(Same("equal"), 1.0), (Different("count"), 0.0), (Unsure("script"), 0.0)])
def test_what_the_rules_decide_has_the_score_one_or_zero(said: Verdict, score: float) -> None:
    """No threshold takes it back."""
    found = scored(verifier(said, (9.0, 9.0))[0])
    assert (found.verdict, found.score) == (said, score)
    assert found.route in ROUTES


def test_a_models_score_is_its_probability_whatever_the_threshold() -> None:
    """So thresholds can be chosen from scores."""
    served, refused = (
        scored(verifier(Unsure(OPEN[0]), (2.0, 1.0), own=dict.fromkeys(ROUTES, least))[0]) for least in (0.5, 0.99)
    )
    assert served.score == refused.score == pytest.approx(1 / (1 + np.exp(-3)))
    assert isinstance(served.verdict, Same)
    assert isinstance(refused.verdict, Unsure)


def test_what_no_model_has_read_has_the_score_zero() -> None:
    """Unlikely by its words, too long, or not seen."""
    unlikely, long = verifier(Unsure(OPEN[0]), (9.0, 9.0), first=-1.0)[0], verifier(Unsure(OPEN[0]), None)[0]
    assert [scored(unlikely).score, scored(long).score] == [0.0, 0.0]
    assert scored(verifier(Unsure(OPEN[0]), (9.0, 9.0))[0], cut=5).score == 0.0


def test_own_thresholds_hold_for_their_operation_alone() -> None:
    """An operation that was not calibrated keeps the shipped ones."""
    made = verifier(Unsure(OPEN[0]), (2.0, 1.0), own=dict.fromkeys(ROUTES, 0.99))[0]
    assert isinstance(scored(made, "images").verdict, Unsure)
    assert isinstance(scored(made, "chat").verdict, Same)


def test_it_is_a_scoring_verifier_and_rules_are_not() -> None:
    """Only what has thresholds is calibrated."""
    assert isinstance(verifier(Same("x"), None)[0], ScoringVerifier)
    assert not isinstance(Rules(Same("x")), ScoringVerifier)
