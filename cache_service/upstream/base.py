"""What callers may rely on from the upstream: capacity is reserved before a call, settled after it, and one deadline holds.

A reply is a status, headers and pieces; a whole body is one piece, a stream as many as arrive. Retries happen before the
first piece is handed out, never after: what a client has begun to read is not replayed.

Raised: `UpstreamRefused`, `UpstreamUnreachable`, `UpstreamTimeout`, `CapacityExceeded`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call takes from a limit pool: requests, images and tokens (input and output together)."""

    requests: int = 1
    images: int = 0
    tokens: int = 0


class Urgency:
    """When a call's turn is: a larger priority goes first, 0 is usual. It may be raised while the call waits."""

    def __init__(self, priority: int = 0) -> None:
        self.priority = priority
        self._listening: list[Callable[[], None]] = []

    def raise_to(self, priority: int) -> None:
        """Never lowers it."""
        if priority > self.priority:
            self.priority = priority
            for raised in tuple(self._listening):
                raised()

    @contextmanager
    def heard_by(self, raised: Callable[[], None]) -> Iterator[None]:
        """Calls it each time the priority was raised, until the block ends."""
        self._listening.append(raised)
        try:
            yield
        finally:
            self._listening.remove(raised)


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the upstream.

    path: below the base URL, "/images/generations". body: JSON bytes, or None for a GET.
    cost: reserved before the call. deadline: on the monotonic clock, for queueing, all attempts and the answer.
    model: chooses the pools; None where the client named none. stream: hand out pieces as they arrive.
    priority: a larger one goes first, 0 is usual. impatient: another answer stands ready, so while the upstream is known to fail
    the call isn't kept waiting for it. urgency: where it is given it counts instead of the priority, also when it is raised meanwhile.
    """

    path: str
    body: bytes | None
    deadline: float
    cost: Cost = Cost()
    model: str | None = None
    stream: bool = False
    method: Literal["GET", "POST"] = "POST"
    priority: int = 0
    impatient: bool = False
    urgency: Urgency | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """A 2xx answer.

    headers: names in lower case, those that clients may see. pieces: to be read once. key_name: which API key paid (its name, never the key).
    queued, attempts: seconds waited for capacity, and calls made. maybe_paid: of those that failed, how many may have been charged.
    usage: what the upstream said it used, once the pieces are read; None where it didn't.
    """

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]
    key_name: str
    queued: float = 0.0
    attempts: int = 1
    request_id: str | None = None
    maybe_paid: int = 0
    usage: Callable[[], Mapping[str, Any] | None] = lambda: None


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A limit pool as it stands, for people to look at: limits (None: not limited) and what is in use, by dimension.

    keys_out: those of the keys that can't be used now (refused, or their pool is out of quota).
    """

    name: str
    keys: tuple[str, ...]
    limits: Mapping[str, float | None]
    used: Mapping[str, float] = field(default_factory=dict)
    in_flight: int = 0
    healthy: bool = True
    detail: str = ""
    keys_out: tuple[str, ...] = ()


class Upstream(Protocol):
    """Calls one OpenAI-compatible API through several keys."""

    @property
    def group(self) -> str:
        """Names who answers; part of every partition, so that a simulator's answers are never served for another's."""

    @property
    def simulated(self) -> bool:
        """True while the built-in simulator answers."""

    def send(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """Reserves, calls, retries as allowed, settles; leaving the block ends the call and gives its slot back.

        While the pieces of a stream are read, UpstreamUnreachable and UpstreamTimeout can still be raised.
        """

    def pools(self) -> list[PoolUse]:
        """The limit pools as they stand."""

    async def aclose(self) -> None:
        """Closes connections; idempotent."""


@dataclass(frozen=True, slots=True)
class BatchAtUpstream:
    """A batch of the upstream's own Batch API as it stands.

    status: "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling" or "cancelled".
    The files, where there are some, hold the answers and the requests that have none. error: why it failed whole.
    """

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.status in ("completed", "failed", "expired", "cancelled")


class BatchApi(Protocol):
    """The upstream's own Batch API. A batch belongs to the key that began it.

    Raises UpstreamRefused, UpstreamUnreachable.
    """

    @property
    def key_name(self) -> str:
        """Of the key that begins batches."""

    async def upload(self, file: str, *, key_name: str) -> str:
        """Sends the file at that path; gives its id."""

    async def create(self, file_id: str, path: str, tag: str, *, key_name: str) -> BatchAtUpstream:
        """Begins the batch of a file. path: the endpoint's, below the base URL. tag: by which `find` finds it."""

    async def find(self, tag: str, *, key_name: str) -> BatchAtUpstream | None:
        """The batch with that tag, if it was begun."""

    async def get(self, batch_id: str, *, key_name: str) -> BatchAtUpstream:
        """The batch as it stands."""

    async def cancel(self, batch_id: str, *, key_name: str) -> None:
        """Cancels what isn't done. One that has ended meanwhile is no error."""

    def lines(self, file_id: str, *, key_name: str) -> AsyncIterator[bytes]:
        """The lines of a file of answers."""
