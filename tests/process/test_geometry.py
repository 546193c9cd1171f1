"""Crop, pad, flip, reorder and masks: the patient stays where he is."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.process.geometry import crop, flip, pad, reorient
from somascope.process.labels import resample_mask, resample_mask_to
from somascope.process.resample import resample, taps, with_spacing
from somascope.testing import check_operation

R = np.random.default_rng(8)
OBLIQUE = Grid.from_spacing(
    (5, 8, 10), (3.0, 1.5, 1.0), origin=(-20, 7, 30),
    direction=np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0],
    frame_of_reference="1.2.3",
)  # fmt: skip


def image(grid=OBLIQUE, **more):
    return Image(R.normal(size=grid.shape).astype(np.float32), grid, **more)


def value_at(found, world):
    """The value of the voxel whose centre is there; None where there is none."""
    index = found.grid.to_index(world)
    near = np.rint(index).astype(int)
    if np.abs(index - near).max() > 1e-6 or (near < 0).any() or (near >= found.grid.shape).any():
        return None
    return found.data[(..., *near)]


def same_patient(a, b, *, least):
    """Every voxel of ``a`` that ``b`` has too has the same value there."""
    shared = 0
    for index in np.ndindex(*a.grid.shape):
        other = value_at(b, a.grid.to_world(index))
        if other is not None:
            assert np.array_equal(other, a.data[(..., *index)])
            shared += 1
    assert shared >= least


@settings(deadline=None, max_examples=25)
@given(letters=st.permutations(["LR", "PA", "SI"]), turns=st.tuples(*[st.booleans()] * 3))
def test_reorienting_moves_nobody(letters, turns):
    wanted = "".join(p[t] for p, t in zip(letters, turns, strict=True))
    before = image(Grid.from_spacing((3, 4, 5), (3, 2, 1), origin=(4, 5, 6)))
    after = reorient(before, axes=wanted)
    assert after.grid.orientation[::-1] == wanted
    same_patient(before, after, least=60)
    back = reorient(after, axes="LPS")
    np.testing.assert_array_equal(back.data, before.data)
    assert back.grid.allclose(before.grid)


def test_reorient_is_nibabels():
    """To RAS, as nibabel's closest canonical image, for an oblique grid."""
    before = image()
    to_ras = np.diag([-1.0, -1, 1, 1])
    swap = np.eye(4)[[2, 1, 0, 3]]
    theirs = nib.as_closest_canonical(
        nib.Nifti1Image(before.data.transpose(2, 1, 0), to_ras @ before.grid.affine @ swap)
    )
    ours = reorient(before, axes="RAS")
    np.testing.assert_array_equal(ours.data.transpose(2, 1, 0), np.asarray(theirs.dataobj))
    np.testing.assert_allclose(to_ras @ ours.grid.affine @ swap, theirs.affine, atol=1e-9)
    same_patient(before, ours, least=400)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_flipping_the_storage_keeps_the_patient_and_mirroring_is_said_in_words(axis):
    before = image()
    turned = flip(before, axis=axis)
    same_patient(before, turned, least=400)
    assert not np.array_equal(turned.data, before.data)
    for word in ("", "yes", "mirror"):
        with pytest.raises(ParameterError, match="mirror the patient"):
            flip(before, axis=axis, meaning="patient", confirm=word)
    mirrored = flip(before, axis=axis, meaning="patient", confirm="mirror the patient")
    assert mirrored.grid == before.grid
    np.testing.assert_array_equal(mirrored.data, turned.data)
    assert mirrored.provenance.steps[-1].params["meaning"] == "patient"


def test_cropping_to_a_box_keeps_the_voxels_inside():
    grid = Grid.from_spacing((6, 10, 12), (2, 1, 0.5), origin=(0, 0, 0))
    before = image(grid)
    after = crop(before, mode="box", lower=(1.0, 2.0, 3.0), upper=(3.0, 6.5, 8.2))
    assert after.shape == (3, 5, 5)
    assert after.grid.origin == (1.0, 2.0, 4.0)
    same_patient(after, before, least=75)
    tilted = crop(image(), mode="box", lower=(-30, -10, 20), upper=(10, 20, 45))
    assert tilted.data.size <= 400
    with pytest.raises(GeometryError, match="no voxel centre"):
        crop(before, mode="box", lower=(100, 100, 100), upper=(110, 110, 110))
    with pytest.raises(ParameterError, match="both corners"):
        crop(before, mode="box", lower=(1, 2, 3))


def test_cropping_to_content_and_mask():
    grid = Grid.from_spacing((6, 20, 20), (2, 1, 1))
    data = R.normal(0, 1, grid.shape).astype(np.float32)
    data[2:4, 5:9, 6:15] += 100
    data[0, 0, 0] = np.nan
    content = crop(Image(data, grid))
    np.testing.assert_array_equal(content.data, data[2:4, 5:9, 6:15])
    wide = crop(Image(data, grid), margin=2.0)
    assert wide.shape == (4, 8, 13)
    labels = np.zeros(grid.shape, np.uint8)
    labels[1, 3:5, 3:6] = 2
    mask = Mask(data=labels, grid=grid, segments=(Segment(2, "x"),))
    np.testing.assert_array_equal(crop(Image(data, grid), mask, mode="mask").data,
                                  data[1:2, 3:5, 3:6])  # fmt: skip
    with pytest.raises(ParameterError, match="one mask"):
        crop(Image(data, grid), mode="mask")
    with pytest.raises(ParameterError, match="nothing lies"):
        crop(Image(data, grid), threshold=1e6)
    with pytest.raises(ParameterError, match="nothing lies"):
        crop(Image(np.full(grid.shape, 3.0), grid))
    with pytest.raises(ParameterError, match="no finite"):
        crop(Image(np.full(grid.shape, np.nan), grid))
    with pytest.raises(GeometryError, match="another grid"):
        crop(image(), mask, mode="mask")


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_padding_adds_around(mode):
    before = Image(R.normal(size=(2, *OBLIQUE.shape)).astype(np.float32), OBLIQUE,
                   axes=(Axis("t", (0, 1), "s"),))  # fmt: skip
    after = pad(before, before=(3.0, 1.5, 2.0), after=(0.0, 3.0, 1.0), mode=mode)
    assert after.shape == (2, 6, 11, 13)
    same_patient(before, after, least=400)
    cut = crop(after.at(t=0), mode="box", lower=(-1e4,) * 3, upper=(1e4,) * 3)
    assert cut.shape == after.shape[1:]
    if mode == "constant":
        assert after.data[0, 0, 0, 0] == before.data.min()


def test_padding_refusals():
    whole = Image(np.zeros((2, 3, 4), np.uint8), Grid.from_spacing((2, 3, 4), (1, 1, 1)))
    with pytest.raises(ParameterError, match="0 to 255"):
        pad(whole, before=(1, 1, 1), value=-5.0)
    with pytest.raises(ParameterError, match="use edge"):
        pad(whole, before=(2, 0, 0), mode="reflect")
    with pytest.raises(ParameterError, match="add less"):
        pad(whole, before=(1e4, 1e4, 1e4))
    for bad in ("XYZ", "LL", "LRS", "LPSA"):
        with pytest.raises(ParameterError, match="three letters"):
            reorient(whole, axes=bad)


def test_labels_stay_labels():
    labels = np.zeros((6, 12, 12), np.uint8)
    labels[1:5, 2:10, 2:6], labels[1:5, 2:10, 6:10] = 1, 7
    grid = Grid.from_spacing(labels.shape, (2, 1, 1))
    mask = Mask(data=labels, grid=grid, segments=(Segment(1, "a"), Segment(7, "b")))
    for smooth in (False, True):
        out = resample_mask(mask, spacing=(0.45,), smooth=smooth)
        assert set(np.unique(out.data)) == {0, 1, 7}
        assert out.data.dtype == np.uint8
        for number in (1, 7):
            old = (labels == number).sum() * grid.voxel_volume
            new = (out.data == number).sum() * out.grid.voxel_volume
            assert new == pytest.approx(old, rel=0.2)  # whole voxels, edges rounded
        same = resample_mask_to(mask, grid, smooth=smooth)
        np.testing.assert_array_equal(same.data, labels)
    planes = np.stack([labels == 1, labels > 0])
    over = Mask(data=planes, grid=grid, segments=mask.segments)
    assert resample_mask(over, spacing=(0.7,)).data.dtype == bool
    soft = Mask(data=planes.astype(np.float32) * 0.6, grid=grid, segments=mask.segments)
    assert resample_mask(soft, spacing=(0.7,)).data.max() == pytest.approx(0.6)
    with pytest.raises(ParameterError, match="one number"):
        resample_mask(mask, spacing=(1.0, 2.0))


def test_smooth_labels_are_simpleitks_gaussian_free_linear_shares():
    sitk = pytest.importorskip("SimpleITK")
    labels = (R.uniform(size=(5, 9, 9)) > 0.5).astype(np.uint8)
    grid = Grid.from_spacing(labels.shape, (1, 1, 1))
    mask = Mask(data=labels, grid=grid, segments=(Segment(1, "a"),))
    finer = with_spacing(grid, (0.6, 0.6, 0.6))
    given_ = sitk.GetImageFromArray(labels.astype(np.float32))
    target = sitk.Image([finer.shape[2], finer.shape[1], finer.shape[0]], sitk.sitkFloat32)
    target.SetSpacing([0.6] * 3)
    target.SetOrigin([float(v) for v in finer.origin])
    share = sitk.GetArrayFromImage(sitk.Resample(given_, target, sitk.Transform(), sitk.sitkLinear))
    ours = resample_mask_to(mask, finer, smooth=True).data
    inner = np.s_[1:-1, 1:-1, 1:-1]
    decided = np.abs(share - 0.5)[inner] > 1e-4
    np.testing.assert_array_equal(ours[inner][decided], (share > 0.5)[inner][decided])


def test_lanczos_is_its_formula_and_keeps_smooth_waves():
    index, weight = taps(np.array([10.3]), 30, order="lanczos")
    x = 10.3 - np.arange(8, 14)
    truth = np.sinc(x) * np.sinc(x / 3)
    np.testing.assert_array_equal(index[0], np.arange(8, 14))
    np.testing.assert_allclose(weight[0], truth / truth.sum())
    grid = Grid.from_spacing((1, 1, 64), (1, 1, 1))
    wave = Image(np.sin(2 * np.pi * np.arange(64) / 6)[None, None], grid)
    error = {}
    for order in ("linear", "cubic", "lanczos"):
        out = resample(wave, spacing=(1, 1, 0.5), order=order)
        at = out.grid.to_world(np.stack([np.zeros(128), np.zeros(128), np.arange(128)], 1))[:, 0]
        error[order] = np.abs(out.data[0, 0] - np.sin(2 * np.pi * at / 6))[20:-20].max()
    assert error["lanczos"] < error["cubic"] < error["linear"]
    assert error["lanczos"] < 0.02


@pytest.mark.parametrize("run", [crop, pad, flip, reorient, resample_mask])
def test_operations_keep_their_contract(run):
    check_operation(run)
