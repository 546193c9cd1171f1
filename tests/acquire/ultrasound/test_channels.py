"""The scan: adjoint, description, kept in a file; closed form of one echo; bad input."""

import numpy as np
import pytest

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.channels import ChannelScan, build, field_of
from somascope.core import Acquisition, Scan
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.registry import build_operator
from somascope.io import acquisition as files
from somascope.testing import check_operator

PROBE = probes.linear(16, pitch=0.3)
FIELD = field_of(PROBE, depth=12.0, spacing=0.6, frame_of_reference="1.2.3")


def scan(transmit=None, **changes):
    transmit = waves.plane(PROBE, [-5, 0, 5]) if transmit is None else transmit
    settings = {"samples": 400, "sampling_frequency": 20e6}
    return ChannelScan(FIELD, probe=PROBE, transmit=transmit, **{**settings, **changes})


@pytest.mark.parametrize("fd", [0.0, 5e6])
@pytest.mark.parametrize("double", [False, True])
def test_adjoint(fd, double):
    dtype = (
        ("complex128" if double else "complex64") if fd else ("float64" if double else "float32")
    )
    check_operator(
        scan(demodulation_frequency=fd, times=(0.0, 0.1)), domain_dtype=dtype, range_dtype=dtype
    )


def transmits():
    focus = [[0.0, 9.0, 0.0], [1.0, 9.0, 0.0]]
    return {
        "plane": waves.plane(PROBE, [-10, 0, 7]),
        "diverging": waves.diverging(PROBE, [[0, -5, 0], [1.0, -5.0, 0]]),
        "synthetic": waves.synthetic(PROBE, [0, 8, 15]),
        "focused": waves.focused(PROBE, focus, f_number=2.0),
        "delays": waves.fired(waves.plane(PROBE, [-10, 7]).fire_times(PROBE, 1540.0)),
    }


@pytest.mark.parametrize("name", list(transmits()))
def test_kept_in_a_file(name, tmp_path):
    one = scan(transmits()[name], times=(0.0, 0.5), start=1e-6)
    assert isinstance(one, Scan)
    again = build_operator(one.kind, one.describe())
    x = np.random.default_rng(0).normal(size=one.domain).astype(np.float32)
    assert np.array_equal(one.forward(x), again.forward(x))
    files.write(Acquisition(one.forward(x), one, "US"), tmp_path / "a.h5")
    read = files.read(tmp_path / "a.h5")
    assert np.array_equal(read.operator.forward(x), read.samples)
    assert read.operator.grid.frame_of_reference == "1.2.3"


@pytest.mark.parametrize("name", list(transmits()))
def test_fire_times_start_at_zero_and_are_the_wave(name):
    wave = transmits()[name]
    fires = np.where(wave.apodisation > 0, wave.fire_times(PROBE, 1540.0), np.inf)
    np.testing.assert_allclose(fires.min(axis=1), 0.0, atol=1e-12)
    # The front is the envelope of what the elements send: no sound is ahead of it (Huygens).
    r = np.array([[0.2, 6.0, 0.0], [-0.5, 3.0, 0.0]])
    away = np.linalg.norm(r[:, None] - PROBE.positions, axis=-1) / 1.54e6
    first = (fires[:, None] + away).min(axis=-1)
    arrival = wave.arrivals(r, PROBE, 1540.0)
    assert (arrival < first + 1e-12).all()
    assert (first - arrival < 2e-8).all()


def test_one_echo_is_where_geometry_says():
    one = scan(waves.plane(PROBE, [0.0]), demodulation_frequency=4e6, start=2e-6)
    x = np.zeros(one.domain, np.complex128)
    x[0, 10, 3] = 1.0
    (l, p, _) = FIELD.to_world([0, 10, 3])
    y = one.forward(x)
    for e in (0, 7, 15):
        tau = p / 1.54e6 + np.hypot(l - PROBE.positions[e, 0], p) / 1.54e6
        s = (tau - 2e-6) * 20e6
        i = int(s)
        expected = np.exp(-2j * np.pi * 4e6 * tau)
        np.testing.assert_allclose(y[0, e, i], (1 - (s - i)) * expected, atol=1e-9)
        np.testing.assert_allclose(y[0, e, i + 1], (s - i) * expected, atol=1e-9)


def test_focused_wave_passes_through_its_focus():
    wave = waves.focused(PROBE, [[0.5, 8.0, 0.0]])
    depth = np.array([[0.5, y, 0.0] for y in (2.0, 6.0, 8.0, 10.0, 12.0)])
    t = wave.arrivals(depth, PROBE, 1540.0)[0]
    # On the axis through the focus the wave travels at the speed of sound, on both sides.
    np.testing.assert_allclose(np.diff(t) / np.diff(depth[:, 1]), 1 / 1.54e6, rtol=1e-2)


def test_bad_input():
    with pytest.raises(ParameterError, match="sampling frequency is 0"):
        scan(sampling_frequency=0.0)
    with pytest.raises(GeometryError, match="the probe has"):
        scan(waves.plane(probes.linear(8), [0.0]))
    with pytest.raises(GeometryError, match="shape"):
        scan().forward(np.zeros((2, 3, 4)))
    with pytest.raises(GeometryError, match="one delay per"):
        waves.Transmits("delays", np.zeros((1, 3)), np.zeros(1), np.ones((1, 16)), np.zeros((1, 8)))
    with pytest.raises(GeometryError, match="not finite"):
        waves.diverging(PROBE, [[0.0, np.nan, 0.0]])
    with pytest.raises(ParameterError, match="bandwidth"):
        probes.linear(8, bandwidth=0.0)
    with pytest.raises(ParameterError, match="empty"):
        field_of(PROBE, depth=1.0)
    described = scan().describe()
    with pytest.raises(GeometryError, match="normal"):
        build(**{**described, "normals": described["normals"][:3]})
    with pytest.raises(GeometryError, match="complex"):
        scan().adjoint(np.zeros(scan().range, np.complex64))


def test_named_probes():
    for name in ("linear 5 MHz", "linear 7.6 MHz", "convex 3.5 MHz", "phased 2.7 MHz"):
        p = probes.named(name)
        assert p.positions[0, 0] < p.positions[-1, 0]  # the marker's side is left
        np.testing.assert_allclose(np.linalg.norm(p.normals, axis=1), 1)
        assert field_of(p, depth=60).shape[1] > 10
    arc = probes.named("convex 3.5 MHz")
    gaps = np.linalg.norm(np.diff(arc.positions, axis=0), axis=1)
    np.testing.assert_allclose(gaps, arc.pitch)
    np.testing.assert_allclose(np.linalg.norm(arc.positions + np.array([0, 60.0, 0]), axis=1), 60.0)
