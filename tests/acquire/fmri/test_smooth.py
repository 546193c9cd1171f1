"""Smoothing: equal to nilearn's, kind to gaps, and as wide as it says."""

import numpy as np
import pytest

from somascope.acquire.fmri.smooth import gaussian, smooth, within
from somascope.core import Axis, Grid, Image
from somascope.testing import check_operation


def test_it_is_nilearns(rng):
    nib = pytest.importorskip("nibabel")
    smooth_img = pytest.importorskip("nilearn.image").smooth_img
    data = rng.standard_normal((3, 9, 14, 17)).astype(np.float32)
    theirs = smooth_img(nib.Nifti1Image(data.transpose(3, 2, 1, 0), np.diag([3, 3.5, 4, 1])), 7.0)
    ours = gaussian(data, 7.0, (4.0, 3.5, 3.0))
    assert np.abs(ours - np.asarray(theirs.dataobj).transpose(3, 2, 1, 0)).max() < 2e-6


def test_a_point_becomes_as_wide_as_asked():
    data = np.zeros((1, 41, 41, 41), np.float32)
    data[0, 20, 20, 20] = 1
    out = gaussian(data, 8.0, (2.0, 2.0, 2.0))[0]
    assert out.sum() == pytest.approx(1, abs=1e-4)
    row = out[20, 20]
    x = (np.arange(41) - 20) * 2.0
    assert np.sqrt((row * x**2).sum() / row.sum()) * 2.3548 == pytest.approx(8.0, rel=0.01)


def test_gaps_stay_gaps_and_darken_nothing():
    data = np.full((2, 6, 8, 9), 5.0, np.float32)
    data[1, 2, 3, 4] = np.nan
    out = gaussian(data, 6.0, (2.0, 2.0, 2.0))
    assert np.isnan(out[1, 2, 3, 4])
    assert np.nanmax(np.abs(out - 5)) < 1e-5
    mask = np.zeros((6, 8, 9), bool)
    mask[1:4, 2:6, 2:7] = True
    leak = np.where(mask, 5.0, 1000.0).astype(np.float32)[None]
    inside = within(leak, 6.0, (2.0, 2.0, 2.0), mask=mask)
    assert np.abs(inside[0][mask] - 5).max() < 1e-4
    assert not inside[0][~mask].any()


def test_a_single_slice_is_smoothed_in_its_plane(rng):
    data = rng.random((2, 1, 20, 20)).astype(np.float32)
    image = Image(
        data, Grid.from_spacing((1, 20, 20), (5, 2, 2)), axes=(Axis("t", (0.0, 2.0), "s"),)
    )
    out = smooth(image, fwhm=6.0)
    assert out.data.std() < 0.4 * data.std()
    check_operation("acquire.fmri.smooth", inputs=(image,))
