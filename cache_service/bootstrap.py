"""Builds a service from settings: the one place that names implementations. Nothing is opened on import."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import json
import logging
import math
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
from pydantic import SecretStr

from cache_service import config_upstreams
from cache_service.answer import Caller
from cache_service.budget import Budgets
from cache_service.budget import Limits as BudgetLimits
from cache_service.config import PRIMARY, PROFILES, Settings, masked
from cache_service.config_upstreams import Figures
from cache_service.data_dir import DataDirectory
from cache_service.embedding.base import Embedder
from cache_service.errors import ConfigurationError, InvalidRequest
from cache_service.fallback import Chain, Step
from cache_service.feedback import Policy, Standing
from cache_service.generation import Generator, Outcome
from cache_service.index.faiss import FaissIndex
from cache_service.instrumentation.alerts import PROFILES as ALERT_PROFILES
from cache_service.instrumentation.alerts import Counts, Thresholds
from cache_service.instrumentation.events import Hook, to_all
from cache_service.instrumentation.gauges import Gauges
from cache_service.instrumentation.prometheus import PrometheusMetrics
from cache_service.jobs import calibrate as calibration
from cache_service.jobs import maintain
from cache_service.jobs import reindex as reindexing
from cache_service.jobs.accounts import Accounts
from cache_service.jobs.alerts import AlertKeeper, webhook
from cache_service.jobs.batch import Batches
from cache_service.jobs.batch_run import Estimate, Means
from cache_service.jobs.batch_through import HALF, ThroughMeans
from cache_service.jobs.check import check as check_all
from cache_service.jobs.client_keys import ClientKeys
from cache_service.jobs.evaluate import Evaluation
from cache_service.jobs.evaluate import evaluate as evaluate_pairs
from cache_service.jobs.evict import Evictor
from cache_service.jobs.feedback import FeedbackKeeper
from cache_service.jobs.follow import Follower
from cache_service.jobs.hit_log import HitLog
from cache_service.jobs.inspect import Inspector
from cache_service.jobs.ledger import Ledger
from cache_service.jobs.pairs import digest, read_pairs
from cache_service.jobs.purge import Purger
from cache_service.jobs.replay import Replay, Replayed, read_log
from cache_service.jobs.request_log import RequestLog
from cache_service.jobs.timeline import Timeline
from cache_service.jobs.use_log import UseLog
from cache_service.lifetime import Lifetimes
from cache_service.operations.base import Operation
from cache_service.operations.chat import Chat
from cache_service.operations.images import Images
from cache_service.providers import Alternative, Provider, Providers
from cache_service.question import Mode
from cache_service.reload import Reloader
from cache_service.responses import Responses
from cache_service.semantic_cache import Prepare, SemanticCache
from cache_service.semantic_tier import SemanticTier
from cache_service.service import Service
from cache_service.single_flight import SingleFlight
from cache_service.store import backup
from cache_service.store.backup import Manifest
from cache_service.store.base import Problem
from cache_service.store.batches import SqlBatchStore
from cache_service.store.blobs import FileBlobStore
from cache_service.store.engine import database_url
from cache_service.store.entry import Kind, PurgePredicate, Sum
from cache_service.store.eviction import Bound, Bounds, ranking_for
from cache_service.store.migrations import migrate
from cache_service.store.spool import FileSpool
from cache_service.store.sql import SqlEntryStore, open_store
from cache_service.upstream.base import BatchApi, Upstream
from cache_service.upstream.batch_api import OpenAIBatchApi
from cache_service.upstream.building import Opened, ProviderConfig, open_caller
from cache_service.upstream.catalog import load_catalog, load_offers, packaged_catalog
from cache_service.upstream.cost import Catalog
from cache_service.upstream.discovery import Discovery
from cache_service.upstream.offers import Offers
from cache_service.verification.base import Verifier
from cache_service.verification.rules import RulesVerifier

if TYPE_CHECKING:
    from cache_service.verification.learned import Models

log = logging.getLogger(__name__)

OPENAI = "https://api.openai.com/v1"
SIMULATOR = "simulator"
POLL_KEYS = 0.5  # seconds; a key revoked on another node opens nothing within one second
POLL = 1.0  # seconds within which another process's changes hold here
SAVE_INDEX_EVERY = 300.0  # seconds
MAINTAIN_EVERY = 60.0  # seconds
LOOK_FOR_ALERTS_EVERY = 30.0  # seconds
RECORD_HITS_EVERY = 0.5  # seconds; what a killed process may lose of the record of hits
COUNT_USES_EVERY = 5.0  # seconds; what a killed process may lose of how often entries were served
KEEP_BOUNDS_EVERY = 10.0  # seconds within which another node's stores count here
BATCHES_GRACE = 5.0  # seconds beyond the drain's in which outcomes of batches are filed
THREADS = 64  # file and SQL work waits for the disk, so more threads than cores


def operations(catalog: Catalog) -> Mapping[str, Operation]:
    """Every operation, by name."""
    images: Operation = Images(catalog.image_tokens)
    chat: Operation = Chat()
    return {operation.name: operation for operation in (images, chat)}


def preparation(settings: Settings, offers: Offers) -> Prepare:
    """What is done to a body before its key is formed: presets become parameters, and where the catalog is strict it judges them."""

    def prepare(operation: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        explicit = offers.expand(operation, body)
        if settings.catalog_strict:
            offers.refuse_impossible(operation, explicit, datetime.now(UTC).date())
        return explicit

    return prepare


async def verifier(settings: Settings) -> Verifier:
    """The verifier in force, loaded. Raises VerificationError, ConfigurationError."""
    if settings.verifier == "rules":
        return RulesVerifier()
    return (await _learned(settings, settings.verifier_thresholds))[0]


async def _learned(settings: Settings, own: Path | None) -> tuple[Verifier, Models]:
    """The learned verifier and its models. own: thresholds to use in place of those that came with it."""
    from cache_service.verification.artefacts import load
    from cache_service.verification.learned import LearnedVerifier

    folder = models_dir(settings)
    models = await asyncio.to_thread(lambda: load(folder, own=own))
    if settings.threshold < models.thresholds.floor:
        raise ConfigurationError(
            f"{own} was calibrated for candidates from cosine {models.thresholds.floor:g}, and the threshold in force is "
            f"{settings.threshold:g}: calibrate with it, or raise it"
        )
    return await asyncio.to_thread(lambda: LearnedVerifier(RulesVerifier(), models)), models


async def embedder(settings: Settings) -> Embedder:
    """The embedding model in force, loaded. Raises EmbeddingError."""
    models = models_dir(settings)
    if settings.embedder == "sentence-transformers":
        from cache_service.embedding.sentence_transformer import SentenceTransformerEmbedder

        return await asyncio.to_thread(
            lambda: SentenceTransformerEmbedder(
                models, threads=settings.embedding_threads, name=settings.embedding_model
            )
        )
    from cache_service.embedding.onnx import OnnxEmbedder

    return await asyncio.to_thread(
        lambda: OnnxEmbedder(models, threads=settings.embedding_threads, name=settings.embedding_model)
    )


def models_dir(settings: Settings) -> Path:
    """The folder of the models: the setting's; where it is relative and isn't there, the wheel's or the checkout's."""
    package = Path(__file__).resolve().parent
    places = (settings.models_dir, package / "_models", package.parent / settings.models_dir)
    return next((place for place in places if (place / "manifest.toml").exists()), settings.models_dir)


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
        data = _hold(settings, stack, url)
        store = await _open_store(settings, stack)
        blobs = await FileBlobStore.open(settings.data_dir / "blobs")
        catalog = load_catalog(packaged_catalog(), settings.catalog)
        offers = load_offers(packaged_catalog(), settings.catalog)
        metrics, counts, timeline = PrometheusMetrics(), Counts(), Timeline()
        gauges = Gauges(lambda: upstream.pools(), lambda: ledger.budgets())
        hook = to_all(metrics, counts, gauges, timeline)
        embeddings = await embedder(settings)
        stack.push_async_callback(embeddings.aclose)
        index = FaissIndex(
            settings.data_dir / "index", dimension=embeddings.dimension, small_partition=settings.small_partition
        )
        stack.push_async_callback(index.aclose)
        follower = Follower(store, index, embedding_model=embeddings.model_id)
        await follower.start()
        stack.push_async_callback(follower.save)
        evictor = Evictor(
            store,
            blobs,
            bounds=bounds(settings),
            unreferenced=store.unreferenced,
            catch_up=follower.catch_up,
            hook=hook,
        )
        await evictor.start()
        uses = UseLog(store)
        stack.push_async_callback(uses.close)
        providers, batch_api = await _open_providers(settings, stack, catalog, offers, hook)
        upstream = providers.primary.upstream
        ledger = await _open_ledger(settings, stack, store, catalog, upstream, hook)
        metrics.expect(upstream.pools(), catalog.qualities())
        metrics.collect_from(gauges)
        alerts = alert_keeper(settings, counts, upstream, ledger)
        generator = Generator(
            store=store,
            blobs=blobs,
            spool=FileSpool(settings.data_dir / "spool"),
            follower=follower,
            lifetimes=lifetimes(settings),
            ledger=ledger,
            hook=hook,
            embedding_model=embeddings.model_id,
            room=evictor.room,
        )
        kinds = operations(catalog)
        await generator.recover(kinds)
        flights: SingleFlight[Outcome] = SingleFlight()
        requests = RequestLog(keep=settings.keep_requests)
        hits, standing, feedback = await _open_feedback(settings, stack, store, hook)
        cache = SemanticCache(
            operations=kinds,
            store=store,
            semantic=SemanticTier(
                embedder=embeddings,
                index=index,
                store=store,
                verifier=await verifier(settings),
                hook=hook,
                candidates=settings.search_candidates,
                embed_timeout=settings.embed_timeout,
                verify_timeout=settings.verify_timeout,
            ),
            providers=providers,
            generator=generator,
            flights=flights,
            responses=Responses(blobs, catalog.usd),
            hook=hook,
            standing=standing,
            ledger=ledger,
            record=hits.add,
            trace=requests.add,
            modes=_modes(settings),
            threshold=settings.threshold,
            generation_timeout=settings.upstream_timeout,
            prepare=preparation(settings, offers),
            used=uses.add,
            chain=Chain(tuple(Step(name) for name in settings.fallback), settings.fallback_stale),
            lesser=offers.lesser,
            similar=offers.similar,
        )
        keys = await _open_keys(settings, store, ledger)

        def forget(predicate: PurgePredicate) -> None:
            flights.forget(predicate)
            requests.forget(predicate)

        purger = Purger(
            store,
            blobs,
            embeddings,
            forget=forget,
            catch_up=follower.catch_up,
            hook=hook,
            default_similarity=settings.threshold,
            operations=tuple(kinds),
        )
        _in_background(stack, follower.run(poll=POLL, save_every=SAVE_INDEX_EVERY))
        _in_background(
            stack,
            maintain.run(
                store,
                blobs,
                hook=hook,
                keep_changes=settings.keep_changes,
                keep_payments=settings.keep_payments,
                ledger=store,
                every=MAINTAIN_EVERY,
            ),
        )
        _in_background(stack, hits.run(every=RECORD_HITS_EVERY))
        _in_background(stack, uses.run(every=COUNT_USES_EVERY))
        _in_background(stack, evictor.run(every=KEEP_BOUNDS_EVERY))
        _in_background(stack, feedback.run(poll=POLL))
        _in_background(stack, ledger.run(every=RECORD_HITS_EVERY))
        _in_background(stack, alerts.run(every=LOOK_FOR_ALERTS_EVERY))
        _in_background(stack, keys.run(every=POLL_KEYS))
        through = ThroughMeans(
            api=batch_api,
            cache=cache,
            take_in=lambda draft, body: generator.take_in(kinds, draft, body, price_factor=HALF),
            folder=settings.data_dir,
        )
        batches = _open_batches(settings, stack, store, cache, hook, through, resume=resume_batches)
        service = Service(
            settings=settings,
            cache=cache,
            store=store,
            blobs=blobs,
            upstream=upstream,
            alternatives={one.provider.name: one.provider.upstream for one in providers.alternatives},
            purger=purger,
            feedback=feedback,
            ledger=ledger,
            accounts=_accounts(settings, store, catalog, ledger),
            alerts=alerts,
            batches=batches,
            admin=store,
            keys=keys,
            requests=requests,
            inspector=Inspector(store, store, index, embeddings, requests),
            timeline=timeline,
            hook=hook,
            render_metrics=metrics.render,
            admin_token=settings.admin_token or data.admin_token(),
            not_ready=lambda: [reason for reason in (store.failed, blobs.failed) if reason],
            announce=data.announce,
            generating=lambda: len(flights),
            reloader=Reloader(settings, read_settings or (lambda: settings)),
        )

        def prepare(new: Settings) -> Callable[[], None]:
            configured = _configured_keys(new)
            if new.threshold != settings.threshold and new.verifier == "learned":
                raise ConfigurationError(
                    "the learned verifier was calibrated for its threshold: another needs a restart"
                )

            def take() -> None:
                cache.steer(modes=_modes(new), threshold=new.threshold)
                feedback.threshold = purger.default_similarity = new.threshold
                generator.lifetimes = lifetimes(new)
                keys.configure(configured)
                service.settings = new

            return take

        service.reloader.subscribe(prepare)
        stack.push_async_callback(_drain, flights, service)
        stack.push_async_callback(batches.aclose, BATCHES_GRACE)
        yield service


async def check(settings: Settings, *, fix: bool) -> list[Problem]:
    """`check`, on the files themselves; mending needs that no server holds them. Raises CacheServiceError."""
    async with contextlib.AsyncExitStack() as stack:
        holder = DataDirectory(settings.data_dir).holder()
        if holder is not None and fix:
            raise ConfigurationError(
                f"process {holder.pid} is serving from {settings.data_dir}; stop it before mending"
            )
        if holder is None:
            _hold(settings, stack, None)
        store = await _open_store(settings, stack)
        blobs = await FileBlobStore.open(settings.data_dir / "blobs")
        embeddings = await embedder(settings)
        stack.push_async_callback(embeddings.aclose)
        folder = settings.data_dir / "index"
        if holder is not None:  # the server writes its own snapshot there; here an index is built beside it
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cache-service-check-")))
        index = FaissIndex(folder, dimension=embeddings.dimension, small_partition=settings.small_partition)
        stack.push_async_callback(index.aclose)
        follower = Follower(store, index, embedding_model=embeddings.model_id)
        await follower.start()
        return await check_all(store, blobs, index, follower, embedding_model=embeddings.model_id, fix=fix)


async def reindex(settings: Settings, model: str, *, most: int) -> tuple[int, int, reindexing.Agreement]:
    """`reindex`: vectors of another model, while a server may go on; and what they would change. Raises CacheServiceError."""
    async with contextlib.AsyncExitStack() as stack:
        store = await _open_store(settings, stack)
        judge = await verifier(settings)
        present, other = (
            await embedder(settings),
            await embedder(settings.model_copy(update={"embedding_model": model})),
        )
        for each in (present, other):
            stack.push_async_callback(each.aclose)
        done, failed = await reindexing.embed_missing(store, other, judge)
        found = await reindexing.agreement(
            store, present.model_id, other.model_id, judge, threshold=settings.threshold, most=most
        )
        return done, failed, found


async def back_up(settings: Settings, target: Path) -> Manifest:
    """`backup`: a copy of database and pictures, while a server may go on. Raises CacheServiceError."""
    url, blobs = database_url(_database_url(settings)), settings.data_dir / "blobs"
    release = importlib.metadata.version("cache-service")
    return await asyncio.to_thread(
        backup.back_up, url, blobs, target, release=release, settings=settings_digest(settings)
    )


async def restore(settings: Settings, source: Path, *, allow_damaged: bool) -> tuple[Manifest, list[str]]:
    """`restore`: makes an empty data directory out of a backup; the pictures that are damaged. Raises CacheServiceError."""
    async with contextlib.AsyncExitStack() as stack:
        _hold(settings, stack, None)
        blobs = settings.data_dir / "blobs"
        return await backup.restore(_database_url(settings), blobs, source, allow_damaged=allow_damaged)


def settings_digest(settings: Settings) -> str:
    """SHA-256 of the settings without their secrets, by which a backup tells under which it was made."""
    return hashlib.sha256(json.dumps(masked(settings), sort_keys=True).encode()).hexdigest()


async def evaluate(settings: Settings, pairs: Path, *, operation: str) -> Evaluation:
    """`evaluate`, with the embedder and the verifier that would serve. Raises CacheServiceError."""
    kind, kinds = _kinds(operation)
    embeddings = await embedder(settings)
    try:
        return await evaluate_pairs(
            read_pairs(pairs),
            kind,
            embedder=embeddings,
            verifier=await verifier(settings),
            threshold=settings.threshold,
            others=kinds,
            prior=settings.candidate_prior,
        )
    finally:
        await embeddings.aclose()


async def replay(settings: Settings, log_file: Path, *, operation: str) -> Replayed:
    """`evaluate --replay`, with the embedder, verifier and index that would serve. Raises CacheServiceError."""
    _, kinds = _kinds(operation)
    rows = read_log(log_file, operation=operation)
    embeddings = await embedder(settings)
    with tempfile.TemporaryDirectory(prefix="cache-service-replay-") as folder:
        index = FaissIndex(Path(folder), embeddings.dimension, settings.small_partition)
        try:
            await index.load(epoch="replay", model_id=embeddings.model_id)
            return await Replay(
                kinds,
                embedder=embeddings,
                verifier=await verifier(settings),
                index=index,
                threshold=settings.threshold,
                candidates=settings.search_candidates,
            ).run(rows)
        finally:
            await index.aclose()
            await embeddings.aclose()


async def calibrate(
    settings: Settings, files: Mapping[str, Sequence[Path]], *, allowed: float | None, keep: bool, out: Path | None
) -> calibration.Report:
    """`calibrate`. files: of labelled pairs, by operation. out: where the thresholds go. Raises CacheServiceError."""
    kinds = operations(load_catalog(packaged_catalog()))
    floor = min(settings.threshold, PROFILES["verified"])  # without thresholds, gates are all there is to choose
    models: Models | None = None
    judge: Verifier = RulesVerifier()
    if settings.verifier == "learned":
        judge, models = await _learned(settings, settings.verifier_thresholds if keep else None)
        floor = settings.threshold
    embeddings = await embedder(settings)
    try:
        decided = [
            one
            for operation, paths in files.items()
            for path in paths
            for one in await calibration.decide_all(
                read_pairs(path), kinds[operation], others=kinds, embedder=embeddings, verifier=judge, floor=floor
            )
        ]
    finally:
        await embeddings.aclose()
    limits = {"images": settings.wrong_hits_images, "chat": settings.wrong_hits_chat}
    aim = calibration.Aim(floor, settings.candidate_prior, dict.fromkeys(kinds, allowed) if allowed else limits)
    if models is None:
        return calibration.choose(decided, aim, kinds=(), in_force={}, keep=False)
    from cache_service.verification.difference import ROUTES

    thresholds = models.thresholds
    in_force = {name: {route: thresholds.least(name, route) for route in ROUTES} for name in kinds}
    report = await asyncio.to_thread(
        lambda: calibration.choose(decided, aim, kinds=ROUTES, in_force=in_force, keep=keep)
    )
    if out is not None:
        digests = {str(path): digest(path) for paths in files.values() for path in paths}
        about = {"verifier": judge.version, "embedding_model": embeddings.model_id}
        calibration.write(report, out, model=models.digest, files=digests, about=about)
    return report


def _kinds(operation: str) -> tuple[Operation, Mapping[str, Operation]]:
    """The operation of that name, and all. Raises ConfigurationError."""
    kinds = operations(load_catalog(packaged_catalog()))
    if operation not in kinds:
        raise ConfigurationError(f"unknown operation {operation!r}; one of: {', '.join(kinds)}")
    return kinds[operation], kinds


@dataclass(frozen=True, slots=True)
class ClientChoice:
    """Which of the configured clients a command is: by its name, its namespace or both; the first that fits."""

    name: str | None = None
    namespace: str | None = None


@contextlib.asynccontextmanager
async def client(
    settings: Settings, *, admin: bool, choice: ClientChoice | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the running service that holds the data directory, or of one that runs only for this block.

    choice: whose key it sends, if not the admin token. Raises ConfigurationError where no client fits.
    """
    key = None if admin else _client_key(settings, choice or ClientChoice())
    holder = DataDirectory(settings.data_dir).holder()
    if holder is not None:
        if holder.url is None:
            raise ConfigurationError(
                f"process {holder.pid} holds {settings.data_dir} and serves nothing; wait for it to end"
            )
        token = settings.admin_token or DataDirectory(settings.data_dir).admin_token()
        headers = _headers(settings, token if admin else key, holder.url)
        async with httpx.AsyncClient(base_url=holder.url, headers=headers, **_PATIENT) as remote:
            yield remote
        return
    from cache_service.api.app import create_app

    # a command goes on with its own work alone: what a batch left is for the next server
    async with open_service(settings, resume_batches=False) as service:
        transport = httpx.ASGITransport(create_app(service))
        headers = _headers(settings, service.admin_token if admin else key, _HERE)
        async with httpx.AsyncClient(base_url=_HERE, headers=headers, transport=transport, **_PATIENT) as local:
            yield local


def estimate_usd(settings: Settings) -> Estimate:
    """What a request may cost, by the catalog, its presets made explicit."""
    catalog = load_catalog(packaged_catalog(), settings.catalog)
    offers = load_offers(packaged_catalog(), settings.catalog)

    def estimate(operation: str, request: Mapping[str, Any]) -> float | None:
        with contextlib.suppress(InvalidRequest):  # the service will say so
            request = offers.expand(operation, request)
        return catalog.estimate_request(operation, request)

    return estimate


def simulate(*, host: str, port: int, latency: str, strict: bool, tier: int | None) -> None:
    """The simulator in the foreground. Raises ConfigurationError."""
    from cache_service.simulator.config import SimulatorConfig
    from cache_service.simulator.config import tier as tier_pools
    from cache_service.simulator.server import run

    seconds: float | Literal["real"]
    try:
        seconds = "real" if latency == "real" else float(latency)
    except ValueError:
        seconds = -1.0
    if seconds != "real" and not 0 <= seconds < math.inf:
        raise ConfigurationError(f"--latency {latency}: expected seconds from 0, or `real`")
    config = SimulatorConfig(latency=seconds, strict=strict)
    try:
        run(replace(config, pools=tier_pools(tier)) if tier else config, host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"the simulator can't listen on {host}:{port}: {reason}; choose another --port or --host"
        ) from error


_PATIENT: dict[str, Any] = {"timeout": httpx.Timeout(660.0, connect=10.0), "trust_env": False}

_HERE = "http://127.0.0.1"


def _headers(settings: Settings, bearer: SecretStr | None, url: str) -> dict[str, str]:
    """Who asks, and by which name: one that the service answers to, where the address it was found at isn't one."""
    headers = {"authorization": f"Bearer {bearer.get_secret_value()}"} if bearer is not None else {}
    host = url.partition("://")[2]
    allowed = [name.lower() for name in settings.allowed_hosts]
    if allowed and host.rpartition(":")[0].lower() not in allowed and host.lower() not in allowed:
        headers["host"] = allowed[0]
    return headers


def _client_key(settings: Settings, choice: ClientChoice) -> SecretStr | None:
    """The key of the first configured client that fits; None where none is needed. Raises ConfigurationError."""
    from cache_service.api.access import parse_client_keys

    wanted = [one for one in (choice.name, choice.namespace) if one is not None]
    known = parse_client_keys(settings.client_keys)
    for entry, parsed in zip(settings.client_keys, known, strict=True):
        caller = parsed.caller
        if choice.name in (None, caller.client) and choice.namespace in (None, caller.namespace):
            _, _, rest = entry.get_secret_value().partition(":")
            key, separator, _ = rest.rpartition(":")
            return SecretStr((key if separator else rest).strip())
    if wanted:
        names = ", ".join(f"{one.caller.client} ({one.caller.namespace})" for one in known) or "none"
        raise ConfigurationError(f"no client key is configured for {' in '.join(wanted)}; there are: {names}")
    return None


def _hold(settings: Settings, stack: contextlib.AsyncExitStack, url: str | None) -> DataDirectory:
    data = DataDirectory(settings.data_dir)
    data.create()
    data.acquire(url)
    stack.callback(data.release)
    return data


def _database_url(settings: Settings) -> str:
    if settings.database_url:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir.absolute()}/cache.db"


async def _open_store(settings: Settings, stack: contextlib.AsyncExitStack) -> SqlEntryStore:
    url = _database_url(settings)
    await migrate(url)
    store = await open_store(url, ranking=ranking_for(settings.eviction, bounds(settings)))
    stack.push_async_callback(store.aclose)
    return store


def _open_batches(
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    store: SqlEntryStore,
    cache: SemanticCache,
    hook: Hook,
    through: ThroughMeans,
    *,
    resume: bool,
) -> Batches:
    """Batches, running. Those of this data directory are this process's: the lock says that no other one lives."""
    from cache_service.api.problems import details_of

    owner = f"{socket.gethostname()}:{settings.data_dir.absolute()}"
    kept = SqlBatchStore(store.database)
    batches = Batches(kept, owner=owner, most_running=settings.max_batches)
    batches.begin(
        Means(
            store=kept,
            cache=cache,
            estimate=estimate_usd(settings),
            problem=details_of,
            hook=hook,
            slots=asyncio.Semaphore(settings.batch_concurrency),
            concurrency=settings.batch_concurrency,
            grown=batches.grown,
            now=time.time,
            through=through,
        )
    )
    _in_background(stack, batches.run(resume=resume, keep=settings.keep_batches))
    return batches


async def _open_feedback(
    settings: Settings, stack: contextlib.AsyncExitStack, store: SqlEntryStore, hook: Hook
) -> tuple[HitLog, Standing, FeedbackKeeper]:
    """The record of hits, what feedback means, and who takes it; all that was ever said is read."""
    hits = HitLog(store, hook=hook, keep=settings.keep_hits)
    stack.push_async_callback(hits.close)
    delta = {"images": settings.wrong_hits_images, "chat": settings.wrong_hits_chat}
    standing = Standing(Policy(delta, settings.feedback_prior, settings.feedback_half_life))
    keeper = FeedbackKeeper(store, hits, standing, hook=hook, threshold=settings.threshold)
    await keeper.refresh()
    return hits, standing, keeper


async def _open_ledger(
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


def _accounts(settings: Settings, store: SqlEntryStore, catalog: Catalog, ledger: Ledger) -> Accounts:
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
    )


def alert_thresholds(settings: Settings) -> Thresholds:
    """The profile's thresholds, and what the operator set in their place."""
    own = {
        "error_rate": settings.alert_error_rate,
        "refused_rate": settings.alert_refused_rate,
        "p95": settings.alert_miss_p95,
    }
    profile = ALERT_PROFILES[settings.alert_profile]
    return replace(profile, **{name: value for name, value in own.items() if value is not None})


def alert_keeper(settings: Settings, counts: Counts, upstream: Upstream, ledger: Ledger) -> AlertKeeper:
    """Who watches."""
    url = settings.alert_webhook_url
    return AlertKeeper(
        counts,
        alert_thresholds(settings),
        pools=upstream.pools,
        budgets=ledger.budgets,
        post=webhook(url.get_secret_value()) if url is not None else None,
    )


async def _open_keys(settings: Settings, store: SqlEntryStore, ledger: Ledger) -> ClientKeys:
    """The keys of the settings and of the database."""
    keys = ClientKeys(store, _configured_keys(settings), budgets=ledger.limit_clients)
    await keys.refresh()
    return keys


def _configured_keys(settings: Settings) -> list[tuple[bytes, Caller]]:
    """Digest and caller of each. Raises ConfigurationError, also where there are none although others could reach the address."""
    from cache_service.api.access import parse_client_keys, refuse_open_address

    refuse_open_address(settings)
    return [(key.digest, key.caller) for key in parse_client_keys(settings.client_keys)]


def _modes(settings: Settings) -> Mapping[str, Mode]:
    return {"images": settings.semantic_images, "chat": settings.semantic_chat}


async def _open_providers(
    settings: Settings, stack: contextlib.AsyncExitStack, catalog: Catalog, offers: Offers, hook: Hook
) -> tuple[Providers, BatchApi]:
    """The configured upstream, or the built-in simulator where none is, with its Batch API; and the alternatives."""

    def opened(config: ProviderConfig, *, simulated: bool = False) -> Opened:
        one = open_caller(
            config,
            offers,
            max_queued=settings.upstream_max_queued,
            max_attempts=settings.upstream_max_attempts,
            max_answer_bytes=settings.upstream_max_answer_bytes,
            simulated=simulated,
            hook=hook,
        )
        stack.push_async_callback(one.caller.aclose)
        return one

    config, name = primary_config(settings), PRIMARY
    if settings.uses_simulator:
        from cache_service.simulator.config import SimulatorConfig
        from cache_service.simulator.server import SimulatorServer

        simulator = SimulatorServer(SimulatorConfig(latency=settings.simulator_latency, pools=()))
        config, name = replace(config, base_url=await simulator.start(), group=SIMULATOR), SIMULATOR
        stack.push_async_callback(simulator.stop)
        log.warning("no upstream is configured: the built-in simulator answers, nothing is paid and no picture is real")
    primary = opened(config, simulated=settings.uses_simulator)
    admin_key = settings.upstream_admin_key
    discovery = Discovery(
        primary.caller,
        primary.transport,
        clock=time.monotonic,
        wall_clock=time.time,
        admin_key=None if admin_key is None else admin_key.get_secret_value(),
        announced=catalog.shutdown_date,
        hook=hook,
    )
    _in_background(stack, discovery.run())
    keys = [key for pool in primary.pools for key in pool.keys]
    batch_api = OpenAIBatchApi(config.base_url, keys, max_line_bytes=settings.upstream_max_answer_bytes)
    stack.push_async_callback(batch_api.aclose)
    alternatives = [
        Alternative(
            Provider(one.name, opened(_alternative_config(one)).caller),
            models=one.models,
            drop=frozenset(one.drop),
            operations=frozenset(one.operations),
        )
        for one in settings.upstream_alternatives
    ]
    return Providers(Provider(name, primary.caller, settings.upstream_models), alternatives), batch_api


def primary_config(settings: Settings) -> ProviderConfig:
    """The provider that the `upstream_*` settings describe."""
    return ProviderConfig(
        name="",
        base_url=settings.upstream_base_url or OPENAI,
        api_keys=settings.upstream_api_keys,
        headers=settings.upstream_headers,
        pools=settings.upstream_pools,
        figures=Figures(
            requests_per_minute=settings.upstream_requests_per_minute,
            images_per_minute=settings.upstream_images_per_minute,
            tokens_per_minute=settings.upstream_tokens_per_minute,
            requests_per_day=settings.upstream_requests_per_day,
        ),
        profile=settings.upstream_profile,
        max_in_flight=settings.upstream_max_in_flight,
        attempt_timeout=settings.upstream_attempt_timeout,
        organizations=settings.upstream_organizations,
    )


def _alternative_config(one: config_upstreams.Alternative) -> ProviderConfig:
    return ProviderConfig(
        name=one.name,
        base_url=one.base_url,
        api_keys=one.api_keys,
        headers=one.headers,
        pools=one.pools,
        figures=one,
        profile=one.profile,
        max_in_flight=one.max_in_flight,
        attempt_timeout=one.attempt_timeout,
        organizations=one.organizations,
    )


def bounds(settings: Settings) -> Bounds:
    """How much may be stored."""
    return Bounds(
        total=Bound(settings.max_entries, settings.max_blob_bytes),
        each=Bound(settings.namespace_max_entries, settings.namespace_max_blob_bytes),
        named={bound.name: Bound(bound.max_entries, bound.max_blob_bytes) for bound in settings.namespace_bounds},
    )


def lifetimes(settings: Settings) -> Lifetimes:
    """How long answers stay fresh."""
    operations = {"images": settings.ttl_images, "chat": settings.ttl_chat}
    return Lifetimes(operations, dict(settings.ttl_models), settings.ttl_volatile)


def _in_background(stack: contextlib.AsyncExitStack, work: Any) -> None:
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)


async def _drain(flights: SingleFlight[Outcome], service: Service) -> None:
    """Waits for generations as long as the server that stops still may; the whole grace where none was serving."""
    grace = service.settings.shutdown_grace
    if service.stop_by is not None:
        grace = max(0.0, service.stop_by - time.monotonic())
    if len(flights):
        log.info("waiting for %d generations in flight", len(flights))
    if late := await flights.drain(grace):
        log.warning("%d generations were cut off after %.0f s", late, grace)
