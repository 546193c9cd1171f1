"""Detector quality as findings: against closed forms, through the five doors' machinery."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import erf

from somascope.acquire.tube import rqa
from somascope.acquire.xray.measure import QUANTA, dqe, mtf, nps
from somascope.core import Grid, Image, Measurement, Provenance, Source
from somascope.core.errors import ParameterError, UnitError
from somascope.io import read_findings, write
from somascope.jobs.run import run_files
from somascope.testing import check_operation

PITCH = 0.15
RECORD = Provenance((Source("phantom", "edge"),))


def image(plane, pitch=(PITCH, PITCH), **facts):
    grid = Grid.from_spacing((1, *plane.shape), (1.0, *pitch), frame_of_reference="1.2.3.4")
    return Image(plane[None].astype(np.float32), grid, "DX", "{counts}", provenance=RECORD,
                 attributes={"PresentationIntentType": "FOR PROCESSING", **facts})  # fmt: skip


def edge(sigma=0.1, *, size=192, angle=3.0):
    """A step seen through a Gaussian of ``sigma`` mm, sampled at points."""
    y, x = np.indices((size, size)) - size / 2 + 0.3
    distance = PITCH * (np.cos(np.radians(angle)) * x - np.sin(np.radians(angle)) * y)
    return 1000 + 4000 * (1 + erf(distance / (np.sqrt(2) * sigma))) / 2


def aperture_edge(size=192, angle=3.0, fine=9):
    """A sharp step seen by square pixels without a gap."""
    n = size * fine
    at = (np.arange(n) - n / 2 + 0.5) / fine
    a = np.radians(angle)
    sharp = (np.cos(a) * at[None, :] - np.sin(a) * at[:, None] > 0).astype(np.float32)
    return 500 + 5000 * sharp.reshape(size, fine, size, fine).mean(axis=(1, 3))


def said(findings):
    return {f.concept.value: f.value for f in findings}


@pytest.mark.parametrize("direction", ["rows", "columns"])
@pytest.mark.parametrize("sigma", [0.1, 0.18])
def test_mtf_of_a_gaussian(sigma, direction):
    plane = edge(sigma)
    found = mtf(image(plane if direction == "rows" else plane.T), direction=direction, step=0.5)
    values = said(found)
    for level, name in ((2.0, "MTF_F50"), (10.0, "MTF_F10")):
        truth = np.sqrt(np.log(level) / 2) / (np.pi * sigma)
        if truth < 1 / PITCH:
            assert values[name] == pytest.approx(truth, rel=0.05)
    for f in (0.5, 1.0, 1.5, 2.0):
        truth = np.exp(-2 * (np.pi * sigma * f) ** 2)
        assert values[f"MTF_{f:.3f}"] == pytest.approx(truth, rel=0.05)
    assert {f.unit for f in found if f.concept.value.startswith("MTF_F")} == {"/mm"}
    assert max(float(k[4:]) for k in values if k[4].isdigit()) <= 0.5 / PITCH


def test_levels_that_the_curve_does_not_reach_are_left_out():
    values = said(mtf(image(aperture_edge()), step=1.0))
    assert "MTF_F50" in values
    assert "MTF_NYQUIST" in values
    assert values["MTF_NYQUIST"] == pytest.approx(np.sinc(0.5), rel=0.05)


def flats(count, mean, rng, size=256):
    return [image(rng.poisson(mean, (size, size)).astype(float)) for _ in range(count)]


def test_nps_of_quantum_noise_is_one_over_the_quanta():
    mean = 400.0  # per pixel: NNPS = 1 / (quanta per mm2)
    found = nps(*flats(6, mean, np.random.default_rng(3)), size=64, step=0.5)
    values = said(found)
    truth = PITCH**2 / mean
    curve = [v for k, v in values.items() if k.startswith("NNPS")]
    assert np.mean(curve) == pytest.approx(truth, rel=0.05)
    np.testing.assert_allclose(curve, truth, rtol=0.15)
    assert values["NOISE"] == pytest.approx(1 / np.sqrt(mean), rel=0.05)
    assert {f.unit for f in found[1:]} == {"mm2"}


def test_pixels_that_are_not_square():
    rng = np.random.default_rng(5)
    planes = [1000 + 20 * rng.standard_normal((200, 300)) for _ in range(4)]
    given = [image(p, pitch=(0.2, 0.1)) for p in planes]
    for direction, nyquist in (("rows", 5.0), ("columns", 2.5)):
        found = nps(*given, size=64, step=0.25, direction=direction)
        curve = [f.value for f in found[1:]]
        assert len(curve) == int(nyquist / 0.25)
        assert np.mean(curve) == pytest.approx((20 / 1000) ** 2 * 0.02, rel=0.05)


def test_dqe_of_an_ideal_photon_counter_is_its_aperture():
    kerma = 2.0
    mean = kerma * QUANTA["RQA 5"] * PITCH**2
    found = dqe(
        image(aperture_edge()), *flats(6, mean, np.random.default_rng(4)), kerma=kerma, size=64,
        step=0.5,
    )  # fmt: skip
    f = np.array([float(m.concept.value[4:]) for m in found])
    ours = np.array([m.value for m in found])
    truth = np.sinc(f * PITCH) ** 2
    assert np.mean(ours / truth) == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(ours, truth, rtol=0.15)
    half = dqe(image(aperture_edge()), *flats(1, mean, np.random.default_rng(4)),
               kerma=2 * kerma, size=64, step=0.5)  # fmt: skip
    assert half[0].value == pytest.approx(ours[0] / 2, rel=0.2)


@pytest.mark.parametrize("quality", [3, 5, 7, 9])
def test_photons_per_kerma_are_those_of_the_tube(quality):
    """The standard's numbers against photons per kerma of the spectra that the house computes."""
    beam = rqa(quality)
    ours = beam.fluence.sum() / beam.kerma
    assert QUANTA[f"RQA {quality}"] == pytest.approx(ours, rel=0.02)


def test_what_cannot_be_measured():
    with pytest.raises(UnitError, match="linear in dose"):
        mtf(image(edge(), PixelIntensityRelationship="LOG"))
    with pytest.raises(ParameterError, match="no flat image"):
        nps()
    one, two = flats(2, 100.0, np.random.default_rng(1))
    two = replace(two, grid=Grid.from_spacing(two.grid.shape, (1.0, 0.3, 0.3)))
    with pytest.raises(ParameterError, match="different pixels"):
        nps(one, two)
    with pytest.raises(ParameterError, match="give quanta"):
        dqe(image(edge()), one, kerma=1.0, quality="other")


def test_they_keep_the_promises_of_operations():
    check_operation("acquire.xray.mtf", inputs=(image(edge()),), params={"step": 1.0})
    (flat,) = flats(1, 100.0, np.random.default_rng(1))
    check_operation("acquire.xray.nps", inputs=(flat,), params={"size": 64, "step": 1.0})
    check_operation(
        "acquire.xray.dqe", inputs=(image(edge()), flat),
        params={"size": 64, "step": 1.0, "kerma": 1.0},
    )  # fmt: skip


def test_from_files_to_a_report(tmp_path):
    write(image(np.rint(edge())), tmp_path / "edge")
    (out,) = run_files("acquire.xray.mtf", [tmp_path / "edge"], tmp_path / "quality.dcm")
    found = read_findings(out)
    assert all(isinstance(f, Measurement) for f in found)
    direct = said(mtf(image(np.rint(edge()))))
    assert said(found) == pytest.approx(direct, rel=1e-6)
    assert found[0].on
    (flat,) = flats(1, 300.0, np.random.default_rng(2))
    write(flat, tmp_path / "flat")
    (out,) = run_files(
        "acquire.xray.dqe", [tmp_path / "edge", tmp_path / "flat", tmp_path / "flat"],
        tmp_path / "dqe.json", {"kerma": 1.0, "size": 64},
    )  # fmt: skip
    assert "Detective quantum efficiency at 0.5 /mm" in out.read_text()
