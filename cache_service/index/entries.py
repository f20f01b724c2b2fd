"""Which row an entry lies in, in 8 bytes an entry where a dict takes over 100; 12 once ids have more than 32 bits.

Ids only grow, as SQL gives them, so they are appended in order and found by bisection. The few that come late lie in a dict.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_GONE = 0xFFFF_FFFF
_LARGEST_SHORT = 0xFFFF_FFFF  # id that fits into 4 bytes
_UNTIDY = 1024  # removed or late entries that are never worth putting in order


class EntryRows:
    """Row numbers (below 2³² - 1) by entry id."""

    def __init__(self) -> None:
        self._ids = array("I")
        self._rows = array("I")
        self._late: dict[int, int] = {}
        self._gone = 0

    @classmethod
    def of(cls, ids: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> EntryRows:
        """These, in any order; each id once."""
        made = cls()
        made._take(ids, rows)
        return made

    def _take(self, ids: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> None:
        order = np.argsort(ids, kind="stable")
        short = not len(ids) or 0 <= ids[order[0]] <= ids[order[-1]] <= _LARGEST_SHORT
        self._ids = array("I" if short else "q", ids[order].astype(np.uint32 if short else np.int64).tobytes())
        self._rows = array("I", rows[order].astype(np.uint32).tobytes())
        self._late, self._gone = {}, 0

    def __len__(self) -> int:
        return len(self._ids) - self._gone + len(self._late)

    def __iter__(self) -> Iterator[int]:
        """The ids, as they are now."""
        ids, rows = self._ids[:], self._rows[:]
        yield from (entry_id for entry_id, row in zip(ids, rows, strict=True) if row != _GONE)
        yield from list(self._late)

    def get(self, entry_id: int) -> int | None:
        """Its row; None if there is none."""
        place = self._place(entry_id)
        if place is None:
            return self._late.get(entry_id)
        row = self._rows[place]
        return None if row == _GONE else row

    def put(self, entry_id: int, row: int) -> None:
        """Also in place of another row."""
        if not self._ids or entry_id > self._ids[-1]:
            if not 0 <= entry_id <= _LARGEST_SHORT and self._ids.typecode == "I":
                self._ids = array("q", self._ids)
            self._ids.append(entry_id)
            self._rows.append(row)
            return
        place = self._place(entry_id)
        if place is None:
            self._late[entry_id] = row
            self._tidy()
            return
        self._gone -= self._rows[place] == _GONE
        self._rows[place] = row

    def pop(self, entry_id: int) -> int | None:
        """Forgets the entry; its row, or None if there is none."""
        row = self.get(entry_id)
        if row is not None and self._late.pop(entry_id, None) is None:
            place = self._place(entry_id)
            assert place is not None  # noqa: S101  for the type checker: `get` found it there
            self._rows[place] = _GONE
            self._gone += 1
            self._tidy()
        return row

    def _place(self, entry_id: int) -> int | None:
        place = bisect_left(self._ids, entry_id)
        return place if place < len(self._ids) and self._ids[place] == entry_id else None

    def _tidy(self) -> None:
        """Puts all in order once a quarter is not: 10 ms at a million entries, once in 250,000 removals."""
        if self._gone + len(self._late) <= _UNTIDY + len(self._ids) // 4:
            return
        ids = np.frombuffer(self._ids, self._ids.typecode).astype(np.int64)
        rows = np.frombuffer(self._rows, np.uint32)
        there = rows != _GONE
        late = np.array(list(self._late.items()), np.int64).reshape(-1, 2)
        self._take(np.concatenate([ids[there], late[:, 0]]), np.concatenate([rows[there].astype(np.int64), late[:, 1]]))
