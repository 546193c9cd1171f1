import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from somascope.core import Grid, Mask, Segment
from somascope.core.errors import ParameterError
from somascope.process.distance import _envelope, distance, distance_
from somascope.testing import check_operation


@pytest.mark.parametrize("shape", [(7, 33, 41), (1, 30, 50), (5, 1, 40), (9, 3, 1), (1, 1, 17)])
@pytest.mark.parametrize("share", [0.005, 0.1, 0.9])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (3.0, 0.7, 0.5)])
def test_is_scipys(shape, share, spacing):
    inside = np.random.default_rng(3).random(shape) > share
    inside.reshape(-1)[0] = False
    expected = ndimage.distance_transform_edt(inside, spacing)
    assert np.abs(distance(inside, spacing) - expected).max() < 3e-6 * max(1, expected.max())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(0.1, 10))
def test_triangle_inequality_and_scale(seed, dy, dx):
    inside = np.random.default_rng(seed).random((3, 9, 8)) > 0.1
    inside[0, 0, 0] = False
    d = distance(inside, (1.0, dy, dx))
    assert (np.abs(np.diff(d, axis=1)) <= dy * (1 + 1e-5)).all()
    assert (np.abs(np.diff(d, axis=2)) <= dx * (1 + 1e-5)).all()
    assert np.allclose(distance(inside, (2.0, 2 * dy, 2 * dx)), 2 * d, rtol=1e-5)
    assert np.array_equal(d == 0, ~inside)


def test_ball():
    z, y, x = np.ogrid[-9:10, -20:21, -20:21]
    r = np.sqrt((2 * z) ** 2 + y**2 + x**2)
    d = distance(r < 16, (2, 1, 1))
    assert d[9, 20, 20] == pytest.approx(16, abs=0.6)
    inside = (r > 2) & (r < 15)
    assert np.abs(d + r - 16)[inside].max() < 1.0


def test_nothing_outside_is_infinitely_far():
    assert np.isinf(distance(np.ones((2, 3, 4), bool), (1, 1, 1))).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_the_envelope_is_the_minimum(n, share):
    rng = np.random.default_rng(n)
    line = (rng.random(n) * 900).astype(np.float32)
    line[rng.random(n) < share] = np.inf
    i = np.arange(n)
    expected = (line + (i[:, None] - i) ** 2 * 2.25).min(axis=1)
    _envelope(line, 2.25, np.empty(n, np.int64), np.empty(n), np.empty(n))
    assert np.allclose(line, expected, rtol=1e-5)


def mask(data):
    grid = Grid.from_spacing(data.shape, (2, 1, 1))
    return Mask(data=data, grid=grid, segments=(Segment(1, "a"), Segment(2, "b")))


def test_operation():
    check_operation(distance_)
    data = np.zeros((1, 5, 9), np.uint8)
    data[0, :, :3] = 1
    data[0, :, 6:] = 2
    out = distance_(mask(data), segment=1, side="signed")
    assert out.unit == "mm"
    assert out.data[0, 2].tolist() == [-3, -2, -1, 1, 2, 3, 4, 5, 6]
    assert distance_(mask(data)).data[0, 2].tolist() == [3, 2, 1, 0, 0, 0, 1, 2, 3]
    assert distance_(mask(data), side="outside").data[0, 2].tolist() == [0, 0, 0, 1, 2, 1, 0, 0, 0]
    with pytest.raises(ParameterError, match="no segment 3"):
        distance_(mask(data), segment=3)
    with pytest.raises(ParameterError, match="covers none"):
        distance_(mask(np.zeros((1, 5, 9), np.uint8)))
