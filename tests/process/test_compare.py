"""Comparison of groups against SciPy, and joint information against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.process.compare import compare, compare_values, mutual_information
from somascope.testing import check_operation

R = np.random.default_rng(2)
GRID = Grid.from_spacing((4, 10, 12), (1, 1, 1))


def image(data, grid=GRID, **more):
    return Image(np.asarray(data, np.float32), grid, **more)


def by_name(findings):
    return {f.concept.meaning: f.value for f in findings}


@settings(deadline=None, max_examples=20)
@given(n=st.integers(5, 300), m=st.integers(5, 300), shift=st.floats(-2, 2))
def test_distances_are_scipys(n, m, shift):
    r = np.random.default_rng(n * 301 + m)
    a, b = r.normal(size=n), np.round(r.normal(shift, 1.5, size=m), 1)
    found = compare_values(a, b, resamples=100)
    assert found.ks == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert found.p == pytest.approx(stats.kstwobign.sf(found.ks * np.sqrt(n * m / (n + m))))
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(a, b))
    pooled = np.sqrt(((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2))
    assert found.cohen == pytest.approx((a.mean() - b.mean()) / pooled)


@pytest.mark.parametrize("n", [60, 20000])
def test_the_interval_is_that_of_the_effect(n):
    """Its width is that of the closed form, var(d) = (n + m) / (n m) + d2 / (2 (n + m))."""
    a, b = R.normal(0.5, 1, n), R.normal(0, 1, n)
    found = compare_values(a, b, resamples=2000)
    low, high = found.interval
    assert low < found.cohen < high
    width = 2 * 1.96 * np.sqrt(2 / n + found.cohen**2 / (4 * n))
    assert high - low == pytest.approx(width, rel=0.15)


def test_equal_groups_do_not_differ():
    a = R.normal(size=500)
    found = compare_values(a, a.copy())
    assert (found.ks, found.wasserstein, found.cohen) == (0, 0, 0)
    assert found.p == 1
    flat = compare_values(np.ones(5), np.ones(7))
    assert flat.interval == (0, 0)


def test_regions_of_one_image():
    data = R.normal(10, 2, GRID.shape)
    data[2:] += 4
    labels = np.ones(GRID.shape, np.uint8)
    labels[2:] = 2
    mask = Mask(data=labels, grid=GRID, segments=(Segment(1, "a"), Segment(2, "b")))
    found = by_name(compare(image(data, unit="ms"), image(data, unit="ms"), mask,
                            segment_first=2, segment_second=1))  # fmt: skip
    assert found["Cohen d"] == pytest.approx(2, abs=0.4)
    assert found["Wasserstein distance"] == pytest.approx(4, abs=0.5)
    assert found["Kolmogorov-Smirnov probability"] < 1e-6
    check_operation(compare)
    check_operation(compare, inputs=(image(data), image(data), mask))


def test_information_of_known_distributions():
    a = np.repeat(np.arange(4.0), 120).reshape(GRID.shape)
    independent = np.tile(np.arange(8.0), 60).reshape(GRID.shape)
    same = by_name(mutual_information(image(a), image(-2 * a + 1), bins=16))
    assert same["Mutual information"] == pytest.approx(2)
    assert same["Normalised mutual information"] == pytest.approx(2)
    assert same["Correlation coefficient"] == pytest.approx(-1)
    none = by_name(mutual_information(image(a), image(independent), bins=16))
    assert none["Mutual information"] == pytest.approx(0, abs=1e-9)
    assert none["Joint entropy"] == pytest.approx(5)
    assert none["Correlation coefficient"] == pytest.approx(0, abs=1e-9)
    noise = by_name(mutual_information(image(R.normal(size=GRID.shape)), image(a)))
    assert noise["Mutual information"] < 0.6


def test_information_across_grids():
    fine = Grid.from_spacing((4, 20, 24), (1, 0.5, 0.5), origin=(-0.25, -0.25, 0))
    world = fine.to_world(np.moveaxis(np.mgrid[:4, :20, :24], 0, -1))
    coarse = GRID.to_world(np.moveaxis(np.mgrid[:4, :10, :12], 0, -1))
    a = image(coarse @ (1, 2, 3))
    b = Image((world @ (1, 2, 3)).astype(np.float32), fine)
    assert by_name(mutual_information(a, b))["Correlation coefficient"] > 0.999
    check_operation(mutual_information)


def test_refusals():
    flat = image(np.zeros(GRID.shape))
    with pytest.raises(UnitError, match="convert"):
        compare(flat, image(np.zeros(GRID.shape), unit="ms"))
    with pytest.raises(ParameterError, match="needs two"):
        compare(flat, image(np.full(GRID.shape, np.nan)))
    m = Mask(data=np.ones(GRID.shape, np.uint8), grid=GRID, segments=(Segment(1, "a"),))
    with pytest.raises(ParameterError, match="up to two"):
        compare(flat, flat, m, m, m)
    with pytest.raises(ParameterError, match="no finite value"):
        mutual_information(flat, image(np.full(GRID.shape, np.nan)))
    two = Image(np.zeros((2, *GRID.shape)), GRID, axes=(Axis("t"),))
    with pytest.raises(GeometryError, match="leading axes"):
        mutual_information(flat, two)
