"""A pair is read whole where it matters, in whatever order it comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cache_service.verification.pair_pieces import CLS, KEPT, MAX_PIECES, MOVED, OWN, SEP, pair_pieces

PIECES = st.lists(st.integers(1000, 1012), max_size=30)


def test_each_piece_says_whether_the_other_side_has_it() -> None:
    """Kept, moved and own pieces of both sides."""
    found = pair_pieces([1, 2, 3, 4], [1, 3, 2, 5])
    assert found is not None
    assert found.ids == (CLS, 1, 2, 3, 4, SEP, 1, 3, 2, 5, SEP)
    first, second = found.types[1:5], [kind - 3 for kind in found.types[6:10]]
    assert (first[0], first[3]) == (KEPT, OWN)
    assert (second[0], second[3]) == (KEPT, OWN)
    assert sorted(first[1:3]) == sorted(second[1:3]) == [KEPT, MOVED]


def test_one_word_changed_in_a_long_prompt_is_never_left_out() -> None:
    """A hundred equal pieces before and after the difference: both versions of it are read, with what stands beside it."""
    first = [*range(2000, 2100), 7, *range(3000, 3100)]
    second = [*range(2000, 2100), 8, *range(3000, 3100)]
    found = pair_pieces(first, second)
    assert found is not None
    assert len(found.ids) <= MAX_PIECES
    for piece in (7, 8, 2099, 3000):
        assert piece in found.ids


def test_prompts_that_differ_in_too_much_are_not_read_at_all() -> None:
    """Reading a part would judge a part."""
    assert pair_pieces(range(1000, 1050), range(2000, 2050)) is None


@given(PIECES, PIECES)
def test_no_piece_is_lost_within_the_limit(first: list[int], second: list[int]) -> None:
    """Short pairs are read whole, and a piece is called own only where the other side really has fewer of it."""
    found = pair_pieces(first, second)
    assert found is not None
    assert list(found.ids) == [CLS, *first, SEP, *second, SEP]
    own = [piece for piece, kind in zip(found.ids, found.types, strict=True) if kind == OWN]
    for piece in own:
        assert first.count(piece) > second.count(piece)


@given(PIECES)
def test_equal_prompts_have_no_differences(pieces: list[int]) -> None:
    """All kept."""
    found = pair_pieces(pieces, pieces)
    assert found is not None
    assert set(found.types) <= {KEPT, 3 + KEPT}
