"""The index is made anew beside the old one: stores go on, readers see one or the other."""

from __future__ import annotations

import os
import threading
import time

import pytest
from sqlalchemy import text

from somascope.archive import Query, rebuilding
from somascope.core.errors import Cancelled, Conflict
from somascope.testing.archive import part10

BACKENDS = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
]
both = pytest.mark.parametrize("make", BACKENDS, indirect=True)


def number(n: int, **more) -> bytes:
    return part10(SOPInstanceUID=f"1.2.3.1.{n}", InstanceNumber=str(n), seed=n, **more)


def uids(archive) -> list[str]:
    return [i["00080018"]["Value"][0] for i in archive.search(Query(level="INSTANCE"))]


def counts(archive) -> list[tuple[int, int]]:
    return [(s["00201206"]["Value"][0], s["00201208"]["Value"][0]) for s in archive.search(Query())]


class Hook:
    """Calls ``act`` once, when the rebuild reads its second file."""

    def __init__(self, monkeypatch, act) -> None:
        self._act, self._calls, self._lock = act, 0, threading.Lock()
        self._real = rebuilding.digest
        monkeypatch.setattr(rebuilding, "digest", self)

    def __call__(self, path, offset):
        with self._lock:
            self._calls += 1
            if self._calls == 2:
                self._act()
        return self._real(path, offset)


@both
def test_stores_go_on_while_it_reads(make, monkeypatch):
    archive = make()
    for n in range(6):
        archive.store(number(n), origin="SCANNER")
    last = archive.changes()[-1].seq

    def act():
        assert archive.store(number(6), origin="LATE").outcome == "stored"
        assert archive.store(number(0), origin="LATE").outcome == "duplicate"
        assert archive.store(number(7, SeriesInstanceUID="1.2.3.2")).outcome == "stored"
        assert len(uids(archive)) == 8  # readers see the old index, the new instances in it

    Hook(monkeypatch, act)
    assert archive.rebuild() == 8
    assert sorted(uids(archive)) == [f"1.2.3.1.{n}" for n in range(8)]
    assert counts(archive) == [(2, 8)]
    assert archive.verify().ok
    seen = [c.seq for c in archive.changes()]
    assert min(seen) > last
    assert len(set(seen)) == 8
    assert archive.store(number(9)).outcome == "stored"
    assert archive.changes()[-1].seq > max(seen)
    with archive.database.reading() as c:
        origins = dict(c.execute(text("SELECT uid, origin FROM instance")).all())
    assert origins["1.2.3.1.6"] == "LATE"
    assert origins["1.2.3.1.5"] == "SCANNER"
    assert not list(archive.root.glob("rebuild-*"))


@both
def test_a_better_copy_that_comes_meanwhile(make, monkeypatch):
    """A damaged file is replaced by its sender while the rebuild reads: one row, the good one."""
    archive = make()
    for n in range(4):
        archive.store(number(n))
    (victim,) = archive.locate(instance="1.2.3.1.2")
    good = victim.path.read_bytes()

    def act():
        victim.path.unlink()
        assert archive.store(number(2)).outcome == "duplicate"

    Hook(monkeypatch, act)
    assert archive.rebuild() == 4
    assert counts(archive) == [(1, 4)]
    (now,) = archive.locate(instance="1.2.3.1.2")
    assert now.path != victim.path
    assert now.path.read_bytes()[now.offset :] == good[victim.offset :]
    assert archive.verify().ok


@both
def test_what_goes_away_meanwhile_has_no_row(make, monkeypatch):
    archive = make()
    archive.store(number(0, PatientID="P9", StudyInstanceUID="9.9", SeriesInstanceUID="9.9.9"))
    for n in range(1, 4):
        archive.store(number(n))
        time.sleep(0.01)
    gone = archive.locate(instance="1.2.3.1.0") + archive.locate(instance="1.2.3.1.3")

    def act():
        time.sleep(0.05)

    Hook(monkeypatch, act)
    real = rebuilding._exchange

    def exchange(opened, beside):
        for instance in gone:
            instance.path.unlink()
        return real(opened, beside)

    monkeypatch.setattr(rebuilding, "_exchange", exchange)
    assert archive.rebuild() == 2
    assert counts(archive) == [(1, 2)]
    assert len(archive.search(Query(level="PATIENT"))) == 1
    assert archive.verify().ok


def test_conflicts_stay_apart_and_are_listed_once(archive):
    archive.store(number(0))
    other = part10(SOPInstanceUID="1.2.3.1.0", seed=99)
    assert archive.store(other).outcome == "conflict"
    # a second file of the same UID among the instances, as a crash at the worst time leaves it
    (apart,) = archive.quarantine()
    (first,) = archive.locate(instance="1.2.3.1.0")
    late = first.path.stat().st_mtime + 10
    place = archive.files.path(bytes.fromhex(apart.path.stem))
    os.link(apart.path, place)
    os.utime(place, (late, late))
    assert archive.rebuild() == 1
    assert not place.exists()
    assert len(archive.quarantine()) == 1
    assert apart.path.exists()
    assert archive.locate(instance="1.2.3.1.0")[0].read() == first.read()


def test_only_one_at_a_time_and_an_end_leaves_the_old_index(archive, monkeypatch):
    for n in range(3):
        archive.store(number(n))
    told: list[type] = []

    def act():
        try:
            archive.rebuild()
        except Conflict:
            told.append(Conflict)

    Hook(monkeypatch, act)
    assert archive.rebuild() == 3
    assert told == [Conflict]

    def stop(fraction: float, _text: str = "") -> None:
        raise Cancelled("enough")

    before = uids(archive), [c.seq for c in archive.changes()]
    with pytest.raises(Cancelled):
        archive.rebuild(stop)
    assert (uids(archive), [c.seq for c in archive.changes()]) == before
    assert not list(archive.root.glob("rebuild-*"))
    assert archive.rebuild() == 3
