"""What the upstream tells when it is asked: its projects' limits, with an admin key, and when the models in use end.

Limits are fetched for each project as soon as it is known (from the configuration or an answer's headers) and again every quarter of
an hour; they are the strongest word on a limit, except for the configured maximum. Models are listed every six hours; one that
is asked for and ends within a month is warned of once a day. All of it is a hint: nothing here fails a request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, date, datetime

from cache_service.errors import UpstreamError
from cache_service.instrumentation.events import Hook, ModelEnds, ignore
from cache_service.upstream.base import Call
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.listings import read_ends, read_limits
from cache_service.upstream.memory import Clock, Sleep
from cache_service.upstream.openai import CallFailed, Transport
from cache_service.upstream.rate_limit import Limits
from cache_service.upstream.retry import FaultKind

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0
"""Seconds between two looks for projects and models that weren't known yet."""
LIMITS_EVERY = 900.0
MODELS_EVERY = 6 * 3600.0
WARN_DAYS = 30
WITHIN = 30.0
"""Seconds that a listing may take."""
MOST_BYTES = 4 * 2**20
MOST_PAGES = 10
_REFUSED = FaultKind.PERMANENT
_PROJECT = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class Discovery:
    """Keeps a caller informed. transport: of the same upstream. admin_key: None where limits can't be asked for.

    announced: the catalog's word on when a model ends, None if it has none.
    """

    def __init__(
        self,
        caller: UpstreamCaller,
        transport: Transport,
        *,
        clock: Clock,
        wall_clock: Clock,
        sleep: Sleep = asyncio.sleep,
        admin_key: str | None = None,
        announced: Callable[[str], date | None] = lambda model: None,
        hook: Hook = ignore,
    ) -> None:
        self._caller = caller
        self._transport = transport
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._admin_key = admin_key
        self._announced = announced
        self._hook = hook
        self._limits_due: dict[str, float] = {}
        self._models_due = float("-inf")
        self._ends: Mapping[str, date] = {}
        self._warned: dict[str, date] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await self._sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Fetches what is due, and warns."""
        now = self._clock()
        for project in self._caller.projects() if self._admin_key else ():
            if now >= self._limits_due.get(project, float("-inf")):
                self._limits_due[project] = now + LIMITS_EVERY
                await self._fetch_limits(project)
        if self._caller.models() and now >= self._models_due:
            self._models_due = now + MODELS_EVERY
            await self._fetch_models()
        self._warn()

    async def _fetch_limits(self, project: str) -> None:
        limits: dict[str, Limits] = {}
        after = ""
        try:
            for _ in range(MOST_PAGES):
                page = read_limits(await self._admin_get(project, after))
                limits |= page.limits
                after = page.after
                if not after:
                    break
        except CallFailed as failed:
            log.warning("the rate limits of project %s can't be read: %s", project, failed.detail)
            return
        self._caller.tell_limits(project, limits)

    async def _admin_get(self, project: str, after: str) -> bytes:
        """One page. Raises CallFailed, also where the answer is no 200."""
        if not _PROJECT.fullmatch(project) or (after and not _PROJECT.fullmatch(after)):
            raise CallFailed(_REFUSED, "the id isn't one")
        path = f"/organization/projects/{project}/rate_limits?limit=100" + (f"&after={after}" if after else "")
        try:
            async with (
                asyncio.timeout(WITHIN),
                self._transport.open("GET", path, None, self._admin_key, within=WITHIN) as answer,
            ):
                if answer.status != 200:
                    raise CallFailed(_REFUSED, f"the upstream answered {answer.status}")
                return await _read(answer.pieces)
        except TimeoutError:
            raise CallFailed(FaultKind.TIMEOUT, "the upstream didn't answer") from None

    async def _fetch_models(self) -> None:
        call = Call("/models", None, self._clock() + WITHIN, method="GET")
        try:
            async with self._caller.send(call) as reply:
                self._ends = read_ends(await _read(reply.pieces))
        except (UpstreamError, CallFailed) as failed:
            log.info("the upstream's models can't be listed: %s", failed)

    def _warn(self) -> None:
        today = datetime.fromtimestamp(self._wall_clock(), UTC).date()
        for model in self._caller.models():
            ends = self._ends.get(model) or self._announced(model)
            if ends is None or self._warned.get(model) == today:
                continue
            days = (ends - today).days
            self._warned[model] = today
            self._hook(ModelEnds(model, days))
            if days <= 0:
                log.error("the upstream has shut %s down on %s: ask for another model", model, ends)
            elif days <= WARN_DAYS:
                log.warning("the upstream shuts %s down on %s, in %d days: ask for another model", model, ends, days)


async def _read(pieces: AsyncIterator[bytes]) -> bytes:
    body = b""
    async for piece in pieces:
        body += piece
        if len(body) > MOST_BYTES:
            raise CallFailed(_REFUSED, "the list is too long")
    return body
