"""Simulated runs are what they were asked to be."""

import numpy as np
import pytest

from somascope.acquire.fmri.simulate import simulate, slice_times
from somascope.core.errors import ParameterError
from somascope.io.dicom.series import volumes
from somascope.jobs.run import encode
from somascope.testing import check_operation


def test_it_keeps_the_promises_of_an_operation():
    check_operation("acquire.fmri.simulate", params={"scans": 8, "places": []})


def test_noise_has_its_size_and_correlation(head):
    run = simulate(head, scans=60, voxel=(8, 8, 8), places=(), drift=0, noise=2, correlation=0.4)
    inside = run.data[0] > run.data[0].mean()
    y = run.data[:, inside] - run.data[:, inside].mean(axis=0)
    level = run.data[:, inside].mean()
    assert 100 * y.std() / level == pytest.approx(2, rel=0.08)
    assert (y[1:] * y[:-1]).mean() / (y**2).mean() == pytest.approx(0.4, abs=0.05)


def test_slices_are_measured_in_their_order():
    assert slice_times(4, 2.0, "ascending").tolist() == [0, 0.5, 1, 1.5]
    assert slice_times(5, 2.0, "interleaved").tolist() == pytest.approx([0, 1.2, 0.4, 1.6, 0.8])


def test_a_long_run_is_one_file_and_comes_back(head):
    run = simulate(head, scans=60, voxel=(8, 8, 8), noise=0.5)
    parts = encode(run)
    assert len(parts) == 1
    (again,), problems = volumes(parts)
    assert not problems
    assert again.axes[0].values == run.axes[0].values
    assert np.abs(again.data - run.data).max() < run.data.max() / 30000


def test_places_and_conditions_have_to_agree(head):
    with pytest.raises(ParameterError, match="five each"):
        simulate(head, places=(1.0, 2.0))
    with pytest.raises(ParameterError, match="n-th place"):
        simulate(head, events="onset\tduration\n4\t4\n")
    with pytest.raises(ParameterError, match="one real volume"):
        simulate(simulate(head, scans=8, voxel=(10, 10, 10)))
