"""Public keys that are never certified again; those of certificates revoked for a compromise are among them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Reasons 1 (keyCompromise) and 2 (cACompromise); who revoked stands in status_changes.
FILL = """
INSERT INTO blocked_keys (public_key_sha256, source, comment, blocked_at,
  actor_identity, actor_name, actor_role, actor_fingerprint, peer, request_id)
SELECT certificates.public_key_sha256, 'revocation', '', MIN(certificate_status.changed_at), '', '', '', '', '', ''
FROM certificate_status JOIN certificates ON certificates.id = certificate_status.certificate_id
WHERE certificate_status.revoked_at IS NOT NULL AND certificate_status.reason IN (1, 2)
  AND certificates.public_key_sha256 IS NOT NULL
GROUP BY certificates.public_key_sha256
"""


def upgrade() -> None:
    op.create_table(
        "blocked_keys",
        sa.Column("public_key_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("blocked_at", sa.BigInteger, nullable=False),
        sa.Column("actor_identity", sa.String(512), nullable=False),
        sa.Column("actor_name", sa.String(255), nullable=False),
        sa.Column("actor_role", sa.String(32), nullable=False),
        sa.Column("actor_fingerprint", sa.String(64), nullable=False),
        sa.Column("peer", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("public_key_sha256", name="pk_blocked_keys"),
        sqlite_with_rowid=False,
    )
    op.execute(FILL)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")
