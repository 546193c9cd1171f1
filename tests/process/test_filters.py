import numpy as np
import pytest
from scipy import ndimage

from somascope.core import Axis, Grid, Image
from somascope.process.filters import gaussian
from somascope.process.separable import along, reflect


def image(data, spacing=(1.0, 1.0, 1.0), **more):
    data = np.asarray(data)
    return Image(data, Grid.from_spacing(data.shape[-3:], spacing), **more)


def test_impulse_response_is_a_gaussian_in_millimetres():
    spacing = (2.0, 0.75, 0.5)
    data = np.zeros((25, 65, 97), np.float64)
    data[12, 32, 48] = 1.0
    sigma = 2.0
    out = gaussian(image(data, spacing), sigma=sigma).data
    z, y, x = ((np.arange(n) - n // 2) * s for n, s in zip(data.shape, spacing, strict=True))
    r2 = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    truth = np.exp(-r2 / (2 * sigma**2)) / (2 * np.pi * sigma**2) ** 1.5 * np.prod(spacing)
    inside = r2 < (3.5 * sigma) ** 2
    np.testing.assert_allclose(out[inside], truth[inside], rtol=2e-3)
    assert abs(out.sum() - 1) < 1e-12


def test_equals_scipy_at_the_borders_too():
    data = np.random.default_rng(1).normal(size=(7, 30, 41))
    spacing = (3.0, 1.0, 0.6)
    ours = gaussian(image(data, spacing), sigma=1.7).data
    theirs = ndimage.gaussian_filter(data, [1.7 / s for s in spacing], mode="reflect", truncate=4)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_kernel_wider_than_the_image_folds_more_than_once():
    data = np.random.default_rng(2).normal(size=(1, 3, 5))
    ours = gaussian(image(data), sigma=6.0).data
    theirs = ndimage.gaussian_filter(data[0], 6.0, mode="reflect", truncate=4)
    np.testing.assert_allclose(ours[0], theirs, rtol=1e-12)


def test_nan_voxels_stay_and_do_not_spread():
    data = np.full((5, 20, 20), 3.0, np.float32)
    data[2, 5:9, 5:9] = np.nan
    out = gaussian(image(data), sigma=2.0).data
    assert np.array_equal(np.isnan(out), np.isnan(data))
    np.testing.assert_allclose(out[~np.isnan(out)], 3.0, rtol=1e-5)


def test_dtypes_axes_and_unit():
    rng = np.random.default_rng(3)
    for dtype, want in [
        (np.int16, np.float32),
        (np.uint8, np.float32),
        (np.bool_, np.float32),
        (np.float64, np.float64),
        (np.complex64, np.complex64),
    ]:
        data = (rng.normal(size=(2, 3, 4, 5, 6)) * 50).astype(dtype)
        out = gaussian(image(data, axes=(Axis("t"), Axis("echo")), unit="s"), sigma=0.8)
        assert out.data.dtype == want
        assert out.unit == "s"
        assert out.axis_names == ("t", "echo", "z", "y", "x")
        one = gaussian(image(data[1, 2]), sigma=0.8).data
        np.testing.assert_array_equal(out.data[1, 2], one)


def test_colour_stays_bytes():
    data = np.random.default_rng(4).integers(0, 256, (3, 1, 16, 16), np.uint8)
    out = gaussian(image(data, axes=(Axis("channel"),)), sigma=1.0).data
    assert out.dtype == np.uint8
    truth = ndimage.gaussian_filter(data[1, 0].astype(float), 1.0)
    assert np.abs(out[1, 0] - truth).max() <= 0.5 + 1e-4


def test_slices_by_themselves_and_zero_width():
    data = np.random.default_rng(5).normal(size=(4, 9, 9))
    whole = gaussian(image(data), sigma=1.0, dimensions="slice").data
    alone = gaussian(image(data[1:2]), sigma=1.0).data
    np.testing.assert_array_equal(whole[1:2], alone)
    np.testing.assert_array_equal(gaussian(image(data), sigma=0.0).data, data)


def test_the_step_is_recorded():
    step = gaussian(image(np.zeros((1, 2, 2))), sigma=2.5).provenance.steps[-1]
    assert step.operation == "process.gaussian"
    assert step.params == {"sigma": 2.5, "dimensions": "volume"}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_is_a_sparse_matrix_product(axis):
    rng = np.random.default_rng(6)
    volume = rng.normal(size=(5, 6, 7))
    n = volume.shape[axis]
    index = rng.integers(0, n, (4, 3))
    weight = rng.normal(size=(4, 3))
    matrix = np.zeros((4, n))
    for j in range(4):
        for k in range(3):
            matrix[j, index[j, k]] += weight[j, k]
    truth = np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)
    np.testing.assert_allclose(along(volume, axis, index=index, weight=weight), truth, rtol=1e-12)


def test_reflect_repeats_the_edge():
    assert reflect(np.arange(-4, 8), 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1][:12]
