"""Prewhitening, compression, oversampling, partial Fourier and EPI against the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.combine import rss
from somascope.acquire.mri.compression import compress
from somascope.acquire.mri.epi import epi, ghost_phase, regridding
from somascope.acquire.mri.noise import covariance, prewhiten, whitening
from somascope.acquire.mri.oversampling import oversampling
from somascope.acquire.mri.partial import homodyne, pocs
from somascope.acquire.mri.simulate import simulate
from somascope.core import Acquisition, Image
from somascope.core.errors import GeometryError, NotFound, ParameterError
from somascope.phantoms import shepp_logan
from somascope.testing import check_operation


@pytest.fixture(scope="module")
def head() -> Image:
    """With the slow phase that images have."""
    image = shepp_logan((96, 96))
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    return replace(image, data=image.data * np.exp(1j * (1.2 * x + 0.7 * y**2)), modality="MR")


def nrmse(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def test_prewhitened_noise_is_white(head: Image):
    scanned = simulate(head, snr=20.0, correlation=0.6, seed=5)
    quiet = simulate(head, snr=None, correlation=0.6, seed=5)
    white = prewhiten(scanned)
    truth = prewhiten(replace(quiet, calibration=scanned.calibration))
    found = covariance(white.samples - truth.samples)
    assert np.abs(found - np.eye(8)).max() < 0.1
    assert np.abs(covariance(white.calibration["noise"]) - np.eye(8)).max() < 1e-5
    # Coil maps go along: the model still explains the samples.
    scan = truth.operator.with_sensitivities(truth.calibration["sensitivities"])
    assert nrmse(scan.forward(head.data), truth.samples) < 1e-4


def test_prewhitening_needs_a_usable_noise_scan(head: Image):
    scanned = simulate(head, coils=3)
    with pytest.raises(NotFound, match="noise"):
        prewhiten(replace(scanned, calibration={}))
    with pytest.raises(ParameterError, match="singular"):
        whitening(np.zeros((2, 2)))
    with pytest.raises(ParameterError, match="at least 6"):
        covariance(np.ones((3, 4)))
    with pytest.raises(ParameterError, match="not finite"):
        covariance(np.full((2, 50), np.nan))


@pytest.mark.parametrize(("method", "coils", "bound"), [("svd", 5, 0.03), ("geometric", 5, 0.01)])
def test_compressed_coils_keep_the_image(head: Image, method: str, coils: int, bound: float):
    scanned = simulate(head, coils=12, snr=None, oversampling=2)
    full = rss(scanned)
    small = compress(scanned, coils=coils, method=method)
    assert small.samples.shape[0] == coils
    assert nrmse(rss(small).data, full.data) < bound
    scan = small.operator.with_sensitivities(small.calibration["sensitivities"])
    assert nrmse(scan.forward(head.data), small.samples) < 1e-3
    with pytest.raises(ParameterError, match="13 virtual"):
        compress(scanned, coils=13, method=method)


def test_geometric_compression_needs_fewer_coils(head: Image):
    scanned = simulate(head, coils=16, snr=None)
    full = rss(scanned).data
    svd, geometric = (
        nrmse(rss(compress(scanned, coils=4, method=m)).data, full) for m in ("svd", "geometric")
    )
    assert geometric < 0.6 * svd


def test_oversampling_goes_without_a_trace(head: Image):
    scanned = simulate(head, oversampling=2, acceleration=2, seed=1)
    small = oversampling(scanned)
    assert small.samples.shape == (8, 1, 96, 96)
    assert np.allclose(rss(small).data, rss(scanned).data, atol=1e-5)


@pytest.mark.parametrize("partial", [0.625, 0.75])
def test_partial_fourier_restores_the_missing_end(head: Image, partial: float):
    full = rss(simulate(head, snr=None)).data
    scanned = simulate(head, snr=None, partial=partial, calibration=0)
    zeros = nrmse(rss(scanned).data, full)
    by_pocs = nrmse(rss(pocs(scanned)).data, full)
    by_homodyne = nrmse(homodyne(scanned).data, full)
    assert by_pocs < 0.6 * zeros
    assert by_homodyne < 0.75 * zeros
    filled = pocs(scanned)
    assert filled.operator.mask is None
    kept = scanned.operator.mask[0, :, 0]
    assert np.array_equal(filled.samples[:, :, kept], scanned.samples[:, :, kept])


def test_partial_echoes_are_found_along_the_readout(head: Image):
    whole = simulate(head, snr=None)
    mask = np.ones((1, 96, 96), bool)
    mask[..., :30] = False
    scan = CartesianScan(head.grid, coils=8, mask=mask)
    cut = replace(whole, samples=scan.sampled(whole.samples), operator=scan)
    full = rss(whole).data
    assert nrmse(rss(pocs(cut)).data, full) < 0.7 * nrmse(rss(cut).data, full)


def test_partial_fourier_refuses_what_it_cannot_do(head: Image):
    with pytest.raises(ParameterError, match="no end of k-space is missing"):
        pocs(simulate(head))
    with pytest.raises(ParameterError, match="skipped between"):
        homodyne(simulate(head, partial=0.7, acceleration=2, calibration=0))


def ghost_level(image: np.ndarray) -> float:
    """Signal half a field away from the head, over the head's."""
    rows = np.abs(image[0])
    return float(rows[:6, 30:66].mean() / rows[40:56, 30:66].mean())


def test_the_ghost_of_epi_vanishes(head: Image):
    small = replace(head, data=np.where(np.abs(np.arange(96) - 48)[:, None] < 36, head.data, 0))
    clean = rss(simulate(small, snr=None)).data
    scanned = simulate(small, trajectory="epi", snr=1000.0, delay=0.4, seed=1)
    corrected = epi(scanned)
    before, after = ghost_level(rss(scanned).data), ghost_level(rss(corrected).data)
    assert before > 0.1
    assert after < 0.02
    assert nrmse(rss(corrected).data, clean) < 0.03
    with pytest.raises(NotFound, match="polarity"):
        epi(corrected)


def test_the_ghost_phase_is_the_one_that_was_put_in(head: Image):
    scanned = simulate(head, trajectory="epi", snr=None, delay=0.4)
    slope, constant = ghost_phase(
        scanned.calibration["navigator"], scanned.calibration["navigator_polarity"]
    )
    assert slope == pytest.approx(2 * np.pi * 0.4 / 96, rel=1e-3)
    assert constant == pytest.approx(0.3, abs=1e-3)


def test_ramp_samples_give_the_line_they_come_from():
    """Samples of a known line at positions of a trapezoid, by the definition of the transform."""
    rng = np.random.default_rng(0)
    count, image = 128, 64
    time = (np.arange(count) + 0.5) / count
    speed = np.minimum(np.minimum(time / 0.25, (1 - time) / 0.25), 1)
    places = np.cumsum(speed)
    places = (places - (places[0] + places[-1]) / 2) / speed.sum() * count
    line = np.zeros(count, complex)
    line[34:94] = rng.normal(size=60) + 1j * rng.normal(size=60)
    n = np.arange(count) - count // 2
    given = np.exp(-2j * np.pi * np.outer(places, n) / count) @ line / np.sqrt(count)
    even = np.exp(-2j * np.pi * np.outer(n, n) / count) @ line / np.sqrt(count)
    found = regridding(places, count, image) @ given
    assert nrmse(found, even) < 2e-3
    assert nrmse(given, even) > 0.1
    with pytest.raises(GeometryError, match="one finite position"):
        regridding(places[:-1], count, image)


@pytest.mark.data
def test_the_ghost_of_a_real_epi_scan_goes_down(data: Path):
    from somascope.io.raw import twix

    (raw,) = twix.read(data / "twixtools_raw" / "epi.dat")
    (reference,) = twix.read(data / "twixtools_raw" / "gre.dat")
    corrected = epi(raw)
    truth = rss(oversampling(reference)).data[0]
    truth = truth.reshape(80, 2, 80, 2).mean(axis=(1, 3))
    body = truth > 0.5 * np.quantile(truth, 0.9)
    ghost = np.roll(body, 40, axis=0) & ~body  # where the half-field ghost falls beside the body

    def level(acquisition: Acquisition) -> float:
        image = rss(acquisition).data[0]
        return float(image[ghost].mean() / image[body].mean())

    plain = replace(raw, calibration={})
    assert level(corrected) < 0.6 * level(plain)


def test_they_keep_the_contract_of_operations():
    small = replace(shepp_logan((32, 32)), modality="MR")
    scanned = simulate(small, coils=4, oversampling=2)
    for one in (prewhiten, oversampling):
        check_operation(one, inputs=(scanned,))
    check_operation(compress, inputs=(scanned,), params={"coils": 3})
    for one in (pocs, homodyne):
        check_operation(one, inputs=(simulate(small, coils=2, partial=0.7, calibration=0),))
    check_operation(epi, inputs=(simulate(small, coils=2, trajectory="epi"),))
    check_operation(rss, inputs=(scanned,))
