"""`/v1/files` and `/v1/batches`: the Batch API, half the price and up to a day. Files and batches belong to the key's project."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from cache_service.simulator import batch_job
from cache_service.simulator.batch_job import ENDPOINTS, Answer, BatchJob, Pace
from cache_service.simulator.body import read_body, read_object
from cache_service.simulator.clock import Clock
from cache_service.simulator.delivery import Whole, to_json
from cache_service.simulator.multipart import read_form
from cache_service.simulator.refusals import Refusal, Refused, bad_request

MOST_FILE_BYTES = 200 * 2**20
MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class File:
    """A file that was sent, or that a batch made."""

    id: str
    owner: str
    filename: str
    purpose: str
    content: bytes
    created_at: int

    def plain(self) -> dict[str, Any]:
        """The file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class BatchApi:
    """Files and batches. owner: whose key the request has; raises Refused for one that isn't known."""

    def __init__(self, *, answer: Answer, owner: Callable[[Request], str], clock: Clock, pace: Pace) -> None:
        self.files: dict[str, File] = {}
        self.batches: dict[str, BatchJob] = {}
        self._answer = answer
        self._owner = owner
        self._clock = clock
        self._pace = pace
        self._tasks: set[asyncio.Task[None]] = set()

    async def upload(self, request: Request) -> ASGIApp:
        """`POST /v1/files`."""
        return await _told(self._upload(request))

    async def file(self, request: Request) -> ASGIApp:
        """`GET /v1/files/{id}`."""
        return await _told(self._file(request))

    async def content(self, request: Request) -> ASGIApp:
        """`GET /v1/files/{id}/content`."""
        try:
            return Whole(self._find_file(request).content, media_type="application/octet-stream")
        except Refused as refused:
            return _refusal(refused)

    async def create(self, request: Request) -> ASGIApp:
        """`POST /v1/batches`."""
        return await _told(self._create(request))

    async def list(self, request: Request) -> ASGIApp:
        """`GET /v1/batches`: newest first."""
        return await _told(self._list(request))

    async def batch(self, request: Request) -> ASGIApp:
        """`GET /v1/batches/{id}`."""
        return await _told(self._batch(request))

    async def cancel(self, request: Request) -> ASGIApp:
        """`POST /v1/batches/{id}/cancel`."""
        return await _told(self._cancel(request))

    async def _upload(self, request: Request) -> dict[str, Any]:
        owner = self._owner(request)
        body = await read_body(request, MOST_FILE_BYTES + 2**16)
        form = await asyncio.to_thread(read_form, body, request.headers.get("content-type", ""))
        purpose, sent = form.get("purpose"), form.get("file")
        if purpose is None or purpose.content != b"batch":
            raise Refused(bad_request("purpose must be batch: the simulator knows no other.", param="purpose"))
        if sent is None or sent.filename is None:
            raise Refused(bad_request("A file is required.", param="file"))
        if len(sent.content) > MOST_FILE_BYTES:
            raise Refused(Refusal(413, f"The file is larger than {MOST_FILE_BYTES} bytes.", param="file"))
        return self._keep(owner, sent.filename, "batch", sent.content).plain()

    async def _file(self, request: Request) -> dict[str, Any]:
        return self._find_file(request).plain()

    async def _create(self, request: Request) -> dict[str, Any]:
        owner = self._owner(request)
        body = await read_object(request, 2**16)
        endpoint, metadata = body.get("endpoint"), body.get("metadata")
        if endpoint not in ENDPOINTS:
            raise Refused(bad_request(f"endpoint must be one of {', '.join(ENDPOINTS)}.", param="endpoint"))
        if body.get("completion_window") != "24h":
            raise Refused(bad_request("completion_window must be 24h.", param="completion_window"))
        if metadata is not None and not isinstance(metadata, dict):
            raise Refused(bad_request("metadata must be an object.", param="metadata"))
        file = self.files.get(str(body.get("input_file_id")))
        if file is None or file.owner != owner:
            raise Refused(bad_request(f"No such File object: {body.get('input_file_id')}", param="input_file_id"))
        job = BatchJob(f"batch_{uuid.uuid4().hex}", endpoint, file.id, owner, metadata, int(self._clock.time()))
        self.batches[job.id] = job

        def keep(content: bytes) -> str:
            return self._keep(owner, f"{job.id}.jsonl", "batch_output", content).id

        self._begin(batch_job.run(job, file.content, self._answer, keep, self._clock, self._pace))
        return job.plain()

    async def _list(self, request: Request) -> dict[str, Any]:
        owner = self._owner(request)
        try:
            limit = int(request.query_params.get("limit", "20"))
        except ValueError:
            limit = 0
        if not 1 <= limit <= MOST_LISTED:
            raise Refused(bad_request(f"limit must be from 1 to {MOST_LISTED}.", param="limit"))
        known = [job for job in reversed(self.batches.values()) if job.owner == owner]
        after = request.query_params.get("after")
        place = next((n + 1 for n, job in enumerate(known) if job.id == after), 0) if after else 0
        page = known[place : place + limit]
        return {
            "object": "list",
            "data": [job.plain() for job in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": place + limit < len(known),
        }

    async def _batch(self, request: Request) -> dict[str, Any]:
        return self._find(request).plain()

    async def _cancel(self, request: Request) -> dict[str, Any]:
        job = self._find(request)
        if job.status not in ("validating", "in_progress", "cancelling"):
            raise Refused(Refusal(409, f"Cannot cancel a batch with status '{job.status}'."))
        job.reach("cancelling", self._clock)
        job.stopping.set()
        return job.plain()

    def _find(self, request: Request) -> BatchJob:
        job = self.batches.get(request.path_params["id"])
        if job is None or job.owner != self._owner(request):
            raise Refused(Refusal(404, f"No batch found with id '{request.path_params['id']}'."))
        return job

    def _find_file(self, request: Request) -> File:
        file = self.files.get(request.path_params["id"])
        if file is None or file.owner != self._owner(request):
            raise Refused(Refusal(404, f"No such File object: {request.path_params['id']}", param="id"))
        return file

    def _keep(self, owner: str, filename: str, purpose: str, content: bytes) -> File:
        file = File(f"file-{uuid.uuid4().hex}", owner, filename, purpose, content, int(self._clock.time()))
        self.files[file.id] = file
        return file

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _told(answering: Awaitable[dict[str, Any]]) -> ASGIApp:
    try:
        return Whole(to_json(await answering))
    except Refused as refused:
        return _refusal(refused)


def _refusal(refused: Refused) -> Whole:
    refusal = refused.refusal
    return Whole(to_json(refusal.envelope()), status=refusal.status, headers=dict(refusal.headers))
