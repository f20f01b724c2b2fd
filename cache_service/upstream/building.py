"""From settings to callers: limits by profile and figure, pools, one caller for each provider.

A figure that is set counts; where none is, the profile's. What a profile says of all models together is held like a figure; what it
says of a family of models is assumed of them until the upstream tells its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from cache_service.config_upstreams import Figures, LimitPool, OrganizationLimits
from cache_service.errors import ConfigurationError
from cache_service.instrumentation.events import Hook
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.key_pool import NamedKey, PoolConfig
from cache_service.upstream.levels import Families
from cache_service.upstream.offers import Offers
from cache_service.upstream.openai import OpenAITransport
from cache_service.upstream.rate_limit import Limits

EVERYTHING = "*"
"""In a profile: all models together."""
NO_FIGURES = Figures()
USUAL_SLOTS = 64
"""Calls in flight in a pool of which nothing else is known."""


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One provider as it is configured. name: in front of its pools' and keys' names, "" for the primary.

    group: names who answers in every partition; by the base URL if None. figures, profile: of the keys that are in no pool.
    """

    name: str
    base_url: str
    api_keys: Sequence[SecretStr] = ()
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    pools: Sequence[LimitPool] = ()
    figures: Figures = NO_FIGURES
    profile: str | None = None
    max_in_flight: int | None = None
    attempt_timeout: float | None = None
    group: str | None = None
    organizations: Sequence[OrganizationLimits] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A provider that can be called, and what its caller stands on."""

    caller: UpstreamCaller
    transport: OpenAITransport
    pools: Sequence[PoolConfig]


def open_caller(
    config: ProviderConfig,
    offers: Offers,
    *,
    max_queued: int,
    max_attempts: int,
    max_answer_bytes: int,
    simulated: bool,
    hook: Hook,
) -> Opened:
    """A caller of that provider. Raises ConfigurationError."""
    pools = pool_configs(config, offers)
    headers = {name: value.get_secret_value() for name, value in config.headers.items()}
    transport = OpenAITransport(
        config.base_url,
        max_answer_bytes=max_answer_bytes,
        headers=headers,
    )
    caller = UpstreamCaller(
        transport,
        pools,
        group=config.group or group_of(config.base_url),
        simulated=simulated,
        max_queued=max_queued,
        max_attempts=max_attempts,
        attempt_timeout=config.attempt_timeout,
        organizations={known.name: _limits(known, {}) for known in config.organizations},
        secrets=tuple(headers.values()),
        hook=hook,
    )
    return Opened(caller, transport, pools)


def group_of(base_url: str) -> str:
    """The upstream group of a base URL."""
    return hashlib.sha256(base_url.lower().encode()).hexdigest()[:16]


def pool_configs(config: ProviderConfig, offers: Offers) -> list[PoolConfig]:
    """The limit pools: one of the keys that are set without a pool, and the configured ones; without any key, one without authorisation."""
    start = f"{config.name}/" if config.name else ""
    pools = []
    if config.api_keys or not config.pools:
        keys = _keys(start, config.api_keys) or (NamedKey(f"{start}none"),)
        pools.append(_pool(config.name or "default", keys, config.figures, config.profile, config, offers))
    for pool in config.pools:
        name = f"{start}{pool.name}"
        keys = _keys(f"{name}/", pool.api_keys)
        known = _pool(name, keys, pool, pool.profile or config.profile, config, offers, pool.max_in_flight)
        pools.append(replace(known, organization=pool.organization, project=pool.project))
    return pools


def _keys(start: str, secrets: Sequence[SecretStr]) -> tuple[NamedKey, ...]:
    return tuple(NamedKey(f"{start}key-{n}", secret.get_secret_value()) for n, secret in enumerate(secrets, 1))


def _pool(
    name: str,
    keys: tuple[NamedKey, ...],
    figures: Figures,
    profile: str | None,
    config: ProviderConfig,
    offers: Offers,
    max_in_flight: int | None = None,
) -> PoolConfig:
    said = _profile(profile, offers)
    everything = said.get(EVERYTHING, {})
    slots = max_in_flight or config.max_in_flight or int(everything.get("max_in_flight", USUAL_SLOTS))
    assumed = {family: _limits(NO_FIGURES, figure) for family, figure in said.items() if family != EVERYTHING}
    families = Families(assumed, {model: offered.limits for model, offered in offers.models.items()})
    return PoolConfig(name, keys, _limits(figures, everything), slots, families=families)


def _profile(name: str | None, offers: Offers) -> Mapping[str, Mapping[str, float]]:
    if name is None:
        return {}
    if name not in offers.profiles:
        raise ConfigurationError(f"unknown limit profile {name!r}; one of: {', '.join(offers.profiles)}")
    return offers.profiles[name]


def _limits(figures: Figures, profile: Mapping[str, float]) -> Limits:
    def figure(name: str) -> float | None:
        own: float | None = getattr(figures, name, None)
        return profile.get(name) if own is None else own

    return Limits(
        requests=figure("requests_per_minute"),
        images=figure("images_per_minute"),
        tokens=figure("tokens_per_minute"),
        requests_per_day=figure("requests_per_day"),
    )
