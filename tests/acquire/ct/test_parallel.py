"""The parallel-beam scan: its adjoint, the analytic Radon transform, its description."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.ct.parallel import ParallelScan
from somascope.core import Grid, Scan
from somascope.core.errors import GeometryError
from somascope.core.registry import build_operator
from somascope.phantoms import ellipse_radon, shepp_logan, shepp_logan_shapes
from somascope.testing import check_operator

TURN = np.pi * np.arange(24) / 24


@pytest.fixture(params=["fourier", "joseph"])
def projector(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("shape", [(1, 21, 32), (3, 20, 17)])
def test_the_adjoint_is_the_adjoint(projector: str, shape: tuple[int, int, int]):
    grid = Grid.from_spacing(shape, (2.0, 1.5, 1.1), origin=(-14.0, -20.0, 3.0))
    scan = ParallelScan(
        grid=grid, angles=TURN, bins=40, spacing=1.3, offset=2.2, isocentre=(1, 2, 3),
        projector=projector,
    )  # fmt: skip
    assert isinstance(scan, Scan)
    check_operator(scan, tolerance=1e-5)
    check_operator(scan, domain_dtype="float64", range_dtype="float64", tolerance=1e-12)


def test_projections_of_an_image_are_those_of_the_phantom(projector: str):
    n, bins = 192, 280
    image = shepp_logan((n, n))
    d = image.grid.spacing[1]
    angles = np.arange(90) * np.pi / 90
    scan = ParallelScan(
        grid=image.grid, angles=angles, bins=bins, spacing=d, offset=0.3, projector=projector
    )
    s = (np.arange(bins) - (bins - 1) / 2) * d + 0.3
    within = (np.arange(8) - 3.5) / 8 * d
    shapes = shepp_logan_shapes("modified", flat=True)
    truth = ellipse_radon(shapes, angles[:, None, None], s[:, None] + within).mean(axis=-1)
    found = scan.forward(image.data)
    # The image has jagged edges, the phantom smooth ones: 2.3 % at this pixel size.
    assert np.linalg.norm(found - truth) < 0.025 * np.linalg.norm(truth)
    assert found.sum() == pytest.approx(truth.sum(), rel=2e-3)


def test_one_pixel_falls_where_the_geometry_says():
    """A point at L = 30, P = -20 lies at s = L cos + P sin, for every orientation of the grid."""
    for direction in (
        [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
        [[0, 0, -1], [0, 1, 0], [-1, 0, 0]],
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    ):
        step = np.array(direction) * 2.0
        grid = Grid.from_spacing(
            (1, 81, 81), (2, 2, 2), origin=-(step[:, 1] + step[:, 2]) * 40, direction=direction
        )
        world = grid.to_world(np.argwhere(np.ones(grid.shape)))
        away = np.linalg.norm(world - [30.0, -20.0, 0.0], axis=1)
        data = np.exp(-((away / 6.0) ** 2)).reshape(grid.shape).astype(np.float32)
        expected = 30 * np.cos(TURN) - 20 * np.sin(TURN) + 0.7
        for projector in ("fourier", "joseph"):
            scan = ParallelScan(
                grid=grid, angles=TURN, bins=121, spacing=1.0, offset=-0.7, isocentre=(0, 0, 0),
                projector=projector,
            )  # fmt: skip
            row = scan.forward(data)
            found = row @ (np.arange(121) - 60) / row.sum(axis=1)
            assert np.abs(found - expected).max() < 0.05


def test_it_is_made_again_from_its_description(projector: str):
    grid = Grid.from_spacing((1, 30, 30), (1, 1, 1), origin=(-14.5, -14.5, 0))
    scan = ParallelScan(grid=grid, angles=TURN, bins=44, spacing=1.0, projector=projector)
    again = build_operator(scan.kind, scan.describe())
    x = np.random.default_rng(1).normal(size=scan.domain).astype(np.float32)
    assert np.array_equal(scan.forward(x), again.forward(x))
    assert again.grid == grid


def test_wrong_shapes_and_grids_are_refused():
    grid = Grid.from_spacing((1, 30, 30), (1, 1, 1))
    scan = ParallelScan(grid=grid, angles=TURN, bins=44, spacing=1.0)
    with pytest.raises(GeometryError, match=r"the sinogram has shape \(23, 44\)"):
        scan.adjoint(np.zeros((23, 44)))
    with pytest.raises(GeometryError, match="not finite"):
        ParallelScan(grid=grid, angles=[0.0, np.nan], bins=44, spacing=1.0)
    with pytest.raises(GeometryError, match="0 bins"):
        ParallelScan(grid=grid, angles=TURN, bins=0, spacing=1.0)
    coronal = Grid.from_spacing((1, 9, 9), (1, 1, 1), direction=[[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    with pytest.raises(GeometryError, match="not perpendicular"):
        ParallelScan(grid=coronal, angles=TURN, bins=9, spacing=1.0)
    tilted = np.eye(4)
    tilted[:3, :3] = [[0.0, 0.0, 1.0], [0.4, 1.0, 0.0], [2.0, 0.0, 0.0]]
    with pytest.raises(GeometryError, match="gantry tilt"):
        ParallelScan(grid=Grid((4, 9, 9), tilted), angles=TURN, bins=9, spacing=1.0)
