"""Batches of requests, their items, and those that went through the upstream's own Batch API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "batches",
        sa.Column("number", big_id, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("cancelled_at", sa.Double()),
        sa.Column("ended_at", sa.Double()),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_batches")),
        sa.UniqueConstraint("id", name=op.f("uq_batches_id")),
    )
    op.create_index(op.f("ix_batches_ended_at"), "batches", ["ended_at"])

    op.create_table(
        "batch_items",
        sa.Column("batch", big_id, autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("same_as", sa.Integer()),
        sa.Column("number", sa.Integer()),
        sa.Column("decision", sa.Text()),
        sa.Column("usd", sa.Double()),
        sa.Column("upstream_batch", sa.BigInteger()),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("steering", sa.Text(), nullable=False),
        sa.Column("cache", sa.Text()),
        sa.Column("body", sa.Text()),
        sa.Column("sent", sa.Text()),
        sa.Column("draft", sa.Text()),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'done', 'failed', 'skipped', 'cancelled')", name=op.f("ck_batch_items_state")
        ),
        sa.ForeignKeyConstraint(
            ["batch"], ["batches.number"], name=op.f("fk_batch_items_batch_batches"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch", "position", name=op.f("pk_batch_items")),
        sa.UniqueConstraint("batch", "number", name=op.f("uq_batch_items_batch_number")),
    )
    op.create_index(op.f("ix_batch_items_batch_state_position"), "batch_items", ["batch", "state", "position"])
    op.create_index(op.f("ix_batch_items_upstream_batch"), "batch_items", ["upstream_batch"])
    op.create_index(op.f("ix_batch_items_batch_same_as"), "batch_items", ["batch", "same_as"])

    op.create_table(
        "upstream_batches",
        sa.Column("number", big_id, nullable=False),
        sa.Column("batch", big_id, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text()),
        sa.Column("upstream_id", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'ended')", name=op.f("ck_upstream_batches_state")),
        sa.ForeignKeyConstraint(
            ["batch"], ["batches.number"], name=op.f("fk_upstream_batches_batch_batches"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_upstream_batches")),
    )
    op.create_index(op.f("ix_upstream_batches_batch"), "upstream_batches", ["batch"])


def downgrade() -> None:
    op.drop_table("upstream_batches")
    op.drop_table("batch_items")
    op.drop_table("batches")
