"""Spectra of scatterers that move at speeds known to the test, and their axes through DICOM."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.ultrasound.doppler_frames import slow_time
from somascope.acquire.ultrasound.doppler_spectral import (
    axes_of,
    gate_of,
    spectral_doppler,
    spectrum,
)
from somascope.core.errors import GeometryError, ParameterError
from somascope.io.dicom.series import volumes
from somascope.io.dicom.validate import check
from somascope.jobs.run import encode
from somascope.testing import check_operation
from tests.acquire.ultrasound.flow import FREQUENCY, PRF, SPEED, iq_image

STEP = (0.1, 0.1)
LIMIT = 100 * SPEED * PRF / 4 / FREQUENCY
MIDDLE = (0.0, 3.0)
PULSE = 6e-4
"""Metres; Doppler sends long pulses, since a short one passes a speed by too soon to tell it."""


def frames_of(deeper, *, frames=256, seed=1):
    """Three lines of 6 mm; scatterers stream through them, deeper at ``deeper`` m/s (or a course).

    They come from far enough that the gate never runs dry.
    """
    rng = np.random.default_rng(seed)
    speed = np.broadcast_to(deeper, frames)
    way = np.concatenate([[0.0], np.cumsum(speed[1:])]) / PRF
    low, high = -way.max() - 2e-3, 8e-3 - way.min()
    count = int(12 * (high - low) / 1e-4 / 10)
    place = rng.uniform(low, high, count)
    strength = rng.normal(size=(count, 3)) + 1j * rng.normal(size=(count, 3))
    depth = np.arange(60) * 1e-4
    out = np.empty((frames, 1, 60, 3), np.complex128)
    for t in range(frames):
        z = place + way[t]
        near = (z > -2e-3) & (z < 8e-3)
        spread = np.exp(-(((depth[:, None] - z[near]) / PULSE) ** 2))
        out[t, 0] = spread @ (np.exp(-4j * np.pi * FREQUENCY / SPEED * z[near])[:, None]
                              * strength[near])  # fmt: skip
    return out


def slow_of(frames):
    return slow_time(iq_image(frames, STEP), "test", frequency=None)


@pytest.mark.parametrize("deeper", [0.08, -0.21])
def test_the_peak_is_at_the_speed(deeper):
    slow = slow_of(frames_of(deeper))
    gate = gate_of(slow.image.grid, MIDDLE, 2.0)
    assert gate.sum() in (20, 21)
    found = spectrum(slow, gate, window=64, step=16)
    assert found.times[0] == pytest.approx(31.5 / PRF)
    assert np.diff(found.times) == pytest.approx(16 / PRF)
    assert found.velocity[[0, -1]] == pytest.approx([-LIMIT, LIMIT], abs=1.3)
    peak = found.velocity[found.power.mean(axis=1).argmax()]
    assert peak == pytest.approx(-100 * deeper, abs=1.0)
    assert found.mean() == pytest.approx(-100 * deeper, abs=1.5)


def test_two_speeds_are_two_lines():
    """Blood in both directions: colour Doppler gives one number, the spectrum both."""
    both = frames_of(0.1) + frames_of(-0.15, seed=2)
    slow = slow_of(both)
    found = spectrum(slow, gate_of(slow.image.grid, MIDDLE, 3.0), window=128, step=64)
    course = found.power.mean(axis=1)
    for low, high, speed in ((-25, -3, -10.0), (3, 25, 15.0)):
        part = (found.velocity > low) & (found.velocity < high)
        assert found.velocity[part][course[part].argmax()] == pytest.approx(speed, abs=1.0)
    between = course[np.abs(found.velocity - 2.5) < 3].max()
    assert between < 0.02 * course.max()


def test_noise_is_spread_evenly_and_the_power_is_kept():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(512, 1, 60, 3)) + 1j * rng.normal(size=(512, 1, 60, 3))
    slow = slow_of(noise)
    found = spectrum(slow, gate_of(slow.image.grid, MIDDLE, 4.0), window=64, step=64)
    course = found.power.mean(axis=1)
    assert course.mean() == pytest.approx(2.0, rel=0.05)
    assert course.std() < 0.2 * course.mean()


def test_the_baseline_undoes_aliasing_and_the_angle_the_projection():
    slow = slow_of(frames_of(-1.4e-2 * LIMIT))
    gate = gate_of(slow.image.grid, MIDDLE, 3.0)
    folded = spectrum(slow, gate, window=64, step=64)
    assert folded.velocity[folded.power.mean(axis=1).argmax()] == pytest.approx(-0.6 * LIMIT, abs=2)
    shifted = spectrum(slow, gate, window=64, step=64, baseline=0.8)
    assert shifted.velocity[shifted.power.mean(axis=1).argmax()] == pytest.approx(
        1.4 * LIMIT, abs=2
    )
    turned = spectrum(slow, gate, window=64, step=64, baseline=0.8, angle=60.0)
    assert turned.velocity == pytest.approx(2 * shifted.velocity)


def test_a_pulse_is_seen_in_time():
    """The speed changes in the middle of the record: so does the bright row, at that column."""
    both = frames_of(np.repeat([-0.05, -0.25], 256), frames=512)
    picture = spectral_doppler(iq_image(both, STEP), position=MIDDLE, window=32)
    velocity, times = axes_of(picture)
    assert picture.shape == (1, velocity.size, times.size)
    assert picture.data.dtype == np.uint8
    bright = velocity[picture.data[0].argmax(axis=0)]
    early, late = times < 230 / PRF, times > 282 / PRF
    assert np.abs(bright[early] - 5).max() < 3.0
    assert np.abs(bright[late] - 25).max() < 3.0
    assert velocity[0] > 0 > velocity[-1]  # towards the probe is up


def test_a_wall_filter_uncovers_the_blood():
    tissue = 100 * frames_of(0.004, seed=5)
    image = iq_image(tissue + frames_of(-0.18, seed=6), STEP)
    raw = spectral_doppler(image, position=MIDDLE)
    clean = spectral_doppler(image, position=MIDDLE, wall="svd", cutoff=4.0)
    velocity, _ = axes_of(clean)
    at = np.abs(velocity - 18) < 1.5
    assert raw.data[0, at].mean() < 40  # 40 dB below the tissue there is nothing
    assert clean.data[0, at].mean() > 150


def test_channel_data_and_dicom():
    """From the elements' echoes to DICOM and back: the axes are the same seconds and cm/s."""
    from tests.acquire.ultrasound.test_flow_line import RATE, channel_data

    deeper = 0.12
    step = np.array([0, deeper / RATE * 1e3, 0])
    scan = channel_data(lambda p, k: p + k * step, frames=24, bandwidth=0.2)
    picture = spectral_doppler(scan, position=(0.0, 11.0), window=16, step=2)
    parts = encode(picture)
    for part in parts:
        assert check(part) == []
    (back,), problems = volumes(parts)
    assert problems == []
    np.testing.assert_array_equal(back.data, picture.data)
    velocity, times = axes_of(back)
    for mine, other in zip((velocity, times), axes_of(picture), strict=True):
        assert mine == pytest.approx(other)
    bright = velocity[back.data[0].astype(float).mean(axis=1).argmax()]
    assert bright == pytest.approx(-100 * deeper, abs=1.5)
    assert times[0] == pytest.approx(7.5 / RATE)
    # Cut, the region speaks of another picture and is left out.
    cut = picture.crop(start=(0, 0, 0), stop=(1, 50, 3))
    with pytest.raises(ParameterError, match="no spectral region"):
        axes_of(volumes(encode(cut))[0][0])


def test_what_cannot_be_measured_is_refused():
    image = iq_image(frames_of(0.1, frames=32), STEP)
    with pytest.raises(GeometryError, match=r"gate at L 2, P 40 mm"):
        spectral_doppler(image, position=(2.0, 40.0))
    with pytest.raises(ParameterError, match="window of 64 of 32"):
        spectral_doppler(image, position=MIDDLE)
    with pytest.raises(ParameterError, match="lost the phase"):
        spectral_doppler(replace(image, data=np.abs(image.data)))


def test_it_keeps_the_promises_of_an_operation():
    check_operation(
        "acquire.ultrasound.spectral_doppler", inputs=(iq_image(frames_of(0.1, frames=64), STEP),),
        params={"position": list(MIDDLE), "window": 16},
    )  # fmt: skip
