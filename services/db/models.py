"""The tables. Alembic (`migrations/`) makes them; this is what queries are written against.

Names of constraints follow one convention, so that a migration can name what it changes. Times are seconds since 1970;
serial numbers are bytes (see `records`).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives a row number only to a column that is spelled INTEGER PRIMARY KEY.
RowId = BigInteger().with_variant(Integer(), "sqlite")


def _actor_columns() -> list[Column[str]]:
    return [
        Column("actor_identity", String(512), nullable=False),
        Column("actor_name", String(255), nullable=False),
        Column("actor_role", String(32), nullable=False),
        Column("actor_fingerprint", String(64), nullable=False),
        Column("peer", String(128), nullable=False),
        Column("request_id", String(128), nullable=False),
    ]


# One row (id 1). `value` is the revision of the last committed change: a writer adds to it in its transaction, so that
# the row lock makes revisions follow the order of commits. Sequences do not.
position = Table(
    "position",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("history", String(64), nullable=False),
    Column("value", BigInteger, nullable=False),
)

issuers = Table(
    "issuers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("subject_der", LargeBinary, nullable=False),
    Column("public_key_der", LargeBinary, nullable=False),
    Column("parent_id", ForeignKey("issuers.id"), nullable=True),
    Column("key_ref", Text, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # The revision in status_changes by which its key counts as compromised; there is no way back.
    Column("compromised_by", BigInteger, nullable=True),
    UniqueConstraint("name"),
    # On PostgreSQL of their SHA-256: an index row cannot hold the key of ML-DSA-87 and a subject.
    UniqueConstraint("subject_der", "public_key_der"),
)

issuer_certificates = Table(
    "issuer_certificates",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("issuer_id", ForeignKey("issuers.id"), nullable=False),
    Column("preference", Integer, nullable=False),
    Column("der", LargeBinary, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    # The revision in status_changes by which it is revoked or on hold; NULL again after a release.
    Column("revoked_by", BigInteger, nullable=True),
    UniqueConstraint("issuer_id", "preference"),
)

# The description of a certificate: wide, and not read when a status is asked for.
certificates = Table(
    "certificates",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("issuer_id", ForeignKey("issuers.id"), nullable=False),
    Column("serial", LargeBinary(20), nullable=False),
    Column("der", LargeBinary, nullable=True),
    Column("subject", Text, nullable=False),
    Column("subject_alternative_names", Text, nullable=False),
    Column("profile", String(64), nullable=False),
    Column("public_key_sha256", LargeBinary(32), nullable=True),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    *_actor_columns(),
    # Keyset paging: latest first.
    Index("ix_certificates_issued_at_id", "issued_at", "id"),
    Index("ix_certificates_not_after_id", "not_after", "id"),
    # Finds what a leaked key touched.
    Index("ix_certificates_public_key_sha256_id", "public_key_sha256", "id"),
    # The same within a profile and an issuer: without, the few of a rare one are found by a walk past all others.
    Index("ix_certificates_profile_issued_at_id", "profile", "issued_at", "id"),
    Index("ix_certificates_issuer_id_issued_at_id", "issuer_id", "issued_at", "id"),
    # Finds the live delegated responder certificates of one caller (few rows).
    Index(
        "ix_certificates_delegates",
        "actor_identity",
        "issuer_id",
        "not_after",
        sqlite_where=text("profile = 'ocsp-responder'"),
        postgresql_where=text("profile = 'ocsp-responder'"),
    ),
)

# Common names and subject alternative names, for search: in lower case, long ones hashed (`certificates.search_name`).
certificate_names = Table(
    "certificate_names",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("certificate_id", RowId, ForeignKey("certificates.id"), primary_key=True),
    sqlite_with_rowid=False,
)

# The hot table: what an OCSP answer needs, and nothing else.
certificate_status = Table(
    "certificate_status",
    metadata,
    Column("issuer_id", ForeignKey("issuers.id"), primary_key=True),
    Column("serial", LargeBinary(20), primary_key=True),
    Column("certificate_id", RowId, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("revoked_at", BigInteger, nullable=True),
    Column("reason", SmallInteger, nullable=True),
    Column("invalidity_at", BigInteger, nullable=True),
    Column("changed_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # The scope of the revocation list that the certificate names; NULL where that is the full one, or none.
    Column("crl_shard", Integer, nullable=True),
    # Lists revoked certificates, latest issued first, without a walk past all the good ones.
    Index(
        "ix_certificate_status_revoked",
        "issued_at",
        "certificate_id",
        sqlite_where=text("revoked_at IS NOT NULL"),
        postgresql_where=text("revoked_at IS NOT NULL"),
    ),
    # The same, latest to expire first.
    Index(
        "ix_certificate_status_revoked_not_after",
        "not_after",
        "certificate_id",
        sqlite_where=text("revoked_at IS NOT NULL"),
        postgresql_where=text("revoked_at IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

# How many certificates there are, without counting them (`counts`): by issuer, profile and hour of expiry.
certificate_counts = Table(
    "certificate_counts",
    metadata,
    Column("issuer_id", ForeignKey("issuers.id"), primary_key=True),
    Column("profile", String(64), primary_key=True),
    Column("expiry_hour", BigInteger, primary_key=True, autoincrement=False),
    Column("issued", BigInteger, nullable=False),
    Column("revoked", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Every change of a status after issuing, in the order of commits: what watchers are told, and who did it. The
# columns after `action` are the status from then on; all of them are NULL after a release.
status_changes = Table(
    "status_changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("issuer_id", ForeignKey("issuers.id"), nullable=False),
    Column("serial", LargeBinary(20), nullable=False),
    Column("action", String(16), nullable=False),  # revoke, hold, release
    Column("revoked_at", BigInteger, nullable=True),
    Column("reason", SmallInteger, nullable=True),
    Column("invalidity_at", BigInteger, nullable=True),
    Column("changed_at", BigInteger, nullable=False),
    *_actor_columns(),
    # The changes of one certificate: its status as of a past time.
    Index("ix_status_changes_issuer_id_serial_revision", "issuer_id", "serial", "revision"),
)

# What to do about a certificate on hold, an object identifier with dots; by the revision of the hold, so that it goes
# with it. Only imported holds have one.
hold_instructions = Table(
    "hold_instructions",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("instruction", String(255), nullable=False),
)

# Makes retries safe (G6). `outcome` names the row that holds the result: a certificate id for IssueCertificate, a
# revision in status_changes for RevokeCertificate (an earlier one where the call changed nothing).
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("identity", String(512), primary_key=True),
    Column("method", String(64), primary_key=True),
    Column("request_id", String(128), primary_key=True),
    Column("payload_sha256", LargeBinary(32), nullable=False),
    Column("outcome", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

# What an issuer makes revocation lists of: scope 0 is everything, each other one is a shard, whose certificates name
# its `url` for life. `last_number` is the number that was taken last, whether a list came of it or not.
crl_scopes = Table(
    "crl_scopes",
    metadata,
    Column("issuer_id", ForeignKey("issuers.id"), primary_key=True),
    Column("scope", Integer, primary_key=True, autoincrement=False),
    Column("url", Text, nullable=True),
    Column("last_number", BigInteger, nullable=False),
)

# The newest revocation lists of each scope.
crl_lists = Table(
    "crl_lists",
    metadata,
    Column("issuer_id", ForeignKey("issuers.id"), primary_key=True),
    Column("scope", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    # The position that it was made at: every change up to it is in.
    Column("revision", BigInteger, nullable=False),
    # Whether its time had come, with or without changes: entries may go once such a list has shown them expired.
    Column("scheduled", SmallInteger, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
)

# Their DER in blocks. Blocks of a list that is being stored have no row in crl_lists yet, hence no foreign key.
crl_blocks = Table(
    "crl_blocks",
    metadata,
    Column("issuer_id", Integer, primary_key=True, autoincrement=False),
    Column("scope", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# Public keys that are never certified again, by the SHA-256 of the SubjectPublicKeyInfo.
blocked_keys = Table(
    "blocked_keys",
    metadata,
    Column("public_key_sha256", LargeBinary(32), primary_key=True),
    Column("source", String(16), nullable=False),  # revocation, import
    Column("comment", Text, nullable=False),
    Column("blocked_at", BigInteger, nullable=False),
    *_actor_columns(),
    sqlite_with_rowid=False,
)

# Certificates for the gRPC services themselves. Only denied ones are looked at when a call comes in.
credentials = Table(
    "credentials",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("role", String(32), nullable=False),
    Column("identity", String(512), nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("denied_at", BigInteger, nullable=True),
    Column("denied_because", Text, nullable=False),
)

# What was decided, by whom, with what result (`chain`). Entries are only ever added: triggers refuse anything else.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("sequence", RowId, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    *_actor_columns(),
    Column("method", String(64), nullable=False),
    Column("result", String(64), nullable=False),
    Column("issuer", String(64), nullable=False),
    Column("serial", LargeBinary(20), nullable=True),
    Column("certificate_id", RowId, nullable=True),
    Column("details", Text, nullable=False),
    Column("previous_hash", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    # All that issuing adds to these two comes at their end: cheap at any size. The other two hold refusals only.
    Index("ix_audit_entries_time_sequence", "time", "sequence"),
    Index("ix_audit_entries_certificate_id_sequence", "certificate_id", "sequence"),
    Index(
        "ix_audit_entries_refused",
        "time",
        "sequence",
        sqlite_where=text("result <> 'OK'"),
        postgresql_where=text("result <> 'OK'"),
    ),
    Index(
        "ix_audit_entries_unrecorded",
        "serial",
        "sequence",
        sqlite_where=text("certificate_id IS NULL AND serial IS NOT NULL"),
        postgresql_where=text("certificate_id IS NULL AND serial IS NOT NULL"),
    ),
)

# One row (id 1): the last entry. A writer moves it in its transaction, so that no two entries follow the same one.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
)
