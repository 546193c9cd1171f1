"""Oblique planes against SimpleITK, slabs, and curves whose shape is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.curved import centreline, curved_reslice, frames
from somascope.process.reslice import plane_axes, reslice
from somascope.testing import check_operation

R = np.random.default_rng(4)
GRID = Grid.from_spacing((20, 24, 28), (2.0, 1.2, 1.0), origin=(-14, -15, -20))


def linear(grid=GRID):
    """An image whose values are a linear function of the place: 2 L - P + 3 S."""
    world = grid.to_world(np.moveaxis(np.mgrid[tuple(slice(n) for n in grid.shape)], 0, -1))
    return Image((world @ (2.0, -1.0, 3.0)).astype(np.float32), grid)


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_axes_are_right_handed_and_the_head_is_up(normal):
    axes = plane_axes(normal)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert np.linalg.det(axes[:, ::-1]) == pytest.approx(1)  # x, y, z
    np.testing.assert_allclose(axes[:, 0], np.asarray(normal) / np.linalg.norm(normal), atol=1e-9)
    assert axes[2, 1] < 0 or axes[1, 1] > 0  # down is towards the feet, or the back


@pytest.mark.parametrize("order", ["nearest", "linear"])
def test_an_oblique_plane_is_simpleitks(order):
    sitk = pytest.importorskip("SimpleITK")
    data = R.normal(size=GRID.shape).astype(np.float32)
    ours = reslice(Image(data, GRID), normal=(0.3, -0.5, 0.8), point=(1, -2, 3), size=(20, 18),
                   spacing=0.9, order=order, outside=-9.0)  # fmt: skip
    given_ = sitk.GetImageFromArray(data)
    given_.SetSpacing(GRID.spacing[::-1])
    given_.SetOrigin(GRID.origin)
    target = sitk.Image([ours.shape[2], ours.shape[1], 1], sitk.sitkFloat32)
    target.SetSpacing(ours.grid.spacing[::-1])
    target.SetOrigin(ours.grid.origin)
    target.SetDirection(ours.grid.direction[:, ::-1].ravel().tolist())
    kind = sitk.sitkLinear if order == "linear" else sitk.sitkNearestNeighbor
    theirs = sitk.GetArrayFromImage(sitk.Resample(given_, target, sitk.Transform(), kind, -9.0))
    if order == "linear":
        np.testing.assert_allclose(ours.data, theirs, atol=2e-5)
    else:
        assert (ours.data == theirs).mean() > 0.999  # halves may fall either way


def test_planes_and_slabs_of_a_linear_world():
    given_ = linear()
    for slab in ("mean", "maximum", "minimum"):
        out = reslice(given_, normal=(1, 1, 1), size=(8, 8), thickness=3.0, slab=slab)
        index = np.moveaxis(np.mgrid[tuple(slice(n) for n in out.grid.shape)], 0, -1)
        truth = out.grid.to_world(index) @ (2.0, -1.0, 3.0)
        along = np.array([2.0, -1, 3]) @ np.ones(3) / np.sqrt(3)
        # the outermost of three points lie a millimetre from the middle
        shift = {"mean": 0.0, "maximum": along, "minimum": -along}[slab]
        np.testing.assert_allclose(out.data, truth + shift, atol=1e-3)


def test_several_slices_keep_their_distance_and_the_frame():
    out = reslice(linear(), normal=(0, 1, 0), slices=5, distance=2.0, size=(10, 10))
    assert out.shape[0] == 5
    assert out.grid.spacing[0] == pytest.approx(2)
    np.testing.assert_allclose(np.diff(out.data[:, 5, 5]), -2, atol=1e-4)  # 2 mm of -P
    whole = reslice(linear(), normal=(0, 0, 1))
    assert whole.shape == (1, 29, 28)
    head_up = reslice(linear(), normal=(1, 0, 0)).grid
    assert head_up.direction[2, 1] == pytest.approx(-1)


def test_missing_and_outside():
    data = np.ones(GRID.shape, np.float32)
    data[10, 12, 14] = np.nan
    out = reslice(Image(data, GRID), thickness=4.0, outside=-1.0, size=(60, 60))
    assert set(np.unique(out.data)) == {-1.0, 1.0}
    movie = Image(np.ones((3, *GRID.shape), np.float32), GRID, axes=(Axis("t"),))
    assert reslice(movie, normal=(1, 0, 1)).shape[0] == 3


def test_refusals():
    flat = linear()
    with pytest.raises(ParameterError, match="give a direction"):
        reslice(flat, normal=(0, 0, 0))
    with pytest.raises(ParameterError, match="along the normal"):
        reslice(flat, normal=(1, 0, 0), up=(1, 0, 0))
    with pytest.raises(ParameterError, match="larger spacing"):
        reslice(flat, spacing=0.01, size=(900, 900))
    with pytest.raises(ParameterError, match="three"):
        curved_reslice(flat, points=(1.0, 2.0, 3.0))
    with pytest.raises(ParameterError, match="two different"):
        curved_reslice(flat, points=(1.0, 2.0, 3.0) * 3)
    with pytest.raises(GeometryError, match="one volume"):
        curved_reslice(Image(np.zeros((2, 1, 4, 4)), Grid.from_spacing((1, 4, 4), (1, 1, 1)),
                             axes=(Axis("t"),)), points=(0.0,) * 3 + (1.0,) * 3)  # fmt: skip


def test_a_centreline_has_even_steps_and_keeps_its_points():
    t = np.linspace(0, np.pi, 12)
    circle = np.stack([20 * np.cos(t), 20 * np.sin(t), 0 * t], axis=1)
    curve = centreline(circle, 0.5)
    np.testing.assert_allclose(np.linalg.norm(np.diff(curve, axis=0), axis=1), 0.5, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(curve, axis=1), 20, atol=0.02)
    assert len(curve) * 0.5 == pytest.approx(20 * np.pi, abs=0.6)
    line = centreline(np.array([[0, 0, 0], [3.0, 4.0, 0]]), 1.0)
    np.testing.assert_allclose(line, np.outer(np.arange(6), [0.6, 0.8, 0]), atol=1e-9)


def test_frames_turn_as_little_as_they_can():
    """On a circle the normal that starts upright stays upright; all are orthonormal."""
    t = np.linspace(0, 1.5 * np.pi, 200)
    circle = np.stack([0 * t, 20 * np.cos(t), 20 * np.sin(t)], axis=1)
    tangent, normal, other = frames(circle)
    np.testing.assert_allclose(normal, np.broadcast_to([1, 0, 0], normal.shape), atol=1e-6)
    for a, b in ((tangent, normal), (tangent, other), (normal, other)):
        assert np.abs((a * b).sum(axis=1)).max() < 1e-6


def vessel():
    """A bright tube of radius 3 mm around a half circle of radius 16 mm, in the plane of P."""
    grid = Grid.from_spacing((50, 20, 50), (1, 1, 1), origin=(-25, -10, -5))
    l, p, s = np.moveaxis(grid.to_world(np.moveaxis(np.mgrid[:50, :20, :50], 0, -1)), -1, 0)
    ring = np.hypot(l, s) - 16
    tube = np.hypot(ring, p) < 3
    t = np.linspace(0.1, np.pi - 0.1, 9)
    points = np.stack([16 * np.cos(t), 0 * t, 16 * np.sin(t)], axis=1)
    return Image(tube.astype(np.float32), grid), tuple(points.ravel().tolist())


@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0])
def test_a_bent_vessel_becomes_straight(angle):
    image, points = vessel()
    out = curved_reslice(image, points=points, width=20.0, spacing=0.5, angle=angle)
    rows, columns = out.shape[1:]
    assert rows * 0.5 == pytest.approx(16 * (np.pi - 0.2), abs=1.0)
    assert columns == 40
    wide = (out.data[0] > 0.5).sum(axis=1) * 0.5
    np.testing.assert_allclose(wide[4:-4], 6.0, atol=1.1)
    middle = (out.data[0] * (np.arange(40) - 19.5)).sum(axis=1) / out.data[0].sum(axis=1)
    assert np.abs(middle[4:-4]).max() < 1.0
    tube = curved_reslice(image, points=points, width=12.0, spacing=1.0, output="volume").data
    areas = tube.sum(axis=(1, 2))  # of a disc of voxels: 9 pi give or take its outline
    np.testing.assert_allclose(areas[3:-3], np.pi * 9, rtol=0.25)


def test_stretching_keeps_lengths_in_the_surface():
    image, points = vessel()
    # swept to the back: the surface is a cylinder, rolled out it is as long as the arc
    out = curved_reslice(image, points=points, mode="stretched", width=16.0, spacing=0.5,
                         angle=90.0)  # fmt: skip
    assert out.shape[1] * 0.5 == pytest.approx(16 * (np.pi - 0.2), abs=1.0)
    wide = (out.data[0] > 0.5).sum(axis=1) * 0.5
    np.testing.assert_allclose(wide[4:-4], 6.0, atol=1.1)
    # swept to the left, in the plane of the ring: the picture is that plane, bends and all
    flat = curved_reslice(image, points=points, mode="stretched", width=16.0, spacing=0.5)
    assert flat.shape[1] > flat.shape[1] * 0.5
    with pytest.raises(ParameterError, match="turn angle"):
        curved_reslice(image, points=(0.0, 0, 0, 10.0, 0, 0), mode="stretched")


def test_operations_keep_their_contract():
    check_operation(reslice, params={"normal": [0.2, 0.3, 0.9], "thickness": 2.0})
    check_operation(curved_reslice, params={"points": [-8.0, 8, 41, 0, 12, 50, 4, 16, 60]})
