"""What a running service consists of; `bootstrap/` builds it, `api/` serves it, commands without a server use it directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import SecretStr

from cache_service.answer import Caller, Result
from cache_service.config import Settings
from cache_service.decision import Directives
from cache_service.in_flight import InFlight
from cache_service.instrumentation.events import Hook
from cache_service.jobs.accounts import Accounts
from cache_service.jobs.alerts import AlertKeeper
from cache_service.jobs.batch import Batches
from cache_service.jobs.client_keys import ClientKeys
from cache_service.jobs.explore import Explorer
from cache_service.jobs.feedback import FeedbackKeeper
from cache_service.jobs.inspect import Inspector
from cache_service.jobs.ledger import Ledger
from cache_service.jobs.purge import Purger
from cache_service.jobs.request_log import RequestLog
from cache_service.jobs.timeline import Timeline
from cache_service.operations.base import Operation
from cache_service.reload import Reloader
from cache_service.store.base import AdminStore, BlobStore, EntryStore
from cache_service.upstream.base import Upstream

if TYPE_CHECKING:  # its module needs what may not be installed
    from cache_service.instrumentation.tracing import Tracing


class Cache(Protocol):
    """Lookup or generate; `SemanticCache` is the one implementation."""

    @property
    def operations(self) -> Mapping[str, Operation]:
        """By name."""

    async def get_or_generate(
        self,
        operation: str,
        body: Mapping[str, Any] | bytes,
        *,
        caller: Caller,
        directives: Directives,
        tags: frozenset[str] = frozenset(),
        request_id: str = "",
        priority: int = 0,
    ) -> Result:
        """An answer from what is stored, else from the upstream; a larger priority goes first there, 0 is usual. body: members, or JSON as it came. Raises RequestError for a request that can't be taken apart."""


@dataclass(slots=True)
class Service:
    """One running service.

    upstream: the primary; alternatives: those that a fallback may turn to, by name.
    admin: the store as operators see it. keys: who may ask. requests: the last ones. inspector: looks at entries. explorer: decides labelled pairs. timeline: what
    happened of late. hook: where events go. render_metrics: gives (body, content type) of `/metrics`. admin_token: compared in constant time.
    not_ready: why nothing can be stored any more until a restart; empty while all is well. draining: the process is to stop.
    announce: says in the data directory's lock where the service answers. stop_by: on the monotonic clock, when whatever is in
    flight is cut off; None while nobody has asked the process to stop. generating: how many generations run. tracing: None for none.
    """

    settings: Settings
    cache: Cache
    store: EntryStore
    blobs: BlobStore
    upstream: Upstream
    purger: Purger
    feedback: FeedbackKeeper
    ledger: Ledger
    accounts: Accounts
    alerts: AlertKeeper
    batches: Batches
    admin: AdminStore
    keys: ClientKeys
    requests: RequestLog
    inspector: Inspector
    explorer: Explorer
    timeline: Timeline
    hook: Hook
    render_metrics: Callable[[], tuple[bytes, str]]
    admin_token: SecretStr
    not_ready: Callable[[], list[str]]
    announce: Callable[[str | None], None]
    alternatives: Mapping[str, Upstream] = field(default_factory=dict)
    draining: bool = False
    stop_by: float | None = None
    generating: Callable[[], int] = lambda: 0
    reloader: Reloader = field(default_factory=lambda: Reloader(Settings(), Settings))
    tracing: Tracing | None = None
    in_flight: InFlight = field(default_factory=InFlight)
