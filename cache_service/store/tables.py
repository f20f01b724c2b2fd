"""The tables, as this program expects them; `alembic/` brings a database there and a test holds the two together.

JSON is kept as text, because the order of its members is part of an answer. Text columns hold any Unicode except NUL.
Every row that is served carries a checksum of its own (CRC-32): SQLite has none for its pages, and a flipped bit must
turn into a miss, never into a wrong answer. Ids are never reused: an index may still name an entry that is gone.
"""

from __future__ import annotations

import sqlalchemy as sa

REVISION = "0010"
"""The newest Alembic revision: the schema described here."""

LIVE = "live"
QUARANTINED = "quarantined"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits on both; SQLite numbers rows only where the column is called INTEGER."""

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
WORDS = "entry_words"
"""The full-text index of prompts: an FTS5 table on SQLite, which `words` keeps with triggers on `entries`; on PostgreSQL an index by `words_of`.

Whoever makes `entries` anew in a migration must make them anew too.
"""

TEXT_LIMIT = 32_000
"""Characters of a prompt that can be found by words: an image's prompt has no more, and a tsvector has a bound."""


def _index_where_there_is(table: str, column: str) -> sa.Index:
    """An index of the rows that have a value there: the others cost a store nothing."""
    there = sa.text(f"{column} IS NOT NULL")
    return sa.Index(f"ix_{table}_{column}", column, sqlite_where=there, postgresql_where=there)


entries = sa.Table(
    "entries",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("exact_key", sa.Text, nullable=False, unique=True),
    sa.Column("key_version", sa.Integer, nullable=False),
    sa.Column("partition", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("model", sa.Text),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("prompt_digest", sa.Text, nullable=False, index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("envelope", sa.Text, nullable=False),
    sa.Column("made", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("exact_only", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("upstream_group", sa.Text, nullable=False),
    sa.Column("checksum", sa.BigInteger, nullable=False),
    sa.CheckConstraint(f"state IN ('{LIVE}', '{QUARANTINED}')", name="state"),
    _index_where_there_is("entries", "expires_at"),
    *(sa.Index(f"ix_entries_{name}_id", name, "id") for name in ("namespace", "operation", "model", "created_at")),
    sqlite_autoincrement=True,
)

outputs = sa.Table(
    "outputs",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("entry_id", BigId, sa.ForeignKey("entries.id", ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("usage", sa.Text),
    sa.Column("blob", sa.Text),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("media_type", sa.Text),
    sa.Column("upstream_request_id", sa.Text),
    sa.Column("checksum", sa.BigInteger, nullable=False),
    sa.Column("usd", sa.Double),
    sa.UniqueConstraint("entry_id", "position"),
    _index_where_there_is("outputs", "blob"),
)

vectors = sa.Table(
    "vectors",
    metadata,
    sa.Column("entry_id", BigId, sa.ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("model_id", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # float32, little-endian
    sa.Column("analysis_version", sa.Text, nullable=False),
    sa.Column("analysis", sa.Text, nullable=False),
    sa.Column("checksum", sa.BigInteger, nullable=False),
)

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("entry_id", BigId, sa.ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Index("ix_tags_tag_entry_id", "tag", "entry_id"),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("number", BigId, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("entry_id", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

purges = sa.Table(
    "purges",
    metadata,
    sa.Column("number", BigId, primary_key=True, autoincrement=False),
    sa.Column("predicate", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)

counter = sa.Table(
    "counter",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.Text, nullable=False),
    sa.Column("trimmed", sa.BigInteger, nullable=False),  # number of the newest purge that is no longer kept
    sa.Column("ranking", sa.Text),  # the rule by which the priorities in `worth` were computed
    sa.CheckConstraint("id = 1", name="one_row"),
)

worth = sa.Table(
    "worth",
    metadata,
    sa.Column("entry_id", BigId, sa.ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("blob_bytes", sa.BigInteger, nullable=False),
    sa.Column("usd", sa.Double),
    sa.Column("hits", sa.BigInteger, nullable=False),
    sa.Column("last_used", sa.Double, nullable=False),
    sa.Column("priority", sa.Double, nullable=False, index=True),
    sa.Index(
        "ix_worth_namespace_priority_blob_bytes", "namespace", "priority", "blob_bytes"
    ),  # all that adding up reads
)
"""What an entry is worth keeping; apart from `entries`, so that counting hits rewrites nothing that is served."""

floors = sa.Table(
    "floors",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("priority", sa.Double, nullable=False),
)
"""The highest priority that was evicted, of all namespaces or of each: new entries stand on it (`eviction` says why)."""

_PAIR = ("asked_key", "asked_digest", "stored_key", "stored_digest")

hits = sa.Table(
    "hits",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in _PAIR),
    sa.Column("similarity", sa.Double, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("shadow", sa.Boolean, nullable=False),
    *(sa.Index(f"ix_hits_namespace_{name}", "namespace", name) for name in ("request_id", "asked_key", "stored_key")),
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("number", BigId, primary_key=True, autoincrement=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("undone", sa.BigInteger, index=True),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in _PAIR),
    sa.Column("similarity", sa.Double, nullable=False),
    sa.Column("hit_at", sa.Double, nullable=False),
    sa.Column("shadow", sa.Boolean, nullable=False),
    sa.CheckConstraint("verdict IN ('wrong', 'right')", name="verdict"),
)
"""Holds the hit whole: the record of hits is bounded, feedback is kept."""

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("affected", sa.BigInteger, nullable=False),
)

client_keys = sa.Table(
    "client_keys",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("usd_per_day", sa.Double),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("revoked_at", sa.Double),
    sa.CheckConstraint("role IN ('client', 'viewer', 'admin')", name="role"),
)


def words_of(prompt: sa.ColumnElement[str]) -> sa.ColumnElement[object]:
    """PostgreSQL's words of a prompt, written as in the index."""
    return sa.func.to_tsvector(
        sa.literal_column("'simple'::regconfig"), sa.func.left(prompt, sa.literal_column(str(TEXT_LIMIT)))
    )


def of_full_text(name: str | None) -> bool:
    """Whether a table or index belongs to the full-text index, of which SQLAlchemy knows nothing."""
    return name is not None and (name == WORDS or name.startswith((f"{WORDS}_", f"ix_{WORDS}")))


_KIND = ("operation", "client", "model", "size", "quality", "upstream_group")

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.Double, nullable=False, index=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in _KIND),
    sa.Column("charge", sa.Text, nullable=False),
    sa.Column("usd", sa.Double),
    sa.Column("estimated", sa.Boolean, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("outputs", "tokens_in", "tokens_out")),
)
"""The ledger: a row for each generation that was paid or may have been."""

daily = sa.Table(
    "daily",
    metadata,
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, primary_key=True) for name in (*_KIND, "answer")),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("count", "outputs", "tokens_in", "tokens_out")),
    sa.Column("usd", sa.Double, nullable=False),
    sa.Column("unpriced", sa.BigInteger, nullable=False),
)
"""The ledger and the traffic added up by day, so that sums cost a few rows whatever was paid. Kept for ever; payments are trimmed."""


batches = sa.Table(
    "batches",
    metadata,
    sa.Column("number", BigId, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("ended", sa.Integer, nullable=False),  # items that have an outcome; the number of the newest result
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("cancelled_at", sa.Double),
    sa.Column("ended_at", sa.Double, index=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("lease", sa.Double, nullable=False),
)

batch_items = sa.Table(
    "batch_items",
    metadata,
    sa.Column("batch", BigId, sa.ForeignKey("batches.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("same_as", sa.Integer),
    sa.Column("number", sa.Integer),
    sa.Column("decision", sa.Text),
    sa.Column("usd", sa.Double),
    sa.Column("upstream_batch", sa.BigInteger, index=True),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("steering", sa.Text, nullable=False),
    sa.Column("cache", sa.Text),
    sa.Column("body", sa.Text),
    sa.Column("sent", sa.Text),
    sa.Column("draft", sa.Text),
    sa.CheckConstraint("state IN ('waiting', 'sent', 'done', 'failed', 'skipped', 'cancelled')", name="state"),
    sa.UniqueConstraint("batch", "number"),
    sa.Index("ix_batch_items_batch_state_position", "batch", "state", "position"),
    sa.Index("ix_batch_items_batch_same_as", "batch", "same_as"),
)
"""The wide columns stand last: counting the others reads none of their pages."""

upstream_batches = sa.Table(
    "upstream_batches",
    metadata,
    sa.Column("number", BigId, primary_key=True),
    sa.Column("batch", BigId, sa.ForeignKey("batches.number", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("key_name", sa.Text, nullable=False),
    sa.Column("file_id", sa.Text),
    sa.Column("upstream_id", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.CheckConstraint("state IN ('open', 'ended')", name="state"),
)
