"""Side-cars in BIDS units; b-tables against the definition by FSL."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from somascope.core import Axis, Grid, Image
from somascope.io import bids, read, write

GRID = Grid.from_spacing((2, 3, 4), (3, 2, 1.5))
MR = Image(
    np.zeros(GRID.shape, np.int16),
    GRID,
    modality="MR",
    attributes={
        "PatientName": "Secret^Name",
        "PatientID": "SECRET1",
        "PatientBirthDate": "19700101",
        "RepetitionTime": 2300.0,
        "EchoTime": 2.98,
        "InversionTime": 900.0,
        "FlipAngle": 9.0,
        "Manufacturer": "Maker",
        "ManufacturerModelName": "Model",
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "SeriesInstanceUID": "1.2.3",
        "InPlanePhaseEncodingDirection": "COL",
        "SAR": float("nan"),
    },
)


def test_units_are_those_of_bids(tmp_path: Path) -> None:
    bids.write_sidecar(MR, tmp_path / "a.json")
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["RepetitionTime"] == 2.3
    assert record["EchoTime"] == 0.00298
    assert record["InversionTime"] == 0.9
    assert record["ManufacturersModelName"] == "Model"
    assert record["ImageOrientationPatientDICOM"] == [1, 0, 0, 0, 1, 0]
    assert record["PhaseEncodingAxis"] == "j"
    assert record["ConversionSoftware"] == "Somascope"
    assert "SAR" not in record


def test_nobody_is_named(tmp_path: Path) -> None:
    bids.write_sidecar(MR, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert "ecret" not in text
    assert "SECRET" not in text
    assert "19700101" not in text


def test_there_and_back(tmp_path: Path) -> None:
    bids.write_sidecar(MR, tmp_path / "a.json")
    facts = bids.read_sidecar(tmp_path / "a.nii.gz")
    assert facts["Modality"] == "MR"
    for keyword in ("RepetitionTime", "EchoTime", "InversionTime"):
        assert facts[keyword] == pytest.approx(MR.attributes[keyword])


@pytest.mark.parametrize("text", ["", "[1]", "{not json", '"text"', "[" * 100000])
def test_a_bad_side_car_is_no_side_car(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    assert bids.read_sidecar(tmp_path / "a.nii") == {}


def test_pet_units() -> None:
    image = Image(
        np.zeros((2, 2, 3, 4), np.float32), GRID, modality="PT", unit="Bq/ml",
        axes=(Axis("t", (0.0, 60.0), "s"),), attributes={"ActualFrameDuration": 60000},
    )  # fmt: skip
    record = bids.sidecar(image)
    assert record["Units"] == "Bq/mL"
    assert record["FrameTimesStart"] == [0, 60]
    assert record["FrameDuration"] == 60


def test_uneven_times_are_kept_beside(tmp_path: Path) -> None:
    for times, key in (((0.0, 1.0, 2.5), True), ((0.0, 1.0, 2.0), False)):
        image = Image(np.zeros((3, 2, 3, 4), np.int16), GRID, axes=(Axis("t", times, "s"),))
        write(image, tmp_path / "a.nii")
        bids.write_sidecar(image, tmp_path / "a.json")
        assert ("VolumeTiming" in json.loads((tmp_path / "a.json").read_text())) == key
        assert read(tmp_path / "a.nii").axes == image.axes


def test_directions_follow_fsl() -> None:
    """Against nibabel's affine: FSL's axes are the voxel axes, x turned round where det > 0."""
    turn = Rotation.from_euler("xyz", [12, -25, 40], degrees=True).as_matrix()
    vectors = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.0, 0.8]])
    for flips in ((1, 1, 1), (1, -1, 1), (-1, 1, 1), (-1, -1, -1)):
        axial = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * flips
        grid = Grid.from_spacing((2, 3, 4), (3, 2, 1.5), direction=turn @ axial)
        image = Image(
            np.zeros((5, 2, 3, 4), np.int16), grid,
            axes=(Axis("b", (0, 1000, 1000, 1000, 500), "s/mm2"),),
            attributes={"DiffusionGradientOrientation": vectors.tolist()},
        )  # fmt: skip
        table = bids.b_table(image)
        assert table is not None
        bval, bvec = table
        assert bval == "0 1000 1000 1000 500\n"
        assert bvec is not None
        got = np.array([[float(v) for v in row.split()] for row in bvec.splitlines()])
        ras_axes = np.diag([-1, -1, 1]) @ grid.direction[:, ::-1]
        expected = np.linalg.solve(ras_axes, np.diag([-1, -1, 1]) @ vectors.T)
        if np.linalg.det(ras_axes) > 0:
            expected[0] *= -1
        assert np.allclose(got, expected, atol=1e-5)
        assert not np.signbit(got[:, 0]).any()


def test_no_b_axis_no_table() -> None:
    assert bids.b_table(MR) is None
