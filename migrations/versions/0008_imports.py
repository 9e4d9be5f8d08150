"""Imports: what to do about certificates whose hold came in from elsewhere. Issuers may be pending from now on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hold_instructions",
        sa.Column("revision", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("instruction", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_hold_instructions"),
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")
