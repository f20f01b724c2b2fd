"""Who may ask: keys are read with care, kept as digests, and never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cache_service.answer import Caller
from cache_service.api.access import parse_client_keys, refuse_open_address
from cache_service.config import Settings
from cache_service.errors import ConfigurationError
from tests.fakes.service import make_bench

CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    ("entry", "key", "caller"),
    [
        ("ann:k1", "k1", Caller("ann", "ann")),
        ("ann:k1:team", "k1", Caller("team", "ann")),
        ("ann:My API Key", "My API Key", Caller("ann", "ann")),
        ("ann:a:b:c:team", "a:b:c", Caller("team", "ann")),
        (" ann : k1 : team ", "k1", Caller("team", "ann")),
        ("ann:schlüssel", "schlüssel", Caller("ann", "ann")),
    ],
)
async def test_the_name_is_first_and_the_namespace_last(entry: str, key: str, caller: Caller) -> None:
    """Spaces may be in a key, colons where a namespace is given; the namespace is the name by default."""
    bench = make_bench(client_keys=(entry,))
    async with bench.client() as client:
        bearer = b"Bearer " + key.encode()
        response = await client.post(
            "/v1/images/generations", json={"prompt": "a"}, headers=[(b"authorization", bearer)]
        )
    assert response.status_code == 200
    assert bench.cache.asked[0].caller == caller


@pytest.mark.parametrize(
    "entry",
    [
        CANARY,
        f":{CANARY}",
        f"{CANARY}:",
        "ann::team",
        f"a b:{CANARY}",
        f"ann:{CANARY}:te am",
        f"ann:{CANARY}:",
        ":",
        "",
    ],
)
def test_a_wrong_entry_is_named_by_its_position(entry: str) -> None:
    """Never by its text, which may be a key."""
    with pytest.raises(ConfigurationError, match="entry 2") as caught:
        parse_client_keys([SecretStr("ann:k1"), SecretStr(entry)])
    assert CANARY not in str(caught.value)


def test_one_key_names_one_client() -> None:
    """The same key twice is a mistake; several keys for one name are a change of keys."""
    with pytest.raises(ConfigurationError, match="entry 2: has the same key as entry 1"):
        parse_client_keys([SecretStr("ann:k"), SecretStr("bob:k")])
    assert len(parse_client_keys([SecretStr("ann:k1"), SecretStr("ann:k2")])) == 2


@given(st.text(max_size=60))
def test_any_entry_is_read_or_refused(entry: str) -> None:
    """What is read holds no key as text."""
    try:
        keys = parse_client_keys([SecretStr(entry)])
    except ConfigurationError:
        return
    except UnicodeEncodeError:
        pytest.fail("a key that can't be encoded must be refused by name")
    assert all(len(key.digest) == 32 for key in keys)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "cache.example"])  # noqa: S104
def test_nobody_is_anonymous_on_an_open_address(host: str) -> None:
    """Without client keys, only loopback is served."""
    with pytest.raises(ConfigurationError, match="client_keys"):
        refuse_open_address(Settings(host=host))
    refuse_open_address(Settings(host=host, client_keys=("ann:k",)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_keys(host: str) -> None:
    """Every way of writing it."""
    refuse_open_address(Settings(host=host))
    assert make_bench(host=host).service.keys.anonymous_allowed


@pytest.mark.parametrize(
    "authorization",
    ["Basic YTpi", "Bearer", "Bearer ", "k1", "bearer  wrong", "Bearer k1x", "Bearer k", "Bearer K1", "Bearer\tk1"],
)
async def test_only_the_very_key_is_accepted(authorization: str) -> None:
    """Another scheme, a part of a key or another case is not."""
    async with make_bench(client_keys=("ann:k1",)).client() as client:
        response = await client.get("/v1/models", headers={"authorization": authorization})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_the_scheme_is_read_in_any_case() -> None:
    """RFC 9110, section 11.1."""
    async with make_bench(client_keys=("ann:k1",)).client() as client:
        assert (await client.get("/v1/models", headers={"authorization": "bEARER   k1 "})).status_code == 200


async def test_two_authorizations_are_none() -> None:
    """Which of them counted would be a guess."""
    async with make_bench(client_keys=("ann:k1",)).client() as client:
        headers = [("authorization", "Bearer k1"), ("authorization", "Bearer k1")]
        assert (await client.get("/v1/models", headers=headers)).status_code == 401


async def test_without_client_keys_any_authorization_is_ignored() -> None:
    """OpenAI's clients always send one; it is not looked at and not sent on."""
    bench = make_bench()
    async with bench.client("sk-whatever") as client:
        assert (await client.post("/v1/images/generations", json={"prompt": "a"})).status_code == 200
    assert bench.cache.asked[0].caller == Caller("default", "anonymous")
