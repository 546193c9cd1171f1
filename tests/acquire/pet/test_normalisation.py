"""Efficiencies put into a scan of a cylinder are found again; activity is right with them alone."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.pet.attenuation import survival
from somascope.acquire.pet.efficiency import Pairs
from somascope.acquire.pet.normalisation import dead_time, normalise
from somascope.acquire.pet.osem import osem
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.testing import check_operation

SCANNER = Scanner(name="N", rings=4, crystals=96, radius=130.0, ring_spacing=8.0, block=(2, 8),
                  radial_bins=61)  # fmt: skip
GRID = Grid.from_spacing((8, 40, 40), (4.0, 4.0, 4.0), origin=(-78, -78, -14),
                         frame_of_reference="1.2.3.9")  # fmt: skip
SCAN = SinogramScan(grid=GRID, scanner=SCANNER)


def disk(radius, value):
    y, x = np.meshgrid(*(np.arange(40) * 4 - 78.0,) * 2, indexing="ij")
    data = np.where(x**2 + y**2 < radius**2, value, 0).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(data, GRID.shape))


def image(data, unit="Bq/ml", modality="PT"):
    return Image(data, GRID, modality, unit)


@pytest.fixture(scope="module")
def efficiency():
    """Crystals of 15 per cent spread, blocks' edges weaker, geometry by radius: per bin."""
    rng = np.random.default_rng(1)
    crystals = rng.normal(1, 0.15, (4, 96)).clip(0.4)
    crystals *= np.tile([0.8, 1, 1, 1.1, 1.1, 1, 1, 0.8], 12)
    crystals[1, 17] = 0.0
    radial = 1 - 0.2 * (np.abs(np.arange(61) - 30) / 30) ** 2
    return (0.7 * Pairs(SCAN).products(crystals) * radial).astype(np.float32)


def scanned(activity, efficiency, *, seconds, seed=None):
    mu = image((activity > 0) * np.float32(0.096), "/cm", "CT")
    att = survival(SCAN, mu)
    expected = SCANNER.sensitivity * seconds * efficiency * att * SCAN.forward(activity)
    counts = expected if seed is None else np.random.default_rng(seed).poisson(expected)
    return Acquisition(
        counts.astype(np.float32), SCAN, "PT", unit="{counts}",
        calibration={"sensitivity": np.array(SCANNER.sensitivity), "attenuation": att},
        attributes={"ActualFrameDuration": seconds * 1000},
    )  # fmt: skip


def test_components_of_a_cylinder_are_those_put_in(efficiency):
    source = disk(75.0, 20000.0)
    cylinder = scanned(source, efficiency, seconds=3000.0)
    body = scanned(disk(50.0, 5000.0), efficiency, seconds=600.0)
    found = normalise(body, cylinder, image(source)).calibration["normalisation"]
    inside = SCAN.forward(source) > 40
    alive = inside & (efficiency > 0)
    np.testing.assert_allclose(found[alive], efficiency[alive], rtol=0.01)
    assert np.abs(found[inside & (efficiency == 0)]).max() < 0.01


def test_counts_of_a_short_scan_are_enough(efficiency):
    """Noise of the estimate is far below the noise of the bins it was made from."""
    source = disk(75.0, 20000.0)
    cylinder = scanned(source, efficiency, seconds=400.0, seed=3)
    found = normalise(cylinder, cylinder, image(source)).calibration["normalisation"]
    inside = (SCAN.forward(source) > 40) & (efficiency > 0)
    error = np.std(found[inside] / efficiency[inside])
    bins = 1 / np.sqrt(cylinder.samples[inside].mean())
    assert error < bins / 4


def test_activity_is_right_with_it_and_wrong_without(efficiency):
    source, truth = disk(75.0, 20000.0), disk(50.0, 5000.0)
    body = scanned(truth, efficiency, seconds=600.0)
    cylinder = scanned(source, efficiency, seconds=3000.0)
    region = disk(36.0, 1.0) > 0
    region[[0, -1]] = False
    corrected = osem(normalise(body, cylinder, image(source)), iterations=8, subsets=6)
    assert corrected.data[region].mean() == pytest.approx(5000, rel=0.02)
    assert "NORM" in corrected.attributes["CorrectedImage"]
    bare = osem(body, iterations=8, subsets=6)
    assert abs(bare.data[region].mean() / 5000 - 1) > 0.15
    spread = [im.data[region].std() / im.data[region].mean() for im in (corrected, bare)]
    assert spread[1] > 1.5 * spread[0]


def test_dead_blocks():
    singles = np.full((4, 96), 1e4)
    singles[:2, :8] = 5e4
    live = dead_time(singles, SCANNER, dead=1e-6, model="paralysable")
    np.testing.assert_allclose(live[2:], np.exp(-16 * 1e4 * 1e-6))
    np.testing.assert_allclose(live[:2, :8], np.exp(-16 * 5e4 * 1e-6))
    with pytest.raises(GeometryError, match="blocks"):
        dead_time(np.ones((3, 96)), SCANNER, dead=1e-6, model="paralysable")


def test_refusals(efficiency):
    source = disk(75.0, 20000.0)
    cylinder = scanned(source, efficiency, seconds=300.0)
    with pytest.raises(UnitError, match="kBq"):
        normalise(cylinder, cylinder, image(source, "kBq/ml"))
    other = SinogramScan(grid=GRID, scanner=SCANNER, max_ring_difference=1)
    short = Acquisition(np.ones(other.range, np.float32), other, "PT", unit="{counts}")
    with pytest.raises(GeometryError, match="sorted alike"):
        normalise(cylinder, short, image(source))
    with pytest.raises(ParameterError, match="counts"):
        normalise(cylinder, replace(cylinder, samples=cylinder.samples * 0), image(source))
    spot = np.zeros_like(source)
    spot[0, 20, 20] = 1e5
    with pytest.raises(ParameterError, match="of the crystals"):
        normalise(cylinder, cylinder, image(spot))


def test_keeps_the_promises_of_an_operation(efficiency):
    source = disk(75.0, 20000.0)
    cylinder = scanned(source, efficiency, seconds=300.0)
    check_operation(normalise, inputs=(cylinder, cylinder, image(source)))
