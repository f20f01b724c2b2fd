"""Who asks and who pays: client keys, the ledger of money, accounts, and what is noted of requests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cache_service.answer import Caller
from cache_service.budget import Budgets
from cache_service.budget import Limits as BudgetLimits
from cache_service.config import PRIMARY, Settings
from cache_service.feedback import Policy, Standing
from cache_service.instrumentation.events import Hook
from cache_service.jobs.accounts import Accounts
from cache_service.jobs.client_keys import ClientKeys
from cache_service.jobs.feedback import FeedbackKeeper
from cache_service.jobs.hit_log import HitLog
from cache_service.jobs.ledger import Ledger
from cache_service.jobs.request_log import RequestLog
from cache_service.jobs.use_log import UseLog
from cache_service.providers import ANY_MODEL
from cache_service.store.entry import Kind, Sum
from cache_service.store.sql import SqlEntryStore
from cache_service.upstream.base import Upstream
from cache_service.upstream.cost import Catalog


@dataclass(frozen=True, slots=True)
class Record:
    """What is noted of requests: the last ones, hits, how often an entry was served, and what feedback says of hits."""

    requests: RequestLog
    hits: HitLog
    uses: UseLog
    standing: Standing
    feedback: FeedbackKeeper


async def open_record(settings: Settings, stack: contextlib.AsyncExitStack, store: SqlEntryStore, hook: Hook) -> Record:
    """All feedback that was ever given is read; on leaving, what is noted is stored. Raises StoreError."""
    uses = UseLog(store)
    stack.push_async_callback(uses.close)
    hits = HitLog(store, hook=hook, keep=settings.keep_hits)
    stack.push_async_callback(hits.close)
    delta = {"images": settings.wrong_hits_images, "chat": settings.wrong_hits_chat}
    standing = Standing(Policy(delta, settings.feedback_prior, settings.feedback_half_life))
    feedback = FeedbackKeeper(store, hits, standing, hook=hook, threshold=settings.threshold)
    await feedback.refresh()
    return Record(RequestLog(keep=settings.keep_requests), hits, uses, standing, feedback)


async def open_keys(settings: Settings, store: SqlEntryStore, ledger: Ledger) -> ClientKeys:
    """The keys of the settings and of the database."""
    keys = ClientKeys(store, configured_keys(settings), budgets=ledger.limit_clients)
    await keys.refresh()
    return keys


def configured_keys(settings: Settings) -> list[tuple[bytes, Caller]]:
    """Digest and caller of each. Raises ConfigurationError, also where there are none although others could reach the address."""
    from cache_service.api.access import parse_client_keys, refuse_open_address

    refuse_open_address(settings)
    return [(key.digest, key.caller) for key in parse_client_keys(settings.client_keys)]


async def open_ledger(
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    store: SqlEntryStore,
    catalog: Catalog,
    upstream: Upstream,
    hook: Hook,
) -> Ledger:
    """Who pays; what was spent before is read, so that budgets hold over a restart."""
    own = (entry.rpartition(":") for entry in settings.client_budgets)
    limits = BudgetLimits(
        client=settings.budget_client_usd_per_day,
        clients={name.strip(): float(usd) for name, _, usd in own},
        day=settings.budget_usd_per_day,
        total=settings.budget_usd_total,
        unpriced=settings.budget_unpriced == "allow",
    )
    ledger = Ledger(
        store,
        Budgets(limits),
        simulated=upstream.simulated,
        price=catalog.usd,
        estimate=catalog.estimate_request,
        hook=hook,
    )
    await ledger.refresh()
    stack.push_async_callback(ledger.aclose)
    return ledger


def accounts(settings: Settings, store: SqlEntryStore, catalog: Catalog, ledger: Ledger) -> Accounts:
    """Who says what was saved and what was paid."""

    def price(model: str, kind: Kind, made: Sum) -> float | None:
        return catalog.price_of(
            model,
            kind.operation,
            size=kind.size,
            quality=kind.quality,
            outputs=made.outputs,
            tokens_in=made.tokens_in,
            tokens_out=made.tokens_out,
        )

    return Accounts(
        store,
        price=price,
        models=catalog.alive(datetime.now(UTC).date()),
        allowed={"images": settings.wrong_hits_images, "chat": settings.wrong_hits_chat},
        budgets=ledger.budgets,
        flush=ledger.flush,
        providers=_names_of_models(settings),
    )


def _names_of_models(settings: Settings) -> dict[str, Callable[[str, str], str | None]]:
    """What each provider calls a model; by the provider's name, the primary first."""

    def named(
        models: Mapping[str, str], operations: Collection[str], *, others: bool
    ) -> Callable[[str, str], str | None]:
        def name(operation: str, model: str) -> str | None:
            if operations and operation not in operations:
                return None
            return models.get(model) or models.get(ANY_MODEL) or (model if others else None)

        return name

    found = {PRIMARY: named(settings.upstream_models, (), others=True)}
    for one in settings.upstream_alternatives:
        found[one.name] = named(one.models, one.operations, others=not one.models)
    return found
