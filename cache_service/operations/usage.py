"""`usage` cut into shares, one for each output, and added up again over the outputs that are served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cache_service.operations.parameters import is_integer


def share(usage: Mapping[str, Any], parts: int) -> list[dict[str, Any]]:
    """As many shares as `parts`, whose integers add up to `usage`; the first ones get what doesn't divide."""
    return [_one_share(usage, index, parts) for index in range(parts)]


def total(shares: Iterable[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """The integers added up, other members from the first share; None where no output has a usage."""
    known = [one for one in shares if one is not None]
    if not known:
        return None
    return _sum(known)


def _one_share(usage: Mapping[str, Any], index: int, parts: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in usage.items():
        if isinstance(value, Mapping):
            result[name] = _one_share(value, index, parts)
        elif is_integer(value):
            result[name] = value // parts + (index < value % parts)
        else:
            result[name] = value
    return result


def _sum(shares: list[Mapping[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, first in shares[0].items():
        values = [one[name] for one in shares if name in one]
        if isinstance(first, Mapping):
            result[name] = _sum([value for value in values if isinstance(value, Mapping)])
        elif is_integer(first):
            result[name] = sum(value for value in values if is_integer(value))
        else:
            result[name] = first
    return result
