"""The learned verifier: rules veto first, then attributes that have moved, roles exchanged and unknown terms, then cheap trees, then the cross-encoder and the trees over everything.

What the rules call different stays different, and what they can't judge for a reason that a model can't judge either (other
scripts, unseen text, code) stays unsure. Only where they miss a *word* or an *order* the learned stages may still say same,
with a score over the threshold calibrated for the pair's route. Everything short of that is unsure, which is a miss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cache_service.embedding.base import Seen
from cache_service.verification.attributes import moved_attribute
from cache_service.verification.base import Analysis, Different, Open, Same, Scored, Unsure, Verdict, Verifier
from cache_service.verification.difference import FEATURES, GIVEN, WordLikeness, features, route
from cache_service.verification.roles import exchanged_roles
from cache_service.verification.trees import Trees

VERSION = "learned-1"
LONGEST = 256  # pieces of a prompt that are kept for the cross-encoder

OPEN = (
    "unmatched word",
    "order of the words",
    "done / doing",
    "question",
    "singular / plural",
    "statement / question",
    "tense",
)
"""Beginnings of the rules' reasons for being unsure that the learned stages may overrule."""

_LOW, _HIGH, _WORDS = (FEATURES.index(name) for name in GIVEN)


class PairEncoder(Protocol):
    """Reads two prompts at once."""

    def logits(self, first: Sequence[int], second: Sequence[int]) -> tuple[float, float] | None:
        """For both orders of two lists of word pieces, above 0: the same. None where the pair is too long. Raises VerificationError."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which score a pair is served.

    version: of the training. first: least logit of the first trees. serve: by route, a probability. own: by operation and route, what
    an operator calibrated; it goes before `serve`, for candidates over `floor` (cosine).
    """

    version: str
    first: float
    serve: Mapping[str, float]
    own: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    floor: float = 0.0

    def least(self, operation: str, kind: str) -> float:
        """The threshold of a route."""
        return self.own.get(operation, self.serve)[kind]


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """What was trained. first: trees without the encoder's logits; last: with them. words: a row for each word piece.

    digest: of everything that a score hangs on, in hex; own thresholds are for this one alone.
    """

    encoder: PairEncoder
    first: Trees
    last: Trees
    thresholds: Thresholds
    words: npt.NDArray[np.float16]
    tokenizer: bytes
    digest: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Doubt:
    """A pair that the cross-encoder has to read: in the order of their texts, what the rules said, and its features so far."""

    first: Analysis
    second: Analysis
    rules: Unsure
    row: npt.NDArray[np.float32]


class LearnedVerifier:
    """Rules and trained models together; see `Verifier` for what it promises. Raises VerificationError where a model fails."""

    def __init__(self, rules: Verifier, models: Models) -> None:
        self._rules = rules
        self._models = models
        self._tokenizer = Tokenizer.from_buffer(models.tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._likeness = WordLikeness(models.words, self._tokenizer.get_vocab())

    @property
    def version(self) -> str:
        """Changes whenever `analyse` gives other facts; other thresholds or weights need no new analysis."""
        return f"{VERSION}+{self._rules.version}"

    def analyse(self, prompt: str, seen: Seen) -> Analysis:
        """The rules' facts, and the word pieces if the embedder saw all of the prompt."""
        pieces = None
        if seen.cut is None and not seen.unknown:
            pieces = self._tokenizer.encode(closed(prompt), add_special_tokens=False).ids
        return Analysis(
            version=self.version,
            prompt=prompt,
            facts={
                "rules": self._rules.analyse(prompt, seen).facts,
                "pieces": pieces if pieces is not None and len(pieces) <= LONGEST else None,
            },
        )

    def verify(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict:
        """The rules' verdict, or the models' where the rules leave the question open."""
        return self._decide(asked, stored, operation)[0]

    def score(self, asked: Analysis, stored: Analysis, operation: str) -> Scored:
        """The verdict, the probability behind it, and the route; see `ScoringVerifier`."""
        verdict, probability = self._decide(asked, stored, operation)
        return Scored(verdict, probability, route(asked.prompt, stored.prompt))

    def screen(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict | Open:
        """What rules and the first trees say; `Open` where the cross-encoder has to read the pair."""
        found = self._screened(asked, stored, operation)
        return Open(float(found.row[_WORDS]), found.rules.reason) if isinstance(found, _Doubt) else found

    def _decide(self, asked: Analysis, stored: Analysis, operation: str) -> tuple[Verdict, float]:
        """A verdict and its probability: 1 or 0 where no model had the last word."""
        found = self._screened(asked, stored, operation)
        if isinstance(found, _Doubt):
            return self._read(found, operation)
        return found, 1.0 if isinstance(found, Same) else 0.0

    def _screened(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict | _Doubt:
        """Rules, then trees that cost nothing."""
        if asked.version != self.version or stored.version != self.version:
            return Unsure("analysed by another version")
        verdict = self._rules.verify(self._of_rules(asked), self._of_rules(stored), operation)
        if not isinstance(verdict, Unsure) or not verdict.reason.startswith(OPEN):
            return verdict
        first, second = sorted((asked, stored), key=lambda analysis: analysis.prompt)
        if moved := moved_or_exchanged(first.prompt, second.prompt, operation):
            return Different(moved)
        if terms := self._likeness.unfamiliar(first.prompt, second.prompt):
            return Unsure(f"unfamiliar term {' / '.join(terms)}")
        if first.facts["pieces"] is None or second.facts["pieces"] is None:
            return verdict
        row = features(first.prompt, second.prompt, self._likeness)
        row[_WORDS] = self._models.first.logit(row)
        if row[_WORDS] < self._models.thresholds.first:
            return Unsure(f"{verdict.reason}; unlikely by its words")
        return _Doubt(first, second, verdict, row)

    def _read(self, doubt: _Doubt, operation: str) -> tuple[Verdict, float]:
        """The cross-encoder, for the few pairs that the trees leave."""
        logits = self._models.encoder.logits(doubt.first.facts["pieces"], doubt.second.facts["pieces"])
        if logits is None:
            return Unsure(f"{doubt.rules.reason}; too many differences to be read"), 0.0
        row = doubt.row
        row[_LOW], row[_HIGH] = min(logits), max(logits)
        score = 1.0 / (1.0 + math.exp(-self._models.last.logit(row)))
        kind = route(doubt.first.prompt, doubt.second.prompt)
        if score >= self._models.thresholds.least(operation, kind):
            return Same(f"learned: {kind} {score:.3f}"), score
        return Unsure(f"{doubt.rules.reason}; learned: {kind} {score:.3f}"), score

    def _of_rules(self, analysis: Analysis) -> Analysis:
        return Analysis(version=self._rules.version, prompt=analysis.prompt, facts=analysis.facts["rules"])


def moved_or_exchanged(first: str, second: str, operation: str) -> str | None:
    """What another thing is said of than before, as a reason; None where nothing surely is. Not for tags, which have no grammar."""
    if route(first, second) == "tags":
        return None
    return moved_attribute(first, second) or (exchanged_roles(first, second) if operation == "images" else None)


def closed(text: str) -> str:
    """A text without its closing punctuation, which changes no request; how the cross-encoder was trained to read it."""
    return text.strip().rstrip(" .!?,;")
