"""Pages of a profile, of an issuer, and of revoked certificates by their expiry, without a walk past all others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("profile", "issuer_id"):
        op.create_index(f"ix_certificates_{column}_issued_at_id", "certificates", [column, "issued_at", "id"])
    op.create_index(
        "ix_certificate_status_revoked_not_after",
        "certificate_status",
        ["not_after", "certificate_id"],
        sqlite_where=sa.text("revoked_at IS NOT NULL"),
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")
