"""Deblurring: scikit-image's filters, exact inverses, and blur really taken back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.data import camera
from skimage.restoration import richardson_lucy as peers_lucy
from skimage.restoration import wiener as peers_wiener

from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError
from somascope.process.deblur import (
    TO_SIGMA,
    GaussianBlur,
    KernelBlur,
    deconvolve,
    lucy,
    richardson_lucy,
    transfer,
    wiener,
    wiener_,
)
from somascope.process.filters import smooth
from somascope.testing import check_operation


def scene(sigma=(0, 1.5, 1.5), noise=0.0, shape=(1, 64, 80)):
    clean = np.repeat(camera()[None, 100 : 100 + shape[1], 200 : 200 + shape[2]], shape[0], 0)
    clean = clean.astype(np.float32) + 1
    blurred = smooth(clean, sigma)
    rng = np.random.default_rng(0)
    return clean, np.maximum(blurred + rng.normal(0, noise, clean.shape), 0).astype(np.float32)


def image(values, spacing=(1, 1, 1), **more):
    return Image(np.asarray(values), Grid.from_spacing(np.shape(values)[-3:], spacing), **more)


def rms(a, b):
    return float(np.sqrt(np.mean((np.asarray(a, float) - b) ** 2)))


def kernel2(sigma, radius):
    g = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.outer(g, g)[None] / g.sum() ** 2


def test_the_transfer_is_what_smoothing_does():
    for n in (1, 2, 7, 40):
        for k in range(min(n, 5)):
            wave = np.cos(np.pi * k * (np.arange(n) + 0.5) / n)[None, None].astype(np.float64)
            assert smooth(wave, (0, 0, 1.7)) == pytest.approx(wave * transfer(n, 1.7)[k], abs=1e-12)


def test_wiener_is_scikit_images_on_the_mirrored_image():
    _, v = scene()
    mirrored = np.pad(v[0].astype(float), [(0, n) for n in v.shape[1:]], mode="symmetric")
    theirs = peers_wiener(mirrored, kernel2(1.5, 6)[0], 0.01, clip=False)
    ours = wiener_(v, (0, 1.5, 1.5), (1, 1, 1), balance=0.01)
    assert np.abs(ours[0] - theirs[: v.shape[1], : v.shape[2]]).max() < 0.02


def test_without_a_price_it_is_the_inverse():
    clean, v = scene(sigma=(0.4, 0.5, 0.6), shape=(3, 32, 32))
    assert wiener_(v, (0.4, 0.5, 0.6), (1, 1, 1), balance=1e-8) == pytest.approx(clean, abs=0.1)


def test_lucy_is_scikit_images_away_from_the_border():
    _, v = scene()
    theirs = peers_lucy(v[0] / 256, kernel2(1.5, 6)[0], num_iter=5, clip=False) * 256
    start = np.full_like(v, 128)
    for blur in (GaussianBlur((0, 1.5, 1.5)), KernelBlur(kernel2(1.5, 6))):
        ours = lucy(v, blur, iterations=5, start=start)[0]
        inner = np.s_[
            32:-31, 32:-31
        ]  # their border is dark, and comes six pixels further each time
        assert np.abs(ours - theirs)[inner].max() < 0.02


def test_lucy_is_its_definition_borders_included():
    _, v = scene(shape=(4, 24, 20))
    kernel = np.random.default_rng(0).random((3, 5, 3))
    kernel /= kernel.sum()
    x = v.astype(float)
    for _ in range(3):
        ratio = v / ndi.convolve(x, kernel, mode="reflect")
        x = x * ndi.correlate(ratio, kernel, mode="reflect")
    assert lucy(v, KernelBlur(kernel), iterations=3) == pytest.approx(x, rel=2e-4)


def by_hand(x, price, w):
    """x / (1 - price div(grad x / |grad x|)), nothing through the border."""
    d = [np.diff(x, axis=a, append=np.take(x, [-1], a)) * w[a] for a in range(3)]
    size = np.sqrt(sum(c * c for c in d) + (6 * price * x.max()) ** 2)
    div = sum(w[a] * np.diff(c / size, axis=a, prepend=0) for a, c in enumerate(d))
    return x / np.maximum(1 - price * div, 0.5)


def test_the_prior_is_dey_and_others_in_millimetres():
    _, v = scene(noise=5.0, shape=(5, 16, 14))
    none = GaussianBlur((0, 0, 0))  # nothing to take back: only the prior acts
    ours = lucy(v, none, iterations=1, variation=0.02, spacing=(2.0, 1.0, 1.0))
    ok = v > 1e-3
    assert ours[ok] == pytest.approx(by_hand(v.astype(float), 0.02, (0.5, 1, 1))[ok], rel=1e-4)


def test_blur_is_taken_back_and_the_prior_holds_noise():
    clean, v = scene(noise=4.0)
    before = rms(v, clean)
    fwhm = 1.5 / TO_SIGMA
    assert rms(wiener(image(v), fwhm=fwhm, balance=0.03).data, clean) < 0.9 * before
    plain = richardson_lucy(image(v), fwhm=fwhm, iterations=60, variation=0.0).data
    held = richardson_lucy(image(v), fwhm=fwhm, iterations=60, variation=0.01).data
    assert rms(held, clean) < 0.85 * before
    assert rms(held, clean) < 0.97 * rms(plain, clean)


def test_activity_stays_and_nothing_is_negative():
    _, v = scene()
    found = richardson_lucy(image(v), fwhm=3.0, variation=0.0).data
    assert found.min() >= 0
    assert found.sum(dtype=float) == pytest.approx(v.sum(dtype=float), rel=1e-3)
    air = richardson_lucy(image(v - 1000), fwhm=3.0, background=-1000.0).data
    assert air.min() >= -1000
    assert air + 1000 == pytest.approx(richardson_lucy(image(v), fwhm=3.0).data, abs=1.0)


def test_the_width_is_in_millimetres():
    clean, _ = scene(shape=(6, 32, 32))
    v = smooth(clean, (0.5, 1.0, 2.0))
    spacing = (2.0, 1.0, 0.5)

    def left(factor, voxels=spacing):
        found = wiener(image(v, voxels), fwhm=factor / TO_SIGMA, balance=1e-6).data
        return rms(found, clean)

    # The right width in millimetres is better than one a tenth off either way, and than the same
    # number taken for voxels.
    assert left(1.0) < min(left(0.9), left(1.1), left(1.0, (1, 1, 1)))
    assert left(1.0) < 0.5 * rms(v, clean)


def test_a_measured_blur():
    clean, _ = scene()
    psf = np.zeros((1, 7, 7), np.float32)
    psf[0, 3] = [1, 2, 3, 4, 3, 2, 1]  # motion along x
    v = ndi.convolve(clean, psf / psf.sum(), mode="reflect")
    found = deconvolve(image(v), image(psf), iterations=30, variation=0.0).data
    assert rms(found, clean) < 0.8 * rms(v, clean)
    with pytest.raises(ParameterError, match="odd sizes"):
        deconvolve(image(v), image(psf[:, :6]))
    with pytest.raises(ParameterError, match="resample"):
        deconvolve(image(v), image(psf, (1, 2, 2)))


@settings(max_examples=10, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1), (1, 1, 9), (1, 8, 1), (5, 1, 7), (4, 6, 9)]),
    level=st.floats(0, 3000),
)
def test_constants_stay(shape, level):
    flat = image(np.full(shape, level, np.float32))
    for op in (wiener, richardson_lucy):
        assert op(flat).data == pytest.approx(level, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("op", [wiener, richardson_lucy])
def test_missing_values_stay_and_reach_no_neighbour(op):
    v = np.full((3, 20, 20), 40.0, np.float32)
    v[1, 8:11, 8:11] = np.nan
    v[0, 0, 0] = np.inf
    found = op(image(v)).data
    assert np.array_equal(np.isnan(found), np.isnan(v))
    assert found[np.isfinite(v)] == pytest.approx(40.0, abs=0.01)


def test_operations():
    _, v = scene(shape=(2, 20, 20))
    for op in (wiener, richardson_lucy):
        check_operation(op)
        check_operation(op, params={"dimensions": "slice"})
        found = op(image(np.stack([v, v + 5]), axes=(Axis("t"),)))
        assert np.array_equal(found.data[1], op(image(v + 5)).data)
    point = np.zeros((3, 3, 3), np.float32)
    point[1, 1, 1] = 1
    check_operation(deconvolve, inputs=(image(v), image(point)))
