"""Watershed, reconstruction and tops: scikit-image's, voxel by voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.morphology import h_maxima, reconstruction
from skimage.segmentation import watershed as peers

from somascope.core import Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.watershed import basins, peaks, peaks_, reconstructed, watershed
from somascope.testing import check_operation


def scene(shape=(8, 30, 40), seed=0, width=1.5):
    rng = np.random.default_rng(seed)
    v = (100 * ndi.gaussian_filter(rng.normal(size=shape), width)).astype(np.float32)
    seeds = np.zeros(shape, np.int32)
    places = rng.choice(v.size, 12, replace=False)
    seeds.reshape(-1)[places] = np.arange(1, 13)
    return v, seeds


def image(values, spacing=(1, 1, 1), **more):
    return Image(np.asarray(values), Grid.from_spacing(np.shape(values)[-3:], spacing), **more)


def marks(seeds, **more):
    segments = tuple(Segment(int(k), f"m{k}") for k in np.unique(seeds) if k)
    grid = Grid.from_spacing(seeds.shape, (1, 1, 1), **more)
    return Mask(data=seeds.astype(np.uint8), grid=grid, segments=segments)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("shape", [(1, 50, 60), (8, 30, 40)])
def test_floats_without_ties_are_scikit_images(shape, connectivity):
    v, seeds = scene(shape)
    rank = {6: 1, 18: 2, 26: 3}[connectivity]
    ours = basins(v, seeds, connectivity=connectivity)
    assert np.array_equal(ours, peers(v.astype(float), seeds, connectivity=rank))
    inside = v < np.quantile(v, 0.8)
    ours = basins(v, seeds * inside, inside=inside, connectivity=connectivity)
    theirs = peers(v.astype(float), seeds * inside, connectivity=rank, mask=inside)
    assert np.array_equal(ours, theirs)


def test_integers_flood_as_floats_do():
    shape = (6, 20, 30)
    v = np.random.default_rng(0).permutation(6 * 20 * 30).reshape(shape).astype(np.int16)
    _, seeds = scene(shape)
    ours = basins(v, seeds)
    assert np.array_equal(ours, basins(v.astype(np.float32), seeds))
    assert np.array_equal(ours, peers(v, seeds))
    coarse = (v // 400).astype(np.uint8)  # plateaus: in order of arrival
    assert np.array_equal(basins(coarse, seeds), basins(coarse.astype(np.float32) - 7, seeds))


def test_plateaus_are_shared_by_distance():
    seeds = np.zeros((1, 9, 21), np.int32)
    seeds[0, 4, 2], seeds[0, 4, 18] = 1, 2
    found = basins(np.zeros(seeds.shape, np.int16), seeds)
    assert (found[0, :, :9] == 1).all()
    assert (found[0, :, 12:] == 2).all()


@pytest.mark.parametrize("connectivity", [6, 26])
def test_reconstruction_is_scikit_images(connectivity):
    v, _ = scene()
    foot = ndi.generate_binary_structure(3, 1 if connectivity == 6 else 3)
    for drop in (1.0, 10.0, 60.0):
        seed = v - np.float32(drop)
        theirs = reconstruction(seed, v, method="dilation", footprint=foot)
        assert np.array_equal(reconstructed(seed, v, connectivity=connectivity), theirs)
    spot = np.full_like(v, v.min())
    spot[4, 15, 20] = v[4, 15, 20]
    theirs = reconstruction(spot, v, method="dilation", footprint=foot)
    assert np.array_equal(reconstructed(spot, v, connectivity=connectivity), theirs)
    with pytest.raises(ParameterError, match="above the volume"):
        reconstructed(v + 1, v)


def test_tops_are_scikit_images():
    v, _ = scene((1, 60, 70), width=(0, 2, 2))
    whole = np.rint(v * 10).astype(np.int32)  # theirs is exact for integers only
    for height in (1, 30, 120):
        ours = peaks(whole.astype(np.float32), float(height), connectivity=26)[0]
        theirs = h_maxima(whole[0], height, np.ones((3, 3))) > 0
        assert theirs.any()
        assert np.array_equal(ours, theirs)


def test_two_tops_of_one_height_are_one_where_the_valley_is_shallow():
    line = np.array([0, 3, 9, 8, 9, 2, 0, 6, 0, 1, 0], np.float32).reshape(1, 1, -1)
    found = peaks_(image(line), height=4.0)
    assert found.data.ravel().tolist() == [0, 0, 1, 0, 1, 0, 0, 2, 0, 0, 0]
    assert len(found.segments) == 2
    assert len(peaks_(image(line), height=0.5).segments) == 4


def test_touching_balls_are_parted():
    z, y, x = np.mgrid[:24, :40, :60]
    one = np.sqrt((z - 12) ** 2 + (y - 20) ** 2 + (x - 20) ** 2) < 11
    two = np.sqrt((z - 12) ** 2 + (y - 20) ** 2 + (x - 38) ** 2) < 11
    inside = one | two
    depth = image(ndi.distance_transform_edt(inside).astype(np.float32))
    tops = peaks_(depth, height=1.0)
    assert len(tops.segments) == 2
    down = depth.with_data(-depth.data)
    parts = watershed(down, tops, upper=-1e-3)
    assert np.array_equal(parts.data > 0, inside)
    left = parts.data[12, 20, 20]
    assert (parts.data[one & (x < 27)] == left).all()
    assert (parts.data[two & (x > 31)] != left).all()
    bottoms = peaks_(down, height=1.0, side="dark")
    assert np.array_equal(bottoms.data, tops.data)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1), (1, 1, 9), (1, 8, 1), (5, 1, 7), (4, 6, 9)]),
    scale=st.floats(0.1, 1000),
    seed=st.integers(0, 999),
)
def test_every_voxel_gets_a_marker_and_order_alone_counts(shape, scale, seed):
    rng = np.random.default_rng(seed)
    v = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    seeds = np.zeros(shape, np.int32)
    seeds.reshape(-1)[rng.choice(v.size, min(3, v.size), replace=False)] = np.arange(
        1, min(3, v.size) + 1
    )
    found = basins(v, seeds)
    assert (found > 0).all()
    assert (found[seeds > 0] == seeds[seeds > 0]).all()
    assert np.array_equal(basins(np.exp(v / v.size * 3) * np.float32(scale), seeds), found)
    for k in range(1, int(seeds.max()) + 1):
        assert ndi.label(found == k)[1] == 1


def test_missing_values_are_walls_and_errors_are_clear():
    v, seeds = scene((1, 12, 21))
    v[..., 10] = np.nan
    seeds[:] = 0
    seeds[0, 5, 3] = 1
    found = watershed(image(v), marks(seeds))
    assert (found.data[..., :10] == 1).all()
    assert not found.data[..., 10:].any()
    with pytest.raises(GeometryError, match="resample"):
        watershed(image(v[:, :6]), marks(seeds))
    with pytest.raises(ParameterError, match="no voxel"):
        watershed(image(v), Mask(
            data=np.zeros(v.shape, np.uint8), grid=image(v).grid, segments=(Segment(1, "a"),)
        ))  # fmt: skip
    flat = peaks_(image(np.full((2, 4, 5), 3.0, np.float32)), height=1.0)
    assert set(np.unique(flat.data)) <= {0, 1}
    empty = np.full((1, 4, 4), np.nan, np.float32)
    assert not peaks_(image(empty), height=1.0).data.any()


def test_operations():
    check_operation(peaks_, params={"height": 20.0})
    check_operation(watershed)
