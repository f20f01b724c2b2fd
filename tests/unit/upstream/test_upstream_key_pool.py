"""Which key a call takes, and what its outcome means for the next one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cache_service.errors import ConfigurationError
from cache_service.upstream.base import Cost
from cache_service.upstream.key_pool import (
    MODELS_REMEMBERED,
    PROBE_EVERY,
    AllOut,
    KeyPools,
    Later,
    NamedKey,
    PoolConfig,
    Ticket,
    Wanted,
)
from cache_service.upstream.limit_headers import LimitState, Told
from cache_service.upstream.rate_limit import Limits, Never
from cache_service.upstream.retry import Fault, FaultKind
from cache_service.upstream.wording import RefusalText

UNLIMITED = Limits()
IMAGE = Wanted(Cost(1, 1, 0), "gpt-image-2")


def pool(name: str = "pool", keys: int = 1, limits: Limits = UNLIMITED, max_in_flight: int = 64) -> PoolConfig:
    named = tuple(NamedKey(f"{name}/key-{number}", f"secret-{number}") for number in range(1, keys + 1))
    return PoolConfig(name, named, limits, max_in_flight)


def taken(pools: KeyPools, wanted: Wanted = IMAGE, now: float = 0.0) -> Ticket:
    choice = pools.take(wanted, now)
    assert isinstance(choice, Ticket), choice
    return choice


def key_of(ticket: Ticket) -> str:
    return ticket.named_key.name


def fault(kind: FaultKind, status: int | None = None, **known: object) -> Fault:
    return Fault(kind, f"the upstream answered {status}", status, **known)  # type: ignore[arg-type]


def test_keys_of_one_pool_share_its_limit() -> None:
    """Two keys of one project buy nothing."""
    pools = KeyPools([pool(keys=2, limits=Limits(images=5))])
    taken(pools)
    assert isinstance(pools.take(IMAGE, 0.0), Later)


def test_nobody_waits_while_any_pool_has_capacity() -> None:
    pools = KeyPools([pool("a", limits=Limits(images=5)), pool("b", limits=Limits(images=50)), pool("c")])
    names = {taken(pools, now=0.0).pool_name for _ in range(3)}
    assert names == {"a", "b", "c"}
    assert taken(pools, now=0.0).pool_name == "c"


def test_a_wait_is_that_of_the_pool_that_admits_first() -> None:
    pools = KeyPools([pool("a", limits=Limits(images=5)), pool("b", limits=Limits(images=50))])
    taken(pools)
    taken(pools)
    choice = pools.take(IMAGE, 0.0)
    assert isinstance(choice, Later)
    assert choice.sure
    assert 0.9 < choice.until <= 1.205


def test_keys_take_turns_and_those_with_failures_come_last() -> None:
    pools = KeyPools([pool(keys=3)])
    assert [key_of(taken(pools)) for _ in range(4)] == ["pool/key-1", "pool/key-2", "pool/key-3", "pool/key-1"]
    pools.fail(taken(pools), fault(FaultKind.OVERLOADED, 503), 0.0)
    assert {key_of(taken(pools)) for _ in range(6)} == {"pool/key-1", "pool/key-3"}


def test_a_failure_is_forgotten_by_and_by() -> None:
    pools = KeyPools([pool(keys=2)])
    pools.fail(taken(pools), fault(FaultKind.BROKEN), 0.0)
    pools.fail(taken(pools), fault(FaultKind.BROKEN), 600.0)
    assert key_of(taken(pools, now=601.0)) == "pool/key-1"


def test_a_revoked_key_is_out_and_the_others_carry_on() -> None:
    pools = KeyPools([pool(keys=5)])
    pools.fail(taken(pools), fault(FaultKind.KEY, 401), 0.0)
    assert {key_of(taken(pools, now=1.0)) for _ in range(20)} == {f"pool/key-{n}" for n in (2, 3, 4, 5)}
    (use,) = pools.use(1.0)
    assert use.healthy
    assert "pool/key-1 out" in use.detail


def test_a_key_that_is_out_is_tried_once_every_five_minutes() -> None:
    pools = KeyPools([pool(keys=2)])
    pools.fail(taken(pools), fault(FaultKind.KEY, 401), 0.0)
    probes = []
    for second in range(1, 1_201):
        ticket = taken(pools, now=float(second))
        if key_of(ticket) == "pool/key-1":
            probes.append(second)
            pools.fail(ticket, fault(FaultKind.KEY, 401), float(second))
        else:
            pools.finish(ticket, float(second))
    assert probes == [300, 600, 900, 1_200]


def test_a_key_that_answers_again_is_back() -> None:
    pools = KeyPools([pool(keys=1)])
    pools.fail(taken(pools), fault(FaultKind.KEY, 401), 0.0)
    assert isinstance(pools.take(IMAGE, 10.0), AllOut)
    pools.finish(taken(pools, now=PROBE_EVERY), PROBE_EVERY + 1)
    assert key_of(taken(pools, now=PROBE_EVERY + 2)) == "pool/key-1"


def test_when_every_key_is_out_the_last_word_of_the_upstream_is_known() -> None:
    pools = KeyPools([pool("a"), pool("b")])
    pools.fail(taken(pools), fault(FaultKind.QUOTA, 429, code="insufficient_quota"), 0.0)
    pools.fail(taken(pools), fault(FaultKind.KEY, 401), 50.0)
    choice = pools.take(IMAGE, 100.0)
    assert isinstance(choice, AllOut)
    assert (choice.fault.code, choice.until) == ("insufficient_quota", PROBE_EVERY)
    assert [use.healthy for use in pools.use(100.0)] == [False, False]


def test_a_pool_out_of_quota_is_probed_with_one_call() -> None:
    pools = KeyPools([pool("a"), pool("b")])
    pools.fail(taken(pools), fault(FaultKind.QUOTA, 429), 0.0)
    names = [taken(pools, now=PROBE_EVERY + second).pool_name for second in range(10)]
    assert names == ["a"] + ["b"] * 9


def test_a_model_that_a_pool_may_not_use_goes_to_another_pool() -> None:
    pools = KeyPools([pool("a"), pool("b")])
    pools.fail(taken(pools), fault(FaultKind.MODEL, 404), 0.0)
    assert {taken(pools, now=1.0).pool_name for _ in range(5)} == {"b"}
    assert {taken(pools, Wanted(Cost(), "other"), 1.0).pool_name for _ in range(5)} == {"a", "b"}


def test_a_model_that_no_pool_may_use_is_asked_for_all_the_same() -> None:
    """The upstream's own words are better than ours, and may have changed."""
    pools = KeyPools([pool("a")])
    pools.fail(taken(pools), fault(FaultKind.MODEL, 404), 0.0)
    assert taken(pools, now=1.0).pool_name == "a"


def test_a_refusal_holds_the_model_in_that_pool_for_the_told_time() -> None:
    pools = KeyPools([pool("a"), pool("b")])
    pools.fail(taken(pools), fault(FaultKind.RATE_LIMIT, 429), 0.0, wait=7.0)
    assert taken(pools, now=1.0).pool_name == "b"
    assert taken(pools, Wanted(Cost(), "other"), 1.0).pool_name == "a"
    pools.fail(taken(pools, now=1.0), fault(FaultKind.RATE_LIMIT, 429), 1.0, wait=20.0)
    choice = pools.take(IMAGE, 2.0)
    assert isinstance(choice, Later)
    assert (choice.until, choice.pools) == (7.0, frozenset())
    assert taken(pools, now=7.0).pool_name == "a"


def test_what_a_refusal_tells_of_one_models_limit_holds_for_that_model() -> None:
    pools = KeyPools([pool()])
    text = RefusalText("images", "min", 5, 5, 1)
    pools.fail(taken(pools), fault(FaultKind.RATE_LIMIT, 429, refusal=text), 0.0, wait=12.0)
    taken(pools, now=12.0)
    choice = pools.take(IMAGE, 12.0)
    assert isinstance(choice, Later)
    assert choice.until == pytest.approx(24, abs=0.3)
    for _ in range(50):
        taken(pools, Wanted(Cost(1, 1, 0), "other"), 12.0)


def test_a_refused_call_gives_its_tokens_and_images_back() -> None:
    pools = KeyPools([pool(limits=Limits(100, 100, 100_000))])
    pools.fail(taken(pools, Wanted(Cost(1, 2, 3_000))), fault(FaultKind.PERMANENT, 400), 0.0)
    (use,) = pools.use(0.0)
    assert dict(use.used) == {"requests": 1, "images": 0, "tokens": 0}


def test_a_call_that_never_left_costs_nothing_and_an_unanswered_one_stays_charged() -> None:
    pools = KeyPools([pool(limits=Limits(100, 100, 100_000))])
    pools.fail(taken(pools, Wanted(Cost(1, 2, 3_000))), fault(FaultKind.NOT_SENT), 0.0)
    assert set(pools.use(0.0)[0].used.values()) == {0}
    pools.fail(taken(pools, Wanted(Cost(1, 2, 3_000)), 10.0), fault(FaultKind.TIMEOUT), 10.0)
    assert dict(pools.use(10.0)[0].used) == {"requests": 1, "images": 2, "tokens": 3_000}


def test_usage_settles_the_reservation() -> None:
    pools = KeyPools([pool(limits=Limits(100, 100, 100_000))])
    pools.finish(taken(pools, Wanted(Cost(1, 1, 7_000))), 0.0, tokens=1_806)
    assert dict(pools.use(0.0)[0].used) == {"requests": 1, "images": 1, "tokens": 1_806}


@pytest.mark.parametrize("outcome", [*FaultKind, "ok", "left", "never sent"])
def test_every_outcome_gives_the_slot_back(outcome: FaultKind | str) -> None:
    pools = KeyPools([pool(max_in_flight=1)])
    ticket = taken(pools)
    later = pools.take(IMAGE, 0.0)
    assert isinstance(later, Later)
    assert not later.sure
    if isinstance(outcome, FaultKind):
        pools.fail(ticket, fault(outcome), 1.0)
    elif outcome == "ok":
        pools.finish(ticket, 1.0)
    else:
        pools.abandon(ticket, 1.0, sent=outcome == "left")
    assert pools.use(1.0)[0].in_flight == 0


def test_a_call_too_large_for_one_pool_takes_a_larger_one() -> None:
    pools = KeyPools([pool("small", limits=Limits(images=5)), pool("large", limits=Limits(images=50))])
    assert taken(pools, Wanted(Cost(1, 10, 0))).pool_name == "large"
    assert isinstance(pools.take(Wanted(Cost(1, 51, 0)), 0.0), Never)


def test_random_model_names_fill_no_memory() -> None:
    pools = KeyPools([pool()])
    for number in range(1_000):
        pools.fail(taken(pools, Wanted(Cost(), f"model-{number}")), fault(FaultKind.MODEL, 404), 0.0)
        pools.fail(taken(pools, Wanted(Cost(), f"model-{number}")), fault(FaultKind.SLOW_DOWN, 429), 0.0)
    (own,) = pools._pools
    assert len(own.models_out) == len(own.own._models) == MODELS_REMEMBERED


def test_a_keys_secret_is_in_no_text() -> None:
    key = NamedKey("key-1", "canary-8")
    ticket = taken(KeyPools([PoolConfig("pool", (key,))]))
    assert "canary-8" not in repr(key) + str(key) + repr(ticket)


@pytest.mark.parametrize("secret", ["", " ", "a\nb", "schlüssel", "\x00"])
def test_a_key_that_is_no_header_value_is_a_configuration_error(secret: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        NamedKey("key-7", secret)
    assert "key-7" in str(refused.value)
    assert not secret.strip() or secret not in str(refused.value)


def test_pools_need_names_of_their_own_and_keys() -> None:
    with pytest.raises(ConfigurationError):
        KeyPools([pool("a"), pool("a")])
    with pytest.raises(ConfigurationError):
        KeyPools([])
    with pytest.raises(ConfigurationError):
        PoolConfig("a", ())


# --- what answers tell -----------------------------------------------------------------------------------------------


def told(organization: str, project: str = "default", limit: float | None = None) -> Told:
    states = () if limit is None else (LimitState("images", limit, 1, True),)
    return Told((organization, project), states)


def test_keys_of_one_organisation_and_project_become_one_pool_on_first_sight() -> None:
    """Two keys of one project buy nothing, also where they were configured as pools of their own."""
    pools = KeyPools([pool("a", limits=Limits(images=5)), pool("b", limits=Limits(images=10))])
    first, second = taken(pools), taken(pools)
    pools.finish(first, 1.0, told=told("org-1"))
    assert len(pools.use(1.0)) == 2
    pools.finish(second, 1.0, told=told("org-1"))
    (use,) = pools.use(1.0)
    assert (use.keys, use.limits["images"], use.in_flight) == (("a/key-1", "b/key-1"), 5, 0)
    assert use.used["images"] == 2
    choice = pools.take(IMAGE, 10.0)
    assert isinstance(choice, Later)


def test_calls_in_flight_while_pools_are_merged_give_their_slots_back() -> None:
    pools = KeyPools([pool("a"), pool("b")])
    tickets = [taken(pools) for _ in range(8)]
    pools.finish(tickets[0], 1.0, told=told("org-1"))
    pools.fail(tickets[1], fault(FaultKind.RATE_LIMIT, 429), 1.0, told=told("org-1"), wait=3.0)
    assert pools.use(1.0)[0].in_flight == 6
    assert {ticket.pool_name for ticket in tickets} == {"a"}
    for ticket in tickets[2:]:
        pools.finish(ticket, 2.0, told=told("org-1"))
    (use,) = pools.use(2.0)
    assert use.in_flight == 0
    assert isinstance(pools.take(IMAGE, 2.0), Later)  # the refusal holds for all of them


@pytest.mark.parametrize("other", [told("org-2"), told("org-1", "another"), Told()])
def test_other_owners_stay_apart(other: Told) -> None:
    pools = KeyPools([pool("a"), pool("b")])
    first, second = taken(pools), taken(pools)
    pools.finish(first, 1.0, told=told("org-1"))
    pools.finish(second, 1.0, told=other)
    assert len(pools.use(1.0)) == 2


def test_headers_never_lift_a_configured_maximum() -> None:
    pools = KeyPools([pool(limits=Limits(images=5))])
    pools.finish(taken(pools), 0.0, told=told("org-1", limit=5_000))
    choice = pools.take(IMAGE, 0.0)
    assert isinstance(choice, Later)
    assert choice.until > 11


def test_an_assumed_limit_holds_until_the_upstream_tells_its_own() -> None:
    config = PoolConfig("pool", (NamedKey("key-1", "k"),), assumed=Limits(images=5))
    pools = KeyPools([config])
    ticket = taken(pools)
    assert isinstance(pools.take(IMAGE, 1.0), Later)
    pools.finish(ticket, 1.0, told=told("org-1", limit=600))
    at = 12.1
    for _ in range(20):
        taken(pools, now=at)
        at += 0.2


def test_an_unexplained_refusal_slows_its_model_down_and_an_explained_one_does_not() -> None:
    """A limit that wasn't known explains the refusal; one that was known means that others use it."""
    unknown, known = KeyPools([pool()]), KeyPools([pool(limits=Limits(images=50))])
    text = RefusalText("images", "min", 50, 50, 1)
    for pools in (unknown, known):
        pools.fail(taken(pools), fault(FaultKind.RATE_LIMIT, 429, refusal=text), 0.1, wait=1.2)
    assert unknown.use(1.0)[0].detail == ""
    pools = KeyPools([pool(limits=Limits(images=50))])
    for at in (0.0, 2.0):
        pools.fail(taken(pools, now=at), fault(FaultKind.RATE_LIMIT, 429, refusal=text), at + 0.1, wait=1.2)
    assert pools.use(3.0)[0].detail == "slowed to 97%"


def test_slow_down_paces_the_pool() -> None:
    pools = KeyPools([pool(limits=Limits(images=60))])
    pools.fail(taken(pools), fault(FaultKind.SLOW_DOWN, 429), 0.0, wait=1.0)
    assert pools.use(0.0)[0].detail == "slowed to 70%"
    assert pools.use(900.0)[0].detail == ""


def test_a_spell_of_losses_pauses_the_model() -> None:
    pools = KeyPools([pool()])
    for second in range(7):
        pools.fail(taken(pools, now=float(second)), fault(FaultKind.OVERLOADED, 503), second + 0.5)
    choice = pools.take(IMAGE, 6.6)
    assert isinstance(choice, Later)
    assert choice.until == 7.5
    taken(pools, now=7.5)


# --- an organisation above its projects ------------------------------------------------------------------------------


def told_by(level: str, limit: float, used: float, project: str) -> Told:
    return Told(("org-1", project), (LimitState("images", limit, used, True, level),))  # type: ignore[arg-type]


def test_pools_of_one_configured_organisation_share_its_limit() -> None:
    """Each project may use 50, both together 60."""
    config = [replace(pool(name, limits=Limits(images=50)), organization="acme") for name in ("a", "b")]
    pools = KeyPools(config, {"acme": Limits(images=60)})
    for second in range(60):
        taken(pools, now=float(second) * 1.005)
    assert isinstance(pools.take(IMAGE, 60.0), Later)


def test_an_organisation_that_is_not_configured_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="acme"):
        KeyPools([replace(pool(), organization="acme")])


def test_pools_that_name_the_same_organisation_share_what_is_told_of_it() -> None:
    """From the first answer of each: it takes both projects, or none, to be within the organisation's five a minute."""
    pools = KeyPools([pool("a"), pool("b")])
    first, second = taken(pools), taken(pools)
    pools.finish(first, 1.0, told=told_by("organization", 5, 2, "p1"))
    pools.finish(second, 1.0, told=told_by("organization", 5, 2, "p2"))
    assert len(pools.use(1.0)) == 2
    choice = pools.take(IMAGE, 1.0)
    while isinstance(choice, Ticket):
        choice = pools.take(IMAGE, 1.0)
    assert isinstance(choice, Later)
    assert choice.until > 6  # whichever pool


def test_a_projects_limit_is_its_own() -> None:
    pools = KeyPools([pool("a"), pool("b")])
    first, second = taken(pools), taken(pools)
    pools.finish(first, 1.0, told=told_by("project", 1, 0.5, "p1"))
    pools.finish(second, 1.0, told=told_by("project", 1_000, 1, "p2"))
    for _ in range(10):
        pools.take(IMAGE, 1.0)
    by_name = {use.name: use for use in pools.use(1.0)}
    assert by_name["a"].limits["images"] == 1
    assert by_name["b"].limits["images"] == 1_000
    assert by_name["b"].used["images"] > 5  # its burst; of one a minute none could go


def test_a_refusal_in_the_organisations_name_holds_for_all_its_projects() -> None:
    pools = KeyPools([pool("a"), pool("b")])
    first, second = taken(pools), taken(pools)
    pools.finish(first, 1.0, told=Told(("org-1", "p1")))
    text = RefusalText("images", "min", 5, 5, 1, "organization")
    refused = fault(FaultKind.RATE_LIMIT, 429, refusal=text)
    pools.fail(second, refused, 1.0, wait=12.0, told=Told(("org-1", "p2")))
    choice = pools.take(IMAGE, 1.0)
    assert isinstance(choice, Later)
    assert choice.until == pytest.approx(13.0)


def test_a_refusal_in_a_projects_name_leaves_the_others_alone() -> None:
    pools = KeyPools([pool("a"), pool("b")])
    first, second = taken(pools), taken(pools)
    pools.finish(first, 1.0, told=Told(("org-1", "p1")))
    text = RefusalText("images", "min", 5, 5, 1, "project")
    refused = fault(FaultKind.RATE_LIMIT, 429, refusal=text)
    pools.fail(second, refused, 1.0, wait=12.0, told=Told(("org-1", "p2")))
    assert taken(pools, now=1.0).pool_name == first.pool_name


def test_models_of_one_shared_limit_are_counted_together_once_a_refusal_names_it() -> None:
    pools = KeyPools([pool()])
    text = RefusalText("images", "min", 5, 5, 1, "organization", "gpt-image")
    other = Wanted(Cost(1, 1, 0), "gpt-image-2.5-flare")
    tickets = [taken(pools), taken(pools, other)]
    for ticket in tickets:
        pools.fail(ticket, fault(FaultKind.RATE_LIMIT, 429, refusal=text), 0.1, wait=1.0)
    taken(pools, now=15.0)
    assert isinstance(pools.take(other, 15.0), Later)


def test_two_configured_organisations_that_turn_out_to_be_one_share_the_smaller_limit() -> None:
    config = [replace(pool(name), organization=name) for name in ("a", "b")]
    pools = KeyPools(config, {"a": Limits(images=60), "b": Limits(images=5)})
    first, second = taken(pools), taken(pools)
    pools.finish(first, 1.0, told=Told(("org-1", "p1")))
    pools.finish(second, 1.0, told=Told(("org-1", "p2")))
    assert {use.limits["images"] for use in pools.use(1.0)} == {5}


def named(name: str, *secrets: str, limits: Limits = UNLIMITED) -> PoolConfig:
    keys = tuple(NamedKey(f"{name}/key-{number}", secret) for number, secret in enumerate(secrets, 1))
    return PoolConfig(name, keys, limits)


def secret_of(ticket: Ticket) -> str | None:
    return ticket.named_key.secret


def test_a_rotated_key_finds_its_pools_counts_as_they_were() -> None:
    """The limit is the project's: a new key of it buys nothing."""
    pools = KeyPools([named("a", "old", limits=Limits(images=5))])
    taken(pools)
    pools.exchange_keys([named("a", "new", limits=Limits(images=5))])
    assert isinstance(pools.take(IMAGE, 0.0), Later)
    assert secret_of(taken(pools, now=60.0)) == "new"


def test_a_key_that_stays_keeps_its_state_wherever_it_now_stands() -> None:
    pools = KeyPools([named("a", "first", "refused")])
    taken(pools)
    pools.fail(taken(pools), fault(FaultKind.KEY, 401), 0.0)
    pools.exchange_keys([named("a", "refused", "third")])
    assert {secret_of(taken(pools, now=1.0)) for _ in range(4)} == {"third"}
    (use,) = pools.use(1.0)
    assert (use.keys, use.keys_out) == (("a/key-1", "a/key-2"), ("a/key-1",))


def test_calls_in_flight_end_although_their_key_or_pool_is_gone() -> None:
    """Each gives its slot back, and what its answer tells of the owner touches nobody else."""
    pools = KeyPools([replace(named("a", "one"), max_in_flight=1), named("b", "two")])
    first, second = taken(pools), taken(pools)
    pools.exchange_keys([replace(named("a", "new"), max_in_flight=1)])
    assert isinstance(pools.take(IMAGE, 1.0), Later)
    pools.finish(first, 2.0, told=Told(owner=("org", "proj")))
    pools.finish(second, 2.0, told=Told(owner=("org", "proj")))
    assert secret_of(taken(pools, now=3.0)) == "new"
    assert [use.name for use in pools.use(3.0)] == ["a"]


def test_pools_that_turned_out_to_be_one_stay_one_until_their_keys_are_others() -> None:
    limits = Limits(images=50)
    pools = KeyPools([named("a", "one", limits=limits), named("b", "two", limits=limits)])
    for ticket in (taken(pools), taken(pools)):
        pools.finish(ticket, 0.0, told=Told(owner=("org", "proj")))
    pools.exchange_keys([named("a", "one", limits=limits), named("b", "two", "three", limits=limits)])
    assert [use.keys for use in pools.use(0.0)] == [("a/key-1", "b/key-1", "b/key-2")]
    pools.exchange_keys([named("a", "one", limits=limits), named("b", "four", limits=limits)])
    assert [use.keys for use in pools.use(0.0)] == [("a/key-1",), ("b/key-1",)]


@pytest.mark.parametrize(
    "wrong", [[], [named("a", "x"), named("a", "y")], [replace(named("a", "x"), organization="?")]]
)
def test_pools_that_cannot_be_are_refused_and_change_nothing(wrong: list[PoolConfig]) -> None:
    pools = KeyPools([named("a", "one")])
    with pytest.raises(ConfigurationError):
        pools.exchange_keys(wrong)
    assert secret_of(taken(pools)) == "one"
