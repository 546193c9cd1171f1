"""The tables of jobs, in the archive's own database (SQLite or PostgreSQL)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.schema import CreateIndex, CreateTable

if TYPE_CHECKING:
    from somascope.archive.database import Database

METADATA = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER keys only

JOB = Table(
    "job",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("number", _NUMBER, nullable=False, unique=True),
    Column("operation", Text, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("params", JSON, nullable=False),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("progress", Float, nullable=False, default=0.0),
    Column("message", Text, nullable=False, default=""),
    Column("outputs", JSON, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("worker", Text, nullable=False, default=""),
    Column("available_at", Float, nullable=False, default=0.0),
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("heartbeat", Float, nullable=False, default=0.0),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("created", Text, nullable=False),
    Column("started", Text, nullable=False, default=""),
    Column("finished", Text, nullable=False, default=""),
    Index("job_state", "state", "available_at"),
    Index("job_key", "key"),
)
"""One row per job. ``available_at``, ``lease_until`` and ``heartbeat`` are seconds since 1970."""

LOG = Table(
    "job_log",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("job", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index("job_log_job", "job"),
    sqlite_autoincrement=True,
)

EVENT = Table(
    "job_event",
    METADATA,
    Column("seq", _NUMBER, primary_key=True, autoincrement=True),
    Column("job", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("progress", Float, nullable=False),
    Column("message", Text, nullable=False),
    Column("time", Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice, also after old events are dropped
)


def create(database: Database) -> None:
    """Make what is not there; safe when several processes do it at once."""
    with database.writing() as connection:
        for table in (JOB, LOG, EVENT):
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda i: str(i.name)):
                connection.execute(CreateIndex(index, if_not_exists=True))
