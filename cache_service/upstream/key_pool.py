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
one pool, whatever the configuration says: on first sight their pools become one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cache_service.errors import ConfigurationError
from cache_service.upstream.base import Cost, PoolUse
from cache_service.upstream.concurrency import Slots
from cache_service.upstream.limit_headers import Owner, Told
from cache_service.upstream.meter import DIMENSIONS
from cache_service.upstream.rate_limit import (
    Admit,
    Limits,
    Never,
    RateLimit,
    Reservation,
    Verdict,
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
UNKNOWN = Limits()
MODELS_REMEMBERED = 64
"""Models of one pool of which something is known. Names come from clients, so there is a bound; the oldest is forgotten."""


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

    limits: the most that is used, whatever the upstream allows. assumed: of each model until the upstream tells its own.
    """

    name: str
    keys: tuple[NamedKey, ...]
    limits: Limits = field(default_factory=Limits)
    max_in_flight: int = 64
    assumed: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.keys:
            raise ConfigurationError(f"the limit pool {self.name!r} has no API key")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks of the pools. `excluded`: names of pools that it can't use any more."""

    cost: Cost
    model: str | None = None
    excluded: frozenset[str] = frozenset()


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


@dataclass(slots=True)
class _Model:
    """What one pool learnt about one model: limits from refusals and headers, and whether it may be used at all."""

    rate: RateLimit = field(default_factory=RateLimit)
    out_until: float = -math.inf


@dataclass(slots=True)
class _Pool:
    config: PoolConfig
    rate: RateLimit
    slots: Slots
    keys: list[_Key]
    out: _Out | None = None
    models: OrderedDict[str | None, _Model] = field(default_factory=OrderedDict)
    merged_into: _Pool | None = None

    @property
    def current(self) -> _Pool:
        """The pool itself, or the one that it became a part of."""
        return self if self.merged_into is None else self.merged_into.current

    def limiters(self, model: str | None) -> list[RateLimit]:
        known = self.models.get(model) if self.config.assumed == UNKNOWN else self.model(model)
        return [self.rate] if known is None else [self.rate, known.rate]

    def model(self, name: str | None) -> _Model:
        if name not in self.models:
            while len(self.models) >= MODELS_REMEMBERED:
                self.models.popitem(last=False)
            self.models[name] = _Model(RateLimit(self.config.assumed))
        return self.models[name]


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A call that may be made: with this key of this pool, its capacity being reserved."""

    pool: _Pool
    key: _Key
    wanted: Wanted
    at: float
    reservations: tuple[Reservation, ...]

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

Choice: TypeAlias = Ticket | Later | Never | AllOut


class KeyPools:
    """The state of all pools. Nothing here waits, and nothing is awaited between the decision and the reservation."""

    def __init__(self, pools: Sequence[PoolConfig]) -> None:
        names = [pool.name for pool in pools]
        if not names or len(set(names)) < len(names):
            raise ConfigurationError("the upstream needs at least one limit pool, and every pool a name of its own")
        self._pools = [
            _Pool(config, RateLimit(config.limits), Slots(config.max_in_flight), [_Key(key) for key in config.keys])
            for config in pools
        ]
        self._taken = 0

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
        pool.slots.release()
        pool.slots.answered(ticket.at)
        pool.out = ticket.key.out = None
        model = pool.models.get(ticket.wanted.model)
        if model is not None:
            model.out_until = -math.inf
        for reservation in ticket.reservations:
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
        pool.slots.release()
        self._refund(ticket, fault, now)
        match fault.kind:
            case FaultKind.RATE_LIMIT:
                _refused(pool, ticket, fault, wait, now)
            case FaultKind.TOO_LARGE:
                pool.model(model).rate.observe_refusal(fault.refusal, wait, now)
            case FaultKind.SLOW_DOWN:
                pool.model(model).rate.hold(now + wait)
                for limiter in pool.limiters(model):
                    limiter.slow_down(ticket.at, now)
            case FaultKind.OVERLOADED | FaultKind.TIMEOUT:
                pause = pool.slots.lost(ticket.at, now)
                if pause:
                    pool.model(model).rate.hold(now + pause)
                key.fail(now)
            case FaultKind.NOT_SENT | FaultKind.BROKEN | FaultKind.CUT:
                key.fail(now)
            case FaultKind.QUOTA:
                pool.out = _Out(fault, now + PROBE_EVERY)
            case FaultKind.KEY:
                key.out = _Out(fault, now + PROBE_EVERY)
            case FaultKind.MODEL:
                pool.model(model).out_until = now + PROBE_EVERY
            case _:
                pass
        if fault.kind is not FaultKind.KEY:
            self._find_owner(ticket, told, now)

    def abandon(self, ticket: Ticket, now: float, *, sent: bool) -> None:
        """Nobody waits for the call any more. If it was sent it may have been paid, so its reservation stays."""
        ticket.pool.current.slots.release()
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
            limiters.append(pool.rate)
            starts.append(verdict.until if isinstance(verdict, Later) and verdict.sure else now)
        if not starts:
            return now
        return min(starts) + drain_seconds(limiters, ahead, wanted.cost)

    def use(self, now: float) -> list[PoolUse]:
        """The pools as they stand."""
        return [_use(pool, now) for pool in self._pools]

    def _usable(self, wanted: Wanted, now: float) -> Iterable[_Pool]:
        allowed = [pool for pool in self._pools if pool.config.name not in wanted.excluded]
        known = [pool for pool in allowed if not _model_out(pool, wanted.model, now)]
        return known or allowed

    def _verdict(self, pool: _Pool, wanted: Wanted, now: float) -> Admit | Later | Never:
        own, *learnt = [limiter.decide(wanted.cost, now) for limiter in pool.limiters(wanted.model)]
        for verdict in (own, *learnt):
            if isinstance(verdict, Never):
                return verdict
        until = max(_until(verdict, now) for verdict in (own, *learnt))
        shared = frozenset({pool.config.name}) if isinstance(own, Wait) or not pool.slots.free else frozenset()
        if until > now:
            return Later(until, sure=True, pools=shared)
        return Admit() if pool.slots.free else Later(math.inf, sure=False, pools=shared)

    def _reserve(self, pool: _Pool, key: _Key, wanted: Wanted, now: float) -> Ticket:
        self._taken += 1
        key.taken = self._taken
        for out in (pool.out, key.out):
            if out is not None:
                out.probe_at = now + PROBE_EVERY
        model = pool.models.get(wanted.model)
        if model is not None and model.out_until > -math.inf:
            model.out_until = now + PROBE_EVERY
        pool.slots.take()
        reservations = tuple(limiter.reserve(wanted.cost, now) for limiter in pool.limiters(wanted.model))
        return Ticket(pool, key, wanted, now, reservations)

    def _learn(self, ticket: Ticket, told: Told, actual: Cost, now: float) -> None:
        """What an answer's headers tell: whose the key is, its limits, and what others have taken of them."""
        self._find_owner(ticket, told, now)
        if not told.limits:
            return
        pool = ticket.pool.current
        pool.model(ticket.wanted.model).rate.observe_headers(told.limits, ticket.at, now)
        for limiter, reservation in zip(pool.limiters(ticket.wanted.model), ticket.reservations, strict=False):
            for state in told.limits:
                if state.bucket:
                    limiter.observe_sample(reservation, state, actual, now)

    def _find_owner(self, ticket: Ticket, told: Told, now: float) -> None:
        """Merges the key's pool with another that draws from the same organisation and project."""
        if told.owner is None or told.owner == ticket.key.owner:
            return
        ticket.key.owner = told.owner
        pool = ticket.pool.current
        for other in self._pools:
            if other is not pool and any(key.owner == told.owner for key in other.keys):
                first, second = sorted((pool, other), key=self._pools.index)
                _merge(first, second, now)
                self._pools.remove(second)
                return

    def _refund(self, ticket: Ticket, fault: Fault, now: float) -> None:
        """Gives back what a failed call can't have used."""
        if fault.kind is FaultKind.NOT_SENT:
            self._settle(ticket, Cost(requests=0), now)
        elif fault.status is not None and 400 <= fault.status < 500:
            for reservation in ticket.reservations:
                refund_refusal(reservation, now)

    def _settle(self, ticket: Ticket, actual: Cost, now: float) -> None:
        for reservation in ticket.reservations:
            settle(reservation, actual, now)


def _refused(pool: _Pool, ticket: Ticket, fault: Fault, wait: float, now: float) -> None:
    """A refusal for the rate. One that nothing explains slows the pool down: the limit is another, or others use it too."""
    text, learnt = fault.refusal, pool.model(ticket.wanted.model).rate
    news = learnt.observe_refusal(text, wait, now)
    dimension = None if text is None else dimension_of(text)
    own = None if dimension is None else pool.rate.meters.get(dimension)
    if news and not (own is not None and text is not None and text.limit is not None and own.limit <= text.limit):
        return
    for limiter in pool.limiters(ticket.wanted.model) if dimension is None else [learnt]:
        limiter.refused(dimension, ticket.at, now)


def _merge(pool: _Pool, other: _Pool, now: float) -> None:
    """The other pool's keys, calls and counts become this one's; the smaller limits hold."""
    pool.rate.absorb(other.rate, now)
    for name, model in other.models.items():
        mine = pool.models.get(name)
        if mine is None:
            pool.models[name] = model
        else:
            mine.rate.absorb(model.rate, now)
            mine.out_until = max(mine.out_until, model.out_until)
    pool.slots.absorb(other.slots)
    pool.keys += other.keys
    pool.out = pool.out or other.out
    other.merged_into = pool


def _slowed(pool: _Pool, now: float) -> float:
    """The least factor that paces any of the pool's models."""
    limiters = [pool.rate, *(model.rate for model in pool.models.values())]
    return min(
        limiter.pace(now) * min((meter.factor for meter in limiter.meters.values()), default=1.0)
        for limiter in limiters
    )


def _until(verdict: Verdict, now: float) -> float:
    return verdict.until if isinstance(verdict, Wait) else now


def _model_out(pool: _Pool, model: str | None, now: float) -> bool:
    known = pool.models.get(model)
    return known is not None and known.out_until > now


def _all_out(pool: _Pool) -> AllOut:
    """Why a pool can't be used: its quota, else the key that is probed next."""
    outs = [pool.out] if pool.out is not None else [key.out for key in pool.keys if key.out is not None]
    first = min(outs, key=lambda out: out.probe_at)
    return AllOut(first.fault, first.probe_at)


def _use(pool: _Pool, now: float) -> PoolUse:
    out = [key for key in pool.keys if key.out is not None]
    details = [f"out: {pool.out.fault.code or pool.out.fault.kind}"] if pool.out is not None else []
    details += [f"{key.named.name} out: {key.out.fault.code or key.out.fault.kind}" for key in out if key.out]
    details += [f"slowed to {slowed:.0%}"] if (slowed := _slowed(pool, now)) < 1 else []
    return PoolUse(
        name=pool.config.name,
        keys=tuple(key.named.name for key in pool.keys),
        limits={
            dimension: pool.rate.meters[dimension].limit if dimension in pool.rate.meters else None
            for dimension in DIMENSIONS
        },
        used=pool.rate.used(now),
        in_flight=pool.slots.in_flight,
        healthy=pool.out is None and len(out) < len(pool.keys),
        detail="; ".join(details),
    )
