"""Analytic methods for oblique planes: where SSRB blurs along the axis, FORE and 3DRP do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.pet.fbp import fbp2d, ramp
from somascope.acquire.pet.fore import fore
from somascope.acquire.pet.rp3d import colsher, rp3d
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.simulate import simulate
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import ParameterError
from somascope.phantoms import Ellipsoid, line_integrals
from somascope.testing import check_operation
from tests.acquire.pet.cases import activity, mu, quiet

SCANNER = Scanner(name="Long", rings=10, crystals=96, radius=100.0, ring_spacing=6.0,
                  radial_bins=75)  # fmt: skip
GRID = Grid.from_spacing((19, 57, 57), (3.0, 3.0, 3.0), origin=(-84.0, -84.0, -27.0))
BALLS = [Ellipsoid(1000.0, c, (12, 12, 6)) for c in ((60, 0, 0), (0, -60, 9), (0, 0, 0))]


@pytest.fixture(scope="module")
def balls() -> Acquisition:
    scan = SinogramScan(grid=GRID, scanner=SCANNER)
    counts = line_integrals(BALLS, *scan.endpoints()).astype(np.float32)
    return Acquisition(counts, scan, "PT", unit="{counts}")


def width(image: Image, ball: Ellipsoid) -> tuple[float, float]:
    """Value in the middle of a ball, and the standard deviation of its profile along S in mm."""
    z, y, x = np.round(GRID.to_index(ball.centre)).astype(int)
    profile = np.clip(image.data[:, y, x], 0, None)
    place = GRID.spacing[0] * np.arange(len(profile))
    middle = (profile * place).sum() / profile.sum()
    spread = np.sqrt((profile * (place - middle) ** 2).sum() / profile.sum())
    assert middle / GRID.spacing[0] == pytest.approx(z, abs=0.6)
    return float(image.data[z, y, x]), float(spread)


def test_off_the_axis_ssrb_blurs_and_the_others_do_not(balls: Acquisition):
    plain, fourier, full = fbp2d(balls), fbp2d(fore(balls)), rp3d(balls)
    assert plain.unit == fourier.unit == full.unit == "1"
    centre = BALLS[2]
    for ball in BALLS[:2]:
        value, spread = width(plain, ball)
        assert spread > 1.5 * width(plain, centre)[1]
        for image in (fourier, full):
            assert width(image, ball)[1] < 0.75 * spread
            assert width(image, ball)[1] < 1.15 * width(image, centre)[1]
            assert width(image, ball)[0] > 1.3 * value
    for image in (fourier, full):
        for ball in BALLS:
            assert width(image, ball)[0] == pytest.approx(1000, rel=0.25)  # 12 mm high, rings of 6


def test_activity_in_large_regions():
    raw = simulate(activity(), mu(), scanner="tiny", duration=60.0, randoms=0.3, seed=1)
    for image in (fbp2d(fore(raw)), rp3d(raw, window="ramp")):
        assert image.unit == "Bq/ml"
        assert image.data[quiet()].mean() == pytest.approx(5000, rel=0.05)


def test_the_filter_of_untilted_planes_is_the_ramp():
    response = colsher((64, 2.0), (16, 3.0), theta=0.0, limit=0.1, window="ramp", cutoff=1.0)
    assert response[0] == pytest.approx(ramp(64, 2.0, window="ramp", cutoff=1.0) / 0.2, rel=1e-6)
    # A frequency along the axis is seen by every direction of the half turn.
    steep = colsher((64, 2.0), (16, 3.0), theta=0.0, limit=0.1, window="ramp", cutoff=1.0)[4, 0]
    assert steep == pytest.approx(np.fft.fftfreq(16, 3.0)[4] / np.pi, rel=0.02)


def test_promises_and_refusals(balls: Acquisition):
    small = balls.operator.with_changes(max_ring_difference=2)  # pyright: ignore
    kept = [p for p, s in enumerate(balls.operator.michelogram.segment) if abs(s) <= 2]  # pyright: ignore
    few = replace(balls, operator=small, samples=balls.samples[kept])
    for name in ("fore", "rp3d"):
        check_operation(f"acquire.pet.{name}", inputs=(few,))
    wide = simulate(activity(), scanner="tiny", duration=1.0, span=3)
    for refuse in (fore, rp3d):
        with pytest.raises(ParameterError, match="span"):
            refuse(wide)
