"""For administration: prompts by words, lists in order, client keys and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FORGET = "INSERT INTO entry_words(entry_words, rowid, prompt) VALUES ('delete', old.id, substr(old.prompt, 1, 32000))"
LEARN = "INSERT INTO entry_words(rowid, prompt) VALUES (new.id, substr(new.prompt, 1, 32000))"
CHANGED = "old.prompt IS NOT new.prompt"
FTS5 = "fts5(prompt, content='entry_words_source', content_rowid='id', tokenize='unicode61 remove_diacritics 0')"
SQLITE = (
    "CREATE VIEW entry_words_source AS SELECT id, substr(prompt, 1, 32000) AS prompt FROM entries",
    f"CREATE VIRTUAL TABLE entry_words USING {FTS5}",
    f"CREATE TRIGGER entry_words_added AFTER INSERT ON entries BEGIN {LEARN}; END",
    f"CREATE TRIGGER entry_words_removed AFTER DELETE ON entries BEGIN {FORGET}; END",
    f"CREATE TRIGGER entry_words_changed AFTER UPDATE OF prompt ON entries WHEN {CHANGED} BEGIN {FORGET}; {LEARN}; END",
    "INSERT INTO entry_words(entry_words) VALUES ('rebuild')",
)
POSTGRESQL = (
    "CREATE INDEX ix_entry_words ON entries USING gin (to_tsvector('simple'::regconfig, left(prompt, 32000)))",
)


def upgrade() -> None:
    for column in ("namespace", "model", "created_at"):
        op.drop_index(op.f(f"ix_entries_{column}"), "entries")
        op.create_index(f"ix_entries_{column}_id", "entries", [column, "id"])
    op.drop_index(op.f("ix_tags_tag"), "tags")
    op.create_index("ix_tags_tag_entry_id", "tags", ["tag", "entry_id"])
    for statement in SQLITE if op.get_context().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)

    big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "audit",
        sa.Column("id", big_id, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("affected", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "client_keys",
        sa.Column("id", big_id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("usd_per_day", sa.Double()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.Double()),
        sa.CheckConstraint("role IN ('client', 'viewer', 'admin')", name=op.f("ck_client_keys_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_client_keys_digest")),
    )


def downgrade() -> None:
    op.drop_table("client_keys")
    op.drop_table("audit")
    if op.get_context().dialect.name == "sqlite":
        for name in ("added", "removed", "changed"):
            op.execute(f"DROP TRIGGER entry_words_{name}")
        op.execute("DROP TABLE entry_words")
        op.execute("DROP VIEW entry_words_source")
    else:
        op.execute("DROP INDEX ix_entry_words")
    op.drop_index("ix_tags_tag_entry_id", "tags")
    op.create_index(op.f("ix_tags_tag"), "tags", ["tag"])
    for column in ("namespace", "model", "created_at"):
        op.drop_index(f"ix_entries_{column}_id", "entries")
        op.create_index(op.f(f"ix_entries_{column}"), "entries", [column])
