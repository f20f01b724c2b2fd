"""What each entry is worth keeping, so that bounds can be held."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worth",
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("blob_bytes", sa.BigInteger(), nullable=False),
        sa.Column("usd", sa.Double()),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("last_used", sa.Double(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["entries.id"], name=op.f("fk_worth_entry_id_entries"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_worth")),
    )
    op.create_index(op.f("ix_worth_priority"), "worth", ["priority"])
    op.create_index(op.f("ix_worth_namespace_priority_blob_bytes"), "worth", ["namespace", "priority", "blob_bytes"])
    op.create_table(
        "floors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_floors")),
    )
    op.add_column("counter", sa.Column("ranking", sa.Text()))  # empty: the service ranks what is there when it starts


def downgrade() -> None:
    op.drop_column("counter", "ranking")
    op.drop_table("floors")
    op.drop_table("worth")
