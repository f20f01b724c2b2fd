"""What is held in memory is what was used last, and never more than may be."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from cache_service.bounded import Bounded

KEYS = st.sampled_from("abcdef")


@given(
    st.integers(0, 20), st.lists(st.tuples(st.sampled_from(["get", "peek", "put", "pop"]), KEYS, st.integers(0, 12)))
)
def test_any_use_of_it_leaves_what_a_plain_list_would(most: int, steps: list[tuple[str, str, int]]) -> None:
    """The list: key, value and weight, the one used last at its end."""
    held: Bounded[str, int] = Bounded(most)
    plain: list[tuple[str, int, int]] = []
    for number, (step, key, weight) in enumerate(steps):
        found = next((one for one in plain if one[0] == key), None)
        if step == "peek":
            assert held.peek(key) == (found[1] if found else None)
        elif step == "put":
            plain = [one for one in plain if one[0] != key]
            gone = held.put(key, number, weight)
            if weight > most:
                assert gone == [number]
                continue
            plain.append((key, number, weight))
            expected = []
            while sum(one[2] for one in plain) > most:
                expected.append(plain.pop(0)[1])
            assert gone == expected
        else:
            assert (held.get(key) if step == "get" else held.pop(key)) == (found[1] if found else None)
            plain = [one for one in plain if one[0] != key]
            if step == "get" and found:
                plain.append(found)
        assert list(held) == [one[0] for one in plain]
        assert held.weight == sum(one[2] for one in plain) <= most


def test_it_counts_what_was_there_and_what_was_not() -> None:
    held: Bounded[str, int] = Bounded(10)
    held.put("a", 1, 1)
    for key in ("a", "b", "a"):
        held.get(key)
    held.peek("b")
    assert (held.hits, held.misses, len(held)) == (2, 1, 1)
    held.clear()
    assert (len(held), held.weight) == (0, 0)
