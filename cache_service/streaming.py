"""A streamed answer, passed through piece by piece as it comes; neither looked up nor stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from cache_service.answer import Report, Result, Served
from cache_service.errors import NotCached, UpstreamError, UpstreamRefused
from cache_service.falling_back import FallingBack
from cache_service.jobs.ledger import Bill, Ledger
from cache_service.question import Question
from cache_service.serving import Serving
from cache_service.upstream.base import Reply


class Streaming:
    """Passes streams through. What fails before the first piece may fall back, later nothing is replayed."""

    def __init__(self, ledger: Ledger, serving: Serving, falling_back: FallingBack) -> None:
        self._ledger = ledger
        self._serving = serving
        self._falling_back = falling_back

    async def pass_through(self, question: Question) -> Result:
        """The stream of the first provider that begins one. Nothing is stored; `only-if-cached` is refused."""
        report = Report(decision="bypass", reason="stream", detail="stream", forwarded="bypass")
        if question.directives.only_if_cached:
            return self._serving.failed(
                question, NotCached("only-if-cached, and streams are not served from the cache"), report
            )
        while True:
            try:
                return await self._begin(question, report)
            except UpstreamError as error:
                instead = await self._falling_back.instead(question, error)
                if isinstance(instead, Question):
                    question = instead
                elif instead is not None:
                    return instead
                else:
                    status = error.status if isinstance(error, UpstreamRefused) else None
                    return self._serving.failed(question, error, report._replace(forward_status=status))

    async def _begin(self, question: Question, report: Report) -> Served:
        """The answer once its first piece is there. Raises UpstreamError."""
        asked, provider = question.asked, question.provider
        call = provider.call(
            question.operation,
            asked,
            n=asked.n,
            deadline=question.deadline,
            priority=question.priority,
            impatient=self._falling_back.stands_ready(question, None),
            stream=True,
        )
        bill = self._ledger.open(asked, question.caller.client, asked.n, provider.upstream.group)
        async with AsyncExitStack() as opening:
            opening.callback(self._ledger.close, bill)
            try:
                reply = await opening.enter_async_context(provider.upstream.send(call))
            except UpstreamError as error:
                await self._ledger.lost(bill, error.maybe_paid)
                raise
            opening.push_async_callback(self._pay, bill, reply)
            stack = opening.pop_all()
        report = report._replace(
            upstream_request_id=reply.request_id, estimated_usd=bill.estimate, provider=provider.name
        )
        media_type = reply.headers.get("content-type", "text/event-stream")
        return self._serving.answered(
            question, Served(reply.status, b"", media_type, report, reply.headers, _Closing(reply.pieces, stack))
        )

    async def _pay(self, bill: Bill, reply: Reply) -> None:
        """Whatever became of it, it was paid: by what it said it used, else by what it may have."""
        await self._ledger.lost(bill, reply.maybe_paid)
        usage = reply.usage()
        await self._ledger.file(bill, self._ledger.payment(bill, "not-stored" if usage else "maybe-paid", usage))


class _Closing:
    """The pieces; the call is ended and paid when they are, or when their reader goes away, even before the first."""

    def __init__(self, pieces: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        self._pieces = pieces
        self._stack = stack

    def __aiter__(self) -> _Closing:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends the call; idempotent."""
        await self._stack.aclose()
