"""The audit log, which only ever grows; the changes of one certificate; counts of certificates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# SQLite gives a row number only to a column that is spelled INTEGER PRIMARY KEY.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

NEVER = "audit entries are never changed or removed"
UNRECORDED = "certificate_id IS NULL AND serial IS NOT NULL"
REFUSED = "result <> 'OK'"

# Reads all certificates, once.
FILL_COUNTS = """
INSERT INTO certificate_counts (issuer_id, profile, expiry_hour, issued, revoked)
SELECT c.issuer_id, c.profile, c.not_after / 3600, count(*), count(s.revoked_at)
FROM certificates c JOIN certificate_status s ON s.issuer_id = c.issuer_id AND s.serial = c.serial
GROUP BY c.issuer_id, c.profile, c.not_after / 3600
"""


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("sequence", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("actor_identity", sa.String(512), nullable=False),
        sa.Column("actor_name", sa.String(255), nullable=False),
        sa.Column("actor_role", sa.String(32), nullable=False),
        sa.Column("actor_fingerprint", sa.String(64), nullable=False),
        sa.Column("peer", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("result", sa.String(64), nullable=False),
        sa.Column("issuer", sa.String(64), nullable=False),
        sa.Column("serial", sa.LargeBinary(20), nullable=True),
        sa.Column("certificate_id", ROW_ID, nullable=True),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_entries"),
    )
    op.create_index("ix_audit_entries_time_sequence", "audit_entries", ["time", "sequence"])
    op.create_index("ix_audit_entries_certificate_id_sequence", "audit_entries", ["certificate_id", "sequence"])
    for name, columns, where in (
        ("ix_audit_entries_refused", ["time", "sequence"], REFUSED),
        ("ix_audit_entries_unrecorded", ["serial", "sequence"], UNRECORDED),
    ):
        op.create_index(name, "audit_entries", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.SmallInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "hash": bytes(32)}])
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()
    op.create_index(
        "ix_status_changes_issuer_id_serial_revision", "status_changes", ["issuer_id", "serial", "revision"]
    )
    _counts()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")


def _counts() -> None:
    op.create_table(
        "certificate_counts",
        sa.Column("issuer_id", sa.Integer, nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("expiry_hour", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("issued", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "profile", "expiry_hour", name="pk_certificate_counts"),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuers.id"], name="fk_certificate_counts_issuer_id_issuers"),
        sqlite_with_rowid=False,
    )
    op.execute(FILL_COUNTS)


def _guard_sqlite() -> None:
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_entries_no_{action.lower()} BEFORE {action} ON audit_entries"
            f" BEGIN SELECT RAISE(ABORT, '{NEVER}'); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change_of_audit_entries() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{NEVER}'; END $$"
    )
    for action in ("UPDATE", "DELETE", "TRUNCATE"):
        op.execute(
            f"CREATE TRIGGER audit_entries_no_{action.lower()} BEFORE {action} ON audit_entries"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_entries()"
        )
