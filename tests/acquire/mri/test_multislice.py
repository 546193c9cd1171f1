"""Slices measured at once: the signal is the shifted sum, and the slices come back."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.mri.multislice import blipped, sms, sms_simulate
from somascope.acquire.mri.simulate import sampling_mask
from somascope.core import Grid, Image, Provenance, Source
from somascope.core.errors import GeometryError, ParameterError
from somascope.io.dicom import raw
from somascope.jobs.run import encode
from somascope.testing import check_operation


def head(nz=6, n=48, seed=0):
    """Slices that differ, oblique: ellipses of other sizes and brightness, each with a mark."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, m) for m in (nz, n, n)], indexing="ij")
    grow = 0.75 + 0.15 * np.cos(3 * z + seed)
    data = 1.0 * (x**2 / 0.5 + y**2 / 0.8 < grow**2) * (1 + 0.4 * z)
    data += 0.8 * ((x - 0.3) ** 2 + (y + 0.2 * z) ** 2 < 0.03)
    a = 0.25
    direction = [[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]]
    grid = Grid.from_spacing((nz, n, n), (6.0, 4.0, 4.0), origin=(-90, -95, 10),
                             direction=direction, frame_of_reference="1.2.3.5")  # fmt: skip
    return Image(data.astype(np.float32), grid, "MR", "1",
                 provenance=Provenance((Source("phantom", "ellipses"),)))  # fmt: skip


def test_the_signal_is_the_sum_of_slices_with_blipped_phases():
    image, bands = head(6, 16), 3
    first, second = sms_simulate(image, bands=bands, coils=4, snr=None)
    k = np.arange(16) - 8
    transform = np.exp(-2j * np.pi * np.outer(k, k) / 16) / 4
    for start, one in ((0, first), (1, second)):
        maps = one.calibration["sensitivities"]
        parts = maps * image.data[start::2]
        planes = np.einsum("ky,lx,csyx->cskl", transform, transform, parts)
        for line in range(16):
            kz = line % bands  # every line is measured: the i-th has kz = i mod bands
            phase = np.exp(-2j * np.pi * (kz - 1) * (np.arange(bands) - 1) / bands)
            truth = np.einsum("s,csl->cl", phase, planes[:, :, line]) / np.sqrt(bands)
            np.testing.assert_allclose(one.samples[:, kz, line], truth, atol=2e-5)
            others = [z for z in range(bands) if z != kz]
            assert not one.samples[:, others, line].any()


@pytest.mark.parametrize(("bands", "acceleration"), [(2, 1), (3, 1), (2, 2)])
def test_slices_come_back(bands, acceleration):
    image = head(2 * bands, 32)
    groups = sms_simulate(image, bands=bands, acceleration=acceleration, coils=12, snr=None)
    assert len(groups) == 2
    back = sms(*groups, iterations=150)
    assert back.grid.allclose(image.grid)
    assert back.grid.frame_of_reference == image.grid.frame_of_reference
    error = np.linalg.norm(back.data - image.data) / np.linalg.norm(image.data)
    assert error < 0.01
    # A plain sum of squares of one group shows the slices on each other.
    folded = np.sqrt((np.abs(groups[0].operator.coil_images(groups[0].samples)) ** 2).sum(axis=0))
    assert np.linalg.norm(folded - image.data[::2]) > 0.3 * np.linalg.norm(image.data)


def test_the_order_of_groups_does_not_matter():
    image = head(4, 32)
    groups = sms_simulate(image, bands=2, coils=8, snr=None)
    np.testing.assert_array_equal(sms(*groups).data, sms(*groups[::-1]).data)


def test_noise_is_that_of_the_geometry():
    """Two bands shifted by half the field: pixel by pixel two unknowns, so ``g`` is closed form."""
    image, snr = head(4, 32), 40.0
    facts = {"bands": 2, "coils": 12}
    noisy = sms(*sms_simulate(image, snr=snr, seed=3, **facts), part="complex", iterations=120)
    groups = sms_simulate(image, snr=None, **facts)
    clean = sms(*groups, part="complex", iterations=120)
    size = np.abs(image.data)
    sigma = float(size[size > 0.1 * size.max()].mean()) / snr
    variance = np.empty(image.data.shape)
    for first, group in enumerate(groups):
        own = group.calibration["sensitivities"]
        other = np.roll(own[:, ::-1], 16, axis=2)
        a, b = (np.abs(own) ** 2).sum(axis=0), (np.abs(other) ** 2).sum(axis=0)
        mixed = np.abs((own.conj() * other).sum(axis=0)) ** 2
        variance[first::2] = b / (a * b - mixed)
    inside = image.data > 0.1
    measured = np.sqrt(np.mean((noisy.data - clean.data)[inside].real ** 2))
    assert measured == pytest.approx(sigma * np.sqrt(variance[inside].mean()), rel=0.1)


def test_blips_step_through_the_bands():
    mask = blipped(sampling_mask(16, 2, 0), 3)
    assert mask.sum() == 8
    assert (mask.sum(axis=0) <= 1).all()
    assert [int(np.flatnonzero(mask[:, ky, 0])[0]) for ky in range(0, 16, 2)] == [
        0, 1, 2, 0, 1, 2, 0, 1,
    ]  # fmt: skip


def test_what_is_refused():
    with pytest.raises(ParameterError, match="6 slices cannot be measured 4 at a time"):
        sms_simulate(head(6, 16), bands=4)
    with pytest.raises(ParameterError, match="at least one"):
        sms()
    groups = sms_simulate(head(6, 16), bands=2, snr=None)
    with pytest.raises(GeometryError, match="not equally far apart"):
        sms(groups[0], groups[2])
    with pytest.raises(GeometryError, match="not equally far apart"):
        sms(groups[0], groups[0])
    other = sms_simulate(head(6, 24), bands=2, snr=None)
    with pytest.raises(GeometryError, match="different planes"):
        sms(groups[0], other[1])


def test_promises_and_archive():
    image = head(4, 16)
    check_operation("acquire.mri.sms_simulate", inputs=(image,), params={"coils": 4})
    groups = sms_simulate(image, coils=4)
    check_operation("acquire.mri.sms", inputs=tuple(groups), params={"iterations": 4})
    (file,) = raw.instances(groups[1])
    back = raw.read(file)
    moved = [groups[0], replace(back, provenance=groups[1].provenance)]
    np.testing.assert_array_equal(sms(*moved).data, sms(*groups).data)
    assert len(encode(sms(*groups))) == 4
