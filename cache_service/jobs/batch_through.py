"""A batch through the upstream's own Batch API: what is missing goes there in files, and its answers are stored as any.

    go                what is at the upstream already is seen through ─► what is missing is sent ─► again, until nothing is
      _send_missing   one look at each item: a hit ends it; of equal keys one is sent
      _see_through    submitted ─► polled ─► every line of its files ends an item

The upstream's ids are filed as soon as they are known, and each batch there carries a tag of ours: a process that was killed between
the two finds it again instead of paying twice.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from cache_service.answer import Caller, Report, shown
from cache_service.batch import Batch, BatchStore, Ended, Item, SentItem, UpstreamBatch
from cache_service.decision import Directives
from cache_service.errors import (
    CacheServiceError,
    NotBegun,
    StoreError,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cache_service.generation import Missing, TakenIn
from cache_service.jobs.batch_result import Problem, by_reference, ended, failed
from cache_service.operations.base import Incomplete
from cache_service.upstream.base import BatchApi, BatchAtUpstream

if TYPE_CHECKING:
    from cache_service.semantic_cache import SemanticCache

log = logging.getLogger(__name__)

HALF: Final = 0.5  # the Batch API's price, of the usual one
MOST_REQUESTS: Final = 50_000  # of one file
MOST_BYTES: Final = 200 * 1000 * 1000  # of one file; the upstream's "200 MB", by the smaller reading
SHORTEST: Final = 1.0
POLL: Final = 60.0
"""Seconds between two looks at a batch: few at first, for one that fails says so soon; it may take a day."""
TRIES: Final = 20  # of one step at an upstream that can't be reached: half an hour and more
PAGE: Final = 100

T = TypeVar("T")

TakeIn: TypeAlias = Callable[[str, bytes], Awaitable[TakenIn | Incomplete]]
"""(draft, body) → what became of the answer."""


@dataclass(frozen=True, slots=True)
class ThroughMeans:
    """What it works with. folder: where files of requests are written until they are sent."""

    api: BatchApi
    cache: SemanticCache
    take_in: TakeIn
    folder: Path


@dataclass(frozen=True, slots=True)
class Control:
    """The run that it belongs to. wait: so many seconds, less if the run is stopped. why: "" until then. end: files an outcome."""

    store: BatchStore
    problem: Problem
    estimate: Callable[[str, Mapping[str, Any]], float | None]
    directives: Callable[[Item], tuple[Directives, frozenset[str]]]
    wait: Callable[[float], Awaitable[None]]
    pause: Callable[[float], Awaitable[None]]
    why: Callable[[], str]
    end: Callable[[Ended, str], Awaitable[None]]


class Through:
    """One batch's way through the upstream's Batch API. spent: USD so far."""

    def __init__(self, batch: Batch, means: ThroughMeans, control: Control, *, spent: float) -> None:
        self._batch = batch
        self._means = means
        self._control = control
        self._held = spent

    async def go(self) -> None:
        """Until every item has its end, or the run is stopped. Raises StoreError."""
        store, number = self._control.store, self._batch.number
        there = await store.open_upstream(number)
        while True:
            await _all_or_none([self._see_through(upstream) for upstream in there])
            if self._control.why():
                return
            there = await self._send_missing()
            if not there:
                return

    async def _send_missing(self) -> list[UpstreamBatch]:
        """Files what is missing as batches for the upstream, by endpoint and model; what is there ends. Of equal keys one is sent."""
        groups: dict[tuple[str, str | None], list[SentItem]] = {}
        keys: set[str] = set()
        async for item in self._waiting():
            found = await self._look(item)
            if isinstance(found, Ended):
                await self._control.end(found, item.operation)
            elif found is not None and found.exact_key not in keys:
                keys.add(found.exact_key)
                group = groups.setdefault((found.path, found.model), [])
                group.append(SentItem(item.position, found.body, found.draft))
        filed = []
        for (path, _), items in groups.items():
            for part in split(items, path):
                filed.append(await self._control.store.send(self._batch.number, path, part))  # noqa: PERF401  awaits
        return filed

    async def _waiting(self) -> AsyncIterator[Item]:
        after = -1
        while not self._control.why():
            page = await self._control.store.waiting(self._batch.number, after=after, limit=PAGE)
            if not page:
                return
            for item in page:
                yield item
            after = page[-1].position

    async def _look(self, item: Item) -> Ended | Missing | None:
        """What is stored or refused, or what to send."""
        request = json.loads(item.request)
        directives, tags = self._control.directives(item)
        try:
            found = await self._means.cache.find_or_missing(
                item.operation,
                request,
                caller=Caller(self._batch.namespace, self._batch.client),
                directives=directives,
                tags=tags,
                request_id=f"{self._batch.id}-{item.position}",
            )
            if isinstance(found, Missing):
                refusal = self._over_budget(item, request)
                return found if refusal is None else refusal
            return await ended(item.position, found, self._control.problem)
        except StoreError:
            raise
        except CacheServiceError as error:
            return failed(item.position, error, self._control.problem)
        except Exception:  # as in a run without the Batch API: one item must not hold up the others
            log.exception("an item of a batch ended in a way nobody foresaw")
            return failed(item.position, CacheServiceError(), self._control.problem)

    def _over_budget(self, item: Item, request: Mapping[str, Any]) -> Ended | None:
        """Holds what the item may cost at half the price; its end where the budget has no room for it."""
        budget = self._batch.options.budget_usd
        if budget is None:
            return None
        usd = self._control.estimate(item.operation, request)
        if usd is None and not self._batch.options.allow_unknown_price:
            error = NotBegun("no price is known for this request, and the batch has a budget", code="unknown_price")
        elif self._held + (usd or 0.0) * HALF > budget:
            error = NotBegun("it could cost more than the batch's budget leaves", code="over_budget")
        else:
            self._held += (usd or 0.0) * HALF
            return None
        return failed(item.position, error, self._control.problem, "skipped")

    async def _see_through(self, upstream: UpstreamBatch) -> None:
        """One batch at the upstream to its end. Returns early, and leaves it open, where the run is interrupted."""
        try:
            upstream, there = await self._submitted(upstream)
            there = await self._until_ended(upstream, there)
            for file_id in filter(None, (there.output_file_id, there.error_file_id)):
                await self._steadily(partial(self._take_file, upstream, file_id), tries=None)
            left: CacheServiceError = _left(there)
        except _Stopped:
            return
        except UpstreamError as error:
            left = error
        await self._fail_rest(upstream, left)
        await self._control.store.update_upstream(replace(upstream, state="ended"))

    async def _until_ended(self, upstream: UpstreamBatch, there: BatchAtUpstream) -> BatchAtUpstream:
        """Looks now and then; tells the upstream where the client has cancelled. Raises UpstreamError, _Stopped."""
        api, key = self._means.api, upstream.key_name
        told, delay = False, SHORTEST
        while not there.ended:
            why = self._control.why()
            if why == "interrupted":
                raise _Stopped
            if why == "cancelled" and not told:
                await self._steadily(partial(api.cancel, there.id, key_name=key), tries=None)
                told = True
            await (self._control.pause(delay) if told else self._control.wait(delay))
            delay = min(POLL, 2 * delay)
            there = await self._steadily(partial(api.get, there.id, key_name=key), tries=None)
        return there

    async def _submitted(self, upstream: UpstreamBatch) -> tuple[UpstreamBatch, BatchAtUpstream]:
        """The batch at the upstream; begun, if it wasn't. Each id is filed before the next step."""
        api, store = self._means.api, self._control.store
        tag = f"{self._batch.id}-{upstream.number}"
        if not upstream.key_name:
            upstream = replace(upstream, key_name=api.key_name)
            await store.update_upstream(upstream)
        key = upstream.key_name
        if upstream.upstream_id is not None:
            known = upstream.upstream_id
            return upstream, await self._steadily(partial(api.get, known, key_name=key), tries=None)
        there = None
        if upstream.file_id is None:
            file_id = await self._steadily(lambda: self._upload(upstream))
            upstream = replace(upstream, file_id=file_id)
            await store.update_upstream(upstream)
        else:  # an earlier process may have been killed after it had begun the batch
            there = await self._steadily(lambda: api.find(tag, key_name=key))
        if there is None:
            sent = upstream.file_id or ""
            there = await self._steadily(lambda: self._create(sent, upstream, tag))
        upstream = replace(upstream, upstream_id=there.id)
        await store.update_upstream(upstream)
        return upstream, there

    async def _create(self, file_id: str, upstream: UpstreamBatch, tag: str) -> BatchAtUpstream:
        """Begins it; a lost answer may have been a yes, so that is looked for."""
        try:
            return await self._means.api.create(file_id, upstream.path, tag, key_name=upstream.key_name)
        except UpstreamUnreachable:
            there = await self._means.api.find(tag, key_name=upstream.key_name)
            if there is None:
                raise
            return there

    async def _upload(self, upstream: UpstreamBatch) -> str:
        """Writes the file of requests from the database, a page at a time, and sends it."""
        with tempfile.NamedTemporaryFile(dir=self._means.folder, prefix="batch-", suffix=".jsonl") as file:
            after = -1
            while page := await self._control.store.sent_items(upstream, after=after, limit=PAGE):
                await asyncio.to_thread(file.writelines, [line_of(item, upstream.path) for item in page])
                after = page[-1].position
            await asyncio.to_thread(file.flush)
            return await self._means.api.upload(file.name, key_name=upstream.key_name)

    async def _take_file(self, upstream: UpstreamBatch, file_id: str) -> None:
        """Ends the item of each line; those that have ended are passed over, so it may be read again."""
        async for line in self._means.api.lines(file_id, key_name=upstream.key_name):
            answered = await asyncio.to_thread(_read_line, line)
            if answered is None:
                continue
            position, status, body = answered
            item = await self._control.store.sent_item(upstream, position)
            if item is not None:
                end = await self._taken(item, status, body)
                await self._control.end(end, json.loads(item.draft)["entry"]["operation"])

    async def _taken(self, item: SentItem, status: int, body: bytes) -> Ended:
        if status != 200:
            return failed(item.position, _refused(status, body), self._control.problem)
        taken = await self._means.take_in(item.draft, body)
        if isinstance(taken, Incomplete):
            error = UpstreamUnreachable(f"the upstream's answer is not complete: {taken.reason}")
            return failed(item.position, error, self._control.problem)
        text = await asyncio.to_thread(by_reference, body) if taken.stored else body
        report = Report(
            "miss",
            key=taken.exact_key,
            reason="no entry",
            detail="upstream batch",
            forwarded="miss",
            stored=taken.stored,
            usd=taken.usd,
        )
        equal = report._replace(decision="collapsed", collapsed=True, usd=None)
        return Ended(
            item.position, "done", text.decode("utf-8"), decision="miss", usd=taken.usd,
            cache=json.dumps(shown(report)), collapsed=json.dumps(shown(equal)),
        )  # fmt: skip

    async def _fail_rest(self, upstream: UpstreamBatch, error: CacheServiceError) -> None:
        """Ends what the upstream gave no line for."""
        state = "cancelled" if isinstance(error, NotBegun) else "failed"
        while page := await self._control.store.sent_items(upstream, after=-1, limit=PAGE):
            for item in page:
                end = failed(item.position, error, self._control.problem, state)  # type: ignore[arg-type]
                await self._control.end(end, json.loads(item.draft)["entry"]["operation"])

    async def _steadily(self, step: Callable[[], Awaitable[T]], *, tries: int | None = TRIES) -> T:
        """The step's result; an upstream that can't be reached now is asked again. Raises UpstreamError, _Stopped.

        tries: None for what is paid, which is never given up for being out of reach.
        """
        for attempt in itertools.count():
            try:
                return await step()
            except UpstreamError as error:
                if not error.transient or attempt + 1 == tries:
                    raise
                log.warning("the upstream's Batch API failed, trying again: %s", type(error).__name__)
            if self._control.why() == "interrupted":
                raise _Stopped
            await self._control.pause(min(2.0 ** min(attempt, 7), 120.0))
        raise AssertionError("the last attempt returns or raises")


async def _all_or_none(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Does all of it; the first error ends the rest."""
    tasks = {asyncio.create_task(one) for one in work}
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


class _Stopped(Exception):
    """The process is to stop; a later one goes on."""


def split(items: Sequence[SentItem], path: str) -> Iterator[list[SentItem]]:
    """Parts that one file may hold."""
    part: list[SentItem] = []
    size = 0
    for item in items:
        length = len(line_of(item, path))
        if part and (len(part) == MOST_REQUESTS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += length
    if part:
        yield part


def line_of(item: SentItem, path: str) -> bytes:
    """The item's line in a file of requests; `custom_id` is its position."""
    head = f'{{"custom_id":"{item.position}","method":"POST","url":"/v1{path}","body":'
    return head.encode() + item.body.encode("utf-8") + b"}\n"


def _read_line(line: bytes) -> tuple[int, int, bytes] | None:
    """Position, status and body of one answer; None for a line that is none of ours, or whose request wasn't executed."""
    try:
        members = json.loads(line)
        response = members["response"]
        body = json.dumps(response["body"], ensure_ascii=False).encode("utf-8")
        return int(members["custom_id"]), int(response["status_code"]), body
    except (ValueError, KeyError, TypeError):
        return None


def _refused(status: int, body: bytes) -> UpstreamRefused:
    told = json.loads(body)
    error = told.get("error") if isinstance(told, dict) else None
    words = error if isinstance(error, dict) else {}
    code = words.get("code")
    return UpstreamRefused(
        str(words.get("message") or f"the upstream answered {status}"),
        status=status,
        headers={},
        body=body,
        transient=False,
        code=code if isinstance(code, str) else None,
    )


def _left(there: BatchAtUpstream) -> CacheServiceError:
    """Why an item has no line in the batch's files."""
    match there.status:
        case "cancelled":
            return NotBegun("the batch was cancelled before this item was begun", code="cancelled")
        case "expired":
            return UpstreamTimeout("the upstream's batch expired before this item's turn came")
        case "failed":
            return UpstreamUnreachable(f"the upstream refused the batch: {there.error or 'it said no reason'}")
        case _:
            return UpstreamUnreachable("the upstream's batch ended without this item")
