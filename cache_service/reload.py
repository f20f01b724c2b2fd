"""Settings that change while the service runs: read anew, checked as a whole, then taken by all who hold one, or by nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from cache_service.config import Settings
from cache_service.config_upstreams import Alternative, only_keys_differ

log = logging.getLogger(__name__)

RELOADABLE: Final = frozenset(
    {
        *("client_keys", "profile", "similarity_threshold", "semantic_images", "semantic_chat"),
        *("ttl_images", "ttl_chat", "ttl_volatile", "ttl_models"),
        *("upstream_api_keys", "upstream_pools", "upstream_alternatives"),
    }
)
"""What is taken at once: client keys, the upstreams' keys and pools, thresholds and lifetimes. All else needs a restart, and the
answer says so; `needs_restart` says when one of these does too."""

Prepare: TypeAlias = Callable[[Settings], Callable[[], None]]
"""Checks the new settings (raises ConfigurationError) and gives what takes them, which can't fail."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Names of settings: those that changed and hold now, and those that will after a restart."""

    changed: tuple[str, ...]
    after_restart: tuple[str, ...]


def needs_restart(before: Settings, after: Settings) -> set[str]:
    """Settings that could be taken, but not this change of theirs: limits of a pool that stays, other providers, the simulator's end."""
    found: set[str] = set()
    if before.uses_simulator != after.uses_simulator:
        found |= {"upstream_api_keys", "upstream_pools"}
    if not only_keys_differ(before.upstream_pools, after.upstream_pools):
        found.add("upstream_pools")
    held, wanted = before.upstream_alternatives, after.upstream_alternatives
    same = [_without_keys(one) for one in held] == [_without_keys(one) for one in wanted]
    if not same or not all(only_keys_differ(one.pools, other.pools) for one, other in zip(held, wanted, strict=True)):
        found.add("upstream_alternatives")
    return found


def _without_keys(one: Alternative) -> Alternative:
    return one.model_copy(update={"api_keys": (), "pools": ()})


class Reloader:
    """Holds the settings in force. read: gives them anew, from where they were read at the start; blocks."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self.settings = settings
        self._read = read
        self._prepare: list[Prepare] = []
        self._one_at_a_time = asyncio.Lock()

    def subscribe(self, prepare: Prepare) -> None:
        """`prepare` is asked at every reload that changes anything."""
        self._prepare.append(prepare)

    async def reload(self) -> Reloaded:
        """Raises ConfigurationError, after which everything is as it was."""
        async with self._one_at_a_time:
            new = await asyncio.to_thread(self._read)
            differing = [name for name in Settings.model_fields if getattr(new, name) != getattr(self.settings, name)]
            able = RELOADABLE - needs_restart(self.settings, new)
            taken = tuple(name for name in differing if name in able)
            if taken:
                settings = self.settings.model_copy(update={name: getattr(new, name) for name in taken})
                takes = [prepare(settings) for prepare in self._prepare]
                for take in takes:
                    take()
                self.settings = settings
            result = Reloaded(taken, tuple(name for name in differing if name not in able))
        log.info("settings were reloaded", extra={"changed": result.changed, "after_restart": result.after_restart})
        return result
