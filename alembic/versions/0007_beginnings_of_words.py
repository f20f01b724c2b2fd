"""How words begin, in SQLite's full-text index: else `fo*` reads the places of every word that begins so before it finds one."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SOURCE = "content='entry_words_source', content_rowid='id', tokenize='unicode61 remove_diacritics 0'"


def upgrade() -> None:
    _make_anew(f"fts5(prompt, {SOURCE}, prefix='1 2 3')")


def downgrade() -> None:
    _make_anew(f"fts5(prompt, {SOURCE})")


def _make_anew(table: str) -> None:
    """The triggers on `entries` name the table and stay."""
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE entry_words")
        op.execute(f"CREATE VIRTUAL TABLE entry_words USING {table}")
        op.execute("INSERT INTO entry_words(entry_words) VALUES ('rebuild')")
