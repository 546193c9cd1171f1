"""Charts: points are where their numbers say, in the ink of their curve."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.core.errors import ParameterError
from somascope.process.chart import INKS, Curve, chart


def places(picture: np.ndarray, ink: tuple[int, int, int]) -> np.ndarray:
    frame = picture[27:-43]  # without the key above and the axis below
    return np.argwhere((frame == np.array(ink, np.uint8)).all(axis=-1))


def test_points_stand_in_proportion():
    """Three dots, found by their columns: the second as high as the frame, the third half."""
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 8.0, 4.0])
    bars = [Curve(x[k : k + 1], y[k : k + 1], ink=k) for k in range(3)]
    frame = Curve(x[[0, 2]], np.array([0.0, 0.0]), ink=4)
    drawn = chart([frame, *bars], across="x (mm)", up="y", top=10.0)
    first, second, third = (
        np.argwhere((drawn == INKS[k]).all(axis=-1)).mean(axis=0) for k in range(3)
    )
    assert drawn.shape == (320, 640, 3)
    assert drawn.dtype == np.uint8
    assert second[1] - first[1] == pytest.approx(third[1] - second[1], abs=1)
    assert (first[0] - third[0]) / (first[0] - second[0]) == pytest.approx(0.5, abs=0.02)


def test_each_curve_has_its_ink_and_gaps_are_left_out():
    y = np.array([1.0, np.nan, 3.0, 2.0])
    drawn = chart([Curve(np.arange(4), y, "a"), Curve(np.arange(4), y[::-1], "b", ink=1)],
                  across="scan", up="change (%)")  # fmt: skip
    assert len(places(drawn, INKS[0])) > 50
    assert len(places(drawn, INKS[1])) > 50


def test_one_point_and_level_curves_have_a_picture():
    assert chart([Curve(np.array([3.0]), np.array([3.0]))], across="x", up="y").std() > 0
    assert chart([Curve(np.arange(3), np.zeros(3))], across="x", up="y").std() > 0


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(ParameterError, match="no finite point"):
        chart([Curve(np.array([np.nan]), np.array([1.0]))], across="x", up="y")
    with pytest.raises(ParameterError, match="2 x and 3 y"):
        chart([Curve(np.arange(2), np.arange(3), "bent")], across="x", up="y")
