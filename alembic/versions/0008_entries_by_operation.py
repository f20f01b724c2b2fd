"""An index of entries by operation: a purge of one operation is counted first, which read the whole table."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_entries_operation_id", "entries", ["operation", "id"])


def downgrade() -> None:
    op.drop_index("ix_entries_operation_id", "entries")
