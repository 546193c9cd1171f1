"""Centrelines, diameters and stenoses of tubes of closed form."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.analyze.measure.regions import regions
from somascope.analyze.measure.tube import follow, narrowing
from somascope.analyze.measure.vessel import centreline
from somascope.core import Mask
from somascope.core.errors import ParameterError
from somascope.core.finding import Measurement
from somascope.testing import check_operation
from tests.analyze.measure import bodies

AXIS = np.array((0.5, 0.3, 0.81)) / np.linalg.norm((0.5, 0.3, 0.81))


def straight(at, radius, *, half=22.0):
    """A tube about `AXIS` whose radius is a function of the way along it."""
    place = bodies.world(at)
    along = place @ AXIS
    away = np.linalg.norm(place - along[..., None] * AXIS, axis=-1)
    return (away < radius(along)) & (np.abs(along) < half)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.8, 0.8)])
def test_an_oblique_cylinder_with_a_stenosis(spacing):
    at = bodies.grid(54.0, spacing)
    (one,) = regions(bodies.mask(at, straight(at, lambda s: 5 - 2.5 * np.exp(-((s / 6) ** 2)))))
    tube = follow(one.inside, one.grid)
    assert tube.length == pytest.approx(44.0, abs=2 * max(spacing))
    off = np.linalg.norm(tube.points - (tube.points @ AXIS)[:, None] * AXIS, axis=1)
    assert off[tube.inner].max() < 0.3 * max(spacing)
    tight = narrowing(tube)
    assert tight.reference == pytest.approx(10.0, abs=0.4 * max(spacing))
    assert tight.by_diameter == pytest.approx(50.0, abs=6.0)
    assert tight.by_area == pytest.approx(75.0, abs=6.0)
    assert tight.position == pytest.approx(22.0, abs=2.0)


def test_an_arc_is_followed_to_its_ends():
    at = bodies.grid(56.0, (1.0, 1.0, 1.0))
    place = bodies.world(at)
    angle = np.arctan2(place[..., 1], place[..., 0])
    away = np.hypot(np.hypot(place[..., 0], place[..., 1]) - 20, place[..., 2])
    (one,) = regions(bodies.mask(at, (away < 4) & (np.abs(angle) < 2.2)))
    tube = follow(one.inside, one.grid)
    assert tube.length == pytest.approx(2 * 2.2 * 20, abs=2.0)
    assert np.hypot(*tube.points[tube.inner, :2].T) == pytest.approx(20.0, abs=0.6)
    assert tube.diameter[tube.inner] == pytest.approx(8.0, abs=0.5)
    assert narrowing(tube).by_diameter < 6


def test_an_ellipse_has_two_widths():
    at = bodies.grid(40.0, (1.0, 1.0, 1.0), seed=0)
    place = bodies.world(at)
    inside = ((place[..., 0] / 8) ** 2 + (place[..., 1] / 5) ** 2 < 1) & (
        np.abs(place[..., 2]) < 18
    )
    tube = follow(inside, at)
    middle = tube.inner
    assert tube.narrowest[middle].mean() == pytest.approx(10.0, abs=0.5)
    assert tube.widest[middle].mean() == pytest.approx(16.0, abs=0.5)
    assert tube.area[middle].mean() == pytest.approx(np.pi * 40, rel=0.03)


def test_given_ends_say_which_way():
    at = bodies.grid(54.0, (1.0, 1.0, 1.0))
    tapered = straight(at, lambda s: 5 + 0.05 * s)
    for sign in (1, -1):
        ends = np.array([-sign * 22 * AXIS, sign * 22 * AXIS])
        tube = follow(tapered, at, ends=ends)
        assert (tube.points[-1] - tube.points[0]) @ AXIS * sign > 40
        kept = tube.diameter[tube.inner]
        assert (kept[-1] - kept[0]) * sign > 0


def test_the_operation():
    at = bodies.grid(54.0, (1.0, 1.0, 1.0))
    narrow = straight(at, lambda s: 5 - 2.5 * np.exp(-((s / 6) ** 2)))
    made = centreline(bodies.mask(at, narrow))
    line = made[0]
    assert isinstance(line, Mask)
    assert 40 <= np.count_nonzero(line.data) <= 130
    assert narrow[line.data > 0].mean() > 0.95
    found = bodies.told([m for m in made if isinstance(m, Measurement)])
    value, spread = found["Lumen Diameter Stenosis"]
    assert spread is not None
    assert abs(value - 50) < 2 * spread
    assert found["Vessel lumen diameter, Minimum"][0] == pytest.approx(5.0, abs=0.5)


def test_what_is_refused():
    at = bodies.grid(40.0, (1.0, 1.0, 1.0), seed=0)
    place = bodies.world(at)
    tube = (np.hypot(place[..., 0], place[..., 1]) < 4) & (np.abs(place[..., 2]) < 18)
    broken = tube & (np.abs(place[..., 2]) > 3)
    with pytest.raises(ParameterError, match="do not touch"):
        follow(broken, at, ends=np.array([[0, 0, -17.0], [0, 0, 17.0]]))
    with pytest.raises(ParameterError, match="six"):
        centreline(bodies.mask(at, tube), ends=(1.0, 2.0))
    one = np.zeros(at.shape, bool)
    one[5, 5, 5] = True
    with pytest.raises(ParameterError, match="length"):
        follow(one, at)


def test_five_doors():
    at = bodies.grid(30.0, (1.0, 1.0, 1.0), seed=0)
    place = bodies.world(at)
    tube = (np.hypot(place[..., 0], place[..., 1]) < 4) & (np.abs(place[..., 2]) < 13)
    check_operation("analyze.centreline", inputs=(bodies.mask(at, tube),))
