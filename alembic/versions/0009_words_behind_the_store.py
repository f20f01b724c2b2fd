"""SQLite's full-text index is no longer kept by the store of an entry: prompts are learnt later, several at once (`store/words.py`).

What has been learnt is forgotten as before, in the transaction that deletes or rewrites the entry.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FORGET = "INSERT INTO entry_words(entry_words, rowid, prompt) VALUES ('delete', old.id, substr(old.prompt, 1, 32000))"
LEARN = "INSERT INTO entry_words(rowid, prompt) VALUES (new.id, substr(new.prompt, 1, 32000))"
CHANGED = "old.prompt IS NOT new.prompt"
LEARNT = "EXISTS (SELECT 1 FROM entry_words_docsize WHERE id = old.id)"


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER entry_words_added")
        _make_anew(removed=f"WHEN {LEARNT} ", changed=f"WHEN {CHANGED} AND {LEARNT} ")


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        _make_anew(removed="", changed=f"WHEN {CHANGED} ")
        op.execute(f"CREATE TRIGGER entry_words_added AFTER INSERT ON entries BEGIN {LEARN}; END")
        op.execute("INSERT INTO entry_words(entry_words) VALUES ('rebuild')")


def _make_anew(*, removed: str, changed: str) -> None:
    """The triggers that forget. removed, changed: when they do."""
    for name in ("removed", "changed"):
        op.execute(f"DROP TRIGGER entry_words_{name}")
    op.execute(f"CREATE TRIGGER entry_words_removed AFTER DELETE ON entries {removed}BEGIN {FORGET}; END")
    both = f"{FORGET}; {LEARN}"
    op.execute(f"CREATE TRIGGER entry_words_changed AFTER UPDATE OF prompt ON entries {changed}BEGIN {both}; END")
