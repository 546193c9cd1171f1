"""What kernels only read is handed to them sealed: each is compiled once, however images come."""

import numpy as np
import pytest

from somascope.process import counting
from somascope.process.chunks import sealed


def test_a_sealed_view_shows_the_array_and_cannot_be_written():
    values = np.arange(6.0)
    view = sealed(values)
    values[2] = 9
    assert view[2] == 9
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    assert values.flags.writeable


def test_open_and_sealed_values_have_one_kernel():
    """Of a type that no other test counts, so that nobody has compiled a second one before."""
    values = np.arange(60, dtype=np.uint64)
    first = counting.powers(values, 3.0)
    many = len(counting._powers.signatures)
    assert np.array_equal(counting.powers(sealed(values), 3.0), first)
    assert len(counting._powers.signatures) == many
