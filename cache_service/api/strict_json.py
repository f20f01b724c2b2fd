"""JSON as a request body may be: one object, read the same by every parser (RFC 8259, I-JSON of RFC 7493). Pure.

What parsers disagree on is refused, because a cache key must not depend on who reads: duplicate names, NaN and Infinity, lone
surrogates, numbers that no double or 64-bit integer holds. U+0000 is refused because databases can't keep it, and more than 64
levels because recursive code can't walk them.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

from cache_service.errors import InvalidRequest

MAX_DEPTH: Final = 64  # precedents: PHP's json_decode 512, ASP.NET Core 64
_MAX_DIGITS: Final = 20  # of a 64-bit integer with its sign; also keeps int() from quadratic work
_LEAST, _MOST = -(2**63), 2**64 - 1
_EXACT: Final = 2**53 - 1  # every integer up to it is a double

# An escape that may make U+0000 or half of a surrogate pair; rare, so its presence alone decides whether to look closer.
_SUSPICIOUS: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# A string, also one that never closes (so that the scan stays linear); possessive, so that nothing is tried twice.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACES_AS_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def loads(body: bytes) -> dict[str, Any]:
    """The object that `body` holds. Raises InvalidRequest with a message for the client, never another error."""
    value = load_value(body)
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    return value


def load_value(body: bytes) -> Any:
    """The value that `body` holds, of any kind. Raises InvalidRequest as `loads` does."""
    if not body:
        raise InvalidRequest("the body is empty: expected a JSON object", code="invalid_json")
    if _too_deep(body):
        raise InvalidRequest(f"the body is nested deeper than {MAX_DEPTH} levels", code="json_too_deep")
    try:
        text = body.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8: bad byte at {error.start}", code="invalid_json") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidRequest(f"the body is not JSON: {error.msg} at {where}", code="invalid_json") from None
    if _SUSPICIOUS.search(text):
        _refuse_unstorable_text(value)
    return value


def _too_deep(body: bytes) -> bool:
    """Whether brackets nest deeper than MAX_DEPTH; linear, and without recursion: innermost pairs are taken away level by level."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    structure = _STRING.sub(b"", body).translate(_BRACES_AS_BRACKETS, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        outer = structure.replace(b"[]", b"")
        if outer == structure:
            break
        structure = outer
    # what is left is too deep, or unbalanced and so no JSON
    return b"[]" in structure or structure.count(b"[") > MAX_DEPTH


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                shown = ascii(name[:64])
                raise InvalidRequest(f"the name {shown} stands twice in one object", code="duplicate_name")
            seen.add(name)
    return members


def _integer(digits: str) -> int:
    if len(digits) <= _MAX_DIGITS and _LEAST <= (number := int(digits)) <= _MOST:
        return number
    raise InvalidRequest("an integer doesn't fit into 64 bits", code="number_out_of_range")


def _finite(digits: str) -> float | int:
    """By value, not by spelling: 1.0 and 1e0 are the integer 1 (RFC 8785, section 3.2.2.3; JSON Schema, section 6.1.1)."""
    number = float(digits)
    if math.isinf(number):
        raise InvalidRequest("a number is too large for a double", code="number_out_of_range")
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{name} is no JSON value", code="invalid_json")


def _refuse_unstorable_text(value: Any) -> None:
    """Raises InvalidRequest for U+0000 or a lone surrogate in any string or name."""
    match value:
        case str():
            if "\0" in value:
                raise InvalidRequest("a string holds the character U+0000", code="invalid_text")
            if _SURROGATE.search(value):
                raise InvalidRequest("a string holds half of a surrogate pair", code="invalid_text")
        case dict():
            for name, member in value.items():
                _refuse_unstorable_text(name)
                _refuse_unstorable_text(member)
        case list():
            for member in value:
                _refuse_unstorable_text(member)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_finite, parse_constant=_no_constant
)
