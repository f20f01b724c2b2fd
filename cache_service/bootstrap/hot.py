"""What an exact hit is answered from without asking anybody: requests, entries and bodies that are held in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cache_service.api import strict_json
from cache_service.bootstrap.catalogs import Catalogs, preparation
from cache_service.bootstrap.storage import Storage
from cache_service.bootstrap.telemetry import Telemetry
from cache_service.config import Settings
from cache_service.instrumentation.hot import HotGauges
from cache_service.keying import Keying
from cache_service.providers import Providers
from cache_service.wire_bodies import WireBodies


@dataclass(frozen=True, slots=True)
class Hot:
    """Beside the store's own tier: requests with their keys, and bodies as they go out."""

    keying: Keying
    bodies: WireBodies


def open_hot(
    settings: Settings, storage: Storage, catalogs: Catalogs, providers: Providers, telemetry: Telemetry
) -> Hot:
    """Bodies follow the store's tier; all three are counted."""
    tier = storage.store.hot
    keying = Keying(
        providers.primary,
        read=strict_json.loads,
        prepare=preparation(settings, catalogs.offers),
        most=settings.hot_request_bytes,
        now=time.time,
    )
    bodies = WireBodies(settings.hot_body_bytes, tier.holds)
    tier.gone = bodies.forget
    telemetry.metrics.collect_from(HotGauges({"requests": keying.known, "entries": tier.held, "bodies": bodies.held}))
    return Hot(keying, bodies)
