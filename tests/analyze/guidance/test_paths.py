"""Paths, their distances and what is drawn of them, against closed forms."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from somascope.analyze.guidance.paths import Path, clearance, ellipsoid, surface
from somascope.core import Grid
from somascope.core.errors import ParameterError

TURN = Rotation.from_euler("xyz", (20, -10, 35), degrees=True).as_matrix()
GRID = Grid.from_spacing((60, 64, 56), (1.2, 1.0, 0.9), origin=(-20.0, 5.0, 8.0), direction=TURN)
CENTRE = GRID.to_world([30, 32, 28])
BALL = 9.0


@pytest.fixture(scope="module")
def ball():
    index = np.stack(np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij"), axis=-1)
    return ((GRID.to_world(index) - CENTRE) ** 2).sum(axis=-1) <= BALL**2


def unit(v):
    return np.asarray(v, float) / np.linalg.norm(v)


@pytest.mark.parametrize("offset", [14.0, 10.5, 6.0, 0.0])
def test_clearance_of_a_ball_is_that_of_geometry(ball, offset):
    along, aside = unit([1, 2, -1]), unit([2, -1, 0])
    middle = CENTRE + offset * aside
    path = Path.straight(middle - 25 * along, middle + 25 * along, radius=1.5)
    found = clearance(path, ball, GRID)
    assert found is not None
    assert found.distance == pytest.approx(offset - BALL - 1.5, abs=0.8)  # half a diagonal: 0.9
    if offset > BALL:
        assert found.towards @ -aside > 0.9
        assert np.linalg.norm(found.at - middle) < 3


def test_surface_lies_on_the_ball(ball):
    away = np.linalg.norm(surface(ball, GRID) - CENTRE, axis=1)
    assert np.abs(away - BALL).max() < 0.7  # half the longest step along an axis, and rounding
    assert not len(surface(np.zeros_like(ball), GRID))
    path = Path.straight(CENTRE, CENTRE + 5.0)
    assert clearance(path, np.zeros_like(ball), GRID) is None


def test_a_structure_beside_the_image_edge_still_has_a_surface():
    grid = Grid.from_spacing((10, 10, 10), (1.0, 1.0, 1.0))
    whole = np.ones(grid.shape, bool)
    assert len(surface(whole, grid)) == 600
    path = Path.straight([-4.5, 4, 4], [-4.5, 5, 5])
    found = clearance(path, whole, grid)
    assert found is not None
    assert found.distance == pytest.approx(4.0)


def test_what_is_drawn_has_the_volume_of_a_tube():
    path = Path.straight(CENTRE - 12 * unit([1, 1, 0]), CENTRE + 12 * unit([1, 1, 0]), radius=4.0)
    assert path.length == pytest.approx(24.0)
    volume = np.count_nonzero(path.drawn(GRID)) * GRID.voxel_volume
    assert volume == pytest.approx(np.pi * 16 * 24 + 4 / 3 * np.pi * 64, rel=0.03)
    line = Path.straight(CENTRE - 5.0, CENTRE + 5.0).drawn(GRID)
    assert 10 < np.count_nonzero(line) < 60
    beyond = Path.straight(CENTRE + 500.0, CENTRE + 510.0, radius=3.0)
    assert not beyond.drawn(GRID).any()


def test_the_ellipsoid_holds_its_share():
    spread = TURN.T @ np.diag([9.0, 4.0, 1.0]) @ TURN
    inside = ellipsoid(CENTRE, spread, GRID)
    limit = chi2.ppf(0.95, 3)
    wanted = 4 / 3 * np.pi * limit**1.5 * 6
    assert np.count_nonzero(inside) * GRID.voxel_volume == pytest.approx(wanted, rel=0.03)
    drawn = np.random.default_rng(0).multivariate_normal(CENTRE, spread, 4000)
    index = np.rint(GRID.to_index(drawn)).astype(int)
    assert inside[tuple(index.T)].mean() == pytest.approx(0.95, abs=0.02)
    assert np.count_nonzero(ellipsoid(CENTRE, np.zeros((3, 3)), GRID)) == 1


def test_a_path_needs_two_points():
    with pytest.raises(ParameterError, match="are one point"):
        Path.straight([1, 2, 3], [1, 2, 3])
    with pytest.raises(ParameterError, match="radius is -1 mm"):
        Path.straight([1, 2, 3], [1, 2, 4], radius=-1)
