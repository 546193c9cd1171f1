"""Compton physics in closed form; single scatter against photons followed one by one; the fit."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from somascope.acquire.pet import coarse, compton, montecarlo
from somascope.acquire.pet.attenuation import survival
from somascope.acquire.pet.scanner import TINY, Scanner
from somascope.acquire.pet.scatter import (
    scatter,
    scatter_points,
    single_scatter,
    tail_scale,
    thinned_grid,
)
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import ParameterError
from somascope.testing import check_operation

SCANNER = Scanner(name="S", rings=12, crystals=128, radius=150.0, ring_spacing=10.0, radial_bins=95)
GRID = Grid.from_spacing((12, 24, 24), (10.0, 8.0, 8.0), origin=(-92, -92, -55),
                         frame_of_reference="1.2.3.8")  # fmt: skip


def disk(radius, x=0.0, y=0.0, grid=GRID):
    _, ny, nx = grid.shape
    fine = 4
    offset = (np.arange(fine) + 0.5) / fine - 0.5
    ys = ((np.arange(ny)[:, None] + offset) * grid.spacing[1] + grid.origin[1]).ravel()
    xs = ((np.arange(nx)[:, None] + offset) * grid.spacing[2] + grid.origin[0]).ravel()
    inside = (xs[None] - x) ** 2 + (ys[:, None] - y) ** 2 < radius**2
    share = inside.reshape(ny, fine, nx, fine).mean(axis=(1, 3)).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(share, grid.shape))


def test_klein_and_nishina():
    barn = np.pi * 2.8179403262**2 * 10  # mb
    assert compton.total(1.0) * barn == pytest.approx(286.6, rel=1e-3)  # NIST XCOM, per electron
    assert compton.total(1e-4) == pytest.approx(8 / 3, rel=1e-3)  # Thomson
    for energy in (1.0, 0.4):
        whole = quad(lambda c, e=energy: compton.density(c, e), -1, 1)[0] * 2 * np.pi
        assert whole == pytest.approx(1, rel=1e-8)
    assert compton.scattered(1.0, -1.0) == pytest.approx(1 / 3)
    assert compton.scattered(1.0, 0.0) == pytest.approx(1 / 2)


def test_the_energy_window():
    assert compton.accepted(1.0, SCANNER) > 0.99
    low = SCANNER.energy_window[0] / compton.REST_KEV
    assert compton.accepted(low, SCANNER) == pytest.approx(0.5, abs=1e-3)
    angle = np.degrees(np.arccos(compton.least_cosine(SCANNER, 0.5)))
    assert angle == pytest.approx(np.degrees(np.arccos(1 - (1 / low - 1))), abs=0.5)


def test_points_hold_all_the_attenuation():
    mu = disk(70.0) * 0.0096
    points, weights = scatter_points(mu, GRID, spacing=20.0)
    assert weights.sum() == pytest.approx(mu.sum() * GRID.voxel_volume, rel=0.01)
    centre = (points * weights[:, None]).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(centre, [5.5, 11.5, 11.5], atol=1e-6)


@pytest.fixture(scope="module")
def followed():
    """Photons in a water cylinder, its activity off its middle."""
    activity = disk(45.0, x=15.0) * 1000.0
    mu = disk(70.0) * 0.0096
    at = coarse.nodes(SCANNER, rings=4, crystals=40)
    made = montecarlo.follow(activity, mu, GRID, at, centre=(0, 0, 0), pairs=4_000_000, seed=2)
    return activity, mu, at, made


def per_pair(made, activity):
    """Counts per (Bq/ml mm) of an ideal pair, as the model counts."""
    emitted = activity.sum() * GRID.voxel_volume * 1e-3
    assert made.per_line == pytest.approx(SCANNER.sensitivity * made.pairs / emitted)
    return made.per_line


def test_single_scatter_against_photons_followed(followed):
    activity, mu, at, made = followed
    model = single_scatter(activity, mu, GRID, at, centre=(0, 0, 0), spacing=16.0)
    model = model * per_pair(made, activity)
    assert model.sum() == pytest.approx(made.single.sum(), rel=0.04)  # absolute, nothing fitted
    c = at.shape[1]
    apart = (np.arange(c)[:, None] - np.arange(c)) % c
    profiles = [
        np.array([t.sum(axis=(0, 2))[apart == k].sum() for k in range(c // 2 - 6, c // 2 + 7)])
        for t in (model, made.single)
    ]
    np.testing.assert_allclose(profiles[0], profiles[1], rtol=0.06)
    axial = [t.sum(axis=(1, 3)) for t in (model, made.single)]
    np.testing.assert_allclose(axial[0], axial[1], rtol=0.08)
    views = [
        np.array([t.sum(axis=(0, 2))[k, (k + c // 2 - 4) % c] for k in range(c)])
        for t in (model, made.single)
    ]
    assert np.corrcoef(*views)[0, 1] > 0.9  # the hot side is where it is


def test_photons_followed_count_the_true_pairs_of_the_model(followed):
    """The absolute unit of both: unscattered pairs against line integrals and survival."""
    activity, mu, at, made = followed
    scan = SinogramScan(grid=GRID, scanner=SCANNER)
    lines = scan.forward(activity) * np.exp(-scan.forward(mu))
    expected = float(lines.sum(dtype=np.float64)) * per_pair(made, activity)
    first, second = (c.astype(int) for c in scan.crystals())
    counted = 0.0
    cells = made.trues.sum(axis=(0, 2)) * at.cell**2 / 2
    counted = float(cells.sum())
    assert first.shape == second.shape
    # Oblique pairs see each other's faces at a slant, which the model leaves to normalisation.
    slant = np.cos(np.arctan(np.abs(np.diff(scan.ring_positions(), axis=1)) / 300.0)) ** 4
    tilted = float((lines * slant[:, :, None]).sum(dtype=np.float64)) * per_pair(made, activity)
    assert counted == pytest.approx(tilted, rel=0.02)
    assert counted < expected


def test_spreading_keeps_a_smooth_table():
    at = coarse.nodes(SCANNER, rings=6, crystals=40)
    scan = SinogramScan(grid=GRID, scanner=SCANNER, span=3)
    psi = at.crystals * 2 * np.pi / SCANNER.crystals
    z = at.rings / SCANNER.rings

    def smooth(p, a, q, b):
        return (2 + np.cos(p - q)) * (1.5 + np.cos(p + q)) * (1 + a) * (1 + b)

    table = smooth(psi[None, :, None, None], z[:, None, None, None], psi, z[:, None])
    found = coarse.spread(table.astype(np.float32), at, scan)
    one, two = (c * 2 * np.pi / SCANNER.crystals for c in scan.crystals())
    rings = scan.michelogram.mean_rings / SCANNER.rings
    truth = smooth(one, rings[:, 0, None, None], two, rings[:, 1, None, None])
    np.testing.assert_allclose(found, truth, rtol=0.02)


@pytest.fixture(scope="module")
def scanned():
    """Expected counts with scatter of a known table, and the CT."""
    activity, mu = disk(45.0, x=15.0) * 5000.0, disk(60.0) * 0.096
    scan = SinogramScan(grid=GRID, scanner=SCANNER, max_ring_difference=3)
    image = Image(mu, GRID, "CT", "/cm")
    att = survival(scan, image)
    at = coarse.nodes(SCANNER)
    table = single_scatter(activity, mu * 0.1, GRID, at, centre=(0, 0, 0))
    facts = {"ActualFrameDuration": 600000}
    calibration = {"sensitivity": np.array(SCANNER.sensitivity), "attenuation": att}
    scale = SCANNER.sensitivity * 600
    trues = scan.forward(activity) * att * scale
    extra = coarse.spread(table, at, scan) * scale
    return scan, image, trues, extra, calibration, facts


def test_the_estimate_finds_scatter_of_any_level(scanned):
    scan, image, trues, extra, calibration, facts = scanned
    for level in (1.0, 1.4):
        acquisition = Acquisition(
            trues + level * extra, scan, "PT", unit="{counts}", calibration=calibration,
            attributes=facts,
        )  # fmt: skip
        done = scatter(acquisition, image, multiple=False)
        found = done.calibration["scatter"]
        assert found.shape == scan.range
        assert found.sum() == pytest.approx(level * extra.sum(), rel=0.04)
        profile = [f.sum(axis=(0, 1)) for f in (found, level * extra)]
        middle = slice(20, -20)
        np.testing.assert_allclose(profile[0][middle], profile[1][middle], rtol=0.06)
    share = level * extra.sum() / (trues + level * extra).sum()
    assert done.attributes["ScatterFractionFactor"] == pytest.approx(share, abs=0.02)
    np.testing.assert_array_equal(done.samples, acquisition.samples)


@pytest.mark.parametrize("sorted_by", [{"span": 3}, {"mashing": 2}])
def test_sinograms_that_join_lines(scanned, sorted_by):
    """Joined ring differences or angles: as many counts as the same lines have one by one."""
    _, image, _, _, calibration, facts = scanned
    activity = disk(45.0, x=15.0) * 5000.0
    joined = SinogramScan(grid=GRID, scanner=SCANNER, max_ring_difference=4, **sorted_by)
    apart = SinogramScan(grid=GRID, scanner=SCANNER, max_ring_difference=4)
    totals = []
    for scan in (joined, apart):
        att = survival(scan, image)
        trues = scan.forward(activity) * att * scan.multiplicity * SCANNER.sensitivity * 600
        own = Acquisition(
            trues, scan, "PT", unit="{counts}", calibration={**calibration, "attenuation": att},
            attributes=facts,
        )  # fmt: skip
        done = scatter(own, image, level="absolute", multiple=False, points=40.0)
        totals.append(float(done.calibration["scatter"].sum(dtype=np.float64)))
    assert totals[0] == pytest.approx(totals[1], rel=0.03)


def test_randoms_are_no_scatter(scanned):
    scan, image, trues, extra, calibration, facts = scanned
    flat = np.full(scan.range, 0.5 * float(extra.mean()), np.float32)
    acquisition = Acquisition(
        trues + extra + flat, scan, "PT", unit="{counts}",
        calibration={**calibration, "randoms": flat}, attributes=facts,
    )  # fmt: skip
    known = scatter(acquisition, image, multiple=False).calibration["scatter"].sum()
    assert known == pytest.approx(extra.sum(), rel=0.05)
    forgotten = replace(acquisition, calibration=calibration)
    found = scatter(forgotten, image, multiple=False).calibration["scatter"]
    assert abs(found.sum() / extra.sum() - 1) > 0.15


def test_too_few_counts_beside_the_body_leave_the_scale(scanned):
    scan, _, _, extra, calibration, facts = scanned
    acquisition = Acquisition(
        np.zeros(scan.range, np.float32), scan, "PT", unit="{counts}", calibration=calibration,
        attributes=facts,
    )  # fmt: skip
    assert tail_scale(acquisition, extra, np.ones(scan.range, np.float32)) == 1


def test_no_body_no_scatter(scanned):
    scan, image, trues, _, calibration, facts = scanned
    acquisition = Acquisition(
        trues, scan, "PT", unit="{counts}", calibration=calibration, attributes=facts
    )
    done = scatter(acquisition, replace(image, data=image.data * 0))
    assert not done.calibration["scatter"].any()


def test_thinned_grids_keep_their_middle():
    fine = Grid.from_spacing((30, 100, 100), (2.0, 2.0, 2.0), origin=(-99, -99, -29))
    made = thinned_grid(fine, voxel=8.0)
    assert min(made.spacing) >= 8.0
    middle = made.to_world((np.array(made.shape) - 1) / 2)
    np.testing.assert_allclose(middle, fine.to_world((np.array(fine.shape) - 1) / 2), atol=1e-9)


def test_refusals():
    scan = SinogramScan(grid=GRID, scanner=TINY)
    acquisition = Acquisition(np.zeros(scan.range, np.float32), scan, "PT", unit="{counts}")
    with pytest.raises(ParameterError, match="9 TOF bins"):
        scatter(acquisition, Image(np.zeros(GRID.shape), GRID, "CT", "/cm"))
    at = coarse.nodes(SCANNER)
    nothing = np.zeros(GRID.shape)
    with pytest.raises(ParameterError, match="pairs"):
        montecarlo.follow(nothing, nothing, GRID, at, centre=(0, 0, 0), pairs=10)


def test_keeps_the_promises_of_an_operation(scanned):
    scan, image, trues, extra, calibration, facts = scanned
    acquisition = Acquisition(
        trues + extra, scan, "PT", unit="{counts}", calibration=calibration, attributes=facts
    )
    check_operation(
        scatter,
        inputs=(acquisition, image),
        params={"passes": 1, "points": 60.0, "multiple": False},
    )
