"""Alembic's entry. `Ledger.migrate` hands over an open connection that already holds the lock and the transaction."""

from __future__ import annotations

from alembic import context

from shiftlead.queues.ledger_tables import METADATA


def run() -> None:
    """Bring the database behind `config.attributes["connection"]` to the wanted revision."""
    connection = context.config.attributes["connection"]
    # Batch mode: SQLite cannot change a column, so Alembic copies the table.
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
    context.run_migrations()


run()
