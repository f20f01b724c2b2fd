"""`warm`: fills the cache from a file of prompts, through the HTTP interface of a running service (or one of its own).

What is there already is a hit and costs nothing, so a warm-up that was cut off is resumed by running it again. Money is
counted from what the service reports. With a budget each row is looked up first, and only one that is missing reserves what it
may cost: the stored rows of an earlier run take nothing of it, and it isn't overrun. Whatever goes wrong with a row fails that row alone.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cache_service.errors import ConfigurationError
from cache_service.jobs.batch_run import Estimate


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
    rows: list[Row],
    client: httpx.AsyncClient,
    *,
    concurrency: int,
    budget_usd: float | None,
    allow_unknown_price: bool = False,
    dry_run: bool,
    estimate: Estimate,
    stop: asyncio.Event,
    progress: Callable[[WarmReport], None],
) -> WarmReport:
    """Asks for every row. client: its base URL is the service. stop: set it, and nothing more is begun; what runs ends.

    budget_usd: a missing row that doesn't fit waits while others are generated, for they may cost less than they reserved; where
    nothing is under way any more, the rest is skipped. allow_unknown_price: with a budget, begin also what has no price, as if free.
    dry_run: only asks what is there, and adds up what the rest may cost. Prices that aren't known count as 0 and are reported.
    """
    run = _Run(client, budget_usd, estimate, stop, dry_run=dry_run, allow_unknown_price=allow_unknown_price)
    run.report.total = len(rows)
    queue = iter(rows)

    async def worker() -> None:
        for row in queue:  # one iterator for all workers: each row is taken once
            await run.one(row)
            progress(run.report)

    await asyncio.gather(*(worker() for _ in range(max(1, concurrency))))
    return run.report


class _Run:
    """One warm-up under way."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        budget_usd: float | None,
        estimate: Estimate,
        stop: asyncio.Event,
        *,
        dry_run: bool,
        allow_unknown_price: bool,
    ) -> None:
        self.report = WarmReport()
        self._client = client
        self._budget = budget_usd
        self._estimate = estimate
        self._stop = stop
        self._dry_run = dry_run
        self._allow_unknown_price = allow_unknown_price
        self._reserved: list[float] = []  # what each generation under way may cost
        self._settled = asyncio.Condition()  # notified when one of them ends
        self._counted: set[str] = set()  # dry run: what a real run would have generated by now

    async def one(self, row: Row) -> None:
        try:
            await self._one(row)
        except httpx.HTTPError as error:
            self._failed(row, f"{type(error).__name__}: the service can't be reached")
        except (
            Exception
        ) as error:  # the rows are the user's: one that can't be sent or read fails alone, in a run that pays
            self._failed(row, f"{type(error).__name__}: {error}")

    async def _one(self, row: Row) -> None:
        if self._stopped():
            self.report.skipped += 1
        elif self._dry_run:
            if not await self._there(row):
                self._would_generate(row)
        elif self._budget is None:
            await self._generate(row)
        elif not await self._there(row):
            await self._generate_within(self._budget, row)

    def _stopped(self) -> bool:
        if self._stop.is_set():
            self.report.stopped = self.report.stopped or "interrupted"
        return bool(self.report.stopped)

    async def _there(self, row: Row) -> bool:
        """Whether the row has its end without a generation: a hit, or refused."""
        answer = await self._post(row, {"only_if_cached": True})
        if answer.status_code == 504:
            return False
        self._settle(row, answer, None)
        return True

    async def _generate(self, row: Row) -> None:
        self._settle(row, await self._post(row, {}), None)

    async def _generate_within(self, budget: float, row: Row) -> None:
        expected = self._estimate(row.operation, row.request)
        if expected is None and not self._allow_unknown_price:
            self.report.unknown_price += 1
            self.report.skipped += 1
            return
        reserve = expected or 0.0
        async with self._settled:
            await self._settled.wait_for(
                lambda: self._stopped() or not self._reserved or self._fits(reserve, budget),
            )
            if not self._stopped() and not self._fits(reserve, budget):
                self.report.stopped = "budget"
            if self._stopped():
                self.report.skipped += 1
                return
            self._reserved.append(reserve)
        try:
            self._settle(row, await self._post(row, {}), expected)
        finally:
            async with self._settled:
                self._reserved.remove(reserve)
                self._settled.notify_all()

    def _fits(self, reserve: float, budget: float) -> bool:
        return self.report.usd + sum(self._reserved) + reserve <= budget

    async def _post(self, row: Row, cache: Mapping[str, Any]) -> httpx.Response:
        body = {"operation": row.operation, "request": row.request, "cache": cache}
        return await self._client.post("/v1/generate", json=body)

    def _settle(self, row: Row, answer: httpx.Response, expected: float | None) -> None:
        if not answer.is_success:
            self._failed(row, _message(answer))
            return
        cache = answer.json()["cache"]
        if cache["decision"] in ("hit", "stale-hit", "collapsed"):  # collapsed: an equal row is paying for it
            self.report.hits += 1
        else:
            self._generated(cache.get("usd"), expected)

    def _would_generate(self, row: Row) -> None:
        """A row that stands in the file twice is generated once."""
        text = json.dumps([row.operation, row.request], sort_keys=True)
        if text in self._counted:
            self.report.hits += 1
        else:
            self._counted.add(text)
            self._generated(self._estimate(row.operation, row.request), None)

    def _generated(self, usd: float | None, expected: float | None) -> None:
        self.report.generated += 1
        self.report.usd += (expected or 0.0) if usd is None else usd
        self.report.unknown_price += usd is None

    def _failed(self, row: Row, message: str) -> None:
        self.report.failed += 1
        failure = {"operation": row.operation, "request": dict(row.request), "line": row.line, "error": message}
        self.report.failures.append(failure)


def _message(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        return f"{answer.status_code}: {problem.get('detail') or problem.get('title')}"
    except (ValueError, AttributeError):
        return f"{answer.status_code}"
