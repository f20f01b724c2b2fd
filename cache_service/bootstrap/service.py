"""A running service, part by part in the order in which the parts are opened; they close in the opposite one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from cache_service.bootstrap.background import in_background
from cache_service.bootstrap.batches import open_batches
from cache_service.bootstrap.bookkeeping import Record, accounts, configured_keys, open_keys, open_ledger, open_record
from cache_service.bootstrap.catalogs import Catalogs, load_catalogs
from cache_service.bootstrap.hot import Hot, open_hot
from cache_service.bootstrap.providers import Upstreams, open_providers
from cache_service.bootstrap.search import Search, open_search, semantic_tier
from cache_service.bootstrap.storage import Storage, lifetimes, open_evictor, open_storage
from cache_service.bootstrap.telemetry import alert_keeper, open_telemetry
from cache_service.bootstrap.tracing import open_tracing
from cache_service.config import Settings
from cache_service.errors import ConfigurationError
from cache_service.fallback import Chain, Step
from cache_service.generation import Generator, Outcome
from cache_service.instrumentation.events import Hook
from cache_service.jobs import maintain
from cache_service.jobs.batch_through import HALF, ThroughMeans
from cache_service.jobs.evict import Evictor
from cache_service.jobs.explore import Explorer
from cache_service.jobs.inspect import Inspector
from cache_service.jobs.ledger import Ledger
from cache_service.jobs.purge import Purger
from cache_service.providers import Providers
from cache_service.question import Mode
from cache_service.reload import Reloader
from cache_service.responses import Responses
from cache_service.semantic_cache import SemanticCache
from cache_service.semantic_tier import SemanticTier
from cache_service.service import Service
from cache_service.single_flight import SingleFlight
from cache_service.store.entry import PurgePredicate
from cache_service.store.spool import FileSpool

log = logging.getLogger(__name__)

POLL_KEYS = 0.5  # seconds; a key revoked on another node opens nothing within one second
POLL_HOT = 0.4  # seconds; what the hot tier holds is good for one second after a look at the changes
POLL = 1.0  # seconds within which another process's changes hold here
SAVE_INDEX_EVERY = 300.0  # seconds
MAINTAIN_EVERY = 60.0  # seconds
LOOK_FOR_ALERTS_EVERY = 30.0  # seconds
RECORD_HITS_EVERY = 0.5  # seconds; what a killed process may lose of the record of hits
COUNT_USES_EVERY = 5.0  # seconds; what a killed process may lose of how often entries were served
KEEP_BOUNDS_EVERY = 10.0  # seconds within which another node's stores count here
BATCHES_GRACE = 5.0  # seconds beyond the drain's in which outcomes of batches are filed
THREADS = 64  # file and SQL work waits for the disk, so more threads than cores


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings,
    *,
    url: str | None = None,
    resume_batches: bool = True,
    read_settings: Callable[[], Settings] | None = None,
) -> AsyncIterator[Service]:
    """A running service. url: where it will answer, for the lock file. resume_batches: go on with batches that are left from before.

    read_settings: reads them anew for a reload.

    Raises CacheServiceError.

    On leaving, generations in flight get `shutdown_grace` seconds to finish and be stored.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "work"))
    async with contextlib.AsyncExitStack() as stack:
        storage = await open_storage(settings, stack, url)
        store, blobs = storage.store, storage.blobs
        catalogs = load_catalogs(settings)
        catalog, kinds = catalogs.catalog, catalogs.kinds
        telemetry = open_telemetry(lambda: upstream.pools(), lambda: ledger.budgets())
        hook, tracing = telemetry.hook, open_tracing(settings, stack)
        search = await open_search(settings, stack, store)
        evictor = await open_evictor(settings, storage, search.follower, hook)
        upstreams = await open_providers(settings, stack, catalog, catalogs.offers, hook, tracing)
        providers, upstream = upstreams.providers, upstreams.providers.primary.upstream
        ledger = await open_ledger(settings, stack, store, catalog, upstream, hook)
        telemetry.expect(upstream, catalog)
        alerts = alert_keeper(settings, telemetry.counts, upstream, ledger)
        generator = _generator(settings, storage, search, evictor, ledger, hook)
        await generator.recover(kinds)
        record = await open_record(settings, stack, store, hook)
        flights: SingleFlight[Outcome] = SingleFlight()
        semantic = await semantic_tier(settings, store, search, hook)
        hot = open_hot(settings, storage, catalogs, providers, telemetry)
        cache = _cache(settings, storage, catalogs, semantic, providers, generator, flights, record, ledger, hook, hot)
        keys = await open_keys(settings, store, ledger)
        purger = _purger(settings, storage, search, catalogs, flights, record, hook)
        for work in (
            storage.store.run(every=POLL_HOT),
            search.follower.run(poll=POLL, save_every=SAVE_INDEX_EVERY),
            maintain.run(
                store,
                blobs,
                hook=hook,
                keep_changes=settings.keep_changes,
                keep_payments=settings.keep_payments,
                ledger=store,
                every=MAINTAIN_EVERY,
            ),
            record.hits.run(every=RECORD_HITS_EVERY),
            record.uses.run(every=COUNT_USES_EVERY),
            evictor.run(every=KEEP_BOUNDS_EVERY),
            record.feedback.run(poll=POLL),
            ledger.run(every=RECORD_HITS_EVERY),
            alerts.run(every=LOOK_FOR_ALERTS_EVERY),
            keys.run(every=POLL_KEYS),
        ):
            in_background(stack, work)
        through = ThroughMeans(
            api=upstreams.batch_api,
            cache=cache,
            take_in=lambda draft, body: generator.take_in(kinds, draft, body, price_factor=HALF),
            folder=settings.data_dir,
        )
        batches = open_batches(settings, stack, store, cache, hook, through, resume=resume_batches)
        inspector = Inspector(store, store, search.index, search.embedder, record.requests)
        stack.push_async_callback(inspector.aclose)
        in_background(stack, inspector.totals())  # so that the first who looks needn't wait
        service = Service(
            settings=settings,
            cache=cache,
            store=store,
            blobs=blobs,
            upstream=upstream,
            alternatives={one.provider.name: one.provider.upstream for one in providers.alternatives},
            purger=purger,
            feedback=record.feedback,
            ledger=ledger,
            accounts=accounts(settings, store, catalog, ledger),
            alerts=alerts,
            batches=batches,
            admin=store,
            keys=keys,
            requests=record.requests,
            inspector=inspector,
            explorer=Explorer(kinds, search.embedder, semantic.verifier),
            timeline=telemetry.timeline,
            hook=hook,
            render_metrics=telemetry.metrics.render,
            admin_token=settings.admin_token or storage.data.admin_token(),
            not_ready=lambda: [reason for reason in (store.failed, blobs.failed) if reason],
            announce=storage.data.announce,
            generating=lambda: len(flights),
            tracing=tracing,
            reloader=Reloader(settings, read_settings or (lambda: settings)),
        )
        _follow_reloads(service, settings, cache, generator)
        _follow_keys(service.reloader, upstreams, lambda: telemetry.expect_more(upstream, catalog))
        stack.push_async_callback(_drain, flights, service)
        stack.push_async_callback(batches.aclose, BATCHES_GRACE)
        yield service


def _generator(
    settings: Settings, storage: Storage, search: Search, evictor: Evictor, ledger: Ledger, hook: Hook
) -> Generator:
    return Generator(
        store=storage.store,
        blobs=storage.blobs,
        spool=FileSpool(settings.data_dir / "spool"),
        follower=search.follower,
        lifetimes=lifetimes(settings),
        ledger=ledger,
        hook=hook,
        embedding_model=search.embedder.model_id,
        room=evictor.room,
    )


def _cache(
    settings: Settings,
    storage: Storage,
    catalogs: Catalogs,
    semantic: SemanticTier,
    providers: Providers,
    generator: Generator,
    flights: SingleFlight[Outcome],
    record: Record,
    ledger: Ledger,
    hook: Hook,
    hot: Hot,
) -> SemanticCache:
    return SemanticCache(
        operations=catalogs.kinds,
        keying=hot.keying,
        store=storage.store,
        semantic=semantic,
        providers=providers,
        generator=generator,
        flights=flights,
        responses=Responses(storage.blobs, catalogs.catalog.usd, hot.bodies),
        hook=hook,
        standing=record.standing,
        ledger=ledger,
        record=record.hits.add,
        trace=record.requests.add,
        modes=_modes(settings),
        threshold=settings.threshold,
        generation_timeout=settings.upstream_timeout,
        used=record.uses.add,
        chain=Chain(tuple(Step(name) for name in settings.fallback), settings.fallback_stale),
        lesser=catalogs.offers.lesser,
        similar=catalogs.offers.similar,
    )


def _modes(settings: Settings) -> Mapping[str, Mode]:
    return {"images": settings.semantic_images, "chat": settings.semantic_chat}


def _purger(
    settings: Settings,
    storage: Storage,
    search: Search,
    catalogs: Catalogs,
    flights: SingleFlight[Outcome],
    record: Record,
    hook: Hook,
) -> Purger:
    def forget(predicate: PurgePredicate) -> None:
        flights.forget(predicate)
        record.requests.forget(predicate)

    return Purger(
        storage.store,
        storage.blobs,
        search.embedder,
        forget=forget,
        catch_up=search.follower.catch_up,
        hook=hook,
        default_similarity=settings.threshold,
        operations=tuple(catalogs.kinds),
    )


def _follow_reloads(service: Service, started_with: Settings, cache: SemanticCache, generator: Generator) -> None:
    """What may change while the service runs is taken by the parts that hold it."""

    def prepare(new: Settings) -> Callable[[], None]:
        configured = configured_keys(new)
        if new.threshold != started_with.threshold and new.verifier == "learned":
            raise ConfigurationError("the learned verifier was calibrated for its threshold: another needs a restart")

        def take() -> None:
            cache.steer(modes=_modes(new), threshold=new.threshold)
            service.feedback.threshold = service.purger.default_similarity = new.threshold
            generator.lifetimes = lifetimes(new)
            service.keys.configure(configured)
            service.settings = new

        return take

    service.reloader.subscribe(prepare)


def _follow_keys(reloader: Reloader, upstreams: Upstreams, taken: Callable[[], None]) -> None:
    """The upstreams' keys may change too. taken: called after they did."""

    def prepare(new: Settings) -> Callable[[], None]:
        exchange = upstreams.prepare(new)

        def take() -> None:
            exchange()
            taken()

        return take

    reloader.subscribe(prepare)


async def _drain(flights: SingleFlight[Outcome], service: Service) -> None:
    """Waits for generations as long as the server that stops still may; the whole grace where none was serving."""
    grace = service.settings.shutdown_grace
    if service.stop_by is not None:
        grace = max(0.0, service.stop_by - time.monotonic())
    if len(flights):
        log.info("waiting for %d generations in flight", len(flights))
    if late := await flights.drain(grace):
        log.warning("%d generations were cut off after %.0f s", late, grace)
