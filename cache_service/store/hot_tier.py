"""Entries that were read lately, served from memory as long as they are known to be what SQL has.

Rules:
- What is held was read from SQL, and every change of the feed up to a number has been applied since. It is served for `GOOD_FOR` seconds
  from the *beginning* of the last look at the feed, and not at all after that: so another node's purge holds here within a second.
- A change drops the entry; nothing is ever updated in place. The next request reads the row.
- A row that was read while its entry changed isn't held: whoever reads takes a `mark` before, and `keep` compares it with the changes
  since. Of the newest changes each is remembered; a reader from before those holds nothing.
"""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cache_service.bounded import Bounded
from cache_service.store.entry import Entry

GOOD_FOR: Final = 1.0
"""Seconds that a look at the change feed is good for: a purge on one node holds on all within a second."""

CHANGES_REMEMBERED: Final = 10_000
"""About 1 MB; at 10,000 changes a second still a second, and a read takes milliseconds."""


@dataclass(frozen=True, slots=True)
class _Slot:
    entry: Entry
    embedding_model: str


class HotTier:
    """Entries by exact key and by id. most: bytes, roughly. Times are seconds on one monotonic clock.

    gone: told the exact keys of entries that aren't held any more.
    """

    def __init__(self, most: int) -> None:
        self.gone: Callable[[Collection[str]], None] = lambda exact_keys: None
        self.held: Bounded[str, _Slot] = Bounded(most)
        self._keys: dict[int, str] = {}
        self._good_until = -math.inf
        self._marks = 0
        self._changed: OrderedDict[int, int] = OrderedDict()
        self._refused_before = 0

    def find(self, exact_key: str, embedding_model: str, now: float) -> Entry | None:
        """The entry with that key, if it is held and known to be right."""
        if now >= self._good_until:
            return None
        slot = self.held.get(exact_key)
        return None if slot is None or slot.embedding_model != embedding_model else slot.entry

    def by_id(self, entry_id: int, embedding_model: str, now: float) -> Entry | None:
        """The entry with that id, on the same terms."""
        key = self._keys.get(entry_id)
        entry = None if key is None else self.find(key, embedding_model, now)
        return entry if entry is not None and entry.id == entry_id else None

    def holds(self, entry: Entry) -> bool:
        """Whether that very object is held."""
        slot = self.held.peek(entry.exact_key)
        return slot is not None and slot.entry is entry

    @property
    def mark(self) -> int:
        """To be taken before a row is read, and handed to `keep` with what was read."""
        return self._marks

    def keep(self, entry: Entry, embedding_model: str, since: int) -> None:
        """Holds the entry, unless it changed after the mark. One that is held already stays: it is as good."""
        slot = self.held.peek(entry.exact_key)
        if slot is not None and slot.entry.id == entry.id and slot.embedding_model == embedding_model:
            return
        if since < self._refused_before or self._changed.get(entry.id, 0) > since:
            return
        self._keys[entry.id] = entry.exact_key
        for gone in self.held.put(entry.exact_key, _Slot(entry, embedding_model), weight(entry)):
            self._keys.pop(gone.entry.id, None)
            self.gone((gone.entry.exact_key,))

    def drop(self, entry_ids: Collection[int]) -> None:
        """These entries have changed, or are gone."""
        self._marks += 1
        keys = [key for entry_id in entry_ids if (key := self._keys.pop(entry_id, None)) is not None]
        for key in keys:
            self.held.pop(key)
        self.gone(keys)
        for entry_id in entry_ids:
            self._changed[entry_id] = self._marks
            self._changed.move_to_end(entry_id)
        while len(self._changed) > CHANGES_REMEMBERED:
            self._refused_before = self._changed.popitem(last=False)[1]

    def clear(self) -> None:
        """Nobody knows what has changed."""
        self._marks += 1
        self._refused_before = self._marks
        self.gone(list(self.held))
        self.held.clear()
        self._keys.clear()
        self._changed.clear()

    def checked(self, began: float) -> None:
        """Every change that was committed when a look at the feed began has been applied."""
        self._good_until = max(self._good_until, began + GOOD_FOR)


def weight(entry: Entry) -> int:
    """Bytes that the entry takes in memory, roughly: of shared strings each counts."""
    size = 600  # the objects themselves
    for text in (entry.exact_key, entry.partition, entry.prompt, entry.namespace):
        size += sys.getsizeof(text)
    for value in (entry.request, entry.envelope, entry.made, entry.analysis):
        size += _size(value)
    for output in entry.outputs:
        size += 300 + _size(output.item) + _size(output.usage)
    return size


def _size(value: Any) -> int:
    size = sys.getsizeof(value)
    if isinstance(value, Mapping):
        for name, member in value.items():
            size += sys.getsizeof(name) + _size(member)
    elif isinstance(value, list | tuple):
        for member in value:
            size += _size(member)
    return size
