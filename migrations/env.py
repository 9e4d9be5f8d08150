"""Runs migrations on the connection that `services.db.schema` hands over, in its transaction.

There is no alembic.ini: `services.db.schema` is the only way in, so that a migration always runs under its locks and
checks.
"""

from __future__ import annotations

from alembic import context

from services.db.models import metadata

connection = context.config.attributes["connection"]

# SQLite alters a table by copying it (batch mode); the transaction is the caller's on both databases.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True)
context.run_migrations()
