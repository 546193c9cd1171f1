import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import exposure

from somascope.core import Grid, Image
from somascope.core.errors import ParameterError, UnitError
from somascope.process.tone import equalise, gamma, local_normalise, match, sigmoid
from somascope.testing import check_operation


def image(data, unit="1", spacing=(1, 1, 1)):
    return Image(data, Grid.from_spacing(data.shape[-3:], spacing), "MR", unit)


def noise(dtype=np.int16, shape=(3, 40, 50), seed=0):
    return (np.random.default_rng(seed).gamma(2.0, 90, shape)).astype(dtype)


@pytest.mark.parametrize("op", [gamma, sigmoid, equalise, local_normalise])
def test_operations(op):
    check_operation(op)
    hole = noise(np.float32)
    hole[1, 2, 3] = np.nan
    found = op(image(hole)).data
    assert np.array_equal(np.isnan(found), np.isnan(hole))
    flat = op(image(np.full((1, 4, 4), 7, np.int16))).data
    assert np.allclose(flat, 0 if op is local_normalise else 7)
    with pytest.raises(ParameterError, match="complex"):
        op(image(hole.astype(np.complex64)))


@pytest.mark.parametrize("op", [gamma, sigmoid, equalise])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_curves_rise_and_keep_their_ends(op, dtype):
    data = np.minimum(noise(), 255).astype(dtype)
    found = op(image(data)).data
    assert found.dtype == dtype
    order = np.argsort(data, axis=None, kind="stable")
    assert (np.diff(found.ravel()[order].astype(float)) >= 0).all()
    if op is not equalise:
        assert (found.min(), found.max()) == (data.min(), data.max())
    outside = op(image(data), lower=50, upper=100).data
    away = (data < 50) | (data > 100)
    assert np.array_equal(outside[away], data[away])


def test_gamma_is_its_formula():
    data = np.linspace(0, 200, 60, dtype=np.float32).reshape(1, 6, 10)
    assert np.allclose(gamma(image(data), gamma=0.5).data, 200 * np.sqrt(data / 200), atol=0.2)


def test_equalisation_is_scikit_images():
    data = noise(np.float32)
    ours = equalise(image(data)).data
    theirs = exposure.equalize_hist(data, nbins=4096)
    low, high = data.min(), data.max()
    assert np.abs((ours - low) / (high - low) - theirs).max() < 2e-3
    counts = np.histogram(ours, 10)[0]
    assert counts.std() / counts.mean() < 0.02
    half = equalise(image(data), strength=0.0).data
    assert np.allclose(half, data, rtol=1e-4, atol=0.2)


def test_matching_gives_the_other_distribution():
    a, b = noise(np.float32), 3 * noise(np.float32, (2, 33, 21), seed=8) ** 0.8 + 40
    found = match(image(a), image(b)).data
    theirs = exposure.match_histograms(a, b)
    tail = theirs > np.quantile(theirs, 0.99)  # 256 quantiles tell no more of it
    assert np.abs(found - theirs)[~tail].max() < 0.03 * np.ptp(b)
    assert np.abs(found - theirs).mean() < 0.003 * np.ptp(b)
    again = match(image(found), image(b)).data
    assert np.allclose(again, found, atol=1e-3 * np.ptp(b))
    check_operation(match)
    with pytest.raises(UnitError, match="convert"):
        match(image(a), image(b, unit="[hnsf'U]"))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 50), st.floats(-500, 500))
def test_matching_undoes_any_rising_line(slope, offset):
    a = noise(np.float32, (1, 20, 20))
    found = match(image(a * np.float32(slope) + np.float32(offset)), image(a)).data
    assert np.abs(found - a).max() < 0.02 * np.ptp(a)


def test_local_normalisation_evens_out_shading():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:96, :96]
    texture = rng.normal(0, 1, (1, 96, 96))
    shaded = (500 + 0.5 * x + (10 + 0.5 * y) * texture).astype(np.float32)
    found = local_normalise(image(shaded), size=15.0).data
    inner = found[0, 16:-16, 16:-16]
    assert abs(inner.mean()) < 0.05
    assert inner.std() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(inner.ravel(), texture[0, 16:-16, 16:-16].ravel())[0, 1] > 0.95
    assert np.allclose(local_normalise(image(3 * shaded + 70), size=15.0).data, found, atol=2e-3)
