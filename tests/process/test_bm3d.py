"""Block matching: better than non-local means and wavelets, and what it must leave alone."""

import numpy as np
import pytest
from skimage.data import camera

from somascope.core import Axis, Grid, Image
from somascope.process.bm3d import bm3d, grouped
from somascope.process.bm3d_kernels import _haar, _turned, cosines
from somascope.process.denoise import nonlocal_means
from somascope.process.wavelets import shrunk
from somascope.testing import check_operation


def scene(sigma=25.0, seed=0):
    clean = camera()[150:262, 180:292].astype(np.float32)[None]
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return clean, clean + noise.astype(np.float32)


def image(values, **more):
    return Image(np.asarray(values), Grid.from_spacing(np.shape(values)[-3:], (1, 1, 1)), **more)


def psnr(found, clean):
    return float(10 * np.log10(255**2 / np.mean((found - clean) ** 2)))


def test_the_transforms_are_orthonormal_and_come_back():
    c = cosines()
    assert c @ c.T == pytest.approx(np.eye(8), abs=1e-6)
    rng = np.random.default_rng(0)
    block, work = rng.normal(size=(8, 8)).astype(np.float32), np.empty((8, 8), np.float32)
    there = block.copy()
    _turned(there, c, 0, work)
    assert there == pytest.approx(c @ block @ c.T, abs=1e-5)
    _turned(there, c, 1, work)
    assert there == pytest.approx(block, abs=1e-5)
    group = rng.normal(size=(16, 8, 8)).astype(np.float32)
    spare = np.empty_like(group)
    for n in (1, 2, 8, 16):
        there = group.copy()
        _haar(there, n, 0, spare)
        assert (there**2).sum() == pytest.approx((group**2).sum(), rel=1e-5)
        assert there[0] == pytest.approx(group[:n].sum(axis=0) / np.sqrt(n), abs=1e-5)
        _haar(there, n, 1, spare)
        assert there == pytest.approx(group, abs=1e-5)


def test_it_is_better_than_the_others():
    clean, v = scene()
    ours = psnr(grouped(v, sigma=25.0), clean)
    settings = [(0.4, 1), (0.6, 1), (0.4, 2), (0.6, 2), (0.6, 3), (0.8, 3)]
    means = max(
        psnr(nonlocal_means(v, search=(0, 10, 10), patch=(0, p, p), h=h * 25, sigma=25.0), clean)
        for h, p in settings
    )
    assert ours > means + 0.4
    assert ours > psnr(shrunk(v, sigma=25.0), clean) + 1.0
    assert ours > psnr(v, clean) + 8
    told = psnr(bm3d(image(v)).data, clean)  # the noise estimated
    assert told > ours - 0.3


def test_levels_and_scales_do_not_matter():
    _, v = scene()
    one = grouped(v[:, :40, :50], sigma=25.0)
    cut = v[:, :40, :50]
    assert np.array_equal(grouped(cut * 4, sigma=100.0), one * 4)  # nothing is rounded
    # Else rounding decides here and there which of two equally like blocks is taken: 1 % of the
    # noise.
    for again in (grouped(cut + 1000, sigma=25.0) - 1000, grouped(cut * 3, sigma=75.0) / 3):
        assert np.abs(again - one).mean() < 0.25


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (2, 8, 1), (2, 17, 16)])
def test_thin_and_constant_slices(shape):
    assert (bm3d(image(np.full(shape, 5, np.int16))).data == 5).all()
    noisy = np.random.default_rng(0).normal(50, 10, shape).astype(np.float32)
    found = bm3d(image(noisy), sigma=10.0).data
    assert np.isfinite(found).all()
    assert found.std() <= noisy.std() + 1e-3


def test_missing_values_stay_and_reach_no_neighbour():
    clean, v = scene()
    v[0, 50:54, 50:60] = np.nan
    v[0, 0, 0] = np.inf
    found = bm3d(image(v), sigma=25.0).data
    assert np.array_equal(np.isnan(found), np.isnan(v))
    there = np.isfinite(found)
    assert psnr(found[there], clean[there]) > 27


def test_operation():
    check_operation(bm3d)
    _, v = scene()
    v = v[:, :32, :40]
    both = bm3d(image(np.stack([v, v * 2]), axes=(Axis("t"),)), sigma=25.0)
    assert np.array_equal(both.data[0], bm3d(image(v), sigma=25.0).data)
