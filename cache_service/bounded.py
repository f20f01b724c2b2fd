"""A dict that holds what was used last, up to so many bytes. For one loop: nothing in it waits, nothing in it locks. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Values by key, each with its weight in bytes. most: of all of them; 0 holds nothing.

    hits, misses: of `get`, since the beginning.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.weight = 0
        self.hits = 0
        self.misses = 0
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[K]:
        return iter(self._held)

    def get(self, key: K) -> V | None:
        """The value, which is then the last to go."""
        found = self._held.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._held.move_to_end(key)
        return found[0]

    def peek(self, key: K) -> V | None:
        """The value; it isn't used by that."""
        found = self._held.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V, weight: int) -> list[V]:
        """Holds the value in place of the key's last one; what had to go for it, the value itself if it weighs more than all may."""
        self.pop(key)
        if weight > self.most:
            return [value]
        self._held[key] = (value, weight)
        self.weight += weight
        gone = []
        while self.weight > self.most:
            _, (oldest, freed) = self._held.popitem(last=False)
            self.weight -= freed
            gone.append(oldest)
        return gone

    def pop(self, key: K) -> V | None:
        """Forgets it; the value, None if there was none."""
        found = self._held.pop(key, None)
        if found is None:
            return None
        self.weight -= found[1]
        return found[0]

    def clear(self) -> None:
        """Forgets everything."""
        self._held.clear()
        self.weight = 0
