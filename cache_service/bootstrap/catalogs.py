"""What the catalog gives: the operations, presets made explicit, what a request may cost."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cache_service.config import Settings
from cache_service.errors import InvalidRequest
from cache_service.jobs.batch_run import Estimate
from cache_service.keying import Prepare
from cache_service.operations.base import Operation
from cache_service.operations.chat import Chat
from cache_service.operations.images import Images
from cache_service.upstream.catalog import load_catalog, load_offers, packaged_catalog
from cache_service.upstream.cost import Catalog
from cache_service.upstream.offers import Offers


@dataclass(frozen=True, slots=True)
class Catalogs:
    """Models with their prices, what they offer, and the operations, by name."""

    catalog: Catalog
    offers: Offers
    kinds: Mapping[str, Operation]


def load_catalogs(settings: Settings) -> Catalogs:
    """The packaged catalog with the operator's additions. Raises ConfigurationError."""
    catalog = load_catalog(packaged_catalog(), settings.catalog)
    return Catalogs(catalog, load_offers(packaged_catalog(), settings.catalog), operations(catalog))


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


def estimate_usd(settings: Settings) -> Estimate:
    """What a request may cost, by the catalog, its presets made explicit."""
    catalog = load_catalog(packaged_catalog(), settings.catalog)
    offers = load_offers(packaged_catalog(), settings.catalog)

    def estimate(operation: str, request: Mapping[str, Any]) -> float | None:
        with contextlib.suppress(InvalidRequest):  # the service will say so
            request = offers.expand(operation, request)
        return catalog.estimate_request(operation, request)

    return estimate
