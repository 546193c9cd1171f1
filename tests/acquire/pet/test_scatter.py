"""Compton physics in closed form; single scatter against photons followed one by one; the fit."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from somascope.acquire.pet import coarse, compton, montecarlo
from somascope.acquire.pet.attenuation import survival
from somascope.acquire.pet.events import crystals_of, list_events
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.listmode_osem import listmode_osem
from somascope.acquire.pet.model import background, factors
from somascope.acquire.pet.randoms import from_singles, randoms
from somascope.acquire.pet.realism import added
from somascope.acquire.pet.scanner import TINY, Scanner
from somascope.acquire.pet.scatter import (
    in_time,
    joined,
    scatter,
    scatter_points,
    single_scatter,
    tail_scale,
    thinned_grid,
)
from somascope.acquire.pet.simulate import measure
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
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


TIMED = replace(SCANNER, tof_bins=9, tof_bin_ps=250.0, tof_resolution_ps=300.0)


def test_scatter_by_time_of_flight_against_photons_followed():
    """Every bin's share of single scatter, at all lines, beside the body, and on the hot side."""
    activity, mu = disk(30.0, x=45.0) * 1000.0, disk(70.0) * 0.0096
    at = coarse.nodes(TIMED, rings=2, crystals=32)
    model = single_scatter(activity, mu, GRID, at, centre=(0, 0, 0), spacing=16.0)
    assert model.shape == (9, *at.shape)
    np.testing.assert_allclose(model, model[::-1].transpose(0, 3, 4, 1, 2), rtol=1e-5)
    plain = coarse.nodes(SCANNER, rings=2, crystals=32)
    whole = single_scatter(activity, mu, GRID, plain, centre=(0, 0, 0), spacing=16.0)
    assert model.sum() == pytest.approx(whole.sum(), rel=0.01)
    made = montecarlo.follow(activity, mu, GRID, at, centre=(0, 0, 0), pairs=3_000_000, seed=3)
    counted = made.single / np.float32(made.per_line)
    assert counted.shape == model.shape
    c = at.shape[1]
    first, second = np.arange(c)[:, None], np.arange(c)
    # Opposite pairs, the first detector on the hot side (L > 0 is a quarter turn) or opposite.
    apart = np.abs((first - second) % c - c // 2)
    regions = {
        "all": apart < c, "beside": (apart > 5) & (apart < 9),
        "from the hot side": (apart < 3) & (np.abs(first - c // 4) < 4),
    }  # fmt: skip
    for name, region in regions.items():
        found = model.sum(axis=(1, 3))[:, region].sum(axis=1)
        truth = counted.sum(axis=(1, 3))[:, region].sum(axis=1)
        assert found.sum() == pytest.approx(truth.sum(), rel=0.08), name
        np.testing.assert_allclose(
            found / found.sum(), truth / truth.sum(), atol=0.012, err_msg=name
        )
    hot = counted.sum(axis=(1, 3))[:, regions["from the hot side"]].sum(axis=1)
    assert hot[:4].sum() > 3 * hot[5:].sum(), "the hot side is near the first detector"
    multiple = made.multiple.sum(axis=(1, 2, 3, 4))
    shared = in_time(model, made.multiple.sum(axis=0)).sum(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(shared / shared.sum(), multiple / multiple.sum(), atol=0.04)


def test_trues_of_photons_followed_arrive_when_the_projector_says():
    activity, mu = disk(20.0, x=40.0, y=-10.0) * 1000.0, disk(70.0) * 0.0096
    at = coarse.nodes(TIMED, rings=1, crystals=32)
    made = montecarlo.follow(activity, mu, GRID, at, centre=(0, 0, 0), pairs=400_000, seed=5)
    scan = SinogramScan(grid=GRID, scanner=TIMED, max_ring_difference=0)
    survived = np.exp(-SinogramScan(grid=GRID, scanner=SCANNER, max_ring_difference=0).forward(mu))
    lines = (scan.forward(activity) * survived).sum(axis=(1, 3))  # (tof, angle)
    # Views whose first crystal is among those of a node of a quarter turn: L > 0.
    first = np.argmin(np.abs(np.arange(scan.range[2]) - SCANNER.crystals // 4))
    near = lines[:, first - 3 : first + 4].sum(axis=1)
    c = at.shape[1]
    pairs = made.trues.sum(axis=(1, 3))
    quarter = pairs[:, [c // 4 - 1, c // 4, c // 4 + 1], :].sum(axis=(1, 2))
    means = [np.sum(np.arange(9) * p) / p.sum() for p in (near, quarter)]
    assert means[0] == pytest.approx(means[1], abs=0.3)
    assert means[0] < 3.5, "towards the first crystal"


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


@pytest.fixture(scope="module")
def timed():
    """A body with everything in it, seen with time of flight: expected counts."""
    scan = SinogramScan(grid=GRID, scanner=TIMED, max_ring_difference=2)
    activity, mu = disk(45.0, x=15.0) * 5000.0, disk(60.0) * 0.096
    image = Image(mu, GRID, "CT", "/cm")
    facts = {"ActualFrameDuration": 600000.0}
    calibration = {
        "sensitivity": np.array(TIMED.sensitivity), "attenuation": survival(scan, image)
    }  # fmt: skip
    calibration = added(
        scan, activity, image, calibration=calibration, attributes=facts, kind="single",
        uneven=0.1, dead=0.0, randoms=0.2, seed=2,
    )  # fmt: skip
    return scan, activity, image, calibration, facts


def test_the_estimate_of_a_sinogram_with_time_of_flight(timed):
    scan, activity, image, calibration, facts = timed
    counts, known = measure(
        scan, activity, calibration=calibration, attributes=facts, randoms=0.2, seed=None
    )
    made = Acquisition(counts, scan, "PT", unit="{counts}", calibration=known, attributes=facts)
    found = scatter(made, image, multiple=False).calibration["scatter"]
    truth = known["scatter"]
    assert found.shape == truth.shape == scan.range
    assert found.sum() == pytest.approx(truth.sum(), rel=0.06)
    share = [t.sum(axis=(1, 2, 3)) / t.sum() for t in (found, truth)]
    np.testing.assert_allclose(*share, atol=0.01)
    flat = joined(made)
    assert flat.samples.sum() == pytest.approx(counts.sum(), rel=1e-5)
    chance = np.broadcast_to(known["randoms"], scan.range)
    assert flat.calibration["randoms"].sum() == pytest.approx(chance.sum(), rel=1e-4)


def test_scatter_of_events_is_that_of_their_bins(timed):
    scan = timed[0]
    at = coarse.nodes(TIMED)
    table = np.random.default_rng(0).random((9, *at.shape), np.float32)
    table = table + table[::-1].transpose(0, 3, 4, 1, 2)
    flat = np.random.default_rng(1).integers(0, np.prod(scan.range), 500)
    crystals, tof = crystals_of(scan, flat)
    whole = coarse.spread(table, at, scan).reshape(-1)[flat]
    np.testing.assert_allclose(coarse.at_events(table, at, crystals, tof), whole, atol=2e-4)
    # The other way round it is the same event.
    again = coarse.at_events(table, at, crystals[:, ::-1], (8 - tof).astype(np.int16))
    np.testing.assert_allclose(again, whole, atol=2e-4)


def test_activity_from_events_with_scatter_randoms_and_efficiencies(timed):
    """List mode with everything in it, corrected from what a scanner knows: within 3 per cent."""
    scan, activity, image, calibration, facts = timed
    seconds, singles = 3.0, np.full((TIMED.rings, TIMED.crystals), 6000.0)
    chance = from_singles(scan, singles, seconds=seconds)
    short = calibration["scatter"] * np.float32(seconds / 600)
    known = {**calibration, "randoms": chance, "scatter": short}
    facts = {**facts, "ActualFrameDuration": 1000 * seconds}
    plain = Acquisition(
        np.zeros(scan.range, np.float32), scan, "PT", unit="{counts}", calibration=known,
        attributes=facts,
    )  # fmt: skip
    mean = scan.forward(activity) * factors(plain) + background(plain)
    counts = np.random.default_rng(6).poisson(mean).astype(np.float32)
    events = list_events(replace(plain, samples=counts))
    scanned = {
        k: v for k, v in events.calibration.items() if k not in ("scatter", "randoms")
    }  # fmt: skip
    seen = replace(events, calibration={**scanned, "singles": singles})
    corrected = scatter(randoms(seen, method="singles"), image, multiple=False)
    parts = corrected.calibration
    assert parts["scatter"].shape == parts["randoms"].shape == events.samples.shape
    np.testing.assert_allclose(parts["randoms"], events.calibration["randoms"], rtol=1e-4)
    truth = events.calibration["scatter"]
    assert parts["scatter"].sum() == pytest.approx(truth.sum(), rel=0.06)
    assert np.corrcoef(parts["scatter"], truth)[0, 1] > 0.97
    middle = (disk(30.0, x=15.0) > 0.99) & (np.arange(GRID.shape[0]) % 9 > 2)[:, None, None]

    def level(acquisition):
        image = listmode_osem(acquisition, iterations=6, subsets=4)
        return float(image.data[middle].mean()) / 5000

    assert level(corrected) == pytest.approx(1.0, abs=0.03)
    without = {k: v for k, v in parts.items() if k != "scatter"}
    assert level(replace(corrected, calibration=without)) > 1.08
    with pytest.raises(ParameterError, match="singles"):
        scatter(events, image)


def test_thinned_grids_keep_their_middle():
    fine = Grid.from_spacing((30, 100, 100), (2.0, 2.0, 2.0), origin=(-99, -99, -29))
    made = thinned_grid(fine, voxel=8.0)
    assert min(made.spacing) >= 8.0
    middle = made.to_world((np.array(made.shape) - 1) / 2)
    np.testing.assert_allclose(middle, fine.to_world((np.array(fine.shape) - 1) / 2), atol=1e-9)


def test_refusals():
    crystals = np.array([[0, 1]])
    odd = ListModeScan(
        grid=GRID, scanner=TINY.without_tof(), crystals=crystals, positions=np.eye(3) * 99
    )
    acquisition = Acquisition(np.ones(1, np.float32), odd, "PT", unit="{counts}")
    with pytest.raises(GeometryError, match="cylinder"):
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
