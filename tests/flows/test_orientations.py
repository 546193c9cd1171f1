"""Where a voxel is survives every format, in all 48 orientations and oblique to them.

The image is marked: one bright voxel near a corner, a dimmer one along each axis, so that no flip
or exchange of axes maps it to itself. Places are compared in the world, in LPS mm.
"""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from somascope.core import Grid, Image, Mask, Segment
from somascope.io import read, read_all, write
from somascope.phantoms import thorax_ct, thorax_grid

SHAPE = (3, 4, 5)
MARKS = {(0, 0, 0): 1000, (0, 0, 3): 700, (0, 2, 0): 500, (2, 0, 0): 300}
TOLERANCE_MM = 1e-4

ORIENTATIONS = [
    np.eye(3)[:, list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


def marked(grid: Grid) -> Image:
    data = np.zeros(grid.shape, np.int16)
    for index, value in MARKS.items():
        data[index] = value
    return Image(data, grid, modality="CT", unit="[hnsf'U]")


def places(image: Image) -> dict[int, np.ndarray]:
    """World coordinates of each mark."""
    return {v: image.grid.to_world(np.argwhere(image.data == v)[0]) for v in MARKS.values()}


def assert_same_place(found: Image, truth: Image) -> None:
    expected = places(truth)
    for value, point in places(found).items():
        assert np.abs(point - expected[value]).max() < TOLERANCE_MM, (value, point, expected[value])


def one(path: Path) -> Image:
    image = read(path)
    assert isinstance(image, Image)
    return image


def as_mask(image: Image) -> Mask:
    data = np.zeros(image.data.shape, np.uint8)
    for number, value in enumerate(MARKS.values(), start=1):
        data[image.data == value] = number
    segments = tuple(Segment(i + 1, f"mark {v}") for i, v in enumerate(MARKS.values()))
    return Mask(data=data, grid=image.grid, segments=segments)


def as_image(mask: Mask) -> Image:
    data = np.zeros(mask.grid.shape, np.int16)
    for number, value in enumerate(MARKS.values(), start=1):
        data[mask.plane(number) > 0] = value
    return Image(data, mask.grid)


def around(grid: Grid, folder: Path) -> None:
    """DICOM to NIfTI to NRRD to SEG, and back to NIfTI and DICOM."""
    truth = marked(grid)
    write(truth, folder / "dicom")
    dicom = one(folder / "dicom")
    assert_same_place(dicom, truth)
    write(dicom, folder / "a.nii.gz")
    nifti = one(folder / "a.nii.gz")
    assert_same_place(nifti, truth)
    write(nifti, folder / "a.nrrd")
    nrrd = one(folder / "a.nrrd")
    assert_same_place(nrrd, truth)
    write(as_mask(nrrd), folder / "seg.dcm")
    (mask,) = read_all(folder / "seg.dcm").masks
    seg = as_image(mask)
    assert_same_place(seg, truth)
    write(seg, folder / "b.nii")
    assert_same_place(one(folder / "b.nii"), truth)


def letters(axes: np.ndarray) -> str:
    return Grid.from_spacing(SHAPE, (1, 1, 1), direction=axes).orientation


@pytest.mark.parametrize("axes", ORIENTATIONS, ids=letters)
def test_all_48_orientations(axes: np.ndarray, tmp_path: Path) -> None:
    around(
        Grid.from_spacing(SHAPE, (3.0, 2.0, 1.5), origin=(-50, 20, 300), direction=axes), tmp_path
    )


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    turn=st.tuples(*[st.floats(-180, 180, allow_subnormal=False)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 12.0)] * 3),
    origin=st.tuples(*[st.floats(-900, 900, allow_subnormal=False)] * 3),
)
def test_obliques(
    orientation: np.ndarray,
    turn: tuple[float, float, float],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    direction = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ orientation
    grid = Grid.from_spacing(SHAPE, spacing, origin=origin, direction=direction)
    around(grid, tmp_path_factory.mktemp("oblique"))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("k", range(0, 48, 5))
def test_simpleitk_finds_the_marks_at_the_same_place(name: str, k: int, tmp_path: Path) -> None:
    turn = Rotation.from_euler("xyz", (17, -8, 31), degrees=True).as_matrix()
    if name.endswith("gz"):
        turn = np.eye(3)
    direction = turn @ ORIENTATIONS[k]
    truth = marked(
        Grid.from_spacing(SHAPE, (3, 2, 1.5), origin=(-50, 20, 300), direction=direction)
    )
    write(truth, tmp_path / name)
    other = SimpleITK.ReadImage(tmp_path / name)
    values = SimpleITK.GetArrayFromImage(other)
    for value, point in places(truth).items():
        z, y, x = (int(i) for i in np.argwhere(values == value)[0])
        assert np.allclose(other.TransformIndexToPhysicalPoint((x, y, z)), point, atol=1e-3)


def test_simpleitk_finds_the_marks_in_our_dicom(tmp_path: Path) -> None:
    turn = Rotation.from_euler("xyz", (17, -8, 31), degrees=True).as_matrix()
    axial = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    grid = Grid.from_spacing(SHAPE, (3, 2, 1.5), origin=(-50, 20, 300), direction=turn @ axial)
    truth = marked(grid)
    write(truth, tmp_path / "d")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "d")))
    other = reader.Execute()
    values = SimpleITK.GetArrayFromImage(other)
    for value, point in places(truth).items():
        z, y, x = (int(i) for i in np.argwhere(values == value)[0])
        assert np.allclose(other.TransformIndexToPhysicalPoint((x, y, z)), point, atol=1e-4)


@pytest.mark.parametrize("name", ["dicom", "a.nii.gz", "a.nrrd", "a.mha"])
def test_the_bead_stays_on_the_patients_left(name: str, tmp_path: Path) -> None:
    """The thorax phantom carries a metal bead on its left and the liver on its right."""
    ct = thorax_ct(thorax_grid((32, 32, 96), (8.0, 8.0, 4.0)), noise_hu=0)
    write(ct, tmp_path / name)
    back = one(tmp_path / name)
    at = np.argwhere(back.data > 1000)
    assert len(at)
    assert np.allclose(back.grid.to_world(at)[:, 0], 181, atol=9)
    there, here = (Image(i.data, i.grid) for i in (back, ct))
    assert np.allclose(
        there.grid.to_world(np.argwhere(there.data > 1000)).mean(axis=0),
        here.grid.to_world(np.argwhere(here.data > 1000)).mean(axis=0),
        atol=TOLERANCE_MM,
    )


def test_the_48_are_48() -> None:
    found = {tuple(a.ravel().tolist()) for a in ORIENTATIONS}
    assert len(found) == 48
    assert sum(np.linalg.det(a) > 0 for a in ORIENTATIONS) == 24
