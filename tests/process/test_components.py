import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from somascope.process.components import fill_holes, label


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("shape", [(7, 33, 41), (1, 30, 50), (3, 1, 20), (4, 5, 1)])
@pytest.mark.parametrize("share", [0, 0.1, 0.4, 0.8, 1])
def test_are_scipys(connectivity, shape, share):
    mask = np.random.default_rng(5).random(shape) < share
    labels, counts = label(mask, connectivity=connectivity)
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    expected, n = ndimage.label(mask, structure)
    assert len(counts) == n
    assert np.array_equal(labels > 0, mask)
    assert np.unique(np.stack([labels[mask], expected[mask]]), axis=1).shape[1] == n
    assert np.array_equal(np.bincount(labels[mask], minlength=n + 1)[1:], counts)
    assert (np.diff(counts) <= 0).all()
    starts = [int(np.argmax(labels.reshape(-1) == i + 1)) for i in range(n)]
    for i in range(n - 1):
        assert counts[i] > counts[i + 1] or starts[i] < starts[i + 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([6, 26]))
def test_holes_are_scipys(seed, connectivity):
    mask = np.random.default_rng(seed).random((5, 9, 11)) < 0.7
    structure = ndimage.generate_binary_structure(3, 3 if connectivity == 6 else 1)
    expected = ndimage.binary_fill_holes(mask, structure)
    assert np.array_equal(fill_holes(mask, connectivity=connectivity), expected)
    flat = mask[:1]
    structure = ndimage.generate_binary_structure(2, 2 if connectivity == 6 else 1)
    expected = ndimage.binary_fill_holes(flat[0], structure)
    assert np.array_equal(fill_holes(flat, connectivity=connectivity)[0], expected)
