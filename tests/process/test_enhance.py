import numpy as np
import pytest
from skimage import data as pictures
from skimage import exposure

from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError
from somascope.process.enhance import LUMA, clahe
from somascope.process.equalise import edges, equalise


def image(data, spacing=(1.0, 1.0, 1.0), **more):
    data = np.asarray(data)
    return Image(data, Grid.from_spacing(data.shape[-3:], spacing), **more)


def picture():
    return np.ascontiguousarray(pictures.camera())[::2, ::2].astype(np.float32) / 255


def test_agrees_with_scikit_image_in_two_dimensions():
    source = picture()
    bins, limit = 256, 2.56
    theirs = exposure.equalize_adapthist(
        source, kernel_size=32, clip_limit=limit / bins, nbins=bins
    )
    ours = clahe(image(source[None]), clip_limit=limit, tile=32.0, bins=bins).data[0]
    ours = (ours - ours.min()) / (ours.max() - ours.min())  # as they end
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.998
    assert np.abs(ours - theirs).mean() < 0.025


def test_agrees_with_scikit_image_in_three_dimensions():
    rng = np.random.default_rng(1)
    z, y, x = np.meshgrid(*[np.linspace(0, 1, n) for n in (24, 48, 40)], indexing="ij")
    source = (np.sin(9 * x * y) + z + 0.2 * rng.normal(size=x.shape)).astype(np.float32)
    theirs = exposure.equalize_adapthist(
        (source - source.min()) / (source.max() - source.min()),
        kernel_size=(8, 16, 10), clip_limit=0.02, nbins=128,
    )  # fmt: skip
    ours = equalise(
        source, (8, 16, 10), limit=2.56, low=float(source.min()), high=float(source.max()), bins=128
    )
    ours = (ours - ours.min()) / (ours.max() - ours.min())
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.995
    assert np.abs(ours - theirs).mean() < 0.025


def test_one_tile_without_limit_is_plain_histogram_equalisation():
    # of values whose distribution function is known: u**3 has F(v) = v**(1/3)
    u = (np.arange(64 * 64) + 0.5) / (64 * 64)
    values = np.random.default_rng(2).permutation(u**3).reshape(1, 64, 64)
    out = equalise(values, (1, 64, 64), limit=1e9, low=0.0, high=1.0, bins=4096)
    np.testing.assert_allclose(out, np.cbrt(values), atol=3e-2)
    np.testing.assert_allclose(out[values > 0.01], np.cbrt(values[values > 0.01]), atol=1e-3)


def test_a_limit_of_one_changes_nothing_and_no_slope_exceeds_the_limit():
    source = picture()[None]
    np.testing.assert_allclose(clahe(image(source), clip_limit=1.0).data, source, atol=1e-5)
    low, high = float(source.min()), float(source.max())
    out = equalise(source, (1, 256, 256), limit=3.0, low=low, high=high, bins=64)  # one tile
    v, m = source.ravel(), out.ravel()
    order = np.argsort(v, kind="stable")
    dv, dm = np.diff(v[order]), np.diff(m[order])
    assert (dm >= -1e-6).all()
    steep = dm[dv > 1e-3] / dv[dv > 1e-3]
    assert steep.max() < 3.0 + 1e-2
    assert steep.max() > 2.5


def test_values_keep_unit_range_dtype_and_missing():
    rng = np.random.default_rng(3)
    ct = rng.integers(-1024, 3000, (3, 64, 64), np.int16)
    out = clahe(image(ct, unit="[hnsf'U]"))
    assert (out.data.dtype, out.unit) == (np.int16, "[hnsf'U]")
    assert out.data.min() >= ct.min()
    assert out.data.max() <= ct.max()
    soft = ct.astype(np.float32)
    soft[0, 3, 4] = np.nan
    windowed = clahe(image(soft), lower=-100.0, upper=300.0).data
    beyond = ~((soft >= -100) & (soft <= 300))
    np.testing.assert_array_equal(windowed[beyond], soft[beyond])
    assert windowed[~beyond].min() >= -100
    assert windowed[~beyond].max() <= 300


def test_axes_slices_and_constant_images():
    rng = np.random.default_rng(4)
    data = rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    out = clahe(image(data, axes=(Axis("t"),)))
    assert out.shape == data.shape
    np.testing.assert_array_equal(out.data[1], clahe(image(data[1])).data)
    flat = np.full((2, 8, 8), 5, np.int16)
    np.testing.assert_array_equal(clahe(image(flat)).data, flat)
    empty = np.full((1, 8, 8), np.nan)
    assert np.isnan(clahe(image(empty)).data).all()


def test_colour_keeps_its_differences():
    rgb = np.moveaxis(np.ascontiguousarray(pictures.astronaut())[::4, ::4], -1, 0)[:, None]
    rgb = (60 + rgb // 4).astype(np.uint8)  # dull, and nothing will clip
    out = clahe(image(rgb, axes=(Axis("channel"),)), clip_limit=2.0).data
    assert out.dtype == np.uint8
    difference = (out[0].astype(int) - out[2]) - (rgb[0].astype(int) - rgb[2])
    assert np.abs(difference).max() <= 1
    luma = np.tensordot(LUMA, out.astype(float), axes=([0], [0]))
    before = np.tensordot(LUMA, rgb.astype(float), axes=([0], [0]))
    assert np.abs(np.diff(luma)).mean() > 1.1 * np.abs(np.diff(before)).mean()


def test_edges_fill_the_axis():
    for size, tile in [(1, 5.0), (10, 3.0), (64, 8.0), (7, 0.1), (100, 1000.0)]:
        e = edges(size, tile)
        assert (e[0], e[-1]) == (0, size)
        assert (np.diff(e) > 0).all()


def test_refuses_an_empty_range():
    with pytest.raises(ParameterError, match="not below"):
        clahe(image(np.zeros((1, 4, 4))), lower=5.0, upper=5.0)
