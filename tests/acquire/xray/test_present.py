"""Contrast over scales, tone curve, and the DX object that comes of it."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from somascope.acquire.xray.musica import equalised, musica
from somascope.acquire.xray.present import present, sigmoid
from somascope.acquire.xray.radiograph import radiograph
from somascope.core import Grid, Image
from somascope.core.errors import ParameterError
from somascope.io.dicom.write import instances
from somascope.phantoms import thorax_dx
from somascope.testing import check_operation

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"


def flat(data, **more):
    data = np.asarray(data)
    return Image(data, Grid.from_spacing(data.shape[-3:], (1, 0.5, 0.5)), "DX", **more)


def test_power_one_changes_nothing():
    plane = np.random.default_rng(1).normal(size=(90, 70)).astype(np.float32)
    same = equalised(plane, power=1.0, edges=0.0, latitude=1.0)
    np.testing.assert_allclose(same, plane, atol=2e-6)


def test_small_differences_are_raised_more_than_large_ones():
    """Discs of contrast 0.02 and 1: their ratio falls by the power law."""
    y, x = np.mgrid[:256, :256]
    weak, strong = (np.hypot(y - 128, x - c) < 12 for c in (64, 192))
    plane = (0.02 * weak + 1.0 * strong).astype(np.float32)

    def contrast(p, disc, c):
        ring = (np.hypot(y - 128, x - c) < 24) & (np.hypot(y - 128, x - c) > 18)
        return p[disc].mean() - p[ring].mean()

    out = equalised(plane, power=0.6, edges=0.0, latitude=1.0, noise=0.001)
    before = contrast(plane, strong, 192) / contrast(plane, weak, 64)
    after = contrast(out, strong, 192) / contrast(out, weak, 64)
    assert before == pytest.approx(50, rel=0.02)
    assert after == pytest.approx(50**0.6, rel=0.2)
    assert contrast(out, weak, 64) > 3 * contrast(plane, weak, 64)


def test_noise_is_not_raised_beyond_its_bound():
    rng = np.random.default_rng(2)
    step = np.zeros((128, 128), np.float32)
    step[:, 64:] = 2.0
    noisy = step + 0.002 * rng.standard_normal(step.shape).astype(np.float32)

    def rough(plane):
        return np.diff(plane[:, 90:110], axis=0).std()

    quiet = rough(equalised(noisy, power=0.5, edges=0.0, noise=0.05))
    loud = rough(equalised(noisy, power=0.5, edges=0.0, noise=0.0005))
    assert quiet < 0.6 * loud
    assert quiet < 0.05**-0.5 * 1.05 * rough(noisy)


def test_tone_curve_is_monotone_through_its_three_points():
    x = np.linspace(0, 1, 101)
    for slope in (0.1, 3.0, 12.0):
        y = sigmoid(x, slope)
        assert (np.diff(y) > 0).all()
        np.testing.assert_allclose(y[[0, 50, 100]], [0, 0.5, 1], atol=1e-12)
    np.testing.assert_allclose(sigmoid(x, 0.1), x, atol=1e-3)


def test_presented_from_raw_counts_it_is_a_dx_for_presentation(raw):
    image = present(raw)
    assert image.data.dtype == np.uint16
    assert image.data.max() <= 4095
    assert np.percentile(image.data, 99) > 3300
    (file,) = instances(image)
    d = pydicom.dcmread(io.BytesIO(file))
    assert d.SOPClassUID == FOR_PRESENTATION
    assert (d.Modality, d.ViewPosition, d.PresentationIntentType) == (
        "DX",
        "PA",
        "FOR PRESENTATION",
    )
    assert list(d.PatientOrientation) == ["L", "F"]
    assert (d.PhotometricInterpretation, d.PresentationLUTShape) == ("MONOCHROME2", "IDENTITY")
    assert (d.WindowCenter, d.WindowWidth) == (2048, 4096)
    assert list(d.ImagerPixelSpacing) == list(d.PixelSpacing) == [2.2, 2.2]
    assert (d.KVP, d.ExposureInuAs, d.DetectorType) == (120, 2000, "SCINTILLATOR")
    assert float(d.EstimatedRadiographicMagnificationFactor) == pytest.approx(1.125)
    assert list(d.ImageOrientationPatient) == [1, 0, 0, 0, 0, -1]
    assert d.FrameOfReferenceUID == raw.attributes["FrameOfReferenceUID"]
    np.testing.assert_array_equal(d.pixel_array, image.data[0])


def test_lengths_can_be_true_in_the_patient(raw):
    """A detector pixel of 2.2 mm is 2.2 / 1.125 mm in the plane of the volume's middle."""
    image = present(raw, plane="patient")
    assert image.grid.spacing[1:] == pytest.approx((2.2 / 1.125, 2.2 / 1.125))
    source = raw.operator.sources[0]
    for index in ((0, 0), (100, 30)):
        far, near = raw.operator.pixels(0)[index], image.grid.to_world((0, *index))
        along = (far - source) / np.linalg.norm(far - source)
        off = (near - source) - ((near - source) @ along) * along
        assert np.linalg.norm(off) < 1e-6  # on the same ray
        assert near[1] == pytest.approx(0.0, abs=1e-6)  # in the middle of the body
    d = pydicom.dcmread(io.BytesIO(instances(image)[0]))
    assert list(d.ImagerPixelSpacing) == [2.2, 2.2]
    assert list(d.PixelSpacing) == pytest.approx([1.9556, 1.9556], abs=1e-4)
    with pytest.raises(ParameterError, match="distances"):
        present(flat(np.random.default_rng(3).random((1, 64, 64))), plane="patient")


def test_monochrome1_is_the_same_picture(raw):
    usual, other = present(raw), present(raw, photometric="MONOCHROME1")
    np.testing.assert_allclose(usual.data.astype(int) + other.data.astype(int), 4095, atol=1)
    d = pydicom.dcmread(io.BytesIO(instances(other)[0]))
    assert (d.PhotometricInterpretation, d.PresentationLUTShape) == ("MONOCHROME1", "INVERSE")


def test_bone_can_be_black(raw):
    white, black = present(raw, shutter=False), present(raw, shutter=False, polarity="bone_black")
    spine, lung = np.s_[0, 100:110, 94:98], np.s_[0, 70:80, 62:66]
    assert white.data[spine].mean() > white.data[lung].mean() + 1000
    assert black.data[spine].mean() < black.data[lung].mean() - 1000


def test_counts_and_line_integrals_are_presented_alike(raw):
    from somascope.acquire.xray.correct import correct

    a = present(radiograph(raw), enhancement=0.0)
    b = present(radiograph(correct(raw, logarithm=False)), enhancement=0.0)
    assert np.abs(a.data.astype(int) - b.data.astype(int)).mean() < 12


def test_what_cannot_be_presented_is_refused(raw):
    with pytest.raises(ParameterError, match="one radiograph"):
        present(flat(np.zeros((3, 32, 32))))
    with pytest.raises(ParameterError, match="NaN"):
        present(flat(np.full((1, 32, 32), np.nan)))
    with pytest.raises(ParameterError, match="nothing was exposed"):
        present(flat(np.full((1, 32, 32), 2.0)))
    with pytest.raises(ParameterError, match="empty"):
        present(flat(np.zeros((1, 32, 32)), unit="{counts}"))
    with pytest.raises(ParameterError, match="negative"):
        present(flat(np.full((1, 32, 32), -1.0), unit="{counts}"))
    with pytest.raises(ParameterError, match="logarithm"):
        musica(flat(np.ones((1, 32, 32)), unit="{counts}"))


@pytest.mark.parametrize("name", ["musica", "present", "gridlines", "collimation", "scatter"])
def test_operations_keep_their_contract(name):
    image = thorax_dx((96, 96))
    image = replace(image, data=(image.data / 500).astype(np.float32))
    check_operation(f"acquire.xray.{name}", inputs=(image,))
