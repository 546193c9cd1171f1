"""Fresh archives, on SQLite and on PostgreSQL where a server is named."""

from __future__ import annotations

import os
import uuid

import pytest

from somascope.archive import Archive


@pytest.fixture
def make(request, tmp_path):
    """A factory of empty archives; ``make.url`` is the last one's index, for a second opening."""
    backend = getattr(request, "param", "sqlite")
    server = os.environ.get("SOMASCOPE_TEST_POSTGRES")
    if backend == "postgres" and not server:
        pytest.skip("no PostgreSQL: set SOMASCOPE_TEST_POSTGRES to a URL of a scratch database")
    opened, schemas = [], []

    def factory() -> Archive:
        url = None
        if backend == "postgres":
            import psycopg

            name = f"t{uuid.uuid4().hex[:12]}"
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"CREATE SCHEMA {name}")
            schemas.append(name)
            url = f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{name}"
        archive = Archive.open(tmp_path / f"archive{len(opened)}", url=url)
        factory.url = url
        opened.append(archive)
        return archive

    factory.url = None
    yield factory
    for archive in opened:
        archive.close()
    if schemas:
        import psycopg

        with psycopg.connect(server, autocommit=True) as connection:
            for name in schemas:
                connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def archive(make):
    """One empty archive."""
    return make()
