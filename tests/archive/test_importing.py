"""Folders, files, ZIP archives and DICOMDIRs: every file accounted for, none outside touched."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import zipfile
from pathlib import Path

import pytest

from somascope.archive import zipped
from somascope.core.errors import Cancelled
from somascope.core.progress import Progress
from somascope.testing.archive import part10


def raws(n: int) -> list[bytes]:
    return [part10(SOPInstanceUID=f"1.2.3.1.{i}", seed=i) for i in range(n)]


def zip_of(files: dict[str, bytes], **options) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_folder_with_everything_in_it(archive, tmp_path):
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    good = raws(4)
    (folder / "a.dcm").write_bytes(good[0])
    (folder / "deep" / "b").write_bytes(good[1])
    (folder / "deep" / "er" / "c.dcm").write_bytes(good[2])
    (folder / "again.dcm").write_bytes(good[0])
    archive.store(good[0])
    (folder / "other.dcm").write_bytes(part10(SOPInstanceUID="1.2.3.1.0", seed=77))
    (folder / "short.dcm").write_bytes(good[3][:-9])
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "brain.nii.gz").write_bytes(gzip.compress(b"\x5c\x01\0\0" + bytes(400)))
    (folder / "notes.txt").write_text("hello")
    (folder / "more.zip").write_bytes(zip_of({"x/d.dcm": good[3], "y.txt": b"text"}))
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(part10(SOPInstanceUID="1.6.6.6"))
    (folder / "link.dcm").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)

    steps: list[float] = []
    report = archive.import_paths([folder], progress=Progress(lambda f, _: steps.append(f)))
    assert (report.stored, report.duplicates, report.conflicts) == (3, 2, 1)
    found = {p.name: (p.kind, p.reason) for p in report.problems}
    assert set(found) == {
        "other.dcm", "short.dcm", "empty.dcm", "brain.nii.gz", "notes.txt", "more.zip/y.txt",
    }  # fmt: skip
    assert found["brain.nii.gz"][0] == found["notes.txt"][0] == "other"
    assert found["short.dcm"][0] == found["empty.dcm"][0] == "corrupt"
    assert "truncated" in found["short.dcm"][1]
    assert "SOP Instance UID" in found["other.dcm"][1]
    assert (report.studies, report.series) == (("1.2.3",), ("1.2.3.1",))
    assert {p.path for p in report.problems if p.kind == "other"} >= {folder / "brain.nii.gz"}
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    assert archive.stats().instances == 4


def test_missing_and_named_files(archive, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(raws(1)[0])
    report = archive.import_paths([path, tmp_path / "nowhere"])
    assert report.stored == 1
    assert "no such file" in report.problems[0].reason


def test_cancel_keeps_what_is_stored(archive, tmp_path):
    for i, raw in enumerate(raws(30)):
        (tmp_path / f"{i:03}").write_bytes(raw)
    seen: list[float] = []
    progress = Progress(lambda f, _: seen.append(f), cancelled=lambda: len(seen) > 20)
    with pytest.raises(Cancelled):
        archive.import_paths([tmp_path], progress=progress)
    assert 5 < archive.stats().instances < 30
    assert archive.verify().ok


def test_zip_that_climbs_out_stays_in(archive, tmp_path):
    good = raws(4)
    names = ("../../evil.dcm", "/abs/evil.dcm", "..\\..\\evil.dcm", "C:\\evil.dcm")
    path = tmp_path / "slip.zip"
    path.write_bytes(zip_of(dict(zip(names, good, strict=True))))
    before = set(tmp_path.rglob("*evil*"))
    assert archive.import_paths([path]).stored == 4
    assert set(tmp_path.rglob("*evil*")) == before


def test_bombs_and_nesting_are_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(zipped, "FREE", 4 << 20)
    bomb = tmp_path / "bomb.zip"
    bomb.write_bytes(zip_of({"zeros": bytes(64 << 20), "good.dcm": raws(1)[0]}))
    report = archive.import_paths([bomb])
    assert [p.kind for p in report.problems] == ["refused"]
    assert "bomb" in report.problems[0].reason
    inner = zip_of({"good.dcm": raws(1)[0]})
    for _ in range(3):
        inner = zip_of({"inner.zip": inner})
    nested = tmp_path / "nested.zip"
    nested.write_bytes(inner)
    report = archive.import_paths([nested])
    assert "nested" in report.problems[0].reason
    assert report.stored == 0


def test_damaged_and_lying_zips(archive, tmp_path):
    good = zip_of({"a.dcm": raws(1)[0], "b.dcm": raws(2)[1]})
    cut = tmp_path / "cut.zip"
    cut.write_bytes(good[: len(good) // 2])
    lying = bytearray(good)
    at = good.rindex(b"PK\x01\x02") + 24  # uncompressed size in the directory
    lying[at : at + 4] = struct.pack("<I", 5)
    (tmp_path / "lying.zip").write_bytes(lying)
    report = archive.import_paths([cut, tmp_path / "lying.zip"])
    assert report.stored == 1
    assert {p.kind for p in report.problems} == {"corrupt"}
    assert len(report.problems) == 2


def test_large_zip_entries_go_by_a_temporary_file(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(zipped, "IN_MEMORY", 1000)
    path = tmp_path / "large.zip"
    files = {f"{i}.dcm": part10(SOPInstanceUID=f"1.2.3.1.{i}", side=40, seed=i) for i in range(3)}
    path.write_bytes(zip_of(files))
    assert archive.import_paths([path]).stored == 3
    assert archive.verify().ok


def dicomdir_set(pydicom_files: Path, target: Path) -> Path:
    source = pydicom_files / "dicomdirtests"
    shutil.copytree(source, target)
    return target / "DICOMDIR"


def test_dicomdir(archive, pydicom_files, tmp_path):
    path = dicomdir_set(pydicom_files, tmp_path / "set")
    report = archive.import_paths([path])
    assert report.stored + report.duplicates == 31
    assert len(report.studies) > 1
    assert all(p.kind == "corrupt" for p in report.problems)
    again = archive.import_paths([path.parent / "77654033"])
    assert again.stored == 0
    assert again.duplicates > 0


def test_a_dicomdir_by_another_name_is_no_instance(archive, pydicom_files):
    report = archive.import_paths([pydicom_files / "dicomdirtests" / "DICOMDIR-implicit"])
    assert [(p.kind, p.reason.split(":")[0]) for p in report.problems] == [
        ("other", "is a DICOMDIR")
    ]


def test_dicomdir_references_never_leave_the_folder(archive, pydicom_files, tmp_path):
    import pydicom
    from pydicom.dataelem import DataElement

    outside = tmp_path / "SECRET"
    outside.write_bytes(part10(SOPInstanceUID="1.6.6.6"))
    path = dicomdir_set(pydicom_files, tmp_path / "set")
    (path.parent / "LINK").symlink_to(outside)
    ds = pydicom.dcmread(path)
    records = [r for r in ds.DirectoryRecordSequence if "ReferencedFileID" in r]
    for record, evil in zip(
        records, (["..", "SECRET"], ["LINK"], [str(outside)], ["A", "..", "..", "SECRET"]),
        strict=False,
    ):  # fmt: skip
        record["ReferencedFileID"] = DataElement(
            0x00041500, "CS", evil, validation_mode=pydicom.config.IGNORE
        )
    ds.save_as(path)
    report = archive.import_paths([path])
    assert sum(p.kind == "refused" for p in report.problems) == 4
    assert archive.locate(instance="1.6.6.6") == []
