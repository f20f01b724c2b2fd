"""How a request steers the cache: `Cache-Control` (RFC 9111, section 5.2.1) and `Cache-Tag`, also as `/v1/generate`'s JSON. Pure.

Directives are tolerant: names in any case, values as token or quoted string, unknown ones ignored. A number that is none, or has
white space before it, is ignored; of several, the most restrictive counts (RFC 9111, section 4.2.1, leaves the choice). Numbers
above 2^31 mean 2^31 (section 1.2.2). Our extensions are `exact-only`, `similar-if-error`, `no-fallback` and `similarity=0.95`; there a
wrong number is an error, because ignoring it would serve what the client wanted excluded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from cache_service.decision import Directives
from cache_service.errors import InvalidRequest

MAX_SECONDS: Final = 2**31  # RFC 9111, section 1.2.2
_MAX_DIGITS: Final = 10  # of MAX_SECONDS
MAX_TAGS: Final = 16
MAX_TAG_LENGTH: Final = 64

NONE: Final = Directives()
NO_TAGS: Final[frozenset[str]] = frozenset()

_PART: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)++', re.DOTALL)  # up to a comma outside quotes; linear
_DIRECTIVE: Final = re.compile(
    r'(?P<name>[!#$%&\'*+\-.^_`|~0-9A-Za-z]+)(?:=(?:"(?P<quoted>[^"\\]*)"|(?P<token>[^\s"]*)))?'
)
_SECONDS: Final = re.compile(r"[0-9]+")
_DECIMAL: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}")
_TAG: Final = re.compile(rf"(?! )[ -+\--~]{{1,{MAX_TAG_LENGTH}}}(?<! )")  # printable ASCII but the comma

_FLAGS: Final = {
    "no-cache": "no_cache",
    "no-store": "no_store",
    "only-if-cached": "only_if_cached",
    "exact-only": "exact_only",
    "no-fallback": "no_fallback",
}
_PERMISSIONS: Final = {"similar-if-error": "similar_if_error"}  # allow what isn't allowed without them
_SMALLER_IS_STRICTER: Final = {"max-age": "max_age", "max-stale": "max_stale", "stale-if-error": "stale_if_error"}
_LARGER_IS_STRICTER: Final = {"min-fresh": "min_fresh"}
_DURATIONS: Final = _SMALLER_IS_STRICTER | _LARGER_IS_STRICTER
_WITHOUT_NUMBER: Final = frozenset({"max-stale", "stale-if-error"})  # mean "by any length" then
_STRICTEST: Final = {
    **dict.fromkeys(_FLAGS.values(), max),
    **dict.fromkeys(_SMALLER_IS_STRICTER.values(), min),
    **dict.fromkeys(_LARGER_IS_STRICTER.values(), max),
    "similarity": max,
    **dict.fromkeys(_PERMISSIONS.values(), max),  # one is never left out by accident
}


def parse_cache_control(fields: Sequence[str]) -> Directives:
    """The directives of all `Cache-Control` lines of a request. Raises InvalidRequest for a wrong `similarity`."""
    if not fields:
        return NONE
    directives = NONE
    for part in _PART.findall(", ".join(fields)):
        match = _DIRECTIVE.fullmatch(part.strip(" \t"))
        if match is not None:
            value = match["token"] if match["quoted"] is None else match["quoted"]
            directives = _with(directives, match["name"].lower(), value)
        elif part.strip(" \t").lower().startswith("similarity"):
            _similarity(None)
    return directives


def _with(directives: Directives, name: str, value: str | None) -> Directives:
    if name in _FLAGS or name in _PERMISSIONS:
        flag: dict[str, Any] = {(_FLAGS | _PERMISSIONS)[name]: True}
        return replace(directives, **flag)
    if name == "similarity":
        return stricter(directives, Directives(similarity=_similarity(value)))
    if name not in _DURATIONS:
        return directives
    if value is None and name in _WITHOUT_NUMBER:
        seconds = math.inf
    elif value is not None and _SECONDS.fullmatch(value):
        digits = value.lstrip("0") or "0"
        seconds = float(MAX_SECONDS if len(digits) > _MAX_DIGITS else min(int(digits), MAX_SECONDS))
    else:
        return directives
    duration: dict[str, Any] = {_DURATIONS[name]: seconds}
    return stricter(directives, Directives(**duration))


def _similarity(value: str | None) -> float:
    if value is None or not _DECIMAL.fullmatch(value) or float(value) > 1:
        raise InvalidRequest(
            "similarity must be a number from 0 to 1, as in Cache-Control: similarity=0.95",
            param="similarity",
            code="invalid_similarity",
        )
    return float(value)


def stricter(one: Directives, other: Directives) -> Directives:
    """Both at once: for each directive the more restrictive of the two."""
    merged = {}
    for name, choose in _STRICTEST.items():
        given = [value for value in (getattr(one, name), getattr(other, name)) if value is not None]
        if given:
            merged[name] = choose(given)
    return Directives(**merged)


def parse_tags(fields: Sequence[str]) -> frozenset[str]:
    """The tags of all `Cache-Tag` lines, comma-separated. Raises InvalidRequest for too many, too long or unprintable ones."""
    if not fields:
        return NO_TAGS
    parts = (part.strip(" \t") for field in fields for part in field.split(","))
    return check_tags(
        (part for part in parts if part), "Cache-Tag"
    )  # RFC 9110, section 5.6.1.2: empty members are nothing


def check_tags(tags: Iterable[Any], param: str) -> frozenset[str]:
    """The tags as a set. Raises InvalidRequest naming `param`."""
    named = set()
    for tag in tags:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise InvalidRequest(
                f"a tag is 1 to {MAX_TAG_LENGTH} printable ASCII characters without commas",
                param=param,
                code="invalid_tag",
            )
        named.add(tag)
    if len(named) > MAX_TAGS:
        raise InvalidRequest(f"at most {MAX_TAGS} tags are allowed", param=param, code="too_many_tags")
    return frozenset(named)


def from_json(cache: Mapping[str, Any]) -> tuple[Directives, frozenset[str]]:
    """The directives and tags of `/v1/generate`'s `cache` member: the same names with `_`. `null` is the same as absent.

    `max_stale` and `stale_if_error` may also be `true`: by any length. Raises InvalidRequest.
    """
    members: dict[str, Any] = {}
    tags: frozenset[str] = frozenset()
    for name, value in cache.items():
        if value is None:
            continue
        if name == "tags":
            if not isinstance(value, list):
                raise InvalidRequest("cache.tags must be an array of strings", param="cache.tags", code="invalid_type")
            tags = check_tags(value, "cache.tags")
        else:
            members[name] = _member(name, value)
    return Directives(**{name: value for name, value in members.items() if value is not None}), tags


def _member(name: str, value: Any) -> bool | float | None:
    param = f"cache.{name}"
    if name in _FLAGS.values() or name in _PERMISSIONS.values():
        if not isinstance(value, bool):
            raise InvalidRequest(f"{param} must be true or false", param=param, code="invalid_type")
        return value
    if isinstance(value, bool) and name in ("max_stale", "stale_if_error"):
        return math.inf if value else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{param} must be a number", param=param, code="invalid_type")
    if name == "similarity":
        if not 0 <= value <= 1:
            raise InvalidRequest(f"{param} must be from 0 to 1", param=param, code="invalid_similarity")
        return float(value)
    if value < 0:
        raise InvalidRequest(f"{param} must not be negative", param=param, code="invalid_type")
    return float(min(value, MAX_SECONDS))


JSON_MEMBERS: Final = (*_FLAGS.values(), *_PERMISSIONS.values(), *_DURATIONS.values(), "similarity", "tags")
"""The names that `/v1/generate`'s `cache` member may hold."""
