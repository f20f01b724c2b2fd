"""Query parameters: what is written as JSON writes numbers is read, whatever else is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from cache_service.api.query import MOST, Query
from cache_service.errors import InvalidRequest


def query(text: str) -> Query:
    return Query(Request({"type": "http", "query_string": b"x=" + text.encode(), "headers": []}), ("x",))


@given(st.floats(min_value=0, max_value=MOST) | st.integers(min_value=0, max_value=int(MOST)))
def test_any_number_in_range_is_taken_as_json_writes_it(number: float) -> None:
    """With all its digits and in scientific notation too: clients don't choose how their language writes a float."""
    assert query(json.dumps(number).replace("+", "%2B")).number("x") == number


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "-1e-9", "nan", "inf", "1e13", "1e999", "1_0", "0x1", ".5", "1.", "%201", "%D9%A1", "1" * 33],
)
def test_what_is_no_number_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"x must be a number from 0 to 1e\+12"):
        query(text).number("x")
