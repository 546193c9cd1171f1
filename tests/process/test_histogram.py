import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from somascope.core import Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.histogram import histogram, joint, of_values, quantiles, statistics


def image(data, spacing=(1, 1, 1)):
    return Image(data, Grid.from_spacing(data.shape, spacing), "CT", "[hnsf'U]")


def noise(dtype, shape=(3, 41, 67), seed=0):
    return np.random.default_rng(seed).normal(20, 90, shape).astype(dtype)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32, float]
)
@pytest.mark.parametrize("bins", [1, 7, 256, 5000])
def test_counts_are_numpys(dtype, bins):
    data = np.abs(noise(dtype)) if np.dtype(dtype).kind == "u" else noise(dtype)
    found = histogram(image(data), bins=bins)
    counts, edges = np.histogram(data.astype(np.float64), bins=bins)
    assert np.array_equal(found.counts, counts)
    assert np.allclose(found.edges, edges)
    assert found.total == data.size


@pytest.mark.parametrize("dtype", [np.int16, np.float32, float])
def test_values_on_edges_outside_and_missing(dtype):
    values = np.repeat(np.arange(-3, 8), 5).astype(dtype)
    found = of_values(values, bins=4, lower=0, upper=4)
    assert found.counts.tolist() == [5, 5, 5, 10]  # the last edge belongs to the last bin
    assert (found.below, found.above, found.missing) == (15, 15, 0)
    if np.dtype(dtype).kind == "f":
        values = np.concatenate([values, [np.nan, np.inf, -np.inf]]).astype(dtype)
        found = of_values(values, bins=4, lower=0, upper=4)
        assert found.counts.sum() == 25
        assert (found.below, found.above, found.missing) == (16, 16, 1)
        assert of_values(values, bins=3).edges[[0, -1]].tolist() == [-3, 7]


def test_a_narrow_range_far_from_zero_is_counted_exactly():
    values = (1e6 + np.linspace(0, 1, 4001)).astype(np.float32)
    found = of_values(values, bins=100)
    assert np.array_equal(found.counts, np.histogram(values.astype(float), bins=100)[0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300), st.integers(1, 40))
def test_every_value_is_counted_once(values, bins):
    found = of_values(np.array(values, np.float32), bins=bins)
    assert found.total == len(values)
    assert found.cumulative[-1] == pytest.approx(1)
    assert 0 <= found.entropy <= np.log2(bins) + 1e-9


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint32, np.float32, float])
def test_quantiles_are_numpys(dtype):
    values = np.abs(noise(dtype, 5001)) if np.dtype(dtype).kind == "u" else noise(dtype, 5001)
    shares = [0, 0.013, 0.25, 0.5, 0.5001, 0.99, 1]
    expected = np.quantile(values.astype(np.float64), shares)
    assert np.allclose(quantiles(values, shares), expected, rtol=1e-12, atol=1e-12)


def test_statistics_are_scipys():
    data = noise(np.float32)
    data[0, 0, :5] = np.nan
    values = data[np.isfinite(data)].astype(np.float64)
    found = statistics(image(data))
    assert (found.count, found.missing) == (values.size, 5)
    assert found.mean == pytest.approx(values.mean())
    assert found.sd == pytest.approx(values.std())
    assert found.skewness == pytest.approx(stats.skew(values), abs=1e-9)
    assert found.kurtosis == pytest.approx(stats.kurtosis(values), abs=1e-9)
    assert found.median == pytest.approx(np.median(values))
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.unit == "[hnsf'U]"


def test_width_of_a_normal_peak():
    rng = np.random.default_rng(1)
    data = rng.normal(100, 10, (1, 1000, 1000)).astype(np.float32)
    found = statistics(image(data), bins=200)
    assert found.fwhm == pytest.approx(2.3548 * 10, rel=0.05)
    assert found.mode == pytest.approx(100, abs=3)


def test_region_of_a_mask_and_of_one_segment():
    data = np.arange(24, dtype=np.int16).reshape(1, 4, 6)
    label = np.zeros((1, 4, 6), np.uint8)
    label[0, 1] = 1
    label[0, 3, :2] = 2
    grid = Grid.from_spacing((1, 4, 6), (1, 1, 1))
    mask = Mask(data=label, grid=grid, segments=(Segment(1, "a"), Segment(2, "b")))
    assert statistics(image(data), mask=mask).count == 8
    assert statistics(image(data), mask=mask, segment=2).mean == 18.5
    assert histogram(image(data), mask=mask, bins=3).total == 8
    other = Mask(data=label, grid=Grid.from_spacing((1, 4, 6), (1, 2, 2)), segments=mask.segments)
    with pytest.raises(GeometryError, match="grid"):
        statistics(image(data), mask=other)


def test_constant_and_empty():
    found = histogram(image(np.full((1, 3, 3), 7, np.float32)), bins=4)
    assert found.total == 9
    assert found.mode == pytest.approx(7, abs=0.5)
    flat = statistics(image(np.full((1, 3, 3), 7, np.int16)))
    assert (flat.sd, flat.skewness, flat.kurtosis) == (0, 0, 0)
    with pytest.raises(ParameterError, match="no finite value"):
        statistics(image(np.full((1, 2, 2), np.nan, np.float32)))
    with pytest.raises(ParameterError, match="below"):
        histogram(image(np.ones((1, 2, 2))), lower=3, upper=3)
    with pytest.raises(ParameterError, match="complex"):
        histogram(image(np.ones((1, 2, 2), np.complex64)))


def test_mutual_information_in_closed_form():
    a = np.repeat(np.arange(4, dtype=np.float32), 250).reshape(1, 10, 100)
    same = joint(image(a), image(a), bins=4)
    assert same.mutual_information == pytest.approx(2.0)
    assert same.normalised_mutual_information == pytest.approx(2.0)
    b = np.tile(np.arange(5, dtype=np.float32), 200).reshape(1, 10, 100)
    apart = joint(image(a), image(b), bins=20)
    assert apart.mutual_information == pytest.approx(0, abs=1e-9)
    assert apart.normalised_mutual_information == pytest.approx(1.0)
    counts, _, _ = np.histogram2d(a.ravel(), b.ravel(), bins=20)
    assert np.array_equal(apart.counts, counts)
