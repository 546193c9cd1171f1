"""Fan beams: rebinning and the image against closed forms, for every kind of fan scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from somascope.acquire.ct.fan import FanScan
from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.rebin import rebin, target
from somascope.core import Acquisition, Grid
from somascope.core.errors import GeometryError
from somascope.core.registry import build_operator
from somascope.phantoms import (
    ellipse_radon,
    line_integrals,
    shepp_logan,
    shepp_logan_shapes,
)
from somascope.testing import check_operator

SOURCE, DETECTOR = 500.0, 900.0
SHAPES = shepp_logan_shapes("modified", flat=True)
IMAGE = shepp_logan((160, 160))
D = IMAGE.grid.spacing[1] * DETECTOR / SOURCE
WIDTH = 2 * np.arctan(120 * D / DETECTOR)


def scanned(
    *, views: int = 480, arc: float = 2 * np.pi, bins: int = 240, sign: int = 1, **more: Any
) -> Acquisition:
    """The head as the fan sees it, exactly."""
    angles = 0.3 + sign * np.arange(views) * arc / views
    scan = FanScan(
        grid=IMAGE.grid, angles=angles, bins=bins, spacing=D, source=SOURCE, detector=DETECTOR,
        **more,
    )  # fmt: skip
    samples = line_integrals(SHAPES, *scan.views().rays(), summed=True)[:, 0]
    return Acquisition(
        samples.astype(np.float32), scan, "CT", calibration={"mu_water": np.array(1.0)}
    )


KINDS: dict[str, dict[str, Any]] = {
    "flat": {},
    "arc": {"curved": True},
    "clockwise": {"sign": -1, "curved": True},
    "short": {"views": 320, "arc": np.pi + WIDTH + 0.03},
    "short clockwise": {"views": 320, "arc": np.pi + WIDTH + 0.03, "sign": -1},
    "longer than short": {"views": 400, "arc": np.pi + WIDTH + 0.6, "curved": True},
    "half-fan": {"bins": 170, "offset": 60 * D},
    "half-fan, other side": {"bins": 170, "offset": -60 * D, "curved": True},
    "quarter offset": {"offset": D / 4, "curved": True},
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_head_comes_back(kind: str):
    acquisition = scanned(**KINDS[kind])
    scan = acquisition.operator
    assert isinstance(scan, FanScan)
    to = target(scan.fan())
    lines = rebin(acquisition.samples[None], scan.fan(), to)[0]
    s = (np.arange(to.bins) - (to.bins - 1) / 2) * to.spacing
    truth = ellipse_radon(SHAPES, to.angles[:, None], s)
    assert np.linalg.norm(lines - truth) < 0.03 * np.linalg.norm(truth)
    found = fbp(acquisition, unit="1/mm", kernel="hann").data[0]
    for value, limit in ((0.2, 0.002), (0.0, 0.002)):
        region = binary_erosion(np.isclose(IMAGE.data[0], value, atol=1e-4), iterations=4)
        assert region.sum() > 100
        assert found[region].mean() == pytest.approx(value, abs=limit)
        assert found[region].std() < 0.012
    # What the window blurs at edges: a scan with parallel rays has the same error.
    assert np.sqrt(np.mean((found - IMAGE.data[0]) ** 2)) < 0.073


def jittered(views: int, arc: float) -> np.ndarray:
    """Views whose steps differ by up to 80 %."""
    rng = np.random.default_rng(3)
    return 0.3 + (np.arange(views) + rng.uniform(-0.4, 0.4, views)) * arc / views


@pytest.mark.parametrize("kind", ["jitter", "shuffled", "slowing", "short", "half-fan", "golden"])
def test_views_may_be_unevenly_spaced(kind: str):
    """The head from views at uneven angles, nearly as well as from as many even ones."""
    turn = 2 * np.pi
    more: dict[str, Any] = {}
    angles = jittered(480, turn)
    if kind == "shuffled":
        angles = np.random.default_rng(1).permutation(angles)
    elif kind == "slowing":
        t = np.arange(480) / 480
        angles = turn * (t + 0.1 * np.sin(turn * t))
    elif kind == "short":
        angles = jittered(320, np.pi + WIDTH + 0.05)[::-1]
    elif kind == "half-fan":
        more = {"bins": 170, "offset": 60 * D}
    elif kind == "golden":
        angles = np.arange(500) * turn * (np.sqrt(5) - 1) / 2
    scan = FanScan(
        grid=IMAGE.grid, angles=angles, bins=more.pop("bins", 240), spacing=D, source=SOURCE,
        detector=DETECTOR, **more,
    )  # fmt: skip
    samples = line_integrals(SHAPES, *scan.views().rays(), summed=True)[:, 0]
    found = fbp(Acquisition(samples.astype(np.float32), scan, "CT"), unit="1/mm", kernel="hann")
    for value in (0.2, 0.0):
        region = binary_erosion(np.isclose(IMAGE.data[0], value, atol=1e-4), iterations=4)
        assert found.data[0][region].mean() == pytest.approx(value, abs=0.002)
        assert found.data[0][region].std() < 0.015
    assert np.sqrt(np.mean((found.data[0] - IMAGE.data[0]) ** 2)) < 0.075


def test_taking_uneven_views_for_even_ones_would_show():
    t = np.arange(480) / 480
    angles = 2 * np.pi * (t + 0.01 * np.sin(2 * np.pi * t))
    scan = FanScan(
        grid=IMAGE.grid, angles=angles, bins=240, spacing=D, source=SOURCE, detector=DETECTOR
    )
    samples = line_integrals(SHAPES, *scan.views().rays(), summed=True)[:, 0].astype(np.float32)
    wrong = []
    for used in (angles, 2 * np.pi * t):
        given = Acquisition(samples, FanScan(**{**scan.describe(), "angles": used}), "CT")
        found = fbp(given, unit="1/mm", kernel="hann").data[0]
        wrong.append(np.sqrt(np.mean((found - IMAGE.data[0]) ** 2)))
    assert wrong[0] < 0.93 * wrong[1]  # what the window leaves is in both


@pytest.mark.parametrize("curved", [False, True])
def test_the_adjoint_is_the_adjoint(*, curved: bool):
    grid = Grid.from_spacing((2, 20, 31), (2, 1.5, 1.1), origin=(-17, -14, 3))
    scan = FanScan(
        grid=grid, angles=np.arange(20) * 0.31, bins=40, spacing=1.3, offset=2.2, source=100,
        detector=150, curved=curved, isocentre=(1, 2, 3),
    )  # fmt: skip
    check_operator(scan, tolerance=1e-5)
    check_operator(scan, domain_dtype="float64", range_dtype="float64", tolerance=1e-12)
    again = build_operator("ct.fan", scan.describe())
    x = np.random.default_rng(1).normal(size=scan.domain).astype(np.float32)
    assert np.array_equal(again.forward(x), scan.forward(x))


def test_projections_of_an_image_are_those_of_the_phantom():
    acquisition = scanned(views=60)
    found = acquisition.operator.forward(IMAGE.data)
    gap = np.linalg.norm(found - acquisition.samples)
    assert gap < 0.035 * np.linalg.norm(acquisition.samples)


def test_what_cannot_be_rebinned_is_refused():
    with pytest.raises(GeometryError, match="needs 180"):
        fbp(scanned(views=200, arc=2.5))
    few = scanned(views=320, arc=np.pi + 0.1)
    with pytest.raises(GeometryError, match="unseen"):
        fbp(few)
    scan = few.operator
    assert isinstance(scan, FanScan)
    for angles, said in (
        (np.concatenate([np.arange(160), np.arange(180, 340)]) * 0.0175, "no view was taken"),
        (np.maximum(np.arange(320), 1) * 0.0195, "one angle"),
        (np.arange(320) * 0.001, "needs 180"),
    ):
        uneven = FanScan(**{**scan.describe(), "angles": angles})
        with pytest.raises(GeometryError, match=said):
            fbp(few.with_samples(few.samples, operator=uneven))
    with pytest.raises(GeometryError, match="beyond the source"):
        FanScan(**{**scan.describe(), "source": 100.0})
    with pytest.raises(GeometryError, match="behind the isocentre"):
        FanScan(**{**scan.describe(), "detector": 300.0})
