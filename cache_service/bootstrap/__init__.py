"""Builds a service from settings: the one place that names implementations. Nothing is opened on import.

`service.py` lists the parts of a running service in the order in which they are opened; its neighbours build each kind of part.
The commands that need no running service are in `maintenance.py`, `evaluating.py` and `simulating.py`.
"""

from cache_service.bootstrap.catalogs import estimate_usd, operations, preparation
from cache_service.bootstrap.evaluating import calibrate, evaluate, replay
from cache_service.bootstrap.http_client import ClientChoice, client
from cache_service.bootstrap.maintenance import back_up, check, reindex, restore, settings_digest
from cache_service.bootstrap.models import embedder, models_dir, verifier
from cache_service.bootstrap.providers import primary_config
from cache_service.bootstrap.service import open_service
from cache_service.bootstrap.simulating import simulate
from cache_service.bootstrap.storage import bounds, lifetimes
from cache_service.bootstrap.telemetry import alert_keeper, alert_thresholds

__all__ = [
    "ClientChoice",
    "alert_keeper",
    "alert_thresholds",
    "back_up",
    "bounds",
    "calibrate",
    "check",
    "client",
    "embedder",
    "estimate_usd",
    "evaluate",
    "lifetimes",
    "models_dir",
    "open_service",
    "operations",
    "preparation",
    "primary_config",
    "reindex",
    "replay",
    "restore",
    "settings_digest",
    "simulate",
    "verifier",
]
