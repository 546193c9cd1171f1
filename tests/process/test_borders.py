"""Fast kernels at every border: axes of 1 to 9 voxels, any layout, every type, gaps."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from somascope.process.components import label
from somascope.process.distance import distance
from somascope.process.filters import smooth
from somascope.process.histogram import of_values
from somascope.process.median import median
from somascope.process.morphology import extreme

SIZES = st.tuples(*(st.integers(1, 9),) * 3)
LAYOUTS = st.sampled_from(["plain", "reversed", "every second", "turned", "cut"])
KINDS = st.sampled_from([np.int16, np.uint8, np.float32, np.float64])
QUICK = settings(max_examples=60, deadline=None)


def laid(values: np.ndarray, layout: str) -> np.ndarray:
    """The same values, otherwise in memory."""
    nz, ny, nx = values.shape
    match layout:
        case "reversed":
            return values[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]
        case "every second":
            wide = np.full((2 * nz, 2 * ny, 3 * nx), 77, values.dtype)
            wide[::2, 1::2, ::3] = values
            return wide[::2, 1::2, ::3]
        case "turned":
            return np.ascontiguousarray(values.transpose(2, 0, 1)).transpose(1, 2, 0)
        case "cut":
            wide = np.full((nz + 2, ny + 1, nx + 3), 77, values.dtype)
            wide[1:-1, 1:, 2:-1] = values
            return wide[1:-1, 1:, 2:-1]
        case _:
            return values


def volume(shape: tuple[int, int, int], kind: type, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, 60, shape)
    return np.abs(values).astype(kind) if kind is np.uint8 else values.astype(kind)


@QUICK
@given(SIZES, KINDS, LAYOUTS, st.integers(0, 99), st.floats(0.3, 4.0))
def test_gaussian(shape, kind, layout, seed, sigma):
    v = volume(shape, kind, seed)
    width = (sigma, 0.0, 1.3 * sigma)
    # An axis of one voxel has no neighbours: mirrored, they are the voxel itself.
    expected = ndimage.gaussian_filter(v.astype(np.float64), width, mode="reflect")
    found = smooth(laid(v, layout), width)
    assert found.dtype == (np.float64 if kind is np.float64 else np.float32)
    assert np.abs(found - expected).max() < 1e-4


@QUICK
@given(SIZES, LAYOUTS, st.integers(0, 99))
def test_gaussian_leaves_gaps_out(shape, layout, seed):
    v = volume(shape, np.float32, seed)
    known = np.random.default_rng(seed).random(shape) > 0.3
    v[~known] = np.nan
    width = (1.0, 1.0, 1.0)
    found = smooth(laid(v, layout), width)
    assert np.array_equal(np.isnan(found), ~known)
    total = ndimage.gaussian_filter(np.where(known, v, 0).astype(np.float64), width, mode="reflect")
    weight = ndimage.gaussian_filter(known.astype(np.float64), width, mode="reflect")
    assert np.allclose(found[known], (total / np.maximum(weight, 1e-9))[known], atol=1e-2)


@QUICK
@given(
    SIZES, KINDS, LAYOUTS, st.integers(0, 99), st.sampled_from([(3, 3, 3), (1, 3, 3), (3, 3, 5)])
)
def test_median(shape, kind, layout, seed, size):
    v = volume(shape, kind, seed)
    found = median(laid(v, layout), size)
    assert found.dtype == (np.float32 if kind is np.float64 else kind)
    assert np.array_equal(found, ndimage.median_filter(v.astype(found.dtype), size, mode="reflect"))


@QUICK
@given(SIZES, KINDS, LAYOUTS, st.integers(0, 99), st.tuples(*(st.integers(0, 12),) * 3))
def test_extremes(shape, kind, layout, seed, radius):
    v = volume(shape, kind, seed)
    size = [2 * r + 1 for r in radius]
    for largest, peer in ((True, ndimage.maximum_filter), (False, ndimage.minimum_filter)):
        found = extreme(laid(v, layout), radius, largest=largest)
        assert found.dtype == kind
        assert np.array_equal(found, peer(v, size, mode="nearest"))


@QUICK
@given(
    SIZES, st.sampled_from([np.bool_, np.uint8, np.int16, np.float32]), LAYOUTS,
    st.integers(0, 99), st.floats(0.02, 0.98),
)  # fmt: skip
def test_distance(shape, kind, layout, seed, share):
    mask = np.random.default_rng(seed).random(shape) < share
    spacing = (2.5, 0.6, 1.1)
    found = distance(laid(mask.astype(kind), layout), spacing)
    if mask.all():
        assert np.isinf(found).all()
    else:
        expected = ndimage.distance_transform_edt(mask, spacing)
        assert np.abs(found - expected).max() < 1e-5


def test_distance_across_tiles_and_far():
    """Axes beyond a tile's 16 columns; distances so long that the envelope takes over."""
    mask = np.ones((4, 300, 41), bool)
    mask[0, 0, 0] = mask[3, 299, 40] = mask[1, 150, 17] = False
    for one in (mask, mask[:1], mask.transpose(0, 2, 1)):
        for spacing in ((3.0, 1.0, 1.0), (0.1, 0.7, 20.0)):
            expected = ndimage.distance_transform_edt(one, spacing)
            assert np.allclose(distance(one, spacing), expected, rtol=2e-6)


@QUICK
@given(SIZES, LAYOUTS, st.integers(0, 99), st.sampled_from([6, 18, 26]))
def test_components(shape, layout, seed, connectivity):
    mask = np.random.default_rng(seed).random(shape) < 0.4
    labels, counts = label(laid(mask, layout), connectivity=connectivity)
    rank = {6: 1, 18: 2, 26: 3}[connectivity]
    expected, n = ndimage.label(mask, ndimage.generate_binary_structure(3, rank))
    assert labels.max(initial=0) == counts.size == n
    assert np.array_equal(np.bincount(labels.ravel(), minlength=n + 1)[1:], counts)
    pairs = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == np.unique(labels).size  # one name of ours to each of theirs


@QUICK
@given(SIZES, KINDS, LAYOUTS, st.integers(0, 99), st.integers(1, 40))
def test_histogram(shape, kind, layout, seed, bins):
    v = volume(shape, kind, seed)
    if kind in (np.float32, np.float64):
        v[0, 0, 0] = np.inf * (-1) ** seed
    found = of_values(laid(v, layout).reshape(-1), bins=bins, lower=-50.0, upper=70.0)
    expected = np.histogram(v.astype(np.float64), bins, (-50.0, 70.0))[0]
    assert np.array_equal(found.counts, expected)
    assert found.total + found.below + found.above == v.size
    assert found.above == np.count_nonzero(v > 70)
