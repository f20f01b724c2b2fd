"""What callers may rely on from a verifier: is the asked prompt really the same request as the stored one?

A verifier never raises to its caller's caller: whoever runs it turns an exception or a time-out into `Unsure`, and unsure is
a miss. `analyse` is paid once per prompt and stored beside the vector; it is recomputed when its version differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from cache_service.embedding.base import Seen


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything the verifier needs to know of one prompt.

    version: of the code that made it; an analysis of another version is made anew.
    prompt: the text as it was analysed.
    facts: plain JSON values (str, int, float, bool, None, list, dict), so that it can be stored.
    """

    version: str
    prompt: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Same:
    """Both prompts ask for the same thing; `reason` says which stage was convinced ("equal after normalising", "no rule objects")."""

    reason: str


@dataclass(frozen=True, slots=True)
class Different:
    """The prompts ask for different things; `reason` names the difference ("count 3 / 4", "colour red / blue")."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """The verifier can't tell, failed or was late; treated as a miss."""

    reason: str


Verdict: TypeAlias = Same | Different | Unsure


@dataclass(frozen=True, slots=True)
class Open:
    """The cheap stages can't tell. `likely`: the more, the likelier the same, comparable among the pairs of one verifier."""

    likely: float
    reason: str


class Verifier(Protocol):
    """Decides on pairs; synchronous and CPU-bound: callers run it where it doesn't block the loop."""

    @property
    def version(self) -> str:
        """Changes whenever `analyse` gives other facts."""

    def analyse(self, prompt: str, seen: Seen) -> Analysis:
        """The facts of one prompt, of which the embedder has seen as much. Pure."""

    def screen(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict | Open:
        """What the cheap stages alone say, under a millisecond; only an `Open` pair needs `verify`. Pure."""

    def verify(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict:
        """Whether `stored`'s answer may be served for `asked`; symmetric in its first two arguments. Pure."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A verdict and how sure the verifier is: 1 and 0 where rules decided, else a model's probability that the prompts are the same.

    route: the kind of pair, by which thresholds are chosen; "" where there are none.
    """

    verdict: Verdict
    score: float
    route: str


@runtime_checkable
class ScoringVerifier(Verifier, Protocol):
    """A verifier whose verdicts hang on thresholds that can be calibrated."""

    def score(self, asked: Analysis, stored: Analysis, operation: str) -> Scored:
        """As `verify`, and how near it was. The score doesn't depend on the thresholds. Pure."""
