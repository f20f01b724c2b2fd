"""Settings of the upstreams that are tables in TOML: limit pools and alternative providers. Plain values."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.1
_OURS = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie"),
        *("expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)


def comma_separated(value: object) -> object:
    """Splits text at commas: "a, b" from a variable becomes ("a", "b"); lists from TOML stay."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def base_url(value: str) -> str:
    """An upstream's base URL, without the slash at its end. Raises ValueError."""
    if not value.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    try:
        parts = urlsplit(value)
        readable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that don't pair, a port that is no number
        readable = False
    if not readable:
        raise ValueError("must be http://HOST[:PORT]/PATH or https://…")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("may hold no user name, query or fragment; keys have a setting")
    return value.rstrip("/")


def _sendable(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        text = value.get_secret_value()
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"{name!r} is no header that can be set")
        if not (text.isascii() and text.isprintable() and text.strip() == text and text):
            raise ValueError(f"the value of {name} isn't printable ASCII")
    return headers


Names = Annotated[tuple[str, ...], BeforeValidator(comma_separated)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(comma_separated)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
Headers = Annotated[dict[str, SecretStr], AfterValidator(_sendable)]
Operations = tuple[Literal["images", "chat"], ...]


class Figures(BaseModel):
    """Limits of one owner. Unset means as the profile says, else not limited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: float | None = Field(default=None, gt=0)
    images_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    requests_per_day: float | None = Field(default=None, gt=0)


class LimitPool(Figures):
    """One limit pool of the upstream: an organisation's or project's limits, shared by its keys.

    In TOML: `[[upstream_pools]]` with `name`, `api_keys` and any of the limits. `profile`: the catalog's limits, in place of
    the upstream's own.
    """

    name: str
    api_keys: Secrets = Field(min_length=1)
    profile: str | None = None
    max_in_flight: int | None = Field(default=None, gt=0)
    organization: str | None = None
    project: str | None = None


def only_keys_differ(before: tuple[LimitPool, ...], after: tuple[LimitPool, ...]) -> bool:
    """Whether each pool that stays (by its name) is the same but for its keys."""
    held = {pool.name: pool for pool in before}
    return all(
        pool.model_copy(update={"api_keys": ()}) == held[pool.name].model_copy(update={"api_keys": ()})
        for pool in after
        if pool.name in held
    )


class OrganizationLimits(Figures):
    """An organisation's limits, shared by all pools that name it.

    In TOML: `[[upstream_organizations]]` with `name` and any of the limits.
    """

    name: str


class Alternative(Figures):
    """A provider that is asked when the primary fails. In TOML: `[[upstream_alternatives]]` with `name` and `base_url`.

    `models`: what it calls a model (`"*"` for any other); one that isn't named isn't asked for, unless there is no such table.
    `drop`: parameters that it doesn't take. `operations`: those that it serves, all if unset. Limits are those of `api_keys`;
    `pools` and `organizations` are as the primary's.
    """

    name: str = Field(min_length=1, max_length=64)
    base_url: BaseUrl
    api_keys: Secrets = ()
    headers: Headers = Field(default_factory=dict)
    profile: str | None = None
    max_in_flight: int | None = Field(default=None, gt=0)
    attempt_timeout: float | None = Field(default=None, gt=0)
    pools: tuple[LimitPool, ...] = ()
    organizations: tuple[OrganizationLimits, ...] = ()
    models: dict[str, str] = Field(default_factory=dict)
    drop: Names = ()
    operations: Operations = ()
