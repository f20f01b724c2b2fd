"""Who may ask: client keys and the admin token, as dependencies of routers (never as a test of the path).

A client key is an entry `name:key` or `name:key:namespace` of the setting `client_keys`. The name is what stands before the first
colon, the namespace what stands after the last one if there are three parts or more; so a key may hold spaces, and colons too where
a namespace is given. Commas separate entries. One name may have several keys, so that a key can be changed without a gap.

Beside these there are keys that operators made, in the database. Keys are kept as SHA-256 and compared in constant time. Without client keys
everyone who reaches the loopback address is `anonymous`; an `Authorization` is then accepted and ignored, because OpenAI's clients always
send one. `/admin` always needs its token, or a key of the role `admin` or, to look, `viewer`; in a browser the cookie of a session.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pydantic import SecretStr
from starlette.requests import Request

from cache_service.answer import Caller
from cache_service.api.exchange import exchange_of
from cache_service.api.problems import ClientOverloaded
from cache_service.config import Settings
from cache_service.errors import AuthenticationFailed, ConfigurationError, Forbidden
from cache_service.service import Service
from cache_service.store.records import Role

ANONYMOUS: Final = Caller()
COOKIE: Final = "cache_service_session"
_OWN_PAGES: Final = frozenset({"same-origin", "none"})
NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # stands in logs and metrics
_BEARER: Final = re.compile(rb"bearer +(.*?) *", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ConfiguredKey:
    """One key that is accepted: its SHA-256, and whom it names."""

    digest: bytes
    caller: Caller


def parse_client_keys(entries: Sequence[SecretStr]) -> tuple[ConfiguredKey, ...]:
    """The keys of the setting `client_keys`. Raises ConfigurationError that names an entry's position, never its text."""
    keys: list[ConfiguredKey] = []
    for position, entry in enumerate(entries, start=1):
        name, _, rest = entry.get_secret_value().partition(":")
        key, separator, namespace = rest.rpartition(":")
        if not separator:
            key, namespace = rest, name
        name, key, namespace = name.strip(), key.strip(), namespace.strip()
        where = f"client_keys: entry {position}"
        if not key:
            raise ConfigurationError(f"{where}: expected name:key or name:key:namespace")
        if not NAME.fullmatch(name) or not NAME.fullmatch(namespace):
            raise ConfigurationError(
                f"{where}: a name and a namespace are 1 to 64 letters, digits, dots, underscores and hyphens"
            )
        digest = _digest(key)
        for other, earlier in enumerate(keys, start=1):
            if earlier.digest == digest:
                raise ConfigurationError(f"{where}: has the same key as entry {other}")
        keys.append(ConfiguredKey(digest, Caller(namespace, name)))
    return tuple(keys)


@dataclass(frozen=True, slots=True)
class Operator:
    """Who administers. key_id: of the key in the database that let them in, None for the token."""

    who: str
    role: Role
    key_id: int | None = None


TOKEN_HOLDER: Final = Operator("admin", "admin")


class OpenSessions(Protocol):
    """Who is logged in to the console."""

    def open(self, operator: Operator) -> str:
        """A new session; the cookie's value."""

    def find(self, value: str) -> Operator | None:
        """Whose session it is."""

    def close(self, value: str) -> None:
        """Ends it."""


class Access:
    """Lets requests in or refuses them; its methods are router dependencies. Raises ConfigurationError if open to the network."""

    def __init__(self, service: Service, sessions: OpenSessions) -> None:
        refuse_open_address(service.settings)
        self.sessions = sessions
        self._service = service
        self._token = _digest(service.admin_token.get_secret_value())

    async def client(self, request: Request) -> None:
        """Dependency: someone who may ask; the exchange then knows the caller. Raises AuthenticationFailed, ClientOverloaded."""
        keys, exchange = self._service.keys, exchange_of(request.scope)
        if keys.anonymous_allowed:
            exchange.caller = ANONYMOUS
        else:
            holder = keys.holder(_digest_of_bearer(request))
            if holder is None or holder.role != "client":
                raise AuthenticationFailed("the API key is not known")
            exchange.caller = holder.caller
        in_flight, client = self._service.in_flight, exchange.caller.client
        if in_flight.of(client) >= self._service.settings.max_in_flight_per_client:
            raise ClientOverloaded
        in_flight.claim(exchange, client)

    async def reader(self, request: Request) -> None:
        """Dependency: someone who may look at `/admin`. Raises AuthenticationFailed."""
        operator = self._operator(request)
        exchange = exchange_of(request.scope)
        exchange.caller, exchange.role = Caller(namespace="", client=operator.who), operator.role

    async def admin(self, request: Request) -> None:
        """Dependency: someone who may change things. Raises AuthenticationFailed, and Forbidden for who may only look."""
        await self.reader(request)
        if exchange_of(request.scope).role != "admin":
            raise Forbidden("this key may look and change nothing", code="read_only")

    def operator_of(self, digest: bytes) -> Operator:
        """Who has the token or key with that digest. Raises AuthenticationFailed."""
        holder = self._service.keys.holder(digest)
        if hmac.compare_digest(self._token, digest):
            return TOKEN_HOLDER
        if holder is None or holder.role == "client":
            raise AuthenticationFailed("the admin token is needed", code="invalid_admin_token")
        return Operator(holder.caller.client, holder.role, holder.id)

    def _operator(self, request: Request) -> Operator:
        """By the bearer's token or key; in a browser, which sends none, by the cookie of a session."""
        cookie = request.cookies.get(COOKIE)
        if cookie is None or "authorization" in request.headers:
            return self.operator_of(_digest_of_bearer(request))
        if request.headers.get("sec-fetch-site", "same-origin") not in _OWN_PAGES:
            raise Forbidden("another site's page asked", code="foreign_origin")
        operator = self.sessions.find(cookie)
        if operator is None or (operator.key_id is not None and not self._service.keys.is_live(operator.key_id)):
            raise AuthenticationFailed("the session has ended: log in again", code="invalid_session")
        return operator


def refuse_open_address(settings: Settings) -> None:
    """Raises ConfigurationError where other machines can reach the service and no client key is configured."""
    if not parse_client_keys(settings.client_keys) and not _is_loopback(settings.host):
        raise ConfigurationError(
            f"host {settings.host!r} can be reached from other machines: set client_keys, or listen on 127.0.0.1"
        )


def _digest_of_bearer(request: Request) -> bytes:
    fields = exchange_of(request.scope).fields.get(b"authorization", ())
    match = _BEARER.fullmatch(fields[0]) if len(fields) == 1 else None
    if match is None or not match[1]:
        raise AuthenticationFailed(
            "no key was sent: expected one header Authorization: Bearer KEY", code="missing_api_key"
        )
    return hashlib.sha256(match[1]).digest()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
