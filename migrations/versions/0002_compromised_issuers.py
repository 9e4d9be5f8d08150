"""Issuers whose CA certificates are revoked, and issuers whose key is in other hands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("issuers", sa.Column("compromised_by", sa.BigInteger, nullable=True))
    op.add_column("issuer_certificates", sa.Column("revoked_by", sa.BigInteger, nullable=True))


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")
