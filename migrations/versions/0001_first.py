"""The first schema: issuers, certificates, statuses with their changes, retries, revocation lists, credentials."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite gives a row number only to a column that is spelled INTEGER PRIMARY KEY.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _position()
    _issuers()
    _certificates()
    _statuses()
    op.create_table(
        "idempotency_keys",
        sa.Column("identity", sa.String(512), nullable=False),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("payload_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("outcome", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("identity", "method", "request_id", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "crls",
        sa.Column("issuer_id", sa.Integer, nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.Column("this_update", sa.BigInteger, nullable=False),
        sa.Column("next_update", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "number", name="pk_crls"),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuers.id"], name="fk_crls_issuer_id_issuers"),
    )
    op.create_table(
        "credentials",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("identity", sa.String(512), nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("denied_at", sa.BigInteger, nullable=True),
        sa.Column("denied_because", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_credentials"),
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose what was recorded")


def _position() -> None:
    table = op.create_table(
        "position",
        sa.Column("id", sa.SmallInteger, nullable=False),
        sa.Column("history", sa.String(64), nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_position"),
    )
    op.bulk_insert(table, [{"id": 1, "history": secrets.token_hex(8), "value": 0}])


def _issuers() -> None:
    op.create_table(
        "issuers",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("subject_der", sa.LargeBinary, nullable=False),
        sa.Column("public_key_der", sa.LargeBinary, nullable=False),
        sa.Column("parent_id", sa.Integer, nullable=True),
        sa.Column("key_ref", sa.Text, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_issuers"),
        sa.ForeignKeyConstraint(["parent_id"], ["issuers.id"], name="fk_issuers_parent_id_issuers"),
        sa.UniqueConstraint("name", name="uq_issuers_name"),
        sa.UniqueConstraint("subject_der", "public_key_der", name="uq_issuers_subject_der_public_key_der"),
    )
    op.create_table(
        "issuer_certificates",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("issuer_id", sa.Integer, nullable=False),
        sa.Column("preference", sa.Integer, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_issuer_certificates"),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuers.id"], name="fk_issuer_certificates_issuer_id_issuers"),
        sa.UniqueConstraint("issuer_id", "preference", name="uq_issuer_certificates_issuer_id_preference"),
    )


def _certificates() -> None:
    op.create_table(
        "certificates",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("issuer_id", sa.Integer, nullable=False),
        sa.Column("serial", sa.LargeBinary(20), nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("subject_alternative_names", sa.Text, nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("public_key_sha256", sa.LargeBinary(32), nullable=True),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        *_actor_columns(),
        sa.PrimaryKeyConstraint("id", name="pk_certificates"),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuers.id"], name="fk_certificates_issuer_id_issuers"),
    )
    op.create_index("ix_certificates_issued_at_id", "certificates", ["issued_at", "id"])
    op.create_index("ix_certificates_not_after_id", "certificates", ["not_after", "id"])
    op.create_index(
        "ix_certificates_delegates",
        "certificates",
        ["actor_identity", "issuer_id", "not_after"],
        sqlite_where=sa.text("profile = 'ocsp-responder'"),
        postgresql_where=sa.text("profile = 'ocsp-responder'"),
    )
    op.create_table(
        "certificate_names",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("certificate_id", ROW_ID, nullable=False),
        sa.PrimaryKeyConstraint("name", "certificate_id", name="pk_certificate_names"),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificates.id"], name="fk_certificate_names_certificate_id_certificates"
        ),
        sqlite_with_rowid=False,
    )


def _statuses() -> None:
    op.create_table(
        "certificate_status",
        sa.Column("issuer_id", sa.Integer, nullable=False),
        sa.Column("serial", sa.LargeBinary(20), nullable=False),
        sa.Column("certificate_id", ROW_ID, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
        sa.Column("reason", sa.SmallInteger, nullable=True),
        sa.Column("invalidity_at", sa.BigInteger, nullable=True),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "serial", name="pk_certificate_status"),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuers.id"], name="fk_certificate_status_issuer_id_issuers"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_certificate_status_revoked",
        "certificate_status",
        ["issued_at", "certificate_id"],
        sqlite_where=sa.text("revoked_at IS NOT NULL"),
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )
    op.create_table(
        "status_changes",
        sa.Column("revision", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("issuer_id", sa.Integer, nullable=False),
        sa.Column("serial", sa.LargeBinary(20), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
        sa.Column("reason", sa.SmallInteger, nullable=True),
        sa.Column("invalidity_at", sa.BigInteger, nullable=True),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        *_actor_columns(),
        sa.PrimaryKeyConstraint("revision", name="pk_status_changes"),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuers.id"], name="fk_status_changes_issuer_id_issuers"),
    )


def _actor_columns() -> list[sa.Column[str]]:
    return [
        sa.Column("actor_identity", sa.String(512), nullable=False),
        sa.Column("actor_name", sa.String(255), nullable=False),
        sa.Column("actor_role", sa.String(32), nullable=False),
        sa.Column("actor_fingerprint", sa.String(64), nullable=False),
        sa.Column("peer", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
    ]
