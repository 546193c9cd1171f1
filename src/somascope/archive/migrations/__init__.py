"""Alembic migrations of the archive's index; run by `somascope.archive.database` on open."""
