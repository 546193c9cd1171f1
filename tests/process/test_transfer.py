"""Transfer functions, blending, channels in one picture, and the legend."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.blend import blend
from somascope.process.colour import fuse, pseudo_colour
from somascope.process.legend import bar, legend, ticks
from somascope.process.palettes import palette
from somascope.process.transfer import merge, transfer, transferred
from somascope.testing import check_operation

GRID = Grid.from_spacing((1, 4, 8), (1, 1, 1))


def image(data, grid=GRID, **more):
    return Image(np.asarray(data, np.float32).reshape(grid.shape), grid, **more)


def test_lines_steps_and_what_lies_beyond():
    x = np.array([-5, 0, 5, 10, 15, 20, 30, np.nan])
    rgb, alpha = transferred(x, (0, 10, 10, 20),
                             np.array([[0, 0, 0], [100, 0, 0], [0, 200, 0], [0, 0, 250]]),
                             (0, 0.5, 1, 1))  # fmt: skip
    assert rgb[:, 1].tolist() == rgb[:, 0].tolist() == [0, 0, 0]
    assert rgb[:, 2].tolist() == [50, 0, 0]
    assert rgb[:, 4].tolist() == [0, 100, 125]
    assert rgb[:, 5].tolist() == rgb[:, 6].tolist() == [0, 0, 250]
    np.testing.assert_allclose(alpha, [0, 0, 0.25, 0.5, 1, 1, 1, 0], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(a=st.integers(0, 255), b=st.integers(0, 255), w=st.floats(0, 1))
def test_blending_is_the_textbooks(a, b, w):
    base, top = np.full((3, 1, 1), a, np.uint8), np.full((3, 1, 1), b, np.uint8)
    got = {m: int(blend(base, top, w, mode=m)[0, 0, 0]) for m in
           ("over", "add", "screen", "lighten")}  # fmt: skip
    assert got["over"] == pytest.approx((1 - w) * a + w * b, abs=0.51)
    assert got["add"] == pytest.approx(min(a + w * b, 255), abs=0.51)
    assert got["screen"] == pytest.approx(255 * (1 - (1 - a / 255) * (1 - w * b / 255)), abs=0.51)
    assert got["lighten"] == pytest.approx(max(a, w * b), abs=0.51)
    assert blend(base, top, 0.0, mode="over").tolist() == base.tolist()


def test_checkerboard_shows_both():
    a, b = np.zeros((3, 64, 64), np.uint8), np.full((3, 64, 64), 200, np.uint8)
    shown = blend(a, b, 1.0, mode="checker")
    assert (shown == 200).mean() == 0.5
    assert shown[0, 0, 0] == 0
    assert shown[0, 0, 40] == shown[0, 40, 0] == 200


def test_transfer_over_grey_and_black():
    data = np.linspace(0, 1, 32)
    params = {"values": (0.0, 0.5, 1.0), "colours": (0.0, 0, 255, 0, 255, 0, 255, 0, 0)}
    solid = transfer(image(data), **params)
    rgb, _ = transferred(data.astype(np.float32), params["values"],
                         np.array(params["colours"]).reshape(3, 3))  # fmt: skip
    np.testing.assert_array_equal(solid.data.reshape(3, -1), rgb)
    assert solid.axis_names == ("channel", "z", "y", "x")
    clear = transfer(image(data), opacities=(0.0, 0.0, 0.0), **params)
    grey = pseudo_colour(image(data), colours="grey")
    np.testing.assert_array_equal(clear.data, grey.data)
    white = transfer(image(data), opacities=(0.0, 0.0, 0.0), background="white", **params)
    assert white.data.min() == 255
    check_operation(transfer, params={k: list(v) for k, v in params.items()})


def test_merged_channels_keep_apart():
    ramp = np.linspace(0, 100, 32)
    red, green, blue = image(ramp), image(ramp[::-1].copy()), image(np.full(32, 50.0))
    out = merge(red, green, blue, lower=(0, 0, 0), upper=(100, 100, 100))
    values = out.data.reshape(3, -1).astype(float) / 255 * 100
    np.testing.assert_allclose(values[0], ramp, atol=0.3)
    np.testing.assert_allclose(values[1], ramp[::-1], atol=0.3)
    np.testing.assert_allclose(values[2], 50, atol=0.3)
    hole = ramp.copy()
    hole[5] = np.nan
    out = merge(image(hole), green, colours="magenta,green", lower=(0, 0), upper=(100, 100))
    assert out.data.reshape(3, -1)[0, 5] == 0
    check_operation(merge, inputs=(red, green))


def test_merge_brings_images_together():
    fine = Grid.from_spacing((1, 8, 16), (1, 0.5, 0.5), origin=(-0.25, -0.25, 0))
    x = np.mgrid[:8, :16][1]
    other = image(x * 0.5 - 0.25, fine)
    base = image(np.tile(np.arange(8.0), (4, 1)))
    out = merge(base, other, colours="red,green", lower=(0, 0), upper=(7, 7)).data
    np.testing.assert_allclose(out[0, 0, :, 1:-1].astype(int), out[1, 0, :, 1:-1], atol=1)


@pytest.mark.parametrize("mode", ["over", "add", "screen", "lighten", "checker"])
def test_fusion_modes(mode):
    base = image(np.full(32, 100.0))
    hot = image(np.linspace(0, 10, 32))
    out = fuse(base, hot, mode=mode, lower=0, upper=10, opacity=1.0)
    assert out.data.shape == (3, 1, 4, 8)
    if mode != "checker":
        assert out.data.reshape(3, -1)[:, -1].tolist() == [255, 255, 255]


def test_refusals():
    flat = image(np.zeros(32))
    with pytest.raises(ParameterError, match="red, green and blue"):
        transfer(flat, values=(0.0, 1.0), colours=(0.0, 0.0, 0.0))
    with pytest.raises(ParameterError, match="let them rise"):
        transfer(flat, values=(1.0, 0.0), colours=(0.0,) * 6)
    with pytest.raises(ParameterError, match="0 to 255"):
        transfer(flat, values=(0.0, 1.0), colours=(300.0,) * 6)
    with pytest.raises(ParameterError, match="name a palette"):
        merge(flat, flat, colours="red,mauve")
    with pytest.raises(ParameterError, match="1 to 6"):
        merge()
    with pytest.raises(ParameterError, match="lower has 1"):
        merge(flat, flat, lower=(0.0,))
    two = Image(np.zeros((2, 1, 4, 8)), GRID, axes=(Axis("t"),))
    with pytest.raises(GeometryError, match="one volume each"):
        merge(flat, two)


@settings(deadline=None, max_examples=50)
@given(low=st.floats(-1e5, 1e5), span=st.floats(1e-3, 1e5))
def test_ticks_are_round_inside_and_few(low, span):
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 8
    slack = 1e-6 * span + 1e-9 * abs(low)
    assert found[0] >= low - slack
    assert found[-1] <= low + span + slack


def test_the_bar_shows_the_palette_and_the_operation_the_range():
    drawn = bar("hot_iron", 0, 10, unit="g/ml")
    column = drawn[:, 20]
    assert (column == palette("hot_iron").table(3)[2]).all(axis=1).any()
    inner = column[48:300].astype(int)
    assert (np.diff(inner.sum(axis=1)) <= 0).all()  # from bright to dark, downwards
    bands = bar("viridis", 0, 1, slices=4)[:, 20]
    colours = {tuple(c) for c in bands.tolist()}
    assert {tuple(c) for c in palette("viridis").table(4).tolist()} <= colours
    out = legend(image(np.linspace(0, 1, 32), unit="g/ml"), colours="pet")
    assert out.data.dtype == np.uint8
    assert out.axis_names[0] == "channel"
    check_operation(legend)
    with pytest.raises(ParameterError, match="below upper"):
        ticks(3, 3)
