"""How a command reaches the service: the one that runs, or one of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from cache_service.bootstrap.service import open_service
from cache_service.bootstrap.settling import settle
from cache_service.config import Settings
from cache_service.data_dir import DataDirectory
from cache_service.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ClientChoice:
    """Which of the configured clients a command is: by its name, its namespace or both; the first that fits."""

    name: str | None = None
    namespace: str | None = None


@contextlib.asynccontextmanager
async def client(
    settings: Settings, *, admin: bool, choice: ClientChoice | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the running service that holds the data directory, or of one that runs only for this block.

    choice: whose key it sends, if not the admin token. Raises ConfigurationError where no client fits.
    """
    key = None if admin else client_key(settings, choice or ClientChoice())
    holder = DataDirectory(settings.data_dir).holder()
    if holder is not None:
        if holder.url is None:
            raise ConfigurationError(
                f"process {holder.pid} holds {settings.data_dir} and serves nothing; wait for it to end"
            )
        token = settings.admin_token or DataDirectory(settings.data_dir).admin_token()
        headers = _headers(settings, token if admin else key, holder.url)
        async with httpx.AsyncClient(base_url=holder.url, headers=headers, **_PATIENT) as remote:
            yield remote
        return
    from cache_service.api.app import create_app

    # a command goes on with its own work alone: what a batch left is for the next server
    async with open_service(settings, resume_batches=False) as service:
        transport = httpx.ASGITransport(create_app(service))
        settle()
        headers = _headers(settings, service.admin_token if admin else key, _HERE)
        async with httpx.AsyncClient(base_url=_HERE, headers=headers, transport=transport, **_PATIENT) as local:
            yield local


def client_key(settings: Settings, choice: ClientChoice) -> SecretStr | None:
    """The key of the first configured client that fits; None where none is needed. Raises ConfigurationError."""
    from cache_service.api.access import parse_client_keys

    wanted = [one for one in (choice.name, choice.namespace) if one is not None]
    known = parse_client_keys(settings.client_keys)
    for entry, parsed in zip(settings.client_keys, known, strict=True):
        caller = parsed.caller
        if choice.name in (None, caller.client) and choice.namespace in (None, caller.namespace):
            _, _, rest = entry.get_secret_value().partition(":")
            key, separator, _ = rest.rpartition(":")
            return SecretStr((key if separator else rest).strip())
    if wanted:
        names = ", ".join(f"{one.caller.client} ({one.caller.namespace})" for one in known) or "none"
        raise ConfigurationError(f"no client key is configured for {' in '.join(wanted)}; there are: {names}")
    return None


_PATIENT: dict[str, Any] = {"timeout": httpx.Timeout(660.0, connect=10.0), "trust_env": False}


_HERE = "http://127.0.0.1"


def _headers(settings: Settings, bearer: SecretStr | None, url: str) -> dict[str, str]:
    """Who asks, and by which name: one that the service answers to, where the address it was found at isn't one."""
    headers = {"authorization": f"Bearer {bearer.get_secret_value()}"} if bearer is not None else {}
    host = url.partition("://")[2]
    allowed = [name.lower() for name in settings.allowed_hosts]
    if allowed and host.rpartition(":")[0].lower() not in allowed and host.lower() not in allowed:
        headers["host"] = allowed[0]
    return headers
