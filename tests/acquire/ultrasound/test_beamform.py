"""Delay and sum: equal to the adjoint, to pymust, and to the diffraction limit."""

import numpy as np
import pytest

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.beamform import columns_of, das
from somascope.acquire.ultrasound.channels import ChannelScan, field_of
from somascope.acquire.ultrasound.das import Beamformer
from somascope.acquire.ultrasound.fronts import front_echoes
from somascope.acquire.ultrasound.stolt import stolt
from somascope.core import Acquisition, Grid
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation

PROBE = probes.linear(16)


def transmits(probe=PROBE):
    return {
        "plane": waves.plane(probe, [-5, 0, 8]),
        "diverging": waves.diverging(probe, [[0, -5, 0], [1.0, -4, 0]]),
        "focused": waves.focused(probe, [[0.3, 8, 0]]),
        "delays": waves.fired(waves.plane(probe, [-5, 4]).fire_times(probe, 1540.0)),
    }


def noise(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@pytest.mark.parametrize("name", list(transmits()))
def test_without_weights_it_is_the_adjoint(name):
    grid = field_of(PROBE, depth=12.0, spacing=0.3)
    scan = ChannelScan(
        grid, probe=PROBE, transmit=transmits()[name], samples=330, sampling_frequency=20e6,
        demodulation_frequency=5e6, start=1e-6, times=(0.0, 0.1),
    )  # fmt: skip
    iq = noise(scan.range)
    expected = scan.adjoint(iq)
    made = Beamformer(scan, columns_of(grid), f_number=0.0, window="boxcar")
    got = made(iq).reshape(2, 1, grid.shape[2], grid.shape[1]).swapaxes(-1, -2)
    assert np.abs(got - expected).max() < 2e-4 * np.abs(expected).max()
    # And without compounding, the transmits one by one.
    each = made(iq, compound=False)
    assert np.abs(each.sum(axis=1) - made(iq)).max() < 1e-5 * np.abs(expected).max()


def test_a_volume_from_a_matrix_probe_is_the_adjoint():
    probe = probes.matrix(6, 4)
    grid = Grid.from_spacing((3, 20, 4), (0.4, 0.2, 0.5), origin=(-0.7, 5.0, -0.4))
    scan = ChannelScan(
        grid, probe=probe, transmit=waves.diverging(probe, [[0, -2, 0.1]]), samples=300,
        sampling_frequency=14e6, demodulation_frequency=3.5e6,
    )  # fmt: skip
    iq = noise(scan.range)
    got = das(Acquisition(iq, scan, "US"), f_number=0.0, window="boxcar").data
    expected = scan.adjoint(iq)
    assert np.abs(got - expected).max() < 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("angle", [0.0, 9.0])
def test_agrees_with_pymust(angle):
    pymust = pytest.importorskip("pymust")
    probe = probes.linear(64, centre_frequency=5e6)
    # Pixels at odd places: an element at the very rim of the aperture is in or out by rounding.
    grid = field_of(probe, depth=22.0, start=12.0031, width=8.0, spacing=0.20717)
    sent = waves.plane(probe, [angle])
    scan = ChannelScan(grid, probe=probe, transmit=sent, samples=800, sampling_frequency=20e6)
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(-6, 6, 300), rng.uniform(11, 24, 300), np.zeros(300)], axis=1)
    rf = front_echoes(scan, points, rng.normal(size=300))
    param = pymust.utils.Param()
    param.fs, param.fc, param.c, param.pitch, param.width = 20e6, 5e6, 1540, 3e-4, 2.7e-4
    param.Nelements, param.bandwidth, param.radius = 64, 67, np.inf
    param.t0, param.fnumber = np.zeros((1, 1)), 1.5
    param.TXdelay = sent.fire_times(probe, 1540.0)
    iq = pymust.rf2iq(np.ascontiguousarray(rf[0].T.astype(float)), param)
    nodes = [(0, i, j) for i in range(grid.shape[1]) for j in range(grid.shape[2])]
    x, z = grid.to_world(nodes)[:, :2].T.reshape(2, *grid.shape[1:]) / 1e3
    matrix = pymust.dasmtx(iq, x, z, param, "linear")
    theirs = (matrix @ iq.flatten(order="F")).reshape(x.shape, order="F")
    made = Acquisition(
        np.ascontiguousarray(iq.T)[None].astype(np.complex64),
        scan.with_changes(demodulation_frequency=5e6), "US",
    )  # fmt: skip
    ours = das(made, f_number=1.5, window="boxcar").data[0]
    # pymust searches the first arrival among interpolated elements: late by up to 0.04 mm^2 / 2 z.
    assert np.linalg.norm(ours - theirs) < 2e-3 * np.linalg.norm(theirs)


def width_at_half(values, step):
    """Full width at half maximum by linear interpolation, in the unit of ``step``."""
    v = np.abs(values) / np.abs(values).max()
    k = int(v.argmax())
    left = np.interp(-0.5, -v[k::-1], np.arange(len(v[k::-1])))
    right = np.interp(-0.5, -v[k:], np.arange(len(v[k:])))
    return (left + right) * step


def point_image(angles, f_number, method=das, **settings):
    """A point at 20 mm through an even aperture; pixels 0.02 mm apart about it."""
    probe = probes.linear(192, pitch=0.15, width=0.001, centre_frequency=5e6, bandwidth=0.5)
    step = 0.02
    grid = Grid.from_spacing((1, 41, 161), (1, step, step), origin=(-80 * step, 20 - 20 * step, 0))
    sent = waves.plane(probe, angles)
    scan = ChannelScan(grid, probe=probe, transmit=sent, samples=900, sampling_frequency=25e6)
    rf = front_echoes(scan, np.array([[0.0, 20.0, 0.0]]), np.ones(1))
    image = method(Acquisition(rf, scan, "US"), f_number=f_number, **settings)
    return probe, np.abs(image.data[0]), step


def test_lateral_resolution_is_the_diffraction_limit():
    """One plane wave: amplitude sinc(x / (lambda F)), FWHM 1.207 lambda F."""
    probe, psf, step = point_image([0.0], 3.0, window="boxcar")
    row, column = np.unravel_index(psf.argmax(), psf.shape)
    assert row == 20
    assert abs(column - 80) <= 3  # elements at the rim come and go with the pixel
    limit = 1.2067 * probe.wavelength() * 3.0
    assert width_at_half(psf[20], step) == pytest.approx(limit, rel=0.05)


def test_compounding_reaches_the_two_way_limit():
    """Waves over the receiving angles: amplitude sinc^2, FWHM 0.886 lambda F."""
    half = np.degrees(np.arctan(1 / 6.0))
    probe, psf, step = point_image(np.linspace(-half, half, 15), 3.0, window="boxcar")
    limit = 0.8859 * probe.wavelength() * 3.0
    assert width_at_half(psf[20], step) == pytest.approx(limit, rel=0.05)


def test_axial_resolution_is_that_of_the_pulse():
    """Gaussian spectrum of half width h at -6 dB: FWHM c ln 2 / (pi h) in depth."""
    probe, psf, step = point_image([0.0], 3.0, window="boxcar")
    h = probe.bandwidth * probe.centre_frequency / 2
    limit = 1.54e6 * np.log(2) / (np.pi * h)
    assert width_at_half(psf[:, 80], step) == pytest.approx(limit, rel=0.05)


def test_stolt_is_the_same_image():
    for angles in ([0.0], [-8.0, 0.0, 8.0]):
        _, a, step = point_image(angles, 2.0, window="boxcar")
        _, b, _ = point_image(angles, 2.0, method=stolt)
        assert abs(a[20].argmax() - b[20].argmax()) <= 3
        assert abs(a[:, 80].argmax() - b[:, 80].argmax()) <= 1
        assert width_at_half(b[20], step) == pytest.approx(width_at_half(a[20], step), rel=0.08)
        assert width_at_half(b[:, 80], step) == pytest.approx(
            width_at_half(a[:, 80], step), rel=0.05
        )
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98


def small(**changes):
    probe = probes.linear(32)
    grid = field_of(probe, depth=14.0, spacing=0.4, frame_of_reference="1.2.3")
    scan = ChannelScan(
        grid, **{"probe": probe, "transmit": waves.plane(probe, [-4, 4]), "samples": 460,
                 "sampling_frequency": 20e6, **changes},
    )  # fmt: skip
    rng = np.random.default_rng(1)
    points = np.stack([rng.uniform(-4, 4, 50), rng.uniform(3, 13, 50), np.zeros(50)], axis=1)
    rf = front_echoes(scan, points, rng.normal(size=50))
    return Acquisition(rf, scan, "US", attributes={"PatientName": "A^B"})


def test_promises():
    check_operation("acquire.ultrasound.das", inputs=(small(),))
    check_operation("acquire.ultrasound.das", inputs=(small(times=(0.0, 0.1)),),
                    params={"compound": False, "part": "magnitude"})  # fmt: skip
    check_operation("acquire.ultrasound.stolt", inputs=(small(),))
    assert das(small()).attributes["PatientName"] == "A^B"


def test_speed_of_sound_moves_the_echo():
    probe = probes.linear(64)
    grid = field_of(probe, depth=23.0, start=17.0, width=2.0, spacing=0.05)
    scan = ChannelScan(grid, probe=probe, transmit=waves.plane(probe, [0.0]), samples=800,
                       sampling_frequency=20e6)  # fmt: skip
    rf = front_echoes(scan, np.array([[0.0, 20.0, 0.0]]), np.ones(1))
    image = das(Acquisition(rf, scan, "US"), speed_of_sound=1600.0, f_number=3.0)
    row = int(np.abs(image.data[0]).max(axis=1).argmax())
    assert grid.to_world([0, row, 0])[1] == pytest.approx(20.0 * 1600 / 1540, abs=0.15)


def test_bad_input():
    good = small()
    samples = good.samples.copy()
    samples[0, 3, 5] = np.nan
    with pytest.raises(GeometryError, match="1 samples are not finite"):
        das(Acquisition(samples, good.operator, "US"))
    for depth, words in ((-30, "behind the probe"), (300, "record ends")):
        away = Grid.from_spacing((1, 4, 4), (1, 1, 1), origin=(0, depth, 0))
        elsewhere = Acquisition(good.samples, good.operator.with_changes(grid=away), "US")
        with pytest.raises(GeometryError, match=words):
            das(elsewhere)
    iq = Acquisition(good.samples, good.operator.with_changes(demodulation_frequency=5e6), "US")
    with pytest.raises(GeometryError, match="RF is real"):
        das(iq)
    single = small(transmit=waves.synthetic(probes.linear(32), [3]))
    with pytest.raises(ParameterError, match="plane waves"):
        stolt(single)
    made = Beamformer(good.operator, columns_of(good.operator.grid))
    with pytest.raises(GeometryError, match="channel data of shape"):
        made(np.zeros((1, 2, 31, 460), np.complex64))
