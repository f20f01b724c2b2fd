"""What `SemanticCache` gives back: an answer or a failure, each with a report of how it came about. Frozen values.

Those that every hit makes are named tuples: a frozen dataclass of 24 members takes 3 µs to make, and there are several.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from cache_service.errors import CacheServiceError

Forwarded: TypeAlias = Literal["miss", "partial", "stale", "request", "bypass"]
"""Why the request went upstream, in RFC 9211's words: `request` for `no-cache`, `bypass` for what isn't cached at all."""


NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. namespace: who shares entries; client: the client key's name. Both come from configuration, never from the request."""

    namespace: str = "default"
    client: str = "anonymous"


class Report(NamedTuple):
    """How one answer came about; the source of `Cache-Status`, `Age`, the log line and `/v1/generate`'s `cache` member.

    decision: "hit" | "stale-hit" | "miss" | "partial" | "collapsed" | "bypass". kind: "exact" | "semantic" | "".
    forwarded: None where nothing went upstream. forward_status: the upstream's status where it wasn't 200.
    key: exact key under which the answer is (or would be) filed; "" where the request has none.
    matched_prompt, matched_key: of the entry that answered by meaning (a hit, a join, or the first of several outputs); in shadow
    mode, of the one that would have (`shadow`). rejected_prompt, rejected_key: of the nearest entry that the verifier kept from
    answering. age, ttl: seconds; ttl None for ever.
    fallback: the step of the fallback's chain that answered, "" where none was taken. provider: who made what was served, where known.
    usd: what the generation cost, or what the hit saved (`saved_usd`: what it cost to make), where the price is known.
    estimated_usd: what the generation might have cost at most, reckoned before it. made: model, size, quality of what is served,
    where known; tokens: read and written to make it.
    """

    decision: Literal["hit", "stale-hit", "miss", "partial", "collapsed", "bypass"]
    key: str = ""
    kind: Literal["exact", "semantic", ""] = ""
    reason: str = ""
    detail: str = ""
    similarity: float | None = None
    matched_prompt: str | None = None
    matched_key: str = ""
    rejected_prompt: str | None = None
    rejected_key: str = ""
    shadow: bool = False
    age: float | None = None
    ttl: float | None = None
    forwarded: Forwarded | None = None
    forward_status: int | None = None
    stored: bool = False
    collapsed: bool = False
    fallback: str = ""
    provider: str = ""
    usd: float | None = None
    saved_usd: float | None = None
    estimated_usd: float | None = None
    made: Mapping[str, Any] = NOTHING
    tokens: tuple[int, int] = (0, 0)
    upstream_request_id: str | None = None


class Served(NamedTuple):
    """An answer for the client: a whole body, or a stream's pieces (then `body` is empty).

    headers: the upstream's headers that a client may see, names in lower case. Whoever gets `pieces` must read or close them.
    """

    status: int
    body: bytes
    media_type: str
    report: Report
    headers: Mapping[str, str] = NOTHING
    pieces: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer: what went wrong, and how far the request got."""

    error: CacheServiceError
    report: Report


def shown(report: Report) -> dict[str, Any]:
    """The report as clients see it in a body."""
    return {
        "decision": report.decision,
        "kind": report.kind,
        "reason": report.reason,
        "detail": report.detail,
        "similarity": report.similarity,
        "key": report.key,
        "age": report.age,
        "ttl": report.ttl,
        "stored": report.stored,
        "matched_prompt": report.matched_prompt,
        "fallback": report.fallback or None,
        "provider": report.provider or None,
        "usd": report.usd,
        "estimated_usd": report.estimated_usd,
        "saved_usd": report.saved_usd,
    }


Result: TypeAlias = Served | Failed


class Trace(NamedTuple):
    """One request as it was decided, for operators to look at; it holds prompts, so it goes nowhere else.

    at: Unix seconds when the answer was ready. status: 0 where there was none to give; `error` then names the error's class.
    seconds: until the answer was ready; `steps`: how long each of the eight took that it got to. key: of the request itself.
    """

    request_id: str
    at: float
    caller: Caller
    operation: str
    model: str | None
    prompt: str
    key: str
    report: Report
    status: int
    error: str
    seconds: float
    steps: Mapping[str, float]
