"""Motion that was put in is found to 0.05 mm and 0.05 degrees, and taken out."""

import numpy as np
import pytest

from somascope.acquire import rigid
from somascope.acquire.fmri import realign
from somascope.acquire.fmri.runs import head_mask
from somascope.acquire.fmri.simulate import head_motion, simulate
from somascope.core import Image
from somascope.core.errors import ParameterError
from somascope.testing import check_operation


@pytest.fixture(scope="module")
def moved():
    from somascope.phantoms import brain_grid, brain_mr

    head = brain_mr("T2", brain_grid((60, 80, 64), (2.8, 2.6, 2.6)), noise=0)
    return simulate(
        head, scans=16, voxel=(4.0, 4.0, 4.0), translation=1.5, rotation=1.5, noise=0.5, seed=5
    )


def test_the_six_numbers_and_their_matrix_are_inverse():
    p = np.array([1.5, -2, 0.3, 4, -7, 11])
    c = np.array([10.0, -20, 30])
    assert np.allclose(rigid.parameters(rigid.matrix(p, c), c), p)
    turned = rigid.matrix(np.array([0, 0, 0, 0, 0, 90.0]), c)
    assert np.allclose(turned[:3, :3] @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(turned @ [*c, 1], [*c, 1])


@pytest.mark.parametrize("reference", ["first", "mean"])
def test_motion_is_recovered(moved, reference):
    truth = head_motion(16, translation=1.5, rotation=1.5, seed=5)
    found = realign.estimate(moved, reference=reference)
    error = found.parameters - truth
    if reference == "mean":
        error -= error.mean(axis=0)
    assert np.abs(error[:, :3]).max() < 0.05
    assert np.abs(error[:, 3:]).max() < 0.05
    assert found.steps.max() < 45


def test_what_is_left_is_noise(moved):
    found = realign.estimate(moved)
    calm = realign.reslice(moved, found)
    mask = head_mask(calm.data)
    before = moved.data[:, mask].std(axis=0).mean()
    after = calm.data[:, mask].std(axis=0).mean()
    assert after < 0.35 * before
    assert calm.grid == moved.grid


def test_framewise_displacement_is_that_of_power():
    p = np.zeros((3, 6))
    p[1] = [0.1, -0.2, 0, 0, 0, 1.0]
    fd = realign.framewise_displacement(p)
    expected = 0.3 + 50 * np.deg2rad(1.0)
    assert fd.tolist() == pytest.approx([0, expected, expected])


def test_dvars_counts_change_in_per_cent():
    data = np.full((3, 4, 4, 4), 200.0, np.float32)
    data[1:] += 4
    value = realign.dvars(data, np.ones((4, 4, 4), bool))
    assert value[0] == 0
    assert value[1] == pytest.approx(100 * 4 / data.mean(), rel=0.02)
    assert value[2] == 0


def test_bad_runs_are_refused(moved):
    broken = np.array(moved.data)
    broken[3, 2, 2, 2] = np.nan
    with pytest.raises(ParameterError, match="not finite"):
        realign.realign(moved.with_data(broken))
    tiny = moved.crop(start=(10, 10, 10), stop=(13, 13, 13))
    with pytest.raises(ParameterError, match="at least 100"):
        realign.realign(tiny)
    with pytest.raises(ParameterError, match="4 entries"):
        realign.reslice(moved, realign.Motion(np.zeros((4, 6)), np.zeros(4, int)))


def test_it_keeps_the_promises_of_an_operation(moved):
    few = Image(moved.data[:4], moved.grid, "MR", axes=(type(moved.axes[0])("t"),))
    check_operation("acquire.fmri.realign", inputs=(few,))
