"""Second level against SciPy's t tests, and its permutation as an operation."""

import numpy as np
import pytest
from scipy import stats

from somascope.acquire.fmri.group import group, permutation
from somascope.core import Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation

GRID = Grid.from_spacing((5, 6, 7), (3, 3, 3), frame_of_reference="1.2.3")


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(1)
    data = rng.normal(size=(10, *GRID.shape)).astype(np.float32)
    data[:, 1:4, 1:4, 1:4] += 2
    data[7, 0, 0, 0] = 0
    return tuple(Image(d, GRID, "MR", "%") for d in data)


def test_one_two_and_paired_are_students(maps):
    y = np.stack([m.data for m in maps])
    effect, t, z = group(*maps)
    assert effect.unit == "%"
    exact = stats.ttest_1samp(y, 0).statistic
    inside = np.ones(GRID.shape, bool)
    inside[0, 0, 0] = False
    assert np.abs(t.data - exact)[inside].max() < 2e-3
    assert t.data[0, 0, 0] == z.data[0, 0, 0] == 0
    labels = (0, 1, 0, 1, 0, 1, 0, 1, 0, 1)
    two = group(*maps, question="two", groups=labels)[1]
    exact = stats.ttest_ind(y[1::2], y[::2]).statistic
    assert np.abs(two.data - exact)[inside].max() < 2e-3
    pairs = group(*maps, question="paired")[1]
    exact = stats.ttest_rel(y[5:], y[:5]).statistic
    assert np.abs(pairs.data - exact)[inside].max() < 5e-3 * np.abs(exact).max()


def test_a_group_that_makes_no_sense_is_refused(maps):
    other = Image(maps[0].data, Grid(GRID.shape, GRID.affine + np.eye(4, k=3)), "MR", "%")
    with pytest.raises(GeometryError, match="map 2"):
        group(maps[0], other)
    with pytest.raises(ParameterError, match="at least 2"):
        group(maps[0])
    with pytest.raises(ParameterError, match="no pairs"):
        group(*maps[:3], question="paired")
    with pytest.raises(ParameterError, match="0 or 1"):
        group(*maps, question="two", groups=(1,) * 10)
    with pytest.raises(ParameterError, match="'%'"):
        group(maps[0], Image(maps[1].data, GRID, "MR", "1"))


def test_both_keep_the_promises_of_operations(maps):
    check_operation("acquire.fmri.group", inputs=maps)
    check_operation("acquire.fmri.permutation", inputs=maps[:6], params={"permutations": 64})
    _, p = permutation(*maps, permutations=1024)
    assert p.data[2, 2, 2] > 0.95
    assert p.data.min() >= 0
