"""What operators look at and change beside entries: pages of them, client keys, and the audit log. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from cache_service.store.entry import Output

Role: TypeAlias = Literal["client", "viewer", "admin"]
"""What a key opens: generation routes of one namespace, `/admin` to look at, or all of `/admin`."""


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator does, for the audit log. who: name of the admin key, or `admin` for the token. what: no secrets, no prompts."""

    who: str
    action: str
    what: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One act as it was filed, in the transaction that it speaks of. count: how many things it changed. at: Unix seconds."""

    id: int
    at: float
    who: str
    action: str
    what: Mapping[str, Any]
    count: int


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is filed. digest: SHA-256 (hex) of its bytes; the key itself is kept nowhere.

    namespace: whose entries a client shares; "" for viewers and admins. usd_per_day: None is no bound of its own.
    """

    name: str
    namespace: str
    role: Role
    digest: str
    usd_per_day: float | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key in the database. revoked_at: None while it opens something."""

    id: int
    name: str
    namespace: str
    role: Role
    digest: str
    usd_per_day: float | None
    created_at: float
    created_by: str
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of entries ended: the next one begins behind it. sort: 0 where the order is by id alone."""

    sort: float
    id: int


@dataclass(frozen=True, slots=True)
class Word:
    """A word to look for; prefix: it may go on."""

    text: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries to list; all members given must match.

    text: words that the prompt holds, each one whole, or its beginning where `prefix` is set. newer_than, older_than: Unix seconds of
    `created_at`. among: only these ids.
    """

    namespace: str | None = None
    operation: str | None = None
    model: str | None = None
    tag: str | None = None
    newer_than: float | None = None
    older_than: float | None = None
    text: tuple[Word, ...] = ()
    among: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class EntrySummary:
    """An entry as a row of a list. prompt: its beginning. blob, media_type: of the first output."""

    id: int
    exact_key: str
    namespace: str
    operation: str
    model: str | None
    prompt: str
    created_at: float
    expires_at: float | None
    exact_only: bool
    state: str
    client: str
    outputs: int
    blob: str | None
    media_type: str | None


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Some of the entries, the newest first. next: None if there are no more; a page may be short, or empty, and have a next one."""

    entries: tuple[EntrySummary, ...]
    next: Place | None


@dataclass(frozen=True, slots=True)
class EntryDetail:
    """All that is stored of one entry."""

    summary: EntrySummary
    partition: str
    prompt: str
    prompt_digest: str
    request: Mapping[str, Any]
    envelope: Mapping[str, Any]
    made: Mapping[str, Any]
    upstream_group: str
    tags: tuple[str, ...]
    outputs: tuple[Output, ...]
