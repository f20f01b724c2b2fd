"""JSON that holds pictures: megabytes of base64 that needn't be looked at for escapes, nor be copied twice."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import orjson

MEMBER: Final = "b64_json"
_BEGINNING: Final = re.compile(rb'(?<!\\)"b64_json"[ \t\r\n]*:[ \t\r\n]*"')
"""All before a picture's first letter. Within a string of JSON a quote would have a backslash before it."""


def loads(body: bytes) -> Any:
    """The JSON, in which the `b64_json` of each item of `data` is a view of the body where that is all it takes; else a string.

    Raises orjson.JSONDecodeError.
    """
    between, views, place = [], [], 0
    while found := _BEGINNING.search(body, place):
        end = body.find(b'"', found.end())
        if end < 0 or body.find(b"\\", found.end(), end) >= 0:
            return orjson.loads(body)
        between.append(body[place : found.end()])
        views.append(memoryview(body)[found.end() : end])
        place = end
    between.append(body[place:])
    mark = hashlib.sha256(b"".join(between)).hexdigest()  # none of what is in it
    marks = [f"{mark} {number}" for number in range(len(views))]
    pieces = [piece for pair in zip(between[:-1], marks, strict=True) for piece in (pair[0], pair[1].encode())]
    answer = orjson.loads(b"".join([*pieces, between[-1]]))
    data = answer.get("data") if isinstance(answer, dict) else None
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    marked = [item for item in items if item.get(MEMBER) in marks]
    if [item[MEMBER] for item in marked] != marks:  # one stands elsewhere, or twice
        return orjson.loads(body)
    for item, view in zip(marked, views, strict=True):
        item[MEMBER] = view
    return answer
