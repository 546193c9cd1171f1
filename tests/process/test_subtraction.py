"""Differences, ratios and angiography against worlds whose vessels are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as moved

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.process.subtraction import divide, dsa, estimate_shift, shifted, subtract
from somascope.testing import check_operation

R = np.random.default_rng(1)


def image(data, spacing=(1, 1, 1), origin=(0, 0, 0), **more):
    data = np.asarray(data)
    return Image(data, Grid.from_spacing(data.shape[-3:], spacing, origin=origin), **more)


def film(shifts=((0, 0), (0.37, -0.62), (-1.25, 2.4)), noise=0.0, size=96):
    """Counts of bones that move, and of a vessel that fills from the second image on."""
    bones = gaussian_filter(R.normal(size=(size + 16, size + 16)), 2.5)
    bones = 1.5 + bones / np.abs(bones).max()
    y, x = np.mgrid[:size, :size]
    vessel = 0.25 * np.exp(-(((x - size / 2 - 6 * np.sin(y / 12)) / 2.0) ** 2))
    frames, truth = [], []
    for k, by in enumerate(shifts):
        body = moved(bones, by, order=5)[8:-8, 8:-8]
        frames.append(1e4 * np.exp(-body - k * vessel) * (1 + noise * R.normal(size=(size, size))))
        truth.append(k * vessel)
    axes = (Axis("t", tuple(0.5 * k for k in range(len(shifts))), "s"),)
    return image(np.array(frames, np.float32)[:, None], modality="XA", axes=axes), np.array(truth)


@settings(deadline=None, max_examples=15)
@given(dy=st.floats(-5, 5), dx=st.floats(-5, 5))
def test_shifts_are_found_to_a_part_of_a_pixel(dy, dx):
    world = gaussian_filter(np.random.default_rng(7).normal(size=(90, 100)), 3)
    there = moved(world, (dy, dx), order=5, mode="mirror")
    a, b = world[12:-12, 12:-12], there[12:-12, 12:-12]
    np.testing.assert_allclose(estimate_shift(b, a), (dy, dx), atol=0.02)


def test_shifted_is_exact_for_whole_pixels_and_straight_lines():
    plane = R.normal(size=(9, 11))
    np.testing.assert_allclose(shifted(plane, (2, 0))[2:], plane[:-2])
    ramp = np.add.outer(np.arange(9.0), 2 * np.arange(11.0))
    np.testing.assert_allclose(shifted(ramp, (0.3, -0.7))[2:-2, 2:-2], ramp[2:-2, 2:-2] - 0.3 + 1.4)


def test_vessels_remain_and_bones_go():
    given_, truth = film()
    inner = np.s_[12:-12, 12:-12]
    out = dsa(given_)
    assert out.unit == "1"
    assert np.abs(out.data[0, 0]).max() < 1e-6
    for k in (1, 2):
        assert np.abs(out.data[k, 0] - truth[k])[inner].max() < 0.03
    still = dsa(given_, registration="none")
    assert np.abs(still.data[2, 0] - truth[2])[inner].max() > 0.2
    told = dsa(given_, registration="given", shift=(0.37, -0.62))
    assert np.abs(told.data[1, 0] - truth[1])[inner].max() < 0.03


def test_logarithmic_films_and_averaged_masks():
    given_, truth = film(shifts=((0, 0),) * 4)
    log = given_.with_data(-np.log(given_.data))
    a = dsa(log, scale="logarithmic", registration="none")
    b = dsa(given_, registration="none")
    np.testing.assert_allclose(a.data, b.data, atol=1e-5)
    said = replace(log, attributes={"PixelIntensityRelationship": "LOG"})
    np.testing.assert_array_equal(dsa(said, registration="none").data, a.data)
    two = dsa(given_, registration="none", count=2)
    np.testing.assert_allclose(two.data[2, 0], truth[2] - truth[1] / 2, atol=1e-4)


def test_missing_and_empty_pixels():
    given_, _ = film()
    data = np.array(given_.data)
    data[1, 0, 40, 40] = np.nan
    data[:, 0, :3] = 0  # the collimator
    out = dsa(given_.with_data(data)).data
    assert np.isnan(out[1, 0, 40, 40])
    assert np.isfinite(np.delete(out.ravel(), 96 * 96 + 40 * 96 + 40)).all()
    flat = dsa(given_.with_data(np.full(given_.shape, 7.0))).data
    assert np.abs(flat).max() < 1e-9


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [({"first": 4}, ParameterError, "4 to 4 of a film of 3"),
     ({"count": 9}, ParameterError, "film of 3")],
)  # fmt: skip
def test_masks_that_are_not_there(change, error, words):
    with pytest.raises(error, match=words):
        dsa(film()[0], **change)


def test_films_only():
    with pytest.raises(GeometryError, match="film of flat"):
        dsa(image(np.ones((4, 8, 8))))
    with pytest.raises(ParameterError, match="negative"):
        dsa(film()[0].with_data(-film()[0].data))
    check_operation(dsa, inputs=(film(size=32)[0],))


def test_difference_is_numpys_and_knows_its_place():
    a, b = R.normal(size=(2, 4, 6, 8)).astype(np.float32)
    np.testing.assert_allclose(subtract(image(a), image(b)).data, a - b, rtol=1e-6)
    np.testing.assert_allclose(subtract(image(a), image(b), weight=0.5, absolute=True).data,
                               np.abs(a - b / 2), atol=1e-6)  # fmt: skip
    # the same ramp sampled elsewhere: nothing is left but what lies outside
    z, y, x = np.mgrid[:4, :6, :8].astype(float)
    ramp = image(z + 2 * y + 3 * x)
    fine = Grid.from_spacing((4, 9, 9), (1, 0.5, 0.5), origin=(1, 1, 0))
    world = fine.to_world(np.moveaxis(np.mgrid[:4, :9, :9], 0, -1))
    other = Image(world[..., 2] + 2 * world[..., 1] + 3 * world[..., 0], fine)
    left = subtract(ramp, other)
    assert np.abs(left.data).max() < 1e-4
    holes = subtract(ramp, other, outside=None).data
    assert np.isnan(holes[0, 5, 7])
    assert np.isfinite(holes[:, 1:5, 1:5]).all()


def test_ratios_and_their_units():
    a = np.array([[[2.0, 6.0, 5.0, np.nan]]])
    b = np.array([[[1.0, 2.0, 0.0, 4.0]]])
    out = divide(image(a, unit="ms"), image(b, unit="ms"))
    assert out.unit == "1"
    np.testing.assert_array_equal(out.data, [[[2, 3, 0, np.nan]]])
    up = divide(image(a), image(b), percent=True)
    assert up.unit == "%"
    np.testing.assert_array_equal(up.data, [[[100, 200, 0, np.nan]]])
    assert divide(image(a, unit="g/ml"), image(b, unit="ml/min")).unit == "g/ml/(ml/min)"
    assert divide(image(a), image(b, unit="s")).unit == "/s"
    assert divide(image(a, unit="s"), image(b)).unit == "s"


def test_one_volume_is_taken_from_each_of_several():
    many = image(R.normal(size=(3, 2, 4, 4)), axes=(Axis("t", (0, 1, 2), "s"),))
    one = many.at(t=0)
    out = subtract(many, one)
    assert out.shape == (3, 2, 4, 4)
    assert np.abs(out.data[0]).max() == 0
    with pytest.raises(GeometryError, match="leading axes"):
        subtract(one, many)


def test_refusals():
    flat = image(np.ones((1, 4, 4)))
    with pytest.raises(UnitError, match="convert"):
        subtract(flat, image(np.ones((1, 4, 4)), unit="s"))
    with pytest.raises(UnitError, match="per cent"):
        divide(flat, image(np.ones((1, 4, 4)), unit="s"), percent=True)
    rgb = image(np.zeros((3, 1, 4, 4), np.uint8), axes=(Axis("channel"),))
    with pytest.raises(ParameterError, match="colour"):
        subtract(rgb, flat)
    check_operation(subtract)
    check_operation(divide)
