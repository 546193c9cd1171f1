"""Digital X-ray for processing and for presentation: class, bits, pitch, region."""

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from somascope.core import Grid, Image, Provenance, Source, Step
from somascope.io.dicom import validate, write
from somascope.io.dicom.series import volumes

GRID = Grid.from_spacing(
    (1, 24, 32), (1.0, 0.2, 0.2), direction=[[0, 0, 1], [1, 0, 0], [0, -1, 0]],
    frame_of_reference="1.2.3.77",
)  # fmt: skip
RECORD = Provenance((Source("phantom", "chest"),))
FACTS = {
    "BodyPartExamined": "CHEST",
    "ImagerPixelSpacing": [0.2, 0.2],
    "EstimatedRadiographicMagnificationFactor": 1.25,
    "PatientOrientation": ["L", "F"],
}
RAW = {"PresentationIntentType": "FOR PROCESSING", **FACTS}


def values(top=4095, dtype=np.uint16):
    rng = np.random.default_rng(4)
    data = (rng.random(GRID.shape) * top).astype(dtype)
    data[0, 0, 0], data[0, 0, 1] = top, 0
    return data


def image(data, grid=GRID, steps=(), unit="1", **facts):
    record = replace(RECORD, steps=steps)
    return Image(data, grid, "DX", unit, provenance=record, attributes=facts)


def written(one):
    (file,) = write.instances(one)
    return dcmread(BytesIO(file)), file


def test_for_processing_has_a_class_of_its_own_and_no_window():
    dataset, file = written(image(values(), unit="{counts}", **RAW))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1.1"
    assert dataset.PresentationIntentType == "FOR PROCESSING"
    assert "WindowCenter" not in dataset
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (1, 0)
    ((back,), _) = volumes([file])
    assert np.array_equal(back.data, values())
    assert back.unit == "{counts}"
    again, _ = written(back)
    assert again.SOPClassUID == dataset.SOPClassUID


def test_line_integrals_for_processing_keep_their_scale():
    line = values(6.0, np.float32) - np.float32(0.01)
    dataset, file = written(image(line, **RAW))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1.1"
    ((back,), _) = volumes([file])
    assert np.abs(back.data - line).max() <= np.ptp(line) / 65535 / 2 + 1e-6
    assert back.unit == "1"


def test_for_presentation_stays_what_it_was():
    dataset, _ = written(image(values(), **FACTS))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1"
    assert dataset.PresentationIntentType == "FOR PRESENTATION"
    assert "WindowCenter" in dataset


@pytest.mark.parametrize(
    ("said", "top", "stored"), [(12, 4095, 12), (14, 4095, 14), (12, 4096, 16), ("x", 9, 16)]
)
def test_bits_stored_are_the_detectors_where_the_values_keep_to_them(said, top, stored):
    dataset, file = written(image(values(top), **RAW, BitsStored=said))
    assert (dataset.BitsStored, dataset.HighBit, dataset.BitsAllocated) == (stored, stored - 1, 16)
    ((back,), _) = volumes([file])
    assert back.attributes["BitsStored"] == stored
    assert np.array_equal(back.data, values(top))


def test_spacing_says_how_it_was_calibrated():
    dataset, _ = written(image(values(), **FACTS))
    assert dataset.ImagerPixelSpacing == dataset.PixelSpacing == [0.2, 0.2]
    assert "PixelSpacingCalibrationType" not in dataset
    near = replace(GRID, affine=GRID.affine @ np.diag([1, 0.8, 0.8, 1]))
    dataset, _ = written(image(values(), near, **FACTS))
    assert dataset.ImagerPixelSpacing == [0.2, 0.2]
    assert dataset.PixelSpacing == pytest.approx([0.16, 0.16])
    assert dataset.PixelSpacingCalibrationType == "GEOMETRY"
    assert "1.25" in dataset.PixelSpacingCalibrationDescription
    coarse = replace(GRID, affine=GRID.affine @ np.diag([1, 2, 2, 1]))
    resampled = (Step("process.resample"),)
    dataset, _ = written(image(values(), coarse, resampled, **FACTS))
    assert dataset.ImagerPixelSpacing == dataset.PixelSpacing == [0.4, 0.4]
    known = {"PixelSpacingCalibrationType": "FIDUCIAL"}
    dataset, _ = written(image(values(), coarse, **FACTS, **known))
    assert dataset.ImagerPixelSpacing == [0.2, 0.2]
    assert dataset.PixelSpacingCalibrationType == "FIDUCIAL"


def test_the_region_has_its_code():
    dataset, _ = written(image(values(), **FACTS))
    assert dataset.AnatomicRegionSequence[0].CodeValue == "816094009"


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        ("PresentationIntentType", "FOR PRESENTATION", "in this storage class"),
        ("WindowCenter", 3, "for presentation alone"),
        ("RescaleSlope", 2, "not 1 and 0"),
        ("PixelSpacingCalibrationType", "GEOMETRY", "Description is missing"),
    ],
)
def test_planted_defects_are_found(word, value, said):
    dataset, _ = written(image(values(), **RAW))
    setattr(dataset, word, value)
    buffer = BytesIO()
    dataset.save_as(buffer)
    assert any(said in line for line in validate.check(buffer.getvalue()))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not here")
@pytest.mark.parametrize("facts", [FACTS, RAW])
def test_dciodvfy_finds_no_error(tmp_path, facts):
    _, file = written(image(values(), **facts))
    path = tmp_path / "dx.dcm"
    path.write_bytes(file)
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
    assert [line for line in run.stderr.splitlines() if line.startswith("Error")] == []
    assert "DXImageFor" in run.stderr
