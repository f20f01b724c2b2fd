"""What was spent, row by row and added up by day, and what each output cost when it was made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KIND = ("operation", "client", "model", "size", "quality", "upstream_group")


def upgrade() -> None:
    op.add_column("outputs", sa.Column("usd", sa.Double()))
    op.create_table(
        "payments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in KIND),
        sa.Column("charge", sa.Text(), nullable=False),
        sa.Column("usd", sa.Double()),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("outputs", "tokens_in", "tokens_out")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
    )
    op.create_index(op.f("ix_payments_at"), "payments", ["at"])
    op.create_table(
        "daily",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*KIND, "answer")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("count", "outputs", "tokens_in", "tokens_out")),
        sa.Column("usd", sa.Double(), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", *KIND, "answer", name=op.f("pk_daily")),
    )


def downgrade() -> None:
    op.drop_table("daily")
    op.drop_table("payments")
    op.drop_column("outputs", "usd")
