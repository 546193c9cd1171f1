"""Histograms, equalisation, windows and colours of torch tensors against the arrays'."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.process.colour import coloured
from somascope.process.counting import pairs
from somascope.process.equalise import equalise
from somascope.process.histogram import of_values
from somascope.process.mapping import voi

torch = pytest.importorskip("torch")
pytest.importorskip("triton")


def volume(dtype=np.float32, shape=(6, 11, 13)):
    return np.random.default_rng(3).normal(100, 60, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64, bool])
def test_histogram(dtype):
    v = np.abs(volume(dtype if dtype is not bool else np.int16)).reshape(-1)
    v = v > 100 if dtype is bool else v
    if v.dtype.kind == "f":
        v[3], v[4], v[7] = np.nan, np.inf, v[np.isfinite(v)].max()
    for settings in ({}, {"bins": 17}, {"lower": 20.0, "upper": 120.0}):
        mine, found = of_values(v, **settings), of_values(torch.from_numpy(v), **settings)
        assert np.array_equal(mine.counts, found.counts)
        assert np.array_equal(mine.edges, found.edges)
        assert (mine.below, mine.above, mine.missing) == (found.below, found.above, found.missing)


def test_values_on_edges():
    v = np.linspace(0, 10, 41, dtype=np.float32)
    expected = np.histogram(v, 10, (0, 10))[0]
    assert np.array_equal(of_values(torch.from_numpy(v), bins=10).counts, expected)


def test_pairs():
    a, b = volume().reshape(-1), volume(shape=(13, 11, 6)).reshape(-1)
    a[5] = np.nan
    edges = np.linspace(0, 200, 9), np.linspace(20, 160, 6)
    found = pairs(torch.from_numpy(a), torch.from_numpy(b), *edges)
    assert np.array_equal(found, pairs(a, b, *edges))
    assert found.sum() > 300


@pytest.mark.parametrize("tile", [(2.0, 4.0, 5.0), (6.0, 11.0, 13.0), (1.0, 3.0, 20.0)])
@pytest.mark.parametrize("limit", [1.5, 40.0])
def test_equalisation(tile, limit):
    v = volume()
    v[0, 0, 0], v[2, 3, 4] = np.nan, 1000.0
    settings = {"limit": limit, "low": 0.0, "high": 220.0, "bins": 32}
    mine = equalise(v.copy(), tile, **settings)
    found = equalise(torch.from_numpy(v), tile, **settings).numpy()
    assert np.array_equal(np.isnan(mine), np.isnan(found))
    assert np.nanmax(np.abs(mine - found)) < 2e-3


@pytest.mark.parametrize("function", ["linear", "linear_exact", "sigmoid"])
def test_windows(function):
    v = volume()
    v[0, 0, 0] = np.nan
    found = voi(torch.from_numpy(v), 90.0, 110.0, function=function)
    assert np.abs(found.numpy() - voi(v, 90.0, 110.0, function=function)).max() < 1e-6


@pytest.mark.parametrize("slices", [0, 7])
def test_colours(slices):
    v = volume()
    v[0, 0, 0] = np.nan
    mine = coloured(v, "ember", 20.0, 180.0, slices=slices)
    found = coloured(torch.from_numpy(v), "ember", 20.0, 180.0, slices=slices)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), mine)
