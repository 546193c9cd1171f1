"""Calibration: beads scanned in closed form by a geometry that is then forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.ct.calibrate import calibrate, shadows
from somascope.acquire.ct.cone import ConeScan
from somascope.acquire.ct.parallel import ParallelScan
from somascope.core import Acquisition, Grid
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms import Ellipsoid, line_integrals

GRID = Grid.from_spacing((4, 8, 8), (10, 10, 10), origin=(-35, -35, -15))
GIVEN = {
    "grid": GRID, "angles": np.arange(24) * np.pi / 12, "rows": 60, "columns": 80,
    "spacing": (2.0, 2.0),
}  # fmt: skip
BEADS = np.array([(30, 0, -20), (-18, 22, -8), (-5, -28, 3), (12, 20, 14), (-25, -10, 22)], float)
TRUE = ConeScan(**GIVEN, source=505.0, detector=912.0, offset=2.6, isocentre=(0.8, -0.6, 0.9))


@pytest.fixture(scope="module")
def scanned():
    start, end = TRUE.views().rays()
    shapes = [Ellipsoid(1.0, tuple(b), (1.5, 1.5, 1.5)) for b in BEADS]
    samples = line_integrals(shapes, start.reshape(-1, 3), end.reshape(-1, 3), summed=True)
    return samples.reshape(TRUE.range).astype(np.float32)


def test_shadow_of_the_isocentre_is_the_middle():
    scan = ConeScan(**GIVEN, source=500.0, detector=900.0)
    np.testing.assert_allclose(shadows(scan.views(), np.zeros((1, 3)))[:, 0], [(29.5, 39.5)] * 24)
    # One mm along S is 1.8 mm on the detector.
    up = shadows(scan.views(), np.array([[0, 0, 1.0]]))[:, 0]
    np.testing.assert_allclose(np.abs(up[:, 0] - 29.5), 0.9, atol=1e-9)


def test_geometry_is_found(scanned):
    wrong = ConeScan(**GIVEN, source=500.0, detector=900.0)
    given = Acquisition(scanned, wrong, "CT")
    found = calibrate(given, beads=tuple(BEADS.ravel()), window=6).operator
    assert found.offset == pytest.approx(TRUE.offset, abs=0.3)
    assert found.source == pytest.approx(TRUE.source, rel=0.01)
    assert found.detector == pytest.approx(TRUE.detector, rel=0.01)
    np.testing.assert_allclose(found.isocentre, TRUE.isocentre, atol=0.2)
    points = np.random.default_rng(0).uniform(-25, 25, (20, 3))
    gap = shadows(found.views(), points) - shadows(TRUE.views(), points)
    before = shadows(wrong.views(), points) - shadows(TRUE.views(), points)
    assert np.abs(gap).max() < 0.1
    assert np.abs(before).max() > 1.5


def test_refusals(scanned):
    wrong = ConeScan(**GIVEN, source=500.0, detector=900.0)
    given = Acquisition(scanned, wrong, "CT")
    with pytest.raises(ParameterError, match="at least four"):
        calibrate(given, beads=(1.0, 2.0, 3.0))
    with pytest.raises(ParameterError, match="times only"):
        calibrate(given, beads=tuple((BEADS + np.array([0, 0, 300])).ravel()))
    flat = ParallelScan(grid=GRID, angles=[0.0, 1.0], bins=9, spacing=9.0)
    with pytest.raises(GeometryError, match=r"ct\.parallel"):
        calibrate(Acquisition(np.ones(flat.range, np.float32), flat, "CT"), beads=(0.0,) * 12)
