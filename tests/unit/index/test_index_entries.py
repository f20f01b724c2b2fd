"""Where an entry lies: as a dict would say, whatever is put and removed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.index import entries
from cache_service.index.entries import EntryRows

steps = st.lists(st.tuples(st.integers(0, 40), st.one_of(st.none(), st.integers(0, 2**32 - 2))), max_size=120)


@given(steps=steps)
def test_it_says_what_a_dict_says(steps: list[tuple[int, int | None]]) -> None:
    """Ids come in any order, again, and after they went; None removes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "_UNTIDY", 2)  # so that few steps put it in order
        held, expected = EntryRows(), dict[int, int]()
        for entry_id, row in steps:
            if row is None:
                assert held.pop(entry_id) == expected.pop(entry_id, None)
            else:
                held.put(entry_id, row)
                expected[entry_id] = row
            assert len(held) == len(expected)
            assert held.get(entry_id) == expected.get(entry_id)
        assert {entry_id: held.get(entry_id) for entry_id in held} == expected


def test_a_million_entries_take_twelve_bytes_each() -> None:
    """A dict of them takes over a hundred."""
    held = EntryRows()
    for entry_id in range(1, 100_001):
        held.put(entry_id, entry_id)
    assert sum(len(part) * part.itemsize for part in (held._ids, held._rows)) == 1_200_000
    assert not held._late
