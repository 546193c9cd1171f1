"""MTF, NPS and DQE of simulated detectors are those they were given."""

import numpy as np
import pytest
from scipy.special import erf

from somascope.acquire.tube import rqa
from somascope.acquire.xray.correct import correct
from somascope.acquire.xray.detector import Detector
from somascope.acquire.xray.expose import Beam, expose
from somascope.acquire.xray.quality import (
    Curve,
    along_rows,
    detective_efficiency,
    noise_power,
    slanted_edge_mtf,
)
from somascope.acquire.xray.views import radiograph_views
from somascope.core import Acquisition, Grid
from somascope.core.errors import ParameterError

PITCH = 0.15


def edge(sigma, *, angle=3.0, noise=0.0, seed=0):
    """A step seen through a Gaussian of ``sigma`` mm, sampled at points."""
    y, x = np.indices((160, 160)) - 79.7
    distance = PITCH * (np.cos(np.radians(angle)) * x - np.sin(np.radians(angle)) * y)
    clean = 1000 + 4000 * (1 + erf(distance / (np.sqrt(2) * sigma))) / 2
    return clean + noise * np.random.default_rng(seed).standard_normal(clean.shape)


@pytest.mark.parametrize("sigma", [0.08, 0.15])
@pytest.mark.parametrize("noise", [0.0, 10.0])
def test_mtf_of_a_gaussian(sigma, noise):
    measured = slanted_edge_mtf(edge(sigma, noise=noise), pitch=PITCH)
    f = np.linspace(0, 1 / (2 * PITCH), 30)
    truth = np.exp(-2 * (np.pi * sigma * f) ** 2)
    ours = np.interp(f, measured.frequency, measured.value)
    np.testing.assert_allclose(ours, truth, atol=0.006 if noise == 0 else 0.03)


def test_mtf_knows_both_directions_of_an_edge():
    a = slanted_edge_mtf(edge(0.1), pitch=PITCH)
    b = slanted_edge_mtf(edge(0.1)[:, ::-1], pitch=PITCH)
    np.testing.assert_allclose(a.value[:40], b.value[:40], atol=0.01)


def test_edges_that_cannot_be_measured_are_refused():
    with pytest.raises(ParameterError, match="degrees"):
        slanted_edge_mtf(edge(0.1, angle=0.2), pitch=PITCH)
    with pytest.raises(ParameterError, match="no edge"):
        slanted_edge_mtf(np.ones((64, 64)), pitch=PITCH)
    with pytest.raises(ParameterError, match="exposed images"):
        noise_power([np.zeros((200, 200))], pitch=(1, 1))
    with pytest.raises(ParameterError, match="no flat image"):
        noise_power([], pitch=(1, 1))


def test_white_noise_has_a_flat_spectrum_of_its_variance():
    rng = np.random.default_rng(1)
    planes = [1000 + 20 * rng.standard_normal((256, 256)) for _ in range(3)]
    spectrum, fy, fx = noise_power(planes, pitch=(0.2, 0.1), size=64)
    assert spectrum[5:-5, 5:].mean() == pytest.approx((20 / 1000) ** 2 * 0.02, rel=0.02)
    whole = 2 * spectrum[:, 1:-1].sum() + spectrum[:, [0, -1]].sum()
    area = (fy[1] - fy[0]) * (fx[1] - fx[0])
    assert whole * area == pytest.approx((20 / 1000) ** 2, rel=0.02)


def test_nps_and_dqe_of_the_simulated_panel_are_theory():
    """Quantum noise is shaped by the light spread: ``NPS = MTF^2 / (q eta S) + electronic``."""
    detector = Detector(blur=0.3, electronic_noise=6.0, defects=0.0, defect_lines=0)
    hu = np.full((4, 4, 4), -1000, np.int16)
    grid = Grid.from_spacing(hu.shape, (10.0, 10.0, 10.0), origin=(-15, -15, -15))
    scan = radiograph_views(grid, ["PA"], shape=(256, 256), pitch=PITCH)
    beam = Beam(kvp=70, mas=3.0, aluminium=23.5)
    planes = []
    for seed in range(3):
        shot = expose(hu, scan, beam=beam, detector=detector, seed=seed)
        raw = Acquisition(shot.counts, scan, "DX", "{counts}", shot.calibration)
        planes.append(correct(raw, logarithm=False).samples[0])
    spectrum, _, fx = noise_power(planes, pitch=(PITCH, PITCH), size=64)
    nps = along_rows(spectrum, fx, lines=4)
    kev, kev2 = detector.weights(beam.spectrum)
    quanta = beam.spectrum.fluence.sum() / 1.8**2
    absorbed = kev.sum() ** 2 / kev2.sum() / 1.8**2  # eta S q: equivalent quanta per mm2
    mtf = detector.transfer(np.zeros(1), nps.frequency)
    across = np.arange(1, 5)[:, None] / (64 * PITCH)  # the lines beside the axis that are averaged
    shape = (detector.transfer(across, nps.frequency) ** 2).mean(axis=0)
    counts = np.mean([p.mean() for p in planes])
    electronic = (6.0**2 + 1 / 12) * PITCH**2 / counts**2
    theory = shape / absorbed + electronic
    part = nps.frequency > 0.3
    assert nps.value[part].sum() / theory[part].sum() == pytest.approx(1.0, abs=0.04)
    np.testing.assert_allclose(nps.value[part], theory[part], rtol=0.2, atol=0.01 * theory.max())

    measured = slanted_edge_mtf(edge(0.3 / 2.3548), pitch=PITCH)
    dqe = detective_efficiency(measured, nps, quanta=quanta)
    expected = mtf**2 / (theory * quanta)
    low = (dqe.frequency > 0.3) & (dqe.frequency < 2.5)
    assert np.mean(dqe.value[low] / expected[low]) == pytest.approx(1.0, abs=0.06)
    # At RQA 5 a caesium iodide panel of 0.2 g/cm2 detects about three quarters.
    share = absorbed / quanta
    assert 0.65 < share < 0.9
    assert dqe.at(0.5) == pytest.approx(expected[np.argmin(np.abs(dqe.frequency - 0.5))], rel=0.2)
    assert rqa(5).fluence.sum() / rqa(5).kerma == pytest.approx(29653, rel=0.02)


def test_a_curve_interpolates():
    assert Curve(np.array([0.0, 1, 2]), np.array([1.0, 0.5, 0])).at(1.5) == 0.25
