"""Label maps that are only images: which count as masks, and where a mask is asked for."""

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.core.errors import ReadError
from somascope.io import write
from somascope.jobs.resolve import only
from somascope.process.labelled import labelled

GRID = Grid.from_spacing((4, 6, 8), (2.0, 1.0, 1.0))


def drawn(kind=np.float32):
    values = np.zeros(GRID.shape, kind)
    values[1:3, 2:4, 2:6] = 1
    values[2, 5, 7] = 7
    return Image(values, GRID)


@pytest.mark.parametrize("kind", [np.float32, np.uint8, np.int16])
def test_whole_numbers_are_labels(kind):
    mask = labelled(drawn(kind))
    assert mask is not None
    assert [s.number for s in mask.segments] == [1, 7]
    np.testing.assert_array_equal(mask.data, drawn().data)
    assert mask.grid == GRID


def test_other_images_are_none():
    base = drawn().data
    halves, minus, hole, all_in = base / 2, base - 1, base.copy(), base + 1
    hole[0, 0, 0] = np.nan
    ramp = np.arange(base.size, dtype=np.float32).reshape(base.shape)
    for values in (halves, minus, hole, all_in, base * 0, base * 1e5, base + 0j,
                   np.concatenate([ramp, ramp + ramp.size], axis=1)):  # fmt: skip
        grid = Grid.from_spacing(values.shape, (2.0, 1.0, 1.0))
        assert labelled(Image(values, grid)) is None
    several = Image(np.stack([base, base]), GRID, axes=(Axis("t"),))
    assert labelled(several) is None


def test_a_nifti_label_map_does_where_a_mask_is_asked_for(tmp_path):
    write(drawn(), tmp_path / "labels.nii.gz")
    mask = only([tmp_path / "labels.nii.gz"], "labels", noun="Mask")
    assert [s.number for s in mask.segments] == [1, 7]
    assert isinstance(only([tmp_path / "labels.nii.gz"], "labels", noun="Image"), Image)
    write(Image(drawn().data + 0.5, GRID), tmp_path / "image.nii.gz")
    with pytest.raises(ReadError, match="a label map, whole numbers from 0 on"):
        only([tmp_path / "image.nii.gz"], "image", noun="Mask")
