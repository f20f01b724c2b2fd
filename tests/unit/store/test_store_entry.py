"""What a purge's predicate matches, and that it survives being filed."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from cache_service.store.entry import PurgePredicate, Similar
from cache_service.store.rows import predicate_from_text, predicate_to_text
from tests.fakes.entries import MODEL, new_entry, stored_vector, unit

TEXT = st.none() | st.text()


@given(
    key=TEXT, prompt_digest=TEXT, tag=TEXT, namespace=TEXT, operation=TEXT, model=TEXT,
    created_before=st.none() | st.floats(allow_nan=False, allow_infinity=False), everything=st.booleans(),
    numbers=st.none() | st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8),
    at_least=st.floats(-1, 1),
)  # fmt: skip
def test_a_filed_predicate_is_the_same_predicate(numbers, at_least, **members) -> None:  # type: ignore[no-untyped-def]
    """Bit for bit: what was refused before a restart is refused after it."""
    similar = None if numbers is None else Similar(MODEL, np.array(numbers, dtype=np.float32), at_least)
    again = predicate_from_text(predicate_to_text(PurgePredicate(similar=similar, **members)))
    assert {name: getattr(again, name) for name in members} == members
    if similar is None:
        assert again.similar is None
    else:
        assert again.similar is not None
        assert (again.similar.model_id, again.similar.at_least) == (MODEL, at_least)
        np.testing.assert_array_equal(again.similar.vector, similar.vector)


def test_a_predicate_that_names_nothing_matches_nothing() -> None:
    assert PurgePredicate().empty
    assert not PurgePredicate().matches(new_entry())


def test_a_predicate_that_names_something_is_not_empty() -> None:
    for predicate in (PurgePredicate(everything=True), PurgePredicate(created_before=0.0), PurgePredicate(tag="")):
        assert not predicate.empty


def test_vectors_of_another_model_cannot_be_compared_so_they_match() -> None:
    similar = PurgePredicate(similar=Similar(MODEL, unit(0, 1, 0), 0.99))
    assert similar.matches(new_entry(vector=stored_vector(1, 0, 0, model_id="other")))
    assert not similar.matches(new_entry(vector=stored_vector(1, 0, 0)))
    assert not similar.matches(new_entry(vector=None))
