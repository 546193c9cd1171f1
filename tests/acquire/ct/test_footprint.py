"""Separable footprints against closed forms: ellipsoids, and boxes that voxels are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from somascope.acquire.ct.cone import ConeScan, HelicalScan
from somascope.acquire.ct.fan import FanScan
from somascope.acquire.ct.sirt import sirt
from somascope.core import Acquisition, Grid
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.registry import build_operator
from somascope.phantoms import Ellipsoid, draw, line_integrals
from somascope.testing import check_operator

BODY = [
    Ellipsoid(1.0, (0, 0, 0), (80, 95, 70)),
    Ellipsoid(-0.5, (30, 20, 10), (25, 30, 20), (20, 0)),
    Ellipsoid(0.5, (-30, -20, -20), (22, 22, 22)),
]
ANGLES = 0.3 + np.arange(6) * np.pi / 3.1


def cone(grid: Grid, element: float, rows: int, columns: int, **more: Any) -> ConeScan:
    return ConeScan(
        grid=grid, angles=ANGLES, source=500.0, detector=900.0, rows=rows, columns=columns,
        spacing=(1.8 * element, 1.8 * element), **more,
    )  # fmt: skip


def over_elements(integrals: Any, fine: ConeScan, parts: int) -> np.ndarray:
    """Means over elements of what ``parts``^2 rays in each measure."""
    views, rows, columns = fine.range
    lines = integrals(*fine.views().rays())
    shape = views, rows // parts, parts, columns // parts, parts
    return lines.reshape(shape).mean(axis=(2, 4))


@pytest.mark.parametrize("curved", [False, True])
def test_wide_elements_see_what_lies_between_rays(*, curved: bool):
    n = 80
    grid = Grid.from_spacing((54, n, n), (3, 3, 3), origin=(-118.5, -118.5, -79.5))
    body = draw(BODY, grid, summed=True)
    fine = cone(grid, 2.25, 24 * 4, 32 * 4, curved=curved)
    truth = over_elements(lambda a, b: line_integrals(BODY, a, b, summed=True), fine, 4)
    wrong = {
        p: np.linalg.norm(cone(grid, 9, 24, 32, curved=curved, projector=p).forward(body) - truth)
        / np.linalg.norm(truth)
        for p in ("joseph", "footprint")
    }
    assert wrong["footprint"] < 0.008  # most of it is the phantom's voxels
    assert wrong["footprint"] < 0.4 * wrong["joseph"]


def box(starts: np.ndarray, ends: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Lengths of lines inside a box (its slabs' common part)."""
    step = ends - starts
    step = np.where(np.abs(step) < 1e-12, 1e-12, step)
    a, b = (low - starts) / step, (high - starts) / step
    enter = np.minimum(a, b).max(axis=-1)
    leave = np.maximum(a, b).min(axis=-1)
    return np.maximum(leave - enter, 0) * np.linalg.norm(step, axis=-1)


@pytest.mark.parametrize("curved", [False, True])
def test_coarse_voxels_throw_the_shadows_of_boxes(*, curved: bool):
    grid = Grid.from_spacing((4, 5, 5), (20, 20, 20), origin=(-40, -40, -30))
    for z, y, x in ((1, 2, 2), (0, 0, 4), (3, 3, 1)):
        voxel = np.zeros(grid.shape, np.float32)
        voxel[z, y, x] = 1
        middle = grid.to_world([z, y, x])
        fine = cone(grid, 1.0, 24 * 5, 32 * 5, curved=curved)
        truth = over_elements(lambda a, b, m=middle: box(a, b, m - 10, m + 10), fine, 5)
        scans = [cone(grid, 5, 24, 32, curved=curved, projector=p) for p in ("footprint", "joseph")]
        ours, joseph = (np.linalg.norm(s.forward(voxel) - truth) for s in scans)
        assert ours < 0.05 * np.linalg.norm(truth)
        assert ours < 0.2 * joseph


@pytest.mark.parametrize("kind", ["fan", "fan stack", "cone", "curved", "helical"])
def test_the_adjoint_is_the_adjoint(kind: str):
    nz = 1 if kind == "fan" else 6
    grid = Grid.from_spacing((nz, 14, 17), (-2, 1.5, 1.1), origin=(-8, -9, 5))
    common: dict[str, Any] = {
        "grid": grid, "angles": np.arange(9) * 0.7, "offset": 3.0, "source": 100.0,
        "detector": 150.0, "isocentre": (1, 2, 3), "projector": "footprint",
    }  # fmt: skip
    scan: Any
    if "fan" in kind:
        scan = FanScan(**common, bins=20, spacing=1.7, curved=nz > 1)
    elif kind == "helical":
        scan = HelicalScan(**common, rows=7, columns=19, spacing=(2.0, 1.7), pitch=5.0, start=-4.0)
    else:
        scan = ConeScan(
            **common, rows=7, columns=19, spacing=(2.0, 1.7), curved=kind == "curved"
        )  # fmt: skip
    check_operator(scan, tolerance=1e-5)
    again = build_operator(scan.kind, scan.describe())
    x = np.random.default_rng(1).normal(size=scan.domain).astype(np.float32)
    assert np.array_equal(again.forward(x), scan.forward(x))


def test_double_precision_and_repeatable():
    grid = Grid.from_spacing((4, 10, 11), (2, 1.5, 1.1), origin=(-8, -9, -5))
    scan = ConeScan(
        grid=grid, angles=np.arange(5) * 0.7, rows=7, columns=19, spacing=(2.0, 1.7),
        source=100.0, detector=150.0, projector="footprint",
    )  # fmt: skip
    check_operator(scan, domain_dtype="float64", range_dtype="float64", tolerance=1e-12)
    y = np.random.default_rng(1).normal(size=scan.range).astype(np.float32)
    assert all(np.array_equal(scan.adjoint(y), scan.adjoint(y)) for _ in range(3))


def test_iterative_reconstruction_takes_the_scan_as_it_is():
    """Elements twice as wide as pixels: the model that knows of widths ends nearer."""
    n = 48
    grid = Grid.from_spacing((1, n, n), (5, 5, 5), origin=(-117.5, -117.5, 0))
    flat = [Ellipsoid(s.value * 0.02, s.centre, (*s.radii[:2], 1e4), s.angles) for s in BODY]
    angles = np.arange(60) * 2 * np.pi / 60
    common: dict[str, Any] = {
        "grid": grid, "angles": angles, "source": 500.0, "detector": 900.0, "curved": True
    }  # fmt: skip
    fine = FanScan(**common, bins=36 * 5, spacing=10 * 1.8 / 5)
    lines = line_integrals(flat, *fine.views().rays(), summed=True)[:, 0]
    lines = lines.reshape(60, 36, 5).mean(axis=-1).astype(np.float32)
    truth = draw(flat, grid, summed=True)
    wrong = {}
    for projector in ("joseph", "footprint"):
        scan = FanScan(
            **common, bins=36, spacing=10 * 1.8,
            projector=projector,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        image = sirt(Acquisition(lines, scan, "CT"), iterations=30, unit="1/mm")
        wrong[projector] = float(np.sqrt(np.mean((image.data - truth) ** 2)))
    assert wrong["footprint"] < 0.95 * wrong["joseph"]


def test_what_does_not_fit_is_refused():
    grid = Grid.from_spacing((4, 8, 8), (2, 2, 2), origin=(-7, -7, -3))
    with pytest.raises(ParameterError, match="choose joseph or footprint"):
        cone(grid, 2.0, 4, 8, projector="strip")
    scan = cone(Grid((8, 4, 8), np.array(
        [[0, 0, 2, -7], [2, 0, 0, -7], [0, 2, 0, -3], [0, 0, 0, 1.0]]
    )), 2.0, 4, 8, projector="footprint")  # fmt: skip
    with pytest.raises(GeometryError, match="not perpendicular"):
        scan.forward(np.ones((8, 4, 8), np.float32))
