"""Choosing by content, folders, and saying what was wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from somascope.core import Grid, Image, Mask, Progress, Segment
from somascope.core.errors import Cancelled, CorruptFile, NotFound, UnsupportedFormat, WriteError
from somascope.io import nrrd, read, read_all, write
from somascope.io.read import is_dicom

read_module = sys.modules["somascope.io.read"]

GRID = Grid.from_spacing((4, 8, 9), (3, 2, 1.5), origin=(5, 6, 7))
VOLUME = Image(
    np.random.default_rng(1).integers(-900, 1200, GRID.shape).astype(np.int16),
    GRID,
    modality="CT",
    unit="[hnsf'U]",
    attributes={"PatientName": "Test^Read", "PatientID": "T1", "SeriesDescription": "ct"},
)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.tif"])
def test_content_decides_and_not_the_name(name: str, tmp_path: Path) -> None:
    write(VOLUME, tmp_path / name)
    other = tmp_path / "misleading.png"
    other.write_bytes((tmp_path / name).read_bytes())
    image = read(other)
    assert isinstance(image, Image)
    assert np.array_equal(image.data, VOLUME.data)
    assert image.provenance.sources[0].name == "misleading.png"


def test_a_dicom_series_there_and_back(tmp_path: Path) -> None:
    write(VOLUME, tmp_path / "series")
    assert len(list((tmp_path / "series").iterdir())) == 4
    back = read(tmp_path / "series")
    assert isinstance(back, Image)
    assert np.array_equal(back.data, VOLUME.data)
    assert back.grid.allclose(GRID, tolerance_mm=1e-4)
    assert (back.modality, back.unit) == ("CT", "[hnsf'U]")
    assert back.attributes["PatientID"] == "T1"


def test_a_folder_of_everything(tmp_path: Path) -> None:
    write(VOLUME, tmp_path / "series")
    write(VOLUME, tmp_path / "b.nrrd")
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1, 2, 3] = 1
    mask = Mask(data=labels, grid=GRID, segments=(Segment(1, "one"),), attributes=VOLUME.attributes)
    write(mask, tmp_path / "seg.dcm")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "bad.nii").write_bytes((b"\x5c\x01\x00\x00" + bytes(340) + b"n+1\x00")[:348])
    report = read_all(tmp_path)
    assert len(report.images) == 2
    assert len(report.masks) == 1
    assert np.array_equal(report.masks[0].plane(1), labels == 1)
    assert [name for name, _ in report.problems] == ["bad.nii"]
    assert report.skipped == ["notes.txt"]
    several = read(tmp_path)
    assert isinstance(several, list)
    assert len(several) == 2


def test_one_series_of_several(tmp_path: Path) -> None:
    write(VOLUME, tmp_path / "a")
    second = Image(VOLUME.data + 1, GRID, modality="CT", attributes=VOLUME.attributes)
    write(second, tmp_path / "b")
    both = read(tmp_path)
    assert isinstance(both, list)
    uids = [i.attributes["SeriesInstanceUID"] for i in both]
    assert len(set(uids)) == 2
    for image, uid in zip(both, uids, strict=True):
        chosen = read(tmp_path, series=uid)
        assert isinstance(chosen, Image)
        assert np.array_equal(chosen.data, image.data)
    with pytest.raises(NotFound, match=uids[0]):
        read(tmp_path, series="1.2.3")


def test_a_list_of_paths(tmp_path: Path) -> None:
    write(VOLUME, tmp_path / "series")
    files = sorted((tmp_path / "series").iterdir())
    report = read_all(files[:3])
    assert report.images[0].shape == (3, 8, 9)


def test_reasons_reach_the_caller(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file or folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "a.nii").write_bytes(b"hello there, this is no image")
    with pytest.raises(UnsupportedFormat, match="known are DICOM"):
        read(tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(UnsupportedFormat, match="empty"):
        read(tmp_path / "a.nii")
    write(VOLUME, tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:500])
    with pytest.raises(CorruptFile, match="truncated"):
        read(tmp_path / "a.nii")


class Broken:
    def matches(self, head: bytes, path: Path) -> bool:
        return head.startswith(b"BRKN")

    def read(self, path: Path) -> list[Image]:
        raise KeyError("a bug")


def test_a_broken_plug_in_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_module, "_readers", lambda: {"nrrd": nrrd.READER, "broken": Broken()})
    (tmp_path / "a.brk").write_bytes(b"BRKN")
    write(VOLUME, tmp_path / "b.nrrd")
    report = read_all(tmp_path)
    assert len(report.images) == 1
    assert report.problems == [("a.brk", "a.brk: KeyError: 'a bug'")]


def test_cancelling(tmp_path: Path) -> None:
    write(VOLUME, tmp_path / "series")
    write(VOLUME, tmp_path / "b.nrrd")
    with pytest.raises(Cancelled):
        read_all(tmp_path, progress=Progress(cancelled=lambda: True))


def test_the_write_door_says_what_it_knows(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"\.nii\.gz"):
        write(VOLUME, tmp_path / "a.xyz")
    with pytest.raises(WriteError, match="4 DICOM instances"):
        write(VOLUME, tmp_path / "a.dcm")


def test_series_do_not_mix_in_a_folder(tmp_path: Path) -> None:
    write(VOLUME, tmp_path / "series")
    write(VOLUME, tmp_path / "series")
    with pytest.raises(WriteError, match="empty folder"):
        write(VOLUME.crop(start=(0, 0, 0), stop=(2, 8, 9)), tmp_path / "series")
    assert read(tmp_path / "series").shape == (4, 8, 9)


def test_what_dicom_looks_like(pydicom_files: Path) -> None:
    known = (
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "ExplVR_LitEndNoMeta.dcm",
        "ExplVR_BigEndNoMeta.dcm",
    )
    for name in known:
        assert is_dicom((pydicom_files / name).read_bytes()[:4096]), name
    for other in (
        b"",
        b"hello, a text",
        b"NRRD0005\n",
        bytes(400),
        b"\x5c\x01\x00\x00" + bytes(400),
    ):
        assert not is_dicom(other)


def test_importing_is_cheap() -> None:
    """No heavy library is imported before it is needed."""
    code = (
        "import sys, somascope.io; "
        "heavy = {'pydicom', 'nibabel', 'PIL', 'tifffile', 'scipy', 'numba', 'skimage'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
