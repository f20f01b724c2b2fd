"""The command `simulate`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from cache_service.errors import ConfigurationError


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
