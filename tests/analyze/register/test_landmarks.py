"""Expected errors of point-based registration, against simulation and the published formula."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from somascope.analyze.register import points
from somascope.analyze.register.landmarks import accuracy, fit
from somascope.core.errors import ParameterError

FIDUCIALS = np.array(
    [[60.0, 20, 10], [-55, 30, 0], [5, -70, 25], [20, 80, -15], [-10, 10, 70], [40, -40, 50]]
)
TARGET = np.array([10.0, 15.0, -60.0])
FLE = 0.9
TURN = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix()
SHIFT = np.array([12.0, -7.0, 30.0])


@pytest.fixture(scope="module")
def simulated():
    """4000 registrations: where the target goes (told in the fixed frame), FRE, estimated FLE."""
    rng = np.random.default_rng(3)
    there = FIDUCIALS @ TURN.T + SHIFT
    wrong, fre, fle = [], [], []
    for _ in range(4000):
        seen = there + FLE / np.sqrt(3) * rng.standard_normal(there.shape)
        known = accuracy(FIDUCIALS, seen)
        wrong.append((points(known.warp, TARGET) - (TARGET @ TURN.T + SHIFT)) @ TURN)
        fre.append(known.fre)
        fle.append((known.fle, known.fle_spread))
    return np.array(wrong), np.array(fre), np.array(fle)


def test_covariance_at_the_target_is_that_of_a_simulation(simulated):
    wrong, _, _ = simulated
    known = accuracy(FIDUCIALS, FIDUCIALS @ TURN.T + SHIFT, fle=FLE)
    told, seen = known.covariance(TARGET), wrong.T @ wrong / len(wrong)
    # 4000 draws: each entry is sure to about 2 % of the largest.
    assert np.abs(told - seen).max() < 0.08 * np.abs(seen).max()
    assert np.sqrt((wrong**2).sum(axis=1).mean()) == pytest.approx(known.tre(TARGET), rel=0.04)


def test_tre_is_the_formula_of_the_principal_axes():
    """Fitzpatrick, West and Maurer 1998, from distances to the axes."""
    known = accuracy(FIDUCIALS, FIDUCIALS, fle=FLE)
    p = FIDUCIALS - FIDUCIALS.mean(axis=0)
    axes = np.linalg.svd(p)[2]
    r = TARGET - FIDUCIALS.mean(axis=0)
    sum_ = 0.0
    for axis in axes:
        d2 = r @ r - (r @ axis) ** 2
        f2 = np.mean((p**2).sum(axis=1) - (p @ axis) ** 2)
        sum_ += d2 / f2
    assert known.tre(TARGET) ** 2 == pytest.approx(FLE**2 / len(p) * (1 + sum_ / 3), rel=1e-9)
    middle = FIDUCIALS.mean(axis=0)
    assert known.tre(middle) == pytest.approx(FLE / np.sqrt(len(p)), rel=1e-9)


def test_fre_tells_the_localisation_error_and_how_surely(simulated):
    _, fre, fle = simulated
    n = len(FIDUCIALS)
    assert (fre**2).mean() == pytest.approx((1 - 2 / n) * FLE**2, rel=0.03)
    assert fle[:, 0].std() == pytest.approx(fle[:, 1].mean(), rel=0.06)


def test_fre_says_nothing_of_the_error_of_this_registration(simulated):
    """Fitzpatrick 2009: they are uncorrelated; here within 5 standard errors."""
    wrong, fre, _ = simulated
    tre = np.linalg.norm(wrong, axis=1)
    assert abs(np.corrcoef(fre, tre)[0, 1]) < 5 / np.sqrt(len(tre))


def test_a_pair_that_is_left_out():
    rng = np.random.default_rng(0)
    seen = FIDUCIALS + 0.4 * rng.standard_normal(FIDUCIALS.shape)
    known = accuracy(FIDUCIALS, seen)
    squares = []
    for k in range(len(FIDUCIALS)):
        rest = np.arange(len(FIDUCIALS)) != k
        other = fit(FIDUCIALS[rest], seen[rest])
        squares.append(((points(other, FIDUCIALS[k]) - seen[k]) ** 2).sum())
    assert known.left_out == pytest.approx(np.sqrt(np.mean(squares)))
    assert known.left_out > known.fre
    assert accuracy(FIDUCIALS[:3], seen[:3]).left_out is None
    with pytest.raises(ParameterError, match="on a line"):
        accuracy([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 0, 0], [1, 0, 0], [2, 0, 0]])
