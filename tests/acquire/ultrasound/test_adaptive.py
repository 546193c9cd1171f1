"""Adaptive beamformers: closed forms on given channels, cysts against pymust, resolution."""

import numpy as np
import pytest

from somascope.acquire.ultrasound import adaptive_kernel as kernel
from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.adaptive import METHODS, adaptive
from somascope.acquire.ultrasound.beamform import das
from somascope.acquire.ultrasound.channels import ChannelScan, field_of
from somascope.acquire.ultrasound.fronts import front_echoes
from somascope.acquire.ultrasound.simulate import with_noise
from somascope.core import Acquisition, Grid
from somascope.core.errors import ParameterError
from somascope.testing import check_operation


def channels(n=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) + 1j * rng.normal(size=n)
    return x.astype(np.complex64), rng.uniform(0.2, 1, n).astype(np.float32)


def test_dmas_is_the_sum_over_pairs():
    x, w = channels()
    u = np.sqrt(w / np.abs(x)) * x
    pairs = sum(u[i] * u[j] for i in range(24) for j in range(i + 1, 24))
    got = kernel._dmas(x, w)
    assert abs(got) == pytest.approx(abs(pairs), rel=1e-4)
    assert np.angle(got) == pytest.approx(np.angle(u.sum()), abs=1e-4)


@pytest.mark.parametrize("cutoff", [0, 2])
def test_coherence_is_a_share_of_the_energy(cutoff):
    x, w = channels()
    spectrum = np.abs(np.fft.fft(x)) ** 2
    share = spectrum[np.arange(-cutoff, cutoff + 1)].sum() / spectrum.sum()
    assert kernel._coherence(x, w, cutoff) == pytest.approx((w * x).sum() * share, rel=1e-4)
    # Equal channels are coherent: nothing is lost.
    same = np.full(24, 1 + 2j, np.complex64)
    assert kernel._coherence(same, w, 0) == pytest.approx(w.sum() * (1 + 2j), rel=1e-4)


def test_capon_is_the_textbook_formula():
    x, _ = channels()
    size, share, loading = 10, 10.5 / 24, 0.05
    parts = np.stack([x[k : k + size] for k in range(24 - size + 1)]).astype(complex)
    r = parts.T @ parts.conj()
    r += loading * np.trace(r) / size * np.eye(size)
    solved = np.linalg.solve(r, np.ones(size))
    w = solved / (np.ones(size) @ solved)
    expected = (parts @ w.conj()).mean() * 24
    assert kernel._capon(x, share, loading) == pytest.approx(expected, rel=2e-3)
    same = np.full(24, 1 + 2j, np.complex64)
    assert kernel._capon(same, share, loading) == pytest.approx(24 * (1 + 2j), rel=1e-3)


def gcnr(inside, outside):
    """Generalised contrast-to-noise ratio: 1 minus the overlap of the two histograms."""
    low, high = min(inside.min(), outside.min()), max(inside.max(), outside.max())
    bins = np.linspace(low, high, 80)
    a, _ = np.histogram(inside, bins)
    b, _ = np.histogram(outside, bins)
    return 1 - np.minimum(a / a.sum(), b / b.sum()).sum()


def cnr(inside, outside):
    return abs(inside.mean() - outside.mean()) / np.hypot(inside.std(), outside.std())


@pytest.fixture(scope="module")
def cyst():
    """A cyst of 5 mm at 20 mm in dense speckle, seven plane waves, 20 dB of signal over noise."""
    probe = probes.linear(96, pitch=0.3, centre_frequency=5e6)
    rng = np.random.default_rng(3)
    n = 12000
    points = np.stack([rng.uniform(-11, 11, n), rng.uniform(12, 28, n), np.zeros(n)], axis=1)
    strength = rng.normal(size=n)
    strength[np.hypot(points[:, 0], points[:, 1] - 20) < 5] = 0
    grid = Grid.from_spacing((1, 100, 90), (1, 0.1507, 0.2013), origin=(-9.0003, 13.0021, 0))
    scan = ChannelScan(
        grid, probe=probe, transmit=waves.plane(probe, np.linspace(-9, 9, 7)), samples=1000,
        sampling_frequency=20e6,
    )  # fmt: skip
    rf = with_noise(front_echoes(scan, points, strength), 20.0, rng=rng)
    at = np.stack(np.meshgrid(np.arange(100), np.arange(90), indexing="ij"), axis=-1)
    x, y = -9.0 + at[..., 1] * 0.2013, 13.0 + at[..., 0] * 0.1507
    r = np.hypot(x, y - 20)
    return Acquisition(rf, scan, "US"), r < 4, (r > 6) & (r < 7.4) & (np.abs(y - 20) < 6)


def test_cyst_is_at_least_as_clear_as_with_pymust(cyst):
    pymust = pytest.importorskip("pymust")
    acquisition, inside, outside = cyst
    scan = acquisition.operator
    nodes = [(0, i, j) for i in range(100) for j in range(90)]
    x, z = scan.grid.to_world(nodes)[:, :2].T.reshape(2, 100, 90) / 1e3
    total = 0
    for k in range(7):
        param = pymust.utils.Param()
        param.fs, param.fc, param.c, param.pitch, param.width = 20e6, 5e6, 1540, 3e-4, 2.7e-4
        param.Nelements, param.bandwidth, param.radius = 96, 67, np.inf
        param.t0, param.fnumber = np.zeros((1, 1)), 1.5
        param.TXdelay = scan.transmit.subset([k]).fire_times(scan.probe, 1540.0)
        iq = pymust.rf2iq(np.ascontiguousarray(acquisition.samples[k].T.astype(float)), param)
        matrix = pymust.dasmtx(iq, x, z, param, "linear")
        total = total + (matrix @ iq.flatten(order="F")).reshape(x.shape, order="F")
    theirs = 20 * np.log10(np.abs(total))
    for window in ("boxcar", "hann"):
        ours = 20 * np.log10(np.abs(das(acquisition, f_number=1.5, window=window).data[0]))
        a, b = ours[inside], ours[outside]
        c, d = theirs[inside], theirs[outside]
        # Ours keeps a wider band, for resolution: without a window some more noise.
        assert cnr(a, b) >= (1.0 if window == "hann" else 0.95) * cnr(c, d), window
        assert gcnr(a, b) >= gcnr(c, d) - 0.01, window
    assert cnr(a, b) > 1.5


def test_adaptive_methods_deepen_the_cyst(cyst):
    acquisition, inside, outside = cyst

    def contrast(image):
        power = np.abs(image.data[0]) ** 2
        return 10 * np.log10(power[outside].mean() / power[inside].mean())

    plain = contrast(das(acquisition, window="boxcar"))
    for method in ("dmas", "coherence", "generalised coherence"):
        assert contrast(adaptive(acquisition, method=method)) > plain + 2, method


def test_capon_separates_what_das_does_not():
    """Two points 0.6 lambda F apart: one blob for delay and sum, two for minimum variance."""
    probe = probes.linear(64, pitch=0.3, width=0.001, centre_frequency=5e6)
    gap = 0.72 * probe.wavelength() * 2.0
    grid = Grid.from_spacing((1, 3, 121), (1, 0.02, 0.02), origin=(-1.2, 19.98, 0))
    scan = ChannelScan(grid, probe=probe, transmit=waves.plane(probe, [0.0]), samples=800,
                       sampling_frequency=20e6)  # fmt: skip
    pair = np.array([[-gap / 2, 20, 0], [gap / 2, 20, 0]])
    rf = with_noise(front_echoes(scan, pair, np.ones(2)), 40, rng=np.random.default_rng(0))
    acquisition = Acquisition(rf, scan, "US")

    def dip(image):
        row = np.abs(image.data[0, 1])
        return row[60] / row.max()

    assert dip(das(acquisition, f_number=2.0, window="boxcar")) > 0.95
    assert dip(adaptive(acquisition, method="capon", f_number=2.0, loading=0.001)) < 0.8


def test_promises_and_bad_input():
    probe = probes.linear(16)
    grid = field_of(probe, depth=8.0, spacing=0.5, frame_of_reference="1.2")
    scan = ChannelScan(grid, probe=probe, transmit=waves.plane(probe, [0.0]), samples=260,
                       sampling_frequency=20e6, times=(0.0, 0.1))  # fmt: skip
    rng = np.random.default_rng(0)
    small = Acquisition(rng.normal(size=scan.range).astype(np.float32), scan, "US")
    for method in METHODS:
        check_operation("acquire.ultrasound.adaptive", inputs=(small,), params={"method": method})
    cube = probes.matrix(4, 4)
    other = ChannelScan(grid, probe=cube, transmit=waves.plane(cube, [0.0]), samples=260,
                        sampling_frequency=20e6)  # fmt: skip
    volume = Acquisition(np.zeros(other.range, np.float32), other, "US")
    with pytest.raises(ParameterError, match="matrix probe"):
        adaptive(volume, method="capon")
