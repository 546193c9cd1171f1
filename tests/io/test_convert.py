"""`convert`: files to files, DICOM folders to NIfTI with side-cars, names that stay inside."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from somascope.core import Grid, Image, Mask, Segment
from somascope.core.errors import NotFound, WriteError
from somascope.io import read, read_all, write
from somascope.io.convert import convert, safe

GRID = Grid.from_spacing((4, 8, 9), (3, 2, 1.5), origin=(5, 6, 7))
CT = Image(
    np.random.default_rng(1).integers(-900, 1200, GRID.shape).astype(np.int16),
    GRID,
    modality="CT",
    unit="[hnsf'U]",
    attributes={
        "PatientName": "Secret^Name",
        "PatientID": "T1",
        "SeriesDescription": "../../etc/Thorax 1.5 Ä",
        "SeriesNumber": 3,
        "KVP": 120.0,
        "Manufacturer": "Maker",
    },
)


@pytest.mark.parametrize("there", ["b.nii.gz", "b.nrrd", "b.mha", "b.mhd", "b.tif", "b.nii"])
@pytest.mark.parametrize("here", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_each_into_each(here: str, there: str, tmp_path: Path) -> None:
    write(CT, tmp_path / here)
    report = convert(tmp_path / here, tmp_path / there)
    assert report.written == [tmp_path / there]
    back = read(tmp_path / there)
    assert isinstance(back, Image)
    assert np.array_equal(back.data, CT.data)
    if not there.endswith("tif"):
        assert back.grid.allclose(GRID, tolerance_mm=1e-4)


def test_a_folder_of_dicom(tmp_path: Path) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    write(CT, src / "a")
    write(replace(CT, data=CT.data + 1), src / "b")
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1, 2, 3] = 2
    write(
        Mask(data=labels, grid=GRID, segments=(Segment(2, "two"),), attributes=CT.attributes),
        src / "seg.dcm",
    )
    report = convert(src, dst)
    assert not report.problems
    assert len(report.written) == 3
    assert all(path.parent == dst for path in report.written)
    assert len({path.name.lower() for path in report.written}) == 3
    assert not list(tmp_path.glob("*etc*"))
    images = [p for p in report.written if "SEG" not in p.name]
    for path in images:
        assert "Secret" not in path.name
        record = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert record["Modality"] == "CT"
        assert record["KVP"] == 120
        assert "SeriesInstanceUID" in record
        back = read(path)
        assert back.modality == "CT"
        assert back.grid.allclose(GRID, tolerance_mm=1e-4)
    seg = next(p for p in report.written if "SEG" in p.name)
    values = np.asarray(nib.load(seg).dataobj)
    assert values.max() > 0
    assert np.array_equal(values.T > 0, labels > 0)
    assert "two" in seg.with_name(seg.name.replace(".nii.gz", "_dseg.tsv")).read_text()


def test_other_images_beside_dicom_are_left_out_and_told(tmp_path: Path) -> None:
    write(CT, tmp_path / "src" / "a")
    write(CT, tmp_path / "src" / "old.nii.gz")
    report = convert(tmp_path / "src", tmp_path / "dst")
    assert len(report.written) == 1
    assert report.problems[0][0] == "old.nii.gz"
    assert "by itself" in report.problems[0][1]


def test_one_series_into_one_file(tmp_path: Path) -> None:
    write(CT, tmp_path / "src" / "a")
    write(replace(CT, data=CT.data + 1), tmp_path / "src" / "b")
    with pytest.raises(WriteError, match="--series"):
        convert(tmp_path / "src", tmp_path / "x.nii.gz")
    uid = read_all(tmp_path / "src").images[1].attributes["SeriesInstanceUID"]
    report = convert(tmp_path / "src", tmp_path / "x.nii.gz", series=uid)
    assert report.written == [tmp_path / "x.nii.gz"]
    assert (tmp_path / "x.json").is_file()
    with pytest.raises(NotFound, match="no series"):
        convert(tmp_path / "src", tmp_path / "x.nii.gz", series="1.2.3")


def test_nifti_becomes_a_dicom_series(tmp_path: Path) -> None:
    write(CT, tmp_path / "a.nii.gz")
    report = convert(tmp_path / "a.nii.gz", tmp_path / "out")
    assert report.written == [tmp_path / "out"]
    back = read(tmp_path / "out")
    assert isinstance(back, Image)
    assert np.array_equal(back.data, CT.data)


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    report = convert(tmp_path / "a.txt", tmp_path / "b.nii.gz")
    assert not report.written
    assert "no format known" in report.problems[0][1]
    with pytest.raises(WriteError, match="suffix"):
        convert(tmp_path / "a.txt", tmp_path / "b.docx")


@pytest.mark.parametrize(
    ("text", "name"),
    [("../../etc/passwd", "etc_passwd"), ("T1 (axial)", "T1_axial"), ("Schädel", "Schadel"),
     ("", "image"),
     ("a/b\\c:d*e", "a_b_c_d_e"), ("con", "_con"), ("x" * 300, "x" * 80), ("\x00\n", "image")],
)  # fmt: skip
def test_names_are_safe(text: str, name: str) -> None:
    assert safe(text) == name


@pytest.mark.data
@pytest.mark.parametrize("folder", ["nitest_balls/DICOM", "qa_dcm_qa_ts/In", "qa_dcm_qa_enh/In"])
def test_side_cars_agree_with_dcm2niix(folder: str, data: Path, tmp_path: Path) -> None:
    """Every key both write has the same value; ours are matched by Series Instance UID."""
    import dcm2niix

    command = [dcm2niix.bin, "-b", "o", "-ba", "n", "-f", "%j_%s", "-o", tmp_path, data / folder]
    subprocess.run(command, capture_output=True, check=False, timeout=120)
    theirs = [json.loads(p.read_text()) for p in tmp_path.glob("*.json")]
    report = convert(data / folder, tmp_path / "ours")
    ours = [json.loads(p.read_text()) for p in (tmp_path / "ours").glob("*.json")]
    assert len(ours) == len(report.written) > 0
    # dcm2niix shortens or normalises these, and says which volume of a series it means in others.
    free = {
        "Manufacturer",
        "ConversionSoftware",
        "ConversionSoftwareVersion",
        "ImageType",
        "PixelBandwidth",
        "AcquisitionNumber",
        "XRayTubeCurrent",
        "XRayExposure",
    }
    compared = 0
    for record in ours:
        same = [t for t in theirs if t.get("SeriesInstanceUID") == record["SeriesInstanceUID"]]
        if not same:
            continue
        for key in set(record) - free:
            values = [t[key] for t in same if key in t]
            if values:
                compared += 1
                assert any(alike(record[key], v) for v in values), (key, record[key], values)
    assert compared > 10


@pytest.mark.data
def test_slice_times_agree_with_the_reference(data: Path, tmp_path: Path) -> None:
    report = convert(data / "qa_dcm_qa_ts" / "In", tmp_path)
    assert len(report.written) == 1
    (ours,) = (json.loads(p.read_text()) for p in tmp_path.glob("*.json"))
    theirs = json.loads((data / "qa_dcm_qa_ts" / "Ref" / "1.json").read_text())
    image = read(report.written[0])
    reference = nib.load(data / "qa_dcm_qa_ts" / "Ref" / "1.nii")
    assert ours["SliceTiming"] == pytest.approx(theirs["SliceTiming"], abs=1e-3)
    assert len(ours["SliceTiming"]) == image.grid.shape[0]
    # Slices rise in both, so that equal lists mean equal slices.
    assert image.grid.affine[2, 0] > 0
    assert reference.affine[2, 2] > 0


def alike(a: object, b: object) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == pytest.approx(b, rel=1e-4, abs=1e-6)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    return (
        str(a) == str(b) or "\\".join(map(str, a)) == str(b)
        if isinstance(a, list)
        else str(a) == str(b)
    )
