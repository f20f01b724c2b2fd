"""Bodies as they go out, of entries that are held in memory: a picture that is asked for again isn't read, hashed and encoded again.

A body belongs to one `Entry` object and is served with that one alone. The hot tier never changes an entry in place: what changed is
dropped and read anew, as another object, which has no body yet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cache_service.bounded import Bounded
from cache_service.store.entry import Entry


@dataclass(frozen=True, slots=True)
class Body:
    """The first n outputs of an entry as they go out, and what its report says of them."""

    content: bytes
    saved_usd: float | None = None
    tokens: tuple[int, int] = (0, 0)
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Slot:
    entry: Entry
    n: int
    body: Body


class WireBodies:
    """One body for each entry: of as many outputs as were asked for last. most: bytes; holds: whether the hot tier has that very entry."""

    def __init__(self, most: int, holds: Callable[[Entry], bool]) -> None:
        self.held: Bounded[str, _Slot] = Bounded(most)
        self._holds = holds

    def find(self, entry: Entry, n: int) -> Body | None:
        """The body, if that entry has one of so many outputs."""
        slot = self.held.get(entry.exact_key)
        return slot.body if slot is not None and slot.entry is entry and slot.n == n else None

    def keep(self, entry: Entry, n: int, body: Body) -> None:
        """Holds it, unless the entry was dropped while it was made."""
        if self._holds(entry):
            self.held.put(entry.exact_key, _Slot(entry, n, body), len(body.content) + 500)

    def forget(self, exact_keys: Collection[str]) -> None:
        """These entries aren't held any more."""
        for key in exact_keys:
            self.held.pop(key)
