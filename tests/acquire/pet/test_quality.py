"""Contrast recovery, background variability and noise over iterations of the NEMA body phantom."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.likelihood import osem
from somascope.acquire.pet import coarse
from somascope.acquire.pet.attenuation import survival
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.scatter import single_scatter, thinned_grid
from somascope.acquire.pet.simulate import measure
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.acquire.pet.system import prepare
from somascope.core import Acquisition, Grid, Image
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.nema import DIAMETERS, nema_shapes
from somascope.phantoms.quality import image_quality

SCANNER = Scanner(name="Short", rings=12, crystals=224, radius=240.0, ring_spacing=5.0,
                  depth=5.0, radial_bins=111)  # fmt: skip
GRID = Grid.from_spacing((12, 78, 78), (5.0, 4.0, 4.0), origin=(-154, -154, -27.5),
                         frame_of_reference="1.2.3.11")  # fmt: skip
FINE = 2
BACKGROUND = 5000.0
BLUR = 6.0
COLD = (28.0, 37.0)
SLICES = (-10.0, 0.0, 10.0)


def averaged(shapes):
    """Drawn on voxels half as wide, averaged."""
    affine = GRID.affine.copy()
    affine[:3, :3] /= FINE
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, (FINE - 1) / 2)
    nz, ny, nx = GRID.shape
    fine = draw(shapes, Grid((nz * FINE, ny * FINE, nx * FINE), affine))
    return fine.reshape(nz, FINE, ny, FINE, nx, FINE).mean(axis=(1, 3, 5))


@pytest.fixture(scope="module")
def scanned():
    """A scan with attenuation, scatter and blur: expected counts, and counts of a minute."""
    activity = averaged(nema_shapes(background=BACKGROUND, contrast=4.0, cold=COLD))
    water = averaged([Ellipsoid(0.096, (0, 0, 0), (150, 115, 420))])
    mu = Image(water, GRID, "CT", "/cm")
    scan = SinogramScan(grid=GRID, scanner=SCANNER, span=3, max_ring_difference=7)
    facts = {"ActualFrameDuration": 60000.0}
    calibration = {
        "sensitivity": np.array(SCANNER.sensitivity), "attenuation": survival(scan, mu)
    }  # fmt: skip
    wide = thinned_grid(GRID, voxel=12.0)
    at = coarse.nodes(SCANNER, rings=2, crystals=32)
    spot = draw(nema_shapes(background=BACKGROUND, cold=COLD), wide)
    body = draw([Ellipsoid(0.0096, (0, 0, 0), (150, 115, 420))], wide)
    table = single_scatter(spot, body, wide, at, centre=scan.centre, spacing=40.0)
    scale = np.float32(SCANNER.sensitivity * 60) * scan.multiplicity
    calibration["scatter"] = coarse.spread(table, at, scan) * scale
    found = []
    for seed in (None, 1):
        counts, kept = measure(
            scan.with_changes(psf=BLUR), activity, calibration=calibration, attributes=facts,
            seed=seed,
        )  # fmt: skip
        found.append(
            Acquisition(counts, scan, "PT", unit="{counts}", calibration=kept, attributes=facts)
        )
    share = calibration["scatter"].sum() / found[0].samples.sum()
    assert 0.1 < share < 0.6, "there is scatter to correct"
    return found


def curves(acquisition, *, iterations, psf=0.0, kept=(1, 3, 6)):
    """Quality after some of the iterations of OSEM with sixteen subsets."""
    system = prepare(acquisition, operation_name="test", subsets=16, psf=psf)
    found = {}

    def look(count, x):
        if count in kept:
            image = Image(x.copy(), GRID, "PT", "Bq/ml")
            found[count] = image_quality(
                image, contrast=4.0, cold=COLD, background=BACKGROUND, slices=SLICES
            )
        return False

    osem(
        system.operators, system.counts, iterations=iterations, background=system.backgrounds,
        callback=look,
    )  # fmt: skip
    return found


def test_recovery_rises_with_the_spheres_and_with_resolution_in_the_model(scanned):
    expected, _ = scanned
    plain = curves(expected, iterations=6)[6]
    sharp = curves(expected, iterations=6, psf=BLUR)[6]
    hot, cold = slice(0, 4), slice(4, 6)
    for found in (plain, sharp):
        assert found.background == pytest.approx(BACKGROUND, rel=0.03)
        assert (np.diff(found.contrast[hot]) > 0).all()
        assert (np.diff(found.recovery[hot]) > 0).all()
        assert found.contrast[5] > found.contrast[4] > 60
        assert found.lung < 15
    assert (sharp.contrast > plain.contrast).all()
    assert sharp.contrast[3] > 70
    assert plain.contrast[0] < 60
    # Without its scatter the cold spheres are not cold.
    without = {k: v for k, v in expected.calibration.items() if k != "scatter"}
    filled = curves(replace(expected, calibration=without), iterations=6)[6]
    assert (filled.contrast[cold] < plain.contrast[cold] - 5).all()
    assert filled.background > 1.1 * BACKGROUND


def test_noise_and_contrast_rise_with_iterations(scanned):
    _, counts = scanned
    found = curves(counts, iterations=6)
    noise = [found[n].variability for n in (1, 3, 6)]
    # In large regions an early image is more uneven than noisy.
    assert (noise[1][:2] > noise[0][:2]).all()
    assert (noise[2] > noise[1]).all()
    assert (np.diff(noise[2]) < 0).sum() >= 4, "larger regions are quieter"
    contrast = [found[n].contrast for n in (1, 3, 6)]
    assert (contrast[2][2:] > contrast[0][2:]).all()
    assert len(contrast[0]) == len(DIAMETERS)
