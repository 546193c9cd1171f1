"""Proximal maps against closed forms and against their own definition."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.priors import (
    L1,
    TV,
    LocallyLowRank,
    NonNegative,
    PlugAndPlay,
    Prior,
    WaveletL1,
    soft,
)
from somascope.core.errors import GeometryError, ParameterError

DTYPES = ("float32", "float64", "complex64", "complex128")


def noise(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


PRIORS = {
    "l1": (L1(0.3), (4, 5, 6)),
    "group": (L1(0.3, axis=0), (4, 5, 6)),
    "tv2": (TV(0.3, iterations=3000, tolerance=0), (2, 8, 9)),
    "tv3": (TV(0.2, ndim=3, spacing=(2, 1, 1), iterations=3000, tolerance=0), (4, 6, 7)),
    "wavelet": (WaveletL1(0.3, wavelet="db2", levels=2), (2, 16, 12)),
    "llr": (LocallyLowRank(0.7, block=4, shift=1), (5, 10, 9)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PRIORS)
def test_prox_minimises_its_definition(name, dtype):
    prior, shape = PRIORS[name]
    x = noise(shape, dtype)
    kept = x.copy()
    z = prior.prox(x, 0.8)
    assert z.dtype == x.dtype
    np.testing.assert_array_equal(x, kept)
    assert isinstance(prior, Prior)

    def energy(u):
        u = u.astype(np.result_type(u, np.float64))
        return 0.5 * np.linalg.norm((u - x).ravel()) ** 2 + 0.8 * prior.value(u)

    best = energy(z)
    for seed in range(5):
        for size in (0.01, 0.1):
            other = z + size * noise(shape, dtype, seed=seed + 1)
            assert energy(other) > best * (1 - 1e-6)
    for factor in (0.97, 1.03):
        assert energy(factor * z) > best * (1 - 1e-6)


def test_soft_threshold_keeps_the_phase():
    x = np.array([3 + 4j, 0.3j, -2], np.complex64)
    np.testing.assert_allclose(soft(x, 1.0), [(3 + 4j) * 0.8, 0, -1], atol=1e-6)
    np.testing.assert_allclose(soft(np.array([3.0, -0.5, -2.0]), 1.0), [2, 0, -1])
    np.testing.assert_allclose(
        soft(np.array([[3.0, 0], [4.0, 0]]), 1.0, axis=0), [[2.4, 0], [3.2, 0]]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_rof_of_a_step_moves_both_sides_by_weight_over_width(dtype):
    # Strong and Chan 2003: one jump of height h, sides of widths a and b: they move to each other
    # by weight / a and weight / b.
    x = np.zeros((6, 12), dtype)
    x[:, 4:] = 1
    z = TV(0.4, iterations=4000, tolerance=0).prox(x, 1.0)
    truth = np.where(np.arange(12) < 4, 0.4 / 4, 1 - 0.4 / 8) * np.ones((6, 1))
    np.testing.assert_allclose(z, truth, atol=2e-4)
    phase = np.exp(0.7j)
    if x.dtype.kind == "c":
        turned = TV(0.4, iterations=4000, tolerance=0).prox((x * phase).astype(dtype), 1.0)
        np.testing.assert_allclose(turned, z * phase, atol=2e-4)


def test_tv_in_three_dimensions_sees_the_third():
    x = np.zeros((12, 5, 5), np.float32)
    x[4:] = 1
    z = TV(0.4, ndim=3, iterations=4000, tolerance=0).prox(x, 1.0)
    np.testing.assert_allclose(z[:4], 0.1, atol=2e-4)
    np.testing.assert_allclose(z[4:], 0.95, atol=2e-4)
    np.testing.assert_allclose(TV(0.4, ndim=2).prox(x, 1.0), x, atol=1e-6)
    assert TV(2.0, ndim=3).value(x) == pytest.approx(2.0 * 25)


def test_tv_not_negative_is_the_constrained_minimum():
    x = noise((8, 9), "float64") - 0.3
    prior = TV(0.2, iterations=5000, tolerance=0, nonnegative=True)
    z = prior.prox(x, 1.0)
    assert (z >= 0).all()
    assert (z == 0).any()
    clipped = np.maximum(TV(0.2, iterations=5000, tolerance=0).prox(x, 1.0), 0)

    def energy(u):
        return 0.5 * np.linalg.norm(u - x) ** 2 + prior.value(u)

    assert energy(z) < energy(clipped) + 1e-9


def test_warm_start_needs_fewer_iterations():
    x = noise((32, 32), "float32")
    truth = TV(0.5, iterations=3000, tolerance=0).prox(x, 1.0)
    warm = TV(0.5, iterations=10, tolerance=0, warm=True)
    first = warm.prox(x, 1.0)
    for _ in range(20):
        last = warm.prox(x, 1.0)
    assert np.linalg.norm(last - truth) < 0.2 * np.linalg.norm(first - truth)


def test_low_rank_keeps_what_has_rank_one():
    rng = np.random.default_rng(0)
    pattern = rng.normal(size=(8, 8))
    course = rng.normal(size=6)
    x = course[:, None, None] * pattern
    s = np.linalg.norm(course) * np.linalg.norm(pattern)
    z = LocallyLowRank(1.0, block=8).prox(x, 0.5)
    np.testing.assert_allclose(z, x * (1 - 0.5 / s), atol=1e-9)
    assert LocallyLowRank(1.0, block=8).value(x) == pytest.approx(s)


def test_projection():
    x = np.array([-1.0, 0.5, 2.0], np.float32)
    np.testing.assert_array_equal(NonNegative().prox(x, 1.0), [0, 0.5, 2])
    np.testing.assert_array_equal(NonNegative(upper=1).prox(x, 1.0), [0, 0.5, 1])
    assert NonNegative().value(x) == np.inf
    assert NonNegative().value(np.abs(x)) == 0
    np.testing.assert_array_equal(NonNegative().prox(np.array([-1 + 2j, 3 + 1j]), 1.0), [0, 3])


def test_plug_and_play_passes_the_noise_level():
    seen = []
    prior = PlugAndPlay(lambda x, sigma: seen.append(sigma) or 0.5 * x, weight=4.0)
    np.testing.assert_array_equal(prior.prox(np.ones(3, np.float32), 0.25), 0.5)
    assert seen == [1.0]
    with pytest.raises(GeometryError, match="made shape"):
        PlugAndPlay(lambda x, _: x[1:]).prox(np.ones(3), 1.0)


def test_averages_can_be_spared():
    x = np.full((16, 16), 5.0, np.float32)
    np.testing.assert_allclose(WaveletL1(1.0, "haar", averages=False).prox(x, 1.0), x, atol=1e-5)
    assert WaveletL1(1.0, "haar", averages=False).value(x) == pytest.approx(0, abs=1e-4)
    assert WaveletL1(1.0, "haar").prox(x, 1.0).max() < 5


def test_bad_parameters():
    for made in (L1, TV, WaveletL1, LocallyLowRank):
        with pytest.raises(ParameterError, match="weight is -1"):
            made(-1.0)
    with pytest.raises(ParameterError, match="give 2 or 3"):
        TV(1.0, ndim=4)
    with pytest.raises(ParameterError, match="spacing"):
        TV(1.0, spacing=(1.0, 0.0))
    with pytest.raises(ParameterError, match="complex"):
        TV(1.0, nonnegative=True).prox(np.ones((3, 3), complex), 1.0)
    with pytest.raises(GeometryError, match="frames come first"):
        LocallyLowRank(1.0).prox(np.ones((4, 4)), 1.0)
    with pytest.raises(ParameterError, match="not below"):
        NonNegative(1.0, 0.0)
