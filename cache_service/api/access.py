"""Who may ask: client keys and the admin token, as dependencies of routers (never as a test of the path).

A client key is an entry `name:key` or `name:key:namespace` of the setting `client_keys`. The name is what stands before the first
colon, the namespace what stands after the last one if there are three parts or more; so a key may hold spaces, and colons too where
a namespace is given. Commas separate entries. One name may have several keys, so that a key can be changed without a gap.

Keys are kept as SHA-256 and compared in constant time. Without client keys everyone who reaches the loopback address is `anonymous`;
an `Authorization` is then accepted and ignored, because OpenAI's clients always send one. `/admin` always needs its token.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr
from starlette.requests import Request

from cache_service.answer import Caller
from cache_service.api.exchange import exchange_of
from cache_service.config import Settings
from cache_service.errors import AuthenticationFailed, ConfigurationError

ANONYMOUS: Final = Caller()
ADMIN: Final = Caller(namespace="", client="admin")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # stands in logs and metrics
_BEARER: Final = re.compile(r"bearer +(.*?) *", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ClientKey:
    """One key that is accepted: its SHA-256, and whom it names."""

    digest: bytes
    caller: Caller


def parse_client_keys(entries: Sequence[SecretStr]) -> tuple[ClientKey, ...]:
    """The keys of the setting `client_keys`. Raises ConfigurationError that names an entry's position, never its text."""
    keys: list[ClientKey] = []
    for position, entry in enumerate(entries, start=1):
        name, _, rest = entry.get_secret_value().partition(":")
        key, separator, namespace = rest.rpartition(":")
        if not separator:
            key, namespace = rest, name
        name, key, namespace = name.strip(), key.strip(), namespace.strip()
        where = f"client_keys: entry {position}"
        if not key:
            raise ConfigurationError(f"{where}: expected name:key or name:key:namespace")
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(namespace):
            raise ConfigurationError(
                f"{where}: a name and a namespace are 1 to 64 letters, digits, dots, underscores and hyphens"
            )
        digest = _digest(key)
        for other, earlier in enumerate(keys, start=1):
            if earlier.digest == digest:
                raise ConfigurationError(f"{where}: has the same key as entry {other}")
        keys.append(ClientKey(digest, Caller(namespace, name)))
    return tuple(keys)


class Access:
    """Lets requests in or refuses them; its methods are router dependencies. Raises ConfigurationError if open to the network."""

    def __init__(self, settings: Settings, admin_token: SecretStr) -> None:
        self._keys = parse_client_keys(settings.client_keys)
        self._admin = _digest(admin_token.get_secret_value())
        if not self._keys and not _is_loopback(settings.host):
            raise ConfigurationError(
                f"host {settings.host!r} can be reached from other machines: set client_keys, or listen on 127.0.0.1"
            )

    @property
    def anonymous_allowed(self) -> bool:
        """True where no client keys are configured."""
        return not self._keys

    async def client(self, request: Request) -> None:
        """Dependency: someone who may ask; the exchange then knows the caller. Raises AuthenticationFailed."""
        if not self._keys:
            exchange_of(request.scope).caller = ANONYMOUS
            return
        digest = _digest_of_bearer(request)
        known = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                known = key.caller
        if known is None:
            raise AuthenticationFailed("the API key is not known")
        exchange_of(request.scope).caller = known

    async def admin(self, request: Request) -> None:
        """Dependency: the bearer of the admin token. Raises AuthenticationFailed."""
        if not hmac.compare_digest(self._admin, _digest_of_bearer(request)):
            raise AuthenticationFailed("the admin token is needed", code="invalid_admin_token")
        exchange_of(request.scope).caller = ADMIN


def _digest_of_bearer(request: Request) -> bytes:
    fields = request.headers.getlist("authorization")
    match = _BEARER.fullmatch(fields[0]) if len(fields) == 1 else None
    if match is None or not match[1]:
        raise AuthenticationFailed(
            "no key was sent: expected one header Authorization: Bearer KEY", code="missing_api_key"
        )
    return hashlib.sha256(match[1].encode("latin-1")).digest()  # the bytes as they came


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
