"""Who generates: the configured upstream or the built-in simulator, and the alternatives that a fallback may turn to."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cache_service import config_upstreams
from cache_service.bootstrap.background import in_background
from cache_service.config import PRIMARY, Settings
from cache_service.config_upstreams import Figures
from cache_service.instrumentation.events import Hook
from cache_service.providers import Alternative, Provider, Providers
from cache_service.upstream.base import Upstream
from cache_service.upstream.batch_api import OpenAIBatchApi
from cache_service.upstream.building import Opened, ProviderConfig, open_caller, pool_configs
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.cost import Catalog
from cache_service.upstream.discovery import Discovery
from cache_service.upstream.offers import Offers

if TYPE_CHECKING:  # its module needs what may not be installed
    from cache_service.instrumentation.tracing import Tracing

log = logging.getLogger(__name__)
OPENAI = "https://api.openai.com/v1"
SIMULATOR = "simulator"


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The providers, the primary's Batch API, and what they were opened with: their keys can be exchanged."""

    providers: Providers
    batch_api: OpenAIBatchApi
    callers: Mapping[str, UpstreamCaller]
    offers: Offers

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Checks the keys and pools of these settings, and gives what takes them. Raises ConfigurationError."""
        pools = {name: pool_configs(config, self.offers) for name, config in _configs(settings).items()}
        for name, found in pools.items():
            self.callers[name].check(found)

        def take() -> None:
            for name, found in pools.items():
                self.callers[name].exchange_keys(found)
            self.batch_api.exchange_keys([key for pool in pools[PRIMARY] for key in pool.keys])

        return take


async def open_providers(
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    catalog: Catalog,
    offers: Offers,
    hook: Hook,
    tracing: Tracing | None = None,
) -> Upstreams:
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

    def traced(upstream: Upstream, base_url: str, name: str) -> Upstream:
        return upstream if tracing is None else tracing.traced(upstream, base_url, name)

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
    in_background(stack, discovery.run())
    keys = [key for pool in primary.pools for key in pool.keys]
    batch_api = OpenAIBatchApi(
        config.base_url,
        keys,
        max_line_bytes=settings.upstream_max_answer_bytes,
        headers={name: value.get_secret_value() for name, value in config.headers.items()},
    )
    stack.push_async_callback(batch_api.aclose)
    callers = {PRIMARY: primary.caller}
    callers |= {one.name: opened(alternative_config(one)).caller for one in settings.upstream_alternatives}
    alternatives = [
        Alternative(
            Provider(one.name, traced(callers[one.name], one.base_url, one.name)),
            models=one.models,
            drop=frozenset(one.drop),
            operations=frozenset(one.operations),
        )
        for one in settings.upstream_alternatives
    ]
    first = Provider(name, traced(primary.caller, config.base_url, name), settings.upstream_models)
    return Upstreams(Providers(first, alternatives), batch_api, callers, offers)


def _configs(settings: Settings) -> dict[str, ProviderConfig]:
    """Every provider by the name that is unique in the settings."""
    others = {one.name: alternative_config(one) for one in settings.upstream_alternatives}
    return {PRIMARY: primary_config(settings), **others}


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


def alternative_config(one: config_upstreams.Alternative) -> ProviderConfig:
    """The provider that an alternative of the settings describes."""
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
