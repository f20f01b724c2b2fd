"""A streamed answer, passed through piece by piece as it comes; neither looked up nor stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import orjson

from cache_service.answer import Report, Result, Served
from cache_service.errors import NotCached, UpstreamError, UpstreamRefused
from cache_service.question import Question
from cache_service.serving import Serving
from cache_service.upstream.base import Call, Upstream


class Streaming:
    """Passes streams through."""

    def __init__(self, upstream: Upstream, serving: Serving) -> None:
        self._upstream = upstream
        self._serving = serving

    async def pass_through(self, question: Question) -> Result:
        """A streamed answer, piece by piece as it comes; neither looked up nor stored."""
        asked, operation = question.asked, question.operation
        report = Report(decision="bypass", reason="stream", detail="stream", forwarded="bypass")
        if question.directives.only_if_cached:
            return self._serving.failed(
                question, NotCached("only-if-cached, and streams are not served from the cache"), report
            )
        call = Call(
            path=operation.path,
            body=orjson.dumps(operation.forward(asked, prompt=asked.prompt, n=asked.n)),
            deadline=question.deadline,
            cost=operation.reserve(asked, asked.n),
            model=asked.model,
            stream=True,
            priority=question.priority,
        )
        stack = AsyncExitStack()
        try:
            reply = await stack.enter_async_context(self._upstream.send(call))
        except UpstreamError as error:
            status = error.status if isinstance(error, UpstreamRefused) else None
            return self._serving.failed(question, error, replace(report, forward_status=status))
        report = replace(report, upstream_request_id=reply.request_id)
        media_type = reply.headers.get("content-type", "text/event-stream")
        return self._serving.answered(
            question, Served(reply.status, b"", media_type, report, reply.headers, _closing(reply.pieces, stack))
        )


async def _closing(pieces: AsyncIterator[bytes], stack: AsyncExitStack) -> AsyncIterator[bytes]:
    """The pieces; the call is ended when they are, or when their reader goes away."""
    async with stack:
        async for piece in pieces:
            yield piece
