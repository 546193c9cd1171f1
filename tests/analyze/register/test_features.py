"""Neighbourhood descriptors and their Gauss-Newton sums against plain NumPy."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from somascope.analyze.register import patch_kernels
from somascope.analyze.register.features import SIGMA, boxes, mind, pooled
from somascope.core import Grid

SHAPES = [(7, 10, 9), (1, 12, 11)]


def volume(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_descriptor_is_how_alike_the_neighbours_patches_are(shape):
    v = volume(shape)
    wide = [a for a in range(3) if shape[a] > 1]
    sigma = [SIGMA if n > 1 else 0 for n in shape]
    squares = []
    for a in wide:
        d = np.diff(v, axis=a, append=np.take(v, [-1], axis=a)) ** 2
        d = gaussian_filter(d, sigma, mode="reflect", truncate=4.0)
        index = np.maximum(np.arange(shape[a]) - 1, 0)
        squares += [np.take(d, index, axis=a), d]
    every = np.stack(squares)
    middle = np.mean([every[2 * k + 1].mean() for k in range(len(wide))])
    scale = np.clip(every.mean(axis=0), 0.02 * middle, 50 * middle)
    wanted = (1 + (every - every.min(axis=0)) / (8 * scale)) ** -8
    found = mind(v)
    assert np.abs(found[..., [2 * a + w for a in wide for w in (0, 1)]] - np.moveaxis(wanted, 0, -1)
                  ).max() < 1e-4  # fmt: skip
    assert np.all(found[..., 7] == 1)
    missing = [2 * a + w for a in range(3) if a not in wide for w in (0, 1)]
    assert not found[..., [*missing, 6]].any()


def test_brightness_and_contrast_do_not_matter():
    v = volume((9, 10, 8))
    assert np.abs(mind(v) - mind(3 - 2 * v)).max() < 1e-3


def test_what_has_no_value_is_unknown_and_so_is_what_lies_beside_it():
    v = volume((7, 9, 8))
    v[3, 4, 5] = np.nan
    found = mind(v)
    assert np.isfinite(found).all()
    unknown = np.argwhere(found[..., 7] == 0)
    assert len(unknown) == 7
    assert np.abs(unknown - (3, 4, 5)).sum(axis=1).max() == 1


@pytest.mark.parametrize(("n", "m", "ratio"), [(8, 4, 2.0), (9, 4, 2.0), (9, 5, 2.0), (10, 4, 2.5)])
def test_boxes_average_what_they_cover(n, m, ratio):
    index, weight = boxes(n, m, ratio)
    assert weight.sum(axis=1) == pytest.approx(1)
    line = np.arange(n, dtype=float)
    at = (np.arange(m) - (m - 1) / 2) * ratio + (n - 1) / 2
    inner = (at - ratio / 2 > -0.5 - 1e-9) & (at + ratio / 2 < n - 0.5 + 1e-9)
    found = (line[index] * weight).sum(axis=1)
    assert found[inner] == pytest.approx(at[inner], abs=0.26 if ratio == 2.5 else 1e-6)


def test_pooling_leaves_out_what_is_unknown():
    v = volume((8, 8, 8))
    v[:4] = np.nan
    fine, coarse = (Grid.from_spacing((n,) * 3, (s,) * 3) for n, s in ((8, 1.0), (4, 2.0)))
    whole = mind(v)
    found = pooled(whole, fine, coarse)
    assert found.shape == (4, 4, 4, 8)
    blocks = whole[6:8, 2:4, 4:6, :6].mean(axis=(0, 1, 2))
    assert found[3, 1, 2, :6] == pytest.approx(blocks, abs=1e-5)
    assert not found[:2].any()  # the first plane with values has a neighbour without
    assert np.all(found[3, ..., 7] == 1)


def test_the_sums_of_a_step_are_those_of_all_channels():
    rng = np.random.default_rng(3)
    shape, cell = (6, 8, 10), np.array([2, 4, 3])
    f, m = (rng.random((*shape, 8)).astype(np.float32) for _ in range(2))
    for v in (f, m):
        v[..., 6], v[..., 7] = 0, 1
    m[2, 3, 4] = 0  # unknown, and what touches it does not count
    weight = rng.random(shape).astype(np.float32)
    per_mm = np.array([0.5, 1.0, 2.0], np.float32)
    lattice = tuple(-(-n // c) for n, c in zip(shape, cell, strict=True))
    blocks, right = np.empty((6, *lattice), np.float32), np.empty((3, *lattice), np.float32)
    cost, seen = patch_kernels.equations(f, m, weight, cell, per_mm, blocks, right)
    w = weight.astype(float)
    known = m[..., 7] > 0
    for a in range(3):
        for s in (-1, 1):
            near = np.roll(m[..., 7] > 0, s, axis=a)
            edge = [slice(None)] * 3
            edge[a] = slice(0, 1) if s > 0 else slice(-1, None)
            near[tuple(edge)] = True
            known &= near
    w *= known
    g = np.stack([(np.gradient(m[..., :6].astype(float), axis=a)
                   + np.gradient(f[..., :6].astype(float), axis=a)) * per_mm[a] / 2
                  for a in range(3)])  # fmt: skip
    r = (m - f)[..., :6].astype(float)

    def summed(values):
        out = np.zeros(lattice)
        for index in np.ndindex(shape):
            out[tuple(i // c for i, c in zip(index, cell, strict=True))] += values[index]
        return out

    pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    for k, (a, b) in enumerate(pairs):
        assert blocks[k] == pytest.approx(summed((g[a] * g[b]).sum(-1) * w), abs=1e-4)
    for k in range(3):
        assert right[k] == pytest.approx(-summed((g[k] * r).sum(-1) * w), abs=1e-4)
    assert cost == pytest.approx(((r**2).sum(-1) * w).sum(), rel=1e-4)
    assert seen == pytest.approx(w.sum(), rel=1e-5)


def test_descriptors_are_looked_up_between_voxels():
    rng = np.random.default_rng(4)
    shape = (6, 7, 8)
    v = rng.random((*shape, 8)).astype(np.float32)
    field = (2 * rng.standard_normal((*shape, 3))).astype(np.float32)
    out = np.empty_like(v)
    patch_kernels.warped(v, field, np.ones(3, np.int64), np.ones(3, np.float32), out)
    at = np.moveaxis(np.indices(shape), 0, -1) + field
    inside = np.all((at > -0.5) & (at < np.array(shape) - 0.5), axis=-1)
    for k in range(8):
        wanted = map_coordinates(v[..., k], np.moveaxis(at, -1, 0), order=1, mode="nearest")
        assert out[inside, k] == pytest.approx(wanted[inside], abs=1e-4)
    assert not out[~inside].any()
