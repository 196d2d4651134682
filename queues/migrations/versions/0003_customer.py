"""What a customer brought before is found without looking at every ticket.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

HAS_ONE = sa.text("customer <> ''")


def upgrade() -> None:
    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.create_index(
            "ix_ticket_customer", ["team", "customer", "id"], unique=False, sqlite_where=HAS_ONE,
            postgresql_where=HAS_ONE,
        )  # fmt: skip


def downgrade() -> None:
    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.drop_index("ix_ticket_customer", sqlite_where=HAS_ONE, postgresql_where=HAS_ONE)
