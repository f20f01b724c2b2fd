"""`Cache-Status` and `Age` say what happened, in words that any RFC 9211 parser reads."""

from __future__ import annotations

import math
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.answer import Report
from cache_service.api.cache_status import MAX_DETAIL, render_age, render_cache_status, render_refusal

DECISIONS = st.sampled_from(["hit", "stale-hit", "miss", "partial", "collapsed", "bypass"])
FORWARDED = st.none() | st.sampled_from(["miss", "partial", "stale", "request", "bypass"])
REPORTS = st.builds(
    lambda **members: Report(**members),  # else all its members are drawn
    decision=DECISIONS, key=st.text(max_size=80) | st.just("0a" * 32), kind=st.sampled_from(["exact", "semantic", ""]), reason=st.text(max_size=300),
    detail=st.text(max_size=300), similarity=st.none() | st.floats(-1, 1), age=st.none() | st.floats(), forwarded=FORWARDED,
    ttl=st.none() | st.floats(allow_nan=False), forward_status=st.none() | st.integers(100, 599), stored=st.booleans(),
    collapsed=st.booleans(),
)  # fmt: skip


def _parsed(value: str) -> dict[str, Any]:
    ((name, parameters),) = http_sf.parse(value.encode("ascii"), tltype="list")
    assert str(name) == "cache_service"
    return {key: str(item) if isinstance(item, http_sf.Token) else item for key, item in parameters.items()}


@given(REPORTS)
def test_parsing_gives_back_what_was_meant(report: Report) -> None:
    """Whatever the texts hold, every parameter comes back as it was meant."""
    parsed = _parsed(render_cache_status(report))
    from_cache = report.decision in ("hit", "stale-hit")
    assert parsed.get("hit", False) == (from_cache and report.forwarded is None)
    assert parsed.get("fwd") == report.forwarded
    assert parsed.get("fwd-status") == (report.forward_status if report.forwarded else None)
    assert parsed.get("stored", False) == report.stored
    assert parsed.get("collapsed", False) == report.collapsed
    assert ("key" in parsed) == bool(report.key)
    if report.ttl is None:
        assert "ttl" not in parsed
    elif abs(report.ttl) < 1e15 - 1:
        assert parsed["ttl"] == math.floor(report.ttl)
    assert len(parsed.get("detail", "")) <= MAX_DETAIL
    assert not ("hit" in parsed and "fwd" in parsed)


@pytest.mark.parametrize(
    ("report", "value"),
    [
        (
            Report("hit", key="ab", kind="semantic", similarity=0.95312, ttl=86400.9),
            'cache_service; hit; key="ab"; ttl=86400; detail="semantic similarity=0.953"',
        ),
        (Report("hit", key="ab", kind="exact", similarity=1.0), 'cache_service; hit; key="ab"; detail="exact"'),
        (Report("stale-hit", kind="exact", ttl=-412.5), 'cache_service; hit; ttl=-413; detail="exact"'),
        (
            Report("miss", key="ab", forwarded="miss", stored=True, reason="no entry"),
            'cache_service; fwd=miss; stored; key="ab"; detail="no entry"',
        ),
        (
            Report("collapsed", key="ab", forwarded="miss", stored=True, collapsed=True),
            'cache_service; fwd=miss; stored; collapsed; key="ab"',
        ),
        (Report("partial", forwarded="partial", stored=True), "cache_service; fwd=partial; stored"),
        (Report("miss", forwarded="miss", forward_status=400), "cache_service; fwd=miss; fwd-status=400"),
        (
            Report("miss", forwarded="miss", detail="different: colour red / “rot”", similarity=0.94),
            r'cache_service; fwd=miss; detail="different: colour red / \\u201crot\\u201d similarity=0.940"',
        ),
    ],
)
def test_each_way_reads_like_the_rfc(report: Report, value: str) -> None:
    """The forms that the reference shows, as RFC 9211 prints its examples."""
    assert render_cache_status(report) == value


def test_a_refusal_has_its_code() -> None:
    """An answer that neither cache nor upstream gave."""
    assert render_refusal("invalid_request") == 'cache_service; detail="invalid_request"'


@pytest.mark.parametrize(
    ("report", "age"),
    [
        (Report("hit", age=12.9), "12"),
        (Report("stale-hit", age=0.2), "0"),
        (Report("hit", age=-5.0), "0"),
        (Report("miss", age=3.0), None),
        (Report("hit"), None),
        (Report("stale-hit", age=7.0, forwarded="stale"), "7"),
    ],
)
def test_age_is_whole_seconds_and_only_on_hits(report: Report, age: str | None) -> None:
    """RFC 9111, section 5.1; never negative, also when a clock went back."""
    assert render_age(report) == age
