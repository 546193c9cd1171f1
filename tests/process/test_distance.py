import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from somascope.core import Grid, Mask, Segment
from somascope.core.errors import ParameterError
from somascope.process.distance import FAR, LEAP, _envelope, _halved, distance, distance_
from somascope.process.lanes import LANES
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


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("n", [1, 2, 7, 60, 129, 700])
def test_halving_finds_the_minimum_or_says_that_it_did_not(n, apart):
    rng = np.random.default_rng(n)
    rows = np.cumsum(rng.normal(0, 40, (n, 1)), axis=0) ** 2  # columns alike but for a tenth
    rows = rows * rng.uniform(0.9, 1.1, LANES)
    if apart:  # each column's nearest sample is somewhere else
        rows = np.full((n, LANES), 1e6)
        rows[rng.integers(0, n, LANES), np.arange(LANES)] = 0
    rows[:, 3] = np.inf  # nothing to be near to
    rows[rng.random(n) < 0.2, 5] = np.inf
    rows = rows.astype(np.float32)
    padded = np.full((n + 2 * LEAP, LANES), np.inf, np.float32)
    padded[LEAP : n + LEAP] = rows
    square = 2.25
    weights = (np.arange(-n + 1, n + 5.0) ** 2 * square).astype(np.float32)
    out = np.empty(n * LANES, np.float32)
    done = _halved(padded.reshape(-1), weights, n, np.empty(2 * n, np.int64), out)
    # Samples that are apart by nearly all rows bound nothing: nearly n looks per row.
    assert done == (n < FAR or not apart)
    if done:
        i = np.arange(n)
        expected = (rows + (i[:, None] - i)[..., None] ** 2 * square).min(axis=1)
        np.testing.assert_allclose(out.reshape(n, LANES), expected, rtol=1e-6)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.0, 0.7, 0.5)])
@pytest.mark.parametrize("kind", ["body", "shells", "columns"])
def test_large_bodies_are_scipys(kind, spacing):
    """Far from the border, by halving; columns that have nothing in common, by the envelope."""
    z, y, x = np.ogrid[-1:1:5j, -1:1:333j, -1:1:170j]
    if kind == "body":
        inside = (x / 0.8) ** 2 + (y / 0.9) ** 2 + z**2 / 2 < 1
    elif kind == "shells":
        inside = np.sin(9 * np.sqrt(x**2 + 2 * y**2 + z**2)) > -0.3
    else:
        inside = np.ones((5, 333, 170), bool)
        outside = np.random.default_rng(0).integers(0, inside.size, 12)
        inside.reshape(-1)[outside] = False
    expected = ndimage.distance_transform_edt(inside, spacing)
    found = distance(inside, spacing)
    assert np.abs(found - expected).max() < 3e-6 * expected.max()
    assert np.array_equal(found, distance(inside, spacing))


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
