from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy.ndimage import map_coordinates

from somascope.analyze.register import Registered, Verdict, points
from somascope.core import Grid, Warp
from somascope.core.errors import CorruptFile, UnsupportedFormat, WriteError
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


def standards_way(ds, x):
    """Source points of registered ones ``(n, 3)``, word for word as PS3.3 C.20.3.1.1 has it.

    Nothing of ours: the grid's index is solved for, its vectors interpolated, matrices multiplied.
    """
    item = ds.DeformableRegistrationSequence[0]
    grid = item.DeformableRegistrationGridSequence[0]
    row, column = np.array(grid.ImageOrientationPatient, float).reshape(2, 3)
    steps = np.stack([row, column, np.cross(row, column)], axis=1) * np.array(grid.GridResolution)
    ijk = np.linalg.solve(steps, (x - np.array(grid.ImagePositionPatient, float)).T)
    nx, ny, nz = grid.GridDimensions
    data = np.frombuffer(grid.VectorGridData, "<f4").reshape(nz, ny, nx, 3).astype(float)
    delta = [map_coordinates(data[..., c], ijk[::-1], order=1, mode="nearest") for c in range(3)]

    def matrix(sequence):
        if not sequence:
            return np.eye(4)
        return np.array(sequence[0].FrameOfReferenceTransformationMatrix, float).reshape(4, 4)

    one = np.ones((len(x), 1))
    pre = np.hstack([x, one]) @ matrix(item.get("PreDeformationMatrixRegistrationSequence")).T
    moved = pre[:, :3] + np.stack(delta, axis=1)
    post = np.hstack([moved, one]) @ matrix(item.get("PostDeformationMatrixRegistrationSequence")).T
    return post[:, :3]


def inner_points(grid):
    corner = np.array(grid.shape) - 1
    return grid.to_world(np.random.default_rng(3).random((60, 3)) * corner)


@pytest.mark.parametrize("flip", [1, -1])
def test_what_is_written_evaluates_to_the_warp_by_the_standards_equation(flip):
    warp = bent(flip)
    (file,) = registration.instances(warp)
    x = inner_points(warp.grid)
    told = standards_way(dcmread(BytesIO(file)), x)
    assert np.abs(told - x).max() > 5
    assert np.allclose(told, points(warp, x), atol=1e-4)


def foreign(change=lambda item: None):
    """Another maker's object: both matrices, no null one, its grid in the registered frame."""
    (file,) = registration.instances(bent(1))
    ds = dcmread(BytesIO(file))
    item = ds.DeformableRegistrationSequence[0]
    turn = np.eye(4)
    turn[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    turn[:3, 3] = (30, -20, 10)
    matrix = item.PreDeformationMatrixRegistrationSequence[0]
    matrix.FrameOfReferenceTransformationMatrix = turn.ravel().tolist()
    change(item)
    out = BytesIO()
    ds.save_as(out)
    return ds, out.getvalue()


def test_a_matrix_before_the_deformation_leaves_its_grid_where_it_is():
    ds, file = foreign()
    x = inner_points(bent(1).grid)
    assert np.allclose(points(registration.read(file), x), standards_way(ds, x), atol=1e-4)


def test_matrices_may_be_left_out():
    def change(item):
        del item.PreDeformationMatrixRegistrationSequence
        del item.PostDeformationMatrixRegistrationSequence

    ds, file = foreign(change)
    x = inner_points(bent(1).grid)
    assert np.allclose(points(registration.read(file), x), standards_way(ds, x), atol=1e-4)


def test_undefined_vectors_take_the_nearest_defined():
    def change(item):
        grid = item.DeformableRegistrationGridSequence[0]
        data = np.frombuffer(grid.VectorGridData, "<f4").reshape(4, 5, 6, 3).copy()
        data[0] = np.nan
        grid.VectorGridData = data.tobytes()

    whole = registration.read(foreign()[1]).displacement
    found = registration.read(foreign(change)[1]).displacement
    assert np.array_equal(found[:, 1:], whole[:, 1:])
    assert np.array_equal(found[:, 0], whole[:, 1])

    def nothing(item):
        grid = item.DeformableRegistrationGridSequence[0]
        grid.VectorGridData = np.full(len(grid.VectorGridData) // 4, np.nan, "<f4").tobytes()

    with pytest.raises(CorruptFile, match="defines no vector"):
        registration.read(foreign(nothing)[1])


def test_a_rigid_map_in_the_deformable_object():
    def change(item):
        del item.DeformableRegistrationGridSequence

    ds, file = foreign(change)
    item = ds.DeformableRegistrationSequence[0]
    pre, post = (
        np.array(s[0].FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
        for s in (
            item.PreDeformationMatrixRegistrationSequence,
            item.PostDeformationMatrixRegistrationSequence,
        )
    )
    again = registration.read(file)
    assert again.displacement is None
    assert np.allclose(again.matrix, post @ pre)
    assert (again.fixed_frame, again.moving_frame) == (FIXED, MOVING)


def test_of_several_matrices_the_first_comes_first():
    """Equation C.20.2-2: registered = M3 M2 M1 source."""
    warp = Warp(matrix=matrix(), fixed_frame=FIXED, moving_frame=MOVING, attributes=FACTS)
    ds = dcmread(BytesIO(registration.instances(warp)[0]))
    sequence = ds.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence
    second = Dataset()
    quarter = np.array([[0, -1, 0, 7], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    second.FrameOfReferenceTransformationMatrix = quarter.ravel().tolist()
    second.FrameOfReferenceTransformationMatrixType = "RIGID"
    sequence.append(second)
    out = BytesIO()
    ds.save_as(out)
    first = np.array(sequence[0].FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
    y = np.array([3.0, 4.0, 5.0, 1.0])
    x = (quarter @ first @ y)[:3]
    assert np.allclose(points(registration.read(out.getvalue()), x), y[:3])


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


def test_two_examinations_of_one_frame_of_reference():
    warp = Warp(matrix=matrix(), fixed_frame=FIXED, moving_frame=FIXED, attributes=FACTS)
    again = registration.read(registration.instances(warp)[0])
    assert np.allclose(again.matrix, matrix())
    assert (again.fixed_frame, again.moving_frame) == (FIXED, FIXED)


def test_the_verdict_is_told():
    verdict = Verdict(
        trusted=False, reasons=("a reason", "another"), before={"local_correlation": 0.2},
        after={"local_correlation": 0.3}, notes=("a note",),
    )  # fmt: skip
    warp = Registered(matrix=matrix(), fixed_frame=FIXED, attributes=FACTS, verdict=verdict)
    (file,) = registration.instances(warp)
    assert validate.check(file) == []
    found = dcmread(BytesIO(file))
    assert found.ContentDescription == "do not trust: a reason; another"
    lines = found.ImageComments.splitlines()
    assert lines[0] == "do not trust: a reason; another"
    assert "local correlation: 0.200 before, 0.300 after" in lines
    assert lines[-1] == "a note"
