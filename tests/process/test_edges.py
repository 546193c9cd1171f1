"""Gradient, Laplacian, difference of Gaussians and Canny against SciPy's and scikit-image's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.feature import canny as peers_canny
from skimage.filters import difference_of_gaussians
from skimage.filters import sobel as peers_sobel

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.edges import canny, dog, gradient, gradient_size, laplacian, laplacian_
from somascope.testing import check_operation


def smooth_noise(shape=(14, 40, 66), seed=0, width=1.5):
    v = np.random.default_rng(seed).normal(size=shape)
    return (100 * ndi.gaussian_filter(v, width)).astype(np.float32)


def image(values, spacing=(1, 1, 1), **more):
    return Image(np.asarray(values), Grid.from_spacing(np.shape(values)[-3:], spacing), **more)


def apart(ours, theirs):
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def test_gradient_and_laplacian_are_scipys_borders_included():
    v = smooth_noise()
    for sigma in ((1.0, 1.0, 1.0), (1.0, 2.0, 1.5)):
        size = ndi.gaussian_gradient_magnitude(v.astype(float), sigma)
        assert apart(gradient_size(v, (1, 1, 1), sigma), size) < 1e-3  # ours: slopes are exact
        curve = ndi.gaussian_laplace(v.astype(float), sigma)
        assert apart(laplacian_(v, (1, 1, 1), sigma), curve) < 0.01
    wide = ndi.gaussian_gradient_magnitude(v.astype(float), 3.0)
    assert apart(gradient_size(v, (1, 1, 1), (3.0, 3.0, 3.0)), wide) < 1e-3


def test_sobel_is_scikit_images():
    v = smooth_noise()
    ours = gradient(image(v), method="sobel").data
    assert (
        apart(ours, peers_sobel(v.astype(float)) * np.sqrt(3) / 2) < 1e-5
    )  # theirs is per two voxels
    flat = gradient(image(v), method="sobel", dimensions="slice").data
    assert apart(flat[3], peers_sobel(v[3].astype(float)) * np.sqrt(2) / 2) < 1e-5


def test_slopes_are_per_millimetre_whatever_the_voxel():
    z, y, x = np.mgrid[:12, :24, :30].astype(np.float32)
    spacing = (3.0, 0.8, 0.5)
    ramp = image(2.0 * z * 3.0 + 1.0 * y * 0.8 - 2.0 * x * 0.5, spacing, unit="[hnsf'U]")
    found = gradient(ramp, sigma=0.7)
    inner = (slice(3, -3), slice(6, -6), slice(8, -8))
    assert found.data[inner] == pytest.approx(3.0, rel=1e-4)
    assert found.unit == "[hnsf'U]/mm"
    bowl = image((z * 3.0) ** 2 + 2 * (y * 0.8) ** 2 + (x * 0.5) ** 2, spacing)
    found = laplacian(bowl, sigma=0.7)
    assert found.data[inner] == pytest.approx(8.0, rel=2e-3)
    assert found.unit == "/mm2"


def test_normalised_laplacian_answers_blobs_of_all_sizes_alike():
    y, x = np.mgrid[:121, :121] - 60.0
    answers = []
    for radius in (4.0, 8.0):
        blob = (np.hypot(y, x) <= radius).astype(np.float32)[None]
        found = laplacian(image(blob), sigma=radius / np.sqrt(2), normalised=True)
        answers.append(found.data[0, 60, 60])
    assert answers[0] == pytest.approx(answers[1], rel=0.03)
    assert answers[0] < -0.7


def test_difference_of_gaussians_is_scikit_images():
    v = smooth_noise()
    theirs = difference_of_gaussians(v.astype(float), 1.2, 2.4, mode="reflect")
    assert apart(dog(image(v), sigma=1.2, ratio=2.0).data, theirs) < 1e-5


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_canny_is_scikit_images_voxel_by_voxel(sigma):
    v = smooth_noise((1, 90, 120), seed=3, width=(0, 3, 3))
    ours = canny(image(v), sigma=sigma, low=1.0, high=2.0)
    # Their Sobel is not divided by its 8.
    theirs = peers_canny(
        v[0].astype(float), sigma=sigma, low_threshold=8, high_threshold=16, mode="reflect"
    )
    assert theirs.sum() > 500
    assert np.array_equal(ours.data[0], theirs)


def test_canny_finds_the_surface_of_a_ball_one_voxel_thin():
    z, y, x = np.mgrid[:24, :48, :48]
    distance = np.sqrt(((z - 11.5) * 2) ** 2 + (y - 23.5) ** 2 + (x - 23.5) ** 2)
    ball = image(np.where(distance < 15, 100.0, 0.0).astype(np.float32), (2, 1, 1))
    found = canny(ball, sigma=1.5, high=5.0)
    on = found.data > 0
    assert np.abs(distance[on] - 15).max() < 2.2
    surface = 4 * np.pi * 15**2 / 2  # voxels that a sheet one thick takes, about
    assert 0.5 * surface < on.sum() < 1.6 * surface
    assert found.segments[0].label == "Edges"


def test_hysteresis_follows_an_edge_that_fades():
    y, x = np.mgrid[:40, :80]
    fading = np.where(y < 20, 0.0, 120.0 - x).astype(np.float32)[None]
    both = canny(image(fading), sigma=1.0, low=12.0, high=30.0).data[0]
    strict = canny(image(fading), sigma=1.0, low=30.0, high=30.0).data[0]
    assert both[18:22, 1:70].any(axis=0).all()
    assert not strict[:, 60:].any()


def test_missing_voxels_are_no_edge_and_stay_missing():
    v = np.full((6, 30, 30), 500.0, np.float32)
    v[2:4, 10:15, 10:15] = np.nan
    v[0, 0, 0] = np.inf
    for op in (gradient, laplacian, dog):
        found = op(image(v)).data
        assert np.array_equal(np.isnan(found), ~np.isfinite(v)), op
        assert np.nanmax(np.abs(found)) < 1e-2, op
    assert not canny(image(v), high=0.1).data.any()


@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1), (1, 1, 9), (1, 8, 1), (5, 1, 7), (4, 6, 9)]),
    level=st.floats(-1e4, 1e4),
    seed=st.integers(0, 99),
)
def test_constants_vanish_and_levels_do_not_matter(shape, level, seed):
    flat = image(np.full(shape, level, np.float32))
    for op in (gradient, laplacian, dog):
        assert np.abs(op(flat).data).max() <= 1e-5 * max(abs(level), 1)
    v = np.random.default_rng(seed).normal(0, 50, shape).astype(np.float32)
    shifted = gradient(image(v + np.float32(level))).data
    assert np.abs(shifted - gradient(image(v)).data).max() < 1e-2
    turned = gradient(image(v[::-1, ::-1, ::-1].copy())).data
    assert np.allclose(turned[::-1, ::-1, ::-1], gradient(image(v)).data, atol=1e-3)


def test_entries_and_operations():
    v = np.stack([smooth_noise((4, 20, 20), seed=s) for s in (0, 1)])
    found = gradient(image(v, axes=(Axis("t"),)))
    assert np.array_equal(found.data[1], gradient(image(v[1])).data)
    with pytest.raises(GeometryError, match="2 volumes"):
        canny(image(v, axes=(Axis("t"),)))
    with pytest.raises(ParameterError, match="above high"):
        canny(image(v[0]), low=2.0, high=1.0)
    with pytest.raises(ParameterError, match="resample"):
        gradient(image(v[0], (0.01, 0.01, 0.01)), sigma=40.0)
    for name in ("gradient", "laplacian", "dog", "canny"):
        check_operation(
            {"gradient": gradient, "laplacian": laplacian, "dog": dog, "canny": canny}[name]
        )
        check_operation(
            {"gradient": gradient, "laplacian": laplacian, "dog": dog, "canny": canny}[name],
            params={"dimensions": "slice"},
        )
