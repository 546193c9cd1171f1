"""Run by Alembic: migrates over the connection that `database.migrate` hands in."""

from __future__ import annotations

from alembic import context

from somascope.archive.schema import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)  # fmt: skip
context.run_migrations()
