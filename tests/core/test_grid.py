import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.core import Grid
from somascope.core.errors import GeometryError

spacings = st.tuples(*[st.floats(0.1, 10)] * 3)
angles = st.tuples(*[st.floats(-3, 3)] * 3)
points = st.tuples(*[st.floats(-500, 500)] * 3)


def rotation(angles):
    out = np.eye(3)
    for axis, a in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        r = np.eye(3)
        r[i, i] = r[j, j] = np.cos(a)
        r[i, j], r[j, i] = -np.sin(a), np.sin(a)
        out = out @ r
    return out


def test_the_default_is_an_axial_stack():
    grid = Grid.from_spacing((4, 5, 6), (3.0, 2.0, 1.0), origin=(10, 20, 30))
    np.testing.assert_array_equal(grid.to_world((0, 0, 0)), (10, 20, 30))
    np.testing.assert_array_equal(grid.to_world((1, 0, 0)), (10, 20, 33))  # z towards the head
    np.testing.assert_array_equal(grid.to_world((0, 1, 0)), (10, 22, 30))  # y to the back
    np.testing.assert_array_equal(grid.to_world((0, 0, 1)), (11, 20, 30))  # x to the left
    assert grid.orientation == "SPL"
    assert grid.spacing == (3.0, 2.0, 1.0)
    assert grid.origin == (10.0, 20.0, 30.0)
    assert grid.voxel_volume == pytest.approx(6.0)
    assert grid.is_orthogonal()


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ([[1, 0, 0], [0, 0, 1], [0, -1, 0]], "LIP"),  # sagittal, from right to left
        ([[0, 0, 1], [1, 0, 0], [0, -1, 0]], "PIL"),  # coronal, from front to back
        ([[0, 0, -1], [0, -1, 0], [-1, 0, 0]], "IAR"),
    ],
)
def test_anatomical_letters(direction, letters):
    assert Grid.from_spacing((2, 2, 2), (1, 1, 1), direction=direction).orientation == letters


@given(spacings, angles, points, points)
@settings(max_examples=50, deadline=None)
def test_world_and_index_undo_each_other(spacing, angle, origin, point):
    grid = Grid.from_spacing((3, 4, 5), spacing, origin=origin, direction=rotation(angle))
    np.testing.assert_allclose(grid.to_index(grid.to_world(point)), point, atol=1e-6)
    np.testing.assert_allclose(grid.spacing, spacing, rtol=1e-9)
    assert grid.voxel_volume == pytest.approx(np.prod(spacing))
    np.testing.assert_allclose(grid.direction @ grid.direction.T, np.eye(3), atol=1e-9)


@given(angles, st.tuples(*[st.integers(-3, 3).filter(bool)] * 3))
@settings(max_examples=30, deadline=None)
def test_moved_follows_numpy_slicing(angle, step):
    grid = Grid.from_spacing((9, 9, 9), (1.5, 0.7, 1.1), direction=rotation(angle))
    index = np.stack(np.meshgrid(*[np.arange(9)] * 3, indexing="ij"), axis=-1)
    world = grid.to_world(index)
    start = tuple(1 if s > 0 else 7 for s in step)
    cut = world[tuple(slice(a, None, s) for a, s in zip(start, step, strict=True))]
    moved = grid.moved(start=start, shape=cut.shape[:3], step=step)
    own = np.stack(np.meshgrid(*[np.arange(n) for n in moved.shape], indexing="ij"), axis=-1)
    np.testing.assert_allclose(moved.to_world(own), cut, atol=1e-9)


def test_a_tilted_grid_is_not_orthogonal_and_its_volume_is_sheared():
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 1], [np.tan(0.3), 1, 0], [1, 0, 0]]
    grid = Grid((2, 2, 2), affine)
    assert not grid.is_orthogonal()
    assert grid.voxel_volume == pytest.approx(1.0)
    assert grid.spacing[0] == pytest.approx(1 / np.cos(0.3))


def test_equality_and_closeness():
    a = Grid.from_spacing((20, 30, 40), (1, 1, 1), frame_of_reference="1.2")
    assert a == Grid.from_spacing((20, 30, 40), (1, 1, 1), frame_of_reference="1.2")
    assert a != Grid.from_spacing((20, 30, 40), (1, 1, 1), frame_of_reference="1.3")
    assert len({a, Grid(a.shape, a.affine, "1.2")}) == 1
    # one part in ten thousand is 4 um at the far corner of 40 voxels: more than 1 um
    b = Grid.from_spacing((20, 30, 40), (1, 1, 1.0001))
    assert not a.allclose(b)
    assert a.allclose(b, tolerance_mm=0.005)
    assert not a.allclose(Grid.from_spacing((20, 30, 41), (1, 1, 1)))
    assert a != "grid"


def test_it_cannot_be_changed():
    affine = np.eye(4)
    grid = Grid((1, 2, 3), affine)
    affine[0, 3] = 99
    assert grid.origin == (0, 0, 0)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2
    assert repr(Grid.from_spacing((1, 2, 3), (2, 1, 0.5))) == "Grid(1x2x3, 2x1x0.5 mm, SPL)"


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((2, 3), np.eye(4), "nz = 1"),
        ((0, 3, 3), np.eye(4), "three positive"),
        ((2, 3, 4), np.eye(3), "4x4"),
        ((2, 3, 4), np.diag([1, 1, np.nan, 1]), "not finite"),
        ((2, 3, 4), np.eye(4)[::-1], "last row"),
        ((2, 3, 4), np.diag([1.0, 0.0, 1.0, 1.0]), "singular"),
    ],
)
def test_refusals(shape, affine, words):
    with pytest.raises(GeometryError, match=words):
        Grid(shape, affine)
