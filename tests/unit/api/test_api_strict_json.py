"""A body is read the same by every parser, or refused with a word that says why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.api.strict_json import MAX_DEPTH, loads
from cache_service.errors import InvalidRequest

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(TEXT, VALUES, max_size=5), st.booleans())
def test_what_json_writes_is_read_again(value: dict[str, Any], escaped: bool) -> None:
    """Nothing that is fine is refused, with characters as they are or escaped."""
    assert loads(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary(max_size=60) | st.text('{}[]":,\\u0d8tfn19eE+-. \n', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Whatever comes, the only error is the client's, and what is accepted is what `json` reads."""
    try:
        value = loads(body)
    except InvalidRequest:
        return
    assert value == json.loads(body)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"   ", "not JSON"),
        (b"prompt=a", "not JSON"),
        (b'{"a":1', "not JSON"),
        (b'{"a":1}{}', "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a":1,"a":2}', "'a' stands twice"),
        (b'{"x":{"a":1,"\\u0061":2}}', "'a' stands twice"),
        (b'{"a":NaN}', "NaN is no JSON value"),
        (b'{"a":Infinity}', "Infinity is no JSON value"),
        (b'{"a":-Infinity}', "-Infinity is no JSON value"),
        (b'{"a":1e999}', "too large for a double"),
        (b'{"a":-1e999}', "too large for a double"),
        (b'{"a":' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"a":18446744073709551616}', "64 bits"),
        (b'{"a":-9223372036854775809}', "64 bits"),
        (b'{"a":"\\u0000"}', "U+0000"),
        (b'{"a\\u0000b":1}', "U+0000"),
        (b'{"a":["x",{"b":"\\u0000"}]}', "U+0000"),
        (b'{"a":"\x00"}', "not JSON"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"\\uDC00\\ud83d"}', "surrogate"),
        (b'{"\\udfff":1}', "surrogate"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":"\n"}', "not JSON"),
    ],
)  # fmt: skip
def test_what_parsers_disagree_on_is_refused(body: bytes, says: str) -> None:
    """Each with a message of its own."""
    with pytest.raises(InvalidRequest) as caught:
        loads(body)
    assert says in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\ud83d\\ude00"}',
        '{"a":"😀"}'.encode(),
        b'{"a":"\\\\u0000"}',
        b'{"a":"\\\\ud800"}',
        b'{"a":"[[[[{{{{"}',
        b'{"seed":18446744073709551615,"low":-9223372036854775808}',
        b'{"a":{"b":1},"b":1}',
    ],
)
def test_what_only_looks_wrong_is_read(body: bytes) -> None:
    """Escaped pairs, escaped backslashes, brackets in text."""
    assert loads(body) == json.loads(body)


def test_numbers_are_read_by_value() -> None:
    """However an integer is spelled, it is one: `n` may be 1.0, and both have one cache key."""
    read = loads(b'{"a":[1,1.0,1e0,10E-1,-0.0],"b":[1.5,1e300,9007199254740993.0]}')
    assert [(type(number), number) for number in read["a"]] == [(int, 1)] * 4 + [(int, 0)]
    assert {type(number) for number in read["b"]} == {float}


@pytest.mark.parametrize("levels", [65, 100, 100_000])
@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_deep_bodies_are_refused_before_they_are_parsed(levels: int, opens: str, closes: str) -> None:
    """A hundred levels, or a hundred thousand, also unclosed: no recursion error."""
    for body in (f'{{"a":{opens * levels}1{closes * levels}}}', f'{{"a":{opens * levels}'):
        with pytest.raises(InvalidRequest, match="deeper than 64"):
            loads(body.encode())


def test_as_many_levels_as_allowed_are_read() -> None:
    """The limit itself is fine, also beside many brackets and quotes that open nothing."""
    depth = MAX_DEPTH - 1
    body = f'{{"wide":[{",".join(["[]"] * 500)}],"text":"{"[" * 500}\\"[","deep":{"[" * depth}{"]" * depth}}}'
    assert loads(body.encode())["wide"] == [[]] * 500


@pytest.mark.parametrize("body", [b'{"a":"' + b'\\"' * 200_000, b'"' * 400_000, b"[" * 70 + b'"' + b'\\"' * 200_000])
def test_hostile_quotes_take_linear_time(body: bytes) -> None:
    """Quotes that never close are scanned once, not once each: this would take minutes otherwise."""
    with pytest.raises(InvalidRequest):
        loads(body)
