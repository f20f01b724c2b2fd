"""The models in force, loaded: the embedder and the verifier."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cache_service.config import Settings
from cache_service.embedding import openvino
from cache_service.embedding.base import Embedder
from cache_service.errors import ConfigurationError
from cache_service.verification.base import Verifier
from cache_service.verification.rules import RulesVerifier

if TYPE_CHECKING:
    from cache_service.verification.learned import Models

log = logging.getLogger(__name__)


async def embedder(settings: Settings) -> Embedder:
    """The embedding model in force, loaded. Raises EmbeddingError."""
    models = models_dir(settings)
    return await asyncio.to_thread(_load, settings, models)


def _load(settings: Settings, models: Path) -> Embedder:
    engine, name, threads = settings.embedder, settings.embedding_model, settings.embedding_threads
    if engine == "sentence-transformers":
        from cache_service.embedding.sentence_transformer import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder(models, threads=threads, name=name)
    if engine == "auto":
        engine = "openvino" if openvino.is_quickest(models, name) else "onnx"
        log.info("the embedding model runs on %s", engine)
    if engine == "openvino":
        return openvino.OpenVinoEmbedder(models, threads=threads, name=name)
    from cache_service.embedding.onnx import OnnxEmbedder

    return OnnxEmbedder(models, threads=threads, name=name)


async def verifier(settings: Settings) -> Verifier:
    """The verifier in force, loaded. Raises VerificationError, ConfigurationError."""
    if settings.verifier == "rules":
        return RulesVerifier()
    return (await learned(settings, settings.verifier_thresholds))[0]


async def learned(settings: Settings, own: Path | None) -> tuple[Verifier, Models]:
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


def models_dir(settings: Settings) -> Path:
    """The folder of the models: the setting's; where it is relative and isn't there, the wheel's or the checkout's."""
    package = Path(__file__).resolve().parents[1]
    places = (settings.models_dir, package / "_models", package.parent / settings.models_dir)
    return next((place for place in places if (place / "manifest.toml").exists()), settings.models_dir)
