"""Slice times and task through DICOM, whichever way the slices run."""

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.io.dicom import run_facts
from somascope.io.dicom.series import volumes
from somascope.io.dicom.write import instances

EVENTS = "onset\tduration\n2\t4\n"


@pytest.mark.parametrize("up", [1, -1])
def test_they_come_back_with_their_slices(up):
    """Descending slices come back ascending, and every slice still knows its time."""
    grid = Grid.from_spacing((3, 4, 5), (4, 3, 3), direction=[[0, 0, 1], [0, 1, 0], [up, 0, 0]])
    data = (np.arange(3, dtype=np.int16) * 100)[:, None, None] + np.zeros((2, 3, 4, 5), np.int16)
    image = Image(
        data, grid, "MR", axes=(Axis("t", (0.0, 2.0), "s"),),
        attributes={"SliceTiming": [0.0, 0.5, 1.25], "Events": EVENTS, "RepetitionTime": 2000},
    )  # fmt: skip
    (back,), problems = volumes(instances(image))
    assert problems == []
    assert back.attributes["Events"] == EVENTS
    order = (np.asarray(back.data[0, :, 0, 0]) / 100).astype(int)
    assert back.attributes["SliceTiming"] == [[0.0, 0.5, 1.25][k] for k in order]


def test_times_of_another_stack_are_left_out():
    grid = Grid.from_spacing((3, 4, 5), (4, 3, 3))
    assert run_facts._ordered([0.0, 1.0], (0, 0, 0), grid) == []
    assert run_facts._ordered([0.0, 1.0, 2.0], (0, 0, 4), grid) == []
    assert run_facts._ordered([0.0, 1.0, 2.0], (0, 0, 8), grid) == [2.0, 1.0, 0.0]
    assert run_facts.block({"RepetitionTime": 2}, grid) == []
