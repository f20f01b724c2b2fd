"""How requests steer the cache: directives as RFC 9111 has them, tags, and the same as JSON."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.api.cache_control import MAX_SECONDS, from_json, parse_cache_control, parse_tags, stricter
from cache_service.decision import Directives, Hit, Miss, StaleHit, decide_exact
from cache_service.errors import InvalidRequest
from cache_service.store.entry import Entry

NOW = 1_000_000.0


def _entry(*, age: float, fresh_for: float | None) -> Entry:
    """An entry made `age` seconds ago that stays fresh for `fresh_for` more (negative: it has expired)."""
    return Entry(
        id=1, exact_key="k", partition="p", namespace="default", operation="images", model=None, prompt="a", request={},
        envelope={}, made={}, outputs=(), created_at=NOW - age, expires_at=None if fresh_for is None else NOW + fresh_for,
        exact_only=False,
    )  # fmt: skip


def _served(header: str, *, age: float, fresh_for: float | None) -> type:
    return type(decide_exact(_entry(age=age, fresh_for=fresh_for), parse_cache_control([header]), NOW))


# The ids of http-tests/cache-tests, "Cache-Control Request Directives": what each expects, on the decision that would be taken.


@pytest.mark.parametrize(
    ("header", "age", "fresh_for", "expected"),
    [
        pytest.param("max-age=0", 3, 3600, Miss, id="ccreq-ma0"),
        pytest.param("max-age=1", 3, 3600, Miss, id="ccreq-ma1"),
        pytest.param("max-age=600", 1800, 1800, Miss, id="ccreq-magreaterage"),
        pytest.param("max-stale=1000", 5, -3, StaleHit, id="ccreq-max-stale"),
        pytest.param("max-stale=1000", 2000, -500, StaleHit, id="ccreq-max-stale-age"),
        pytest.param("min-fresh=2000", 0, 1500, Miss, id="ccreq-min-fresh"),
        pytest.param("min-fresh=1000", 1000, 500, Miss, id="ccreq-min-fresh-age"),
        pytest.param("no-cache", 3, 3600, Miss, id="ccreq-no-cache"),
        pytest.param("max-age=3600", 3, 3600, Hit, id="fresh enough"),
    ],
)
def test_request_directives(header: str, age: float, fresh_for: float, expected: type) -> None:
    """What is served obeys what was asked."""
    assert _served(header, age=age, fresh_for=fresh_for) is expected


@pytest.mark.parametrize(
    ("header", "directives"),
    [
        # nothing is validated here: an entry is complete, so both of these mean "generate"
        pytest.param("no-cache", Directives(no_cache=True), id="ccreq-no-cache-lm"),
        pytest.param("no-cache", Directives(no_cache=True), id="ccreq-no-cache-etag"),
        # RFC 9111, section 5.2.1.5: it doesn't keep a stored answer from being served
        pytest.param("no-store", Directives(no_store=True), id="ccreq-no-store"),
        pytest.param("only-if-cached", Directives(only_if_cached=True), id="ccreq-oic"),
    ],
)
def test_request_directives_that_are_flags(header: str, directives: Directives) -> None:
    """Each sets what it says."""
    assert parse_cache_control([header]) == directives


# The ids of its "Cache-Control Parsing" and "Freshness", read as a request's max-age. Of two values the smaller counts.
@pytest.mark.parametrize(
    ("lines", "max_age"),
    [
        pytest.param(["max-age=3600"], 3600, id="freshness-max-age"),
        pytest.param(["max-age=0"], 0, id="freshness-max-age-0"),
        pytest.param(["max-age=2147483647"], 2147483647, id="freshness-max-age-max-minus-1"),
        pytest.param(["max-age=2147483648"], MAX_SECONDS, id="freshness-max-age-max"),
        pytest.param(["max-age=2147483649"], MAX_SECONDS, id="freshness-max-age-max-plus-1"),
        pytest.param(["max-age=99999999999"], MAX_SECONDS, id="freshness-max-age-max-plus"),
        pytest.param(["foobar, max-age=3600"], 3600, id="freshness-max-age-extension"),
        pytest.param(["MaX-aGe=3600"], 3600, id="freshness-max-age-case-insenstive"),
        pytest.param(["max-age=-3600"], None, id="freshness-max-age-negative"),
        pytest.param(["max-age=1800, max-age=1"], 1, id="freshness-max-age-two-fresh-stale-sameline"),
        pytest.param(["max-age=1800", "max-age=1"], 1, id="freshness-max-age-two-fresh-stale-sepline"),
        pytest.param(["max-age=1, max-age=1800"], 1, id="freshness-max-age-two-stale-fresh-sameline"),
        pytest.param(["max-age=1", "max-age=1800"], 1, id="freshness-max-age-two-stale-fresh-sepline"),
        pytest.param(['max-age="3600"'], 3600, id="freshness-max-age-quoted"),
        pytest.param(['extension="max-age=3600", max-age=1'], 1, id="freshness-max-age-ignore-quoted"),
        pytest.param(['max-age=1, extension="max-age=3600"'], 1, id="freshness-max-age-ignore-quoted-rev"),
        pytest.param(["max-age =3600"], None, id="freshness-max-age-space-before-equals"),
        pytest.param(["max-age= 3600"], None, id="freshness-max-age-space-after-equals"),
        pytest.param(["max-age=003600"], 3600, id="freshness-max-age-leading-zero"),
        pytest.param(["max-age='3600'"], None, id="freshness-max-age-single-quoted"),
        pytest.param(["max-age=3600.0"], None, id="freshness-max-age-decimal-zero"),
        pytest.param(["max-age=3600.5"], None, id="freshness-max-age-decimal-five"),
        pytest.param(["max-age=a3600"], None, id="freshness-max-age-a100"),
        pytest.param(["max-age=3600a"], None, id="freshness-max-age-100a"),
        pytest.param(["max-age"], None, id="no number"),
        pytest.param(["max-age=\u0663"], None, id="a digit of another script"),
    ],
)
def test_max_age_is_read_as_the_field_has_it(lines: list[str], max_age: float | None) -> None:
    """Numbers that are none are ignored, quotes are seen through, other directives don't disturb."""
    assert parse_cache_control(lines) == Directives(max_age=max_age)


@pytest.mark.parametrize(
    ("lines", "directives"),
    [
        ([], Directives()),
        ([""], Directives()),
        ([" , ,,"], Directives()),
        (["No-Cache, NO-STORE, Exact-Only"], Directives(no_cache=True, no_store=True, exact_only=True)),
        (["max-stale"], Directives(max_stale=math.inf)),
        (["max-stale, max-stale=5"], Directives(max_stale=5)),
        (["stale-if-error"], Directives(stale_if_error=math.inf)),
        (["stale-if-error=60"], Directives(stale_if_error=60)),
        (["min-fresh=5, min-fresh=9"], Directives(min_fresh=9)),
        (["similarity=0.95"], Directives(similarity=0.95)),
        (['similarity=".95", similarity=0.5'], Directives(similarity=0.95)),
        (["similarity=1"], Directives(similarity=1)),
        (['foo="no-cache, \\" no-store", only-if-cached'], Directives(only_if_cached=True)),
        (['foo="never closed, no-cache'], Directives()),
        (['no-cache="set-cookie"'], Directives(no_cache=True)),
        (["x" * 100_000], Directives()),
        (['"' * 9_999], Directives()),
        (["max-age=" + "9" * 100_000], Directives(max_age=MAX_SECONDS)),
        (["max-age=" + "0" * 100_000 + "7"], Directives(max_age=7)),
    ],
)
def test_directives_are_tolerant(lines: list[str], directives: Directives) -> None:
    """Any case, quotes, empty members, unknown ones, several lines."""
    assert parse_cache_control(lines) == directives


@pytest.mark.parametrize(
    "value", ["", "=", "=x", "=1.1", "=-0.1", "=nan", "=inf", "=1e-1", "= 0.95", " = 0.95", '="0.9 "']
)
def test_a_wrong_similarity_is_an_error(value: str) -> None:
    """Ignoring it would serve what the client wanted excluded."""
    with pytest.raises(InvalidRequest) as caught:
        parse_cache_control([f"no-cache, similarity{value}"])
    assert caught.value.param == "similarity"


@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_header_is_read_or_refused(lines: list[str]) -> None:
    """The only error is the client's."""
    try:
        parse_cache_control(lines)
    except InvalidRequest as error:
        assert error.param == "similarity"  # noqa: PT017


DIRECTIVES = st.builds(
    Directives,
    no_cache=st.booleans(), no_store=st.booleans(), only_if_cached=st.booleans(), exact_only=st.booleans(),
    similar_if_error=st.booleans(), no_fallback=st.booleans(),
    max_age=st.none() | st.floats(0, 100), max_stale=st.none() | st.floats(0, 100), min_fresh=st.none() | st.floats(0, 100),
    stale_if_error=st.none() | st.floats(0, 100), similarity=st.none() | st.floats(0, 1),
)  # fmt: skip


@given(DIRECTIVES, DIRECTIVES, st.floats(0, 200), st.floats(-100, 100))
def test_both_ways_at_once_serve_nothing_that_one_excludes(
    one: Directives, other: Directives, age: float, fresh_for: float
) -> None:
    """What header and body say together serves a stored answer only where each alone would serve something."""
    entry = _entry(age=age, fresh_for=fresh_for)
    both = stricter(one, other)
    if not isinstance(decide_exact(entry, both, NOW), Miss) and both.max_stale in (one.max_stale, None):
        assert not one.no_cache
        assert not other.no_cache
        assert age <= min(math.inf if d.max_age is None else d.max_age for d in (one, other)) + 1e-6
    assert both.threshold(0.5) == max(one.threshold(0.5), other.threshold(0.5))
    assert stricter(one, one) == one
    assert stricter(one, other) == stricter(other, one)


def test_tags_are_separated_by_commas() -> None:
    """Over several lines, without white space around them, each once."""
    assert parse_tags(["a, b b ,,a", "c"]) == {"a", "b b", "c"}
    assert parse_tags([]) == frozenset()


@pytest.mark.parametrize("line", ["x" * 65, "é", "a\tb", ",".join(str(n) for n in range(17)), "\x7f"])
def test_tags_are_bounded(line: str) -> None:
    """At most 16, of at most 64 printable characters."""
    with pytest.raises(InvalidRequest) as caught:
        parse_tags([line])
    assert caught.value.param == "Cache-Tag"


def test_json_says_the_same_as_the_header() -> None:
    """Every directive has its member."""
    header = "no-cache, no-store, only-if-cached, exact-only, max-age=1, max-stale=2, min-fresh=3, stale-if-error=4, similarity=0.95"
    header += ", similar-if-error, no-fallback"
    cache: dict[str, Any] = {
        "no_cache": True, "no_store": True, "only_if_cached": True, "exact_only": True, "max_age": 1, "max_stale": 2,
        "min_fresh": 3, "stale_if_error": 4, "similarity": 0.95, "tags": ["a", "b"],
        "similar_if_error": True, "no_fallback": True,
    }  # fmt: skip
    assert from_json(cache) == (parse_cache_control([header]), frozenset("ab"))


def test_json_without_a_number_means_any_length() -> None:
    """As `max-stale` without a value; false and null are the same as absent."""
    assert from_json({"max_stale": True, "stale_if_error": False})[0] == Directives(max_stale=math.inf)
    assert from_json(dict.fromkeys(("max_age", "similarity", "tags", "no_cache"))) == (Directives(), frozenset())


@pytest.mark.parametrize(
    "cache",
    [
        {"no_cache": 1},
        {"max_age": "60"},
        {"max_age": True},
        {"max_age": -1},
        {"similarity": 1.5},
        {"similarity": True},
        {"max_stale": "x"},
        {"tags": "a"},
        {"tags": [1]},
        {"tags": ["a,b"]},
        {"tags": ["x" * 65]},
    ],
)
def test_wrong_json_is_refused_by_name(cache: dict[str, Any]) -> None:
    """The message names the member."""
    with pytest.raises(InvalidRequest) as caught:
        from_json(cache)
    assert caught.value.param == f"cache.{next(iter(cache))}"
