"""The new-lesion map: its noise, what it forgives and what it finds."""

import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from somascope.analyze.longitudinal.newness import candidates, newness, noise
from somascope.core import Grid
from somascope.core.errors import ParameterError

GRID = Grid.from_spacing((40, 50, 60), (2.0, 1.5, 1.5))
SIGMA = 10.0


def scene(*, bodies=(), moved=(0, 0, 0), seed=0):
    """A wall, an organ and bodies ``(z, y, x, mm, value)``; all moved by so many voxels."""
    z, y, x = np.indices(GRID.shape)
    data = np.full(GRID.shape, -800.0)
    data[:, :, :8] = 40
    data[:, 35:, 30:] = 50
    for a, b, c, r, value in bodies:
        inside = (2 * (z - a)) ** 2 + (1.5 * (y - b)) ** 2 + (1.5 * (x - c)) ** 2 <= r * r
        data[inside] = value
    data = shift(gaussian_filter(data, 0.7), moved, order=1, mode="nearest")
    return data + np.random.default_rng(seed).normal(scale=SIGMA, size=GRID.shape)


VESSEL = (20, 12, 45, 5, 60)
NEW = (18, 20, 25, 6, 30)


def found(current, prior, **more):
    z = newness(current, prior, GRID)
    return candidates(z, current, prior, GRID, **more)


def test_noise_is_measured_and_edges_add_little():
    everywhere = np.ones(GRID.shape, bool)
    flat = np.random.default_rng(0).normal(scale=SIGMA, size=GRID.shape)
    assert noise(flat, everywhere) == pytest.approx(SIGMA, rel=0.01)
    # A tenth of the voxels lie at an edge, which moves the median by so much at most.
    assert 1.0 < noise(scene(bodies=(VESSEL,)), everywhere) / SIGMA < 1.15


def test_nothing_new_gives_nothing():
    prior = scene(bodies=(VESSEL,))
    for moved in ((0, 0, 0), (0.5, 1, -1), (1, -2, 2), (-2, 2, 1)):
        assert found(scene(bodies=(VESSEL,), moved=moved, seed=1), prior) == [], moved


def test_a_new_body_is_found_whole_in_spite_of_a_misfit():
    prior = scene(bodies=(VESSEL,))
    current = scene(bodies=(VESSEL, NEW), moved=(0.5, 1, -1), seed=1)
    (body,) = found(current, prior)
    assert body.volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.2)
    where = np.argwhere(body.inside).mean(axis=0)
    assert np.abs(where - np.add(NEW[:3], (0.5, 1, -1))).max() < 0.5
    assert body.strength > 20


def test_a_body_that_has_moved_is_not_new():
    far = (20, 12, 50, 5, 60)  # 7.5 mm on
    assert found(scene(bodies=(far,), seed=1), scene(bodies=(VESSEL,))) == []


def test_looking_for_a_body_elsewhere_takes_no_more_memory_than_the_images():
    """Its 2000 voxels at 2500 places nearby are 40 MB; an image of doubles is 1 MB."""
    prior, current = scene(), scene(bodies=(NEW,), seed=1)
    z = newness(current, prior, GRID)
    tracemalloc.start()
    try:
        assert len(candidates(z, current, prior, GRID)) == 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * current.nbytes


def test_darker_ones_are_found_and_can_be_left_out():
    hole = (20, 42, 45, 6, -60)
    prior, current = scene(), scene(bodies=(hole,), seed=1)
    z = newness(current, prior, GRID)
    assert z.min() < -6
    assert len(candidates(z, current, prior, GRID)) == 1
    bright = newness(current, prior, GRID, polarity="brighter")
    assert bright.min() == 0
    assert candidates(bright, current, prior, GRID) == []


def test_small_ones_and_what_lies_beyond_the_prior_image():
    small = (18, 20, 25, 3, 30)
    prior, current = scene(), scene(bodies=(small,), seed=1)
    assert found(current, prior, minimum=300.0) == []
    prior = scene()
    prior[:, :, 28:] = np.nan
    current = scene(bodies=(NEW, VESSEL), seed=1)
    assert found(current, prior) == []  # one at the end of the prior image, one beyond it
    z = newness(current, prior, GRID)
    assert not z[:, :, 28:].any()
    with pytest.raises(ParameterError, match="does not reach"):
        newness(current, np.full(GRID.shape, np.nan), GRID)
