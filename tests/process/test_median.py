import numpy as np
import pytest
from scipy import ndimage

from somascope.core import Grid, Image
from somascope.core.errors import ParameterError
from somascope.process.median import median, median_
from somascope.process.networks import merging, pruned, run, sorting
from somascope.testing import check_operation


def volume(dtype, shape=(5, 9, 261), seed=0):
    rng = np.random.default_rng(seed)
    if dtype is bool:
        return rng.random(shape) > 0.6
    if np.dtype(dtype).kind == "u":
        return rng.integers(0, 40, shape).astype(dtype)
    return (rng.normal(0, 30, shape)).astype(dtype)  # small integers: many equal values


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("size", [(3, 3, 3), (1, 3, 3), (1, 5, 5), (5, 5, 5), (1, 7, 7), (3, 5, 9)])
def test_equal_to_scipy(dtype, size):
    given = volume(dtype)
    found = median(given, size)
    assert found.dtype == given.dtype
    assert np.array_equal(found, ndimage.median_filter(given, size, mode="reflect"))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (2, 1, 3), (1, 300, 1)])
def test_thin_volumes(shape):
    given = volume(np.int16, shape)
    for size in (3, 5, 9):
        expected = ndimage.median_filter(given, size, mode="reflect")
        assert np.array_equal(median(given, (size, size, size)), expected)


@pytest.mark.parametrize("size", [(1, 5, 5), (5, 5, 5)])
def test_rows_longer_than_a_piece(size):
    given = volume(np.uint16, (3, 7, 700))
    assert np.array_equal(median(given, size), ndimage.median_filter(given, size, mode="reflect"))


def test_not_a_number_is_above_all_others():
    given = np.full((1, 1, 9), np.nan, np.float32)
    given[..., :5] = [3, -np.inf, 1, np.inf, 2]
    found = median(given, (1, 1, 3))[0, 0]
    assert found[:3].tolist() == [3, 1, 1]
    assert np.isnan(found[6:]).all()


def test_monotone_maps_commute_with_the_median():
    given = volume(np.float32, (3, 7, 40))
    assert np.allclose(median(given**3, (3, 5, 5)), median(given, (3, 5, 5)) ** 3)
    assert np.array_equal(median(-given, (3, 3, 3)), -median(given, (3, 3, 3)))


def test_operation():
    check_operation(median_)
    check_operation(median_, params={"size": 5, "dimensions": "slice"})
    grid = Grid.from_spacing((1, 4, 4), (1, 1, 1))
    with pytest.raises(ParameterError, match="complex"):
        median_(Image(np.zeros((1, 4, 4), np.complex64), grid))


@pytest.mark.parametrize("count", [1, 2, 3, 9, 25, 49])
def test_networks_sort(count):
    wires = np.random.default_rng(count).integers(0, 9, (count, 50)).astype(np.uint16)
    expected = np.sort(wires, axis=0)
    exchanges, order = sorting(range(count))
    run(wires, pruned(exchanges, order))
    assert np.array_equal(wires[order], expected)


@pytest.mark.parametrize(("first", "second"), [(1, 4), (3, 7), (25, 25), (50, 25)])
def test_networks_merge_and_select(first, second):
    rng = np.random.default_rng(1)
    parts = [np.sort(rng.integers(0, 99, (n, 50)), axis=0) for n in (first, second)]
    wires = np.concatenate(parts).astype(np.uint16)
    expected = np.sort(wires, axis=0)
    exchanges, order = merging(range(first), range(first, first + second))
    middle = slice((first + second) // 2, (first + second) // 2 + 2)
    few = pruned(exchanges, order[middle])
    assert len(few) <= len(exchanges)
    run(wires, few)
    assert np.array_equal(wires[order[middle]], expected[middle])
