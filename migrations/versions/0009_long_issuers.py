"""Issuers with long keys: what is unique of an issuer is indexed by hashes on PostgreSQL.

An index row there holds 2,704 octets. A key of ML-DSA-87 alone has 2,614, which left some 65 for the subject.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NAME = "uq_issuers_subject_der_public_key_der"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.drop_constraint(_NAME, "issuers", type_="unique")
    op.execute(f"CREATE UNIQUE INDEX {_NAME} ON issuers (sha256(subject_der), sha256(public_key_der))")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")
