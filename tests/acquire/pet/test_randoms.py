"""Products over crystal pairs by brute force; randoms of singles and of a noisy delayed window."""

import numpy as np
import pytest

from somascope.acquire.pet.efficiency import Pairs, fit
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.randoms import from_delayed, from_singles, randoms
from somascope.acquire.pet.scanner import TINY, Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Grid
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation

GRID = Grid.from_spacing((5, 20, 20), (8, 8, 8), origin=(-76, -76, -16))
FLAT = TINY.without_tof()


def scan(**more):
    return SinogramScan(grid=GRID, **({"scanner": FLAT} | more))


def rates(scanner=FLAT, seed=0, scale=2e4):
    rng = np.random.default_rng(seed)
    around = 1 + 0.4 * np.sin(np.arange(scanner.crystals) * 2 * np.pi / scanner.crystals)
    return scale * around * rng.uniform(0.6, 1.4, (scanner.rings, scanner.crystals))


@pytest.mark.parametrize(("span", "mashing"), [(1, 1), (3, 1), (1, 2), (3, 4)])
def test_products_by_brute_force(span, mashing):
    made = scan(span=span, mashing=mashing)
    values = rates()
    n = FLAT.crystals
    expected = np.zeros(made.range)
    for p, plane in enumerate(made.michelogram.pairs):
        for r1, r2 in plane:
            for a in range(made.range[1]):
                for k in range(made.radial_bins):
                    t = k - made.radial_bins // 2
                    for angle in range(a * mashing, (a + 1) * mashing):
                        i = (angle + (t >> 1)) % n
                        j = (angle - ((t + 1) >> 1) + n // 2) % n
                        expected[p, a, k] += values[r1, i] * values[r2, j]
    np.testing.assert_allclose(Pairs(made).products(values), expected, rtol=1e-5)


def test_fans_are_half_the_gradient_of_products():
    made = scan(span=3)
    pairs, values = Pairs(made), rates(scale=1)
    rng = np.random.default_rng(1)
    weights = rng.random(made.range).astype(np.float32)
    step = rng.normal(size=values.shape) * 1e-3
    change = (weights * (pairs.products(values + step) - pairs.products(values - step))).sum() / 2
    assert (pairs.fans(values, weights) * step).sum() == pytest.approx(change, rel=2e-3)


def test_a_fit_finds_the_values_of_every_crystal():
    made = scan(span=1)
    pairs, values = Pairs(made), rates(scale=1)
    values[2, 5] = 0  # a dead one
    weights = np.random.default_rng(2).uniform(0.5, 1.5, made.range).astype(np.float32)
    found = fit(pairs, weights * pairs.products(values), weights, iterations=200)
    np.testing.assert_allclose(found, values, rtol=2e-3, atol=1e-6)


def test_randoms_of_singles():
    made = scan()
    singles = rates()
    found = from_singles(made, singles, seconds=10.0)
    a, k = 7, 12
    first, second = (c.astype(int)[a, k] for c in made.crystals())
    r1, r2 = made.michelogram.pairs[9][0]
    expected = TINY.window_ns * 1e-9 * singles[r1, first] * singles[r2, second] * 10.0
    assert found[9, a, k] == pytest.approx(expected, rel=1e-5)
    resolved = from_singles(scan(scanner=TINY), singles, seconds=10.0)
    share = TINY.tof_bin_ps / (TINY.window_ns * 1000)
    np.testing.assert_allclose(resolved[4], found * share, rtol=1e-5)
    events = ListModeScan(grid=GRID, scanner=FLAT, crystals=[[r1 * 64 + first, r2 * 64 + second]])
    assert from_singles(events, singles, seconds=10.0)[0] == pytest.approx(expected, rel=1e-5)


def test_randoms_counted_as_they_arrive():
    """Two crystals with Poisson singles: pairs within the window, counted."""
    rng = np.random.default_rng(4)
    seconds, rate, window = 40.0, 3e4, 400e-9
    one, two = (np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds))) for _ in range(2))
    near = np.searchsorted(two, one + window / 2) - np.searchsorted(two, one - window / 2)
    tiny = Scanner(name="two", rings=1, crystals=4, radius=100.0, ring_spacing=4.0,
                   window_ns=window * 1e9)  # fmt: skip
    made = ListModeScan(grid=GRID, scanner=tiny, crystals=[[0, 2]])
    expected = from_singles(made, np.full((1, 4), rate), seconds=seconds)[0]
    assert near.sum() == pytest.approx(expected, rel=0.025)


@pytest.mark.parametrize("scanner", [FLAT, TINY])
def test_noise_of_a_delayed_window_is_reduced(scanner):
    made = scan(scanner=scanner, span=3)
    truth = from_singles(made, rates(), seconds=1.0)
    truth *= 1.5 / truth.mean()
    delayed = np.random.default_rng(5).poisson(truth).astype(np.float32)
    found = from_delayed(made, delayed)
    assert found.shape == made.range
    assert found.sum() == pytest.approx(delayed.sum(), rel=1e-3)
    noisy, smooth = (np.sqrt(((d - truth) ** 2).mean()) for d in (delayed, found))
    assert smooth < noisy / 8
    assert np.abs(found / truth - 1).mean() < 0.1


def acquisition(**calibration):
    made = scan()
    return Acquisition(
        np.ones(made.range, np.float32), made, "PT", unit="{counts}", calibration=calibration,
        attributes={"ActualFrameDuration": 10000},
    )  # fmt: skip


def test_the_operation():
    delayed = np.random.default_rng(6).poisson(2.0, scan().range).astype(np.float32)
    raw = acquisition(delayed=delayed, singles=rates())
    done = randoms(raw)
    assert done.attributes["RandomsCorrectionMethod"] == "DLYD"
    np.testing.assert_array_equal(done.samples, raw.samples)
    np.testing.assert_array_equal(randoms(raw, method="measured").calibration["randoms"], delayed)
    of_rates = randoms(raw, method="singles")
    assert of_rates.attributes["RandomsCorrectionMethod"] == "SING"
    np.testing.assert_allclose(
        of_rates.calibration["randoms"], from_singles(raw.operator, rates(), seconds=10.0)
    )
    check_operation(randoms, inputs=(raw,))


def test_refusals():
    with pytest.raises(ParameterError, match="no 'delayed'"):
        randoms(acquisition())
    with pytest.raises(GeometryError, match="5 rings"):
        randoms(acquisition(singles=np.ones((3, 64))), method="singles")
    with pytest.raises(ParameterError, match="negative"):
        randoms(acquisition(singles=-rates()), method="singles")
    with pytest.raises(ParameterError, match="nothing can be fitted"):
        randoms(acquisition(delayed=np.zeros(scan().range, np.float32)))
