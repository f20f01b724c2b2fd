"""The last requests of this process, with their prompts: why each was a hit or a miss. In memory, bounded, and read by operators alone.

Nothing of it is written anywhere: prompts are on disk only as entries that a purge reaches, and a purge forgets them here too.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from cache_service.answer import Trace
from cache_service.store.entry import PurgePredicate

PROMPT_KEPT: Final = 1000  # characters; so a thousand requests take a few MB at most


class Seen(NamedTuple):
    """A request and its number; a later one has a larger number."""

    number: int
    trace: Trace

    @property
    def decision(self) -> str:
        """As in `Report`, and "error" where there was no answer."""
        return "error" if self.trace.error else self.trace.report.decision

    @property
    def keys(self) -> set[str]:
        """Of every entry that it had to do with."""
        report = self.trace.report
        return {self.trace.key, report.key, report.matched_key, report.rejected_key} - {""}


class RequestLog:
    """Remembers the newest `keep` requests."""

    def __init__(self, *, keep: int) -> None:
        self._seen: deque[Seen] = deque(maxlen=keep)
        self._numbers = itertools.count(1)

    def add(self, trace: Trace) -> None:
        """Remembers the request, its prompts cut."""
        report = trace.report
        if max(len(trace.prompt), len(report.matched_prompt or ""), len(report.rejected_prompt or "")) > PROMPT_KEPT:
            report = report._replace(
                matched_prompt=None if report.matched_prompt is None else report.matched_prompt[:PROMPT_KEPT],
                rejected_prompt=None if report.rejected_prompt is None else report.rejected_prompt[:PROMPT_KEPT],
            )
            trace = trace._replace(prompt=trace.prompt[:PROMPT_KEPT], report=report)
        self._seen.append(Seen(next(self._numbers), trace))

    def page(self, fits: Callable[[Seen], bool], *, before: int | None, limit: int) -> list[Seen]:
        """The newest that fit first; numbers smaller than `before`."""
        wanted = (seen for seen in reversed(self._seen) if (before is None or seen.number < before) and fits(seen))
        return list(itertools.islice(wanted, limit))

    def find(self, request_id: str) -> Seen | None:
        """The newest with that request id."""
        return next((seen for seen in reversed(self._seen) if seen.trace.request_id == request_id), None)

    def of_key(self, key: str, *, limit: int) -> list[Seen]:
        """The newest that had to do with the entry of that key."""
        return self.page(lambda seen: key in seen.keys, before=None, limit=limit)

    def __iter__(self) -> Iterator[Seen]:
        """Newest first."""
        return iter(list(reversed(self._seen)))

    def forget(self, predicate: PurgePredicate) -> None:
        """Drops what a purge of entries may speak of: by namespace, operation and key; of what else it names nothing is known here."""
        kept = [seen for seen in self._seen if not _may_fall_under(seen, predicate)]
        self._seen.clear()
        self._seen.extend(kept)


def _may_fall_under(seen: Seen, predicate: PurgePredicate) -> bool:
    return (
        (predicate.namespace is None or predicate.namespace == seen.trace.caller.namespace)
        and (predicate.operation is None or predicate.operation == seen.trace.operation)
        and (predicate.key is None or predicate.key in seen.keys)
    )
