"""Thin slices from thick ones: what averaging did is undone, better than interpolation does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms import thorax_ct, thorax_grid
from somascope.process.resample import resample
from somascope.process.thin import averaging, parting, thin_slices
from somascope.testing import check_operation


def image(values, spacing, **more):
    return Image(np.asarray(values), Grid.from_spacing(np.shape(values)[-3:], spacing), **more)


def rms(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


def thick_of(fine, k):
    nz = fine.shape[0] // k * k
    return fine[:nz], fine[:nz].reshape(nz // k, k, *fine.shape[1:]).mean(axis=1)


def compared(fine, k, **how):
    """Errors of cubic interpolation and of ours, on slices ``k`` times as thick."""
    truth, thick = thick_of(fine, k)
    stack = image(thick.astype(np.float32), (float(k), 1.0, 1.0))
    cubic = resample(stack, spacing=(1.0,), order="cubic", antialias=False)
    ours = thin_slices(stack, step=1.0, **how)
    assert ours.shape == truth.shape
    assert np.allclose(ours.grid.affine, cubic.grid.affine)
    return rms(cubic.data, truth), rms(ours.data, truth)


def test_better_than_cubic_interpolation_on_a_phantom():
    body = thorax_ct(thorax_grid((12, 64, 64), (5.0, 4.0, 4.0)), noise_hu=0).data
    fine = np.moveaxis(body, 1, 0).astype(np.float32)  # stacked along y, where there is detail
    cubic, ours = compared(fine, 4)
    assert ours < 0.97 * cubic
    _, sharper = compared(fine, 4, variation=0.5)
    assert sharper < ours


def test_better_than_cubic_interpolation_on_a_real_head(data):
    import nibabel as nib

    (path,) = (data / "nilearn_data").glob("mni_icbm152_t1*.nii.gz")
    head = np.asarray(nib.load(path).dataobj, np.float32)[40:150, 60:140, 40:136]
    fine = np.ascontiguousarray(np.moveaxis(head, 2, 0))
    cubic, ours = compared(fine, 4)
    assert ours < 0.95 * cubic
    _, sharper = compared(fine[:48, 20:68, 20:68], 4, variation=0.5, iterations=15)
    assert sharper < 0.95 * compared(fine[:48, 20:68, 20:68], 4)[0]


def test_new_slices_average_to_the_old_ones():
    rng = np.random.default_rng(0)
    thick = rng.normal(0, 100, (7, 6, 5)).astype(np.float32)
    for profile in ("box", "gaussian"):
        found = thin_slices(image(thick, (3, 1, 1)), smoothness=1e-6, profile=profile)
        a = averaging(7, 21, spacing=3, step=1, thickness=3, profile=profile)
        again = np.tensordot(a, found.data, axes=1)
        assert rms(again, thick) < 0.02 * thick.std()


def test_boxes_overlap_exactly():
    a = averaging(2, 6, spacing=3, step=1, thickness=3, profile="box")
    assert a == pytest.approx(np.kron(np.eye(2), np.full(3, 1 / 3)))
    a = averaging(3, 6, spacing=2, step=1, thickness=3, profile="box")  # overlapping slices
    assert a[1] == pytest.approx(np.array([0, 0.5, 1, 1, 0.5, 0]) / 3)
    assert a[0] == pytest.approx(np.array([1.5, 1, 0.5, 0, 0, 0]) / 3)  # beyond: the outer again
    assert parting(a, price=1e-3).shape == (6, 3)


def test_thickness_is_taken_from_the_image_and_kept_true():
    v = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    said = image(v, (4, 1, 1), attributes={"SliceThickness": 6.0, "PatientName": "A"})
    found = thin_slices(said, step=2.0)
    assert found.attributes["SliceThickness"] == 2.0
    assert found.attributes["PatientName"] == "A"
    assert np.array_equal(found.data, thin_slices(image(v, (4, 1, 1)), step=2, thickness=6).data)
    assert not np.allclose(found.data, thin_slices(image(v, (4, 1, 1)), step=2.0).data, atol=1e-2)


@settings(max_examples=10, deadline=None)
@given(
    shape=st.sampled_from([(2, 1, 1), (3, 1, 9), (2, 8, 1), (5, 4, 7)]),
    level=st.floats(-1000, 1000),
    step=st.floats(0.4, 3.0),
)
def test_constants_and_slopes_stay(shape, level, step):
    flat = thin_slices(image(np.full(shape, level, np.float32), (3, 1, 1)), step=step)
    assert flat.data == pytest.approx(level, abs=max(1e-3, 2e-3 * abs(level)))
    assert flat.grid.spacing[0] == pytest.approx(step)
    noisy = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    one = thin_slices(image(noisy, (3, 1, 1)), step=step).data
    two = thin_slices(image(2 * noisy, (3, 1, 1)), step=step).data
    assert two == pytest.approx(2 * one, abs=1e-4)


def test_missing_values_entries_and_errors():
    v = np.full((4, 6, 6), 9.0, np.float32)
    v[1, 2, 2] = np.nan
    found = thin_slices(image(v, (3, 1, 1)))
    assert np.isnan(found.data[:, 2, 2]).sum() == 3
    assert np.isnan(found.data).sum() == 3
    assert found.data[np.isfinite(found.data)] == pytest.approx(9.0, rel=1e-3)
    both = thin_slices(image(np.stack([v, v + 1]), (3, 1, 1), axes=(Axis("t"),)))
    assert both.shape == (2, 12, 6, 6)
    with pytest.raises(GeometryError, match="one slice"):
        thin_slices(image(v[:1], (3, 1, 1)))
    with pytest.raises(ParameterError, match=r"process\.resample"):
        thin_slices(image(v, (3, 1, 1)), step=5.0)
    check_operation(thin_slices)
    check_operation(thin_slices, params={"variation": 0.5, "iterations": 3})
