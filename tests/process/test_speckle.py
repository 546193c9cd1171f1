"""Speckle filters against their definitions written out, and on speckle of known statistics."""

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image, Provenance, Source
from somascope.core.errors import ParameterError
from somascope.process.speckle import frost, kuan, lee, local, srad
from somascope.testing import check_operation

ALL = (lee, kuan, frost, srad)


def image(values, spacing=(1.0, 0.5, 0.5)):
    values = values.reshape(-1, *values.shape[-2:]) if values.ndim < 3 else values
    grid = Grid.from_spacing(values.shape[-3:], spacing)
    return Image(values, grid, "US", provenance=Provenance((Source("phantom", "speckle"),)))


def speckle(shape=(1, 90, 90), *, seed=0, reflectivity=1.0):
    """Rayleigh: the envelope of fully developed speckle, without correlation."""
    rng = np.random.default_rng(seed)
    return (reflectivity * rng.rayleigh(np.sqrt(2 / np.pi), shape)).astype(np.float32)


def windows(values, size):
    r = size // 2
    padded = np.pad(values.astype(np.float64), ((r, r), (r, r)), mode="symmetric")
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size))


@pytest.mark.parametrize("size", [3, 7])
def test_moments_are_those_of_the_window(size):
    values = speckle((2, 20, 31)) + 1000
    mean, variance = local(values, size)
    for z in range(2):
        w = windows(values[z], size)
        np.testing.assert_allclose(mean[z], w.mean(axis=(2, 3)), rtol=1e-6)
        np.testing.assert_allclose(variance[z], w.var(axis=(2, 3)), rtol=1e-4, atol=1e-6)


def test_lee_kuan_and_frost_are_their_formulas():
    values = speckle((40, 50), reflectivity=np.where(np.arange(50) < 25, 1, 4))
    w, cu2 = windows(values, 5), 0.5**2
    m, v = w.mean(axis=(2, 3)), w.var(axis=(2, 3))
    c2 = v / m**2
    weight = np.maximum(0, 1 - cu2 / c2)
    found = lee(image(values), size=5, noise=0.5).data[0]
    np.testing.assert_allclose(found, m + weight * (values - m), rtol=2e-5)
    found = kuan(image(values), size=5, noise=0.5).data[0]
    np.testing.assert_allclose(found, m + weight / (1 + cu2) * (values - m), rtol=2e-5)
    added = np.maximum(0, 1 - 0.04 / v)
    found = lee(image(values), size=5, noise=0.2, model="additive").data[0]
    np.testing.assert_allclose(found, m + added * (values - m), rtol=2e-5)
    y, x = np.mgrid[-2:3, -2:3]
    for spacing, distance in (((1, 0.5, 0.5), np.hypot(y, x)), ((1, 1, 0.5), np.hypot(2 * y, x))):
        kernel = np.exp(-3.0 * c2[..., None, None] * distance)
        truth = (kernel * w).sum(axis=(2, 3)) / kernel.sum(axis=(2, 3))
        found = frost(image(values, spacing), size=5, damping=3.0).data[0]
        np.testing.assert_allclose(found, truth, rtol=2e-5)


def test_one_step_of_srad_is_its_equation():
    values = speckle((30, 34)) + 0.2
    found = srad(image(values), iterations=1, step=0.4, noise=0.5).data[0]
    i = values.astype(np.float64) / values.max()
    p = np.pad(i, 1, mode="edge")
    n, s, w, e = p[:-2, 1:-1] - i, p[2:, 1:-1] - i, p[1:-1, :-2] - i, p[1:-1, 2:] - i
    gradient = (n**2 + s**2 + w**2 + e**2) / i**2
    laplace = (n + s + w + e) / i
    q2 = (gradient / 2 - laplace**2 / 16) / (1 + laplace / 4) ** 2
    c = np.clip(1 / (1 + (q2 - 0.25) / (0.25 * 1.25)), 0, 1)
    cp = np.pad(c, 1, mode="edge")
    flow = c * n + cp[2:, 1:-1] * s + c * w + cp[1:-1, 2:] * e
    np.testing.assert_allclose(found, values.max() * (i + 0.1 * flow), rtol=1e-4, atol=1e-5)


def test_speckle_goes_the_mean_stays_and_so_does_the_edge():
    """Rayleigh speckle has a mean over its spread of 1.91; the number of looks has to rise."""
    step = np.where(np.arange(90) < 45, 1.0, 5.0)
    values = speckle(reflectivity=step)
    assert values[0, :, :40].mean() / values[0, :, :40].std() == pytest.approx(1.91, rel=0.03)
    for one, least in ((lee, 2.5), (kuan, 2.5), (frost, 1.6), (srad, 2.5)):
        out = one(image(values)).data[0]
        for side in (np.s_[5:-5, 5:38], np.s_[5:-5, 52:-5]):
            assert out[side].mean() == pytest.approx(values[0][side].mean(), rel=0.06)
            gain = (out[side].mean() / out[side].std()) / (
                values[0][side].mean() / values[0][side].std()
            )
            assert gain > least, one.operation.name
        profile = out[5:-5].mean(axis=0)
        rise = np.interp([1.8, 4.2], profile[38:52], np.arange(38.0, 52))
        assert rise[1] - rise[0] < 6, one.operation.name
        assert 43 < rise.mean() < 47


@pytest.mark.parametrize("one", ALL)
def test_what_has_no_speckle_is_left_alone(one):
    flat = np.full((2, 12, 13), 7, np.float32)
    np.testing.assert_allclose(one(image(flat)).data, flat, rtol=1e-6)
    zero = np.zeros((1, 5, 1), np.float32)
    assert not one(image(zero)).data.any()
    single = np.full((1, 1, 1), 3, np.uint8)
    assert one(image(single)).data.tolist() == [[[3]]]


@pytest.mark.parametrize("one", ALL)
def test_missing_pixels_stay_missing_and_spread_nothing(one):
    values = speckle((1, 30, 30))
    values[0, 10, 10:13] = np.nan
    out = one(image(values)).data
    np.testing.assert_array_equal(np.isnan(out), np.isnan(values))


@pytest.mark.parametrize("one", ALL)
def test_types_and_films(one):
    values = (40 * speckle((3, 1, 24, 20))).astype(np.uint8)
    grid = Grid.from_spacing((1, 24, 20), (1, 0.5, 0.5))
    film = Image(values, grid, "US", axes=(Axis("t", (0.0, 0.1, 0.2), "s"),))
    out = one(film)
    assert out.data.dtype == np.uint8
    assert out.axes == film.axes
    alone = one(film.at(t=1))
    np.testing.assert_array_equal(out.data[1], alone.data)
    colour = Image(values, grid, "US", axes=(Axis("channel"),))
    with pytest.raises(ParameterError, match="colour"):
        one(colour)
    with pytest.raises(ParameterError, match="complex"):
        one(film.with_data(values.astype(np.complex64)))


def test_srad_refuses_decibels():
    with pytest.raises(ParameterError, match="decibels"):
        srad(image(speckle() - 2))


def test_the_contract():
    for one in (lee, kuan, frost):
        check_operation(one)
    check_operation(srad, inputs=(image(speckle((2, 20, 18))),))
