from itertools import combinations

import numpy as np
import pytest
from skimage import filters

from somascope.core.errors import ParameterError
from somascope.process.histogram import Histogram, of_values
from somascope.process.thresholds import (
    borders,
    kapur,
    kmeans,
    li,
    mixture,
    otsu,
    thresholds,
    triangle,
)


def three(n=60_000, seed=0):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(20, 6, n), rng.normal(80, 9, n // 2), rng.normal(150, 8, n // 3)]
    return np.clip(np.rint(np.concatenate(parts)), 0, 255).astype(np.uint8)


def test_otsu_is_scikit_images():
    values = three()
    h = of_values(values, bins=256, lower=-0.5, upper=255.5)
    assert otsu(h) == [filters.threshold_otsu(values)]
    for classes in (3, 4):
        assert otsu(h, classes=classes) == filters.threshold_multiotsu(values, classes).tolist()


def test_kapur_is_the_best_of_all_cuts():
    rng = np.random.default_rng(1)
    h = Histogram(rng.integers(0, 30, 14), np.arange(15.0))
    p = h.counts / h.total

    def entropy(q):
        q = q[q > 0] / q.sum()
        return -(q * np.log(q)).sum()

    for classes in (2, 3):
        scores = {
            cut: sum(entropy(q) for q in np.split(p, cut))
            for cut in combinations(range(1, 14), classes - 1)
            if all(q.sum() > 0 for q in np.split(p, cut))
        }
        best = max(scores, key=lambda k: scores[k])
        assert kapur(h, classes=classes) == [h.centres[k - 1] for k in best]


def test_li_and_triangle_are_scikit_images():
    values = three()
    h = of_values(values, bins=256, lower=-0.5, upper=255.5)
    assert li(h) == pytest.approx(filters.threshold_li(values), abs=1.0)
    assert triangle(h) == pytest.approx(filters.threshold_triangle(values), abs=1.0)
    h = of_values(255 - values, bins=256, lower=-0.5, upper=255.5)
    assert triangle(h) == pytest.approx(filters.threshold_triangle(255 - values), abs=1.0)


def test_a_mixture_finds_its_parts():
    values = three(seed=4)
    h = of_values(values, bins=256, lower=-0.5, upper=255.5)
    found = mixture(h, classes=3)
    assert np.allclose(found.means, (20, 80, 150), atol=0.3)
    assert np.allclose(found.sds, (6, 9, 8), atol=0.3)
    assert np.allclose(found.weights, np.array([6, 3, 2]) / 11, atol=0.01)
    cuts = borders(found)
    assert found.posterior(np.array([cuts[0] - 1]))[0] > 0.5
    assert found.posterior(np.array([cuts[0] + 1]))[1] > 0.5
    assert cuts == thresholds(h, method="mixture", classes=3)


def test_kmeans_lies_halfway_between_its_means():
    values = three(seed=2).astype(np.float64)
    h = of_values(values, bins=256, lower=-0.5, upper=255.5)
    cuts = kmeans(h, classes=3)
    which = np.searchsorted(cuts, values)
    means = [values[which == k].mean() for k in range(3)]
    assert np.allclose(cuts, [(means[0] + means[1]) / 2, (means[1] + means[2]) / 2], atol=0.02)


@pytest.mark.parametrize("method", ["otsu", "kapur", "li", "triangle", "kmeans", "mixture"])
def test_every_method_parts_two_peaks_and_follows_the_values(method):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 50_000), rng.normal(12, 1, 20_000)])
    (t,) = thresholds(of_values(values), method=method)
    # The triangle ends at the foot of the peak, and so does entropy where tails are long.
    assert (1 if method in ("triangle", "kapur") else 3) < t < 9.5
    (moved,) = thresholds(of_values(values * 100 - 7000), method=method)
    assert moved == pytest.approx(t * 100 - 7000, abs=20)


def test_what_cannot_be_parted_is_refused():
    flat = of_values(np.full(50, 3.0))
    with pytest.raises(ParameterError, match="constant"):
        thresholds(flat)
    h = of_values(three())
    with pytest.raises(ParameterError, match="two classes"):
        thresholds(h, method="li", classes=3)
    with pytest.raises(ParameterError, match="2 to 6"):
        thresholds(h, classes=1)
