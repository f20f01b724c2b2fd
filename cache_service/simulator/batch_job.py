"""One batch of the upstream's Batch API: its object, and its way from `validating` to its end.

validating ─► failed | in_progress ─► finalizing ─► completed; from in_progress also ─► expired, or cancelling ─► cancelled.
What is done when it expires or is cancelled stays, and is paid: it is in the output file.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from cache_service.simulator.clock import Clock
from cache_service.simulator.delivery import to_json

Status: TypeAlias = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
Answer: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[tuple[int, Mapping[str, Any]]]]
"""(url, body) → the status and body that the endpoint itself would answer."""

ENDPOINTS = ("/v1/chat/completions", "/v1/images/generations")
MOST_REQUESTS = 50_000
WINDOW = 86_400  # seconds of `24h`, the one window there is
AT_ONCE = 50  # requests of one batch that are being answered


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that a batch takes to be checked and to write its files."""

    validating: float = 1.0
    finalizing: float = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """One request of the input file."""

    custom_id: str
    url: str
    body: Mapping[str, Any]


@dataclass(slots=True)
class BatchJob:
    """A batch as it stands. at: when each status was reached, Unix seconds."""

    id: str
    endpoint: str
    input_file_id: str
    owner: str
    metadata: Mapping[str, str] | None
    created_at: int
    status: Status = "validating"
    at: dict[str, int] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def plain(self) -> dict[str, Any]:
        """The batch object."""
        times = {f"{name}_at": self.at.get(name) for name in
                 ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")}  # fmt: skip
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.created_at + WINDOW,
            **times,
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata,
        }

    def reach(self, status: Status, clock: Clock) -> None:
        """Notes the status and its time."""
        self.status = status
        self.at[status] = int(clock.time())


async def run(
    job: BatchJob, content: bytes, answer: Answer, keep: Callable[[bytes], str], clock: Clock, pace: Pace
) -> None:
    """The batch to its end. keep: makes a file of bytes, and gives its id."""
    await clock.sleep(pace.validating)
    lines, job.errors = read_lines(content, job.endpoint)
    if job.errors:
        job.reach("failed", clock)
        return
    job.total = len(lines)
    outputs: list[bytes] = []
    failures: list[bytes] = []
    if job.status == "validating":
        job.reach("in_progress", clock)
        await _answer_all(job, lines, answer, outputs, failures, clock)
    left = "batch_cancelled" if job.stopping.is_set() else "batch_expired"
    if len(outputs) + len(failures) < len(lines):
        answered = {json.loads(line)["custom_id"] for line in (*outputs, *failures)}
        failures += [_unanswered(line, left) for line in lines if line.custom_id not in answered]
        job.failed = job.total - job.completed
    if job.status == "in_progress":
        expired = left == "batch_expired" and clock.time() >= job.created_at + WINDOW
        job.reach("finalizing", clock)
        await clock.sleep(pace.finalizing)
        end: Status = "expired" if expired else "completed"
    else:
        end = "cancelled"
    job.output_file_id = keep(b"".join(outputs)) if outputs else None
    job.error_file_id = keep(b"".join(failures)) if failures else None
    job.reach(end, clock)


def read_lines(content: bytes, endpoint: str) -> tuple[list[Line], list[dict[str, Any]]]:
    """The requests, or what is wrong with the file: as the batch's `errors` say it."""
    lines: list[Line] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    models: set[str] = set()

    def wrong(code: str, message: str, number: int | None = None, param: str | None = None) -> None:
        errors.append({"code": code, "message": message, "param": param, "line": number})

    for number, raw in enumerate(content.split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            value = json.loads(raw)
        except ValueError:
            wrong("invalid_json_line", "This line is not parseable as valid JSON.", number)
            continue
        members = value if isinstance(value, dict) else {}
        identifier, body = members.get("custom_id"), members.get("body")
        if not isinstance(identifier, str) or not isinstance(body, dict) or members.get("method") != "POST":
            wrong("invalid_request", "A line has the members custom_id, method (POST), url and body.", number)
        elif members.get("url") != endpoint:
            wrong("mismatched_endpoint", "The URL of the request does not match the batch's endpoint.", number, "url")
        elif identifier in seen:
            wrong("duplicate_custom_id", f"The custom_id {identifier!r} stands in the file twice.", number, "custom_id")
        else:
            seen.add(identifier)
            models.add(str(body.get("model")))
            lines.append(Line(identifier, endpoint, body))
    if len(models) > 1:
        wrong("mismatched_model", "All requests of a batch must be for the same model.", None, "body.model")
    if not lines and not errors:
        wrong("empty_file", "The file holds no requests.")
    if len(lines) > MOST_REQUESTS:
        wrong("too_many_tasks", f"A batch holds at most {MOST_REQUESTS} requests.")
    return lines, errors


async def _answer_all(
    job: BatchJob, lines: list[Line], answer: Answer, outputs: list[bytes], failures: list[bytes], clock: Clock
) -> None:
    queue = iter(lines)

    async def worker() -> None:
        for line in queue:
            if job.stopping.is_set() or clock.time() >= job.created_at + WINDOW:
                return
            status, body = await answer(line.url, line.body)
            ours = failures if status >= 400 else outputs
            ours.append(_answered(line, status, body))
            job.completed, job.failed = len(outputs), len(failures)

    await asyncio.gather(*(worker() for _ in range(min(AT_ONCE, len(lines)))))


def _answered(line: Line, status: int, body: Mapping[str, Any]) -> bytes:
    response = {"status_code": status, "request_id": f"req_{uuid.uuid4().hex}", "body": body}
    return _output(line, response, None)


def _unanswered(line: Line, code: str) -> bytes:
    message = (
        "This request was not executed because the batch was cancelled."
        if code == "batch_cancelled"
        else "This request could not be executed before the completion window expired."
    )
    return _output(line, None, {"code": code, "message": message})


def _output(line: Line, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> bytes:
    identifier = f"batch_req_{uuid.uuid4().hex}"
    return to_json({"id": identifier, "custom_id": line.custom_id, "response": response, "error": error}) + b"\n"
