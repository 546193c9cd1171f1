import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.resample import resample, resample_like, resample_to, with_spacing


def oblique(shape, spacing):
    a, b = 0.4, -0.3
    rz = np.asarray([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rx = np.asarray([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return Grid.from_spacing(shape, spacing, origin=(-30.0, 12.0, 70.0), direction=rz @ rx)


def world(grid):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return grid.to_world(index)


def linear(points):
    return points @ np.asarray([0.7, -1.3, 0.4]) + 5.0


def inner(grid, shape_grid, margin):
    """Voxels of `grid` whose positions are at least `margin` voxels inside `shape_grid`."""
    index = shape_grid.to_index(world(grid))
    return ((index >= margin) & (index <= np.asarray(shape_grid.shape) - 1 - margin)).all(-1)


@pytest.mark.parametrize("order", ["linear", "cubic"])
@pytest.mark.parametrize("spacing", [(1.0,), (0.5, 1.7, 0.8), (4.0,)])
def test_a_linear_ramp_in_the_world_is_exact(order, spacing):
    grid = oblique((14, 25, 31), (3.0, 0.9, 1.1))
    out = resample(Image(linear(world(grid)), grid), spacing=spacing, order=order)
    error = np.abs(out.data - linear(world(out.grid)))
    # away from the border by the reach of the smoothing
    ratio = np.asarray(out.grid.spacing) / np.asarray(grid.spacing)
    reach = np.ceil(4 * 0.42 * np.sqrt(np.maximum(ratio**2 - 1, 0))) + 2
    where = inner(out.grid, grid, margin=np.minimum(reach, (np.asarray(grid.shape) - 1) / 2.5))
    assert where.sum() > 20
    assert error[where].max() < 1e-9


def test_cubic_is_exact_for_quadratics_and_linear_is_not():
    grid = Grid.from_spacing((1, 40, 40), (1, 1, 1))
    f = lambda p: 0.1 * p[..., 0] ** 2 - 0.05 * p[..., 0] * p[..., 1]  # noqa: E731
    image = Image(f(world(grid)), grid)
    for order, exact in [("cubic", True), ("linear", False)]:
        out = resample(image, spacing=(1.0, 0.3, 0.3), order=order)
        where = inner(out.grid, Grid.from_spacing((1, 40, 40), (1, 1, 1)), 0)
        where &= (np.abs(out.grid.to_index(world(out.grid))[..., 1:] - 65) < 50).all(-1)
        assert bool(np.abs(out.data - f(world(out.grid)))[where].max() < 1e-9) is exact


def test_the_grid_keeps_centre_directions_and_extent():
    grid = oblique((14, 25, 31), (3.0, 0.9, 1.1))
    new = with_spacing(grid, (1.0, 1.0, 1.0))
    assert new.shape == (42, 22, 34)
    np.testing.assert_allclose(new.spacing, (1, 1, 1))
    np.testing.assert_allclose(new.direction, grid.direction, atol=1e-12)
    middle = [(np.asarray(g.shape) - 1) / 2 for g in (grid, new)]
    np.testing.assert_allclose(new.to_world(middle[1]), grid.to_world(middle[0]), atol=1e-9)


@pytest.mark.parametrize("order", ["nearest", "linear"])
def test_equals_simpleitk_on_an_oblique_grid(order):
    rng = np.random.default_rng(1)
    source = oblique((9, 20, 22), (2.5, 1.0, 1.2))
    data = rng.normal(size=source.shape)
    target = Grid.from_spacing((12, 15, 17), (1.5, 1.3, 1.1), origin=source.to_world((1, 4, 5)))
    ours = resample_to(Image(data, source), target, order=order, fill=-9.0).data

    def reference(grid, values):
        out = sitk.GetImageFromArray(values)
        out.SetOrigin(grid.origin)
        out.SetSpacing(grid.spacing[::-1])
        out.SetDirection(np.ascontiguousarray(grid.direction[:, ::-1]).ravel().tolist())
        return out

    how = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLinear}[order]
    theirs = sitk.GetArrayFromImage(
        sitk.Resample(
            reference(source, data),
            reference(target, np.zeros(target.shape)),
            sitk.Transform(),
            how,
            -9.0,
        )
    )
    inside = inner(target, source, 0.01)
    assert 100 < inside.sum() < inside.size
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-9)
    outside = ~inner(target, source, -0.51)
    assert (ours[outside] == -9.0).all()
    assert (theirs[outside] == -9.0).all()


def test_cubic_to_another_grid_equals_the_separable_one():
    grid = Grid.from_spacing((6, 20, 21), (2, 1, 1), origin=(3, -4, 5))
    image = Image(np.random.default_rng(2).normal(size=grid.shape), grid)
    fine = resample(image, spacing=(0.7,), order="cubic", antialias=False)
    again = resample_to(image, fine.grid, order="cubic")
    np.testing.assert_allclose(fine.data, again.data, atol=1e-9)
    assert again.provenance.steps[-1].params["order"] == "cubic"


def test_antialias_removes_what_the_new_grid_cannot_hold():
    x = np.arange(256)
    stripes = np.broadcast_to(np.cos(np.pi * 0.93 * x), (1, 256, 256))
    image = Image(np.array(stripes), Grid.from_spacing((1, 256, 256), (1, 1, 1)))
    with_it = resample(image, spacing=(4.0,)).data[:, 8:-8, 8:-8]
    without = resample(image, spacing=(4.0,), antialias=False).data[:, 8:-8, 8:-8]
    assert with_it.std() < 0.02
    assert without.std() > 0.05


def test_nearest_keeps_values_and_dtype_and_axes():
    data = np.random.default_rng(3).integers(0, 9, (2, 5, 6, 7), np.int16)
    image = Image(data, Grid.from_spacing((5, 6, 7), (2, 2, 2)), axes=(Axis("t"),))
    out = resample(image, spacing=(1.0,), order="nearest")
    assert out.data.dtype == np.int16
    np.testing.assert_array_equal(
        out.data, data.repeat(2, axis=1).repeat(2, axis=2).repeat(2, axis=3)
    )
    lin = resample(image, spacing=(1.0,))
    assert lin.data.dtype == np.float32
    np.testing.assert_array_equal(lin.data[1], resample(image.at(t=1), spacing=(1.0,)).data)


def test_own_spacing_changes_nothing_and_one_slice_keeps_its_thickness():
    grid = Grid.from_spacing((4, 5, 6), (2.0, 0.7, 0.7))
    data = np.random.default_rng(4).normal(size=grid.shape)
    out = resample(Image(data, grid), spacing=(2.0, 0.7, 0.7), order="cubic")
    np.testing.assert_allclose(out.data, data, atol=1e-9)
    assert out.grid.allclose(grid)
    single = Image(data[:1], Grid.from_spacing((1, 5, 6), (8.0, 0.7, 0.7)))
    assert resample(single, spacing=(0.5,)).grid.spacing[0] == pytest.approx(8.0)


def test_like_and_refusals():
    grid = Grid.from_spacing((4, 5, 6), (2, 1, 1), frame_of_reference="1.2.3")
    image = Image(np.ones(grid.shape), grid)
    other = Grid.from_spacing((8, 5, 6), (1, 1, 1), frame_of_reference="1.2.4")
    with pytest.raises(GeometryError, match="register"):
        resample_like(image, Image(np.ones(other.shape), other))
    same = Grid.from_spacing((8, 5, 6), (1, 1, 1), frame_of_reference="1.2.3")
    assert resample_like(image, Image(np.ones(same.shape), same)).grid is same
    with pytest.raises(ParameterError, match="give one number"):
        resample(image, spacing=(1.0, 2.0))
    with pytest.raises(ParameterError, match="larger spacing"):
        resample(
            Image(np.ones((50, 50, 50)), Grid.from_spacing((50, 50, 50), (20, 20, 20))),
            spacing=(0.1,),
        )
