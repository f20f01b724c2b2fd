"""How a simulator behaves: frozen values, with presets for the upstream's usage tiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cache_service.simulator.batch_job import Pace
from cache_service.simulator.catalog import load_catalog
from cache_service.simulator.faults import Fault
from cache_service.simulator.latency import Setting
from cache_service.simulator.limits import Dimension, Level, Limit, LimitPool
from cache_service.simulator.meters import Mode

ORGANIZATION = "org-simulator"
PROJECT = "proj_simulator"

PLENTY = 1_000_000
"""A minute, of everything: no limit that anybody meets."""


@dataclass(frozen=True, slots=True)
class Account:
    """An API key and whose it is; several keys may belong to one project."""

    key: str
    organization: str = ORGANIZATION
    project: str = PROJECT
    revoked: bool = False

    @property
    def owners(self) -> dict[Level, str]:
        """The owners of the limit pools that the key draws from."""
        return {"organization": self.organization, "project": self.project}


def _generous() -> tuple[LimitPool, ...]:
    limits = {
        Dimension.REQUESTS: Limit(PLENTY),
        Dimension.IMAGES: Limit(PLENTY),
        Dimension.TOKENS: Limit(PLENTY * 1000),
    }
    return (LimitPool(ORGANIZATION, limits),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Everything that can be set.

    accounts: the keys that are accepted; without any, every key and none. pools: the limits. image_rate_headers: whether
    image answers tell their limits (the real ones often don't). latency: "real" or seconds. strict: unknown models and
    dead or odd parameters are refused as the upstream does, not ignored. shutdown_dates: "YYYY-MM-DD" by model, kept also
    when not strict. admin_key: of administration's routes; any is accepted where none is set. seed: of all random draws.
    max_body_bytes: a larger request is refused with 413. batch_pace: of the Batch API.
    """

    accounts: tuple[Account, ...] = ()
    pools: tuple[LimitPool, ...] = field(default_factory=_generous)
    image_rate_headers: bool = True
    faults: tuple[Fault, ...] = ()
    latency: Setting = "real"
    strict: bool = False
    shutdown_dates: Mapping[str, str] = field(default_factory=dict)
    admin_key: str = ""
    seed: int = 0
    max_body_bytes: int = 32 * 2**20
    batch_pace: Pace = field(default_factory=Pace)


def tier(number: int, *, organization: str = ORGANIZATION, mode: Mode = Mode.BUCKET) -> tuple[LimitPool, ...]:
    """The limit pools of an organisation in usage tier 1 to 5: tokens and images a minute of the gpt-image family."""
    limits = load_catalog().tiers[number]
    return (
        LimitPool(
            organization,
            {Dimension.TOKENS: Limit(limits.tokens, mode), Dimension.IMAGES: Limit(limits.images, mode)},
            models=("gpt-image-*", "chatgpt-image-*"),
            family="gpt-image",
        ),
    )
