"""Commands that decide pairs without serving: `evaluate`, `evaluate --replay`, `calibrate`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cache_service.bootstrap.catalogs import operations
from cache_service.bootstrap.models import embedder, learned, verifier
from cache_service.config import PROFILES, Settings
from cache_service.errors import ConfigurationError
from cache_service.index.faiss import FaissIndex
from cache_service.jobs import calibrate as calibration
from cache_service.jobs.evaluate import Evaluation
from cache_service.jobs.evaluate import evaluate as evaluate_pairs
from cache_service.jobs.pairs import digest, read_pairs
from cache_service.jobs.replay import Replay, Replayed, read_log
from cache_service.operations.base import Operation
from cache_service.upstream.catalog import load_catalog, packaged_catalog
from cache_service.verification.base import Verifier
from cache_service.verification.rules import RulesVerifier

if TYPE_CHECKING:
    from cache_service.verification.learned import Models


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
        judge, models = await learned(settings, settings.verifier_thresholds if keep else None)
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
