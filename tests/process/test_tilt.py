"""Gantry tilt against closed forms: a field linear in the patient stays that field."""

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError
from somascope.process.tilt import correct_tilt
from somascope.testing import check_operation

SHAPE = (5, 12, 9)


def tilted(degrees, *, dz=3.0):
    """Slices stacked towards the head while their planes lean by ``degrees`` about L."""
    a = np.radians(degrees)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack(
        [(0, 0, dz), (0, 1.5 * np.cos(a), 1.5 * np.sin(a)), (0.8, 0, 0)]
    )
    affine[:3, 3] = (-3, 4, 5)
    return Grid(SHAPE, affine)


def field(grid):
    l, p, s = np.moveaxis(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    return 100 + 2.0 * l - 3.0 * p + 5.0 * s


@pytest.mark.parametrize("degrees", [-25.0, 5.0, 15.0])
def test_a_linear_field_stays_where_it_is(degrees):
    grid = tilted(degrees)
    upright = correct_tilt(Image(field(grid), grid), fill=-1e6)
    assert upright.grid.is_orthogonal()
    normal = np.cross(*upright.grid.affine[:3, [2, 1]].T)
    assert np.allclose(np.cross(normal, upright.grid.affine[:3, 0]), 0, atol=1e-9)
    assert upright.grid.spacing[0] == pytest.approx(3.0 * np.cos(np.radians(degrees)))
    inside = upright.data > -1e4  # not outside, nor interpolated with what is
    assert inside.sum() >= SHAPE[0] * (SHAPE[1] - 1) * SHAPE[2]
    assert np.allclose(upright.data[inside], field(upright.grid)[inside], atol=1e-9)


def test_a_shift_of_whole_pixels_is_exact_and_integers_stay():
    grid = Grid(SHAPE, np.array([[0, 0, 1, 0], [2, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1.0]]))
    data = np.random.default_rng(0).integers(-1000, 1000, (2, *SHAPE)).astype(np.int16)
    image = Image(data, grid, "CT", axes=(Axis("t", (0.0, 1.0), "s"),))
    upright = correct_tilt(image, fill=-2000)
    assert upright.shape == (2, 5, 12 + 4 * 2, 9)
    assert (upright.data.dtype, upright.axes) == (np.int16, image.axes)
    for k in range(5):
        assert np.array_equal(upright.data[:, k, 2 * k : 2 * k + 12], data[:, k])
        assert (np.delete(upright.data[:, k], np.s_[2 * k : 2 * k + 12], axis=1) == -2000).all()
    (step,) = upright.provenance.steps
    assert (step.operation, step.params) == ("process.correct_tilt", {"fill": -2000.0})
    assert (correct_tilt(image).data.min(), data.min()) == (data.min(), data.min())


def test_an_upright_image_stays_and_a_wrong_fill_is_refused():
    image = Image(np.ones(SHAPE, np.uint8), Grid.from_spacing(SHAPE, (1, 1, 1)))
    same = correct_tilt(image)
    assert same.grid is image.grid
    assert np.array_equal(same.data, image.data)
    for fill in (-1.0, 256.0, 0.5):
        with pytest.raises(ParameterError, match="0 to 255"):
            correct_tilt(image, fill=fill)


def test_the_operation_keeps_the_contract():
    grid = tilted(10.0)
    data = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    check_operation(correct_tilt, inputs=(Image(data, grid, "CT", "[hnsf'U]"),))
    check_operation(correct_tilt)
