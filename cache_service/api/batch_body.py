"""The body of a batch, taken apart: NDJSON (a request a line) or JSON (a list of requests).

How the batch is run stands in a member `batch`: of the first line, or of an object `{"batch": …, "requests": […]}`. Whatever is wrong is
an InvalidRequest that names the item's index, and nothing of the batch is begun.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cache_service.api import strict_json
from cache_service.api.cache_control import from_json, stricter
from cache_service.api.generate import refuse_unknown, take_apart
from cache_service.batch import NewItem, Options
from cache_service.decision import Directives
from cache_service.errors import BodyTooLarge, InvalidRequest, RequestError

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
MAX_CONCURRENCY: Final = 10_000
_OPTIONS: Final = tuple(Options.__dataclass_fields__)
_FLAGS: Final = ("allow_unknown_price", "via_batch_api")


@dataclass(frozen=True, slots=True)
class Frame:
    """What holds for every item: the operations there are, how many items may be, and how the request's headers steer the cache."""

    operations: Collection[str]
    most_items: int
    directives: Directives
    tags: frozenset[str]


def read_batch(body: bytes, media_type: str, frame: Frame) -> tuple[list[NewItem], Options]:
    """The items in order, and how to run them. Raises InvalidRequest, BodyTooLarge."""
    _refuse_no_store(frame.directives, None)
    options, values = _lines(body) if media_type == NDJSON else _document(body)
    items: list[NewItem] = []
    first: dict[bytes, int] = {}
    for index, value in enumerate(values):
        if index >= frame.most_items:
            raise BodyTooLarge(f"a batch holds at most {frame.most_items} requests", code="too_many_items")
        item, digest = _item(value, index, frame)
        same_as = first.setdefault(digest, index)
        items.append(NewItem(*item, same_as=None if same_as == index else same_as))
    if not items:
        raise InvalidRequest("the batch holds no requests", code="empty_batch")
    return items, options()


class _OptionsRead:
    """The options, once their line or member was met."""

    def __init__(self) -> None:
        self._options = Options()

    def take(self, value: Any) -> None:
        self._options = _read_options(value)

    def __call__(self) -> Options:
        return self._options


def _lines(body: bytes) -> tuple[_OptionsRead, Iterator[Any]]:
    """Line by line, so that one is in memory as values at a time."""
    options = _OptionsRead()

    def values() -> Iterator[Any]:
        index = 0
        for number, line in enumerate(io.BytesIO(body), 1):
            if not line.strip():
                continue
            try:
                value = strict_json.load_value(line.strip())
            except InvalidRequest as error:
                raise InvalidRequest(f"line {number}: {error.message}", code=error.code, index=index) from None
            if index == 0 and isinstance(value, dict) and value.keys() == {"batch"}:
                options.take(value["batch"])
                continue
            yield value
            index += 1

    return options, values()


def _document(body: bytes) -> tuple[_OptionsRead, Iterator[Any]]:
    options, value = _OptionsRead(), strict_json.load_value(body)
    if isinstance(value, dict):
        refuse_unknown(value, ("batch", "requests"))
        options.take(value.get("batch"))
        value = value.get("requests")
    if not isinstance(value, list):
        raise InvalidRequest("expected a list of requests", param="requests", code="invalid_type")
    return options, iter(value)


def _item(value: Any, index: int, frame: Frame) -> tuple[tuple[str, str, str], bytes]:
    """Operation, request and steering as they are filed, and what equal items have in common."""
    try:
        if not isinstance(value, dict):
            raise InvalidRequest("a request of a batch is an object", code="invalid_type")
        operation, request, cache = take_apart(value, frame.operations)
        if "stream" in request and request["stream"] is not None and request["stream"] is not False:
            raise InvalidRequest("stream must be false in a batch", param="request.stream", code="invalid_type")
        own, own_tags = from_json(cache)
        directives, tags = stricter(frame.directives, own), frame.tags | own_tags
        _refuse_no_store(directives, "cache.no_store")
    except RequestError as error:
        raise InvalidRequest(
            f"item {index}: {error.message}", param=error.param, code=error.code, index=index
        ) from None
    set_ones = {name: getattr(directives, name) for name in Directives.__dataclass_fields__}
    steering = {"directives": {name: one for name, one in set_ones.items() if one}, "tags": sorted(tags)}
    filed = json.dumps(steering)  # not orjson: a duration may be infinite
    ordered = orjson.dumps([operation, request], option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(ordered + filed.encode()).digest()
    return (operation, orjson.dumps(request).decode("utf-8"), filed), digest


def _refuse_no_store(directives: Directives, param: str | None) -> None:
    if directives.no_store:
        raise InvalidRequest(
            "a batch's results are stored until they are fetched: no-store can't hold",
            param=param,
            code="not_in_a_batch",
        )


def _read_options(value: Any) -> Options:
    """The member `batch`. Raises InvalidRequest."""
    if value is None:
        return Options()
    if not isinstance(value, dict):
        raise InvalidRequest("batch must be an object", param="batch", code="invalid_type")
    refuse_unknown(value, _OPTIONS, "batch.")
    given = {name: one for name, one in value.items() if one is not None}
    for name in _FLAGS:
        if not isinstance(given.get(name, False), bool):
            raise InvalidRequest(f"batch.{name} must be true or false", param=f"batch.{name}", code="invalid_type")
    concurrency = given.get("concurrency", 1)
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= MAX_CONCURRENCY:
        raise InvalidRequest(
            f"batch.concurrency must be from 1 to {MAX_CONCURRENCY}", param="batch.concurrency", code="invalid_type"
        )
    budget = given.get("budget_usd", 0)
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget < math.inf:
        raise InvalidRequest("batch.budget_usd must be a number from 0", param="batch.budget_usd", code="invalid_type")
    return Options(**given)
