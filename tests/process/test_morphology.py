import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from somascope.core import Grid, Image, Mask, Segment
from somascope.core.errors import ParameterError
from somascope.process.morphology import (
    closed,
    dilated,
    eroded,
    extreme,
    grey_morphology,
    morphology,
    opened,
    skeleton_,
)
from somascope.testing import check_operation

SPACING = (2.0, 1.0, 0.7)


def blobs(seed=0, shape=(7, 24, 26)):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return smooth > 0.02


def ball(radius):
    r = [int(radius / s) for s in SPACING]
    z, y, x = np.ogrid[tuple(slice(-k, k + 1) for k in r)]
    return (z * SPACING[0]) ** 2 + (y * SPACING[1]) ** 2 + (x * SPACING[2]) ** 2 <= radius**2 + 1e-9


@pytest.mark.parametrize("radius", [1.0, 2.5, 4.0])
def test_balls_are_scipys(radius):
    mask = blobs()
    structure = ball(radius)
    assert np.array_equal(dilated(mask, SPACING, radius), ndimage.binary_dilation(mask, structure))
    expected = ndimage.binary_erosion(mask, structure, border_value=1)
    assert np.array_equal(eroded(mask, SPACING, radius), expected)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 4))
def test_opening_and_closing_are_idempotent_and_ordered(seed, radius):
    mask = blobs(seed)
    less, more = opened(mask, SPACING, radius), closed(mask, SPACING, radius)
    assert not (less & ~mask).any()
    assert not (mask & ~more).any()
    assert np.array_equal(opened(less, SPACING, radius), less)
    assert np.array_equal(closed(more, SPACING, radius), more)


def test_all_and_nothing():
    full, empty = np.ones((3, 4, 5), bool), np.zeros((3, 4, 5), bool)
    assert eroded(full, SPACING, 2).all()
    assert not dilated(empty, SPACING, 2).any()
    assert not closed(empty, SPACING, 2).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("radius", [(0, 0, 1), (1, 2, 3), (4, 0, 0), (9, 9, 90)])
def test_boxes_are_scipys(dtype, radius):
    volume = np.random.default_rng(1).integers(0, 200, (5, 17, 70)).astype(dtype)
    size = tuple(2 * r + 1 for r in radius)
    for largest, peer in ((True, ndimage.maximum_filter), (False, ndimage.minimum_filter)):
        found = extreme(volume, radius, largest=largest)
        assert found.dtype == dtype
        assert np.array_equal(found, peer(volume, size, mode="nearest"))


def image(data):
    return Image(data, Grid.from_spacing(data.shape, (1, 1, 1)))


def test_hats_show_what_opening_and_closing_drop():
    data = np.full((1, 20, 20), 50, np.uint8)
    data[0, 5, 5], data[0, 12:14, 12:14] = 255, 0
    top = grey_morphology(image(data), action="top_hat", size=5.0).data
    assert top[0, 5, 5] == 205
    assert np.count_nonzero(top) == 1
    bottom = grey_morphology(image(data), action="bottom_hat", size=5.0).data
    assert (bottom[0, 12:14, 12:14] == 50).all()
    assert np.count_nonzero(bottom) == 4
    hole = data.astype(np.float32)
    hole[0, 0, 0] = np.nan
    found = grey_morphology(image(hole), action="open", size=3.0).data
    assert np.array_equal(np.isnan(found), np.isnan(hole))
    wide = np.array([[[-32768, 32767, 0]]], np.int16)
    assert grey_morphology(image(wide), action="gradient", size=3.0).data.max() == 32767


def test_operations():
    for op in (morphology, grey_morphology, skeleton_):
        check_operation(op)
    with pytest.raises(ParameterError, match="complex"):
        grey_morphology(image(np.zeros((1, 3, 3), np.complex64)))


def test_segments_keep_apart_and_planes_may_overlap():
    data = np.zeros((1, 9, 20), np.uint8)
    data[0, 2:7, 2:8], data[0, 2:7, 10:16] = 1, 2
    grid = Grid.from_spacing(data.shape, (1, 1, 1))
    segments = (Segment(1, "a"), Segment(2, "b"))
    grown = morphology(
        Mask(data=data, grid=grid, segments=segments), action="dilate", radius=2.0
    ).data
    assert (grown[0, 4, 7:12] == [1, 1, 1, 2, 2]).all()
    planes = np.stack([data == 1, data == 2])
    grown = morphology(
        Mask(data=planes, grid=grid, segments=segments), action="dilate", radius=2.0
    ).data
    assert (grown[0] & grown[1]).any()


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_no_body_loses_its_skeleton(width):
    """scikit-image deletes rods of even width, and round ones about a voxel's corner."""
    data = np.zeros((12, 30, 26), np.uint8)
    data[3 : 3 + width, 2 : 2 + width, 3:23] = 1
    z, y = np.indices(data.shape[:2])
    data[np.hypot(z - 5.5, y - 21.5) < width / 2 + 1, 3:23] = 1
    grid = Grid.from_spacing(data.shape, (1, 1, 1))
    thin = skeleton_(Mask(data=data, grid=grid, segments=(Segment(1, "Vessel"),))).data[0]
    assert not (thin & (data == 0)).any()
    for half in (thin[:, :13], thin[:, 13:]):
        x = np.nonzero(half)[2]
        assert len(np.unique(x)) >= 20 - width - 2
        assert len(x) == len(np.unique(x))


def test_a_skeleton_runs_along_the_middle():
    data = np.zeros((9, 9, 30), np.uint8)
    data[2:7, 2:7, 3:27] = 1
    grid = Grid.from_spacing(data.shape, (1, 1, 1))
    thin = skeleton_(Mask(data=data, grid=grid, segments=(Segment(1, "Vessel"),)))
    assert thin.segments[0].label == "Vessel centre line"
    z, y, x = np.nonzero(thin.data[0])
    middle = (x > 6) & (x < 23)
    assert (z[middle] == 4).all()
    assert (y[middle] == 4).all()
    assert sorted(x[middle]) == list(range(7, 23))
