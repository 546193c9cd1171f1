from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread

from somascope.analyze.register import points
from somascope.core import Grid, Warp
from somascope.core.errors import UnsupportedFormat, WriteError
from somascope.io.dicom import registration, validate
from somascope.io.transforms import read_warp, write_warp

FIXED, MOVING = "1.2.826.0.1.3680043.8.498.77", "1.2.826.0.1.3680043.8.498.78"
FACTS = {"PatientID": "7", "PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.3.4"}


def matrix():
    out = np.eye(4)
    out[:3, :3] = [[0.99, 0.1, 0.02], [-0.09, 1.02, 0.03], [0.01, -0.05, 0.97]]
    out[:3, 3] = (5, -8, 13)
    return out


def bent(flip):
    rng = np.random.default_rng(1)
    a = 0.25
    direction = np.array([[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]])
    direction[:, 0] *= flip * np.linalg.det(direction[:, ::-1])
    grid = Grid.from_spacing((4, 5, 6), (3, 2, 1.5), origin=(4, 5, 6), direction=direction)
    field = rng.standard_normal((3, 4, 5, 6)).astype(np.float32)
    return Warp(
        matrix=matrix(), grid=grid, displacement=field, fixed_frame=FIXED, moving_frame=MOVING,
        attributes=FACTS,
    )  # fmt: skip


def test_linear_registration_is_told_as_the_standard_asks():
    warp = Warp(matrix=matrix(), fixed_frame=FIXED, moving_frame=MOVING, attributes=FACTS)
    (file,) = registration.instances(warp, description="trusted")
    assert validate.check(file) == []
    assert registration.instances(warp, description="trusted") == [file]
    found = dcmread(BytesIO(file))
    assert (found.Modality, found.PatientID, found.FrameOfReferenceUID) == ("REG", "7", FIXED)
    own, other = found.RegistrationSequence
    assert other.FrameOfReferenceUID == MOVING
    told = other.MatrixRegistrationSequence[0].MatrixSequence[0]
    # PS3.3 C.20.2.1.1: the matrix leads from the item's frame to the registered one.
    to_fixed = np.array(told.FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
    x = np.array([10.0, 20.0, 30.0])
    assert np.allclose(to_fixed @ np.append(points(warp, x), 1), [*x, 1])
    assert own.FrameOfReferenceUID == FIXED
    again = registration.read(file)
    assert np.allclose(again.matrix, matrix())
    assert (again.fixed_frame, again.moving_frame) == (FIXED, MOVING)
    assert again.attributes["PatientID"] == "7"


@pytest.mark.parametrize("flip", [1, -1])
def test_deformable_registration_returns(tmp_path, flip):
    warp = bent(flip)
    (file,) = registration.instances(warp)
    assert validate.check(file) == []
    write_warp(warp, tmp_path / "w.dcm")
    assert (tmp_path / "w.dcm").read_bytes() == file
    again = read_warp(tmp_path / "w.dcm")
    assert warp.grid is not None
    x = warp.grid.to_world(np.random.default_rng(2).random((40, 3)) * (3, 4, 5))
    assert np.allclose(points(again, x), points(warp, x), atol=1e-4)


def test_what_is_no_registration():
    path = Path(pydicom.__file__).parent / "data/test_files/CT_small.dcm"
    with pytest.raises(UnsupportedFormat, match="no spatial registration"):
        registration.read(path)
    warp = bent(1)
    assert warp.grid is not None
    affine = warp.grid.affine.copy()
    affine[:3, 0] += affine[:3, 1]
    sheared = Warp(
        matrix=np.eye(4), grid=Grid(warp.grid.shape, affine), displacement=warp.displacement
    )
    with pytest.raises(WriteError, match="sheared"):
        registration.instances(sheared)
