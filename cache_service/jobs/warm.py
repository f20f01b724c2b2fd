"""`warm`: fills the cache from a file of prompts, as batches of a running service (or of one that runs only for this).

What is there already is a hit and costs nothing, so a warm-up that was cut off is resumed by running it again; a batch that it left goes on
by itself. Money is counted from what the service reports. With a budget each row is looked up first, and only one that is missing reserves
what it may cost: the stored rows of an earlier run take nothing of it, and it isn't overrun. Whatever goes wrong with a row fails that row
alone.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from cache_service.batch import HITS
from cache_service.errors import ConfigurationError
from cache_service.jobs.batch_run import Estimate

BATCHES: Final = "/v1/generate/batches"
MOST_ROWS: Final = 10_000  # of one batch
MOST_BYTES: Final = 32 * 2**20  # of one batch: half of what the service takes by default
LOOK_EVERY: Final = 0.3  # seconds between two looks at a batch
PATIENCE: Final = 200  # looks in a row that may fail: a minute in which a service may be started again
PAGE: Final = 1000  # results read at once


@dataclass(frozen=True, slots=True)
class Row:
    """One request to warm. line: where it stands in the file."""

    line: int
    operation: str
    request: Mapping[str, Any]


@dataclass(slots=True)
class WarmReport:
    """What became of the rows.

    skipped: not begun, because the budget or the user said stop, or because a budget can't hold what has no price.
    usd: what the service said it paid, or the estimate where it couldn't say. unknown_price: generated or skipped without a price.
    """

    total: int = 0
    hits: int = 0
    generated: int = 0
    failed: int = 0
    skipped: int = 0
    usd: float = 0.0
    unknown_price: int = 0
    stopped: str = ""
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Rows with an end."""
        return self.hits + self.generated + self.failed + self.skipped

    def as_json(self) -> dict[str, Any]:
        """As `warm --json` prints it."""
        return {
            "total": self.total,
            "hits": self.hits,
            "generated": self.generated,
            "failed": self.failed,
            "skipped": self.skipped,
            "usd": round(self.usd, 6),
            "unknown_price": self.unknown_price,
            "stopped": self.stopped or None,
        }


def read_rows(path: Path, *, operation: str, defaults: Mapping[str, Any]) -> list[Row]:
    """The rows of a txt (a prompt a line), jsonl or csv file. Raises ConfigurationError naming the line at fault.

    jsonl: a string, a request `{"prompt": …}` or `{"messages": …}`, or `{"operation": …, "request": {…}}` (so that the file of
    failures can be read again). csv: a header with `prompt`; the other columns are parameters. defaults: parameters for all rows.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    readers = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower(), _read_txt)
    rows = [
        Row(line, own or operation, {**defaults, **request}) for line, own, request in reader(text, path, operation)
    ]
    if not rows:
        raise ConfigurationError(f"{path} holds no prompts")
    return rows


def _read_txt(text: str, path: Path, operation: str) -> Iterator[tuple[int, str | None, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, None, _request(line.strip(), operation)


def _read_jsonl(text: str, path: Path, operation: str) -> Iterator[tuple[int, str | None, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
            raise ConfigurationError(f"{path}, line {number}: {error}") from error
        if isinstance(value, str):
            yield number, None, _request(value, operation)
        elif isinstance(value, dict) and isinstance(value.get("request"), dict):
            yield number, value.get("operation"), value["request"]
        elif isinstance(value, dict):
            yield number, None, value
        else:
            raise ConfigurationError(f"{path}, line {number}: expected a string or an object")


def _read_csv(text: str, path: Path, operation: str) -> Iterator[tuple[int, str | None, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if "prompt" not in (reader.fieldnames or ()):
            raise ConfigurationError(f"{path}: the first line must name the columns, one of them `prompt`")
        for row in reader:
            prompt = row.pop("prompt")
            if not prompt or not prompt.strip():
                continue
            parameters = {name: _number(value) for name, value in row.items() if name and value}
            yield reader.line_num, None, {**parameters, **_request(prompt.strip(), operation)}
    except csv.Error as error:
        raise ConfigurationError(f"{path}, line {reader.line_num}: {error}") from error


def _request(prompt: str, operation: str) -> dict[str, Any]:
    return {"prompt": prompt} if operation == "images" else {"messages": [{"role": "user", "content": prompt}]}


def _number(value: str) -> int | float | str:
    """The number a cell spells, else its text: `nan` and `inf` are words, as JSON has no such numbers."""
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        return number if math.isfinite(number) else value
    return value


async def warm(
    rows: Sequence[Row],
    client: httpx.AsyncClient,
    *,
    concurrency: int | None,
    budget_usd: float | None,
    allow_unknown_price: bool = False,
    via_batch_api: bool = False,
    dry_run: bool,
    estimate: Estimate,
    stop: asyncio.Event,
    progress: Callable[[WarmReport], None],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    most_rows: int = MOST_ROWS,
) -> WarmReport:
    """Asks for every row. client: its base URL is the service. stop: set it, and nothing more is begun; what runs ends.

    concurrency: rows at once, None for as many as the service takes. Raises ConfigurationError where the service wants another key.

    budget_usd: a missing row that doesn't fit waits while others are generated, for they may cost less than they reserved; where
    nothing is under way any more, the rest is skipped. allow_unknown_price: with a budget, begin also what has no price, as if free.
    via_batch_api: missing rows go through the upstream's own Batch API. dry_run: only asks what is there, and adds up what the rest
    may cost. Prices that aren't known count as 0 and are reported.
    """
    options: dict[str, Any] = {"via_batch_api": via_batch_api and not dry_run}
    if concurrency is not None:
        options["concurrency"] = concurrency
    if not dry_run:
        options |= {"budget_usd": budget_usd, "allow_unknown_price": allow_unknown_price}
    run = _Run(client, options, estimate, stop, pause, progress, dry_run=dry_run)
    run.report.total = len(rows)
    for part in run.parts(rows, most_rows):
        await run.batch(part)
    return run.report


class _Run:
    """One warm-up under way."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        options: Mapping[str, Any],
        estimate: Estimate,
        stop: asyncio.Event,
        pause: Callable[[float], Awaitable[None]],
        progress: Callable[[WarmReport], None],
        *,
        dry_run: bool,
    ) -> None:
        self.report = WarmReport()
        self._client = client
        self._options = options
        self._estimate = estimate
        self._stop = stop
        self._pause = pause
        self._progress = progress
        self._dry_run = dry_run
        self._counted: set[str] = set()  # dry run: what a real run would have generated by now
        self._began = False  # whether the service took a batch
        self._open: set[int] = set()  # rows of the batch under way that have no end yet, by identity

    def parts(self, rows: Sequence[Row], most_rows: int) -> Iterator[list[tuple[Row, bytes]]]:
        """The rows as lines of batches that the service takes; a row that can't be sent fails alone."""
        part: list[tuple[Row, bytes]] = []
        size = 0
        for row in rows:
            try:
                line = self._line(row)
            except (ValueError, RecursionError) as error:  # NaN, half of a surrogate pair
                self._failed(row, f"{type(error).__name__}: {error}")
                self._progress(self.report)
                continue
            if part and (len(part) == most_rows or size + len(line) > MOST_BYTES):
                yield part
                part, size = [], 0
            part.append((row, line))
            size += len(line)
        if part:
            yield part

    async def batch(self, part: list[tuple[Row, bytes]]) -> None:
        """One batch to its end."""
        try:
            place = await self._begin(part)
            if place is not None:
                await self._follow(place, [row for row, _ in part])
        except _TooLarge:
            for half in (part[: len(part) // 2], part[len(part) // 2 :]):
                await self.batch(half)
        except (httpx.HTTPError, _Odd) as error:
            reason = str(error) if isinstance(error, _Odd) else f"{type(error).__name__}: the service can't be reached"
            for row, _ in part:
                if not self._has_end(row):
                    self._failed(row, reason)
        self._progress(self.report)

    async def _begin(self, part: list[tuple[Row, bytes]]) -> str | None:
        """Where the batch is; rows that the service can't take are failed and left out. None where nothing is left to begin."""
        self._open = {id(row) for row, _ in part}
        while part:
            if self._stop.is_set():
                self._skip([row for row, _ in part], "interrupted")
                return None
            answer = await self._client.post(
                BATCHES,
                content=b"\n".join([self._head(), *(line for _, line in part)]),
                headers={"content-type": "application/x-ndjson", "prefer": "respond-async"},
            )
            problem = _members(answer)
            index = problem.get("index")
            if answer.status_code == 202:
                self._began = True
                return str(problem.get("id"))
            if answer.status_code == 400 and isinstance(index, int) and 0 <= index < len(part):
                self._failed(part.pop(index)[0], _message(answer))
            elif answer.status_code == 413 and len(part) > 1:
                raise _TooLarge
            elif problem.get("code") == "too_many_batches":
                await self._pause(LOOK_EVERY)
            elif answer.status_code == 401 and not self._began:
                raise ConfigurationError(
                    "the service asks for a client key, and took none that is configured here. Keys that were made while it runs are in "
                    "no setting: name one, --set client_keys=NAME:KEY"
                )
            else:
                raise _Odd(_message(answer))
        return None

    async def _follow(self, batch_id: str, rows: Sequence[Row]) -> None:
        """Takes the results as they come. The service may be started again meanwhile."""
        place, offset, failures, cancelled = f"{BATCHES}/{batch_id}", 0, 0, False
        while True:
            try:
                if self._stop.is_set() and not cancelled:
                    await self._client.post(f"{place}/cancel")
                    cancelled = True
                answer = await self._client.get(place, params={"offset": offset, "limit": PAGE})
            except httpx.TransportError:
                failures += 1
                if failures > PATIENCE:
                    raise
                await self._pause(LOOK_EVERY)
                continue
            failures = failures + 1 if answer.status_code == 503 else 0
            if not answer.is_success:
                if failures == 0 or failures > PATIENCE:
                    raise _Odd(_message(answer))
                await self._pause(LOOK_EVERY)
                continue
            offset, ended = self._take(_members(answer), rows, offset)
            if ended:
                return
            self._progress(self.report)
            await self._pause(LOOK_EVERY)

    def _take(self, members: Mapping[str, Any], rows: Sequence[Row], offset: int) -> tuple[int, bool]:
        """Settles the results of an answer; where to read on, and whether all is read."""
        try:
            for result in members["results"]:
                self._settle(rows[result["index"]], result)
            return int(members["next"]), bool(members["ended_at"]) and int(members["next"]) >= int(members["total"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise _Odd("200: the answer isn't this service's") from error

    def _settle(self, row: Row, result: Mapping[str, Any]) -> None:
        problem = result.get("problem") or {}
        match result["outcome"]:
            case "done":
                cache = result["cache"]
                self._ended(row)
                if cache["decision"] in HITS:
                    self.report.hits += 1
                else:
                    self._generated(row, cache.get("usd"))
            case "failed" if self._dry_run and problem.get("code") == "not_cached":
                self._ended(row)
                self._would_generate(row)
            case "failed":
                self._failed(row, f"{problem.get('status')}: {problem.get('detail') or problem.get('title')}")
            case "cancelled":
                self._skip([row], "interrupted")
            case _:
                unknown = problem.get("code") == "unknown_price"
                self.report.unknown_price += unknown
                self._skip([row], "" if unknown else "budget")

    def _skip(self, rows: Sequence[Row], why: str) -> None:
        for row in rows:
            self._ended(row)
        self.report.skipped += len(rows)
        self.report.stopped = self.report.stopped or why

    def _would_generate(self, row: Row) -> None:
        """A row that stands in the file twice is generated once."""
        text = json.dumps([row.operation, row.request], sort_keys=True)
        if text in self._counted:
            self.report.hits += 1
        else:
            self._counted.add(text)
            self._generated(row, self._estimate(row.operation, row.request))

    def _generated(self, row: Row, usd: float | None) -> None:
        self.report.generated += 1
        self.report.unknown_price += usd is None
        if usd is None and self._options.get("budget_usd") is not None:
            usd = self._estimate(row.operation, row.request)
        self.report.usd += usd or 0.0

    def _failed(self, row: Row, message: str) -> None:
        self._ended(row)
        self.report.failed += 1
        failure = {"operation": row.operation, "request": dict(row.request), "line": row.line, "error": message}
        self.report.failures.append(failure)

    def _ended(self, row: Row) -> None:
        self._open.discard(id(row))

    def _has_end(self, row: Row) -> bool:
        return id(row) not in self._open

    def _head(self) -> bytes:
        """The first line: how the batch is run, with what the batches before it left of the budget."""
        options = dict(self._options)
        if options.get("budget_usd") is not None:
            options["budget_usd"] = max(0.0, options["budget_usd"] - self.report.usd)
        return json.dumps({"batch": options}).encode()

    def _line(self, row: Row) -> bytes:
        """Raises ValueError for what is no JSON that others read."""
        cache = {"only_if_cached": True} if self._dry_run else {}
        body = {"operation": row.operation, "request": row.request, "cache": cache}
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")


class _TooLarge(Exception):
    """The service takes no batch of that size."""


class _Odd(Exception):
    """The service answered what fails the whole batch; the text says it to people."""


def _members(answer: httpx.Response) -> dict[str, Any]:
    try:
        members = answer.json()
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _message(answer: httpx.Response) -> str:
    problem = _members(answer)
    said = problem.get("detail") or problem.get("title")
    return f"{answer.status_code}: {said}" if said else f"{answer.status_code}"
