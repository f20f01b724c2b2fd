"""Who goes next: nobody waits for ever, and no longer than twice what he would have waited had all kept their places."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cache_service.upstream.base import Cost
from cache_service.upstream.line import LOWER_TURN, Line, Waiting, let_pass, may_pass, smaller

ONE = Cost(1, 1, 100)


def call(number: int, deadline: float = 100.0, priority: int = 0, cost: Cost = ONE, again: bool = False) -> Waiting:
    return Waiting(number, priority, deadline, cost, "kind", again)


def names(line: Line[Waiting]) -> list[int]:
    return [waiter.number for waiter in line]


def test_priority_first_then_arrival() -> None:
    line = Line[Waiting]()
    for number, priority in enumerate((0, -1, 1, 0, 1)):
        line.join(call(number, priority=priority))
    assert names(line) == [2, 4, 0, 3, 1]


def test_an_earlier_deadline_passes_those_who_can_bear_it() -> None:
    """The first can't be passed: it would wait any number of times as long. The fourth had three before it, so two may pass."""
    line = Line[Waiting]()
    for number in range(4):
        line.join(call(number))
    for number in (4, 5, 6):
        line.join(call(number, deadline=50.0))
    assert names(line) == [0, 1, 4, 2, 5, 3, 6]


def test_who_comes_again_is_at_the_head() -> None:
    line = Line[Waiting]()
    for number in (5, 6, 7):
        line.join(call(number))
    line.join(call(3, again=True))
    line.join(call(2, again=True))
    line.join(call(8, deadline=1.0))
    assert names(line) == [2, 3, 5, 6, 8, 7]  # 7 had two before it


@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 3), st.floats(0, 100), st.integers(1, 9), st.booleans()), min_size=1, max_size=120
    )
)
def test_nobody_waits_longer_than_twice_his_wait_in_order_of_arrival(
    arrivals: list[tuple[int, float, int, bool]],
) -> None:
    """Whatever deadlines come, and whoever slips through where the first doesn't fit: counted in work done before one's turn."""
    line = Line[Waiting]()
    ahead: dict[int, int] = {}
    done = 0
    came: dict[int, int] = {}

    def go(behind: bool) -> None:
        nonlocal done
        waiting = list(line)
        if not waiting:
            return
        first, chosen = waiting[0], waiting[0]
        if behind and len(waiting) > 1 and smaller(waiting[1].cost, first.cost) and may_pass(waiting[1], first):
            chosen = waiting[1]
            let_pass(chosen, first)
        line.leave(chosen, went=True)
        assert done - came[chosen.number] <= 2 * ahead[chosen.number]
        done += chosen.cost.images

    for number, (served, deadline, images, behind) in enumerate(arrivals):
        ahead[number], came[number] = sum(waiter.cost.images for waiter in line), done
        line.join(call(number, deadline, cost=Cost(1, images, images * 100)))
        for _ in range(served):
            go(behind)
    while len(line):
        go(True)


@given(lower=st.integers(1, 30))
def test_a_lower_priority_gets_a_tenth_while_higher_ones_wait(lower: int) -> None:
    """Without end: no high load starves it; the oldest goes first, whatever its priority is."""
    line = Line[Waiting]()
    for number in range(lower):
        line.join(call(number, priority=-1 - number % 2))
    went = []
    for number in range(1_000, 1_000 + LOWER_TURN * lower):
        line.join(call(number, priority=1))
        first = next(iter(line))
        went.append(first.number)
        line.leave(first, went=True)
    assert [number for number in went if number < 1_000] == list(range(lower))


def test_one_who_left_unserved_counts_for_nothing() -> None:
    line = Line[Waiting]()
    waiting = [call(number) for number in range(3)]
    for waiter in waiting:
        line.join(waiter)
    line.leave(waiting[1])
    assert (names(line), line.kinds, len(line)) == ([0, 2], 1, 2)
    assert line.clear() == [waiting[0], waiting[2]]
    assert (len(line), line.kinds) == (0, 0)
