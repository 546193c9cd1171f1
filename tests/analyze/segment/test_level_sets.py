"""Fronts: distances and shrinking of closed form, balls with noise, uneven light, gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.analyze.segment.front import LAYERS, Drive, evolve
from somascope.analyze.segment.level_sets import chan_vese, geodesic
from somascope.core import Image, Progress
from somascope.core.errors import Cancelled, GeometryError, ParameterError
from somascope.testing import check_operation
from tests.analyze.segment.bodies import (
    LONG,
    ROUND,
    apart,
    ball,
    dice,
    grid,
    noisy,
    places,
    scribbled,
)


def still(shape):
    return Drive(np.zeros(shape, np.float32), 0.0, 0.0)


@pytest.mark.parametrize("spacing", [ROUND, LONG])
def test_the_distance_is_that_to_the_ball(spacing):
    at = grid((round(36 / spacing[0]), 36, 36), spacing)
    start = ball(at, 11)
    found = evolve(start, spacing, lambda *_: still(at.shape), bend=0.0, rounds=16)
    assert np.array_equal(found.inside, start)
    r = np.linalg.norm(places(at), axis=-1)
    near = np.abs(r - 11) < 2.5
    error = np.abs(found.distance - (r - 11))[near]
    assert error.mean() < 0.35 * max(spacing)
    assert error.max() < 1.2 * max(spacing)
    assert (np.abs(found.distance[np.abs(r - 11) > (LAYERS + 3) * max(spacing)]) > 1e5).all()


@pytest.mark.parametrize(("shape", "powers"), [((1, 64, 64), 1), ((44, 44, 44), 2)])
def test_a_ball_shrinks_by_its_curvature_as_it_must(shape, powers):
    """``dr/dt = -bend (d - 1) / r``: the square of the radius falls in proportion to time."""
    at = grid(shape)
    radius, bend, rounds = 16.0, 1.0, 240
    found = evolve(ball(at, radius), ROUND, lambda *_: still(shape), bend=bend, rounds=rounds)
    deep = sum(n > 1 for n in shape)
    time = rounds * min(0.45, 0.45 / (deep * bend))
    expected = np.sqrt(radius**2 - 2 * bend * powers * time)
    n = found.inside.sum()
    got = np.sqrt(n / np.pi) if deep == 2 else (3 * n / (4 * np.pi)) ** (1 / 3)
    assert got == pytest.approx(expected, abs=0.7)


def test_an_even_speed_moves_the_front_by_its_way():
    at = grid((1, 80, 80))
    drive = Drive(np.ones(at.shape, np.float32), 1.0, 0.0)
    found = evolve(ball(at, 10), ROUND, lambda *_: drive, bend=0.0, rounds=40)
    got = np.sqrt(found.inside.sum() / np.pi)
    assert got == pytest.approx(10 + 40 * 0.45, abs=0.8)


@pytest.mark.parametrize("spacing", [ROUND, LONG])
def test_chan_vese_finds_a_noisy_ball(spacing):
    at = grid((round(44 / spacing[0]), 44, 44), spacing)
    truth = ball(at, 13)
    image = noisy(at, truth, noise=40.0)
    mask = chan_vese(image, points=(4.0, 3.0, 0.0), radius=5.0)
    assert dice(mask.data, truth) > 0.96
    assert apart(mask.data, truth, spacing) < 0.4 * max(spacing)
    assert "rested" in mask.segments[0].algorithm


def test_chan_vese_starts_from_otsu_and_finds_two():
    at = grid((1, 70, 70))
    truth = ball(at, 12, (-14, -12, 0)) | ball(at, 9, (16, 10, 0))
    mask = chan_vese(noisy(at, truth, noise=30.0), rounding=2.0)
    assert dice(mask.data, truth) > 0.97


def test_small_specks_give_way_and_larger_bodies_stay():
    at = grid((1, 80, 80))
    truth = ball(at, 14, (-18, 0, 0)) | ball(at, 2, (20, 0, 0))
    mask = chan_vese(noisy(at, truth, noise=1.0), rounding=6.0)
    assert mask.data[0, 40, 22] == 1
    assert not mask.data[..., 50:].any()


def test_local_means_see_through_uneven_light():
    at = grid((1, 90, 90))
    truth = ball(at, 18)
    ramp = 3.0 * places(at)[..., 0]
    data = np.where(truth, 60.0, 0.0) + ramp
    data += np.random.default_rng(0).normal(0, 5, data.shape)
    image = Image(data.astype(np.float32), at)
    start = scribbled(at, ball(at, 14))
    assert dice(chan_vese(image, start, scale=5.0).data, truth) > 0.95
    assert dice(chan_vese(image, start).data, truth) < 0.8  # one mean cannot


@pytest.mark.parametrize("spacing", [ROUND, LONG])
def test_a_balloon_fills_a_ball_and_stops_at_its_edge(spacing):
    at = grid((round(44 / spacing[0]), 44, 44), spacing)
    truth = ball(at, 13)
    image = noisy(at, truth, noise=6.0)
    mask = geodesic(image, points=(2.0, 0.0, 0.0), radius=5.0, sigma=1.5)
    assert dice(mask.data, truth) > 0.93
    assert apart(mask.data, truth, spacing) < 0.7 * max(spacing)


def test_a_contour_shrinks_onto_an_object_and_bridges_a_gap():
    at = grid((1, 80, 80))
    r = np.linalg.norm(places(at)[..., :2], axis=-1)
    turn = np.degrees(np.arctan2(places(at)[..., 1], places(at)[..., 0]))
    rim = (np.abs(r - 20) < 1.5) & ~(np.abs(turn) < 6)
    image = noisy(at, rim, noise=2.0)
    mask = geodesic(image, scribbled(at, r < 34), balloon=-0.5, rounding=3.0, sigma=1.0)
    # The edge it meets first is the outer one.
    assert dice(mask.data, r < 21.5) > 0.93


@settings(max_examples=6, deadline=None)
@given(scale=st.floats(1e-3, 1e4), axis=st.integers(0, 2))
def test_scale_and_flips_do_not_count(scale, axis):
    at = grid((8, 24, 24))
    values = noisy(at, ball(at, 7), noise=10.0).data
    start = scribbled(at, ball(at, 5))
    first = chan_vese(Image(values, at), start).data
    again = chan_vese(Image(values.astype(np.float64) * scale, at), start).data
    assert (first == again).mean() > 0.99
    turned = chan_vese(
        Image(np.flip(values, axis).copy(), at), scribbled(at, np.flip(start.data > 0, axis))
    )
    assert (turned.data == np.flip(first, axis)).mean() > 0.99


def test_missing_values_stay_outside():
    at = grid((1, 40, 40))
    values = noisy(at, ball(at, 10), noise=5.0).data.copy()
    values[0, 18:22, 18:22] = np.nan
    for found in (
        chan_vese(Image(values, at), scribbled(at, ball(at, 6))),
        geodesic(Image(values, at), points=(6.0, 0.0, 0.5), radius=3.0),
    ):
        assert not found.data[0, 18:22, 18:22].any()


def test_what_they_refuse():
    at = grid((4, 14, 14))
    image = noisy(at, ball(at, 3))
    for run in (chan_vese, geodesic):
        with pytest.raises(ParameterError, match="covers none"):
            run(image, scribbled(at, ball(at, 1) & False))
        with pytest.raises(ParameterError, match="covers all"):
            run(image, scribbled(at, ball(at, 100)))
        with pytest.raises(ParameterError, match="one of them"):
            run(image, scribbled(at, ball(at, 2)), points=(0.0, 0.0, 0.0))
        with pytest.raises(GeometryError, match="lie on a grid"):
            run(image, scribbled(grid((4, 14, 14), LONG), ball(at, 2)))
        with pytest.raises(ParameterError, match="constant"):
            run(Image(np.ones(at.shape), at), points=(0.0, 0.0, 0.0))
        with pytest.raises(ParameterError, match="outside of the image"):
            run(image, points=(99.0, 0.0, 0.0))
        with pytest.raises(Cancelled):
            run(image, points=(0.0, 0.0, 0.0), radius=2.0, progress=Progress(None, lambda: True))
    with pytest.raises(ParameterError, match="give a mask to start from"):
        geodesic(image)


def test_missing_values_do_not_count_for_the_mean_outside():
    at = grid((1, 48, 48))
    truth = ball(at, 9)
    values = noisy(at, truth, high=60.0, noise=8.0).data.copy()
    values[:, :, 40:] = np.nan
    values[0, 0, 0] = -1000.0  # what stands in for them is the least value
    found = chan_vese(Image(values, at), scribbled(at, ball(at, 4))).data
    assert dice(found, truth) > 0.95


def test_missing_values_do_not_count_for_means_near_by():
    at = grid((1, 60, 60))
    truth = ball(at, 12)
    whole = noisy(at, truth, high=60.0, noise=8.0)
    values = whole.data.copy()
    values[:, :, :30] = np.nan
    values[0, 0, -1] = -5000.0  # would be what stands for them
    start = scribbled(at, ball(at, 8))
    found = chan_vese(Image(values, at), start, scale=4.0).data
    seen = np.isfinite(values)
    seen[..., :32] = False
    right = chan_vese(whole, start, scale=4.0).data
    assert dice(found[seen], truth[seen]) > dice(right[seen], truth[seen]) - 0.02


def test_the_doors():
    check_operation("segment.chan_vese")
    check_operation("segment.chan_vese", params={"scale": 4.0})
    check_operation("segment.geodesic")
