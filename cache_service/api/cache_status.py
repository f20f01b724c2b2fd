"""What the cache did, in headers: `Cache-Status` (RFC 9211) and `Age` (RFC 9111, section 5.1). Pure.

hit            cache_service; hit; key="…"; ttl=86400; detail="semantic similarity=0.953"
miss           cache_service; fwd=miss; stored; key="…"; detail="no candidate"
fallen back    cache_service; fwd=miss; stored; key="…"; detail="fallback=reduced-quality"
joined         cache_service; fwd=miss; stored; collapsed; key="…"
only missing   cache_service; fwd=partial; stored; key="…"
upstream's no  cache_service; fwd=miss; fwd-status=400
refused by us  cache_service; detail="invalid_request"
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from cache_service.answer import Report

CACHE_NAME: Final = "cache_service"
MAX_DETAIL: Final = 200  # characters; precedents: none in the RFC, header lines of 8 KiB in servers


class Token(str):
    """A word that stands without quotes."""

    __slots__ = ()


_MAX_INTEGER: Final = 999_999_999_999_999  # RFC 8941, section 3.3.1
_HITS: Final = frozenset({"hit", "stale-hit"})
_PLAIN: Final = re.compile(r"[0-9a-f]{1,64}")  # what an exact key is
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")


def render_cache_status(report: Report) -> str:
    """The value of `Cache-Status` for an answer that came about like that."""
    plain = not (report.forwarded or report.stored or report.collapsed or report.fallback)
    if plain and report.kind == "exact" and report.decision in _HITS and report.key:  # most answers of a busy service
        ttl = "" if report.ttl is None else f" ttl={_whole_seconds(report.ttl)};"
        key = f'"{report.key}"' if _PLAIN.fullmatch(report.key) else _item(to_ascii(report.key))
        return f'{CACHE_NAME}; hit; key={key};{ttl} detail="exact"'
    parameters: dict[str, Any] = {}
    if report.forwarded is None:
        if report.decision in ("hit", "stale-hit"):
            parameters["hit"] = True
    else:
        parameters["fwd"] = Token(report.forwarded)
        if report.forward_status is not None:
            parameters["fwd-status"] = report.forward_status
    if report.stored:
        parameters["stored"] = True
    if report.collapsed:
        parameters["collapsed"] = True
    if report.key:
        parameters["key"] = to_ascii(report.key)
    if report.ttl is not None:
        parameters["ttl"] = _whole_seconds(report.ttl)
    if detail := _detail(report):
        parameters["detail"] = detail
    return _serialise(parameters)


def render_refusal(code: str) -> str:
    """The value of `Cache-Status` for an error that arose before the cache was asked."""
    return _serialise({"detail": to_ascii(code)})


def render_age(report: Report) -> str | None:
    """The value of `Age`, whole seconds, for answers from the cache; None for all others."""
    if report.age is None or report.decision not in ("hit", "stale-hit"):
        return None
    return str(max(0, _whole_seconds(report.age)))


def to_ascii(text: str) -> str:
    """Text as a structured field's string may hold it: printable ASCII, other characters escaped, cut to MAX_DETAIL."""
    if text.isascii() and text.isprintable():
        return text[:MAX_DETAIL]
    escaped = text.encode("ascii", "backslashreplace").decode("ascii")
    return _UNPRINTABLE.sub(" ", escaped)[:MAX_DETAIL]


def _serialise(parameters: Mapping[str, Any]) -> str:
    """One member of the list, with a space after each semicolon, as RFC 9211 prints its examples."""
    shown = (name if value is True else f"{name}={_item(value)}" for name, value in parameters.items())
    return "; ".join((CACHE_NAME, *shown))


def _item(value: str | int | Token) -> str:
    """A bare item (RFC 9651, section 4.1.3.1). Written out, because it stands on every hit's way: the library takes ten times as long."""
    if isinstance(value, str) and not isinstance(value, Token):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _detail(report: Report) -> str:
    from_cache = report.decision in ("hit", "stale-hit")
    words: str = report.kind if from_cache else report.detail or report.reason
    if report.fallback:
        # why the first request missed says nothing of this answer; that it wasn't stored does
        told = from_cache or report.detail.startswith("not stored")
        words = f"fallback={report.fallback} {words if told else ''}".rstrip()
        if not from_cache:
            return to_ascii(words)
    if report.similarity is not None and report.kind != "exact":
        words = f"{words[: MAX_DETAIL - 20]} similarity={report.similarity:.3f}".lstrip()
    return to_ascii(words)


def _whole_seconds(seconds: float) -> int:
    """Rounded down, within what a structured field's integer may hold."""
    if math.isinf(seconds):
        return _MAX_INTEGER if seconds > 0 else -_MAX_INTEGER
    return max(-_MAX_INTEGER, min(math.floor(seconds), _MAX_INTEGER))
