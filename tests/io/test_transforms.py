import numpy as np
import pytest

from somascope.core import Grid, Warp
from somascope.core.errors import CorruptFile, UnsupportedFormat, WriteError
from somascope.io.transforms import from_fsl, read_warp, to_fsl, write_warp


def affine() -> Warp:
    rng = np.random.default_rng(3)
    matrix = np.eye(4)
    matrix[:3, :3] += 0.1 * rng.standard_normal((3, 3))
    matrix[:3, 3] = (5.0, -7.0, 11.0)
    return Warp(matrix=matrix)


def bent() -> Warp:
    rng = np.random.default_rng(4)
    a = 0.3
    direction = [[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]]
    grid = Grid.from_spacing((5, 6, 7), (3.0, 2.0, 1.5), origin=(4, 5, 6), direction=direction)
    field = rng.standard_normal((3, 5, 6, 7)).astype(np.float32)
    return Warp(matrix=affine().matrix, grid=grid, displacement=field)


def way(warp, x):
    from somascope.analyze.register import points

    return points(warp, x)


INSIDE = bent().grid.to_world(np.random.default_rng(0).random((50, 3)) * (4, 5, 6))


@pytest.mark.parametrize("name", ["w.tfm", "w.mat", "w.txt", "w.json", "w.h5"])
def test_affine_files_return(tmp_path, name):
    write_warp(affine(), tmp_path / name)
    assert np.allclose(read_warp(tmp_path / name).matrix, affine().matrix, atol=1e-12)


@pytest.mark.parametrize("name", ["w.nii.gz", "w.nii", "w.h5"])
def test_fields_return(tmp_path, name):
    write_warp(bent(), tmp_path / name)
    again = read_warp(tmp_path / name)
    assert np.allclose(way(again, INSIDE), way(bent(), INSIDE), atol=1e-4)


@pytest.mark.parametrize("name", ["w.tfm", "w.h5", "w.mat"])
def test_simpleitk_reads_the_same_map(tmp_path, name):
    sitk = pytest.importorskip("SimpleITK")
    warp = bent() if name == "w.h5" else affine()
    write_warp(warp, tmp_path / name)
    other = sitk.ReadTransform(str(tmp_path / name))
    theirs = np.array([other.TransformPoint(tuple(map(float, x))) for x in INSIDE])
    assert np.allclose(theirs, way(warp, INSIDE), atol=1e-3)


def test_simpleitk_writes_and_we_read(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    euler = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    sitk.WriteTransform(euler, str(tmp_path / "e.tfm"))
    theirs = np.array([euler.TransformPoint(tuple(map(float, x))) for x in INSIDE])
    assert np.allclose(way(read_warp(tmp_path / "e.tfm"), INSIDE), theirs, atol=1e-9)


def test_simpleitk_sees_the_nifti_as_a_field(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    write_warp(bent(), tmp_path / "w.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "w.nii.gz"), sitk.sitkVectorFloat64)
    assert image.GetDimension() == 3
    other = sitk.DisplacementFieldTransform(image)
    theirs = np.array([other.TransformPoint(tuple(map(float, x))) for x in INSIDE])
    assert np.allclose(theirs, way(bent(), INSIDE), atol=1e-3)


def test_elastix_euler():
    from somascope.io.transforms_itk import read_elastix

    text = (
        '(Transform "EulerTransform")\n(NumberOfParameters 6)\n'
        "(TransformParameters 0.1 -0.2 0.3 4 5 6)\n(CenterOfRotationPoint 1 2 3)\n"
        '(InitialTransformParametersFileName "NoInitialTransform")\n'
    )
    sitk = pytest.importorskip("SimpleITK")
    euler = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    theirs = np.array([euler.TransformPoint(tuple(map(float, x))) for x in INSIDE])
    assert np.allclose(way(read_elastix(text), INSIDE), theirs)


def test_fsl_matrices_follow_flirt():
    # Both grids stored right to left (negative determinant in RAS): no flips, scaled voxels.
    direction = [[0, 0, -1], [0, 1, 0], [1, 0, 0]]
    fixed = Grid.from_spacing((8, 9, 10), (3.0, 2.0, 1.5), direction=direction)
    moving = Grid.from_spacing((6, 7, 5), (1.0, 2.0, 4.0), origin=(1, 2, 3), direction=direction)
    warp = from_fsl(np.eye(4), fixed, moving)
    index = np.array([2.0, 3.0, 4.0])
    there = moving.to_index(way(warp, fixed.to_world(index)))
    assert np.allclose(there * (1.0, 2.0, 4.0), index * (3.0, 2.0, 1.5))
    back = from_fsl(to_fsl(affine(), fixed, moving), fixed, moving)
    assert np.allclose(back.matrix, affine().matrix)
    # The same grid stored left to right is flipped in FSL's eyes: x counts from the other end.
    other = Grid.from_spacing((8, 9, 10), (3.0, 2.0, 1.5))
    crossed = from_fsl(np.eye(4), other, moving)
    there = moving.to_index(way(crossed, other.to_world(index)))
    assert np.allclose(there[2] * 4.0, (9 - index[2]) * 1.5)


def test_what_cannot_be_said_is_refused(tmp_path):
    with pytest.raises(WriteError, match="this one bends"):
        write_warp(bent(), tmp_path / "w.tfm")
    with pytest.raises(WriteError, match="needs a grid"):
        write_warp(affine(), tmp_path / "w.nii.gz")
    (tmp_path / "x.tfm").write_bytes(b"nothing of the kind")
    with pytest.raises(UnsupportedFormat, match="no transform known"):
        read_warp(tmp_path / "x.tfm")
    (tmp_path / "y.tfm").write_text(
        "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\nParameters: 1 a\n"
    )
    with pytest.raises(CorruptFile):
        read_warp(tmp_path / "y.tfm")
