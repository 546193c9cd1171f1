"""Scans in closed form against the phantom's own values, and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.closed_form import measure
from somascope.acquire.mri.combine import rss
from somascope.acquire.mri.grappa import grappa
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.oversampling import oversampling
from somascope.acquire.mri.sensitivity import loop_sensitivities
from somascope.acquire.mri.simulate import sampling_mask
from somascope.core import Grid
from somascope.core.errors import GeometryError
from somascope.phantoms import Ellipsoid, draw, shepp_logan, shepp_logan_shapes

SHAPES = shepp_logan_shapes(flat=True)


def plane(n: int = 128) -> Grid:
    return shepp_logan((n, n)).grid


def flat_parts(truth: np.ndarray) -> list[np.ndarray]:
    """Insides of regions of one value, away from edges."""
    return [
        inner
        for value in np.unique(truth.round(3))
        if value > 0
        and (inner := binary_erosion(np.isclose(truth, value, atol=2e-3), iterations=5)).sum() > 40
    ]


@pytest.mark.parametrize("coils", [1, 6])
@pytest.mark.parametrize("oversampled", [1, 2])
def test_flat_regions_have_their_value_within_a_percent(coils: int, oversampled: int):
    grid = plane()
    scan = CartesianScan(grid, coils=coils, matrix=(1, 128, 128 * oversampled))
    acquisition = measure(SHAPES, scan)
    combined = rss(acquisition).data[0]
    maps = acquisition.calibration.get("sensitivities", np.ones((1, *grid.shape)))
    image = combined / np.sqrt((np.abs(maps) ** 2).sum(axis=0))[0]
    truth = draw(SHAPES, grid, summed=True)[0]
    smooth = gaussian_filter(image, 1.5)  # takes the ringing of a band-limited image out
    parts = flat_parts(truth)
    assert len(parts) >= 2
    for part in parts:
        assert abs(smooth[part].mean() / truth[part].mean() - 1) < 0.01
    if oversampled == 2:
        assert np.allclose(rss(oversampling(acquisition)).data[0], combined, atol=1e-5)


def test_waves_are_like_the_loops_they_stand_for():
    grid = plane(64)
    found = measure(SHAPES, CartesianScan(grid, coils=6)).calibration["sensitivities"]
    wanted = loop_sensitivities(grid, 6)
    inside = shepp_logan((64, 64)).data > 0
    gap = np.abs(found - wanted)[:, inside] / np.abs(wanted)[:, inside].mean()
    assert np.sqrt((gap**2).mean()) < 0.1


def test_a_trajectory_on_the_lattice_measures_the_same():
    grid = plane(32)
    k = np.stack(np.meshgrid(*[np.arange(32) - 16] * 2, indexing="ij"), axis=-1).astype(float)
    lattice = measure(SHAPES, CartesianScan(grid, coils=3))
    path = measure(SHAPES, NonCartesianScan(grid, trajectory=k, coils=3))
    assert np.allclose(path.samples, lattice.samples[:, 0], atol=1e-5)


def test_an_oblique_volume_puts_an_ellipsoid_where_it_is():
    a = 0.35
    direction = [[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]]
    grid = Grid.from_spacing((20, 36, 32), (3, 2, 2.2), origin=(-30, -28, -20), direction=direction)
    centre = tuple(grid.to_world((11, 20, 13)).tolist())
    shape = Ellipsoid(2.0, centre, (18, 13, 16), (25, 40))
    image = rss(measure([shape], CartesianScan(grid))).data
    truth = draw([shape], grid)
    inside = binary_erosion(truth > 0, iterations=2)
    assert abs(image[inside].mean() / 2 - 1) < 0.01
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    heavy = image * (image > 1)
    found = [float((c * heavy).sum() / heavy.sum()) for c in (z, y, x)]
    assert np.abs(grid.to_world(found) - centre).max() < 0.3
    assert image.sum() * grid.voxel_volume == pytest.approx(2 * shape.volume, rel=0.2)


def test_grappa_restores_what_it_never_shared_code_with():
    grid = plane(96)
    full = rss(measure(SHAPES, CartesianScan(grid, coils=8))).data
    mask = sampling_mask(96, 2, 24)[:, None]
    skipped = measure(SHAPES, CartesianScan(grid, coils=8, mask=mask))
    filled = rss(grappa(skipped)).data
    assert np.linalg.norm(filled - full) < 0.02 * np.linalg.norm(full)


def test_noise_and_refusals():
    grid = plane(32)
    scan = CartesianScan(grid)
    gap = measure(SHAPES, scan, noise=0.3, seed=2).samples - measure(SHAPES, scan).samples
    assert np.real(gap).std() == pytest.approx(0.3, rel=0.1)
    tall = Grid.from_spacing((2, 32, 32), (5, 6, 6))
    with pytest.raises(GeometryError, match="one plane or volume"):
        measure(SHAPES, CartesianScan(tall, dimensions=2))
    high = Grid.from_spacing((1, 32, 32), (5, 6, 6), origin=(0, 0, 10))
    with pytest.raises(GeometryError, match="S = 0"):
        measure(SHAPES, CartesianScan(high))
