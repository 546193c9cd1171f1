"""Thickness of walls, and the ejection fraction of balls."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.analyze.measure.angles import angle
from somascope.analyze.measure.heart import ejection_fraction
from somascope.analyze.measure.thickness import local_thickness, thickness
from somascope.core import Grid, Image, Mask
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.finding import Measurement
from somascope.testing import check_operation
from tests.analyze.measure import bodies


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_a_wall_along_the_axes_is_exact(layers):
    wall = np.zeros((10, 22, 22), bool)
    wall[3 : 3 + layers] = True
    found = local_thickness(wall, 0.5)
    assert found[3 : 3 + layers, 5:-5, 5:-5] == pytest.approx(0.5 * layers)
    assert found[~wall].max() == 0


@pytest.mark.parametrize("seed", range(3))
def test_an_oblique_wall(seed):
    at = bodies.grid(36.0, (1.0, 1.0, 1.0), seed=seed + 1)
    place = bodies.world(at)
    wall = np.abs(place[..., 0]) < 2.0
    core = wall & (np.linalg.norm(place, axis=-1) < 11)
    assert local_thickness(wall, 1.0)[core].mean() == pytest.approx(4.0, abs=0.3)


def test_a_tube_of_uneven_voxels():
    at = bodies.grid(32.0, (2.0, 1.0, 1.0), seed=0)
    place = bodies.world(at)
    radius = np.hypot(place[..., 0], place[..., 1])
    made = thickness(bodies.mask(at, (radius < 13) & (radius > 9)))
    image = made[0]
    assert isinstance(image, Image)
    assert image.unit == "mm"
    assert image.grid == at
    found = bodies.told([m for m in made if isinstance(m, Measurement)])
    assert found["Wall Thickness, Mean"][0] == pytest.approx(4.0, abs=0.4)
    assert image.data[(radius < 13) & (radius > 9)].min() > 0


def test_thickness_in_one_slice():
    at = Grid.from_spacing((1, 30, 40), (5.0, 1.0, 1.0))
    bar = np.zeros(at.shape, bool)
    bar[0, 10:16, 4:36] = True
    image = thickness(bodies.mask(at, bar))[0]
    assert isinstance(image, Image)
    assert image.data[0, 10:16, 12:28] == pytest.approx(6.0)


def heart(radius: float, *, frame: str = "1.2.3") -> Mask:
    at = bodies.grid(66.0, (3.0, 1.5, 1.5))
    at = Grid(at.shape, at.affine, frame)
    return bodies.mask(at, bodies.ellipsoid(at, (radius, radius, 1.2 * radius)))


def test_ejection_fraction_of_ellipsoids():
    found = bodies.told(ejection_fraction(heart(25.0), heart(18.0)))
    truth = {"ED": 4 / 3 * np.pi * 1.2 * 25**3 / 1000, "ES": 4 / 3 * np.pi * 1.2 * 18**3 / 1000}
    for phase, volume in truth.items():
        value, spread = found[f"Left Ventricular {phase} Volume"]
        assert spread is not None
        assert abs(value - volume) < 3 * spread
    value, spread = found["Left ventricular ejection fraction"]
    assert spread is not None
    assert abs(value - 100 * (1 - truth["ES"] / truth["ED"])) < 3 * spread < 3
    with pytest.raises(ParameterError, match="exchange"):
        ejection_fraction(heart(18.0), heart(25.0))
    with pytest.raises(GeometryError, match="frames of reference"):
        ejection_fraction(heart(25.0), heart(18.0, frame="1.2.4"))


IMAGE = Image(np.zeros((2, 4, 4), np.int16), Grid.from_spacing((2, 4, 4), (2.0, 0.6, 0.6)))


@pytest.mark.parametrize("degrees", [0.0, 12.0, 90.0, 137.0, 180.0])
def test_angles(degrees):
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    a = np.deg2rad(degrees)
    points = np.array([[30, 0, 0], [0, 0, 0], [50 * np.cos(a), 50 * np.sin(a), 0]]) @ turn.T + 7.0
    (found,) = angle(IMAGE, points=tuple(points.reshape(-1)))
    assert found.value == pytest.approx(degrees, abs=1e-6)
    assert found.unit == "deg"
    lines = np.array([[0, 0, 0], [40, 0, 0], [0, 9, 0], [-30 * np.cos(a), 9 - 30 * np.sin(a), 0]])
    (found,) = angle(IMAGE, points=tuple((lines @ turn.T).reshape(-1)))
    assert found.concept.meaning == "Cobb angle"
    assert found.value == pytest.approx(min(degrees, 180 - degrees), abs=1e-6)


@pytest.mark.parametrize("count", [3, 4])
def test_the_uncertainty_of_an_angle_is_that_of_moved_points(count):
    random = np.random.default_rng(8)
    points = np.array([[30.0, 0, 0], [0, 0, 0], [20, 25, 5], [-4, 30, 2]])[:count]
    moved = [
        angle(IMAGE, points=tuple((points + random.normal(0, 0.4, points.shape)).reshape(-1)))[0]
        for _ in range(1000)
    ]
    (said,) = angle(IMAGE, points=tuple(points.reshape(-1)), placing=0.4)
    assert said.uncertainty == pytest.approx(np.std([m.value for m in moved]), rel=0.1)


def test_what_is_refused():
    with pytest.raises(ParameterError, match="9 numbers"):
        angle(IMAGE, points=(1.0, 2.0, 3.0))
    with pytest.raises(ParameterError, match="apart"):
        angle(IMAGE, points=(0.0,) * 9)


def test_five_doors():
    check_operation("analyze.thickness")
    check_operation("analyze.ejection_fraction", inputs=(heart(20.0), heart(15.0)))
    check_operation(
        "analyze.angle", params={"points": (9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 0.0)}
    )
