"""An archive's database with two series that exist by name only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from somascope.archive.database import Database
from somascope.jobs import Jobs
from somascope.jobs.leases import Leases


@dataclass
class Shelf:
    """What `Jobs` asks of an archive."""

    root: Path
    url: str
    database: Database
    known: set[str] = field(default_factory=lambda: {"1.2.3", "1.2.4"})

    def locate(self, *, series=None, instance=None):
        return [SimpleNamespace(path=self.root)] if series in self.known else []


@pytest.fixture
def shelf(tmp_path):
    url = f"sqlite:///{tmp_path / 'index.sqlite'}"
    database = Database(url)
    yield Shelf(tmp_path, url, database)
    database.close()


@pytest.fixture
def jobs(shelf):
    return Jobs(shelf)


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.time = 1e9

    def __call__(self):
        return self.time

    def pass_(self, seconds):
        self.time += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def leases(shelf, clock):
    return Leases(shelf.database, clock=clock)
