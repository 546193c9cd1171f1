"""Unsharp masks and the pyramid: complete, level-free, and what their definitions say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.filters import unsharp_mask

from somascope.core import Axis, Grid, Image
from somascope.process.pyramid import decompose, grow, rebuild, shrink
from somascope.process.sharpen import equalised, multiscale, unsharp, unsharp_
from somascope.testing import check_operation


def noise(shape=(6, 30, 40), seed=0):
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def image(values, spacing=(1, 1, 1), **more):
    return Image(np.asarray(values), Grid.from_spacing(np.shape(values)[-3:], spacing), **more)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 37, 81), (9, 5, 200), (12, 33, 32), (1, 1, 7)])
@pytest.mark.parametrize("deep", [False, True])
def test_a_pyramid_is_complete(shape, deep):
    v = noise(shape)
    bands, axes = decompose(v, 6, deep=deep, spacing=(2.0, 1.0, 1.0))
    assert bands[0].shape == shape
    np.testing.assert_allclose(rebuild(bands, axes), v, atol=5e-5)


def test_shrinking_and_growing_are_burt_and_adelsons():
    v = noise((2, 21, 34))
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    wide = ndi.correlate1d(ndi.correlate1d(v.astype(float), kernel, 1), kernel, 2)
    np.testing.assert_allclose(shrink(v, (1, 2)), wide[:, ::2, ::2], atol=1e-4)
    ones = np.ones((2, 20, 30), np.float32)
    np.testing.assert_allclose(grow(ones, (2, 39, 60), (1, 2)), 1.0, atol=1e-6)
    line = grow(np.array([[[0.0, 8.0, 16.0, 24.0]]], np.float32), (1, 1, 8), (2,))
    np.testing.assert_allclose(line[0, 0, 2:6], [8.0, 12.0, 16.0, 20.0], atol=1e-5)


def test_thick_slices_wait_for_the_others():
    _, axes = decompose(noise((16, 64, 64)), 4, spacing=(4.0, 1.0, 1.0), deep=True)
    assert axes == [(1, 2), (1, 2), (0, 1, 2), (0, 1, 2)]


def test_power_one_changes_nothing():
    v = noise((5, 40, 50))
    for deep in (False, True):
        same = equalised(v, power=1.0, edges=0.0, latitude=1.0, along_z=deep)
        np.testing.assert_allclose(same, v, atol=1e-4)


def test_faint_detail_rises_and_steps_do_not():
    y, x = np.mgrid[:128, :128]
    step = np.where(x < 64, 0.0, 1000.0)
    faint = 10.0 * np.sin(y / 2.0) * (abs(x - 96) < 16)
    before = image((step + faint)[None].astype(np.float32))
    after = multiscale(before, power=0.6, noise=0.005)
    column = np.s_[0, 30:98, 96]
    assert after.data[column].std() > 2 * before.data[column].std()
    sides = [after.data[0, 40:80, s].mean() for s in (slice(10, 30), slice(85, 105))]
    assert 0.6 * 1000 < sides[1] - sides[0] < 1.3 * 1000


def test_unsharp_is_scikit_images():
    v = noise()
    flat = unsharp_(v[3:4], (0, 1.3, 1.3), amount=1.7)
    theirs = unsharp_mask(v[3].astype(float), radius=1.3, amount=1.7, preserve_range=True)
    assert np.abs(flat[0] - theirs)[6:-6, 6:-6].max() < 1e-3  # they repeat the border, we mirror
    mirrored = v[3] + 1.7 * (v[3] - ndi.gaussian_filter(v[3].astype(float), 1.3))
    assert np.abs(flat[0] - mirrored).max() < 1e-3


def test_the_radius_is_in_millimetres():
    v = noise((4, 24, 24))
    ours = unsharp(image(v, (2.0, 1.0, 0.5)), radius=1.0, dimensions="volume").data
    mirrored = v + (v - ndi.gaussian_filter(v.astype(float), (0.5, 1.0, 2.0)))
    assert np.abs(ours - mirrored).max() < 1e-3


def test_small_differences_stay_below_the_threshold():
    v = noise()
    assert np.array_equal(unsharp_(v, (1, 1, 1), amount=3.0, threshold=1e4), v)
    some = np.abs(unsharp_(v, (1, 1, 1), amount=1.0, threshold=20.0) - v)
    assert (some <= np.abs(unsharp_(v, (1, 1, 1), amount=1.0) - v) + 1e-4).all()


@pytest.mark.parametrize("op", [unsharp, multiscale])
def test_missing_values_stay_and_reach_no_neighbour(op):
    v = np.full((3, 20, 20), 40.0, np.float32)
    v[1, 8:11, 8:11] = np.nan
    v[0, 0, 0] = np.inf
    found = op(image(v)).data
    assert np.array_equal(np.isnan(found), np.isnan(v))
    assert np.isposinf(found[0, 0, 0])
    assert found[np.isfinite(v)] == pytest.approx(40.0, abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1), (1, 1, 9), (1, 8, 1), (5, 1, 7), (4, 6, 9)]),
    level=st.floats(-3000, 3000),
    deep=st.booleans(),
)
def test_levels_and_constants(shape, level, deep):
    how = {"dimensions": "volume" if deep else "slice"}
    v = noise(shape)
    for op in (unsharp, multiscale):
        flat = op(image(np.full(shape, level, np.float32)), **how).data
        assert flat == pytest.approx(level, abs=1e-2)
        moved = op(image(v + np.float32(level)), **how).data - level
        assert np.abs(moved - op(image(v), **how).data).max() < 0.05


def test_operations():
    for op in (unsharp, multiscale):
        check_operation(op)
        check_operation(op, params={"dimensions": "volume"})
        v = np.stack([noise(seed=1), noise(seed=2)])
        one = unsharp(image(v, axes=(Axis("t"),)))
        assert np.array_equal(one.data[1], unsharp(image(v[1])).data)
        colour = np.random.default_rng(0).integers(0, 255, (3, 1, 16, 16)).astype(np.uint8)
        found = op(image(colour, axes=(Axis("channel"),)))
        assert found.data.dtype == np.uint8
