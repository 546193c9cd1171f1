"""The SPECT phantoms: left is left, rods have their sizes."""

import numpy as np
import pytest

from somascope.phantoms import chest_spect, chest_spect_ct, rods_spect, rods_spect_ct, spect_grid
from somascope.phantoms.spect import CYLINDER, RODS, rod_centres

GRID = spect_grid((24, 32, 32), (12.0, 12.0, 12.0))


def test_the_heart_is_on_the_left_with_a_defect_below():
    image = chest_spect(GRID)
    assert (image.unit, image.modality) == ("Bq/ml", "NM")
    heart = image.grid.to_world(np.argwhere(image.data > 4e4))
    assert heart[:, 0].mean() > 20, "left"
    assert heart[:, 1].mean() < -20, "in front"
    ct = chest_spect_ct(GRID)
    assert ct.data.min() == -1000
    assert ct.data.max() > 200
    assert ct.grid == image.grid
    assert ct.attributes["StudyInstanceUID"] == image.attributes["StudyInstanceUID"]


def test_rods_are_there_in_six_sizes():
    found = rod_centres()
    assert [d for d, _ in found] == list(RODS)
    for diameter, centres in found:
        assert len(centres) >= 3
        assert np.hypot(*centres.T).max() < CYLINDER[0] - diameter / 2
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
        assert apart[apart > 0].min() == pytest.approx(2 * diameter)
    grid = spect_grid((8, 72, 72), (20.0, 3.2, 3.2), study="rods")
    image = rods_spect(grid, activity=1e5)
    area = sum(len(c) * np.pi * d * d / 4 for d, c in found)
    assert image.data[2].sum() * 3.2**2 == pytest.approx(1e5 * area, rel=0.01)
    marker = grid.to_world(np.argwhere(image.data > 2e5))
    assert marker[:, 0].mean() > 80
    assert rods_spect_ct(grid).data[4, 36, 36] == 0
