"""The projector against the closed form, brute force, ASTRA, and itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.pet import tof
from somascope.acquire.pet.joseph import Lines
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.scanner import TINY, Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Grid
from somascope.phantoms import Ellipsoid, draw
from somascope.process import chunks
from somascope.testing import check_operator
from tests.acquire.pet.cases import FLAT, GRID, exact

SMALL = Grid.from_spacing((9, 24, 24), (4.0, 7.0, 7.0), origin=(-80.5, -80.5, -16.0))
OFF = Grid.from_spacing((7, 26, 22), (4.5, 6.0, 7.0), origin=(-70.0, -80.0, -10.0))
TURNED = Grid.from_spacing(
    (9, 24, 24), (4.0, 7.0, 7.0), origin=(-80.0, -70.0, -30.0),
    direction=np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)) * 0.1 + np.eye(3))[0],
)  # fmt: skip


def generic(scan: SinogramScan) -> SinogramScan:
    """The same scan through the projector for any lines."""
    other = SinogramScan(**scan.describe())
    other._fast = lambda: None  # pyright: ignore
    return other


@pytest.mark.parametrize("grid", [SMALL, OFF, TURNED])
@pytest.mark.parametrize("scanner", [FLAT, TINY])
def test_adjoint(grid: Grid, scanner: Scanner):
    check_operator(SinogramScan(grid=grid, scanner=scanner), tolerance=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"span": 3}, {"mashing": 2}, {"psf": 8.0}, {"views": [3, 29, 4, 28]}, {"radial_bins": 20},
     {"max_ring_difference": 1}, {"centre": (0.0, 0.0, 5.0)}],
)  # fmt: skip
def test_adjoint_of_every_option(options: dict):
    scan = SinogramScan(grid=SMALL, scanner=FLAT, **options)
    check_operator(scan, tolerance=1e-5)
    x = np.random.default_rng(1).random(scan.domain).astype(np.float32)
    assert generic(scan).forward(x) == pytest.approx(scan.forward(x), rel=1e-4, abs=0.01)


@pytest.mark.parametrize("scanner", [FLAT, TINY])
def test_symmetric_lines_are_the_same_lines(scanner: Scanner):
    scan = SinogramScan(grid=SMALL, scanner=scanner)
    x = np.random.default_rng(1).random(scan.domain).astype(np.float32)
    y = np.random.default_rng(2).random(scan.range).astype(np.float32)
    lanes = scan._fast()
    assert lanes is not None
    assert lanes.fill > 0.8
    one, two = scan.forward(x), generic(scan).forward(x)
    assert np.abs(one - two).max() < 1e-5 * two.max()
    one, two = scan.adjoint(y), generic(scan).adjoint(y)
    assert np.abs(one - two).max() < 1e-5 * two.max()


def test_closed_form():
    shapes = [
        Ellipsoid(1.0, (10, -5, 3), (60, 50, 40), (20, 0)),
        Ellipsoid(2.0, (-20, 15, 0), (20, 25, 60)),
    ]
    grid = Grid.from_spacing((36, 96, 96), (2.0, 2.0, 2.0), origin=(-95.0, -95.0, -35.0))
    scan = SinogramScan(grid=grid, scanner=FLAT)
    truth = exact(scan, shapes)
    found = scan.forward(draw(shapes, grid))
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.006 * truth.max()
    assert found.sum() == pytest.approx(truth.sum(), rel=4e-3)  # the drawn edges


def brute(grid: Grid, x: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Joseph's sum over planes of the axis that advances most, in plain Python."""
    from scipy.ndimage import map_coordinates

    ends = grid.to_index(np.stack([a, b]))
    k = int(np.argmax(np.abs((ends[1] - ends[0]) * grid.spacing)))
    planes = np.arange(grid.shape[k])
    share = (planes - ends[0, k]) / (ends[1, k] - ends[0, k])
    share = share[(share >= 0) & (share <= 1)]
    points = ends[0] + share[:, None] * (ends[1] - ends[0])
    padded = np.pad(x, 2)
    values = map_coordinates(padded, points.T + 2, order=1, mode="constant")
    step = np.linalg.norm(b - a) / abs(ends[1, k] - ends[0, k])
    return float(values.sum() * step)


@pytest.mark.parametrize("grid", [SMALL, OFF, TURNED])
def test_brute_force(grid: Grid):
    rng = np.random.default_rng(4)
    x = rng.random(grid.shape).astype(np.float32)
    a, b = rng.uniform(-130, 130, (2, 60, 3))
    a[::3, 2], b[::3, 2] = -60, 60  # some of them steep
    pairs = np.stack([np.arange(60), np.arange(60) + 60], axis=1)
    found = Lines(grid, np.concatenate([a, b]), pairs).forward(x)
    truth = [brute(grid, x, *ends) for ends in zip(a, b, strict=True)]
    assert found == pytest.approx(np.array(truth), rel=2e-4, abs=0.02)


def test_astra_agrees():
    astra = pytest.importorskip("astra")
    n = 48
    grid = Grid.from_spacing((1, n, n), (4.0, 4.0, 4.0), origin=(-94.0, -94.0, 0.0))
    one = replace(FLAT, rings=1, max_ring_difference=0)
    scan = SinogramScan(grid=grid, scanner=one)
    x = draw([Ellipsoid(1.0, (10, -20, 0), (50, 30, 50))], grid)
    first, second = (e.reshape(-1, 2) for e in scan.transaxial())
    # ASTRA's lines are given by angle and distance; y points up there.
    step = second - first
    normal = np.stack([step[:, 1], -step[:, 0]], axis=1) / np.linalg.norm(step, axis=1)[:, None]
    distance = (first * normal).sum(axis=1)
    volume = astra.create_vol_geom(n, n, -96, 96, -96, 96)
    found = np.empty(len(first))
    for i in range(0, len(first), 37):
        vectors = [normal[i, 1], normal[i, 0], 0, 0, 0, 0]
        direction = step[i] / np.linalg.norm(step[i])
        vectors = [direction[0], -direction[1], distance[i] * normal[i, 0],
                   -distance[i] * normal[i, 1], normal[i, 0], -normal[i, 1]]  # fmt: skip
        rays = astra.create_proj_geom("parallel_vec", 1, np.array([vectors]))
        projector = astra.create_projector("linear", rays, volume)
        number, data = astra.create_sino(x[0], projector)
        found[i] = data[0, 0]
        astra.data2d.delete(number)
        astra.projector.delete(projector)
    ours = scan.forward(x).reshape(-1)[::37]
    assert ours.max() > 90
    assert ours == pytest.approx(found[::37], rel=2e-4, abs=0.05)


def test_time_of_flight_bins_add_up_and_find_their_place():
    scan = SinogramScan(grid=GRID, scanner=replace(TINY, tof_bins=33))
    flat = SinogramScan(grid=GRID, scanner=FLAT)
    point = draw([Ellipsoid(1.0, (30.0, -14.0, 0.0), (5, 5, 5))], GRID)
    resolved, whole = scan.forward(point), flat.forward(point)
    assert resolved.sum(axis=0) == pytest.approx(whole, rel=2e-3, abs=1e-3)
    # The mean position along each line is the projection of the point on it.
    first, second = flat.endpoints()
    length = np.linalg.norm(second - first, axis=-1)
    along = (second - first) / length[..., None]
    expected = ((np.array([30.0, -14.0, 0.0]) - (first + second) / 2) * along).sum(axis=-1)
    seen = whole > 0.5 * whole.max()
    centres = tof.centres(scan.scanner)[:, None, None, None]
    mean = (resolved * centres).sum(axis=0)[seen] / resolved.sum(axis=0)[seen]
    assert np.abs(mean - expected[seen]).max() < 3.0
    width = np.sqrt(
        (resolved * (centres - expected) ** 2).sum(axis=0)[seen] / resolved.sum(axis=0)[seen]
    )
    wanted = np.hypot(tof.sigma(TINY), TINY.tof_bin_mm / np.sqrt(12))
    assert np.median(width) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("scanner", [FLAT, TINY])
def test_events_see_what_their_bins_see(scanner: Scanner):
    scan = SinogramScan(grid=OFF, scanner=scanner)
    x = np.random.default_rng(5).random(OFF.shape).astype(np.float32)
    y = scan.forward(x).reshape(scanner.tof_bins, *scan.range[-3:])
    rng = np.random.default_rng(6)
    t, p, a, r = (rng.integers(0, n, 300) for n in y.shape)
    rings = scan.michelogram.mean_rings[p].astype(int)
    around = np.stack([c[a, r] for c in scan.crystals()], axis=1).astype(int)
    events = ListModeScan(
        grid=OFF, scanner=scanner, crystals=rings * scanner.crystals + around,
        tof=t if scanner.tof_bins > 1 else None,
    )  # fmt: skip
    check_operator(events, tolerance=1e-5)
    assert events.forward(x) == pytest.approx(y[t, p, a, r], rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("grid", [SMALL, OFF])
def test_the_same_bits_whatever_the_threads(monkeypatch: pytest.MonkeyPatch, grid: Grid):
    scan = SinogramScan(grid=grid, scanner=TINY)
    x = np.random.default_rng(7).random(scan.domain).astype(np.float32)
    y = np.random.default_rng(8).random(scan.range).astype(np.float32)
    forward, back = scan.forward(x), scan.adjoint(y)
    for threads in (1, 3, 8):
        monkeypatch.setattr(chunks, "cores", lambda n=threads: n)
        assert np.array_equal(scan.forward(x), forward)
        assert np.array_equal(scan.adjoint(y), back)
