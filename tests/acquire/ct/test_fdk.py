"""Cone beams: projector, FDK in all its forms, slabs, helices, against closed forms."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, map_coordinates

from somascope.acquire.ct.arrange import arrange
from somascope.acquire.ct.cone import ConeScan, HelicalScan
from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.fdk import Feldkamp, fdk, redundancy, seen_radius
from somascope.acquire.ct.simulate import simulate
from somascope.acquire.ct.slabs import fdk_file, slabs
from somascope.acquire.ct.views import ViewsScan
from somascope.core import Acquisition, Grid
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.registry import build_operator
from somascope.phantoms import Ellipsoid, draw, line_integrals, shepp_logan
from somascope.testing import check_operation, check_operator

SOURCE, DETECTOR = 500.0, 900.0
N = 48
PIXEL = 220 / N
GRID = Grid.from_spacing((24, N, N), (PIXEL,) * 3, origin=(-(N - 1) / 2 * PIXEL,) * 2 + (-52.7,))
BODY = [
    Ellipsoid(1.0, (0, 0, 0), (80, 95, 300)),
    Ellipsoid(-0.5, (30, 20, 10), (25, 30, 20), (20, 0)),
    Ellipsoid(0.5, (-30, -20, -20), (22, 22, 22)),
]
TRUTH = draw(BODY, GRID, summed=True)
D = PIXEL * DETECTOR / SOURCE
WIDTH = 2 * np.arctan(36 * D / DETECTOR)


def scanned(scan: Any) -> Acquisition:
    samples = line_integrals(BODY, *scan.views().rays(), summed=True)
    return Acquisition(
        samples.astype(np.float32), scan, "CT", calibration={"mu_water": np.array(1.0)}
    )


def cone(
    *, views: int = 150, arc: float = 2 * np.pi, columns: int = 72, sign: int = 1, **more: Any
) -> ConeScan:
    return ConeScan(
        grid=GRID, angles=0.3 + sign * np.arange(views) * arc / views, rows=40, columns=columns,
        spacing=(D, D), source=SOURCE, detector=DETECTOR, **more,
    )  # fmt: skip


def check(found: np.ndarray, *, middle: float, far: float) -> None:
    """Mean of each flat part, in the middle slices and in all."""
    for value in (1.0, 0.5, 1.5):
        region = binary_erosion(np.isclose(TRUTH, value), iterations=2)
        assert region.sum() > 20
        assert found[region].mean() == pytest.approx(value, abs=far)
        region[:10] = region[14:] = False
        if region.sum() > 4:
            assert found[region].mean() == pytest.approx(value, abs=middle)


KINDS: dict[str, dict[str, Any]] = {
    "flat": {},
    "arc, clockwise": {"curved": True, "sign": -1},
    "short": {"views": 110, "arc": np.pi + WIDTH + 0.05},
    "longer than short, clockwise": {
        "views": 120, "arc": np.pi + WIDTH + 0.6, "sign": -1, "curved": True,
    },
    "half-fan": {"columns": 52, "offset": 16 * D},
    "half-fan, other side": {"columns": 52, "offset": -16 * D, "curved": True},
}  # fmt: skip


@pytest.mark.parametrize("kind", list(KINDS))
def test_fdk_finds_the_body(kind: str):
    image = fdk(scanned(cone(**KINDS[kind])), unit="1/mm")
    # Feldkamp's inversion is exact in the middle and loses a little towards the ends.
    check(image.data, middle=0.008, far=0.02)


@pytest.mark.parametrize("kind", ["whole", "short"])
def test_uneven_views_weigh_by_their_gaps(kind: str):
    rng = np.random.default_rng(3)
    views, arc = (150, 2 * np.pi) if kind == "whole" else (110, np.pi + WIDTH + 0.05)
    angles = (np.arange(views) + rng.uniform(-0.4, 0.4, views)) * arc / views
    scan = ConeScan(**{**cone(views=views).describe(), "angles": rng.permutation(angles)})
    image = fdk(scanned(scan), unit="1/mm", kernel="hann")
    check(image.data, middle=0.012, far=0.025)


def test_every_line_is_counted_once():
    """Weights of a line and of its reverse sum to one."""
    for kind in ("short", "longer than short, clockwise", "half-fan"):
        scan = cone(**KINDS[kind])
        weight = redundancy(scan)
        step = scan.angles[1] - scan.angles[0]
        views = len(scan.angles)
        fan_angle = np.arctan if not scan.curved else np.asarray
        t = (np.arange(scan.columns) - (scan.columns - 1) / 2) * D + scan.offset
        gamma = fan_angle(t / DETECTOR)
        # Numerically: the weights over all views that see the line theta, s.
        for theta in (0.4, 1.9, 3.0):
            for g in (-0.2 * WIDTH, 0.05, 0.2 * WIDTH):
                total = 0.0
                for beta, fan in ((theta + g, g), (theta + np.pi - g, -g)):
                    for turn in (-2, -1, 0, 1, 2):
                        v = (beta + turn * 2 * np.pi - scan.angles[0]) / step
                        if not -0.5 <= v <= views - 0.5:
                            continue
                        if gamma[0] <= fan <= gamma[-1]:
                            total += map_coordinates(
                                weight, [[v], [np.interp(fan, gamma, np.arange(len(gamma)))]],
                                order=1, mode="nearest",
                            )[0]  # fmt: skip
                assert total == pytest.approx(1.0, abs=0.01), (kind, theta, g)


def test_slabs_are_the_volume_and_read_only_their_rows():
    acquisition = scanned(cone())
    whole = Feldkamp(acquisition.operator).slab(acquisition.samples, GRID)  # pyright: ignore
    seen = np.hypot(*(np.mgrid[:N, :N] - (N - 1) / 2) * PIXEL) < seen_radius(acquisition.operator)  # pyright: ignore
    whole = np.where(seen, whole, 0)
    parts = list(slabs(acquisition, thickness=5))
    assert [start for start, _ in parts] == [0, 5, 10, 15, 20]
    assert np.abs(np.concatenate([p for _, p in parts]) - whole).max() < 1e-4

    class Watched:
        """An array that remembers which rows were asked for."""

        asked: set[int] = set()  # noqa: RUF012

        def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
            self.asked |= set(range(40)[key[1]])
            return acquisition.samples[key]

    engine = Feldkamp(acquisition.operator)  # pyright: ignore
    top = GRID.moved(start=(19, 0, 0), shape=(5, N, N), step=(1, 1, 1))
    watched = Watched()
    found = engine.slab(watched, top)  # pyright: ignore
    assert np.abs(np.where(seen, found, 0) - whole[19:]).max() < 1e-4
    assert len(watched.asked) < 20


def test_a_bound_on_memory_is_kept(tmp_path: Path):
    """What is held at once is counted where it is made: NumPy's own allocations."""
    scan = ConeScan(
        grid=Grid.from_spacing((96, 96, 96), (2, 2, 2), origin=(-95, -95, -95)),
        angles=np.arange(60) * np.pi / 30, rows=120, columns=120, spacing=(4.0, 4.0), source=400.0,
        detector=800.0,
    )  # fmt: skip
    samples = np.random.default_rng(0).random(scan.range, np.float32)
    acquisition = Acquisition(samples, scan, "CT")
    path = tmp_path / "volume.npy"
    fdk_file(acquisition, path, memory=1e9)  # compiled, and whole
    whole = np.load(path)
    assert whole.nbytes > 3e6
    tracemalloc.start()
    fdk_file(acquisition, path, memory=1.2e6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2e6 + 3e5  # tables and Python's own
    assert np.abs(np.load(path, mmap_mode="r") - whole).max() < 1e-4 * np.abs(whole).max()


def test_what_slabs_cannot_do_is_refused():
    acquisition = scanned(cone(views=60))
    with pytest.raises(ParameterError, match="one slice of 48 x 48 takes"):
        next(slabs(acquisition, memory=1e4))
    with pytest.raises(ParameterError, match="either the thickness"):
        next(slabs(acquisition))
    bad = np.array(acquisition.samples)
    bad[3, 4, 5] = np.nan
    with pytest.raises(UnitError, match="not finite"):
        list(slabs(acquisition.with_samples(bad), thickness=24))
    with pytest.raises(GeometryError, match="samples have shape"):
        next(slabs(acquisition, thickness=4, samples=bad[1:]))


def test_a_grid_upside_down_gives_the_same_body():
    acquisition = scanned(cone())
    grid = GRID.moved(start=(23, 47, 0), shape=(24, N, N), step=(-1, -1, 1))
    engine = Feldkamp(acquisition.operator)  # pyright: ignore
    up = engine.slab(acquisition.samples, GRID)
    down = engine.slab(acquisition.samples, grid)
    assert np.abs(up - down[::-1, ::-1]).max() < 1e-3


@pytest.mark.parametrize(("pitch", "curved"), [(0.6, True), (0.9, False), (1.3, True)])
def test_a_helix_finds_the_body(pitch: float, *, curved: bool):
    scan = arrange(
        GRID, "helical", views=96, rows=16, spacing=4.5, pitch=pitch, curved=curved,
        source=SOURCE, detector=DETECTOR, start=40.0,
    )  # fmt: skip
    found = fbp(scanned(scan), unit="1/mm", kernel="hann").data
    check(found, middle=0.006, far=0.006)


@pytest.mark.parametrize("kind", ["cone", "arc", "helical", "views"])
def test_the_adjoint_is_the_adjoint(kind: str):
    grid = Grid.from_spacing((11, 20, 23), (2, 1.5, 1.1), origin=(-17, -14, -8))
    common: dict[str, Any] = {
        "grid": grid, "angles": np.arange(12) * 0.52, "rows": 9, "columns": 31,
        "spacing": (2.0, 1.7), "offset": 3.0, "source": 100.0, "detector": 150.0,
        "isocentre": (1, 2, 3),
    }  # fmt: skip
    scan: Any
    if kind == "helical":
        scan = HelicalScan(**common, pitch=5.0, start=-6.0)
    elif kind == "views":
        rng = np.random.default_rng(4)
        source = rng.normal(size=(10, 3))
        source *= 90 / np.linalg.norm(source, axis=1, keepdims=True)
        across = np.cross(source, rng.normal(size=(10, 3)))
        across *= 2.0 / np.linalg.norm(across, axis=1, keepdims=True)
        up = np.cross(source, across) / 90
        scan = ViewsScan(
            grid=grid, source=source, centre=-source, u=across, v=up, rows=14, columns=17
        )
    else:
        scan = ConeScan(**common, curved=kind == "arc")
    check_operator(scan, tolerance=1e-5)
    check_operator(scan, domain_dtype="float64", range_dtype="float64", tolerance=1e-12)
    again = build_operator(scan.kind, scan.describe())
    x = np.random.default_rng(1).normal(size=scan.domain).astype(np.float32)
    assert np.array_equal(again.forward(x), scan.forward(x))


def test_projections_along_any_direction_are_those_of_the_body():
    """Rays from all sides, along S too: the projector has no favourite axis."""
    grid = Grid.from_spacing((40, 40, 40), (5, 5, 5), origin=(-97.5,) * 3)
    shapes = [Ellipsoid(1.0, (10, -5, 20), (60, 50, 40)), Ellipsoid(1.0, (0, 0, 0), (70, 80, 65))]
    data = draw(shapes, grid, summed=True)
    angles = np.arange(12) * np.pi / 6
    tilted = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], axis=-1)
    across = np.tile([0.0, 6.0, 0.0], (12, 1))
    scan = ViewsScan(
        grid=grid, source=400 * tilted, centre=-400 * tilted, u=across,
        v=np.cross(tilted, across), rows=31, columns=33,
    )  # fmt: skip
    truth = line_integrals(shapes, *scan.views().rays(), summed=True)
    assert np.linalg.norm(scan.forward(data) - truth) < 0.03 * np.linalg.norm(truth)
    parallel = ViewsScan(**{**scan.describe(), "source": -tilted, "parallel": True})
    truth = line_integrals(shapes, *parallel.views().rays(reach=500), summed=True)
    assert np.linalg.norm(parallel.forward(data) - truth) < 0.03 * np.linalg.norm(truth)


def test_a_tall_curved_detector_sees_what_its_elements_see():
    """Rows far from the middle lie on the same arc about the source's axis as the middle one."""
    body = [Ellipsoid(1.0, (70, -10, 70), (14,) * 3), Ellipsoid(1.0, (-70, 10, -70), (14,) * 3)]
    grid = Grid.from_spacing((60, 66, 66), (3, 3, 3), origin=(-97.5, -97.5, -88.5))
    data = draw(body, grid, summed=True)
    wrong = {}
    for curved in (False, True):
        scan = ConeScan(
            grid=grid, angles=np.arange(6) * np.pi / 3, rows=60, columns=72, spacing=(6.0, 6.0),
            source=300.0, detector=540.0, curved=curved,
        )  # fmt: skip
        truth = line_integrals(body, *scan.views().rays(), summed=True)
        wrong[curved] = np.linalg.norm(scan.forward(data) - truth) / np.linalg.norm(truth)
    assert wrong[True] < 1.15 * wrong[False]


def test_what_does_not_fit_is_refused():
    with pytest.raises(GeometryError, match="short scan of this detector needs"):
        fdk(scanned(cone(views=100, arc=np.pi)))
    with pytest.raises(GeometryError, match="leaves the axis of rotation unseen"):
        fdk(scanned(cone(columns=20, offset=16 * D)))
    head = shepp_logan((8, 16, 16))
    with pytest.raises(GeometryError, match=r"acquire\.ct\.fbp"):
        fdk(simulate(head, geometry="helical", views=40, rows=16))
    with pytest.raises(GeometryError, match="without advance"):
        HelicalScan(**cone().describe(), pitch=0.0)


def test_the_operation_keeps_its_contract():
    lines = simulate(shepp_logan((8, 16, 16)), geometry="cone", views=30)
    check_operation("acquire.ct.fdk", inputs=(lines,))
