"""API keys in their limit pools: which key a call takes, and what its outcome means for the next one. Pure.

Limits belong to an organisation's or project's pool, never to a key, so capacity is asked of pools. Of all that can be used,
the pool that admits the call first is taken; among those that admit it now, a due probe goes first, then the key with fewer
failures of late, then the one that rested longest. As long as any pool has capacity, nobody waits.

What is out, and until when:

    key            401                                  a probe every 5 minutes
    pool           quota or credit used up              a probe every 5 minutes
    pool × model   403, 404 model_not_found             another pool is preferred; asked again if there is none
    pool × model   a refusal for its rate               as long as the upstream said

A probe is one ordinary call: if it fails, it goes on elsewhere. Keys whose answers name the same organisation and project draw from
one pool, whatever the configuration says: on first sight their pools become one. A call draws from its pool's whole path, the project
and its organisation, from all or from none; pools whose answers name the same organisation share that level of the path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cache_service.errors import ConfigurationError
from cache_service.upstream.base import Cost, PoolUse
from cache_service.upstream.concurrency import LONGEST_PAUSE, Slots
from cache_service.upstream.levels import MODELS_REMEMBERED, NO_FAMILIES, UNKNOWN, Families, Level, tighter
from cache_service.upstream.limit_headers import LimitState, Owner, Told
from cache_service.upstream.meter import DIMENSIONS
from cache_service.upstream.rate_limit import (
    Admit,
    Limits,
    Never,
    RateLimit,
    Reservation,
    Wait,
    dimension_of,
    drain_seconds,
    refund_refusal,
    settle,
)
from cache_service.upstream.retry import Fault, FaultKind

PROBE_EVERY = 300.0
"""Seconds between two tries of a key or pool that is out."""
FAILURE_HALF_LIFE = 120.0
"""Seconds after which a failure counts half."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """An API key and the name it is spoken of by. `secret` None: called without authorisation."""

    name: str
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.secret is not None and not (
            self.secret.isascii() and self.secret.isprintable() and self.secret.strip()
        ):
            raise ConfigurationError(f"the upstream's API key {self.name!r} isn't printable ASCII")


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """One limit pool and the keys that share it.

    limits: the most that is used, whatever the upstream allows. assumed: of each model until the upstream tells its own;
    families: the same of models that share their limits.
    organization: name of the configured organisation whose limits the pool shares with others. project: the upstream's id of it.
    """

    name: str
    keys: tuple[NamedKey, ...]
    limits: Limits = UNKNOWN
    max_in_flight: int = 64
    assumed: Limits = UNKNOWN
    families: Families = NO_FAMILIES
    organization: str | None = None
    project: str | None = None

    def __post_init__(self) -> None:
        if not self.keys:
            raise ConfigurationError(f"the limit pool {self.name!r} has no API key")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks of the pools. `excluded`: names of pools that it can't use any more. `impatient`: it doesn't wait for a spell's end."""

    cost: Cost
    model: str | None = None
    excluded: frozenset[str] = frozenset()
    impatient: bool = False


@dataclass(slots=True)
class _Out:
    """Something that can't be used until it is probed, and what the upstream said."""

    fault: Fault
    probe_at: float


@dataclass(slots=True)
class _Key:
    named: NamedKey
    out: _Out | None = None
    failures: float = 0.0
    failed_at: float = 0.0
    owner: Owner | None = None
    taken: int = 0  # number of the last call that took it

    def failures_now(self, now: float) -> float:
        return self.failures * 0.5 ** ((now - self.failed_at) / FAILURE_HALF_LIFE) if self.failures else 0.0

    def fail(self, now: float) -> None:
        self.failures, self.failed_at = self.failures_now(now) + 1.0, now


@dataclass(slots=True, eq=False)
class _Pool:
    """own: the project's limits. organization: those that it shares, once they are known. models_out: until when a model isn't asked for.

    lost: how the last call was lost.
    """

    config: PoolConfig
    own: Level
    slots: Slots
    keys: list[_Key]
    organization: Level | None = None
    out: _Out | None = None
    models_out: dict[str | None, float] = field(default_factory=dict)
    lost: Fault | None = None
    merged_into: _Pool | None = None

    @property
    def current(self) -> _Pool:
        """The pool itself, or the one that it became a part of."""
        return self if self.merged_into is None else self.merged_into.current

    @property
    def spell(self) -> Fault | None:
        """How calls are lost one after the other just now; None while they aren't."""
        return self.lost if self.slots.in_spell else None

    @property
    def path(self) -> tuple[Level, ...]:
        """The levels that a call draws from."""
        return (self.own,) if self.organization is None else (self.own, self.organization)

    def limiters(self, model: str | None) -> list[RateLimit]:
        """What a call of that model must pass."""
        found = self.own.limiters(model)
        return found if self.organization is None else found + self.organization.limiters(model)

    def level(self, told: str) -> Level:
        """Whose limits are meant: of the organisation or the project."""
        return self.organization if told == "organization" and self.organization is not None else self.own

    def calls_per_second(self) -> float | None:
        """What the path's limits a minute allow."""
        rates = [rate for level in self.path if (rate := level.calls_per_second())]
        return min(rates, default=None)


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A call that may be made: with this key of this pool, its capacity being reserved."""

    pool: _Pool
    key: _Key
    wanted: Wanted
    at: float
    number: int
    reservations: tuple[tuple[RateLimit, Reservation], ...]

    @property
    def named_key(self) -> NamedKey:
        """The key to call with."""
        return self.key.named

    @property
    def pool_name(self) -> str:
        """The pool it belongs to."""
        return self.pool.current.config.name


@dataclass(frozen=True, slots=True)
class Later:
    """Not before `until`; infinity where only the end of another call can tell.

    sure: no end of another call makes it earlier. pools: where the call waits for what all calls of the pool share.
    """

    until: float
    sure: bool
    pools: frozenset[str]


@dataclass(frozen=True, slots=True)
class AllOut:
    """Every key that the call might use is out; `fault` is what the upstream said of one, `until` the next probe."""

    fault: Fault
    until: float


NOTHING_TOLD = Told()
NO_POOLS: frozenset[str] = frozenset()

Choice: TypeAlias = Ticket | Later | Never | AllOut


class KeyPools:
    """The state of all pools. Nothing here waits, and nothing is awaited between the decision and the reservation."""

    def __init__(self, pools: Sequence[PoolConfig], organizations: Mapping[str, Limits] | None = None) -> None:
        self._named = {name: Level(limits) for name, limits in (organizations or {}).items()}
        self._organizations: dict[str, Level] = {}  # by the upstream's id
        self._taken = 0
        self.check(pools)
        self._configured = {config.name: self._opened(config) for config in pools}
        self._pools = list(self._configured.values())

    def check(self, pools: Sequence[PoolConfig]) -> None:
        """Raises ConfigurationError where these can't be the pools."""
        names = [pool.name for pool in pools]
        if not names or len(set(names)) < len(names):
            raise ConfigurationError("the upstream needs at least one limit pool, and every pool a name of its own")
        for config in pools:
            if config.organization is not None and config.organization not in self._named:
                raise ConfigurationError(
                    f"the limit pool {config.name!r} names an unknown organization {config.organization!r}"
                )

    def exchange_keys(self, pools: Sequence[PoolConfig]) -> None:
        """Goes on with other keys and pools. A pool that stays (by its name) keeps its limits and counts, a key (by its secret) its state.

        Calls in flight whose key or pool is gone end as they would have. Raises ConfigurationError, and has changed nothing.
        """
        self.check(pools)
        known = {key.named.secret: key for pool in self._pools for key in pool.keys}
        configured: dict[str, _Pool] = {}
        keys: dict[_Pool, list[_Key]] = {}
        for config in pools:
            pool = self._staying(config, known) or self._opened(config)
            configured[config.name] = pool
            if pool.current not in keys:
                pool.current.config = config
            held = keys.setdefault(pool.current, [])
            for named in config.keys:
                key = known.get(named.secret) or _Key(named)
                key.named = named
                held.append(key)
        for pool, held in keys.items():
            pool.keys = held
        self._configured, self._pools = configured, list(keys)

    def take(self, wanted: Wanted, now: float, held: frozenset[str] = frozenset()) -> Choice:
        """Chooses a key and reserves its pool's capacity, or says why not. `held`: pools that wait for an older call."""
        ready: list[tuple[bool, float, int, _Pool, _Key]] = []
        waits: list[Later] = []
        outs: list[AllOut] = []
        nevers: list[Never] = []
        for pool in self._usable(wanted, now):
            keys = [key for key in pool.keys if key.out is None or key.out.probe_at <= now]
            if not keys or (pool.out is not None and pool.out.probe_at > now):
                outs.append(_all_out(pool))
                continue
            verdict = self._verdict(pool, wanted, now)
            if isinstance(verdict, Never):
                nevers.append(verdict)
            elif isinstance(verdict, Later) and wanted.impatient and pool.spell is not None:
                outs.append(AllOut(pool.spell, min(verdict.until, now + LONGEST_PAUSE)))
            elif isinstance(verdict, Later):
                waits.append(verdict)
            elif pool.config.name in held:
                waits.append(Later(math.inf, sure=False, pools=frozenset()))
            else:
                ready += [
                    (pool.out is None and key.out is None, key.failures_now(now), key.taken, pool, key) for key in keys
                ]
        if ready:
            *_, pool, key = min(ready, key=lambda option: option[:3])
            return self._reserve(pool, key, wanted, now)
        if waits:
            return Later(
                until=min(wait.until for wait in waits),
                sure=all(wait.sure for wait in waits),
                pools=frozenset().union(*(wait.pools for wait in waits)),
            )
        if outs:
            return min(outs, key=lambda out: out.until)
        return nevers[0] if nevers else Never("no limit pool can be used for this call")

    def finish(self, ticket: Ticket, now: float, *, tokens: int | None = None, told: Told = NOTHING_TOLD) -> None:
        """The call went well. `tokens`: what it used by the upstream's count, None if that isn't known."""
        pool = ticket.pool.current
        pool.slots.release(ticket.number, now, answered=True)
        pool.slots.answered(ticket.at)
        pool.out = ticket.key.out = None
        pool.models_out.pop(ticket.wanted.model, None)
        for _, reservation in ticket.reservations:
            for charge in reservation:
                charge.meter.admitted()
        cost = ticket.wanted.cost
        if tokens is not None:
            cost = Cost(requests=cost.requests, images=cost.images, tokens=tokens)
            self._settle(ticket, cost, now)
        self._learn(ticket, told, cost, now)

    def fail(self, ticket: Ticket, fault: Fault, now: float, *, wait: float = 0.0, told: Told = NOTHING_TOLD) -> None:
        """The call failed. `wait`: seconds that the pool takes no call of this model, after a refusal for its rate."""
        pool, key, model = ticket.pool.current, ticket.key, ticket.wanted.model
        pool.slots.release(ticket.number, now)
        self._refund(ticket, fault, now)
        if fault.kind is not FaultKind.KEY:
            self._find_owner(ticket, told, now)
            pool = pool.current
        match fault.kind:
            case FaultKind.RATE_LIMIT:
                _refused(pool, ticket, fault, wait, now)
            case FaultKind.TOO_LARGE:
                _named_level(pool, fault).learnt(model).observe_refusal(fault.refusal, wait, now)
            case FaultKind.SLOW_DOWN:
                pool.own.learnt(model).hold(now + wait)
                for limiter in pool.limiters(model):
                    limiter.slow_down(ticket.at, now)
            case FaultKind.OVERLOADED | FaultKind.TIMEOUT | FaultKind.NOT_SENT | FaultKind.BROKEN | FaultKind.CUT:
                pool.lost = fault
                pause = pool.slots.lost(ticket.at, now)
                if pause:
                    pool.own.learnt(model).hold(now + pause)
                key.fail(now)
            case FaultKind.QUOTA:
                pool.out = _Out(fault, now + PROBE_EVERY)
            case FaultKind.KEY:
                key.out = _Out(fault, now + PROBE_EVERY)
            case FaultKind.MODEL:
                while len(pool.models_out) >= MODELS_REMEMBERED:
                    pool.models_out.pop(next(iter(pool.models_out)))
                pool.models_out[model] = now + PROBE_EVERY
            case _:
                pass

    def abandon(self, ticket: Ticket, now: float, *, sent: bool) -> None:
        """Nobody waits for the call any more. If it was sent it may have been paid, so its reservation stays."""
        ticket.pool.current.slots.release(ticket.number, now)
        if not sent:
            self._settle(ticket, Cost(requests=0), now)

    def earliest(self, wanted: Wanted, ahead: Cost, now: float) -> float:
        """A lower bound of the time at which the call can go if all that is `ahead` goes first."""
        starts: list[float] = []
        limiters: list[RateLimit] = []
        for pool in self._usable(wanted, now):
            verdict = self._verdict(pool, wanted, now)
            if isinstance(verdict, Never):
                continue
            limiters.append(pool.own.rate)
            starts.append(verdict.until if isinstance(verdict, Later) and verdict.sure else now)
        if not starts:
            return now
        return min(starts) + drain_seconds(limiters, ahead, wanted.cost)

    def spell(self, wanted: Wanted, now: float) -> Fault | None:
        """How calls are lost in every pool that the call might use; None where one of them is well."""
        spells = [pool.spell for pool in self._usable(wanted, now)]
        return spells[0] if spells and all(spells) else None

    def projects(self) -> set[str]:
        """The upstream's ids of all projects that are known."""
        told = {key.owner[1] for pool in self._pools for key in pool.keys if key.owner is not None}
        return (told | {pool.config.project or "" for pool in self._pools}) - {""}

    def tell_limits(self, project: str, limits: Mapping[str, Limits], now: float) -> None:
        """The upstream listed a project's limits by model."""
        for pool in self._pools:
            if pool.config.project == project or any(key.owner and key.owner[1] == project for key in pool.keys):
                pool.own.tell(limits, now)

    def use(self, now: float) -> list[PoolUse]:
        """The pools as they stand."""
        return [_use(pool, now) for pool in self._pools]

    def _staying(self, config: PoolConfig, known: Mapping[str | None, _Key]) -> _Pool | None:
        """The pool of that name. One that became part of another is its own again once none of its keys is left."""
        pool = self._configured.get(config.name)
        if pool is None or pool.merged_into is None or any(key.secret in known for key in config.keys):
            return pool
        return None

    def _opened(self, config: PoolConfig) -> _Pool:
        return _Pool(
            config,
            Level(config.limits, config.assumed, config.families),
            Slots(config.max_in_flight),
            [_Key(key) for key in config.keys],
            self._named.get(config.organization or ""),
        )

    def _usable(self, wanted: Wanted, now: float) -> Iterable[_Pool]:
        allowed = [pool for pool in self._pools if pool.config.name not in wanted.excluded]
        known = [pool for pool in allowed if not _model_out(pool, wanted.model, now)]
        return known or allowed

    def _verdict(self, pool: _Pool, wanted: Wanted, now: float) -> Admit | Later | Never:
        until, shared = now, False
        for limiter in pool.limiters(wanted.model):
            verdict = limiter.decide(wanted.cost, now)
            if isinstance(verdict, Never):
                return verdict
            if isinstance(verdict, Wait):
                until = max(until, verdict.until)
                shared |= limiter is pool.own.rate
        free_at = pool.slots.free_at(now, pool.calls_per_second)
        pools = frozenset({pool.config.name}) if shared or free_at > now else NO_POOLS
        if until > now:
            return Later(until, sure=True, pools=pools)
        return Admit() if free_at <= now else Later(free_at, sure=False, pools=pools)

    def _reserve(self, pool: _Pool, key: _Key, wanted: Wanted, now: float) -> Ticket:
        self._taken += 1
        key.taken = self._taken
        for out in (pool.out, key.out):
            if out is not None:
                out.probe_at = now + PROBE_EVERY
        if wanted.model in pool.models_out:
            pool.models_out[wanted.model] = now + PROBE_EVERY
        pool.slots.take(self._taken, now)
        reservations = tuple(
            (limiter, limiter.reserve(wanted.cost, now)) for limiter in pool.limiters(wanted.model) if limiter.meters
        )
        return Ticket(pool, key, wanted, now, self._taken, reservations)

    def _learn(self, ticket: Ticket, told: Told, actual: Cost, now: float) -> None:
        """What an answer's headers tell: whose the key is, its limits, and what others have taken of them."""
        self._find_owner(ticket, told, now)
        if not told.limits:
            return
        pool, model = ticket.pool.current, ticket.wanted.model
        for level in pool.path:
            states = [state for state in told.limits if pool.level(state.level) is level]
            if not states:
                continue
            learnt = level.learnt(model)
            if level is not pool.own:
                self._told_above(pool, model, states, learnt)
            learnt.observe_headers(states, ticket.at, now)
            for state in states:
                for limiter, reservation in ticket.reservations:
                    if limiter in (level.rate, learnt):
                        limiter.observe_sample(reservation, state, actual, now)

    def _told_above(self, pool: _Pool, model: str | None, states: Iterable[LimitState], learnt: RateLimit) -> None:
        """What was assumed of the project until the upstream tells its own, and was told of its organisation, counts there."""
        if pool.config.assumed == UNKNOWN and not pool.config.families.assumed:
            return
        assumed = pool.own.learnt(model)
        for state in states:
            assumed.hand_over(state.dimension, learnt)

    def _find_owner(self, ticket: Ticket, told: Told, now: float) -> None:
        """Merges the key's pool with another that draws from the same organisation and project, and joins organisations."""
        pool = ticket.pool.current
        if told.owner is None or told.owner == ticket.key.owner:
            return
        if pool not in self._pools or all(key is not ticket.key for key in pool.keys):
            return  # gone meanwhile
        ticket.key.owner = told.owner
        self._join_organization(pool, told.owner[0], now)
        for other in self._pools:
            if other is not pool and any(key.owner == told.owner for key in other.keys):
                first, second = sorted((pool, other), key=self._pools.index)
                _merge(first, second, now)
                self._pools.remove(second)
                return

    def _join_organization(self, pool: _Pool, identifier: str, now: float) -> None:
        """The organisation's limits are the pool's from now on, and those of all others that named it."""
        known = self._organizations.get(identifier)
        mine = pool.organization
        if known is None:
            while len(self._organizations) >= MODELS_REMEMBERED:
                self._organizations.pop(next(iter(self._organizations)))
            known = self._organizations[identifier] = mine or Level()
        if mine is not None and mine is not known:
            known.absorb(mine, now)
            for other in self._pools:
                if other.organization is mine:
                    other.organization = known
        pool.organization = known

    def _refund(self, ticket: Ticket, fault: Fault, now: float) -> None:
        """Gives back what a failed call can't have used."""
        if fault.kind is FaultKind.NOT_SENT:
            self._settle(ticket, Cost(requests=0), now)
        elif fault.status is not None and 400 <= fault.status < 500:
            for _, reservation in ticket.reservations:
                refund_refusal(reservation, now)

    def _settle(self, ticket: Ticket, actual: Cost, now: float) -> None:
        for _, reservation in ticket.reservations:
            settle(reservation, actual, now)


def _refused(pool: _Pool, ticket: Ticket, fault: Fault, wait: float, now: float) -> None:
    """A refusal for the rate. One that nothing explains slows the pool down: the limit is another, or others use it too."""
    text, model = fault.refusal, ticket.wanted.model
    level = _named_level(pool, fault)
    if text is not None and text.family:
        level.share(model, text.family, now)
    learnt = level.learnt(model)
    dimension = None if text is None else dimension_of(text)
    meters = [limiter.meters[dimension] for limiter in (learnt, level.rate) if dimension in limiter.meters]
    own_doing = False
    for meter in meters:
        own_doing |= text is not None and (meter.explains(text.used, now) or meter.crowded(text.used, now))
    news = learnt.observe_refusal(text, wait, now)
    if own_doing:
        return
    own = None if dimension is None else level.rate.meters.get(dimension)
    if news and not (own is not None and text is not None and text.limit is not None and own.limit <= text.limit):
        return
    for limiter in pool.limiters(model) if dimension is None else [learnt]:
        limiter.refused(dimension, ticket.at, now)


def _named_level(pool: _Pool, fault: Fault) -> Level:
    """Whose limit a refusal speaks of."""
    return pool.level("project" if fault.refusal is None else fault.refusal.level)


def _merge(pool: _Pool, other: _Pool, now: float) -> None:
    """The other pool's keys, calls and counts become this one's; the smaller limits hold."""
    pool.own.absorb(other.own, now)
    for model, until in other.models_out.items():
        pool.models_out[model] = max(until, pool.models_out.get(model, -math.inf))
    pool.slots.absorb(other.slots)
    pool.keys += other.keys
    pool.out = pool.out or other.out
    other.merged_into = pool


def _model_out(pool: _Pool, model: str | None, now: float) -> bool:
    return pool.models_out.get(model, -math.inf) > now


def _all_out(pool: _Pool) -> AllOut:
    """Why a pool can't be used: its quota, else the key that is probed next."""
    outs = [pool.out] if pool.out is not None else [key.out for key in pool.keys if key.out is not None]
    first = min(outs, key=lambda out: out.probe_at)
    return AllOut(first.fault, first.probe_at)


def _use(pool: _Pool, now: float) -> PoolUse:
    out = [key for key in pool.keys if key.out is not None]
    details = [f"out: {pool.out.fault.code or pool.out.fault.kind}"] if pool.out is not None else []
    details += [f"{key.named.name} out: {key.out.fault.code or key.out.fault.kind}" for key in out if key.out]
    slowed = min(level.slowed(now) for level in pool.path)
    details += [f"slowed to {slowed:.0%}"] if slowed < 1 else []
    details += [f"failing: {pool.spell.detail}"] if pool.spell is not None else []
    tightest = tighter(pool.path, now)
    return PoolUse(
        name=pool.config.name,
        keys=tuple(key.named.name for key in pool.keys),
        limits={dimension: tightest[dimension][0] if dimension in tightest else None for dimension in DIMENSIONS},
        used={dimension: used for dimension, (_, used) in tightest.items()},
        in_flight=pool.slots.in_flight,
        healthy=pool.out is None and len(out) < len(pool.keys),
        detail="; ".join(details),
        keys_out=tuple(key.named.name for key in (pool.keys if pool.out is not None else out)),
    )
