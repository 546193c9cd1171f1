"""Strain and shear waves against the deformation that was put in."""

import numpy as np
import pytest

from somascope.acquire.ultrasound.elastography import strain
from somascope.acquire.ultrasound.elastography_shear import shear_wave
from somascope.acquire.ultrasound.elastography_tracking import slope
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation
from tests.acquire.ultrasound.flow import FREQUENCY, SPEED, iq_image

K2 = 4 * np.pi * FREQUENCY / SPEED


def pressed(displacement, *, depth=24e-3, width=8e-3, step=(1e-4, 2e-4), seed=3, noise=0.0):
    """IQ before and after ``displacement(x, z)`` in metres, ``(2, 1, y, x)``."""
    rng = np.random.default_rng(seed)
    ny, nx = round(depth / step[0]), round(width / step[1])
    z = np.arange(ny) * step[0]
    x = np.arange(nx) * step[1]
    count = 4 * nx * round(depth / 3e-4)
    zs, xs = rng.uniform(-1e-3, depth + 1e-3, count), rng.uniform(-1e-3, width + 1e-3, count)
    a = rng.normal(size=count) + 1j * rng.normal(size=count)
    out = np.zeros((2, 1, ny, nx), np.complex128)
    lateral = np.exp(-(((x[None] - xs[:, None]) / 4e-4) ** 2))
    for k in range(2):
        at = zs + k * displacement(xs, zs)
        offset = z[None] - at[:, None]
        axial = np.exp(-((offset / 1.5e-4) ** 2)) * np.exp(1j * K2 * offset)
        out[k, 0] = (axial.T * a) @ lateral
    out += noise * (rng.normal(size=out.shape) + 1j * rng.normal(size=out.shape))
    return out, step


def frames_of(made, **given):
    out, step = made
    return iq_image(out, (step[0] * 1e3, step[1] * 1e3), times=[0.0, 0.1], **given)


def test_uniform_compression():
    """1 % over 24 mm with the far side fixed: 0.24 mm at the probe, which is 1.6 wavelengths."""
    made = pressed(lambda x, z: 0.01 * (24e-3 - z), noise=0.2)
    moved = strain(frames_of(made), quantity="displacement").data[0]
    z = np.arange(moved.shape[0]) * 1e-4
    inner = np.s_[10:-20, 4:-4]
    assert np.abs(moved - 10 * (24e-3 - z)[:, None])[inner].max() < 0.02
    found = strain(frames_of(made), gradient=4.0).data[0]
    assert found[30:-30, 4:-4].mean() == pytest.approx(1.0, rel=0.02)
    assert found[30:-30, 4:-4].std() < 0.15
    match = strain(frames_of(made), quantity="correlation").data[0]
    assert np.median(match[inner]) > 0.9


def test_a_stiff_layer_gives_way_less():
    def displacement(_x, z):  # 1.2 % outside, 0.3 % from 9 to 15 mm; the far side is fixed
        inside = np.clip(15e-3 - z, 0, 6e-3)
        return 0.012 * (24e-3 - z - inside) + 0.003 * inside

    found = strain(frames_of(pressed(displacement)), gradient=2.0).data[0]
    profile = found[:, 4:-4].mean(axis=1)
    assert profile[30:70].mean() == pytest.approx(1.2, rel=0.04)
    assert profile[105:135].mean() == pytest.approx(0.3, abs=0.04)
    assert profile[175:215].mean() == pytest.approx(1.2, rel=0.04)
    edges = 30 + np.flatnonzero(np.diff((profile[30:-30] > 0.75).astype(int)))
    assert edges[0] * 0.1 == pytest.approx(9.0, abs=0.5)
    assert edges[-1] * 0.1 == pytest.approx(15.0, abs=0.5)


def test_stretching_has_the_other_sign():
    made = pressed(lambda x, z: -0.006 * (24e-3 - z))
    assert strain(frames_of(made)).data[0][30:-30].mean() == pytest.approx(-0.6, rel=0.03)


def test_slope_is_the_least_squares_line():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(40, 2)), rng.uniform(0.1, 1, (40, 2))
    found = slope(values, weights, rows=5)
    for x in range(2):
        y = np.arange(11)
        line = np.polyfit(y, values[10:21, x], 1, w=np.sqrt(weights[10:21, x]))
        assert found[15, x] == pytest.approx(line[0])


def shaken(speed, *, noise=0.02, nx=80, dx=3e-4, rate=5000.0, count=70, push=0, seed=5):
    """IQ of a wave that leaves ``push``; ``speed(x)`` in m/s, displacement of 15 micrometres."""
    rng = np.random.default_rng(seed)
    x = np.arange(nx) * dx
    c = np.broadcast_to(speed(x), (nx,)) if callable(speed) else np.full(nx, speed)
    late = np.abs(np.cumsum(dx / c) - np.cumsum(dx / c)[push])
    t = np.arange(count) / rate
    u = 15e-6 * np.exp(-(((t[:, None] - 1.5e-3 - late) / 0.7e-3) ** 2))
    ny = 16
    still = rng.normal(size=(ny, nx)) + 1j * rng.normal(size=(ny, nx))
    film = still * np.exp(-1j * K2 * u)[:, None, :]
    film = film + noise * (rng.normal(size=film.shape) + 1j * rng.normal(size=film.shape))
    return iq_image(film[:, None], (0.3, dx * 1e3), times=t)


@pytest.mark.parametrize("method", ["correlation", "phase"])
@pytest.mark.parametrize("truth", [1.5, 4.0])
def test_the_speed_of_a_wave(method, truth):
    found = shear_wave(shaken(truth), push=0.0, method=method).data[0]
    assert np.median(found[4:-4, 10:50]) == pytest.approx(truth, rel=0.03)
    assert np.percentile(np.abs(found[4:-4, 10:50] - truth), 90) < 0.15 * truth


def test_two_tissues_and_both_sides_of_the_push():
    image = shaken(lambda x: np.where(x < 12e-3, 2.0, 3.5), push=20)
    found = shear_wave(image, push=20 * 0.3).data[0]
    assert np.median(found[4:-4, 6:13]) == pytest.approx(2.0, rel=0.05)  # runs to the left
    assert np.median(found[4:-4, 26:33]) == pytest.approx(2.0, rel=0.05)
    assert np.median(found[4:-4, 50:70]) == pytest.approx(3.5, rel=0.05)
    modulus = shear_wave(image, push=20 * 0.3, quantity="modulus")
    assert modulus.unit == "kPa"
    assert np.median(modulus.data[0, 4:-4, 50:70]) == pytest.approx(3 * 3.5**2, rel=0.1)


def test_the_push_is_found():
    image = shaken(2.5, push=40)
    given, searched = (shear_wave(image, push=p).data for p in (12.0, None))
    wave = np.s_[0, 4:-4, 50:70]
    assert np.median(searched[wave]) == pytest.approx(np.median(given[wave]), rel=0.03)


def test_noise_alone_is_no_tissue():
    rng = np.random.default_rng(1)
    film = rng.normal(size=(60, 1, 10, 60)) + 1j * rng.normal(size=(60, 1, 10, 60))
    found = shear_wave(iq_image(film, (0.3, 0.3), times=np.arange(60) / 5e3), push=0.0, least=0.8)
    assert np.mean(found.data > 0) < 0.1


def test_what_cannot_be_measured_is_refused():
    image = frames_of(pressed(lambda x, z: 0 * z, depth=6e-3, width=2e-3))
    with pytest.raises(ParameterError, match="two different ones"):
        strain(image, frame=5)
    with pytest.raises(ParameterError, match="shorter"):
        strain(image, window=5.0)
    with pytest.raises(ParameterError, match="at least 8"):
        shear_wave(image)
    with pytest.raises(ParameterError, match="outside the image"):
        shear_wave(shaken(2.0, nx=20), push=400.0)
    with pytest.raises(ParameterError, match="no frequency"):
        shear_wave(shaken(2.0, nx=20), method="phase", band=(1.0, 2.0))
    volume = iq_image(np.ones((2, 4, 8, 8), complex), (0.1, 0.1), times=[0.0, 1.0])
    with pytest.raises(GeometryError, match="nz = 1"):
        strain(volume)


def test_the_contract():
    made = frames_of(pressed(lambda x, z: 0.005 * (10e-3 - z), depth=10e-3, width=2e-3))
    check_operation(strain, inputs=(made,), params={"window": 0.8, "gradient": 1.0})
    check_operation(shear_wave, inputs=(shaken(2.0, nx=20, count=40),), params={"push": 0.0})
