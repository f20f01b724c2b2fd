"""One request on its way through the cache: what was asked and what has been found out; and what it may be answered with.

`Steering` knows what the operator set and what clients' feedback made of it; it answers from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from cache_service.answer import Caller
from cache_service.cache_key.key import CacheKey, form
from cache_service.cache_key.normalize import prompt_digest
from cache_service.decision import Directives
from cache_service.embedding.base import Embedding
from cache_service.fallback import Course
from cache_service.feedback import Standing
from cache_service.instrumentation.events import StepTimed
from cache_service.operations.base import Asked, Operation
from cache_service.providers import Provider
from cache_service.store.entry import Entry, NewEntry
from cache_service.verification.base import Analysis

Mode: TypeAlias = Literal["on", "off", "shadow"]
"""Whether semantic hits are served; `shadow` looks for them, says what would have been served, and generates."""

_LARGE = 64 * 1024  # characters, a member counting twenty; less is taken apart within a millisecond


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What a prompt means, as far as the machine can tell: its embedding and the verifier's analysis."""

    embedding: Embedding
    analysis: Analysis


@dataclass(slots=True, eq=False)
class Question:
    """One request: what was asked, its key, and what has been found out.

    provider: who is asked. started, deadline: on the monotonic clock. priority: of its generation, a larger one goes first.
    course: down the fallback's chain, None as long as nothing failed; first: what the client asked, in a question made by it.
    held: pictures by digest that are stored already, where more are wanted. steps: seconds that each step took so far.
    """

    operation: Operation
    asked: Asked
    key: CacheKey
    provider: Provider
    caller: Caller
    directives: Directives
    tags: frozenset[str]
    started: float
    deadline: float
    request_id: str = ""
    priority: int = 0
    course: Course | None = None
    first: Question | None = None
    meaning: Meaning | None = None
    held: dict[str, bytes] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)

    def took(self, step: str, seconds: float) -> StepTimed:
        """Notes it; the event to tell."""
        self.steps[step] = self.steps.get(step, 0.0) + seconds
        return StepTimed(self.asked.operation, step, seconds)

    @property
    def origin(self) -> Question:
        """What the client asked."""
        return self.first or self


def keyed(operation: Operation, body: Mapping[str, Any], namespace: str, provider: Provider) -> tuple[Asked, CacheKey]:
    """The request taken apart, and its key. Raises InvalidRequest."""
    asked = operation.parse(body)
    return asked, form(asked, namespace=namespace, group=provider.upstream.group)


class Steering:
    """What one question may be answered with.

    modes: of semantic hits by operation, `on` where it isn't named. threshold: the operator's least cosine; feedback (`standing`)
    may ask for more. now: Unix seconds.
    """

    def __init__(
        self, *, modes: Mapping[str, Mode], threshold: float, standing: Standing, now: Callable[[], float]
    ) -> None:
        self.standing = standing
        self._modes = modes
        self._threshold = threshold
        self._now = now

    def steer(self, *, modes: Mapping[str, Mode], threshold: float) -> None:
        """What holds from the next question on."""
        self._modes = modes
        self._threshold = threshold

    def mode(self, operation: str) -> Mode:
        """Whether semantic hits of that operation are served."""
        return self._modes.get(operation, "on")

    def least_cosine(self, question: Question) -> float:
        """The operator's threshold, or more where feedback says that hits are wrong too often."""
        namespace, operation = question.caller.namespace, question.asked.operation
        return self.standing.threshold(namespace, operation, self._threshold, self._now())

    def denied(self, question: Question, stored: Entry | NewEntry) -> str | None:
        """Why feedback forbids that the stored entry answers the question; None if it may, and for the question's own entry."""
        scope = (question.caller.namespace, question.asked.operation)
        if stored.exact_key == question.key.exact or not self.standing.heeds(*scope):
            return None
        return self.standing.denial(*scope, question.key.prompt_digest, prompt_digest(stored.prompt))


def is_large(body: Mapping[str, Any]) -> bool:
    """Whether taking it apart would hold up the loop; looks at no more than it takes to know."""
    budget, rest = _LARGE, [body]
    while rest and budget > 0:
        value: Any = rest.pop()
        budget -= 20
        if isinstance(value, str):
            budget -= len(value)
        elif isinstance(value, Mapping):
            budget -= 20 * len(value)
            rest.extend(value.values())
        elif isinstance(value, list):
            budget -= 20 * len(value)
            rest.extend(value if budget > 0 else ())
    return budget <= 0
