"""Types of request parameters, as a table: a wrong type is ours to refuse (400), an odd combination the upstream's to judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cache_service.errors import InvalidRequest

Check: TypeAlias = Callable[[Any], bool]


def is_integer(value: Any) -> bool:
    """JSON has one kind of number; `true` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_time(value: Any) -> bool:
    """Unix seconds as databases can hold them."""
    return is_integer(value) and 0 <= value < 2**53


def is_number(value: Any) -> bool:
    """An integer or a float; `true` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


STRING: tuple[str, Check] = ("a string", lambda v: isinstance(v, str))
BOOLEAN: tuple[str, Check] = ("true or false", lambda v: isinstance(v, bool))
NUMBER: tuple[str, Check] = ("a number", is_number)
INTEGER: tuple[str, Check] = ("an integer", is_integer)
OBJECT: tuple[str, Check] = ("an object", lambda v: isinstance(v, dict))
ARRAY: tuple[str, Check] = ("an array", lambda v: isinstance(v, list))
STRING_OR_OBJECT: tuple[str, Check] = ("a string or an object", lambda v: isinstance(v, str | dict))
STRING_OR_STRINGS: tuple[str, Check] = (
    "a string or an array of strings",
    lambda v: isinstance(v, str) or (isinstance(v, list) and all(isinstance(part, str) for part in v)),
)
STRINGS: tuple[str, Check] = (
    "an array of strings",
    lambda v: isinstance(v, list) and all(isinstance(part, str) for part in v),
)


def integer_between(low: int, high: int) -> tuple[str, Check]:
    """An integer within both bounds."""
    return (f"an integer from {low} to {high}", lambda v: is_integer(v) and low <= v <= high)


def check_types(body: Mapping[str, Any], table: Mapping[str, tuple[str, Check]]) -> None:
    """Raises InvalidRequest, naming the member, for the first known parameter of a wrong type. `null` is the same as absent."""
    for name, (expected, fits) in table.items():
        value = body.get(name)
        if value is not None and not fits(value):
            raise InvalidRequest(f"{name} must be {expected}.", param=name, code="invalid_type")


def split_context(body: Mapping[str, Any], known: Mapping[str, Any], leave_out: frozenset[str]) -> dict[str, Any]:
    """The members that belong to the partition: all but `leave_out`, and but known parameters that are `null` (the same as absent)."""
    return {
        name: value for name, value in body.items() if name not in leave_out and not (value is None and name in known)
    }
