"""The whole line of flow: scatterers that move, channel data, velocity, DICOM, and back."""

import numpy as np
import pytest

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.doppler import colour_doppler
from somascope.acquire.ultrasound.doppler_clutter import clutter
from somascope.acquire.ultrasound.doppler_vector import vector_doppler
from somascope.acquire.ultrasound.elastography import strain
from somascope.acquire.ultrasound.scatterers import echoes
from somascope.acquire.ultrasound.simulate import window_of
from somascope.core import Acquisition, Grid, Provenance, Source
from somascope.core.errors import ParameterError
from somascope.io.dicom.series import volumes
from somascope.io.dicom.validate import check
from somascope.jobs.run import encode

RATE = 4000.0
DEEPER = 0.09


def channel_data(move, *, frames=6, iq=False, bandwidth=0.67, angles=(0.0,), seed=2):
    """``move(points, k)`` in mm; 24 elements, one plane wave."""
    probe = probes.linear(24, pitch=0.3, width=0.27, centre_frequency=5e6, bandwidth=bandwidth)
    sent = waves.plane(probe, angles)
    grid = Grid.from_spacing((1, 60, 24), (5.0, 0.1, 0.2), origin=(-2.3, 8.0, 0.0))
    fs = 20e6
    start, samples = window_of(probe, sent, grid, fs, 1540.0)
    times = tuple(k / RATE for k in range(frames))
    scan = ChannelScan(
        grid, probe=probe, transmit=sent, samples=samples, sampling_frequency=fs, start=start,
        times=times,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    rest = np.stack([rng.uniform(-4, 4, 500), rng.uniform(7, 15, 500), np.zeros(500)], axis=1)
    points = np.stack([move(rest, k) for k in range(frames)])
    rf = echoes(scan, points, rng.normal(size=500))
    made = Acquisition(rf, scan, "US", provenance=Provenance((Source("phantom", "flow"),)))
    if iq:
        from somascope.acquire.ultrasound.iq import demodulate

        return demodulate(made)
    return made


@pytest.fixture(scope="module")
def flowing():
    step = np.array([0, DEEPER / RATE * 1e3, 0])
    return {iq: channel_data(lambda p, k: p + k * step, iq=iq) for iq in (False, True)}


@pytest.mark.parametrize("iq", [False, True])
def test_channel_data_give_the_speed(flowing, iq):
    """The pulse is short (bandwidth 0.67), and diffraction takes 4 % off its mean frequency."""
    given = {"averaging": 1.0, "threshold": 30.0}
    inner = np.s_[0, 10:-10, 6:-6]
    found = colour_doppler(flowing[iq], method="loupas", **given)
    assert np.median(found.data[inner]) == pytest.approx(-100 * DEEPER, rel=0.03)
    assert found.grid == flowing[iq].operator.grid
    nominal = colour_doppler(flowing[iq], **given)
    assert np.median(nominal.data[inner]) == pytest.approx(-100 * DEEPER, rel=0.12)


def test_a_long_pulse_has_the_frequency_it_is_named_for():
    step = np.array([0, DEEPER / RATE * 1e3, 0])
    found = colour_doppler(channel_data(lambda p, k: p + k * step, bandwidth=0.2), averaging=1.0)
    assert np.median(found.data[0, 10:-10, 6:-6]) == pytest.approx(-100 * DEEPER, rel=0.03)


def test_velocity_goes_through_dicom(flowing):
    found = colour_doppler(flowing[False])
    parts = encode(found)
    for part in parts:
        assert check(part) == []
    back = volumes(parts)[0][0]
    assert back.unit == "cm/s"
    np.testing.assert_allclose(back.data.squeeze(), found.data.squeeze(), atol=0.01)
    assert found.provenance.steps[-1].operation == "acquire.ultrasound.colour_doppler"


def test_filtered_frames_stay_frames(flowing):
    clean = clutter(flowing[True], method="polynomial", order=1)
    assert clean.data.dtype == np.complex64
    assert [a.name for a in clean.axes] == ["t"]
    found = colour_doppler(clean, frequency=5.0, averaging=1.0)
    assert found.unit == "cm/s"


def test_channel_data_give_the_strain():
    """1 % between two frames; a scatterer's echo moves by much less than a period."""
    squeeze = channel_data(lambda p, k: p + k * 0.01 * (p * 0 + [0, 1, 0]) * (15 - p[:, 1:2]),
                           frames=2)  # fmt: skip
    found = strain(squeeze, window=0.8, gradient=2.0, most=0.2)
    assert np.median(found.data[0, 12:-12, 6:-6]) == pytest.approx(1.0, rel=0.15)


def test_channel_data_of_an_archive_become_a_velocity_series(flowing, tmp_path):
    from somascope.archive import Archive
    from somascope.jobs.run import execute, store

    with Archive.open(tmp_path) as archive:
        raw = store(archive, [encode(flowing[False])], operation="acquire.ultrasound.simulate")
        made = execute(archive, "acquire.ultrasound.colour_doppler", raw, {"averaging": 1.0})
        found = archive.locate(series=made[0])
        back = volumes([i.path for i in found])[0][0]
    direct = colour_doppler(flowing[False], averaging=1.0)
    np.testing.assert_allclose(back.data.squeeze(), direct.data.squeeze(), atol=0.01)


def test_both_components_from_channel_data_of_three_waves():
    step = np.array([0.1, 0.04, 0]) / RATE * 1e3  # 10 cm/s across, 4 cm/s deeper
    raw = channel_data(lambda p, k: p + k * step, bandwidth=0.2, angles=(-12.0, 0.0, 12.0))
    across, towards = vector_doppler(raw, averaging=1.5)
    inner = np.s_[0, 15:-15, 8:-8]
    assert np.median(across.data[inner]) == pytest.approx(10.0, rel=0.1)
    assert np.median(towards.data[inner]) == pytest.approx(-4.0, rel=0.1)
    with pytest.raises(ParameterError, match="hardly differ"):
        vector_doppler(channel_data(lambda p, k: p, frames=2, angles=(0.0, 0.1)))
