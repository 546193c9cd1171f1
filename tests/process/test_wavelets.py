"""Wavelet shrinkage and least variation: their definitions, their peers, and what they keep."""

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import camera
from skimage.restoration import denoise_tv_chambolle, denoise_wavelet

from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError
from somascope.process.smoothness import rof, tv
from somascope.process.variation import denoise, variation
from somascope.process.wavelets import filters, shrunk, wavelet
from somascope.testing import check_operation


def scene(seed=0, sigma=20.0):
    clean = camera()[100:228, 150:278].astype(np.float32)[None]
    rng = np.random.default_rng(seed)
    return clean, clean + rng.normal(0, sigma, clean.shape).astype(np.float32)


def image(values, spacing=(1, 1, 1), **more):
    return Image(np.asarray(values), Grid.from_spacing(np.shape(values)[-3:], spacing), **more)


def rms(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


def test_shrinkage_is_pywavelets_with_the_same_thresholds():
    _, v = scene()
    ours = shrunk(v, sigma=20.0, wavelet="db4", levels=2, rule="universal", strength=0.3, shifts=1)
    threshold = 0.3 * 20.0 * np.sqrt(2 * np.log(v.size))
    padded = np.pad(v[0].astype(float), 8, mode="symmetric")
    bands = pywt.wavedec2(padded, "db4", mode="periodization", level=2)
    soft = [bands[0], *(tuple(pywt.threshold(b, threshold, "soft") for b in d) for d in bands[1:])]
    theirs = pywt.waverec2(soft, "db4", mode="periodization")[8:-8, 8:-8]
    assert np.abs(ours[0] - theirs).max() < 1e-2


def test_it_removes_more_noise_than_scikit_images():
    clean, v = scene()
    theirs = denoise_wavelet(
        v[0] / 255, sigma=20 / 255, wavelet="sym4", method="BayesShrink", mode="soft"
    ) * 255  # fmt: skip
    ours = wavelet(image(v), sigma=20.0).data
    assert rms(ours, clean) < 0.95 * rms(theirs, clean[0]) < 0.75 * 20
    once = wavelet(image(v), sigma=20.0, shifts=1).data
    assert rms(once, clean) < 1.05 * rms(theirs, clean[0])
    own = wavelet(image(v)).data  # told from the image itself
    assert rms(own, clean) < 1.05 * rms(ours, clean)


def test_slices_help_one_another_only_in_volumes():
    rng = np.random.default_rng(1)
    clean = np.repeat(scene()[0], 8, axis=0)
    v = clean + rng.normal(0, 20, clean.shape).astype(np.float32)
    deep = wavelet(image(v), sigma=20.0).data
    flat = wavelet(image(v), sigma=20.0, dimensions="slice").data
    assert rms(deep, clean) < 0.9 * rms(flat, clean)


def test_strength_zero_changes_nothing():
    for shape in ((5, 37, 41), (1, 9, 64), (3, 1, 17)):
        v = np.random.default_rng(0).normal(50, 10, shape).astype(np.float32)
        assert wavelet(image(v), strength=0.0).data == pytest.approx(v, abs=1e-3)
    with pytest.raises(ParameterError, match="orthogonal"):
        filters("bior2.2")


def backward(p):
    """The adjoint of forward differences with nothing beyond the border, of ``(3, nz, ny, nx)``."""
    out = np.zeros(p.shape[1:])
    for axis, one in enumerate(p):
        inner = np.delete(one, -1, axis)  # the last difference is zero
        pad = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        out -= np.diff(np.pad(inner, pad), axis=axis)
    return out


@pytest.mark.parametrize("shape", [(1, 40, 50), (7, 20, 30)])
def test_least_variation_is_least_and_chambolles(shape):
    """Proven by its dual: ``|x - best|^2 <= 2 (objective - dual objective)`` for any x and dual."""
    weight, rng = 12.0, np.random.default_rng(0)
    v = np.where(np.indices(shape)[2] < shape[2] // 2, 0.0, 100.0) + rng.normal(0, 10, shape)
    counts = np.array([float(n > 1) for n in shape])
    _, p = denoise(
        v[..., None], weight, scale=counts, iterations=600, tolerance=0.0, low=-np.inf
    )  # fmt: skip
    p = p[..., 0] * counts[:, None, None, None]
    assert (np.sqrt((p**2).sum(axis=0)) <= 1 + 1e-9).all()
    bound = 0.5 * (v**2).sum() - 0.5 * ((v - weight * backward(p)) ** 2).sum()

    def away(x):
        """At most so far from the best, root mean square."""
        x = np.asarray(x, np.float64).reshape(shape)
        value = 0.5 * ((x - v) ** 2).sum() + weight * variation(x[..., None], counts)
        assert value > bound - 1e-6 * abs(bound)
        return np.sqrt(2 * max(value - bound, 0) / v.size)

    theirs = denoise_tv_chambolle(v.squeeze(), weight=weight, eps=1e-9, max_num_iter=2000)
    ours = rof(v, (1, 1, 1), weight=weight, iterations=600, tolerance=0)
    few = tv(image(v.astype(np.float32)), weight=weight).data
    assert away(ours) < 0.1  # a hundredth of the noise
    assert rms(ours.squeeze(), theirs) <= away(ours) + away(theirs)
    assert rms(few.squeeze(), ours.squeeze()) < 0.5  # a twentieth: fifty iterations at most


@pytest.mark.parametrize("low", [-np.inf, 0.0])
def test_one_value_per_voxel_and_pairs_give_the_same(low):
    """Large arrays of one value take kernels of their own; pairs with nothing in the second not."""
    v = np.random.default_rng(0).normal(0, 10, (3, 200, 256)).astype(np.float32)
    how = {"scale": np.array([0.5, 1.0, 1.0]), "iterations": 10, "tolerance": 0.0, "low": low}
    one, dual = denoise(v[..., None], 6.0, **how)
    pair, both = denoise(np.stack([v, np.zeros_like(v)], axis=-1), 6.0, **how)
    assert np.abs(one[..., 0] - pair[..., 0]).max() < 1e-4
    assert np.abs(dual[..., 0] - both[..., 0]).max() < 1e-5


def test_thick_slices_count_less():
    rng = np.random.default_rng(0)
    v = rng.normal(0, 10, (8, 16, 16)).astype(np.float32)
    far = rof(v, (50.0, 1.0, 1.0), weight=10.0, iterations=200)
    flat = rof(v, (50.0, 1.0, 1.0), weight=10.0, iterations=200, flat=True)
    near = rof(v, (1.0, 1.0, 1.0), weight=10.0, iterations=200)
    assert rms(far, flat) < 0.5
    assert rms(near, flat) > 1.0


@settings(max_examples=12, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1), (1, 1, 9), (1, 8, 1), (5, 1, 7), (4, 6, 9), (2, 17, 16)]),
    level=st.floats(-2000, 2000),
    seed=st.integers(0, 99),
)
def test_constants_levels_means_and_variation(shape, level, seed):
    v = np.random.default_rng(seed).normal(0, 10, shape).astype(np.float32)
    for op in (tv, wavelet):
        flat = op(image(np.full(shape, level, np.float32))).data
        assert flat == pytest.approx(level, abs=1e-2)
        moved = op(image(v + np.float32(level))).data - level
        assert np.abs(moved - op(image(v)).data).max() < 0.1
    smooth = tv(image(v), weight=3.0).data
    assert smooth.mean() == pytest.approx(v.mean(), abs=1e-2)
    assert smooth.min() >= v.min() - 1e-2
    assert smooth.max() <= v.max() + 1e-2
    one = np.ones(3)
    assert variation(smooth[..., None], one) <= variation(v[..., None], one) * (1 + 1e-5)


@pytest.mark.parametrize("op", [tv, wavelet])
def test_missing_values_stay_and_reach_no_neighbour(op):
    clean, v = scene()
    hole = v.copy()
    hole[0, 40:44, 50:60] = np.nan
    hole[0, 0, 0] = -np.inf
    found = op(image(hole)).data
    assert np.array_equal(np.isnan(found), np.isnan(hole))
    assert np.isneginf(found[0, 0, 0])
    ring = np.s_[0, 37:47, 46:64]
    whole = op(image(v)).data
    there = np.isfinite(found[ring])
    assert rms(found[ring][there], clean[ring][there]) < 1.3 * rms(whole[ring], clean[ring]) + 1


def test_operations():
    v = np.stack([scene(1)[1], scene(2)[1]])
    for op in (tv, wavelet):
        check_operation(op)
        check_operation(op, params={"dimensions": "slice"})
        found = op(image(v, axes=(Axis("t"),)))
        assert np.array_equal(found.data[1], op(image(v[1])).data)
        colour = np.random.default_rng(0).integers(0, 255, (3, 1, 24, 24)).astype(np.uint8)
        assert op(image(colour, axes=(Axis("channel"),))).data.dtype == np.uint8
