"""The relative difference prior against its definition, one pair of neighbours at a time."""

import numpy as np
import pytest

from somascope.acquire.relative import RelativeDifference
from somascope.core.errors import ParameterError


def test_relative_difference_prior():
    rng = np.random.default_rng(0)
    prior = RelativeDifference((3, 4, 5), (3.0, 2.0, 2.0), gamma=2.0)
    x = rng.random((3, 4, 5)).astype(np.float32) * 4
    gradient, curvature = prior.gradient(x)
    for _ in range(3):
        d = rng.normal(size=x.shape)
        step = 1e-3
        slope = (prior.value(x + step * d) - prior.value(x - step * d)) / (2 * step)
        assert slope == pytest.approx((gradient * d).sum(), rel=2e-3, abs=0.02)
    assert (curvature > 0).all()
    assert prior.value(np.full_like(x, 3.0)) == 0
    assert prior.value(2 * x) == pytest.approx(2 * prior.value(x), rel=1e-4)
    by_hand = 0.0
    for z, y, i in np.ndindex(x.shape):
        for u, v, w in np.ndindex(x.shape):
            gaps = (abs(z - u), abs(y - v), abs(i - w))
            if (u, v, w) > (z, y, i) and max(gaps) == 1:
                length = np.linalg.norm(np.multiply(gaps, (3.0, 2.0, 2.0)))
                a, b = float(x[z, y, i]), float(x[u, v, w])
                by_hand += 2 / length * (a - b) ** 2 / (a + b + 2 * abs(a - b) + 1e-6)
    assert prior.value(x) == pytest.approx(by_hand, rel=1e-4)


def test_its_curvature_bounds_the_change_of_its_gradient():
    rng = np.random.default_rng(1)
    prior = RelativeDifference((4, 5, 6), (2.0, 2.0, 2.0), gamma=1.0)
    x = (rng.random((4, 5, 6)) * 3 + 0.5).astype(np.float32)
    slope, bend = prior.gradient(x)
    for index in ((0, 0, 0), (2, 3, 1), (3, 4, 5)):
        moved = x.copy()
        moved[index] += 1e-2
        own = (prior.gradient(moved)[0] - slope)[index] / 1e-2
        assert 0 < own < bend[index]


def test_refusals():
    with pytest.raises(ParameterError, match="gamma"):
        RelativeDifference((2, 2, 2), (1.0, 1.0, 1.0), gamma=-1.0)
