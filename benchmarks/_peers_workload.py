"""What every peer is asked: prompts to store, the same prompts and their paraphrases to ask for, and new ones to store while timed.

Everything follows from the file of prompts, so that all peers get the same. Standard library only: it also runs in a peer's environment.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

FORMS = ("{}, please", "please draw {}", "a picture of {}", "{}, thank you", "please, {}")
"""Ways to say a prompt in other words without another meaning. The first that reads alike to the model is taken."""

KINDS = ("exact", "semantic", "store")

LONGEST = 12  # words of a made-up prompt

ANSWER_BYTES = 1200
"""Of an answer's text; with its envelope it is the 2 KB of a usual chat answer."""


@dataclass(frozen=True)
class Workload:
    """prompts: what is stored, the asked ones first. paraphrases: of stored prompts, by prompt. fresh: never stored before."""

    prompts: list[str]
    paraphrases: dict[str, str]
    fresh: list[str]


def workload(prompts: Sequence[str], paraphrases: dict[str, str], *, entries: int, fresh: int) -> Workload:
    """The first prompts, filled up to the number of entries with made-up ones."""
    made = fillers(prompts)
    stored = list(dict.fromkeys(prompts))[:entries]
    stored += [next(made) for _ in range(entries - len(stored))]
    kept = set(stored)
    return Workload(
        stored, {one: paraphrases[one] for one in stored if one in paraphrases}, _others(prompts, kept, fresh)
    )


def fillers(prompts: Sequence[str], seed: int = 7) -> Iterator[str]:
    """Endless distinct prompts of the same words in no order that means anything: none is near another."""
    words = sorted({word for prompt in prompts for word in prompt.lower().split() if word.isalpha() and len(word) > 2})
    words *= LONGEST // len(words) + 1  # of a few prompts, some more than once
    draw, seen = random.Random(seed), set(prompts)
    while True:
        one = " ".join(draw.sample(words, draw.randint(6, LONGEST)))
        if one not in seen:
            seen.add(one)
            yield one


def _others(prompts: Sequence[str], kept: set[str], count: int) -> list[str]:
    made = fillers(prompts, seed=11)
    others: list[str] = []
    while len(others) < count:
        one = next(made)
        if one not in kept:
            others.append(one)
    return others


def again(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The pairs in an order that is no pattern, over and over."""
    shuffled = list(pairs)
    random.Random(3).shuffle(shuffled)
    return itertools.cycle(shuffled)


def answer(prompt: str) -> str:
    """The answer that belongs to a prompt: told apart from every other, and as long as a usual one."""
    head = f"{hashlib.sha256(prompt.encode()).hexdigest()[:16]} {prompt}. "
    return (head + "The answer goes on in words that nobody reads. " * 40)[:ANSWER_BYTES]


def percentile(seconds: Sequence[float], share: float) -> float:
    """The smallest time that at least this share of them doesn't exceed, in milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))] * 1e3


@dataclass(frozen=True)
class Phase:
    """One kind of work, done by so many clients. seconds: of each operation; elapsed: of all.

    right: shares that got the answer of the prompt it means; wrong: that of a third prompt. The rest were misses.
    """

    kind: str
    clients: int
    elapsed: float
    seconds: list[float]
    right: float
    wrong: float

    @classmethod
    def of(cls, kind: str, clients: int, elapsed: float, done: Sequence[tuple[float, str, str, str | None]]) -> Phase:
        """done: of each operation (seconds, the prompt whose answer is right, what was asked, the text that came)."""
        if not done:
            raise SystemExit(f"{kind}: nothing was done in {elapsed:.1f} s")
        right = sum(text == answer(meant) for _, meant, _, text in done)
        wrong = sum(text not in (None, answer(meant), answer(asked)) for _, meant, asked, text in done)
        return cls(kind, clients, elapsed, [one[0] for one in done], right / len(done), wrong / len(done))

    def row(self) -> dict[str, object]:
        """What is kept of it: percentiles in milliseconds."""
        return {
            "kind": self.kind,
            "clients": self.clients,
            "count": len(self.seconds),
            "p50": percentile(self.seconds, 0.50),
            "p95": percentile(self.seconds, 0.95),
            "p99": percentile(self.seconds, 0.99),
            "per_second": len(self.seconds) / self.elapsed,
            "right": self.right,
            "wrong": self.wrong,
        }
