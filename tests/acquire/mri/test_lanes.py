"""The transforms in vector lanes against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.mri.lanes import LANES, factors, forward, inverse, order, plan


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 12, 15, 20, 64, 90, 180, 256, 320])
def test_forward_is_the_discrete_transform_in_its_own_order(n: int):
    rng = np.random.default_rng(n)
    x = (rng.normal(size=(n, LANES)) + 1j * rng.normal(size=(n, LANES))).astype(np.complex64)
    line = np.ascontiguousarray(np.stack([x.real, x.imag], 1))
    forward(line, n, *plan(n))
    truth = np.fft.fft(x, axis=0)[order(n)]
    assert np.abs(line[:, 0] + 1j * line[:, 1] - truth).max() < 1e-6 * np.abs(truth).max()
    inverse(line, n, *plan(n))
    assert np.abs((line[:, 0] + 1j * line[:, 1]) / n - x).max() < 2e-6


def test_only_small_prime_factors_are_taken():
    assert factors(230) is None
    assert factors(7) is None
    assert sorted(factors(240) or ()) == [3, 4, 4, 5]
    with pytest.raises(ValueError, match="230"):
        plan(230)
