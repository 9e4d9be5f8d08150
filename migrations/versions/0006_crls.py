"""Revocation lists by scope, in blocks, and which shard a certificate names."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("certificate_status", sa.Column("crl_shard", sa.Integer, nullable=True))
    scopes = op.create_table(
        "crl_scopes",
        sa.Column("issuer_id", sa.Integer, sa.ForeignKey("issuers.id", name="fk_crl_scopes_issuer_id_issuers")),
        sa.Column("scope", sa.Integer, autoincrement=False),
        sa.Column("url", sa.Text, nullable=True),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "scope", name="pk_crl_scopes"),
    )
    lists = op.create_table(
        "crl_lists",
        sa.Column("issuer_id", sa.Integer, sa.ForeignKey("issuers.id", name="fk_crl_lists_issuer_id_issuers")),
        sa.Column("scope", sa.Integer, autoincrement=False),
        sa.Column("number", sa.BigInteger, autoincrement=False),
        sa.Column("this_update", sa.BigInteger, nullable=False),
        sa.Column("next_update", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("scheduled", sa.SmallInteger, nullable=False),
        sa.Column("entries", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "scope", "number", name="pk_crl_lists"),
    )
    blocks = op.create_table(
        "crl_blocks",
        sa.Column("issuer_id", sa.Integer, autoincrement=False),
        sa.Column("scope", sa.Integer, autoincrement=False),
        sa.Column("number", sa.BigInteger, autoincrement=False),
        sa.Column("block", sa.Integer, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "scope", "number", "block", name="pk_crl_blocks"),
    )
    _move(scopes, lists, blocks)
    op.drop_table("crls")


def _move(scopes: sa.Table, lists: sa.Table, blocks: sa.Table) -> None:
    """The lists of before were all full, without entries, and few."""
    conn = op.get_bind()
    numbers: dict[int, int] = {}
    query = "SELECT issuer_id, number, der, this_update, next_update FROM crls ORDER BY issuer_id, number"
    for issuer_id, number, der, this_update, next_update in conn.execute(sa.text(query)).all():
        key = {"issuer_id": issuer_id, "scope": 0, "number": number}
        values = {"this_update": this_update, "next_update": next_update, "revision": 0, "scheduled": 1, "entries": 0}
        digest = hashlib.sha256(der).digest()
        conn.execute(lists.insert(), {**key, **values, "size": len(der), "sha256": digest})
        conn.execute(blocks.insert(), {**key, "block": 0, "data": der})
        numbers[issuer_id] = number
    rows = [{"issuer_id": id_, "scope": 0, "url": None, "last_number": number} for id_, number in numbers.items()]
    if rows:
        conn.execute(scopes.insert(), rows)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")
