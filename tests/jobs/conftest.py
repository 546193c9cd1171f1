"""An archive's database with two series that exist by name only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from somascope.archive import Archive
from somascope.archive.database import Database
from somascope.core import Grid, Image, Provenance, Source
from somascope.io.dicom.write import instances
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


def volume(*, seed=0, shape=(6, 24, 20)):
    """A CT volume of smooth blobs with noise."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    noise = np.random.default_rng(seed).normal(scale=20, size=shape)
    values = 1000 * np.exp(-6 * (x**2 + y**2 + z**2)) - 200 + noise
    grid = Grid.from_spacing(shape, (3.0, 0.9, 1.1), origin=(-10, 20, 30),
                             frame_of_reference="1.2.826.0.1.3680043.8.498.7")  # fmt: skip
    return Image(
        values.astype(np.int16), grid, "CT", "[hnsf'U]",
        provenance=Provenance((Source("phantom", f"blob {seed}"),)),
    )  # fmt: skip


def put(archive, image):
    """Store it; its series UID."""
    return {archive.store(f).series for f in instances(image)}.pop()


@pytest.fixture
def archive(tmp_path):
    with Archive.open(tmp_path / "archive") as opened:
        yield opened


@pytest.fixture
def series(archive):
    return put(archive, volume())


@pytest.fixture
def store_volume(archive):
    """Store a volume of its own for each seed; its series UID."""
    return lambda **more: put(archive, volume(**more))
