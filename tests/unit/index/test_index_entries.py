"""Where an entry lies: as a dict would say, whatever is put and removed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.index import entries
from cache_service.index.entries import EntryRows

steps = st.lists(st.tuples(st.integers(0, 40), st.one_of(st.none(), st.integers(0, 2**32 - 2))), max_size=120)


@given(steps=steps, least=st.sampled_from([0, -20, 2**32 - 20]))
def test_it_says_what_a_dict_says(steps: list[tuple[int, int | None]], least: int) -> None:
    """Ids come in any order, again, and after they went, of 32 bits and others; None removes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "_UNTIDY", 2)  # so that few steps put it in order
        held, expected = EntryRows(), dict[int, int]()
        for number, row in steps:
            entry_id = least + number
            if row is None:
                assert held.pop(entry_id) == expected.pop(entry_id, None)
            else:
                held.put(entry_id, row)
                expected[entry_id] = row
            assert len(held) == len(expected)
            assert held.get(entry_id) == expected.get(entry_id)
        assert {entry_id: held.get(entry_id) for entry_id in held} == expected


@pytest.mark.parametrize(("last", "size"), [(100_000, 800_000), (2**32 - 1, 800_000), (2**32, 1_200_000)])
def test_an_entry_takes_eight_bytes_and_twelve_with_longer_ids(last: int, size: int) -> None:
    """A dict takes over a hundred."""
    held = EntryRows()
    for entry_id in (*range(1, 100_000), last):
        held.put(entry_id, entry_id % 1_000_003)
    again = EntryRows.of(np.array(list(held)), np.array([held.get(entry_id) for entry_id in held]))
    for each in (held, again):
        assert sum(len(part) * part.itemsize for part in (each._ids, each._rows)) == size
        assert not each._late
        assert each.get(last) == last % 1_000_003
