"""Memory answers as SQL would, or not at all."""

from __future__ import annotations

from dataclasses import replace

from cache_service.store import hot_tier
from cache_service.store.entry import Entry
from cache_service.store.hot_tier import GOOD_FOR, HotTier, weight
from tests.fakes.entries import MODEL, digest, new_entry


def entry(number: int = 1, name: str = "cat", **members: object) -> Entry:
    new = new_entry(name)
    made = Entry(
        id=number, exact_key=new.exact_key, partition=new.partition, namespace=new.namespace, operation=new.operation,
        model=new.model, prompt=new.prompt, request=new.request, envelope=new.envelope, made=new.made,
        outputs=new.outputs, created_at=new.created_at, expires_at=None, exact_only=False,
    )  # fmt: skip
    return replace(made, **members)  # type: ignore[arg-type]


def tier(most: int = 2**20) -> HotTier:
    """Checked at time 0."""
    made = HotTier(most)
    made.checked(0.0)
    return made


def test_an_entry_that_was_read_is_found_by_its_key_and_its_id() -> None:
    hot, kept = tier(), entry()
    hot.keep(kept, MODEL, hot.mark)
    assert hot.find(digest("cat"), MODEL, 0.5) is kept
    assert hot.by_id(1, MODEL, 0.5) is kept
    assert hot.holds(kept)
    assert not hot.holds(entry())  # equal, but another object
    assert hot.find(digest("cat"), "another model", 0.5) is None


def test_a_second_after_the_last_look_at_the_changes_nothing_is_served() -> None:
    """Counted from the look's beginning; the next look makes it good again."""
    hot = HotTier(2**20)
    hot.keep(entry(), MODEL, hot.mark)
    assert hot.find(digest("cat"), MODEL, 0.0) is None  # never looked
    hot.checked(10.0)
    assert hot.find(digest("cat"), MODEL, 10.0 + GOOD_FOR - 0.01) is not None
    assert hot.find(digest("cat"), MODEL, 10.0 + GOOD_FOR) is None
    hot.checked(12.0)
    hot.checked(11.0)  # a slower look that began before
    assert hot.find(digest("cat"), MODEL, 12.9) is not None


def test_what_changed_is_dropped_with_its_body() -> None:
    hot, gone = tier(), []
    hot.gone = gone.extend
    hot.keep(entry(), MODEL, hot.mark)
    hot.drop([1, 2])
    assert hot.find(digest("cat"), MODEL, 0.1) is None
    assert hot.by_id(1, MODEL, 0.1) is None
    assert gone == [digest("cat")]


def test_a_row_that_was_read_before_a_change_is_not_held() -> None:
    """The reader was on his way with it while the change came."""
    hot = tier()
    before = hot.mark
    hot.drop([1])
    hot.keep(entry(), MODEL, before)
    assert hot.find(digest("cat"), MODEL, 0.1) is None
    hot.keep(entry(2, "dog"), MODEL, before)  # that one didn't change
    assert hot.find(digest("dog"), MODEL, 0.1) is not None
    hot.keep(entry(), MODEL, hot.mark)
    assert hot.find(digest("cat"), MODEL, 0.1) is not None


def test_a_reader_from_before_the_changes_that_are_remembered_holds_nothing() -> None:
    hot = tier()
    before = hot.mark
    for number in range(hot_tier.CHANGES_REMEMBERED + 1):
        hot.drop([number + 10])
    hot.keep(entry(5), MODEL, before)
    assert hot.by_id(5, MODEL, 0.1) is None


def test_nor_does_one_from_before_everything_was_forgotten() -> None:
    hot, gone = tier(), []
    hot.gone = gone.extend
    kept = entry()
    hot.keep(kept, MODEL, hot.mark)
    before = hot.mark
    hot.clear()
    hot.keep(entry(2, "dog"), MODEL, before)
    assert (len(hot.held), gone) == (0, [digest("cat")])
    assert hot.by_id(1, MODEL, 0.1) is None


def test_another_entry_under_the_same_key_is_not_found_by_the_old_id() -> None:
    hot = tier()
    hot.keep(entry(1), MODEL, hot.mark)
    hot.keep(entry(2), MODEL, hot.mark)
    assert hot.by_id(1, MODEL, 0.1) is None
    assert hot.by_id(2, MODEL, 0.1) is not None


def test_what_is_held_stays_within_its_bytes_and_what_goes_is_told() -> None:
    one = weight(entry())
    hot, gone = tier(int(2.5 * one)), []
    hot.gone = gone.extend
    for number, name in enumerate(["cat", "dog", "sun"], start=1):
        hot.keep(entry(number, name), MODEL, hot.mark)
    assert gone == [digest("cat")]
    assert hot.by_id(1, MODEL, 0.1) is None
    assert hot.held.weight <= 2.5 * one


def test_a_tier_of_no_bytes_holds_nothing() -> None:
    hot = tier(0)
    hot.keep(entry(), MODEL, hot.mark)
    assert hot.by_id(1, MODEL, 0.1) is None
    assert not hot.holds(entry())


def test_a_longer_answer_weighs_more() -> None:
    text = {"choices": [{"message": {"content": "x" * 5000}}]}
    longer = entry(outputs=(replace(new_entry().outputs[0], item=text),))
    assert weight(longer) > weight(entry()) + 5000
