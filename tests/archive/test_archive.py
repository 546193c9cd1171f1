"""The public contract, on both databases; and what only this implementation promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from somascope.archive import Archive, OutOfSpace, Query
from somascope.archive.schema import HEAD, VERSION_TABLE, metadata
from somascope.core.errors import CorruptFile, ParameterError, SomascopeError
from somascope.io.dicom import header
from somascope.testing.archive import check_archive, dataset, part10, pixels

both = pytest.mark.parametrize(
    "make", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@both
def test_contract(make):
    check_archive(make)


def series(n: int, *, study: str = "1.2.3", side: int = 4) -> list[bytes]:
    return [
        part10(
            SOPInstanceUID=f"{study}.1.{i}", SeriesInstanceUID=f"{study}.1",
            StudyInstanceUID=study, InstanceNumber=str(i), seed=i, side=side,
        )
        for i in range(n)
    ]  # fmt: skip


@both
def test_migrations_give_the_schema(make):
    archive = make()
    with archive.database.engine.connect() as connection:
        version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        assert version == HEAD
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    again = Archive.open(archive.root, url=make.url)
    assert again.stats().instances == 0
    again.close()


def test_an_index_of_a_newer_version_is_refused(archive):
    with archive.database.writing() as c:
        c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(SomascopeError, match="newer"):
        Archive.open(archive.root)


def test_sqlite_is_set_to_survive_power_loss(archive):
    with archive.database.reading() as c:
        assert c.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert c.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_names_are_ours_and_files_lie_inside(archive):
    for i, evil in enumerate(("../../x", "/etc/passwd", "..\\..\\x", "a\0b")):
        archive.store(
            part10(PatientID=evil, PatientName=evil, SOPInstanceUID=f"1.2.{i}",
                   StudyInstanceUID=f"1.2.{i}.1", SeriesInstanceUID=f"1.2.{i}.2")
        )  # fmt: skip
    files = list(archive.root.rglob("*.dcm"))
    assert len(files) == 4
    assert all(len(p.stem) == 40 and int(p.stem, 16) >= 0 for p in files)
    assert {p.name for p in archive.root.parent.iterdir()} == {archive.root.name}


def test_preamble_is_cleared_unless_tiff(archive):
    raw = part10()
    archive.store(b"MZ\x90\0" + raw[4:])
    (where,) = archive.locate(instance="1.2.3.1.1")
    assert where.path.read_bytes()[:128] == bytes(128)
    other = part10(SOPInstanceUID="1.2.3.1.2")
    archive.store(b"II*\0" + other[4:])
    (where,) = archive.locate(instance="1.2.3.1.2")
    assert where.path.read_bytes() == b"II*\0" + other[4:]


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm",
     "SC_rgb_rle_2frame.dcm", "liver_expb_1frame.dcm", "liver_1frame.dcm", "rtdose.dcm",
     "ExplVR_BigEndNoMeta.dcm", "meta_missing_tsyntax.dcm", "SC_rgb_jpeg_dcmtk.dcm",
     "examples_ybr_color.dcm", "reportsi.dcm"],
)  # fmt: skip
def test_every_frame_by_its_range(archive, pydicom_files, name):
    raw = (pydicom_files / name).read_bytes()
    found = header.scan(raw)
    if not (found.study and found.series and found.sop_uid):
        with pytest.raises(CorruptFile, match="has no"):
            archive.store(raw)
        return
    archive.store(raw)
    (where,) = archive.locate(instance=found.sop_uid)
    assert where.dataset() == raw[found.dataset_offset :]
    if found.frames is None:
        return
    for number in range(1, found.frames.count + 1):
        expected = b"".join(raw[o : o + n] for o, n in found.frames.ranges(number))
        place = archive.frame(found.sop_uid, number)
        assert place.read() == place._align(expected)
        assert place.length == len(expected)


def test_deflated_frames_are_inflated_on_the_way(archive):
    import zlib

    from somascope.io.dicom.header_meta import wrap

    plain = dataset(side=300, seed=5)
    squeeze = zlib.compressobj(9, wbits=-15)
    syntax = "1.2.840.10008.1.2.1.99"
    data = squeeze.compress(plain) + squeeze.flush()
    raw = wrap(sop_class="1.2.840.10008.5.1.4.1.1.2", sop_uid="1.2.3.1.1", transfer_syntax=syntax)
    archive.store(raw + data)
    assert archive.frame("1.2.3.1.1", 1).read() == pixels(side=300, seed=5)
    (found,) = json.loads(archive.metadata(study="1.2.3"))
    assert found["00280010"]["Value"] == [300]


def test_one_bit_frames_are_aligned(archive):
    bits = np.random.default_rng(0).integers(0, 2, (3, 3, 5), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    from somascope.archive.records import FrameRange
    from somascope.io.dicom.header_frames import Frames

    path = archive.root / "x"
    path.write_bytes(b"head" + packed)
    frames = Frames(3, 4, 15)
    for n in (1, 2, 3):
        place = FrameRange(path, frames.ranges(n), "", frames.shift(n), frames.bits)
        plane = np.unpackbits(np.frombuffer(place.read(), np.uint8), bitorder="little")[:15]
        assert np.array_equal(plane, bits[n - 1].ravel())


def test_large_files_are_taken_in_pieces(archive, tmp_path, monkeypatch):
    import somascope.archive.importing as importing

    raw = part10(side=256, seed=3)
    path = tmp_path / "large.dcm"
    path.write_bytes(raw)
    assert archive.store_file(path).outcome == "stored"
    assert archive.store_file(path).outcome == "duplicate"
    assert archive.locate(instance="1.2.3.1.1")[0].read() == raw
    assert archive.frame("1.2.3.1.1", 1).read() == pixels(side=256, seed=3)
    path.write_bytes(part10(side=256, seed=4))
    assert archive.store_file(path).outcome == "conflict"
    monkeypatch.setattr(importing, "IN_MEMORY", 1000)
    path.write_bytes(part10(side=64, SOPInstanceUID="1.2.3.1.7"))
    assert archive.import_paths([path]).stored == 1


def test_reserve_refuses_early(tmp_path):
    with Archive.open(tmp_path / "a", reserve=1 << 60) as archive:
        with pytest.raises(OutOfSpace, match="reserve"):
            archive.store(part10())
        assert archive.stats().instances == 0
        assert list(archive.root.rglob("*.dcm")) == []


def test_metadata_is_kept_and_grows(archive, monkeypatch):
    for raw in series(6):
        archive.store(raw)
    calls: list[Path] = []
    original = header.metadata

    def counting(source, **kwargs):
        calls.append(source)
        return original(source, **kwargs)

    monkeypatch.setattr(header, "metadata", counting)
    first = archive.metadata(study="1.2.3", series="1.2.3.1")
    assert len(calls) == 6
    assert archive.metadata(study="1.2.3", series="1.2.3.1") == first
    archive.forget_cached()
    assert archive.metadata(study="1.2.3", series="1.2.3.1") == first
    assert len(calls) == 6, "the second time it comes from the manifest"
    archive.store(part10(SOPInstanceUID="1.2.3.1.99", InstanceNumber="99"))
    assert len(json.loads(archive.metadata(study="1.2.3", series="1.2.3.1"))) == 7
    assert len(calls) == 7, "only the new instance is read"
    moved = archive.metadata(study="1.2.3", instance="1.2.3.1.0", base="https://x.example/dicom")
    (found,) = json.loads(moved)
    assert found["7FE00010"]["BulkDataURI"] == (
        "https://x.example/dicom/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.0/bulkdata/7FE00010"
    )


def test_includefield_all(archive):
    archive.store(part10(KVP="120"))
    (found,) = archive.search(Query(level="INSTANCE", fields=("all",)))
    assert found["00180060"]["Value"] == [120]
    assert "7FE00010" in found
    (found,) = archive.search(Query(level="STUDY", fields=("7FE00010",)))
    assert found["7FE00010"]["BulkDataURI"].startswith("/studies/1.2.3/")
    (found,) = archive.search(Query(level="SERIES", fields=("KVP",)))
    assert found["00180060"]["Value"] == [120]
    (found,) = archive.search(Query(match={"KVP": ""}))
    assert found["00180060"]["Value"] == [120]


_STORE = """
import sys
from pathlib import Path
from somascope.archive import Archive
from somascope.testing.archive import part10
me = int(sys.argv[3])
with Archive.open(Path(sys.argv[1]), url=sys.argv[2] or None) as archive:
    for i in range(6):
        for who in (me, 99):
            uids = {"SOPInstanceUID": f"1.2.3.{who}.{i}", "SeriesInstanceUID": f"1.2.3.{who}"}
            outcome = archive.store(part10(**uids, seed=i)).outcome
            assert outcome == "stored" or (who == 99 and outcome == "duplicate"), outcome
"""


@both
def test_many_processes_at_once(make):
    """Three processes open an archive together and write one study, one series of it shared."""
    archive = make()
    writers = [
        subprocess.Popen([sys.executable, "-c", _STORE, archive.root, make.url or "", str(n)])
        for n in range(3)
    ]
    assert [w.wait(200) for w in writers] == [0] * 3
    (study,) = archive.search(Query())
    assert study["00201208"]["Value"] == [24]
    assert study["00201206"]["Value"] == [4]
    assert [c.seq for c in archive.changes()] == list(range(1, 25))
    assert archive.verify().ok
    assert list((archive.root / "incoming").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_gets_connections_of_its_own(archive):
    archive.store(part10())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if archive.store(part10(SOPInstanceUID="1.2.3.1.5")).outcome == "stored" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert archive.stats().instances == 2
    assert archive.store(part10(SOPInstanceUID="1.2.3.1.6")).outcome == "stored"


@both
def test_rebuild_after_the_index_is_lost(make):
    archive = make()
    for raw in series(6):
        archive.store(raw, origin="SCANNER")
    before = archive.search(Query(level="INSTANCE"))
    with archive.database.writing() as c:
        for table in ("change", "instance", "series", "study", "patient_word", "patient"):
            c.execute(text(f"DELETE FROM {table}"))
    assert archive.search(Query()) == []
    assert archive.rebuild() == 6
    assert archive.search(Query(level="INSTANCE")) == before
    assert archive.frame("1.2.3.1.5", 1).read() == pixels(seed=5)


def test_what_a_dead_process_left_is_taken_up(archive):
    """A file in its place without a row is indexed, one that never got there is removed."""
    script = """
import os, sys
from pathlib import Path
from somascope.archive import Archive
from somascope.archive.index import Committer
from somascope.testing.archive import part10
archive = Archive.open(Path(sys.argv[1]))
def die(*_): os._exit(9)
if sys.argv[2] == "commit":
    Committer.commit = die
else:
    import somascope.archive.files as files
    files._link = die
archive.store(part10(SOPInstanceUID="1.2.3.1." + sys.argv[3]))
"""
    for n, where in ((7, "commit"), (8, "link")):
        done = subprocess.run([sys.executable, "-c", script, archive.root, where, str(n)])
        assert done.returncode == 9
    with Archive.open(archive.root) as again:
        assert [c.instance for c in again.changes()] == ["1.2.3.1.7"]
        assert again.verify().ok
        assert list((again.root / "incoming").iterdir()) == []
        assert again.store(part10(SOPInstanceUID="1.2.3.1.8")).outcome == "stored"


def test_verify_finds_every_flipped_bit_and_lost_files(archive):
    for raw in series(20):
        archive.store(raw)
    dice = np.random.default_rng(4)
    victims = archive.locate(series="1.2.3.1")
    for instance in victims[:10]:
        raw = bytearray(instance.path.read_bytes())
        raw[int(dice.integers(len(raw)))] ^= 1 << int(dice.integers(8))
        instance.path.write_bytes(raw)
    victims[10].path.unlink()
    found = archive.verify()
    assert set(found.damaged) == {v.sop_uid for v in victims[:10]}
    assert found.missing == (victims[10].sop_uid,)
    assert found.checked == 20
    with pytest.raises(CorruptFile, match="damaged"):
        archive.frame(victims[0].sop_uid, 1)


def test_the_database_may_be_configured(tmp_path, monkeypatch):
    """By the archive's own file, by the environment before it, and not by anything half right."""
    (tmp_path / "somascope.toml").write_text(
        f'[archive]\ndatabase = "sqlite:///{tmp_path / "named.sqlite"}"\n[http]\npage = 5\n'
    )
    Archive.open(tmp_path).close()
    assert (tmp_path / "named.sqlite").is_file()
    assert not (tmp_path / "index.sqlite").exists()
    monkeypatch.setenv("SOMASCOPE_DATABASE", f"sqlite:///{tmp_path / 'other.sqlite'}")
    Archive.open(tmp_path).close()
    assert (tmp_path / "other.sqlite").is_file()
    monkeypatch.delenv("SOMASCOPE_DATABASE")
    (tmp_path / "somascope.toml").write_text("[archive]\ndatabase = 3\n")
    with pytest.raises(ParameterError, match="database"):
        Archive.open(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="folders have no modes there")
def test_a_new_archive_is_not_for_everybody_on_the_machine(tmp_path):
    old = os.umask(0)
    try:
        with Archive.open(tmp_path / "deep" / "archive") as opened:
            assert opened.root.stat().st_mode & 0o007 == 0
    finally:
        os.umask(old)
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    with Archive.open(shared):
        assert shared.stat().st_mode & 0o777 == 0o755, "what was there keeps its mode"


def test_one_odd_instance_does_not_hide_its_series(archive, monkeypatch):
    from somascope.archive import manifest

    for raw in series(3):
        archive.store(raw)
    real = manifest.header.metadata

    def odd(path, **more):
        if path == archive.locate(instance="1.2.3.1.1")[0].path:
            raise RecursionError("too deep")
        return real(path, **more)

    monkeypatch.setattr(manifest.header, "metadata", odd)
    found = json.loads(archive.metadata(study="1.2.3"))
    names = [len(o) > 5 for o in found]
    assert sorted(names) == [False, True, True]
