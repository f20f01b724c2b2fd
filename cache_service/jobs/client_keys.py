"""Keys that operators make, and whom a key lets in: from configuration and from the database. Only digests are kept, of either.

A key that is revoked opens nothing here before its answer, and on other nodes within a second: each of them reads the live keys twice a
second. If that fails, the last ones read hold on: who can't reach the database can't answer much anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cache_service.answer import Caller
from cache_service.errors import InvalidRequest, NotFound, StoreError
from cache_service.store.base import AdminStore
from cache_service.store.records import Act, NewKey, Role, StoredKey

log = logging.getLogger(__name__)

PREFIX: Final = "cs-"
"""Of every key made here, so that one that leaks is recognised."""

MOST: Final = 1000
"""Live keys; each request is compared with all of them."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a key lets in, and to what. id: of a key in the database, else None."""

    caller: Caller
    role: Role
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key: `secret` is shown this once, and can't be had again."""

    secret: str
    stored: StoredKey


class ClientKeys:
    """The keys in force. configured: digest (32 bytes) and caller of each key in the settings.

    budgets: told the USD a day of clients by name, whenever the keys were read; of two keys with one name the smaller holds.
    """

    def __init__(
        self,
        store: AdminStore,
        configured: Sequence[tuple[bytes, Caller]] = (),
        *,
        budgets: Callable[[Mapping[str, float]], None] = lambda usd: None,
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._configured = [(digest, Holder(caller, "client")) for digest, caller in configured]
        self._holders = list(self._configured)
        self._ever = False

    def configure(self, configured: Sequence[tuple[bytes, Caller]]) -> None:
        """Other keys of the settings, at once; those of the database stay. Taking the last one away doesn't open the door."""
        of_database = self._holders[len(self._configured) :]
        self._ever = self._ever or bool(self._configured)
        self._configured = [(digest, Holder(caller, "client")) for digest, caller in configured]
        self._holders = [*self._configured, *of_database]

    @property
    def anonymous_allowed(self) -> bool:
        """True while no client key is configured and none was ever made: revoking the last one must not open the door."""
        return not self._configured and not self._ever

    def holder(self, digest: bytes) -> Holder | None:
        """Who has the key with that digest; compares with every key, so that time says nothing."""
        found = None
        for known, holder in self._holders:
            if hmac.compare_digest(known, digest):
                found = holder
        return found

    def is_live(self, key_id: int) -> bool:
        """Whether the key in the database opens something still."""
        return any(holder.id == key_id for _, holder in self._holders)

    async def issue(self, name: str, namespace: str, role: Role, usd_per_day: float | None, *, by: str) -> Issued:
        """Makes a key. Raises InvalidRequest where there are too many, StoreError."""
        if len(self._holders) >= MOST:
            raise InvalidRequest(f"there are {MOST} keys already: revoke those that nobody uses")
        secret = PREFIX + secrets.token_urlsafe(32)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        what = {"name": name, "namespace": namespace, "role": role, "usd_per_day": usd_per_day}
        new = NewKey(name, namespace, role, digest, usd_per_day)
        stored = await self._store.add_key(new, by=Act(by, "key.create", what))
        await self.refresh()
        return Issued(secret, stored)

    async def revoke(self, key_id: int, *, by: str) -> StoredKey:
        """Ends a key for good. Raises NotFound, StoreError."""
        revoked = await self._store.revoke_key(key_id, by=Act(by, "key.revoke", {"id": key_id}))
        if revoked is None:
            raise NotFound("there is no such key")
        await self.refresh()
        return revoked

    async def refresh(self) -> None:
        """Reads the keys that are live now. Raises StoreError."""
        live = await self._store.live_keys()
        self._ever = self._ever or await self._store.clients_exist()
        stored = [
            (bytes.fromhex(key.digest), Holder(Caller(key.namespace, key.name), key.role, key.id)) for key in live
        ]
        self._holders = self._configured + stored
        usd: dict[str, float] = {}
        for key in live:
            if key.usd_per_day is not None:
                usd[key.name] = min(key.usd_per_day, usd.get(key.name, key.usd_per_day))
        self._budgets(usd)

    async def run(self, *, every: float) -> None:
        """Refreshes every `every` seconds, for ever."""
        while True:
            await asyncio.sleep(every)
            try:
                await self.refresh()
            except StoreError:
                log.exception("client keys could not be read; those read last hold on")
