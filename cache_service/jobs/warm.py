"""`warm`: fills the cache from a file of prompts, through the HTTP interface of a running service (or one of its own).

What is there already is a hit and costs nothing, so a warm-up that was cut off is resumed by running it again. Money is
counted from what the service reports, and estimated before each request, so that a budget is never overrun.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cache_service.errors import ConfigurationError

Estimate = Callable[[str, Mapping[str, Any]], float | None]
"""(operation, request) → USD the generation may cost, None where no price is known."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request to warm. line: where it stands in the file."""

    line: int
    operation: str
    request: Mapping[str, Any]


@dataclass(slots=True)
class WarmReport:
    """What became of the rows. usd: what the service said it paid; skipped: not asked, because the budget or the user said stop."""

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
        except json.JSONDecodeError as error:
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
    if "prompt" not in (reader.fieldnames or ()):
        raise ConfigurationError(f"{path}: the first line must name the columns, one of them `prompt`")
    for row in reader:
        prompt = row.pop("prompt")
        if not prompt or not prompt.strip():
            continue
        parameters = {name: _number(value) for name, value in row.items() if name and value}
        yield reader.line_num, None, {**parameters, **_request(prompt.strip(), operation)}


def _request(prompt: str, operation: str) -> dict[str, Any]:
    return {"prompt": prompt} if operation == "images" else {"messages": [{"role": "user", "content": prompt}]}


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


async def warm(
    rows: list[Row],
    client: httpx.AsyncClient,
    *,
    concurrency: int,
    budget_usd: float | None,
    dry_run: bool,
    estimate: Estimate,
    stop: asyncio.Event,
    progress: Callable[[WarmReport], None],
) -> WarmReport:
    """Asks for every row. client: its base URL is the service. stop: set it, and nothing more is begun; what runs ends.

    dry_run: only asks what is there, and adds up what the rest may cost. Prices that aren't known count as 0 and are reported.
    """
    run = _Run(client, budget_usd, estimate, stop, progress, dry_run=dry_run)
    run.report.total = len(rows)
    queue = iter(rows)

    async def worker() -> None:
        for row in queue:  # one iterator for all workers: each row is taken once
            await run.one(row)

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
        progress: Callable[[WarmReport], None],
        *,
        dry_run: bool,
    ) -> None:
        self.report = WarmReport()
        self._client = client
        self._budget = budget_usd
        self._estimate = estimate
        self._stop = stop
        self._progress = progress
        self._dry_run = dry_run
        self._reserved = 0.0  # what the requests in flight may cost
        self._counted: set[str] = set()  # dry run: what a real run would have generated by now

    async def one(self, row: Row) -> None:
        expected = self._estimate(row.operation, row.request)
        reserve = expected or 0.0
        if not self._may_begin(reserve):
            self.report.skipped += 1
            self._progress(self.report)
            return
        self._reserved += reserve
        try:
            await self._ask(row, expected)
        finally:
            self._reserved -= reserve
        self._progress(self.report)

    def _may_begin(self, reserve: float) -> bool:
        if self._stop.is_set():
            self.report.stopped = self.report.stopped or "interrupted"
            return False
        if self._budget is not None and not self._dry_run and self.report.usd + self._reserved + reserve > self._budget:
            self.report.stopped = "budget"
            return False
        return True

    async def _ask(self, row: Row, expected: float | None) -> None:
        body = {
            "operation": row.operation,
            "request": row.request,
            "cache": {"only_if_cached": True} if self._dry_run else {},
        }
        try:
            answer = await self._client.post("/v1/generate", json=body)
        except httpx.HTTPError as error:
            self._failed(row, f"{type(error).__name__}: the service can't be reached")
            return
        if answer.status_code == 504 and self._dry_run:
            self._would_generate(row, expected)
        elif answer.is_success:
            cache = answer.json()["cache"]
            if cache["decision"] in ("hit", "stale-hit", "collapsed"):  # collapsed: an equal row is paying for it
                self.report.hits += 1
            else:
                self._generated(cache.get("usd"))
        else:
            self._failed(row, _message(answer))

    def _would_generate(self, row: Row, expected: float | None) -> None:
        """A row that stands in the file twice is generated once."""
        text = json.dumps([row.operation, row.request], sort_keys=True)
        if text in self._counted:
            self.report.hits += 1
        else:
            self._counted.add(text)
            self._generated(expected)

    def _generated(self, usd: float | None) -> None:
        self.report.generated += 1
        self.report.usd += usd or 0.0
        self.report.unknown_price += usd is None

    def _failed(self, row: Row, message: str) -> None:
        self.report.failed += 1
        failure = {"operation": row.operation, "request": dict(row.request), "line": row.line, "error": message}
        self.report.failures.append(failure)


def _message(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        return f"{answer.status_code}: {problem.get('detail') or problem.get('title')}"
    except ValueError:
        return f"{answer.status_code}"
