"""Settings: one frozen value from defaults, one TOML file, `CACHE_SERVICE_*` variables and `--set`, the later winning.

Every setting is a row of `Settings`; its description is the reference's text. An unknown name is an error that names the
nearest one, a wrong value an error that says what was expected. Nothing is read on import.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from cache_service.config_upstreams import (
    Alternative,
    BaseUrl,
    Headers,
    LimitPool,
    Names,
    OrganizationLimits,
    Secrets,
    comma_separated,
)
from cache_service.errors import ConfigurationError

PREFIX = "CACHE_SERVICE_"
PRIMARY = "primary"
"""The provider that the `upstream_*` settings describe."""
CONFIG_VARIABLE = "CACHE_SERVICE_CONFIG"

PROFILES = {"strict": 0.92, "verified": 0.85}
"""Least cosine of a candidate. Every candidate is verified under either; the lower floor finds more paraphrases."""


Steps = Annotated[
    tuple[Literal["reduced-quality", "cached-similar", "alternative-provider"], ...], BeforeValidator(comma_separated)
]


def _durations(value: object) -> object:
    """`name=seconds`, comma-separated, as pairs; a table of TOML too."""
    if isinstance(value, str):
        parts = [part.rpartition("=") for part in value.split(",") if part.strip()]
        if not all(separator for _, separator, _ in parts):
            raise ValueError("expected NAME=SECONDS, comma-separated")
        return tuple((name.strip(), seconds.strip()) for name, _, seconds in parts)
    if isinstance(value, Mapping):
        return tuple(value.items())
    return value


Durations = Annotated[tuple[tuple[str, Annotated[float, Field(ge=0)]], ...], BeforeValidator(_durations)]


class NamespaceBound(BaseModel):
    """Bounds of one namespace, in place of those that each namespace has. Unset means not bounded.

    In TOML: `[[namespace_bounds]]` with `name` and any of the bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    max_entries: int | None = Field(default=None, gt=0)
    max_blob_bytes: int | None = Field(default=None, gt=0)


class Settings(BaseModel):
    """Everything that can be set. Durations are seconds, sizes bytes, money USD."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address to listen on. Another than loopback needs client keys.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path("data"), description="Folder of the database, pictures, spool, index and admin token."
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL, `postgresql://…` or `sqlite:///…`; SQLite in the data directory if unset.",
    )
    allowed_hosts: Names = Field(
        default=("127.0.0.1", "localhost", "[::1]"),
        description="Values accepted in the `Host` header, without port; comma-separated.",
    )
    client_keys: Secrets = Field(
        default=(),
        description="Who may ask: `name:key[:namespace]`, comma-separated. Without any, anonymous clients on loopback may.",
    )
    admin_token: SecretStr | None = Field(
        default=None, description="Token of `/admin`; made at first start in the data directory if unset."
    )

    upstream_base_url: BaseUrl | None = Field(
        default=None, description="Base URL of an OpenAI-compatible API, with its version: `https://…/v1`."
    )
    upstream_api_keys: Secrets = Field(
        default=(), description="API keys of the upstream, comma-separated; they share one limit pool."
    )
    upstream_headers: Headers = Field(
        default_factory=dict, description="Headers sent with every call to the upstream; a table, TOML only."
    )
    upstream_models: dict[str, str] = Field(
        default_factory=dict,
        description='What the upstream calls a model (`"*"` for any other); a table, TOML only. The cache key keeps the name as asked.',
    )
    upstream_pools: tuple[LimitPool, ...] = Field(
        default=(), description="Limit pools with keys of their own; TOML only."
    )
    upstream_organizations: tuple[OrganizationLimits, ...] = Field(
        default=(), description="Organisations whose limits several pools share; TOML only."
    )
    upstream_admin_key: SecretStr | None = Field(
        default=None,
        description="Admin key of the upstream, with which each project's rate limits are read; never used for anything else.",
    )
    upstream_alternatives: tuple[Alternative, ...] = Field(
        default=(), description="Providers for the fallback's `alternative-provider`, in that order; TOML only."
    )
    upstream_profile: str | None = Field(
        default=None,
        description="Limits by the catalog's name for them: `tier-1` to `tier-5` as the upstream publishes them, `older-1` to `older-5` "
        "for an older table, `custom` for none. Figures that are set count instead.",
    )
    upstream_requests_per_minute: float | None = Field(
        default=None, gt=0, description="Requests a minute of the pool of `upstream_api_keys`."
    )
    upstream_images_per_minute: float | None = Field(
        default=None, gt=0, description="Images a minute of the pool of `upstream_api_keys`."
    )
    upstream_tokens_per_minute: float | None = Field(
        default=None, gt=0, description="Tokens a minute of the pool of `upstream_api_keys`."
    )
    upstream_requests_per_day: float | None = Field(
        default=None, gt=0, description="Requests a day of the pool of `upstream_api_keys`."
    )
    upstream_max_in_flight: int | None = Field(
        default=None,
        gt=0,
        description="Calls in flight in one pool where the pool doesn't say; the profile's, else 64.",
    )
    upstream_max_queued: int = Field(
        default=1000, gt=0, description="Requests that may wait for capacity; more are refused with 429."
    )
    upstream_timeout: float = Field(
        default=600.0, gt=0, description="Deadline of one generation: queueing, all attempts and the answer."
    )
    upstream_attempt_timeout: float | None = Field(
        default=None,
        gt=0,
        description="Deadline of one call, so that a hanging upstream leaves time for a fallback; all that is left if unset.",
    )
    upstream_max_attempts: int = Field(default=3, ge=1, description="Calls made for one generation at most.")
    upstream_max_answer_bytes: int = Field(
        default=256 * 2**20, gt=0, description="An upstream's answer larger than this is refused."
    )

    catalog: Path | None = Field(
        default=None,
        description="TOML file laid over the packaged catalog of models: prices, presets, what models take, limit profiles.",
    )
    catalog_strict: bool = Field(
        default=False,
        description="Refuse with 400 what the catalog knows to be impossible (a model that was shut down, a size, a dead parameter), "
        "saying what to use; else the upstream judges.",
    )
    budget_usd_per_day: float | None = Field(
        default=None,
        ge=0,
        description="USD that all clients together may spend on a day of UTC; then misses are refused with 429.",
    )
    budget_client_usd_per_day: float | None = Field(
        default=None, ge=0, description="USD that each client key may spend on a day of UTC."
    )
    client_budgets: Names = Field(
        default=(), description="Clients with a daily budget of their own: `name:USD`, comma-separated."
    )
    budget_usd_total: float | None = Field(
        default=None, ge=0, description="USD that may be spent in all, since the ledger began; raise it to go on."
    )
    budget_unpriced: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="What becomes of a generation that no price is known for while a budget is set. `allow` lets it through, uncounted.",
    )
    keep_payments: float = Field(
        default=400 * 86400.0,
        gt=0,
        description="Seconds that single payments are kept in the ledger; sums by day stay for ever.",
    )

    fallback: Steps = Field(
        default=(),
        description="What to try, in this order, where the upstream fails: `reduced-quality`, `cached-similar`, `alternative-provider`; "
        "comma-separated. Nothing if unset, unless a request asks for it.",
    )
    fallback_stale: float = Field(
        default=7 * 86400.0,
        ge=0,
        description="Seconds ago that an entry may have expired to be served by `cached-similar`, where the request doesn't say.",
    )

    simulator_latency: float | Literal["real"] = Field(
        default=2.0,
        description="Seconds the built-in simulator takes for an answer; `real` for the latencies of real models.",
    )

    profile: Literal["strict", "verified"] = Field(
        default="strict",
        description="How close a candidate must be before it is verified: `strict` cosine 0.92, `verified` 0.85.",
    )
    similarity_threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least cosine similarity of a semantic hit; the profile's (0.92) if unset.",
    )
    semantic_images: Literal["on", "off", "shadow"] = Field(
        default="on",
        description="Semantic hits of images. `off`: exact hits only. `shadow`: look up and verify, say in `Cache-Status` and "
        "metrics what would have been served, and generate.",
    )
    semantic_chat: Literal["on", "off", "shadow"] = Field(
        default="on",
        description="The same for chat. Either way vectors are stored, so that it can be switched on later.",
    )
    search_candidates: int = Field(
        default=5, ge=1, le=100, description="Candidates that are verified at most for one prompt."
    )
    verifier: Literal["rules", "learned"] = Field(
        default="learned",
        description="What judges a candidate: `rules`, and trained models where the rules can't tell (`learned`), or `rules` alone: fewer "
        "hits, hardly one of them wrong, 90 MB less. Figures: models/verifier/CARD.md.",
    )
    verifier_thresholds: Path | None = Field(
        default=None,
        description="Thresholds of the `learned` verifier that `cache-service calibrate` wrote; those it came with if unset. A file for "
        "another model, or for candidates that are closer than the threshold in force asks for, is refused at the start.",
    )
    candidate_prior: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of the candidates that ask for the same, over the threshold in force: what `calibrate` and `evaluate` re-weight "
        "labelled pairs to. Shadow mode or a replay measures it.",
    )
    verify_timeout: float = Field(
        default=1.0,
        gt=0,
        description="Seconds that verifying one prompt's candidates may take; later they count as unsure, which is a miss.",
    )
    embed_timeout: float = Field(
        default=10.0,
        gt=0,
        description="An embedding that takes longer counts as failed: the prompt is found exactly only.",
    )
    embedder: Literal["auto", "onnx", "openvino", "sentence-transformers"] = Field(
        default="auto",
        description="Engine of the embedding model. `auto`: `openvino` where it is installed and the processor multiplies bfloat16, else "
        "`onnx`. Their vectors are of one model (cosine ≥ 0.9999) and may be mixed.",
    )
    embedding_model: str = Field(
        default="all-MiniLM-L6-v2",
        description="Name of the embedding model in `manifest.toml`. Run `reindex` before a switch; vectors of two models are never compared.",
    )
    embedding_threads: int = Field(
        default=0,
        ge=0,
        description="Threads that embed: one prompt alone has all of them, many at once share them out; 0 takes the machine's cores.",
    )
    models_dir: Path = Field(
        default=Path("models"), description="Folder with `manifest.toml`; the weights lie in its `cache`."
    )

    ttl_images: float = Field(default=0.0, ge=0, description="Seconds an image entry stays fresh; 0 for ever.")
    ttl_chat: float = Field(default=7 * 86400.0, ge=0, description="Seconds a chat entry stays fresh; 0 for ever.")
    ttl_volatile: float = Field(
        default=60.0,
        gt=0,
        description="Seconds a chat entry stays fresh at most whose last turn asks about now (`today`, `latest`), about the asker "
        "(`my account`, an order's number) or for something to be done (`cancel`, `pay`); such turns are never compared by meaning.",
    )
    ttl_models: Durations = Field(
        default=(),
        description="Seconds that entries of a model stay fresh, instead of their operation's: `gpt-5-mini=3600,gpt-image-*=0`. A name may "
        "end in `*`; the longest that fits counts.",
    )
    max_entries: int | None = Field(
        default=None, gt=0, description="Entries kept in all; unbounded if unset. What is over is evicted."
    )
    max_blob_bytes: int | None = Field(default=None, gt=0, description="Bytes of pictures kept in all.")
    namespace_max_entries: int | None = Field(default=None, gt=0, description="Entries kept of each namespace.")
    namespace_max_blob_bytes: int | None = Field(
        default=None, gt=0, description="Bytes of pictures kept of each namespace."
    )
    namespace_bounds: tuple[NamespaceBound, ...] = Field(
        default=(), description="Namespaces with bounds of their own; TOML only."
    )
    eviction: Literal["cost", "lru", "lfu"] = Field(
        default="cost",
        description="What goes first: `cost` the least money saved for the place it takes (how often it is asked for, its price, its "
        "size), `lru` the longest unused, `lfu` the least often used. What has expired goes before all.",
    )
    wrong_hits_images: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Share of semantic hits of images that may be wrong. Where clients' feedback says that it is exceeded, the "
        "threshold of that namespace rises.",
    )
    wrong_hits_chat: float = Field(default=0.02, gt=0, lt=1, description="The same for chat.")
    feedback_prior: float = Field(
        default=50.0, gt=0, description="How many judged pairs the belief is worth that hits are as good as allowed."
    )
    feedback_half_life: float = Field(
        default=30 * 86400.0, gt=0, description="Seconds in which feedback loses half its weight on the threshold."
    )
    keep_hits: int = Field(
        default=100_000, gt=0, description="Semantic hits kept on record, so that feedback can name them."
    )
    keep_requests: int = Field(
        default=2000,
        ge=0,
        le=100_000,
        description="Last requests kept in memory with their prompts, for operators to see why each was a hit or a miss; 0 keeps none.",
    )
    keep_changes: float = Field(
        default=7 * 86400.0, gt=0, description="Seconds that rows of the change feed and purges are kept."
    )

    alert_profile: Literal["own-baseline", "fixed"] = Field(
        default="own-baseline",
        description="Thresholds of alerts. `own-baseline`: 5 % errors, 1 % refusals, p95 of misses 1.5 times what it was the day before, "
        "by model and quality. `fixed`: 10 %, 20 %, 5 s.",
    )
    alert_error_rate: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of failed requests above which an alert fires; the profile's if unset.",
    )
    alert_refused_rate: float | None = Field(
        default=None, gt=0, lt=1, description="The same for calls that the upstream refuses for their rate."
    )
    alert_miss_p95: float | None = Field(
        default=None, gt=0, description="Seconds that 95 % of the misses may take; the profile's rule if unset."
    )
    alert_webhook_url: SecretStr | None = Field(
        default=None, description="Where changes of alerts are posted, as Alertmanager would; nowhere if unset."
    )

    hot_entry_bytes: int = Field(
        default=32 * 2**20,
        ge=0,
        description="Memory for entries that were served lately, found without asking the database; 0 asks it each time.",
    )
    hot_body_bytes: int = Field(
        default=64 * 2**20,
        ge=0,
        description="Memory for their bodies as they go out, so that a picture isn't read, checked and encoded again.",
    )
    hot_request_bytes: int = Field(
        default=16 * 2**20,
        ge=0,
        description="Memory for requests that were asked lately and their keys, so that the same bytes aren't taken apart again.",
    )
    max_body_bytes: int = Field(default=8 * 2**20, gt=0, description="A larger request body is refused with 413.")
    max_held_body_bytes: int = Field(
        default=256 * 2**20,
        gt=0,
        description="Bytes of request bodies in memory at once; beyond that a body of more than 64 KiB is refused with 503. A body takes about "
        "four times its bytes while it is read.",
    )
    max_in_flight_requests: int = Field(
        default=2000, gt=0, description="Requests being answered at once; more are refused with 503."
    )
    max_in_flight_per_client: int = Field(
        default=1000,
        gt=0,
        description="The same of one client, so that none takes all the room; more are refused with 429.",
    )
    max_connections: int = Field(
        default=10_000,
        gt=0,
        description="Connections open at once; fewer where the process may not open so many files. The longest idle one makes room; where none "
        "is idle, a new one is answered 503.",
    )
    max_batch_items: int = Field(default=10_000, gt=0, description="Requests of one batch; more are refused with 413.")
    max_batch_bytes: int = Field(
        default=64 * 2**20, gt=0, description="A larger body of `POST /v1/generate/batches` is refused with 413."
    )
    max_batches: int = Field(
        default=8, gt=0, description="Batches of one client that may run at once; more are refused with 429."
    )
    batch_concurrency: int = Field(
        default=256,
        gt=0,
        description="Items of all batches that are under way at once in one process. They wait behind what clients wait for.",
    )
    keep_batches: float = Field(
        default=7 * 86400.0, gt=0, description="Seconds that a batch's results can be read after its end."
    )
    small_partition: int = Field(
        default=2000,
        ge=1,
        description="Partitions up to this many entries are compared one by one; larger ones get cells of their own, 64 bytes an entry, "
        "in which at most one in a thousand near neighbours is missed.",
    )
    shutdown_grace: float = Field(
        default=180.0, ge=0, description="Seconds that generations in flight may take to finish after TERM."
    )
    tracing: Literal["off", "otlp"] = Field(
        default="off",
        description="Traces and request durations by OpenTelemetry. `otlp` needs the extra `otel`; where they go is said by its own variables "
        "(`OTEL_EXPORTER_OTLP_ENDPOINT`).",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto`: console on a terminal, else JSON."
    )

    @field_validator("simulator_latency")
    @classmethod
    def _seconds(cls, value: float | Literal["real"]) -> float | Literal["real"]:
        if value != "real" and not 0 <= value < float("inf"):
            raise ValueError("expected seconds from 0, or `real`")
        return value

    @field_validator("client_budgets")
    @classmethod
    def _named_amounts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            name, _, amount = entry.rpartition(":")
            try:
                known = name.strip() and 0 <= float(amount) < float("inf")
            except ValueError:
                known = False
            if not known:
                raise ValueError(f"{entry!r}: expected name:USD")
        return value

    @field_validator("alert_webhook_url")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Settings:
        names = [PRIMARY, *(one.name for one in self.upstream_alternatives)]
        if len(set(names)) < len(names):
            raise ValueError(f"alternatives need different names, and none may be called {PRIMARY!r}")
        if "alternative-provider" in self.fallback and not self.upstream_alternatives:
            raise ValueError("fallback has alternative-provider, but upstream_alternatives is empty")
        return self

    @property
    def threshold(self) -> float:
        """Least cosine of a semantic hit."""
        return PROFILES[self.profile] if self.similarity_threshold is None else self.similarity_threshold

    @property
    def uses_simulator(self) -> bool:
        """True where neither a base URL nor keys are set."""
        return self.upstream_base_url is None and not self.upstream_api_keys and not self.upstream_pools


def load(
    environ: Mapping[str, str],
    *,
    config_file: Path | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Settings, dict[str, str]]:
    """The settings and, for each, where its value came from: "default", "file PATH", "variable NAME" or "--set".

    environ: the process's variables. config_file: else the one `CACHE_SERVICE_CONFIG` names. overrides: "name=value".
    Raises ConfigurationError.
    """
    values: dict[str, Any] = {}
    origin = dict.fromkeys(Settings.model_fields, "default")
    named = environ.get(CONFIG_VARIABLE)
    path = config_file or (Path(named) if named else None)
    if path is not None:
        for name, value in _read_toml(path).items():
            _accept(name, value, f"file {path}", values, origin)
    for variable, value in environ.items():
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE:
            _accept(variable.removeprefix(PREFIX).lower(), value, f"variable {variable}", values, origin)
    for override in overrides:
        name, separator, value = override.partition("=")
        if not separator:
            raise ConfigurationError(f"--set {override!r}: expected NAME=VALUE")
        _accept(name.strip().lower(), value, "--set", values, origin)
    try:
        return Settings(**values), origin
    except ValidationError as error:
        # from None: the driver's text would repeat the value, which may be a secret
        raise ConfigurationError(_explain(error, origin)) from None


def masked(settings: Settings) -> dict[str, Any]:
    """Every setting as plain JSON values, secrets as `**********`."""
    return settings.model_dump(mode="json")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"configuration file {path}: {error}") from error


def _accept(name: str, value: Any, source: str, values: dict[str, Any], origin: dict[str, str]) -> None:
    if name not in Settings.model_fields:
        nearest = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.4)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigurationError(f"unknown setting {name!r} ({source}){hint}")
    values[name] = value
    origin[name] = source


def _explain(error: ValidationError, origin: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:  # of several settings together, which the message names
            lines.append(message)
            continue
        where = ".".join(str(part) for part in problem["loc"])
        lines.append(f"setting {where!r} ({origin.get(str(problem['loc'][0]), 'default')}): {message}")
    return "; ".join(lines)
