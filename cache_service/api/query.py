"""Query parameters, as strictly read as bodies: an unknown one, one given twice or one of a wrong kind is refused, and changes nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Final

from starlette.requests import Request

from cache_service.errors import InvalidRequest, NotFound

MAX_NUMBER: Final = 2**63 - 1
PAGE: Final = 50
MAX_PAGE: Final = 500
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
MOST: Final = 1e12  # of seconds, dollars, hours: what nobody means, and far from what arithmetic can't hold
_DECIMAL: Final = re.compile(
    r"-?[0-9]{1,32}(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,3})?"
)  # as JSON has it (RFC 8259, section 6)


class Query:
    """The parameters of one request. Raises InvalidRequest where one isn't known or is given twice."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        self._values: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                nearest = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.5)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known) or 'none'}"
                raise InvalidRequest(
                    f"unknown parameter {name[:64]!a}: {hint}", param=name[:64], code="unknown_parameter"
                )
            if name in self._values:
                raise InvalidRequest(f"{name} is given twice", param=name, code="duplicate_name")
            self._values[name] = value

    def integer(self, name: str, *, least: int = 0, most: int = MAX_NUMBER) -> int | None:
        """A whole number; None where it isn't given."""
        text = self._values.get(name)
        if text is None:
            return None
        if not _DIGITS.fullmatch(text) or not least <= int(text) <= most:
            raise InvalidRequest(f"{name} must be a whole number from {least} to {most}", param=name)
        return int(text)

    def limit(self) -> int:
        """How many rows a page has."""
        return self.integer("limit", least=1, most=MAX_PAGE) or PAGE

    def number(self, name: str, *, most: float = MOST) -> float | None:
        """A number from 0 to `most`, as JSON writes it."""
        text = self._values.get(name)
        if text is None:
            return None
        if not _DECIMAL.fullmatch(text) or not 0 <= float(text) <= most:
            raise InvalidRequest(f"{name} must be a number from 0 to {most:g}", param=name)
        return float(text)

    def text(self, name: str, *, longest: int = 256) -> str | None:
        """Text of 1 to `longest` characters without NUL."""
        text = self._values.get(name)
        if text is None:
            return None
        if not 1 <= len(text) <= longest:
            raise InvalidRequest(f"{name} must have 1 to {longest} characters", param=name)
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidRequest(f"{name} holds what no text can", param=name, code="invalid_text")
        return text

    def choice(self, name: str, values: Collection[str]) -> str | None:
        """One of the values."""
        text = self._values.get(name)
        if text is not None and text not in values:
            raise InvalidRequest(f"{name} must be one of: {', '.join(values)}", param=name)
        return text


def path_number(request: Request, name: str, what: str) -> int:
    """An id in the path. Raises NotFound for what can't be one."""
    text = str(request.path_params[name])
    if not _DIGITS.fullmatch(text) or int(text) > MAX_NUMBER:
        raise NotFound(f"there is no such {what}")
    return int(text)
