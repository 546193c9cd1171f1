"""Ray sums against closed forms, and the geometry of every view."""

import numpy as np
import pytest

from somascope.acquire.xray.projection import Projection
from somascope.acquire.xray.views import (
    patient_orientation,
    radiograph_views,
    tomosynthesis_views,
)
from somascope.core import Grid, Scan
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.registry import build_operator
from somascope.phantoms import Ellipsoid, draw, line_integrals
from somascope.testing import check_operator

VIEWS = ["PA", "AP", "LL", "RL", "LLO", "RLO"]


def oblique():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    return Grid.from_spacing((14, 18, 22), (2.0, 1.5, 1.0), origin=(-10, 5, 3), direction=turn)


def test_forward_and_adjoint_fit_on_an_oblique_grid():
    scan = radiograph_views(
        oblique(), VIEWS, shape=(15, 17), pitch=3.0, source_to_detector=150, source_to_centre=100
    )
    assert isinstance(scan, Scan)
    check_operator(scan, tolerance=1e-5)


def test_double_precision_stays_double():
    scan = radiograph_views(
        oblique(), ["PA", "LL"], shape=(6, 7), pitch=6.0, source_to_detector=150,
        source_to_centre=100,
    )  # fmt: skip
    x = np.random.default_rng(1).normal(size=scan.domain)
    assert scan.forward(x).dtype == np.float64
    assert scan.adjoint(np.ones(scan.range)).dtype == np.float64
    np.testing.assert_allclose(scan.forward(x), scan.forward(x.astype(np.float32)), atol=2e-4)


def test_views_of_ellipsoids_equal_their_closed_form():
    grid = Grid.from_spacing((72, 100, 100), (2.5, 2.5, 2.5), origin=(-124, -124, -89))
    shapes = [
        Ellipsoid(0.02, (5, -3, 4), (80, 60, 70), (30, 20)),
        Ellipsoid(0.03, (20, 10, -10), (20, 25, 30)),
    ]
    scan = radiograph_views(grid, ["PA", "LL", "RLO"], shape=(96, 96), pitch=2.6)
    measured = scan.forward(draw(shapes, grid, summed=True))
    for view in range(3):
        truth = line_integrals(shapes, scan.sources[view], scan.pixels(view), summed=True)
        gap = measured[view] - truth
        assert np.abs(gap).mean() < 0.004 * truth.max()
        assert abs(measured[view].sum() / truth.sum() - 1) < 1e-3
        # Well inside the shapes, where no voxel is cut by a surface the ray grazes.
        inside = truth > 0.7 * truth.max()
        assert np.sqrt((gap[inside] ** 2).mean()) < 0.01 * truth.max()


def test_a_straight_ray_is_the_exact_sum():
    grid = Grid.from_spacing((5, 6, 7), (1.0, 2.0, 3.0))
    x = np.random.default_rng(2).random(grid.shape).astype(np.float32)
    far = 1e6  # parallel within 1e-5 of a voxel
    scan = Projection(
        grid=grid, sources=np.array([[9.0, -far, 2.0]]), origins=np.array([[9.0, 100.0, 2.0]]),
        rows=np.array([[0, 0, 1.0]]), columns=np.array([[3.0, 0, 0]]), shape=(1, 1),
    )  # fmt: skip
    assert scan.forward(x)[0, 0, 0] == pytest.approx(2.0 * x[2, :, 3].sum(), rel=1e-5)


def test_what_lies_behind_the_detector_counts_nothing():
    grid = Grid.from_spacing((4, 40, 4), (10.0, 1.0, 10.0), origin=(-15, 0, -15))
    x = np.ones(grid.shape, np.float32)
    common = {"rows": np.array([[0, 0, 1.0]]), "columns": np.array([[1.0, 0, 0]]), "shape": (1, 1)}
    scan = Projection(
        grid=grid, sources=np.array([[0.0, -500, 0]]), origins=np.array([[0.0, 19.5, 0]]), **common
    )
    assert scan.forward(x)[0, 0, 0] == pytest.approx(20.0, rel=1e-3)


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_shows_left_front_and_head_where_it_says(view):
    """Beads at the left, front and head of a body, found where Patient Orientation puts them."""
    grid = Grid.from_spacing((40, 40, 40), (5.0, 5.0, 5.0), origin=(-97.5, -97.5, -97.5))
    scan = radiograph_views(grid, [view], shape=(120, 120), pitch=2.5)

    def at(point):
        volume = np.zeros(grid.shape, np.float32)
        volume[tuple(np.rint(grid.to_index(point)).astype(int))] = 1.0
        image = scan.forward(volume)[0]
        y, x = np.indices(image.shape)
        return (y * image).sum() / image.sum(), (x * image).sum() / image.sum()

    middle = at((2.5, 2.5, 2.5))
    assert at((2.5, 2.5, 72.5))[0] < middle[0] - 20  # the head is up
    rightwards, _ = patient_orientation(view)
    for letter in rightwards:
        towards = {"L": (72.5, 2.5, 2.5), "A": (2.5, -67.5, 2.5), "P": (2.5, 72.5, 2.5)}[letter]
        assert at(towards)[1] > middle[1] + 12


def test_air_around_a_body_costs_nothing_and_changes_nothing():
    grid = Grid.from_spacing((20, 24, 28), (3.0, 3.0, 3.0), origin=(-40, -35, -28))
    scan = radiograph_views(grid, ["PA", "LLO"], shape=(30, 30), pitch=4.0)
    x = np.zeros(grid.shape, np.float32)
    x[4:11, 9:15, 3:20] = np.random.default_rng(4).random((7, 6, 17))
    full = np.where(x == 0, np.float32(1e-12), x)  # nothing is zero: the whole volume is walked
    np.testing.assert_allclose(scan.forward(x), scan.forward(full), atol=2e-4)
    assert scan.forward(x).max() > 5
    assert not scan.forward(np.zeros_like(x)).any()
    y = np.random.default_rng(5).random(scan.range).astype(np.float32)
    product = float(np.vdot(scan.forward(x).astype(float), y))
    assert product == pytest.approx(float(np.vdot(x.astype(float), scan.adjoint(y))), rel=1e-5)


def test_magnification_is_that_of_the_distances():
    grid = Grid.from_spacing((20, 20, 20), (5.0, 5.0, 5.0), origin=(-47.5, -47.5, -47.5))
    scan = radiograph_views(
        grid, ["AP"], shape=(8, 8), pitch=2.0, source_to_detector=1500, source_to_centre=1000
    )
    assert scan.distances(0) == pytest.approx((1500, 1000))
    assert scan.detector(0).spacing == pytest.approx((1.0, 2.0, 2.0))
    assert scan.detector(0).orientation == "AIL"  # to the tube, down, to the left


def test_it_is_made_again_from_its_description():
    scan = tomosynthesis_views(oblique(), count=3, shape=(9, 8), pitch=4.0)
    again = build_operator("xray.projection", scan.describe())
    x = np.random.default_rng(3).random(scan.domain).astype(np.float32)
    np.testing.assert_array_equal(scan.forward(x), again.forward(x))
    assert again.grid == scan.grid
    np.testing.assert_array_equal(scan.view(1).forward(x)[0], scan.forward(x)[1])


def test_impossible_geometries_are_refused():
    grid = oblique()
    with pytest.raises(ParameterError, match="between"):
        radiograph_views(grid, ["PA"], source_to_detector=100, source_to_centre=200)
    with pytest.raises(ParameterError, match="no view"):
        radiograph_views(grid, [])
    one = radiograph_views(grid, ["PA"], shape=(4, 4))
    described = one.describe()
    with pytest.raises(GeometryError, match="rows"):
        Projection(**{**described, "rows": np.ones((2, 3))})
    with pytest.raises(GeometryError, match="finite"):
        Projection(**{**described, "sources": np.full((1, 3), np.nan)})
    with pytest.raises(GeometryError, match="plane of the detector"):
        Projection(**{**described, "sources": one.origins})
    with pytest.raises(GeometryError, match="grid"):
        one.forward(np.zeros((3, 3, 3), np.float32))
    with pytest.raises(GeometryError, match="measures"):
        one.adjoint(np.zeros((1, 5, 5), np.float32))
    with pytest.raises(ParameterError, match="at least 2"):
        tomosynthesis_views(grid, count=1)
