"""Certificates are found by their public key.

The release before must be able to run on this schema, too: add first, remove one release later.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_certificates_public_key_sha256_id", "certificates", ["public_key_sha256", "id"])


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")
